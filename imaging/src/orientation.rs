//! The order and direction of the array axes: reorienting, cropping and padding without touching a value.

use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::grid::{Grid, SAME_GRID_TOLERANCE_MM};
use crate::volume::Volume;

/// A direction in the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AxisDirection {
    Left,
    Right,
    Posterior,
    Anterior,
    Superior,
    Inferior,
}

/// Array axes along the NIfTI world axes: i to the right, j to the front, k to the head.
pub const RAS: [AxisDirection; 3] = [
    AxisDirection::Right,
    AxisDirection::Anterior,
    AxisDirection::Superior,
];

/// Array axes along the DICOM world axes: i to the left, j to the back, k to the head.
pub const LPS: [AxisDirection; 3] = [
    AxisDirection::Left,
    AxisDirection::Posterior,
    AxisDirection::Superior,
];

impl AxisDirection {
    /// The direction of a letter of an axis code, such as `R`; `None` for another letter.
    pub fn from_letter(letter: char) -> Option<Self> {
        Some(match letter.to_ascii_uppercase() {
            'L' => Self::Left,
            'R' => Self::Right,
            'P' => Self::Posterior,
            'A' => Self::Anterior,
            'S' => Self::Superior,
            'I' => Self::Inferior,
            _ => return None,
        })
    }

    /// The world axis (0 = L, 1 = P, 2 = S) and whether this direction runs along it (`true`) or
    /// against it.
    pub fn world_axis(self) -> (usize, bool) {
        match self {
            Self::Left => (0, true),
            Self::Right => (0, false),
            Self::Posterior => (1, true),
            Self::Anterior => (1, false),
            Self::Superior => (2, true),
            Self::Inferior => (2, false),
        }
    }
}

/// Reads an axis code such as `RAS`: the side towards which each array axis runs.
///
/// # Errors
/// [`Error::Parameter`] when the code is not three letters, one of each pair L/R, P/A, S/I.
pub fn parse_axis_code(code: &str) -> Result<[AxisDirection; 3]> {
    let directions: Option<Vec<_>> = code.chars().map(AxisDirection::from_letter).collect();
    directions
        .and_then(|d| <[AxisDirection; 3]>::try_from(d).ok())
        .filter(is_permutation)
        .ok_or_else(|| {
            Error::Parameter(format!(
                "`{code}` is not an axis code; it takes one letter of each pair L/R, P/A and S/I, such as RAS"
            ))
        })
}

fn is_permutation(axes: &[AxisDirection; 3]) -> bool {
    let mut seen = [false; 3];
    for axis in axes {
        seen[axis.world_axis().0] = true;
    }
    seen == [true; 3]
}

/// The world directions that the array axes of a grid run closest to: what [`reorient`] takes to bring a volume back to it.
pub fn axes_of(grid: &Grid) -> [AxisDirection; 3] {
    grid.closest_axes()
        .map(|(axis, forward)| match (axis, forward) {
            (0, true) => AxisDirection::Left,
            (0, false) => AxisDirection::Right,
            (1, true) => AxisDirection::Posterior,
            (1, false) => AxisDirection::Anterior,
            (_, true) => AxisDirection::Superior,
            (_, false) => AxisDirection::Inferior,
        })
}

/// Permutes and flips the array axes so that they run closest to the directions `axes`. No value
/// changes and every voxel keeps its world position; an oblique grid stays oblique.
///
/// # Errors
/// [`Error::Parameter`] when `axes` names a world axis twice.
pub fn reorient<T: Copy + Send + Sync>(
    volume: &Volume<T>,
    axes: [AxisDirection; 3],
) -> Result<Volume<T>> {
    if !is_permutation(&axes) {
        return Err(Error::Parameter(format!(
            "array axes {axes:?} name a world axis twice; one of each pair L/R, P/A and S/I is needed"
        )));
    }
    Ok(reoriented(volume, axes))
}

/// The volume with its array axes ordered and directed as the RAS+ axes, as [`reorient`].
pub fn to_ras_axes<T: Copy + Send + Sync>(volume: &Volume<T>) -> Volume<T> {
    reoriented(volume, RAS)
}

fn reoriented<T: Copy + Send + Sync>(volume: &Volume<T>, axes: [AxisDirection; 3]) -> Volume<T> {
    let wanted = axes.map(AxisDirection::world_axis);
    let (from, flip) = permutation(volume.grid.closest_axes(), wanted);
    permuted(volume, from, flip)
}

