//! How much of each voxel of another grid a mask fills.

use nalgebra::Vector3;
use rayon::prelude::*;

use crate::grid::Grid;
use crate::orientation::{permutation_between, permuted};
use crate::resample::{index_map, is_inside, nearest_voxel, sample_index};
use crate::volume::{Mask, Volume};

/// The part of each target voxel's volume that lies in the mask, 0 to 1; outside the source is
/// background.
///
/// Exact (a separable box filter) where the array axes of both grids are parallel, in any order and
/// direction. Otherwise the mean of 4 x 4 x 4 nearest-neighbour samples spread evenly in the target
/// voxel.
pub fn mask_fraction(mask: &Mask, target: &Grid) -> Volume<f32> {
    volume_mean(&mask.map(|&inside| f32::from(u8::from(inside))), target)
}

/// The mean of a volume over each target voxel, counting 0 outside the source.
///
/// Exact for piecewise constant voxels where the array axes of both grids are parallel; otherwise the
/// mean of 4 x 4 x 4 samples, as for [`mask_fraction`].
pub fn volume_mean(source: &Volume<f32>, target: &Grid) -> Volume<f32> {
    if source.grid.is_empty() || target.is_empty() {
        return Volume::filled(target.clone(), 0.0);
    }
    let (from, flip) = permutation_between(&source.grid, target);
    let turned = permuted(source, from, flip);
    let (matrix, offset) = index_map(&turned.grid, target);
    let parallel = (0..3).all(|row| {
        let drift: f64 = (0..3)
            .filter(|&column| column != row)
            .map(|column| matrix[(row, column)].abs() * target.size[column] as f64)
            .sum();
        matrix[(row, row)] > 0.0 && drift < 1e-3
    });
    if !parallel {
        return supersampled_mean(source, target);
    }
    let mut size = turned.grid.size;
    let mut data = turned.data;
    // The axis that shrinks most goes first: least work for the others.
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| matrix[(b, b)].total_cmp(&matrix[(a, a)]));
    for axis in order {
        let overlaps = overlaps(
            size[axis],
            target.size[axis],
            matrix[(axis, axis)],
            offset[axis],
        );
        data = average_axis(&data, size, axis, &overlaps);
        size[axis] = target.size[axis];
    }
    Volume {
        grid: target.clone(),
        data,
    }
}

/// First source voxel and weights of the source voxels that one target voxel covers along an axis.
type Overlap = (usize, Vec<f64>);

/// Overlap of each of `count` target voxels (centre `offset + step * t`, width `step`, in source
/// voxels) with the `n` source voxels, as a part of the target voxel's width.
fn overlaps(n: usize, count: usize, step: f64, offset: f64) -> Vec<Overlap> {
    (0..count)
        .map(|t| {
            let centre = offset + step * t as f64;
            let low = (centre - 0.5 * step).max(-0.5);
            let high = (centre + 0.5 * step).min(n as f64 - 0.5);
            if high <= low {
                return (0, Vec::new());
            }
            let first = ((low + 0.5).floor() as usize).min(n - 1);
            let last = ((high + 0.5).floor() as usize).min(n - 1);
            let weights = (first..=last)
                .map(|s| {
                    let s = s as f64;
                    ((s + 0.5).min(high) - (s - 0.5).max(low)).max(0.0) / step
                })
                .collect();
            (first, weights)
        })
        .collect()
}

/// Applies the overlaps along one axis.
fn average_axis(data: &[f32], size: [usize; 3], axis: usize, overlaps: &[Overlap]) -> Vec<f32> {
    let mut out_size = size;
    out_size[axis] = overlaps.len();
    let stride = match axis {
        0 => 1,
        1 => size[0],
        _ => size[0] * size[1],
    };
    let mut out = vec![0.0; out_size.iter().product()];
    out.par_chunks_mut(out_size[0])
        .enumerate()
        .for_each(|(row, line)| {
            let (j, k) = (row % out_size[1], row / out_size[1]);
            for (i, value) in line.iter_mut().enumerate() {
                let at = [i, j, k];
                let (first, weights) = &overlaps[at[axis]];
                let mut from = at;
                from[axis] = *first;
                let start = from[0] + size[0] * (from[1] + size[1] * from[2]);
                *value = weights
                    .iter()
                    .enumerate()
                    .map(|(s, weight)| weight * f64::from(data[start + s * stride]))
                    .sum::<f64>() as f32;
            }
        });
    out
}

