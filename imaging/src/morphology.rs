//! Growing and shrinking masks, in voxels and in mm.
//!
//! **The border of the volume.** Erosion does not eat from the border inwards: what lies beyond it is
//! unknown, and a bone cut by the scan's edge must not be eroded at the cut. Dilation adds nothing
//! from outside, and what grows beyond the border is lost.

use crate::distance::{signed_distance_mm, squared_distances};
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
