//! A scan with its label map as a recipe's network sees it.

use imaging::orientation::{RAS, reorient};
use imaging::resample::{Interpolation, Outside, resample, resample_labels};
use imaging::{Grid, LabelMap, Volume};
use nalgebra::Vector3;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::percentile;

/// How numbers reach a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalisation {
    /// Clipped, and what is left of the scan's range brought to 0 … 1. Saillard et al. print no bounds.
    ClippedRange {
        /// Lowest number.
        low: f32,
        /// Highest number.
        high: f32,
    },
    /// The range of every slice brought to 0 … 1, after numbers below a bound, which mark what was not scanned, became another.
    SliceRange {
        /// The bound.
        below: f32,
        /// What numbers below it become.
        becomes: f32,
    },
    /// Negative numbers to 0, then less the mean, by the distance of the quartiles (Xu et al.; their framework subtracts the median).
    Quartiles {
        /// Whether the median is subtracted instead of the mean.
        median: bool,
    },
    /// Less the mean, by the standard deviation: also for what is no CT.
    Standard,
}

impl Normalisation {
    /// A whole scan as the network sees it; slices on their own are brought to their range later.
    fn apply(&self, values: &mut [f32]) {
        match *self {
            Self::ClippedRange { low, high } => {
                values.iter_mut().for_each(|v| *v = v.clamp(low, high));
                to_range(values);
            }
            Self::SliceRange { below, becomes } => {
                for value in values.iter_mut().filter(|value| **value <= below) {
                    *value = becomes;
                }
            }
            Self::Quartiles { median } => {
                values.iter_mut().for_each(|v| *v = v.max(0.0));
                let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
                sorted.sort_unstable_by(f64::total_cmp);
                let quantile = |part: f64| percentile(&sorted, part);
                let spread = (quantile(0.75) - quantile(0.25)).max(1e-6);
                let middle = if median { quantile(0.5) } else { mean(values) };
                for value in values {
                    *value = ((f64::from(*value) - middle) / spread) as f32;
                }
            }
            Self::Standard => {
                let middle = mean(values);
                let square = values.iter().map(|&v| (f64::from(v) - middle).powi(2));
                let deviation = (square.sum::<f64>() / values.len().max(1) as f64).sqrt();
                for value in values {
                    *value = ((f64::from(*value) - middle) / deviation.max(1e-6)) as f32;
                }
            }
        }
    }

    /// A slice as the network sees it.
    pub(super) fn apply_to_slice(&self, values: &mut [f32]) {
        if let Self::SliceRange { .. } = self {
            to_range(values);
        }
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64
}

/// Brings numbers to 0 … 1; all become 0 where they are one.
fn to_range(values: &mut [f32]) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    for value in values {
        *value = (*value - low) * scale;
    }
}

/// A scan with its label map as a recipe's network sees it: along RAS+ axes, at the recipe's spacing, normalised.
#[derive(Clone, Debug)]
pub struct Case {
    /// The image.
    pub image: Volume<f32>,
    /// The labels; all 0 where there are none.
    pub labels: LabelMap,
    /// Its least number, which lies beyond its borders too.
    pub(super) least: f32,
    /// The scan's own grid along RAS+ axes.
    pub(super) upright: Grid,
}

impl Case {
    /// Makes a case of a scan.
    ///
    /// # Errors
    /// [`Error::Image`] for numbers that are none, [`Error::Imaging`] for grids that cannot be.
    pub fn new(
        scan: &Volume<f32>,
        labels: Option<&LabelMap>,
        spacing_mm: Option<[f64; 3]>,
        normalisation: &Normalisation,
    ) -> Result<Self> {
        if let Some(value) = scan.data.iter().find(|value| !value.is_finite()) {
            return Err(Error::Image(format!(
                "the scan holds {value}, which is no CT number"
            )));
        }
        if scan.data.is_empty() {
            return Err(Error::Image("the scan holds no voxel".into()));
        }
        let mut image = reorient(scan, RAS)?;
        let upright = image.grid.clone();
        let mut map = match labels {
            Some(labels) => {
                scan.grid.check_same(&labels.grid)?;
                reorient(labels, RAS)?
            }
            None => LabelMap::filled(image.grid.clone(), 0),
        };
        if let Some(spacing) = spacing_mm {
            let grid = respaced(&image.grid, spacing)?;
            if grid != image.grid {
                image = resample(&image, &grid, Interpolation::CubicBSpline, Outside::Nearest);
                map = resample_labels(&map, &grid);
            }
        }
        normalisation.apply(&mut image.data);
        Ok(Self {
            least: image.data.iter().copied().fold(f32::INFINITY, f32::min),
            image,
            labels: map,
            upright,
        })
    }

    /// Lengths along z, y, x.
    pub(super) fn shape(&self) -> [usize; 3] {
        let [x, y, z] = self.image.grid.size;
        [z, y, x]
    }
}

/// A grid over the same box with other voxels, both boxes beginning at the same corner.
pub(crate) fn respaced(grid: &Grid, spacing_mm: [f64; 3]) -> Result<Grid> {
    let mut target = grid.clone();
    for axis in 0..3 {
        let length = grid.size[axis] as f64 * grid.spacing_mm[axis];
        target.size[axis] = ((length / spacing_mm[axis]).round() as usize).max(1);
        if target.size[axis] > 4096 {
            return Err(Error::Parameter(format!(
                "`spacing_mm` {} makes {} voxels along an axis of {length:.0} mm",
                spacing_mm[axis], target.size[axis]
            )));
        }
    }
    target.spacing_mm = spacing_mm;
    let corner = Vector3::from_fn(|axis, _| 0.5 * (spacing_mm[axis] / grid.spacing_mm[axis] - 1.0));
    target.origin_mm = grid.to_world(corner);
    Ok(target)
}
