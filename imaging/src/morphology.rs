//! Growing and shrinking masks, in voxels and in mm.
//!
//! **The border of the volume.** Erosion does not eat from the border inwards: what lies beyond it is
//! unknown, and a bone cut by the scan's edge must not be eroded at the cut. Dilation adds nothing
//! from outside, and what grows beyond the border is lost.

use crate::distance::{check_orthogonal, signed_distance_mm, squared_distances};
use crate::error::Result;
use crate::lines::for_each_line;
use crate::orientation::{crop, pad};
use crate::volume::{Mask, Volume};

/// The shape that a mask grows or shrinks by; `n` is its radius in voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuringElement {
    /// `n` steps over faces (6 neighbours): an octahedron.
    Faces,
    /// `n` steps over faces, edges and corners (26 neighbours): a cube.
    Corners,
    /// Voxels up to `n` voxels away in a straight line: a ball, in voxels.
    Ball,
}

/// Offset in mm that rounding may take from a distance.
const ROUNDING_MM: f64 = 1e-5;

/// Dilates the mask by `n` voxels, or erodes it by `-n`; 0 changes nothing.
pub fn morph_voxels(mask: &Mask, n: i32, element: StructuringElement) -> Mask {
    match n {
        0 => mask.clone(),
        1.. => within(mask, true, n.unsigned_abs(), element),
        // What stays is what is further than n from the background.
        _ => invert(within(mask, false, n.unsigned_abs(), element)),
    }
}

/// Erosion by `n` voxels, then dilation by as many: removes what is thinner than the element.
pub fn opening(mask: &Mask, n: u32, element: StructuringElement) -> Mask {
    let steps = i32::try_from(n).unwrap_or(i32::MAX);
    morph_voxels(&morph_voxels(mask, -steps, element), steps, element)
}

/// Dilation by `n` voxels, then erosion by as many: closes gaps thinner than the element. Done as if
/// the volume went on with background, so that gaps between the mask and the border stay open.
///
/// # Errors
/// [`crate::Error::Parameter`] when the volume grown by `n` on every side is too large.
pub fn closing(mask: &Mask, n: u32, element: StructuringElement) -> Result<Mask> {
    let Some([low, high]) = mask.bounding_box() else {
        return Ok(mask.clone());
    };
    // A closing stays inside the mask's box.
    let padded = pad(&crop(mask, low, high)?, [n as usize + 1; 3], false)?;
    let steps = i32::try_from(n).unwrap_or(i32::MAX);
    let grown = morph_voxels(&padded, steps, element);
    let closed = morph_voxels(&grown, -steps, element);
    let mut out = mask.clone();
    for (index, _) in closed.data.iter().enumerate().filter(|(_, v)| **v) {
        let voxel = closed.grid.voxel(index);
        let at: [usize; 3] = std::array::from_fn(|a| voxel[a] + low[a] - (n as usize + 1));
        let at = out.grid.index(at[0], at[1], at[2]);
        out.data[at] = true;
    }
    Ok(out)
}

/// Moves the surface of the mask outwards by `offset_mm` (inwards when negative): a voxel is in when
/// its signed distance ([`signed_distance_mm`]) is at most the offset. The offset need not be a
/// multiple of the spacing. An empty and a full mask stay as they are.
///
/// # Errors
/// [`crate::Error::Geometry`] when the array axes are not at right angles, [`crate::Error::Parameter`]
/// when the offset is not a number.
pub fn morph_mm(mask: &Mask, offset_mm: f64) -> Result<Mask> {
    if offset_mm.is_nan() {
        return Err(crate::Error::Parameter(
            "the offset of a mask is not a number (mm)".into(),
        ));
    }
    if !(mask.data.contains(&true) && mask.data.contains(&false)) {
        return Ok(mask.clone());
    }
    let distance = signed_distance_mm(mask)?;
    Ok(distance.map(|&d| f64::from(d) <= offset_mm + ROUNDING_MM))
}

/// Furthest that a map moves a surface, mm: our own choice, more than a bone's surface is ever in doubt by. A map in another unit would
/// fill the scan, ball by ball, for hours.
const FURTHEST_MM: f64 = 25.0;

