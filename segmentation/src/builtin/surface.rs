//! The surface of a bone, the zero of a field that is positive inside, and how sure it is.

use imaging::filter::gaussian;
use imaging::shape::surface_voxels;
use imaging::{Mask, Volume};
use nalgebra::Vector3;
use rayon::prelude::*;

use crate::error::Result;

/// A surface further off than this is not the same surface, mm.
const FURTHEST_MM: f64 = 5.0;
/// Neighbouring places are averaged over this distance (standard deviation), mm.
const TOGETHER_MM: f64 = 2.0;
/// The map of doubt ends this far from the surface, mm.
const BAND_MM: f64 = 4.0;

/// The voxels nearest to the places where the surface of a field passes between two that share a face, with the slope of the field
/// there, per mm; in the order of the voxels.
fn crossings(field: &Volume<f32>) -> Vec<(usize, f64)> {
    let grid = &field.grid;
    let size = grid.size;
    let strides = [1, size[0], size[0] * size[1]];
    let of = |(voxel, axis): (usize, usize)| {
        if grid.voxel(voxel)[axis] + 1 >= size[axis] {
            return None;
        }
        let (here, next) = (field.data[voxel], field.data[voxel + strides[axis]]);
        if (here > 0.0) == (next > 0.0) {
            return None;
        }
        let nearer = match here.abs() < next.abs() {
            true => voxel,
            false => voxel + strides[axis],
        };
        let slope = gradient(field, grid.voxel(nearer)).norm();
        (slope > 1e-9).then_some((nearer, slope))
    };
    (0..grid.len())
        .into_par_iter()
        .flat_map_iter(|voxel| (0..3).map(move |axis| (voxel, axis)))
        .filter_map(of)
        .collect()
}

/// Gradient at a voxel, per mm along the array axes.
fn gradient(volume: &Volume<f32>, at: [usize; 3]) -> Vector3<f64> {
    let grid = &volume.grid;
    let strides = [1, grid.size[0], grid.size[0] * grid.size[1]];
    let voxel = grid.index(at[0], at[1], at[2]);
    Vector3::from_fn(|axis, _| {
        let below = usize::from(at[axis] > 0);
        let above = usize::from(at[axis] + 1 < grid.size[axis]);
        let change =
            volume.data[voxel + above * strides[axis]] - volume.data[voxel - below * strides[axis]];
        let length = (below + above).max(1) as f64 * grid.spacing_mm[axis];
        f64::from(change) / length
    })
}

/// How sure the surface of `first` is, the zero of a field that is positive inside, where a second look says `second`: d/√2 for surfaces d
/// mm apart, which is the standard deviation of a look if both are equally good; 0 away from the surface.
pub(super) fn doubt_mm(first: &Volume<f32>, second: &Volume<f32>) -> Result<Volume<f32>> {
    let grid = &first.grid;
    let mut squares = Volume::filled(grid.clone(), 0.0f32);
    let mut weights = squares.clone();
    for (voxel, slope_per_mm) in crossings(first) {
        let apart_mm = f64::from(first.data[voxel] - second.data[voxel]) / slope_per_mm;
        squares.data[voxel] += (0.5 * apart_mm.clamp(-FURTHEST_MM, FURTHEST_MM).powi(2)) as f32;
        weights.data[voxel] += 1.0;
    }
    let truncate = BAND_MM / TOGETHER_MM;
    let squares = gaussian(&squares, [TOGETHER_MM; 3], truncate)?;
    let weights = gaussian(&weights, [TOGETHER_MM; 3], truncate)?;
    let data = squares.data.iter().zip(&weights.data);
    let data = data.map(|(&square, &weight)| match weight > 1e-6 {
        true => (square / weight).sqrt(),
        false => 0.0,
    });
    Ok(Volume::new(grid.clone(), data.collect())?)
}

/// Root mean square of a map of doubt over the surface voxels of a mask, mm. Where the map is 0 the mask ends, but no surface of bone is
/// (at a neighbour's, say): those do not count.
pub(super) fn over_surface(map: &Volume<f32>, mask: &Mask) -> f64 {
    let squares: Vec<f64> = surface_voxels(mask)
        .into_iter()
        .map(|[i, j, k]| f64::from(map.at(i, j, k)).powi(2))
        .filter(|&square| square > 0.0)
        .collect();
    (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;

    #[test]
    fn doubt_is_the_scatter_of_the_surface() {
        let grid = Grid::axis_aligned([50, 50, 40], [1.0, 1.0, 1.3]);
        let ball = |radius: f64| {
            Volume::from_fn(grid.clone(), |at| {
                let from =
                    Vector3::from_fn(|axis, _| at[axis] as f64 * grid.spacing_mm[axis] - 25.0);
                ((radius - from.norm()) / 3.0) as f32
            })
        };
        let first = ball(15.0);
        let doubt = doubt_mm(&first, &ball(16.0)).expect("a map");
        let mask = first.map(|&v| v > 0.0);
        // Two looks 1 mm apart: a standard deviation of 1/√2.
        let found = over_surface(&doubt, &mask);
        assert!((found - 0.5f64.sqrt()).abs() < 0.03, "{found}");
        assert_eq!(doubt.at(25, 25, 19), 0.0);
        let none = doubt_mm(&first, &first).expect("a map");
        assert_eq!(over_surface(&none, &mask), 0.0);
        // Half of the ball given to a neighbour: the cut is no surface.
        let half = Mask::from_fn(grid.clone(), |[i, j, k]| i < 25 && mask.at(i, j, k));
        let found = over_surface(&doubt, &half);
        assert!((found - 0.5f64.sqrt()).abs() < 0.03, "{found}");
    }
}