/// [`mask_fraction`] for grids at an angle.
fn supersampled_mean(source: &Volume<f32>, target: &Grid) -> Volume<f32> {
    const STEPS: usize = 4;
    let (matrix, offset) = index_map(&source.grid, target);
    let shifts: Vec<Vector3<f64>> = (0..STEPS.pow(3))
        .map(|n| {
            let part = |m: usize| (m % STEPS) as f64 / STEPS as f64 + 0.5 / STEPS as f64 - 0.5;
            matrix * Vector3::new(part(n), part(n / STEPS), part(n / STEPS / STEPS))
        })
        .collect();
    let size = source.grid.size;
    sample_index(target, 0.0, |voxel| {
        let centre = matrix * voxel + offset;
        let sum: f64 = shifts
            .iter()
            .map(|shift| centre + shift)
            .filter(|at| (0..3).all(|axis| is_inside(at[axis], size[axis])))
            .map(|at| f64::from(source.data[nearest_voxel(&source.grid, at)]))
            .sum();
        (sum / shifts.len() as f64) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &Volume<f32>, expected: &[f64]) {
        assert_eq!(found.data.len(), expected.len());
        for (a, b) in found.data.iter().zip(expected) {
            assert!(
                (f64::from(*a) - b).abs() < 1e-6,
                "{:?} {expected:?}",
                found.data
            );
        }
    }

    /// A row of four 1 mm voxels, the middle two inside (0.5 to 2.5 mm), seen by coarser, finer,
    /// shifted and reversed voxels; fractions by hand.
    #[test]
    fn overlaps_along_a_row_are_exact() {
        let grid = Grid::axis_aligned([4, 1, 1], [1.0; 3]);
        let mask = Volume::new(grid, vec![false, true, true, false]).unwrap();
        let mut coarse = Grid::axis_aligned([3, 1, 1], [1.5, 1.0, 1.0]);
        coarse.origin_mm.x = 0.25; // voxels -0.5..1, 1..2.5, 2.5..4 mm
        check(&mask_fraction(&mask, &coarse), &[1.0 / 3.0, 1.0, 0.0]);
        coarse.origin_mm.y = 0.75; // a quarter overlaps across the row
        check(&mask_fraction(&mask, &coarse), &[0.25 / 3.0, 0.25, 0.0]);
        let mut reversed = Grid::axis_aligned([2, 1, 1], [1.5, 1.0, 1.0]);
        reversed.origin_mm.x = 1.75;
        reversed.direction[(0, 0)] = -1.0; // voxels 2.5..1, 1..-0.5 mm
        check(&mask_fraction(&mask, &reversed), &[1.0, 1.0 / 3.0]);
        let mut across = Grid::axis_aligned([1, 3, 1], [1.0, 1.5, 1.0]);
        across.origin_mm.x = 0.25;
        across.direction.swap_columns(0, 1); // array axis j runs along x
        check(&mask_fraction(&mask, &across), &[1.0 / 3.0, 1.0, 0.0]);
        let finer = Grid::axis_aligned([4, 1, 1], [0.25, 1.0, 1.0]);
        check(&mask_fraction(&mask, &finer), &[0.0, 0.0, 0.5, 1.0]);
    }

    /// The mean fraction keeps the mask's volume; on an oblique grid to the accuracy of the samples.
    #[test]
    fn the_volume_is_kept() {
        let grid = Grid::axis_aligned([40, 36, 30], [0.8, 0.9, 1.1]);
        let mask = Volume::from_fn(grid.clone(), |[i, j, k]| {
            let p = grid.to_world(Vector3::new(i as f64, j as f64, k as f64));
            (p - Vector3::new(15.0, 16.0, 16.0)).norm() < 11.0
        });
        let exact = mask.count() as f64 * grid.voxel_volume_mm3();
        let volume = |fraction: Volume<f32>| {
            let sum: f64 = fraction.data.iter().map(|&v| f64::from(v)).sum();
            sum * fraction.grid.voxel_volume_mm3()
        };
        let mut target = Grid::axis_aligned([18, 18, 20], [2.3, 2.1, 1.9]);
        target.origin_mm = Vector3::new(-2.0, -1.0, -2.5);
        let parallel = volume(mask_fraction(&mask, &target));
        assert!((parallel / exact - 1.0).abs() < 1e-6, "{parallel} {exact}");
        let turn = nalgebra::Rotation3::from_euler_angles(0.2, -0.3, 0.5);
        let turned = Grid {
            origin_mm: Vector3::new(15.0, 16.0, 16.0) - turn * Vector3::new(18.0, 18.0, 18.0),
            direction: *turn.matrix(),
            ..Grid::axis_aligned([19; 3], [2.0; 3])
        };
        let oblique = volume(mask_fraction(&mask, &turned));
        assert!((oblique / exact - 1.0).abs() < 2e-3, "{oblique} {exact}");
    }

    #[test]
    fn empty_grids_are_no_trouble() {
        let mask = Volume::filled(Grid::axis_aligned([0, 2, 2], [1.0; 3]), true);
        let target = Grid::axis_aligned([2, 1, 1], [1.0; 3]);
        check(&mask_fraction(&mask, &target), &[0.0, 0.0]);
        let none = mask_fraction(&Volume::filled(target, true), &mask.grid);
        assert!(none.data.is_empty());
    }
}