/// For each new array axis: the old array axis it comes from and whether it is flipped.
fn permutation(have: [(usize, bool); 3], want: [(usize, bool); 3]) -> ([usize; 3], [bool; 3]) {
    let mut from = [0; 3];
    let mut flip = [false; 3];
    for (new, &(world, forward)) in want.iter().enumerate() {
        for (old, &(old_world, old_forward)) in have.iter().enumerate() {
            if old_world == world {
                from[new] = old;
                flip[new] = forward != old_forward;
            }
        }
    }
    (from, flip)
}

/// Grids that differ by less than this part of a voxel edge are one for [`on_grid`]: headers are rounded (texts of few digits in DICOM,
/// single precision in NIfTI), and what one program writes of a grid is seldom what another one read. A fiftieth of a voxel moves no surface.
const ROUNDED_VOXELS: f64 = 0.02;

/// A volume whose voxels are those of `target`, with its array axes ordered and directed as `target`'s. Programs store the same
/// voxels in different orders: a DICOM series runs to the left and back, the NIfTI masks drawn on it often to the left and front.
///
/// # Errors
/// [`Error::GridMismatch`] naming both grids as they are stored, where their voxels are not the same.
pub fn on_grid<T: Copy + Send + Sync>(volume: Volume<T>, target: &Grid) -> Result<Volume<T>> {
    let edge = target.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
    let tolerance = SAME_GRID_TOLERANCE_MM.max(ROUNDED_VOXELS * edge);
    let turned = if target.check_within(&volume.grid, tolerance).is_ok() {
        volume
    } else {
        let (from, flip) = permutation_between(&volume.grid, target);
        let turned = permuted(&volume, from, flip);
        if target.check_within(&turned.grid, tolerance).is_err() {
            target.check_within(&volume.grid, tolerance)?;
        }
        turned
    };
    Ok(Volume {
        // Both headers are rounded: one of them holds from here on.
        grid: target.clone(),
        data: turned.data,
    })
}

/// The permutation and flips that bring the array axes of `grid` closest to those of `target`.
pub(crate) fn permutation_between(grid: &Grid, target: &Grid) -> ([usize; 3], [bool; 3]) {
    // The axes of `grid` seen in the frame of `target`, so that two equally oblique grids match.
    let inverse = target
        .direction
        .try_inverse()
        .unwrap_or_else(Matrix3::identity);
    let relative = Grid {
        direction: inverse * grid.direction,
        ..grid.clone()
    };
    let own = [(0, true), (1, true), (2, true)];
    permutation(relative.closest_axes(), own)
}

/// Volume whose array axis `a` is the old axis `from[a]`, reversed where `flip[a]`.
pub(crate) fn permuted<T: Copy + Send + Sync>(
    volume: &Volume<T>,
    from: [usize; 3],
    flip: [bool; 3],
) -> Volume<T> {
    let old = &volume.grid;
    let mut grid = old.clone();
    let mut first = Vector3::zeros();
    for new in 0..3 {
        let axis = from[new];
        grid.size[new] = old.size[axis];
        grid.spacing_mm[new] = old.spacing_mm[axis];
        let column = old.direction.column(axis).into_owned();
        grid.direction
            .set_column(new, &if flip[new] { -column } else { column });
        if flip[new] {
            first[axis] = old.size[axis].saturating_sub(1) as f64;
        }
    }
    grid.origin_mm = old.to_world(first);
    if old.is_empty() || (from == [0, 1, 2] && flip == [false; 3]) {
        return Volume {
            grid,
            data: volume.data.clone(),
        };
    }
    let size = grid.size;
    let mut data = vec![volume.data[0]; grid.len()];
    data.par_chunks_mut(size[0])
        .enumerate()
        .for_each(|(row, line)| {
            let (j, k) = (row % size[1], row / size[1]);
            for (i, value) in line.iter_mut().enumerate() {
                let new = [i, j, k];
                let mut at = [0; 3];
                for a in 0..3 {
                    at[from[a]] = if flip[a] {
                        size[a] - 1 - new[a]
                    } else {
                        new[a]
                    };
                }
                *value = volume.at(at[0], at[1], at[2]);
            }
        });
    Volume { grid, data }
}

