//! Slices along the axes: a network for each axis and a majority vote (Saillard et al.), or one network for all (Pivi et al.).

use serde::{Deserialize, Serialize};

use super::Source;
use super::case::Case;
use super::deformation::Shown;
use super::model::softmax;
use crate::error::{Error, Result};
use crate::network::{
    BatchArchitecture, DecoderKind, EncoderKind, MOST_STAGES, Network, NormPlacement,
    PlanarArchitecture, Topology,
};
use crate::training::{Sample, Samples};

/// Slices along the axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    /// The axes along which the scan is cut.
    pub axes: Vec<Axis>,
    /// Whether one network learns all axes.
    pub one_network: bool,
    /// Pixels of a training slice, rows and columns, cut or filled up from its first corner; the largest slice's where there are none.
    /// Pivi et al. call it resampling, their code cuts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Whether only slices are learned from that show a label.
    pub labelled_only: bool,
    /// How the axes' answers are put together.
    pub fusion: Fusion,
    /// The network.
    pub network: SliceKind,
}

/// A network for slices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SliceKind {
    /// A U-Net with batch norms.
    UNet {
        /// Channels of each stage.
        features: Vec<usize>,
    },
    /// One with an encoder that ImageNet weights exist for.
    Pretrained {
        /// The encoder.
        encoder: EncoderKind,
        /// What follows it.
        decoder: DecoderKind,
    },
}

/// How the axes' answers are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// The label most axes give; of three different ones that of the first axis.
    Vote,
    /// The largest sum of probabilities.
    Sum,
}

/// An axis along which a scan is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// From foot to head.
    Axial,
    /// From back to front.
    Coronal,
    /// From left to right.
    Sagittal,
}

impl Axis {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Coronal => "coronal",
            Self::Sagittal => "sagittal",
        }
    }

    /// The array's axis (z, y, x) that is cut, and those of a slice's rows and columns.
    fn axes(self) -> [usize; 3] {
        match self {
            Self::Axial => [0, 1, 2],
            Self::Coronal => [1, 0, 2],
            Self::Sagittal => [2, 0, 1],
        }
    }

    /// Places of a slice's pixels in an array of that shape, by rows.
    fn places(self, shape: [usize; 3], index: usize) -> Vec<usize> {
        let [cut, rows, columns] = self.axes();
        let strides = [shape[1] * shape[2], shape[2], 1];
        let start = index * strides[cut];
        let row = |r: usize| {
            (0..shape[columns]).map(move |c| start + r * strides[rows] + c * strides[columns])
        };
        (0..shape[rows]).flat_map(row).collect()
    }

    /// Rows and columns of a slice.
    fn size(self, shape: [usize; 3]) -> [usize; 2] {
        let [_, rows, columns] = self.axes();
        [shape[rows], shape[columns]]
    }
}

impl Slices {
    pub(super) fn check(&self) -> Result<()> {
        if self.axes.is_empty() {
            return Err(Error::Parameter("`axes` names no axis".into()));
        }
        if let Some([rows, columns]) = self.size {
            self.topology(2).check([1, rows, columns])?;
        }
        Ok(())
    }

    pub(super) fn topology(&self, outputs: usize) -> Topology {
        match &self.network {
            SliceKind::UNet { features } => Topology::BatchUNet(BatchArchitecture {
                dimensions: 2,
                inputs: 1,
                outputs,
                features: features.clone(),
                norms: NormPlacement::AfterEach,
            }),
            SliceKind::Pretrained { encoder, decoder } => Topology::Planar(PlanarArchitecture {
                encoder: *encoder,
                decoder: *decoder,
                inputs: 1,
                outputs,
            }),
        }
    }

    /// Lengths of slices must be multiples of this.
    fn factor(&self) -> usize {
        match &self.network {
            SliceKind::UNet { features } => 1 << (features.len().clamp(1, MOST_STAGES) - 1),
            SliceKind::Pretrained { .. } => 32,
        }
    }

    /// Voxels of a training slice.
    pub(super) fn patch(&self, cases: &[Case]) -> [usize; 3] {
        let largest = |side: usize| {
            let lengths = cases
                .iter()
                .flat_map(|case| self.axes.iter().map(|axis| axis.size(case.shape())[side]));
            lengths.max().unwrap_or(1).next_multiple_of(self.factor())
        };
        let [rows, columns] = self.size.unwrap_or_else(|| [largest(0), largest(1)]);
        [1, rows, columns]
    }

    fn axes_of(&self, network: usize) -> &[Axis] {
        match self.one_network {
            true => &self.axes,
            false => &self.axes[network..=network],
        }
    }

    /// Slices a network learns from in an epoch.
    pub(super) fn count(&self, network: usize, cases: &[Case]) -> usize {
        self.listed(network, cases).len()
    }