/// Moves the surface of the mask outwards by `times` what `by_mm` says there (inwards when `times` is negative). With the same value
/// everywhere it is [`morph_mm`]: the surface is sampled as for [`signed_distance_mm`], and every such point takes a ball of its own
/// radius, the mean of the map at the two voxels that it lies between. Where the map is 0 the surface stays.
///
/// # Errors
/// [`crate::Error::Geometry`] when the array axes are not at right angles, [`crate::Error::GridMismatch`] when the map is on another grid,
/// [`crate::Error::Parameter`] when `times` is not finite, the map holds what is no length, or the surface would move by more than 25 mm.
pub fn morph_by_mm(mask: &Mask, by_mm: &Volume<f32>, times: f64) -> Result<Mask> {
    check_orthogonal(&mask.grid)?;
    mask.grid.check_same(&by_mm.grid)?;
    if !times.is_finite() {
        return Err(crate::Error::Parameter(format!(
            "the offset of a mask is {times} times a map"
        )));
    }
    if let Some(value) = by_mm.data.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
        return Err(crate::Error::Parameter(format!(
            "the map by which a mask is moved holds {value}; it takes lengths in mm, 0 or more"
        )));
    }
    let (size, spacing) = (mask.grid.size, mask.grid.spacing_mm);
    let strides = [1, size[0], size[0] * size[1]];
    let grows = times > 0.0;
    let mut moved = mask.clone();
    for voxel in 0..mask.data.len() {
        let at = mask.grid.voxel(voxel);
        for axis in 0..3 {
            if at[axis] + 1 >= size[axis] {
                continue;
            }
            let next = voxel + strides[axis];
            if mask.data[voxel] == mask.data[next] {
                continue;
            }
            let by = 0.5 * (f64::from(by_mm.data[voxel]) + f64::from(by_mm.data[next]));
            let offset = times * by;
            if offset.abs() > FURTHEST_MM {
                return Err(crate::Error::Parameter(format!(
                    "the surface of the mask would move by {offset:.3e} mm at voxel {at:?} ({times} times {by:.3e}); at most \
                     {FURTHEST_MM} mm, so is the map in mm?"
                )));
            }
            // As in `morph_mm`, rounding is on the side of the mask.
            let radius = match grows {
                true => offset + ROUNDING_MM,
                false => -offset - ROUNDING_MM,
            };
            let mut centre = at.map(|index| index as f64);
            centre[axis] += 0.5;
            fill_ball(&mut moved, centre, radius, spacing, grows);
        }
    }
    Ok(moved)
}

/// Gives the voxels within `radius` mm of a point, in voxels, a value; one on the rim only where it is `true`.
fn fill_ball(mask: &mut Mask, centre: [f64; 3], radius: f64, spacing: [f64; 3], value: bool) {
    if radius <= 0.0 {
        return;
    }
    let size = mask.grid.size;
    let range = |axis: usize| {
        let reach = radius / spacing[axis];
        let low = (centre[axis] - reach).ceil().max(0.0) as usize;
        let high = (centre[axis] + reach).floor() as usize;
        low..(high + 1).min(size[axis])
    };
    let square = |axis: usize, at: usize| ((at as f64 - centre[axis]) * spacing[axis]).powi(2);
    for k in range(2) {
        for j in range(1) {
            let across = square(2, k) + square(1, j);
            for i in range(0) {
                let distance = (across + square(0, i)).sqrt();
                if distance < radius || value && distance == radius {
                    let at = mask.grid.index(i, j, k);
                    mask.data[at] = value;
                }
            }
        }
    }
}

fn invert(mut mask: Mask) -> Mask {
    mask.data.iter_mut().for_each(|inside| *inside = !*inside);
    mask
}

/// The voxels at most `n` from a voxel that is `value`.
fn within(mask: &Mask, value: bool, n: u32, element: StructuringElement) -> Mask {
    let data = match element {
        StructuringElement::Ball => {
            let limit = f64::from(n).powi(2) + 1e-6;
            squared_distances(mask, value, [1.0; 3])
                .iter()
                .map(|&square| square <= limit)
                .collect()
        }
        StructuringElement::Faces => face_steps(mask, value)
            .iter()
            .map(|&steps| steps <= n)
            .collect(),
        StructuringElement::Corners => within_cube(mask, value, n),
    };
    Volume {
        grid: mask.grid.clone(),
        data,
    }
}

/// Number of steps over faces from each voxel to the nearest that is `value`.
fn face_steps(mask: &Mask, value: bool) -> Vec<u32> {
    let mut steps: Vec<u32> = mask
        .data
        .iter()
        .map(|&v| if v == value { 0 } else { u32::MAX })
        .collect();
    for axis in 0..3 {
        for_each_line(
            &mut steps,
            mask.grid.size,
            axis,
            || (),
            |line, ()| {
                for at in 1..line.len() {
                    line[at] = line[at].min(line[at - 1].saturating_add(1));
                }
                for at in (0..line.len().saturating_sub(1)).rev() {
                    line[at] = line[at].min(line[at + 1].saturating_add(1));
                }
            },
        );
    }
    steps
}

