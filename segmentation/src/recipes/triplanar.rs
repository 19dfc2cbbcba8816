//! Three small patches around a voxel, axial, coronal and sagittal, say what it is (Hallyburton et al.).
//!
//! The three patches are the network's three channels; the abstract does not say whether they are. Voxels are drawn from bone and
//! background by halves.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Source;
use super::case::Case;
use super::model::softmax;
use crate::error::{Error, Result};
use crate::network::{Network, PatchArchitecture, Topology};
use crate::training::{Sample, Samples};

/// Three small patches around a voxel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triplanar {
    /// Pixels along a side of a patch.
    pub side: usize,
    /// Channels of the first convolutions.
    pub features: usize,
    /// Part of the samples whose voxel carries a label.
    pub labelled: f64,
    /// Voxels whose normalised number is less are background, unseen.
    pub background_below: f32,
}

/// Voxels that are asked about at once.
const ASKED: usize = 256;

impl Triplanar {
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.labelled) {
            return Err(Error::Parameter(format!(
                "`labelled` {}; a part is 0 to 1",
                self.labelled
            )));
        }
        if !self.side.is_multiple_of(4) || self.side == 0 || self.features == 0 {
            return Err(Error::Parameter(format!(
                "`side` {} and `features` {}; sides are multiples of four",
                self.side, self.features
            )));
        }
        Ok(())
    }

    pub(super) fn topology(&self, outputs: usize) -> Topology {
        Topology::Patch(PatchArchitecture {
            side: self.side,
            inputs: 3,
            outputs,
            features: self.features,
        })
    }

    /// The three patches around a voxel (z, y, x); the scan's border goes on beyond it.
    fn around(&self, case: &Case, at: [usize; 3]) -> Vec<f32> {
        let shape = case.shape();
        let half = (self.side / 2) as isize;
        let mut image = Vec::with_capacity(3 * self.side * self.side);
        for [rows, columns] in [[1, 2], [0, 2], [0, 1]] {
            for row in -half..half {
                for column in -half..half {
                    let mut place = at.map(|n| n as isize);
                    place[rows] += row;
                    place[columns] += column;
                    let [z, y, x] =
                        std::array::from_fn(|a| place[a].clamp(0, shape[a] as isize - 1) as usize);
                    image.push(case.image.at(x, y, z));
                }
            }
        }
        image
    }

    /// Probabilities (class, z, y, x).
    pub(super) fn probabilities(
        &self,
        network: &Network,
        case: &Case,
        outputs: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        let voxels = case.image.data.len();
        let mut found = vec![0.0f32; outputs * voxels];
        found[..voxels].fill(1.0);
        let asked: Vec<usize> = (0..voxels)
            .filter(|&voxel| case.image.data[voxel] >= self.background_below)
            .collect();
        let place = |voxel: usize| {
            let [x, y, z] = case.image.grid.voxel(voxel);
            [z, y, x]
        };
        for (done, chunk) in asked.chunks(ASKED).enumerate() {
            let images: Vec<Vec<f32>> = chunk
                .par_iter()
                .map(|&voxel| self.around(case, place(voxel)))
                .collect();
            let shape = [chunk.len(), 3, 1, self.side, self.side];
            let mut logits = network.forward(images.concat(), shape)?;
            for (own, &voxel) in logits.chunks_exact_mut(outputs).zip(chunk) {
                softmax(own, outputs);
                for (class, &value) in own.iter().enumerate() {
                    found[class * voxels + voxel] = value;
                }
            }
            progress((done * ASKED + chunk.len()).min(asked.len()), asked.len());
        }
        Ok(found)
    }
}

/// The threshold that makes sensitivity + specificity − 1 largest (Youden 1950) and the area under the curve, by trapezia, of scores of
/// what is bone and what is not.
pub(crate) fn youden(scores: &[(f32, bool)]) -> Option<(f64, f64)> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let positive = sorted.iter().filter(|s| s.1).count() as f64;
    let negative = sorted.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    let (mut hits, mut false_hits, mut area) = (0.0, 0.0, 0.0);
    let (mut best, mut threshold) = (f64::NEG_INFINITY, 0.5);
    let mut at = 0;
    while at < sorted.len() {
        let score = sorted[at].0;
        let (before, false_before) = (hits, false_hits);
        while at < sorted.len() && sorted[at].0 == score {
            if sorted[at].1 {
                hits += 1.0;
            } else {
                false_hits += 1.0;
            }
            at += 1;
        }
        area += 0.5 * (before + hits) * (false_hits - false_before);
        let index = hits / positive - false_hits / negative;
        if index > best {
            // Midway to the next lower score, so that rounding does not decide.
            let next = sorted.get(at).map_or(score, |s| s.0);
            best = index;
            threshold = 0.5 * f64::from(score + next);
        }
    }
    Some((threshold, area / (positive * negative)))
}

pub(super) struct TriplanarSamples<'a> {
    triplanar: &'a Triplanar,
    source: Source<'a>,
    /// Voxels with a label, and without one but above the bound, of every case.
    places: Vec<[Vec<u32>; 2]>,
}

impl<'a> TriplanarSamples<'a> {
    pub fn new(triplanar: &'a Triplanar, source: Source<'a>) -> Result<Self> {
        let places: Vec<[Vec<u32>; 2]> = source
            .cases
            .iter()
            .map(|case| {
                let mut places = [vec![], vec![]];
                for (voxel, &label) in case.labels.data.iter().enumerate() {
                    if label > 0 {
                        places[0].push(voxel as u32);
                    } else if case.image.data[voxel] >= triplanar.background_below {
                        places[1].push(voxel as u32);
                    }
                }
                places
            })
            .collect();
        for kind in 0..2 {
            if places.iter().all(|places| places[kind].is_empty()) {
                return Err(Error::Parameter(
                    "the cases show no voxel with a label, or none without".into(),
                ));
            }
        }
        Ok(Self {
            triplanar,
            source,
            places,
        })
    }
}

impl Samples for TriplanarSamples<'_> {
    fn sample(&self, index: u64) -> Result<Sample> {
        let mut random = self.source.random(0, index);
        let kind = usize::from(!random.chance(self.triplanar.labelled));
        let holding: Vec<usize> = (0..self.places.len())
            .filter(|&case| !self.places[case][kind].is_empty())
            .collect();
        let number = holding[random.below(holding.len())];
        let places = &self.places[number][kind];
        let voxel = places[random.below(places.len())] as usize;
        let case = &self.source.cases[number];
        let [x, y, z] = case.image.grid.voxel(voxel);
        Ok(Sample {
            image: self.triplanar.around(case, [z, y, x]),
            target: vec![case.labels.data[voxel] as u8],
            weights: vec![],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_best_and_the_area_is_the_chance_of_the_right_order() {
        // One pair of twelve is in the wrong order, one is a tie.
        let scores = [
            (0.9, true),
            (0.8, true),
            (0.3, true),
            (0.6, false),
            (0.3, false),
            (0.1, false),
            (0.05, false),
        ];
        let (threshold, area) = youden(&scores).expect("a curve");
        assert!((area - 10.5 / 12.0).abs() < 1e-12, "{area}");
        // Two of three found, none wrong: 0.667; three of three, two of four wrong: 0.5.
        assert!((threshold - 0.7).abs() < 1e-6, "{threshold}");
        assert_eq!(youden(&[(0.5, true)]), None);
    }
}
