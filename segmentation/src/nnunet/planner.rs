//! Patch, batch and network from the spacing and size of a data set's images: nnU-Net's rules.
//!
//! Source: nnU-Net v2 2.8.1, `ExperimentPlanner` and its residual-encoder presets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resample::new_shape;
use crate::error::{Error, Result};
use crate::network::{Architecture, Kind};

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Plain U-Net for 8 GB.
    Plain,
    /// Residual encoder for 8 GB.
    ResEncM,
    /// Residual encoder for 24 GB.
    ResEncL,
    /// Residual encoder for 40 GB.
    ResEncXL,
}

impl Preset {
    fn kind(self) -> Kind {
        match self {
            Self::Plain => Kind::Plain,
            _ => Kind::ResidualEncoder,
        }
    }

    /// Memory proxy that fills the device, in 2D and 3D.
    fn reference(self, dimensions: usize) -> f64 {
        let [flat, solid] = match self {
            Self::Plain => [85e6, 560e6],
            Self::ResEncM => [135e6, 680e6],
            Self::ResEncL => [380e6, 2.1e9],
            Self::ResEncXL => [560e6, 3.6e9],
        };
        if dimensions == 2 { flat } else { solid }
    }

    /// Part of the data set that one batch may hold.
    fn covered(self) -> f64 {
        match self {
            Self::Plain => 0.05,
            _ => 1.0,
        }
    }
}

/// What is known of the images of one configuration; 2 or 3 axes, coarsest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Target spacing, mm.
    pub spacing_mm: Vec<f64>,
    /// Median size at that spacing; may end in a half.
    pub median_shape: Vec<f64>,
    /// Voxels of all images together.
    pub voxels: f64,
    /// Input channels.
    pub channels: usize,
    /// Outputs of the network.
    pub outputs: usize,
}

/// What the rules make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Voxels of a patch.
    pub patch: Vec<usize>,
    /// Patches of a batch.
    pub batch: usize,
    /// The network.
    pub architecture: Architecture,
    /// Memory proxy: voxels times channels over all convolutions.
    pub estimate: u64,
}

/// Batch the reference proxies are for.
fn reference_batch(dimensions: usize) -> f64 {
    if dimensions == 2 { 12.0 } else { 2.0 }
}

/// Smallest size of a feature map.
const SMALLEST: f64 = 4.0;

/// Strides and kernels of the stages, the patch rounded up to what they divide, and that divisor.
struct Topology {
    strides: Vec<Vec<usize>>,
    kernels: Vec<Vec<usize>>,
    patch: Vec<usize>,
    divisor: Vec<usize>,
}

fn topology(spacing: &[f64], patch: &[f64]) -> Topology {
    let axes = spacing.len();
    let (mut spacing, mut size) = (spacing.to_vec(), patch.to_vec());
    let mut kernel = vec![1; axes];
    let mut divisor = vec![1; axes];
    let mut strides = vec![vec![1; axes]];
    let mut kernels = vec![];
    loop {
        let large = (0..axes).filter(|&axis| size[axis] >= 2.0 * SMALLEST);
        let large: Vec<usize> = large.collect();
        let finest = large
            .iter()
            .map(|&axis| spacing[axis])
            .fold(f64::INFINITY, f64::min);
        let pooled: Vec<usize> = large
            .into_iter()
            .filter(|&axis| spacing[axis] / finest < 2.0)
            .collect();
        match pooled.as_slice() {
            [] => break,
            [axis] if size[*axis] < 3.0 * SMALLEST => break,
            _ => {}
        }
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        for axis in 0..axes {
            if spacing[axis] / finest < 2.0 {
                kernel[axis] = 3;
            }
        }
        let mut stride = vec![1; axes];
        for &axis in &pooled {
            stride[axis] = 2;
            divisor[axis] *= 2;
            spacing[axis] *= 2.0;
            size[axis] = (size[axis] / 2.0).ceil();
        }
        strides.push(stride);
        kernels.push(kernel.clone());
    }
    kernels.push(vec![3; axes]);
    let patch = patch
        .iter()
        .zip(&divisor)
        .map(|(size, &divisor)| (size.ceil() as usize).next_multiple_of(divisor));
    Topology {
        patch: patch.collect(),
        strides,
        kernels,
        divisor,
    }
}