/// The voxels with a voxel that is `value` at most `n` away along each axis.
fn within_cube(mask: &Mask, value: bool, n: u32) -> Vec<bool> {
    let reach = n as usize;
    let mut near: Vec<bool> = mask.data.iter().map(|&v| v == value).collect();
    for axis in 0..3 {
        for_each_line(
            &mut near,
            mask.grid.size,
            axis,
            Vec::new,
            |line, old: &mut Vec<bool>| {
                old.clear();
                old.extend_from_slice(line);
                let mut filled = 0; // everything before is decided
                for at in (0..old.len()).filter(|&at| old[at]) {
                    let end = at.saturating_add(reach).saturating_add(1).min(old.len());
                    line[at.saturating_sub(reach).max(filled)..end].fill(true);
                    filled = end;
                }
            },
        );
    }
    near
}

#[cfg(test)]
mod tests {
    use super::StructuringElement::{Ball, Corners, Faces};
    use super::*;
    use crate::grid::Grid;
    use crate::pattern::pattern;

    /// scipy.ndimage.binary_dilation and binary_erosion(border_value=1), iterations=n or a ball of
    /// radius n as structure, scipy 1.17.1.
    #[test]
    fn counts_equal_scipy() {
        let sparse = pattern([9, 8, 7]).map(|&v| v > 7.0);
        let dense = pattern([9, 8, 7]).map(|&v| v > -1.5);
        for (n, element, grown, shrunk) in [
            (1, Faces, 389, 435),
            (1, Corners, 493, 359),
            (1, Ball, 389, 435),
            (2, Faces, 497, 357),
            (2, Corners, 503, 251),
            (2, Ball, 499, 342),
        ] {
            assert_eq!(
                morph_voxels(&sparse, n, element).count(),
                grown,
                "{n} {element:?}"
            );
            assert_eq!(
                morph_voxels(&dense, -n, element).count(),
                shrunk,
                "{n} {element:?}"
            );
        }
    }

    /// scipy: erosion then dilation in the volume; dilation then erosion in the padded volume.
    #[test]
    fn opening_and_closing_equal_scipy() {
        let grid = Grid::axis_aligned([16, 15, 14], [1.0; 3]);
        let mask = Volume::from_fn(grid, |[i, j, k]| {
            (i * i * 3 + j * j * 5 + k * k * 2 + i * j) % 23 < 14
        });
        assert_eq!(mask.count(), 2010);
        for (element, open, closed) in [(Faces, 600, 2851), (Corners, 24, 3303)] {
            assert_eq!(opening(&mask, 1, element).count(), open);
            assert_eq!(closing(&mask, 1, element).unwrap().count(), closed);
        }
    }

    #[test]
    fn a_map_of_one_value_moves_the_surface_as_that_offset_does() {
        let grid = Grid::axis_aligned([16, 15, 14], [0.8, 0.8, 1.3]);
        let mask = Volume::from_fn(grid, |[i, j, k]| {
            (i * i * 3 + j * j * 5 + k * k * 2 + i * j) % 23 < 14 && (2..12).contains(&k)
        });
        let by_mm = mask.map(|_| 0.8f32);
        for times in [-3.0, -1.0, -0.6, 0.6, 1.0, 2.25] {
            let expected = morph_mm(&mask, 0.8 * times).unwrap();
            assert_ne!(expected, mask, "{times}");
            assert_eq!(
                morph_by_mm(&mask, &by_mm, times).unwrap(),
                expected,
                "{times}"
            );
        }
        assert_eq!(morph_by_mm(&mask, &by_mm, 0.0).unwrap(), mask);
    }