    fn listed(&self, network: usize, cases: &[Case]) -> Vec<(usize, Axis, usize)> {
        let mut all = vec![];
        for (number, case) in cases.iter().enumerate() {
            let shape = case.shape();
            for &axis in self.axes_of(network) {
                for index in 0..shape[axis.axes()[0]] {
                    let shows = || {
                        let places = axis.places(shape, index);
                        places.into_iter().any(|place| case.labels.data[place] > 0)
                    };
                    if !self.labelled_only || shows() {
                        all.push((number, axis, index));
                    }
                }
            }
        }
        all
    }

    /// Answers of all axes put together: probabilities (class, z, y, x), or votes in their place.
    pub(super) fn probabilities(
        &self,
        networks: &[Network],
        case: &Case,
        source: &super::Recipe,
        outputs: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        let shape = case.shape();
        let voxels: usize = shape.iter().product();
        let count = self.axes.iter().map(|axis| shape[axis.axes()[0]]).sum();
        let mut sums = vec![0.0f32; outputs * voxels];
        let mut done = 0;
        for (number, &axis) in self.axes.iter().enumerate() {
            let network = &networks[if self.one_network { 0 } else { number }];
            let [rows, columns] = axis.size(shape);
            let patch = [rows, columns].map(|n| n.next_multiple_of(self.factor()));
            for index in 0..shape[axis.axes()[0]] {
                let places = axis.places(shape, index);
                let mut image: Vec<f32> =
                    places.iter().map(|&place| case.image.data[place]).collect();
                source.normalisation.apply_to_slice(&mut image);
                let image = filled(&image, [rows, columns], patch);
                let mut logits = network.forward(image, [1, 1, 1, patch[0], patch[1]])?;
                softmax(&mut logits, outputs);
                let pixels = patch[0] * patch[1];
                for (pixel, place) in places.into_iter().enumerate() {
                    let from = pixel / columns * patch[1] + pixel % columns;
                    let value = |class: usize| logits[class * pixels + from];
                    match self.fusion {
                        Fusion::Sum => {
                            for class in 0..outputs {
                                sums[class * voxels + place] += value(class);
                            }
                        }
                        Fusion::Vote => {
                            let best = (1..outputs).fold(0, |best, class| {
                                if value(class) > value(best) {
                                    class
                                } else {
                                    best
                                }
                            });
                            // The first axis decides where all differ.
                            sums[best * voxels + place] += if number == 0 { 1.25 } else { 1.0 };
                        }
                    }
                }
                done += 1;
                progress(done, count);
            }
        }
        Ok(sums)
    }
}

/// A slice cut or filled up from its first corner; what is filled in is its least number.
fn filled(values: &[f32], [rows, columns]: [usize; 2], patch: [usize; 2]) -> Vec<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    laid(values, [rows, columns], patch, least)
}

fn laid<T: Copy>(values: &[T], [rows, columns]: [usize; 2], patch: [usize; 2], fill: T) -> Vec<T> {
    let mut out = vec![fill; patch[0] * patch[1]];
    for row in 0..rows.min(patch[0]) {
        let width = columns.min(patch[1]);
        out[row * patch[1]..][..width].copy_from_slice(&values[row * columns..][..width]);
    }
    out
}

pub(super) struct SliceSamples<'a> {
    source: Source<'a>,
    network: usize,
    listed: Vec<(usize, Axis, usize)>,
}

impl<'a> SliceSamples<'a> {
    pub fn new(slices: &'a Slices, source: Source<'a>, network: usize) -> Result<Self> {
        let listed = slices.listed(network, source.cases);
        if listed.is_empty() {
            return Err(Error::Parameter("no slice shows a label".into()));
        }
        Ok(Self {
            source,
            network,
            listed,
        })
    }
}

impl Samples for SliceSamples<'_> {
    fn sample(&self, index: u64) -> Result<Sample> {
        let mut random = self.source.random(self.network, index);
        let (number, axis, at) = self.listed[random.below(self.listed.len())];
        let case = &self.source.cases[number];
        let shape = case.shape();
        let places = axis.places(shape, at);
        let mut image: Vec<f32> = places.iter().map(|&p| case.image.data[p]).collect();
        self.source.recipe.normalisation.apply_to_slice(&mut image);
        let labels: Vec<u8> = places.iter().map(|&p| case.labels.data[p] as u8).collect();
        let patch = self.source.fitted.patch;
        let (size, flat) = (axis.size(shape), [patch[1], patch[2]]);
        let shown = Shown {
            image: filled(&image, size, flat),
            labels: laid(&labels, size, flat, 0),
            weights: vec![],
        };
        self.source.shown(shown, patch, &mut random)
    }
}