/// Blocks of the stages of a residual encoder; further stages have as many as the last.
const BLOCKS: [usize; 5] = [1, 3, 4, 6, 6];

fn architecture(topology: &Topology, images: &Images, preset: Preset) -> Architecture {
    let axes = images.spacing_mm.len();
    let stages = topology.strides.len();
    let most = if axes == 2 { 512 } else { 320 };
    let three = |values: &Vec<usize>| -> [usize; 3] {
        std::array::from_fn(|axis| (axis + axes).checked_sub(3).map_or(1, |own| values[own]))
    };
    let plain = preset.kind() == Kind::Plain;
    Architecture {
        kind: preset.kind(),
        dimensions: axes,
        inputs: images.channels,
        outputs: images.outputs,
        features: (0..stages)
            .map(|stage| (32usize << stage).min(most))
            .collect(),
        kernels: topology.kernels.iter().map(three).collect(),
        strides: topology.strides.iter().map(three).collect(),
        encoder: match plain {
            true => vec![2; stages],
            false => (0..stages)
                .map(|stage| BLOCKS[stage.min(BLOCKS.len() - 1)])
                .collect(),
        },
        decoder: vec![if plain { 2 } else { 1 }; stages - 1],
        bias: true,
    }
}

/// The memory proxy of a network on a patch: voxels times channels after every convolution, heads below full resolution left out.
pub fn memory_proxy(architecture: &Architecture, patch: &[usize]) -> u64 {
    let mut size = [1; 3];
    size[3 - patch.len()..].copy_from_slice(patch);
    let voxels = |size: [usize; 3]| size.iter().map(|&n| n as u64).product::<u64>();
    let mut sum = 0;
    let mut sizes = vec![];
    if architecture.kind == Kind::ResidualEncoder {
        sum += voxels(size) * architecture.features[0] as u64;
    }
    for (stage, &features) in architecture.features.iter().enumerate() {
        let stride = architecture.strides[stage];
        size = std::array::from_fn(|axis| size[axis] / stride[axis]);
        sizes.push(size);
        let count = architecture.encoder[stage] as u64;
        let convolutions = match architecture.kind {
            Kind::Plain => count,
            Kind::ResidualEncoder => {
                let before = architecture.features[stage.saturating_sub(1)];
                let projected = stride != [1; 3] || (stage > 0 && before != features);
                2 * count + u64::from(projected)
            }
        };
        sum += convolutions * voxels(size) * features as u64;
    }
    let stages = sizes.len();
    for step in 0..stages - 1 {
        let level = stages - 2 - step;
        let features = architecture.features[level] as u64;
        // The convolutions and the transposed one before them.
        sum += (architecture.decoder[step] as u64 + 1) * voxels(sizes[level]) * features;
    }
    sum + voxels(sizes[0]) * architecture.outputs as u64
}

/// The configuration for these images by the rules of a preset.
pub fn plan(images: &Images, preset: Preset) -> Configuration {
    let axes = images.spacing_mm.len();
    let spacing = &images.spacing_mm;
    let edge: f64 = if axes == 2 { 2048.0 } else { 256.0 };
    let volume: f64 = spacing.iter().product();
    let scale = (edge.powi(axes as i32) * volume).powf(1.0 / axes as f64);
    let first = spacing.iter().zip(&images.median_shape);
    let first: Vec<f64> = first
        .map(|(s, &most)| (scale / s).round_ties_even().min(most))
        .collect();
    let mut found = topology(spacing, &first);
    let reference = preset.reference(axes);
    let batch = reference_batch(axes);
    loop {
        let architecture = architecture(&found, images, preset);
        let estimate = memory_proxy(&architecture, &found.patch);
        let fills = match preset {
            Preset::Plain => estimate as f64 / batch * 2.0,
            _ => estimate as f64,
        };
        if fills <= reference {
            let patch: f64 = found.patch.iter().map(|&n| n as f64).product();
            let most = (images.voxels * preset.covered() / patch).round_ties_even();
            let wanted = (reference / estimate as f64 * batch).round_ties_even();
            return Configuration {
                batch: wanted.min(most).max(2.0) as usize,
                patch: found.patch,
                architecture,
                estimate,
            };
        }
        // The axis that covers most of its image; of equal ones the last.
        let share = |axis: usize| found.patch[axis] as f64 / images.median_shape[axis];
        let axis = (0..axes).fold(0, |best, axis| {
            if share(axis) >= share(best) {
                axis
            } else {
                best
            }
        });
        let mut patch: Vec<f64> = found.patch.iter().map(|&n| n as f64).collect();
        // What it may be reduced by depends on how often it would be halved afterwards.
        let mut smaller = patch.clone();
        smaller[axis] -= found.divisor[axis] as f64;
        patch[axis] -= topology(spacing, &smaller).divisor[axis] as f64;
        found = topology(spacing, &patch);
    }
}

