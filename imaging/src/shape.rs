//! Where a mask stands and which of its voxels are its surface.

use nalgebra::Vector3;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::volume::Mask;

/// Mean of the voxel centres inside the mask, LPS mm.
///
/// # Errors
/// [`Error::Parameter`] for an empty mask.
pub fn centroid_mm(mask: &Mask) -> Result<Vector3<f64>> {
    // Index sums are whole numbers: exact, in any order.
    let mut sum = [0u64; 3];
    let mut count = 0u64;
    for (index, _) in mask.data.iter().enumerate().filter(|(_, v)| **v) {
        let voxel = mask.grid.voxel(index);
        for axis in 0..3 {
            sum[axis] += voxel[axis] as u64;
        }
        count += 1;
    }
    if count == 0 {
        return Err(Error::Parameter(
            "the mask is empty: it has no centroid; check the label value".into(),
        ));
    }
    let mean = Vector3::from_fn(|axis, _| sum[axis] as f64 / count as f64);
    Ok(mask.grid.to_world(mean))
}

/// The voxels inside the mask with a face neighbour outside it, or at the border of the volume; in
/// the order of the data.
pub fn surface_voxels(mask: &Mask) -> Vec<[usize; 3]> {
    let size = mask.grid.size;
    let inside = |at: [usize; 3], axis: usize, forward: bool| {
        let mut next = at;
        if forward {
            next[axis] += 1;
            next[axis] < size[axis] && mask.at(next[0], next[1], next[2])
        } else {
            at[axis] > 0 && {
                next[axis] -= 1;
                mask.at(next[0], next[1], next[2])
            }
        }
    };
    (0..mask.data.len())
        .into_par_iter()
        .filter(|&index| mask.data[index])
        .map(|index| mask.grid.voxel(index))
        .filter(|&at| (0..3).any(|axis| !inside(at, axis, true) || !inside(at, axis, false)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Grid;
    use crate::volume::Volume;

    #[test]
    fn the_centroid_of_a_box_is_its_centre() {
        let mut mask = Volume::from_fn(
            Grid::axis_aligned([6, 5, 4], [2.0, 3.0, 0.5]),
            |[i, j, k]| (1..=4).contains(&i) && (2..=3).contains(&j) && k == 3,
        );
        mask.grid.origin_mm = Vector3::new(10.0, 20.0, -30.0);
        mask.grid.direction[(0, 0)] = -1.0;
        let expected = Vector3::new(10.0 - 2.5 * 2.0, 20.0 + 2.5 * 3.0, -30.0 + 3.0 * 0.5);
        assert!((centroid_mm(&mask).unwrap() - expected).norm() < 1e-12);
        let empty = mask.map(|_| false);
        assert!(centroid_mm(&empty).is_err());
    }

    #[test]
    fn the_surface_is_the_shell_and_what_lies_on_the_border() {
        let mask = Volume::from_fn(Grid::axis_aligned([8, 7, 6], [1.0; 3]), |[i, j, k]| {
            (1..6).contains(&i) && (1..6).contains(&j) && k < 4
        });
        // 5 x 5 x 4 voxels, the core of 3 x 3 x 2 is not surface; k = 0 is the border.
        let surface = surface_voxels(&mask);
        assert_eq!(surface.len(), 100 - 18);
        assert!(surface.contains(&[3, 3, 0]));
        assert!(!surface.contains(&[3, 3, 1]));
        let full = Volume::filled(Grid::axis_aligned([3; 3], [1.0; 3]), true);
        assert_eq!(surface_voxels(&full).len(), 26);
        assert!(surface_voxels(&mask.map(|_| false)).is_empty());
    }
}