    /// A block whose low face along z is sure and whose high face is in doubt by 1 mm, on voxels of 1 mm.
    #[test]
    fn a_surface_moves_only_where_the_map_says_so() {
        let grid = Grid::axis_aligned([3, 3, 20], [1.0; 3]);
        let block = |low: usize, high: usize| {
            Volume::from_fn(grid.clone(), move |[_, _, k]| (low..high).contains(&k))
        };
        let by_mm = Volume::from_fn(grid.clone(), |[_, _, k]| if k < 10 { 0.0 } else { 1.0 });
        let mask = block(5, 15);
        for (times, high) in [
            (-2.0, 13),
            (-1.0, 14),
            (-0.4, 15),
            (0.4, 15),
            (1.0, 16),
            (2.6, 18),
        ] {
            let moved = morph_by_mm(&mask, &by_mm, times).unwrap();
            assert_eq!(moved, block(5, high), "{times}");
        }
        let sure = by_mm.map(|_| 0.0);
        assert_eq!(morph_by_mm(&mask, &sure, 5.0).unwrap(), mask);
        for wrong in [f32::NAN, -1.0] {
            let map = by_mm.map(|&v| if v > 0.0 { wrong } else { v });
            let error = morph_by_mm(&mask, &map, 1.0).unwrap_err().to_string();
            assert!(error.contains("lengths in mm"), "{error}");
        }
        for (by, times) in [(f32::MAX, 2.0), (13.0, -2.0)] {
            let map = by_mm.map(|&v| v * by);
            let error = morph_by_mm(&mask, &map, times).unwrap_err().to_string();
            assert!(error.contains("is the map in mm"), "{error}");
        }
        assert!(morph_by_mm(&mask, &by_mm.map(|&v| v * 12.0), 2.0).is_ok());
        let elsewhere = Volume::filled(Grid::axis_aligned([3, 3, 19], [1.0; 3]), 1.0);
        assert!(morph_by_mm(&mask, &elsewhere, 1.0).is_err());
        assert!(morph_by_mm(&mask, &by_mm, f64::NAN).is_err());
    }

    /// A shaft that leaves the scan at the bottom keeps its full length under erosion.
    #[test]
    fn a_bone_cut_by_the_border_is_not_eroded_at_the_cut() {
        let shaft = Volume::from_fn(Grid::axis_aligned([9, 9, 6], [1.0; 3]), |[i, j, k]| {
            (2..7).contains(&i) && (2..7).contains(&j) && k < 5
        });
        let expected = Volume::from_fn(shaft.grid.clone(), |[i, j, k]| {
            (3..6).contains(&i) && (3..6).contains(&j) && k < 4
        });
        for element in [Faces, Corners, Ball] {
            assert_eq!(morph_voxels(&shaft, -1, element), expected);
        }
        assert_eq!(morph_mm(&shaft, -1.0).unwrap(), expected);
        let full = Volume::filled(shaft.grid.clone(), true);
        assert_eq!(morph_voxels(&full, -3, Ball), full);
        assert_eq!(morph_mm(&full, -3.0).unwrap(), full);
    }

    /// A gap of one voxel between the mask and the border stays open, one inside the mask closes.
    #[test]
    fn closing_does_not_reach_for_the_border() {
        let grid = Grid::axis_aligned([7, 5, 5], [1.0; 3]);
        let plate = Volume::from_fn(grid, |[i, ..]| i == 1 || i == 3);
        let closed = closing(&plate, 1, Corners).unwrap();
        let expected = Volume::from_fn(plate.grid, |[i, ..]| (1..4).contains(&i));
        assert_eq!(closed, expected);
    }

    /// Offsets in mm between, at and beyond the half spacings at which a flat face moves on.
    #[test]
    fn a_flat_face_moves_by_the_offset_in_mm() {
        let grid = Grid::axis_aligned([3, 3, 12], [1.0, 1.0, 0.7]);
        let slab = Volume::from_fn(grid, |[_, _, k]| k < 6);
        for (offset, layers) in [
            (0.0, 6),
            (0.34, 6),
            (0.35, 7),
            (1.04, 7),
            (1.05, 8),
            (100.0, 12),
            (-0.34, 6),
            (-0.36, 5),
            (-1.06, 4),
            (-100.0, 0),
        ] {
            let moved = morph_mm(&slab, offset).unwrap();
            assert_eq!(moved.count(), 9 * layers, "{offset}");
        }
        assert!(morph_mm(&slab, f64::NAN).is_err());
    }

    #[test]
    fn extremes_pass() {
        for size in [[0, 2, 2], [1, 1, 1], [4, 1, 3]] {
            for value in [false, true] {
                let mask = Volume::filled(Grid::axis_aligned(size, [1.0; 3]), value);
                for element in [Faces, Corners, Ball] {
                    for n in [i32::MIN, -1, 0, 1, i32::MAX] {
                        assert_eq!(morph_voxels(&mask, n, element), mask);
                    }
                    assert_eq!(opening(&mask, u32::MAX, element), mask);
                    assert_eq!(closing(&mask, 2, element).unwrap(), mask);
                }
                assert_eq!(morph_mm(&mask, 1.0).unwrap(), mask);
            }
        }
        let one = Volume::filled(Grid::axis_aligned([1; 3], [1.0; 3]), true);
        assert!(closing(&one, u32::MAX, Faces).is_err());
    }
}
