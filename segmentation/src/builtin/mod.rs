//! Built-in networks: trained by this program on painted CT, their weights part of it.
//!
//! A coarse network looks at the whole scan and finds where a bone is; a fine one, which is given the coarse result as further input,
//! draws it inside a box around what was found. Both are models as [`crate::nnunet`] runs them. How they were trained stands beside
//! the weights in `assets`: plan, seed, learning curve.

mod femur;
mod instances;
mod surface;
mod vertebra;

use imaging::filter::gaussian;
use imaging::orientation::{RAS, axes_of, crop, reorient};
use imaging::resample::{
    Interpolation, Outside, covering_grid, resample, resample_labels, volume_mean,
};
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::Vector3;

pub use femur::{Femora, Femur, FoundFemora};
use surface::doubt_mm;
pub use vertebra::{FoundVertebrae, Vertebra, Vertebrae};

use crate::coregistration::mirrored;
use crate::error::{Error, Result};
use crate::network::Device;
use crate::nnunet::{Files, Model, Options, Segmentation};

/// The four files of a built-in model.
macro_rules! files {
    ($name:literal) => {
        Files {
            name: concat!("the built-in model ", $name),
            plans: include_bytes!(concat!("../../assets/", $name, "/plans.json")),
            dataset: include_bytes!(concat!("../../assets/", $name, "/dataset.json")),
            weights: include_bytes!(concat!("../../assets/", $name, "/weights.safetensors")),
        }
    };
}
use files;

/// A coarse and a fine network.
#[derive(Debug)]
struct Stages {
    coarse: Model,
    fine: Model,
}

impl Stages {
    fn load([coarse, fine]: [Files<'_>; 2], device: Device) -> Result<Self> {
        Ok(Self {
            coarse: Model::from_memory(&coarse, device)?,
            fine: Model::from_memory(&fine, device)?,
        })
    }

    /// The scan along RAS+ axes, and what the coarse network says of it.
    fn rough(
        &self,
        scan: &Volume<f32>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Volume<f32>, LabelMap)> {
        let upright = reorient(scan, RAS)?;
        let small = coarsened(&upright, spacing_mm(&self.coarse)?)?;
        let images = std::slice::from_ref(&small);
        let found = self.coarse.segment(images, options, progress)?;
        Ok((upright, found.labels))
    }

    /// The voxels of an upright scan, first and last, that the fine network looks at to see a box of the coarse one's voxels.
    fn range(
        &self,
        upright: &Grid,
        rough: &Grid,
        place: [[usize; 3]; 2],
    ) -> Result<[[usize; 3]; 2]> {
        let least_mm = self.fine.plans.patch[0] as f64 * spacing_mm(&self.fine)?;
        Ok(covered(upright, rough, place, MARGIN_MM, least_mm))
    }
}

/// Margin around what a coarse network found, mm: four of its voxels.
const MARGIN_MM: f64 = 16.0;

/// Spacing of a model's voxels, mm.
fn spacing_mm(model: &Model) -> Result<f64> {
    let spacing = model.plans.spacing_mm.first().copied();
    spacing.ok_or_else(|| Error::Parameter("the built-in model has no spacing".into()))
}

/// The whole scan at a coarse spacing: the mean of each coarse voxel, so that thin cortices dim rather than alias.
fn coarsened(scan: &Volume<f32>, spacing_mm: f64) -> Result<Volume<f32>> {
    Ok(volume_mean(scan, &covering_grid(&scan.grid, spacing_mm)?))
}

/// Standard deviation of a box as wide as a voxel, in voxels: 1/√12.
const BOX: f64 = 0.288_675;

/// A part of a scan blurred along axes that are finer than voxels of `spacing_mm`, so that it may be sampled there.
fn blurred(part: &Volume<f32>, spacing_mm: f64) -> Result<Volume<f32>> {
    let sigma = part.grid.spacing_mm.map(|own| {
        // What a voxel of the target would average, less what a voxel of the scan has averaged already.
        BOX * (spacing_mm.powi(2) - own.powi(2)).max(0.0).sqrt()
    });
    Ok(gaussian(part, sigma, 3.0)?)
}

/// Linear between voxels.
fn sampled(volume: &Volume<f32>, grid: &Grid) -> Volume<f32> {
    resample(volume, grid, Interpolation::Linear, Outside::Nearest)
}

/// What a fine network says of a part of a scan.
struct Answer {
    /// Its labels, on its own grid.
    labels: LabelMap,
    /// By how much bone is likelier than all else, on its own grid.
    ahead: Volume<f32>,
    /// The same on the grid of the part.
    on_part: Volume<f32>,
    /// How far a second look places the surface from the first, mm, as [`doubt_mm`] gives it on the grid of the part; `None` after one
    /// look.
    doubt_mm: Option<Volume<f32>>,
}

/// The classes that are bone, and those that are not.
struct Classes<'a> {
    bone: &'a [u16],
    others: &'a [u16],
}

