//! Built-in networks: trained by this program on painted CT, their weights part of it.
//!
//! A coarse network looks at the whole scan and finds where a bone is; a fine one, which is given the coarse result as further input,
//! draws it inside a box around what was found. Both are models as [`crate::nnunet`] runs them. How they were trained stands beside
//! the weights in `assets`: plan, seed, learning curve.

mod femur;

use imaging::filter::gaussian;
use imaging::orientation::crop;
use imaging::resample::{Interpolation, Outside, covering_grid, resample, volume_mean};
use imaging::{Grid, Mask, Volume};

pub use femur::{Femora, Femur, FoundFemora};

use crate::error::{Error, Result};
use crate::network::Device;
use crate::nnunet::{Files, Model};

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
    fn load(files: [Files<'_>; 2], device: Device) -> Result<Self> {
        let [coarse, fine] = files;
        Ok(Self {
            coarse: Model::from_memory(&coarse, device)?,
            fine: Model::from_memory(&fine, device)?,
        })
    }
}

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

/// A part of a scan at the spacing of a fine network: blurred along axes that are finer, then linear between voxels.
fn refined(part: &Volume<f32>, spacing_mm: f64) -> Result<Volume<f32>> {
    let grid = covering_grid(&part.grid, spacing_mm)?;
    let sigma = part.grid.spacing_mm.map(|own| {
        // What a voxel of the target would average, less what a voxel of the scan has averaged already.
        BOX * (spacing_mm.powi(2) - own.powi(2)).max(0.0).sqrt()
    });
    let smooth = gaussian(part, sigma, 3.0)?;
    Ok(resample(
        &smooth,
        &grid,
        Interpolation::Linear,
        Outside::Nearest,
    ))
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
        let index = nalgebra::Vector3::from_fn(|axis, _| at[axis] as f64 + half);
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
