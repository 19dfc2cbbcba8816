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
