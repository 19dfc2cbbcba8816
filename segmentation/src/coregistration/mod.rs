//! One femur a volume, all laid on one: the pre-processing of Saillard et al. 2024.
//!
//! ```text
//!    scan ── along RAS+ ── split at the middle plane ── left ones mirrored ── affine map onto a template ── volume of the template's size
//!      ▲                                                                                                       │ any network
//!      └────────────────────── pasted ◀── mirrored ◀── map back, nearest ◀── label map ────────────────────────┘
//! ```
//!
//! The scan's numbers are read once, at the places that the whole chain leads to. The paper prints neither the template nor the measure
//! of the registration: here the template is the first case that is learned from, and the measure the correlation of CT numbers.

mod affine;

use imaging::components::{Connectivity, label_components};
use imaging::orientation::{RAS, axes_of, crop, reorient};
use imaging::resample::{covering_grid, linear, volume_mean};
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::Vector3;
use rayon::prelude::*;

pub use affine::{AffineMap, register};

use crate::error::{Error, Result};
use crate::recipes::respaced;

/// Median voxel of the paper's femora, mm, along left-right, back-front and foot-head.
pub const VOXEL_MM: [f64; 3] = [0.78, 0.78, 0.67];
/// Margin of the template around its femur, mm.
const MARGIN_MM: f64 = 15.0;
/// Number from which a voxel is bone, HU.
const BONE_HU: f32 = 200.0;
/// Voxels in which bones are counted, mm.
const COUNTED_MM: f64 = 4.0;
/// Middles of two femoral shafts are further apart, mm.
const APART_MM: f64 = 90.0;
/// Pieces of fewer such voxels are no bones.
const LEAST_VOXELS: usize = 40;
/// Smallest shaft of a pair, as a part of the larger.
const PAIR: f64 = 0.3;
/// Numbers for registration, HU: air and fat do not outweigh bone, nor metal.
const CLIP_HU: [f32; 2] = [-150.0, 1200.0];
/// Least correlation of a femur with the template.
pub const LEAST_CORRELATION: f64 = 0.5;

/// Side of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
}

/// The femur that others are laid on: a right one, on its own grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its CT, HU.
    pub image: Volume<f32>,
}

/// A femur of a scan, laid on the template.
#[derive(Clone, Debug)]
pub struct Laid {
    /// Its side.
    pub side: Side,
    /// Correlation with the template.
    pub correlation: f64,
    /// The CT on the template's grid, HU; a left femur as a right one.
    pub image: Volume<f32>,
    /// First and last voxel of its part of the scan along RAS+ axes.
    part: Span,
    /// From the template's world to that of the part, mirrored where the femur is left.
    map: AffineMap,
}

/// First and last voxel of a box.
type Span = [[usize; 3]; 2];

/// The two halves, left and right, of the box around all bone of a scan along RAS+ axes, where two shafts stand in its lowest fifth.
fn halves(upright: &Volume<f32>) -> Result<Option<[Span; 2]>> {
    let own = upright.grid.spacing_mm.iter().copied().fold(0.0, f64::max);
    let small = volume_mean(upright, &covering_grid(&upright.grid, COUNTED_MM.max(own))?);
    let bone = small.map(|&hu| hu >= BONE_HU);
    let pieces = label_components(&bone, Connectivity::Corners);
    let large = |piece: u32| piece > 0 && pieces.sizes[piece as usize - 1] >= LEAST_VOXELS;
    let bone = pieces.labels.map(|&piece| large(piece));
    let Some([low, high]) = bone.bounding_box() else {
        return Err(Error::Image(format!(
            "no bone reaches {BONE_HU} HU in the scan"
        )));
    };
    if lower_shafts(&bone, low[2], high[2]).len() < 2 {
        return Ok(None);
    }
    let last = upright.grid.size.map(|n| n - 1);
    let scale = small.grid.spacing_mm[0] / upright.grid.spacing_mm[0];
    let middle = 0.5 * (low[0] + high[0] + 1) as f64;
    let cut = ((middle * scale).round() as usize).clamp(1, last[0].max(1));
    // Columns count from left to right.
    Ok(Some([
        [[0; 3], [cut - 1, last[1], last[2]]],
        [[cut, 0, 0], last],
    ]))
}