/// What is measured of a data set, axes as stored (z, y, x).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Spacing of each case, mm.
    pub spacings: Vec<[f64; 3]>,
    /// Voxels of each case after the crop to what is not zero.
    pub shapes_after_crop: Vec<[usize; 3]>,
    /// Median part of a case that the crop leaves.
    pub median_relative_size_after_cropping: f64,
    /// CT numbers of the foreground by channel.
    pub foreground_intensity_properties_per_channel: BTreeMap<String, Intensities>,
}

/// Statistics of the foreground of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Intensities {
    pub mean: f64,
    pub median: f64,
    pub std: f64,
    pub min: f64,
    pub max: f64,
    pub percentile_00_5: f64,
    pub percentile_99_5: f64,
}

/// A configuration with its name and what it is planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// `2d`, `3d_fullres` or `3d_lowres`.
    pub name: &'static str,
    /// Target spacing, transposed, mm.
    pub spacing_mm: Vec<f64>,
    /// Median size at that spacing.
    pub median_shape: Vec<f64>,
    /// Patch, batch and network.
    pub configuration: Configuration,
    /// Whether Dice is taken over the batch.
    pub batch_dice: bool,
}

/// The plans of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetPlans {
    /// Axis of the file that becomes each axis of the network.
    pub transpose_forward: [usize; 3],
    /// Median spacing of the cases, transposed, mm.
    pub median_spacing_mm: [f64; 3],
    /// Median size of the cases after the crop, transposed.
    pub median_shape: [f64; 3],
    /// The configurations.
    pub configurations: Vec<Planned>,
}

/// Above this ratio of spacings, and of sizes the other way, the coarse axis is given a finer target.
const ANISOTROPY: f64 = 3.0;
/// Part of the median image below which a patch wants a coarser configuration beside it.
const LOWRES_BELOW: f64 = 0.25;

/// Percentile by linear interpolation, as numpy's.
fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = part * (values.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (at - below as f64) * (values[above] - values[below])
}

fn medians(values: &[[f64; 3]]) -> [f64; 3] {
    std::array::from_fn(|axis| percentile(values.iter().map(|v| v[axis]).collect(), 0.5))
}

impl Fingerprint {
    /// Spacing that all cases are resampled to, in the order of the file.
    fn target_spacing(&self) -> [f64; 3] {
        let mut target = medians(&self.spacings);
        let sizes: Vec<[f64; 3]> = self
            .shapes_after_crop
            .iter()
            .map(|shape| shape.map(|n| n as f64))
            .collect();
        let size = medians(&sizes);
        let worst = (0..3).fold(0, |best, axis| {
            if target[axis] > target[best] {
                axis
            } else {
                best
            }
        });
        let others = (0..3).filter(|&axis| axis != worst);
        let coarsest = others.clone().map(|axis| target[axis]).fold(0.0, f64::max);
        let smallest = others.map(|axis| size[axis]).fold(f64::INFINITY, f64::min);
        if target[worst] > ANISOTROPY * coarsest && size[worst] * ANISOTROPY < smallest {
            let own = percentile(self.spacings.iter().map(|s| s[worst]).collect(), 0.1);
            target[worst] = if own < coarsest { coarsest + 1e-5 } else { own };
        }
        target
    }
}