impl Stages {
    /// Looks at a part of a scan with the fine network. Where mirroring is wanted, it looks again at the mirror image alone, on a grid half
    /// a voxel off: by how much both differ tells how sure it is.
    fn answer(
        &self,
        part: &Volume<f32>,
        rough: &LabelMap,
        classes: &Classes<'_>,
        options: &Options,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Answer> {
        let twice = options.mirroring;
        let spacing_mm = spacing_mm(&self.fine)?;
        let blurred = blurred(part, spacing_mm)?;
        let mut look = |grid: &Grid, again: bool| -> Result<(LabelMap, Volume<f32>)> {
            let (mut image, mut before) = (sampled(&blurred, grid), resample_labels(rough, grid));
            if again {
                (image, before) = (mirrored(&image), mirrored(&before));
            }
            let options = Options {
                probabilities: true,
                mirroring: twice && !again,
                ..*options
            };
            let images = std::slice::from_ref(&image);
            let found = self
                .fine
                .segment_after(images, Some(&before), &options, progress)?;
            let ahead = margin_ahead(&found, grid, classes)?;
            Ok((found.labels, if again { mirrored(&ahead) } else { ahead }))
        };
        let grid = covering_grid(&part.grid, spacing_mm)?;
        let (labels, ahead) = look(&grid, false)?;
        let on_part = sampled(&ahead, &part.grid);
        let doubt_mm = match twice {
            false => None,
            true => {
                let mut half_off = grid.clone();
                half_off.origin_mm = grid.to_world(Vector3::repeat(0.5));
                let (_, again) = look(&half_off, true)?;
                Some(doubt_mm(&on_part, &sampled(&again, &part.grid))?)
            }
        };
        Ok(Answer {
            labels,
            ahead,
            on_part,
            doubt_mm,
        })
    }
}

/// By how much bone is likelier than the likeliest of the other classes: zero where the answer turns.
fn margin_ahead(found: &Segmentation, grid: &Grid, classes: &Classes<'_>) -> Result<Volume<f32>> {
    let values = found
        .probabilities
        .as_ref()
        .ok_or_else(|| Error::Parameter("no probabilities".into()))?;
    let channel = |class: &u16| values.values.channel(usize::from(*class));
    let bone: Vec<&[f32]> = classes.bone.iter().map(channel).collect();
    let others: Vec<&[f32]> = classes.others.iter().map(channel).collect();
    let ahead = (0..grid.len()).map(|i| {
        let own: f32 = bone.iter().map(|values| values[i]).sum();
        own - others.iter().map(|values| values[i]).fold(0.0, f32::max)
    });
    Ok(Volume::new(grid.clone(), ahead.collect())?)
}

/// The voxels of `grid`, first and last, that a box in world space of `other`'s voxels `low` to `high` covers, `margin_mm` wider and
/// at least `least_mm` long where the grid allows. Both grids run along the same axes.
fn covered(
    grid: &Grid,
    other: &Grid,
    [low, high]: [[usize; 3]; 2],
    margin_mm: f64,
    least_mm: f64,
) -> [[usize; 3]; 2] {
    let corner = |at: [usize; 3], half: f64| {
        let index = Vector3::from_fn(|axis, _| at[axis] as f64 + half);
        grid.to_index(other.to_world(index))
    };
    let (first, last) = (corner(low, -0.5), corner(high, 0.5));
    let mut found = [[0; 3]; 2];
    for axis in 0..3 {
        let spacing = grid.spacing_mm[axis];
        let length = (last[axis] - first[axis]) * spacing + 2.0 * margin_mm;
        let more = margin_mm + 0.5 * (least_mm - length).max(0.0);
        let end = grid.size[axis] as f64 - 1.0;
        found[0][axis] = (first[axis] - more / spacing).floor().clamp(0.0, end) as usize;
        found[1][axis] = (last[axis] + more / spacing).ceil().clamp(0.0, end) as usize;
    }
    found
}

/// The part of a volume between two voxels.
fn part<T: Copy>(volume: &Volume<T>, [low, high]: [[usize; 3]; 2]) -> Result<Volume<T>> {
    Ok(crop(volume, low, high)?)
}

/// Writes `value` where a mask of a part is set, the part beginning at voxel `low` of the whole.
fn paste(whole: &mut Volume<u16>, mask: &Mask, low: [usize; 3], value: u16) {
    let [nx, ny, nz] = mask.grid.size;
    for k in 0..nz {
        for j in 0..ny {
            let from = mask.grid.index(0, j, k);
            let to = whole.grid.index(low[0], low[1] + j, low[2] + k);
            for i in 0..nx {
                if mask.data[from + i] {
                    whole.data[to + i] = value;
                }
            }
        }
    }
}

/// Lays the map of a part over that of the whole, the part beginning at voxel `low`; the larger value stays.
fn lay(whole: &mut Option<Volume<f32>>, grid: &Grid, part: Option<&Volume<f32>>, low: [usize; 3]) {
    let Some(part) = part else { return };
    let whole = whole.get_or_insert_with(|| Volume::filled(grid.clone(), 0.0));
    for (voxel, &value) in part.data.iter().enumerate() {
        let at = part.grid.voxel(voxel);
        let [i, j, k] = std::array::from_fn(|axis| low[axis] + at[axis]);
        let to = &mut whole.data[grid.index(i, j, k)];
        *to = to.max(value);
    }
}

/// The weights of built-in models by their names.
fn weights(files: [Files<'static>; 2]) -> Vec<(&'static str, &'static [u8])> {
    files.map(|files| (files.name, files.weights)).into()
}

/// A volume with the axes of a scan, and the scan's own numbers where they are the same to rounding.
fn as_stored<T: Copy + Send + Sync>(volume: &Volume<T>, scan: &Grid) -> Result<Volume<T>> {
    let mut stored = reorient(volume, axes_of(scan))?;
    stored.grid = scan.clone();
    Ok(stored)
}