/// Columns of the middles of one or two shafts in the lowest fifth of the bone.
fn lower_shafts(bone: &Mask, low: usize, high: usize) -> Vec<f64> {
    let top = low + ((high - low) / 5).max(1);
    let mut lower = bone.clone();
    for (index, inside) in lower.data.iter_mut().enumerate() {
        *inside &= bone.grid.voxel(index)[2] <= top;
    }
    let pieces = label_components(&lower, Connectivity::Corners);
    let mut sums = vec![(0.0f64, 0.0f64); pieces.sizes.len()];
    for (index, &piece) in pieces.labels.data.iter().enumerate() {
        if piece > 0 {
            let sum = &mut sums[piece as usize - 1];
            sum.0 += 1.0;
            sum.1 += lower.grid.voxel(index)[0] as f64;
        }
    }
    let mut found: Vec<(f64, f64)> = sums.into_iter().map(|(n, sum)| (n, sum / n)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)));
    let Some(&(largest, first)) = found.first() else {
        return vec![];
    };
    let apart = |column: f64| (column - first).abs() * bone.grid.spacing_mm[0] >= APART_MM;
    let second = found[1..]
        .iter()
        .find(|(n, column)| *n >= PAIR * largest && apart(*column));
    [Some(first), second.map(|s| s.1)]
        .into_iter()
        .flatten()
        .collect()
}

/// The mirror image along the first array axis, on the same grid.
pub(crate) fn mirrored<T: Copy>(volume: &Volume<T>) -> Volume<T> {
    let mut data = volume.data.clone();
    for row in data.chunks_mut(volume.grid.size[0].max(1)) {
        row.reverse();
    }
    Volume {
        grid: volume.grid.clone(),
        data,
    }
}

/// Side of a femur along RAS+ axes that stands head up: the head lies towards the middle of the body.
fn side_of(femur: &Mask, low: usize, high: usize) -> Side {
    let column = |from: f64, to: f64| {
        let height = (high - low + 1) as f64;
        let (mut count, mut sum) = (0.0, 0.0);
        for (index, _) in femur.data.iter().enumerate().filter(|(_, v)| **v) {
            let [i, _, k] = femur.grid.voxel(index);
            let at = (k - low) as f64 / height;
            if (from..to).contains(&at) {
                count += 1.0;
                sum += i as f64;
            }
        }
        sum / f64::max(count, 1.0)
    };
    match column(0.85, 1.0) > column(0.0, 0.3) {
        true => Side::Left,
        false => Side::Right,
    }
}

fn clipped(volume: &Volume<f32>) -> Volume<f32> {
    volume.map(|hu| hu.clamp(CLIP_HU[0], CLIP_HU[1]))
}

impl Template {
    /// The template of a scan and the mask of its femur, on one grid.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty mask.
    pub fn new(scan: &Volume<f32>, femur: &Mask) -> Result<Self> {
        let (upright, mask) = (reorient(scan, RAS)?, reorient(femur, RAS)?);
        let [low, high] = mask
            .bounding_box()
            .ok_or_else(|| Error::Image("the template's label map shows no femur".into()))?;
        let side = side_of(&mask, low[2], high[2]);
        let grid = &upright.grid;
        let margin: [usize; 3] =
            std::array::from_fn(|axis| (MARGIN_MM / grid.spacing_mm[axis]).ceil() as usize);
        let low = std::array::from_fn(|axis| low[axis].saturating_sub(margin[axis]));
        let high = std::array::from_fn(|axis| (high[axis] + margin[axis]).min(grid.size[axis] - 1));
        let mut part = crop(&upright, low, high)?;
        if side == Side::Left {
            part = mirrored(&part);
        }
        let target = respaced(&part.grid, VOXEL_MM)?;
        let image = volume_or_linear(&part, &target);
        Ok(Self { image })
    }

    /// The femora of a scan, each laid on the template. Where two shafts stand in the scan it is split at the middle plane; where they do
    /// not, or one half shows no femur like the template, the side of the one femur is that on which it lies better.
    ///
    /// # Errors
    /// [`Error::Image`] for a scan that shows no femur like the template.
    pub fn lay(&self, scan: &Volume<f32>) -> Result<Vec<Laid>> {
        let upright = reorient(scan, RAS)?;
        let template = clipped(&self.image);
        let laid = |side: Side, part: Span| -> Result<Laid> {
            let own = self.part(&upright, side, part)?;
            let (map, correlation) = register(&template, &clipped(&own))?;
            Ok(Laid {
                side,
                correlation,
                image: self.read(&own, &map),
                part,
                map,
            })
        };
        let sides = [Side::Left, Side::Right];
        if let Some(parts) = halves(&upright)? {
            let both: Vec<Laid> = sides
                .into_iter()
                .zip(parts)
                .filter_map(|(side, part)| laid(side, part).ok())
                .filter(|laid| laid.correlation >= LEAST_CORRELATION)
                .collect();
            if both.len() == 2 {
                return Ok(both);
            }
        }
        let whole = [[0; 3], upright.grid.size.map(|n| n - 1)];
        let tried = sides.into_iter().filter_map(|side| laid(side, whole).ok());
        let best = tried.max_by(|a, b| a.correlation.total_cmp(&b.correlation));
        match best {
            Some(best) if best.correlation >= LEAST_CORRELATION => Ok(vec![best]),
            best => Err(Error::Image(format!(
                "no femur of the scan lies on the template: the correlation reaches {:.2}, not {LEAST_CORRELATION}; crop the scan to the proximal femora, or use a model trained with --no-preprocessing",
                best.map_or(0.0, |best| best.correlation)
            ))),
        }
    }