/// Plans of a data set with that fingerprint.
///
/// # Errors
/// [`Error::Parameter`] when there is no case, or spacings and sizes do not fit.
pub fn plan_dataset(
    fingerprint: &Fingerprint,
    channels: usize,
    outputs: usize,
    preset: Preset,
) -> Result<DatasetPlans> {
    let cases = fingerprint.spacings.len();
    if cases == 0 || fingerprint.shapes_after_crop.len() != cases {
        return Err(Error::Parameter(format!(
            "a fingerprint of {cases} spacings and {} sizes",
            fingerprint.shapes_after_crop.len()
        )));
    }
    let target = fingerprint.target_spacing();
    let first = (0..3).fold(0, |best, axis| {
        if target[axis] > target[best] {
            axis
        } else {
            best
        }
    });
    let rest: Vec<usize> = (0..3).filter(|&axis| axis != first).collect();
    let axes = [first, rest[0], rest[1]];
    let turned = |values: [f64; 3]| axes.map(|axis| values[axis]);
    let resampled: Vec<[f64; 3]> = fingerprint
        .spacings
        .iter()
        .zip(&fingerprint.shapes_after_crop)
        .map(|(&spacing, &shape)| new_shape(shape, spacing, target).map(|n| n as f64))
        .collect();
    let spacing = turned(target);
    let median = turned(medians(&resampled));
    let voxels = median.iter().product::<f64>() * cases as f64;
    let images = |spacing: &[f64], shape: &[f64], voxels: f64| Images {
        spacing_mm: spacing.to_vec(),
        median_shape: shape.to_vec(),
        voxels,
        channels,
        outputs,
    };
    let mut configurations = vec![Planned {
        name: "2d",
        spacing_mm: spacing[1..].to_vec(),
        median_shape: median[1..].to_vec(),
        configuration: plan(&images(&spacing[1..], &median[1..], voxels), preset),
        batch_dice: true,
    }];
    if median[0] != 1.0 {
        let full = plan(&images(&spacing, &median, voxels), preset);
        let whole: f64 = median.iter().product();
        let low = coarser(&full, spacing, median, &|spacing, shape, voxels| {
            plan(&images(spacing, shape, voxels * cases as f64), preset)
        });
        // Worth a second configuration where it has less than half the voxels.
        let low = low.filter(|(.., voxels)| whole / voxels >= 2.0);
        configurations.push(Planned {
            name: "3d_fullres",
            spacing_mm: spacing.to_vec(),
            median_shape: median.to_vec(),
            configuration: full,
            batch_dice: low.is_some(),
        });
        configurations.extend(low.map(|(spacing, shape, configuration, _)| Planned {
            name: "3d_lowres",
            spacing_mm: spacing.to_vec(),
            median_shape: shape.to_vec(),
            configuration,
            batch_dice: false,
        }));
    }
    let sizes: Vec<[f64; 3]> = fingerprint
        .shapes_after_crop
        .iter()
        .map(|shape| shape.map(|n| n as f64))
        .collect();
    Ok(DatasetPlans {
        transpose_forward: axes,
        median_spacing_mm: turned(medians(&fingerprint.spacings)),
        median_shape: turned(medians(&sizes)),
        configurations,
    })
}

/// Spacing, size, configuration and voxels of the median image of the coarser configuration, where the patch is small in the image.
#[allow(clippy::type_complexity)]
fn coarser(
    full: &Configuration,
    spacing: [f64; 3],
    median: [f64; 3],
    plan: &dyn Fn(&[f64], &[f64], f64) -> Configuration,
) -> Option<([f64; 3], [f64; 3], Configuration, f64)> {
    let of = |patch: &[usize]| patch.iter().map(|&n| n as f64).product::<f64>();
    let mut patch = of(&full.patch);
    let mut voxels: f64 = median.iter().product();
    let mut low = spacing;
    let mut found = None;
    while patch / voxels < LOWRES_BELOW {
        let coarsest = low.iter().copied().fold(0.0, f64::max);
        let fine = low.map(|s| coarsest / s > 2.0);
        let all = fine == [false; 3];
        for axis in 0..3 {
            if all || fine[axis] {
                low[axis] *= 1.03;
            }
        }
        let shape: [f64; 3] = std::array::from_fn(|axis| spacing[axis] / low[axis] * median[axis]);
        voxels = shape.iter().product();
        let shape = shape.map(f64::round_ties_even);
        let configuration = plan(&low, &shape, voxels);
        patch = of(&configuration.patch);
        found = Some((low, shape, configuration, voxels));
    }
    found
}
