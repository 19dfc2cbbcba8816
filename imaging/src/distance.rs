//! Exact Euclidean distances in mm, with anisotropic spacing.
//!
//! Squared distances are separable: one pass of lower envelopes of parabolas per axis gives the exact
//! minimum over all voxels (P. Felzenszwalb and D. Huttenlocher, "Distance transforms of sampled
//! functions", Theory of Computing 8, 2012).

use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::lines::for_each_line;
use crate::volume::{Mask, Volume};

/// Distance of each voxel centre to the nearest voxel centre of the mask, mm; 0 inside the mask.
///
/// # Errors
/// [`Error::Parameter`] for a mask without a voxel, [`Error::Geometry`] when the array axes are not at
/// right angles.
pub fn distance_to_mask_mm(mask: &Mask) -> Result<Volume<f32>> {
    check_orthogonal(&mask.grid)?;
    if !mask.data.contains(&true) {
        return Err(Error::Parameter(
            "the mask is empty: there is no distance to it; check the label value".into(),
        ));
    }
    let squares = squared_distances(mask, true, mask.grid.spacing_mm);
    Ok(Volume {
        grid: mask.grid.clone(),
        data: squares.iter().map(|d| d.sqrt() as f32).collect(),
    })
}

/// Distance of each voxel centre to the surface of the mask, mm; negative inside.
///
/// The surface is sampled by the points midway between the centres of face neighbours of which one
/// is inside and one outside. A flat face of the mask thus lies midway between voxel centres: the
/// voxels on its two sides stand at minus and plus half the spacing. No voxel is at 0, and the
/// distances of a mask and of its complement differ in sign only. The border of the volume is no
/// surface: a bone cut by the scan's edge has none there.
///
/// # Errors
/// [`Error::Parameter`] for an empty or a full mask, which has no surface; [`Error::Geometry`] when
/// the array axes are not at right angles.
pub fn signed_distance_mm(mask: &Mask) -> Result<Volume<f32>> {
    check_orthogonal(&mask.grid)?;
    if !(mask.data.contains(&true) && mask.data.contains(&false)) {
        let what = if mask.data.contains(&true) {
            "fills the whole volume"
        } else {
            "is empty"
        };
        return Err(Error::Parameter(format!(
            "the mask {what}: it has no surface to measure a distance from"
        )));
    }
    let size = mask.grid.size;
    let spacing = mask.grid.spacing_mm;
    // Three families of surface points, between neighbours along i, j and k. The envelope of a minimum
    // is the minimum of the envelopes, so the first two share their pass along k.
    let mut squares = face_squares(mask, 0);
    envelope_axis(&mut squares, size, 1, spacing[1]);
    let mut family = face_squares(mask, 1);
    envelope_axis(&mut family, size, 0, spacing[0]);
    merge(&mut squares, &family);
    drop(family);
    envelope_axis(&mut squares, size, 2, spacing[2]);
    let mut family = face_squares(mask, 2);
    envelope_axis(&mut family, size, 0, spacing[0]);
    envelope_axis(&mut family, size, 1, spacing[1]);
    merge(&mut squares, &family);
    let data = squares
        .iter()
        .zip(&mask.data)
        .map(|(square, &inside)| {
            let distance = square.sqrt() as f32;
            if inside { -distance } else { distance }
        })
        .collect();
    Ok(Volume {
        grid: mask.grid.clone(),
        data,
    })
}

fn check_orthogonal(grid: &Grid) -> Result<()> {
    if grid.is_orthogonal() {
        Ok(())
    } else {
        Err(Error::Geometry(format!(
            "distances need array axes at right angles; resample this image first: {grid}"
        )))
    }
}

/// Squared distance of every voxel to the nearest voxel that is `value`; infinite when there is none.
pub(crate) fn squared_distances(mask: &Mask, value: bool, spacing: [f64; 3]) -> Vec<f64> {
    let mut squares: Vec<f64> = mask
        .data
        .iter()
        .map(|&v| if v == value { 0.0 } else { f64::INFINITY })
        .collect();
    for axis in 0..3 {
        envelope_axis(&mut squares, mask.grid.size, axis, spacing[axis]);
    }
    squares
}

/// Squared distance, along the lines of one axis only, to the nearest point midway between two
/// neighbours of unlike value; infinite in a line of one value.
fn face_squares(mask: &Mask, axis: usize) -> Vec<f64> {
    let mut data: Vec<f64> = mask.data.iter().map(|&v| f64::from(u8::from(v))).collect();
    let spacing = mask.grid.spacing_mm[axis];
    for_each_line(
        &mut data,
        mask.grid.size,
        axis,
        Vec::new,
        |line, before: &mut Vec<f64>| {
            // Distances in spacings to the nearest face before and after each voxel.
            before.clear();
            let mut distance = f64::INFINITY;
            before.push(distance);
            for at in 1..line.len() {
                distance = if line[at] == line[at - 1] {
                    distance + 1.0
                } else {
                    0.5
                };
                before.push(distance);
            }
            distance = f64::INFINITY;
            let mut next = line[line.len() - 1];
            for at in (0..line.len()).rev() {
                let changes = line[at] != next;
                next = line[at];
                distance = if changes { 0.5 } else { distance + 1.0 };
                line[at] = (distance.min(before[at]) * spacing).powi(2);
            }
        },
    );
    data
}

fn merge(squares: &mut [f64], others: &[f64]) {
    for (square, other) in squares.iter_mut().zip(others) {
        *square = square.min(*other);
    }
}

/// The parabolas that make up a lower envelope, left to right.
#[derive(Default)]
struct Envelope {
    /// Position, height and place of takeover from the one before.
    parabolas: Vec<[f64; 3]>,
}

/// Replaces every line `f` by `min over p of f(p) + (x - p)^2`, positions in mm.
fn envelope_axis(squares: &mut [f64], size: [usize; 3], axis: usize, spacing: f64) {
    if size[axis] < 2 {
        return;
    }
    for_each_line(
        squares,
        size,
        axis,
        Envelope::default,
        |line, envelope: &mut Envelope| envelope.lower(line, spacing),
    );
}

impl Envelope {
    fn lower(&mut self, line: &mut [f64], spacing: f64) {
        let parabolas = &mut self.parabolas;
        parabolas.clear();
        for (at, &height) in line.iter().enumerate() {
            if !height.is_finite() {
                continue;
            }
            let position = at as f64 * spacing;
            let mut takeover = f64::NEG_INFINITY;
            while let Some(&[other, other_height, from]) = parabolas.last() {
                takeover = 0.5 * (position + other + (height - other_height) / (position - other));
                if takeover > from {
                    break;
                }
                parabolas.pop();
                takeover = f64::NEG_INFINITY;
            }
            parabolas.push([position, height, takeover]);
        }
        let mut current = 0;
        if parabolas.is_empty() {
            return;
        }
        for (at, value) in line.iter_mut().enumerate() {
            let x = at as f64 * spacing;
            while parabolas.get(current + 1).is_some_and(|next| next[2] <= x) {
                current += 1;
            }
            let [position, height, _] = parabolas[current];
            *value = (x - position).powi(2) + height;
        }
    }
}
