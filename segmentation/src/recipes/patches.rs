//! Patches of the volume (Saillard et al., 3D U-Net): 64³ at random places; tiles that overlap by half, their probabilities averaged.
//!
//! The paper prints 12 million parameters and no width: 22 features, doubled at each of five stages, give 12.24 million. How tiles are
//! put together it does not say.

use serde::{Deserialize, Serialize};

use super::Source;
use super::case::Case;
use super::deformation::Shown;
use super::model::softmax;
use crate::error::{Error, Result};
use crate::network::{BatchArchitecture, Network, NormPlacement, Topology};
use crate::nnunet::sliding_window::tile_starts;
use crate::training::{Sample, Samples};

/// Patches of the volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volumetric {
    /// Channels of each stage.
    pub features: Vec<usize>,
    /// Voxels of a patch, z, y, x.
    pub patch: [usize; 3],
    /// Part of a patch by which the next tile is further on.
    pub step: f64,
}

impl Volumetric {
    pub(super) fn check(&self) -> Result<()> {
        if !(self.step > 0.0 && self.step <= 1.0) {
            return Err(Error::Parameter(format!(
                "`step` {}; more than 0 and at most 1 is possible",
                self.step
            )));
        }
        self.topology(2).check(self.patch)
    }

    pub(super) fn topology(&self, outputs: usize) -> Topology {
        Topology::BatchUNet(BatchArchitecture {
            dimensions: 3,
            inputs: 1,
            outputs,
            features: self.features.clone(),
            norms: NormPlacement::AfterEach,
        })
    }

    /// Mean probabilities (class, z, y, x).
    pub(super) fn probabilities(
        &self,
        network: &Network,
        case: &Case,
        outputs: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        let shape = case.shape();
        let starts: [Vec<usize>; 3] =
            std::array::from_fn(|axis| tile_starts(shape[axis], self.patch[axis], self.step));
        let count = starts.iter().map(Vec::len).product();
        let voxels: usize = shape.iter().product();
        let mut sums = vec![0.0f32; outputs * voxels];
        let mut seen = vec![0.0f32; voxels];
        let mut done = 0;
        for &z in &starts[0] {
            for &y in &starts[1] {
                for &x in &starts[2] {
                    let (image, _) = cut(case, self.patch, [z, y, x].map(|n| n as isize));
                    let [pz, py, px] = self.patch;
                    let mut logits = network.forward(image, [1, 1, pz, py, px])?;
                    softmax(&mut logits, outputs);
                    for dz in 0..pz.min(shape[0] - z) {
                        for dy in 0..py.min(shape[1] - y) {
                            for dx in 0..px.min(shape[2] - x) {
                                let to = ((z + dz) * shape[1] + y + dy) * shape[2] + x + dx;
                                let from = (dz * py + dy) * px + dx;
                                seen[to] += 1.0;
                                for class in 0..outputs {
                                    sums[class * voxels + to] +=
                                        logits[class * pz * py * px + from];
                                }
                            }
                        }
                    }
                    done += 1;
                    progress(done, count);
                }
            }
        }
        for class in sums.chunks_exact_mut(voxels) {
            for (sum, seen) in class.iter_mut().zip(&seen) {
                *sum /= seen.max(1.0);
            }
        }
        Ok(sums)
    }
}

/// A patch of a case from its first voxel on (z, y, x); beyond the case lies its least number, unlabelled.
pub(super) fn cut(case: &Case, patch: [usize; 3], low: [isize; 3]) -> (Vec<f32>, Vec<u8>) {
    let shape = case.shape();
    let voxels = patch.iter().product();
    let (mut image, mut labels) = (vec![case.least; voxels], vec![0u8; voxels]);
    for z in 0..patch[0] {
        for y in 0..patch[1] {
            for x in 0..patch[2] {
                let at = [z, y, x];
                let from: [isize; 3] = std::array::from_fn(|a| low[a] + at[a] as isize);
                if (0..3).all(|a| from[a] >= 0 && (from[a] as usize) < shape[a]) {
                    let from =
                        case.image
                            .grid
                            .index(from[2] as usize, from[1] as usize, from[0] as usize);
                    let to = (z * patch[1] + y) * patch[2] + x;
                    image[to] = case.image.data[from];
                    labels[to] = case.labels.data[from] as u8;
                }
            }
        }
    }
    (image, labels)
}

pub(super) struct PatchSamples<'a>(Source<'a>);

impl<'a> PatchSamples<'a> {
    pub fn new(source: Source<'a>) -> Self {
        Self(source)
    }
}

impl Samples for PatchSamples<'_> {
    fn sample(&self, index: u64) -> Result<Sample> {
        let source = &self.0;
        let mut random = source.random(0, index);
        let case = &source.cases[random.below(source.cases.len())];
        let patch = source.fitted.patch;
        let shape = case.shape();
        let low = std::array::from_fn(|axis| {
            let room = shape[axis] as isize - patch[axis] as isize;
            match room {
                ..=0 => room / 2,
                room => random.below(room as usize + 1) as isize,
            }
        });
        let (image, labels) = cut(case, patch, low);
        let shown = Shown {
            image,
            labels,
            weights: vec![],
        };
        source.shown(shown, patch, &mut random)
    }
}
