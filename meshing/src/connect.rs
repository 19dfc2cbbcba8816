//! Loose pieces of a mask: parts that share no voxel face with the body hold no load and make the stiffness singular.

use imaging::{Mask, Volume};

use crate::error::{Error, Result};

/// What was left out of a mask because it hangs on nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Number of separate parts.
    pub parts: usize,
    /// Number of voxels in them.
    pub voxels: usize,
}

/// Keeps the largest part of a mask (voxels joined through faces) and drops the others.
///
/// Of several parts of equal size the one with the first voxel is kept.
///
/// # Errors
/// [`Error::EmptyMask`].
pub fn keep_largest(mask: &Mask) -> Result<(Mask, Dropped)> {
    let parts = Parts::of(mask);
    let largest = (0..parts.sizes.len())
        .rev()
        .max_by_key(|&part| parts.sizes[part])
        .ok_or(Error::EmptyMask)?;
    Ok(parts.keep(mask, |part| part == largest))
}

/// Keeps the parts of a mask (voxels joined through faces) that hold at least one of the voxels `anchors` (indices
/// into the data of the mask) and drops the others.
///
/// # Errors
/// [`Error::EmptyMask`]; [`Error::Parameter`] when no anchor lies inside the mask.
pub fn keep_anchored(mask: &Mask, anchors: &[usize]) -> Result<(Mask, Dropped)> {
    let parts = Parts::of(mask);
    if parts.sizes.is_empty() {
        return Err(Error::EmptyMask);
    }
    let mut anchored = vec![false; parts.sizes.len()];
    for &voxel in anchors {
        match parts.part.get(voxel) {
            Some(&part) if part != Parts::OUTSIDE => anchored[part as usize] = true,
            _ => {}
        }
    }
    if !anchored.contains(&true) {
        return Err(Error::Parameter(format!(
            "none of the {} anchor voxels lies inside the mask",
            anchors.len()
        )));
    }
    Ok(parts.keep(mask, |part| anchored[part]))
}

/// The parts of a mask, numbered in the order of their first voxels.
struct Parts {
    part: Vec<u32>,
    sizes: Vec<usize>,
}

impl Parts {
    const OUTSIDE: u32 = u32::MAX;

    fn of(mask: &Mask) -> Self {
        let mut part = vec![Self::OUTSIDE; mask.data.len()];
        let mut sizes = Vec::new();
        let mut front = Vec::new();
        for first in 0..mask.data.len() {
            if !mask.data[first] || part[first] != Self::OUTSIDE {
                continue;
            }
            let number = sizes.len() as u32;
            part[first] = number;
            front.push(first);
            let mut size = 0;
            while let Some(voxel) = front.pop() {
                size += 1;
                for neighbour in face_neighbours(mask, voxel).into_iter().flatten() {
                    if mask.data[neighbour] && part[neighbour] == Self::OUTSIDE {
                        part[neighbour] = number;
                        front.push(neighbour);
                    }
                }
            }
            sizes.push(size);
        }
        Self { part, sizes }
    }

    fn keep(&self, mask: &Mask, keep: impl Fn(usize) -> bool) -> (Mask, Dropped) {
        let mut dropped = Dropped::default();
        for (part, size) in self.sizes.iter().enumerate() {
            if !keep(part) {
                dropped.parts += 1;
                dropped.voxels += size;
            }
        }
        let data = self
            .part
            .iter()
            .map(|&part| part != Self::OUTSIDE && keep(part as usize))
            .collect();
        let kept = Volume {
            grid: mask.grid.clone(),
            data,
        };
        (kept, dropped)
    }
}

fn face_neighbours(mask: &Mask, voxel: usize) -> [Option<usize>; 6] {
    let size = mask.grid.size;
    let at = mask.grid.voxel(voxel);
    let steps = [1, size[0], size[0] * size[1]];
    std::array::from_fn(|face| {
        let axis = face / 2;
        if face % 2 == 0 {
            (at[axis] > 0).then(|| voxel - steps[axis])
        } else {
            (at[axis] + 1 < size[axis]).then(|| voxel + steps[axis])
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;

    fn row(inside: &[u8]) -> Mask {
        let grid = Grid::axis_aligned([inside.len(), 1, 1], [1.0; 3]);
        Volume {
            grid,
            data: inside.iter().map(|&v| v == 1).collect(),
        }
    }

    #[test]
    fn the_largest_part_stays() {
        let mask = row(&[1, 1, 0, 1, 1, 1, 0, 1]);
        let (kept, dropped) = keep_largest(&mask).unwrap();
        assert_eq!(kept, row(&[0, 0, 0, 1, 1, 1, 0, 0]));
        assert_eq!(
            dropped,
            Dropped {
                parts: 2,
                voxels: 3
            }
        );
    }

    #[test]
    fn the_first_of_equal_parts_stays() {
        let (kept, _) = keep_largest(&row(&[0, 1, 0, 1])).unwrap();
        assert_eq!(kept, row(&[0, 1, 0, 0]));
    }

    #[test]
    fn rows_do_not_join_across_the_border_of_the_image() {
        // Voxel (2,0,0) and voxel (0,1,0) are neighbours in memory but not in space.
        let grid = Grid::axis_aligned([3, 2, 1], [1.0; 3]);
        let mask = Volume {
            grid,
            data: vec![false, false, true, true, false, false],
        };
        let (kept, dropped) = keep_largest(&mask).unwrap();
        assert_eq!(kept.count(), 1);
        assert!(kept.data[2]);
        assert_eq!(dropped.voxels, 1);
    }

    #[test]
    fn parts_reach_along_every_axis() {
        // A three-legged star: three voxels along each axis from a corner, and one voxel off it.
        let grid = Grid::axis_aligned([4, 5, 6], [1.0; 3]);
        let mask = Mask::from_fn(grid, |v| {
            let away = v.iter().filter(|&&x| x > 0).count();
            v.iter().all(|&x| x < 3) && away <= 1 || v == [3, 4, 5]
        });
        let (kept, dropped) = keep_largest(&mask).unwrap();
        assert_eq!(kept.count(), 7);
        assert_eq!(
            dropped,
            Dropped {
                parts: 1,
                voxels: 1
            }
        );
    }

    #[test]
    fn voxels_that_share_only_an_edge_are_loose() {
        let grid = Grid::axis_aligned([2, 2, 1], [1.0; 3]);
        let mask = Volume {
            grid,
            data: vec![true, false, false, true],
        };
        assert_eq!(keep_largest(&mask).unwrap().1.parts, 1);
    }

    #[test]
    fn anchors_choose_the_parts() {
        let mask = row(&[1, 1, 0, 1, 0, 1]);
        let (kept, dropped) = keep_anchored(&mask, &[3, 5, 2]).unwrap();
        assert_eq!(kept, row(&[0, 0, 0, 1, 0, 1]));
        assert_eq!(
            dropped,
            Dropped {
                parts: 1,
                voxels: 2
            }
        );
        assert!(matches!(
            keep_anchored(&mask, &[2, 400]),
            Err(Error::Parameter(_))
        ));
    }

    #[test]
    fn an_empty_mask_is_refused() {
        assert!(matches!(keep_largest(&row(&[0, 0])), Err(Error::EmptyMask)));
        assert!(matches!(
            keep_anchored(&row(&[0, 0]), &[0]),
            Err(Error::EmptyMask)
        ));
    }
}