/// The voxels `low..=high` of a volume, with their world positions (the box of
/// [`crate::Mask::bounding_box`]).
///
/// # Errors
/// [`Error::Parameter`] when the box is empty or reaches beyond the volume.
pub fn crop<T: Copy>(volume: &Volume<T>, low: [usize; 3], high: [usize; 3]) -> Result<Volume<T>> {
    let old = &volume.grid;
    if (0..3).any(|axis| low[axis] > high[axis] || high[axis] >= old.size[axis]) {
        return Err(Error::Parameter(format!(
            "voxels {low:?} to {high:?} are not a box inside the volume of {:?} voxels",
            old.size
        )));
    }
    let mut grid = old.clone();
    grid.size = std::array::from_fn(|axis| high[axis] - low[axis] + 1);
    grid.origin_mm = old.to_world(Vector3::from_fn(|axis, _| low[axis] as f64));
    let mut data = Vec::with_capacity(grid.len());
    for k in low[2]..=high[2] {
        for j in low[1]..=high[1] {
            let start = old.index(low[0], j, k);
            data.extend_from_slice(&volume.data[start..start + grid.size[0]]);
        }
    }
    Ok(Volume { grid, data })
}

/// The volume with `voxels[axis]` layers of `value` added on both sides of each axis; the voxels keep
/// their world positions.
///
/// # Errors
/// [`Error::Parameter`] when the padded volume would have more voxels than a `u32` can number.
pub fn pad<T: Copy>(volume: &Volume<T>, voxels: [usize; 3], value: T) -> Result<Volume<T>> {
    let old = &volume.grid;
    let mut grid = old.clone();
    let padded = |axis: usize| voxels[axis].checked_mul(2)?.checked_add(old.size[axis]);
    let size = padded(0).zip(padded(1)).zip(padded(2));
    let size = size
        .map(|((ni, nj), nk)| [ni, nj, nk])
        .filter(|size| size.iter().map(|&n| n as f64).product::<f64>() <= f64::from(u32::MAX));
    grid.size = size.ok_or_else(|| {
        Error::Parameter(format!(
            "{voxels:?} layers around {:?} voxels make too large a volume",
            old.size
        ))
    })?;
    grid.origin_mm = old.to_world(Vector3::from_fn(|axis, _| -(voxels[axis] as f64)));
    let mut padded = Volume::filled(grid, value);
    if !old.is_empty() {
        for (row, line) in volume.data.chunks(old.size[0]).enumerate() {
            let (j, k) = (row % old.size[1], row / old.size[1]);
            let start = padded.grid.index(voxels[0], j + voxels[1], k + voxels[2]);
            padded.data[start..start + line.len()].copy_from_slice(line);
        }
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::pattern;
    use nalgebra::Rotation3;

    /// All 48 axis codes.
    fn codes() -> Vec<String> {
        let pairs = [['R', 'L'], ['A', 'P'], ['I', 'S']];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let mut codes = Vec::new();
        for order in orders {
            for sides in 0..8usize {
                codes.push((0..3).map(|a| pairs[order[a]][sides >> a & 1]).collect());
            }
        }
        codes
    }

    #[test]
    fn the_same_voxels_in_another_order_are_on_the_grid() {
        let mut volume = pattern([3, 4, 5]);
        let turn = Rotation3::from_euler_angles(0.2, -0.1, 0.3).into_inner();
        volume.grid.direction = turn * volume.grid.direction;
        for code in codes() {
            let stored = reorient(&volume, parse_axis_code(&code).unwrap()).unwrap();
            let back = on_grid(stored.clone(), &volume.grid).unwrap();
            assert_eq!(back, volume, "{code}");
            // A header that is rounded otherwise is the same grid still; a twentieth of a voxel is not.
            let edge = stored.grid.spacing_mm.into_iter().fold(f64::MAX, f64::min);
            for (voxels, is_same) in [(0.015, true), (0.05, false)] {
                let mut rounded = stored.clone();
                rounded.grid.origin_mm.x += voxels * edge;
                let taken = on_grid(rounded, &volume.grid);
                assert_eq!(taken.ok(), is_same.then(|| volume.clone()), "{voxels}");
            }
            // Another place, size or step is another grid, and the refusal names both as they were.
            let mut moved = stored.clone();
            moved.grid.origin_mm.y += 0.5;
            let mut stretched = stored.clone();
            stretched.grid.spacing_mm[2] *= 1.01;
            for other in [moved, stretched] {
                let told = other.grid.to_string();
                let refused = on_grid(other, &volume.grid).unwrap_err().to_string();
                assert!(refused.contains(&told), "{refused}");
            }
        }
        let other = pattern([4, 3, 5]);
        assert!(on_grid(other, &pattern([3, 4, 5]).grid).is_err());
    }

    #[test]
    fn a_volume_goes_back_to_the_axes_of_its_grid() {
        let volume = pattern([3, 4, 5]);
        for code in codes() {
            let stored = reorient(&volume, parse_axis_code(&code).unwrap()).unwrap();
            let back = reorient(&to_ras_axes(&stored), axes_of(&stored.grid)).unwrap();
            assert_eq!(back.data, stored.data, "{code}");
            assert_eq!(back.grid.axis_code(), code);
        }
    }

    /// Value of the voxel at a world position, which must be a voxel centre.
    fn at_world(volume: &Volume<f32>, world: Vector3<f64>) -> f32 {
        let index = volume.grid.to_index(world);
        let voxel: [usize; 3] = std::array::from_fn(|a| {
            assert!((index[a] - index[a].round()).abs() < 1e-9);
            index[a].round() as usize
        });
        volume.at(voxel[0], voxel[1], voxel[2])
    }

    /// From each of the 48 orientations to each other, straight and oblique: every voxel keeps its
    /// value and its world position.
    #[test]
    fn every_orientation_keeps_every_voxel_in_its_place() {
        for turn in [
            Rotation3::identity(),
            Rotation3::from_euler_angles(0.2, -0.3, 0.25),
        ] {
            for from in codes() {
                let mut volume = pattern([2, 3, 4]);
                for (a, d) in parse_axis_code(&from).unwrap().into_iter().enumerate() {
                    let (world, forward) = d.world_axis();
                    let mut column = Vector3::zeros();
                    column[world] = if forward { 1.0 } else { -1.0 };
                    volume.grid.direction.set_column(a, &(turn * column));
                }
                volume.grid.origin_mm = Vector3::new(10.0, -20.0, 30.0);
                assert_eq!(volume.grid.axis_code(), from);
                for to in codes() {
                    let turned = reorient(&volume, parse_axis_code(&to).unwrap()).unwrap();
                    assert_eq!(turned.grid.axis_code(), to);
                    assert_eq!(turned.data.len(), volume.data.len());
                    for (index, &value) in volume.data.iter().enumerate() {
                        let voxel = Vector3::from(volume.grid.voxel(index).map(|v| v as f64));
                        let world = volume.grid.to_world(voxel);
                        assert_eq!(at_world(&turned, world), value, "{from} to {to}");
                    }
                }
                assert_eq!(to_ras_axes(&volume).grid.axis_code(), "RAS");
            }
        }
    }

    #[test]
    fn wrong_axis_codes_are_refused() {
        assert_eq!(parse_axis_code("ras").unwrap(), RAS);
        assert_eq!(parse_axis_code("LPS").unwrap(), LPS);
        for bad in ["", "RA", "RASS", "RLS", "XYZ", "RRR", "Ré"] {
            assert!(parse_axis_code(bad).is_err(), "{bad}");
        }
        let twice = [
            AxisDirection::Left,
            AxisDirection::Right,
            AxisDirection::Superior,
        ];
        assert!(reorient(&pattern([2, 2, 2]), twice).is_err());
    }

    #[test]
    fn crop_and_pad_keep_world_positions() {
        let mut volume = pattern([5, 4, 3]);
        volume.grid.direction = *Rotation3::from_euler_angles(0.3, 0.2, -0.9).matrix();
        let cropped = crop(&volume, [1, 0, 2], [3, 2, 2]).unwrap();
        assert_eq!(cropped.grid.size, [3, 3, 1]);
        let padded = pad(&volume, [2, 0, 1], -9.0).unwrap();
        assert_eq!(padded.grid.size, [9, 4, 5]);
        for (index, &value) in volume.data.iter().enumerate() {
            let voxel = volume.grid.voxel(index);
            let world = volume.grid.to_world(Vector3::from(voxel.map(|v| v as f64)));
            assert_eq!(at_world(&padded, world), value);
            if (0..3).all(|a| (([1, 0, 2][a])..=([3, 2, 2][a])).contains(&voxel[a])) {
                assert_eq!(at_world(&cropped, world), value);
            }
        }
        let added = padded.data.iter().filter(|&&v| v == -9.0).count();
        assert_eq!(added, 9 * 4 * 5 - 5 * 4 * 3);
        assert!(crop(&volume, [1, 0, 2], [3, 2, 3]).is_err());
        assert!(crop(&volume, [2, 0, 0], [1, 2, 2]).is_err());
        assert!(pad(&volume, [usize::MAX, 0, 0], 0.0).is_err());
        assert!(pad(&volume, [100_000, 100_000, 0], 0.0).is_err());
    }

    #[test]
    fn empty_volumes_are_reoriented_too() {
        let mut empty = pattern([0, 4, 3]);
        empty.data.clear();
        let turned = reorient(&empty, parse_axis_code("SAR").unwrap()).unwrap();
        assert_eq!(turned.grid.size, [3, 4, 0]);
        assert_eq!(pad(&empty, [1, 1, 1], 2.0).unwrap().data, [2.0; 2 * 6 * 5]);
    }
}
