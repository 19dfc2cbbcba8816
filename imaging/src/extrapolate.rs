//! Continuing an image beyond a mask.

use crate::error::Result;
use crate::volume::{Mask, Volume};

/// Replaces what lies outside a mask by the image continued from inside it: layer by layer, each voxel takes the mean of
/// those of its 26 neighbours that have a value already. Voxels more than `layers` away keep theirs.
///
/// # Errors
/// [`crate::Error::GridMismatch`] when mask and image stand on different grids.
pub fn continued_from(volume: &Volume<f32>, mask: &Mask, layers: usize) -> Result<Volume<f32>> {
    volume.grid.check_same(&mask.grid)?;
    let size = volume.grid.size;
    let mut known = mask.data.clone();
    let mut out = volume.clone();
    for _ in 0..layers {
        let mut found = Vec::new();
        for (index, _) in known.iter().enumerate().filter(|(_, known)| !**known) {
            let at = volume.grid.voxel(index);
            let (mut sum, mut count) = (0.0, 0usize);
            for n in 0..27 {
                let step = [n % 3, n / 3 % 3, n / 9];
                let Some(next) = shifted(at, step, size) else {
                    continue;
                };
                let next = volume.grid.index(next[0], next[1], next[2]);
                if known[next] {
                    sum += f64::from(out.data[next]);
                    count += 1;
                }
            }
            if count > 0 {
                found.push((index, (sum / count as f64) as f32));
            }
        }
        for (index, value) in found {
            out.data[index] = value;
            known[index] = true;
        }
    }
    Ok(out)
}

/// A voxel moved by -1, 0 or 1 (0, 1, 2) along each axis, inside the image.
fn shifted(at: [usize; 3], step: [usize; 3], size: [usize; 3]) -> Option<[usize; 3]> {
    let mut next = at;
    for axis in 0..3 {
        next[axis] = (at[axis] + step[axis]).checked_sub(1)?;
        if next[axis] >= size[axis] {
            return None;
        }
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    #[test]
    fn a_constant_inside_goes_on_outside_as_far_as_asked() {
        let grid = Grid::axis_aligned([9; 3], [1.0; 3]);
        let mask = Volume::from_fn(grid.clone(), |v| v.iter().all(|&x| (3..6).contains(&x)));
        let volume = mask.map(|&inside| if inside { 5.0 } else { -1.0 });
        let out = continued_from(&volume, &mask, 2).unwrap();
        assert_eq!(out.at(1, 4, 4), 5.0);
        assert_eq!(out.at(0, 4, 4), -1.0);
        assert_eq!(out.at(1, 1, 1), 5.0);
    }

    #[test]
    fn what_is_inside_stays() {
        let grid = Grid::axis_aligned([5, 1, 1], [1.0; 3]);
        let mask = Volume::from_fn(grid.clone(), |v| v[0] < 2);
        let volume = Volume::from_fn(grid, |v| v[0] as f32);
        let out = continued_from(&volume, &mask, 3).unwrap();
        assert_eq!(out.data, vec![0.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