    /// A part of an upright scan as that of a right femur.
    fn part<T: Copy>(
        &self,
        upright: &Volume<T>,
        side: Side,
        [low, high]: Span,
    ) -> Result<Volume<T>> {
        let own = crop(upright, low, high)?;
        Ok(match side {
            Side::Left => mirrored(&own),
            Side::Right => own,
        })
    }

    /// A part's numbers on the template's grid.
    fn read(&self, part: &Volume<f32>, map: &AffineMap) -> Volume<f32> {
        let grid = &self.image.grid;
        let data = (0..grid.len())
            .into_par_iter()
            .map(|index| {
                let voxel = Vector3::from(grid.voxel(index).map(|n| n as f64));
                linear(part, part.grid.to_index(map.apply(grid.to_world(voxel)))) as f32
            })
            .collect();
        Volume {
            grid: grid.clone(),
            data,
        }
    }

    /// A label map of the scan on the template's grid, as [`Laid::image`] has the CT.
    ///
    /// # Errors
    /// [`Error::Imaging`] when the map is not on the scan's grid.
    pub fn labels_on(&self, laid: &Laid, labels: &LabelMap) -> Result<LabelMap> {
        let upright = reorient(labels, RAS)?;
        let own = self.part(&upright, laid.side, laid.part)?;
        let grid = &self.image.grid;
        let data = (0..grid.len())
            .into_par_iter()
            .map(|index| {
                let voxel = Vector3::from(grid.voxel(index).map(|n| n as f64));
                let at = own.grid.to_index(laid.map.apply(grid.to_world(voxel)));
                nearest(&own, at).unwrap_or(0)
            })
            .collect();
        Ok(LabelMap::new(grid.clone(), data)?)
    }

    /// Writes what was found on the template's grid into a label map on the scan's grid, where `value` says what a label becomes.
    ///
    /// # Errors
    /// [`Error::Image`] for a map that flattens.
    pub fn paste(
        &self,
        laid: &Laid,
        found: &LabelMap,
        scan: &Grid,
        into: &mut LabelMap,
        value: impl Fn(u16) -> u16 + Sync,
    ) -> Result<()> {
        let back = laid
            .map
            .inverse()
            .ok_or_else(|| Error::Image("the map onto the template flattens".into()))?;
        let upright = reorient(&LabelMap::filled(scan.clone(), 0), RAS)?;
        let [low, high] = laid.part;
        let mut part = crop(&upright, low, high)?;
        let grid = part.grid.clone();
        part.data = (0..grid.len())
            .into_par_iter()
            .map(|index| {
                let voxel = Vector3::from(grid.voxel(index).map(|n| n as f64));
                let at = found.grid.to_index(back.apply(grid.to_world(voxel)));
                value(nearest(found, at).unwrap_or(0))
            })
            .collect();
        if laid.side == Side::Left {
            part = mirrored(&part);
        }
        let mut whole = upright;
        for (index, &label) in part.data.iter().enumerate() {
            let [i, j, k] = part.grid.voxel(index);
            let to = whole.grid.index(low[0] + i, low[1] + j, low[2] + k);
            whole.data[to] = label;
        }
        let stored = reorient(&whole, axes_of(scan))?;
        for (to, &label) in into.data.iter_mut().zip(&stored.data) {
            if label > 0 {
                *to = label;
            }
        }
        Ok(())
    }
}

/// Means where voxels grow, linear between where they shrink.
fn volume_or_linear(part: &Volume<f32>, target: &Grid) -> Volume<f32> {
    use imaging::resample::{Interpolation, Outside, resample};
    let grows = (0..3).any(|axis| target.spacing_mm[axis] > 1.5 * part.grid.spacing_mm[axis]);
    match grows {
        true => volume_mean(part, target),
        false => resample(part, target, Interpolation::Linear, Outside::Nearest),
    }
}

/// Value of the voxel that a continuous index lies in.
fn nearest(labels: &LabelMap, at: Vector3<f64>) -> Option<u16> {
    let mut voxel = [0; 3];
    for axis in 0..3 {
        let place = (at[axis] + 0.5).floor();
        if place < 0.0 || place >= labels.grid.size[axis] as f64 {
            return None;
        }
        voxel[axis] = place as usize;
    }
    Some(labels.at(voxel[0], voxel[1], voxel[2]))
}
