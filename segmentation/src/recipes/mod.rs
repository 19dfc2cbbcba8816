//! The papers' own networks, each with its way of cutting scans into samples and of putting answers together again.
//!
//! ```text
//!    scan ── reorient, resample, normalise ── Case ──┬─ slices along the axes       Saillard et al. 2D, Pivi et al.
//!                                                    ├─ patches                     Saillard et al. 3D
//!                                                    ├─ planes through the scan     Xu et al., after Perslev et al.
//!                                                    └─ three small patches a voxel Hallyburton et al.
//! ```
//!
//! A [`Recipe`] is everything a paper fixes; what it leaves open, and where its text and its code differ, stands at the field.

mod case;
mod deformation;
mod model;
mod patches;
mod planes;
mod postprocess;
mod slices;
mod triplanar;

use serde::{Deserialize, Serialize};

pub(crate) use case::respaced;
pub use case::{Case, Normalisation};
pub use deformation::{Affine, Elastic};
pub use model::{Fitted, RecipeModel, View};
pub use patches::Volumetric;
pub use planes::{DistanceWeights, Planes, plane_basis, plane_points, sampled};
pub use postprocess::Postprocess;
pub use slices::{Axis, Fusion, SliceKind, Slices};
pub use triplanar::Triplanar;

use crate::error::{Error, Result};
use crate::network::Topology;
use crate::training::{Optimiser, Random, Sample, Samples, Schedule, TrainPlan};

/// How a paper trains and uses its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The paper.
    pub source: String,
    /// Spacing of the voxels the network sees, mm, along left-right, back-front and foot-head; the scan's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing_mm: Option<[f64; 3]>,
    /// Whether scans are first split into single femora that are laid on one ([`crate::coregistration`]).
    #[serde(default)]
    pub coregistered: bool,
    /// Samples of a step.
    pub batch: usize,
    /// Epochs.
    pub epochs: u64,
    /// Steps of an epoch; where there are none, as many as show every slice once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_steps: Option<u64>,
    /// Samples the network is judged by after each epoch.
    pub judged_samples: u64,
    /// Learning rate.
    pub rate: f64,
    /// Weights of the cross-entropy and of the Dice loss.
    pub loss: [f64; 2],
    /// Which weights are kept.
    pub keep: Kept,
    /// Seed.
    pub seed: u64,
    /// Rule of the steps.
    pub optimiser: Optimiser,
    /// How numbers reach the network.
    pub normalisation: Normalisation,
    /// How scans are cut into samples.
    pub method: Method,
    /// Random maps that samples are shown under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affine: Option<Affine>,
    /// Random deformations that samples are shown under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic: Option<Elastic>,
    /// When the rate falls and training ends early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Patience>,
    /// What is done to the label map.
    #[serde(default)]
    pub postprocess: Postprocess,
}

/// Which weights a training leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Those of the last epoch.
    Last,
    /// Those of the epoch judged best.
    BestDice,
    /// Those of the epoch with the least training loss.
    LeastLoss,
}

/// When the rate falls and training ends early.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// Epochs without a better judgement after which the rate falls.
    pub fall_after: u64,
    /// By what.
    pub factor: f64,
    /// Epochs without a better judgement after which training ends.
    pub stop_after: u64,
}

/// How scans are cut into samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Method {
    /// Slices along the axes.
    Slices(Slices),
    /// Patches of the volume.
    Volumetric(Volumetric),
    /// Planes of a few directions.
    Planes(Planes),
    /// Three small patches around a voxel.
    Triplanar(Triplanar),
}

/// Gradients are not cut, as none of the papers does.
const NO_CLIP: f64 = 1e30;

impl Recipe {
    /// Why nothing can be trained by this recipe, if nothing can.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn check(&self) -> Result<()> {
        let counts = [self.epochs, self.judged_samples, self.batch as u64];
        if counts.contains(&0) || self.epoch_steps == Some(0) {
            return Err(Error::Parameter(
                "`epochs`, `epoch_steps`, `judged_samples` and `batch` must be positive".into(),
            ));
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !positive(self.rate) || !self.spacing_mm.iter().flatten().all(|&v| positive(v)) {
            return Err(Error::Parameter(
                "`rate` and `spacing_mm` must be positive".into(),
            ));
        }
        if self.loss.iter().any(|v| !(v.is_finite() && *v >= 0.0)) || self.loss == [0.0; 2] {
            return Err(Error::Parameter(
                "`loss` holds two weights, one of them positive".into(),
            ));
        }
        self.check_samples()?;
        match &self.method {
            Method::Slices(own) => own.check(),
            Method::Volumetric(own) => own.check(),
            Method::Planes(own) => own.check(),
            Method::Triplanar(own) => own.check(),
        }
    }

    /// Why no sample can be shown by this recipe, if none can.
    fn check_samples(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::Parameter(reason.into()));
        let slices = matches!(self.method, Method::Slices(_));
        let triplanar = matches!(self.method, Method::Triplanar(_));
        match self.normalisation {
            Normalisation::ClippedRange { low, high }
                if low.is_nan() || high.is_nan() || low >= high =>
            {
                return refuse("`normalisation`: `low` must be below `high`");
            }
            Normalisation::SliceRange { .. } if !slices => {
                return refuse("`normalisation`: `slice_range` is for the method `slices`");
            }
            _ => {}
        }
        if self.epoch_steps.is_none() && !slices {
            return refuse("`epoch_steps` is missing; only slices can be counted");
        }
        if triplanar && (self.affine.is_some() || self.elastic.is_some()) {
            return refuse("`affine` and `elastic` are not for the method `triplanar`");
        }
        if let Some(affine) = &self.affine {
            let [least, largest] = affine.scale;
            if !(least > 0.0 && least <= largest && largest.is_finite()) {
                return refuse("`affine`: `scale` holds the least and the largest, both positive");
            }
        }
        Ok(())
    }

    /// Names of the networks that are trained, one after the other.
    pub fn networks(&self) -> Vec<String> {
        match &self.method {
            Method::Slices(own) if !own.one_network => {
                own.axes.iter().map(|axis| axis.name().to_owned()).collect()
            }
            _ => vec!["fold_0".to_owned()],
        }
    }

    /// The network, for so many classes with background.
    pub fn topology(&self, outputs: usize) -> Topology {
        match &self.method {
            Method::Slices(own) => own.topology(outputs),
            Method::Volumetric(own) => own.topology(outputs),
            Method::Planes(own) => own.topology(outputs),
            Method::Triplanar(own) => own.topology(outputs),
        }
    }

    /// What follows from the cases that are learned from.
    ///
    /// # Errors
    /// [`Error::Parameter`] when there is no case.
    pub fn fit(&self, cases: &[Case], names: Vec<String>) -> Result<Fitted> {
        if cases.is_empty() {
            return Err(Error::Parameter("no case to learn from".into()));
        }
        let mut fitted = Fitted {
            names,
            patch: [1; 3],
            view: None,
            threshold: None,
            auc: None,
        };
        match &self.method {
            Method::Slices(own) => fitted.patch = own.patch(cases),
            Method::Volumetric(own) => fitted.patch = own.patch,
            Method::Planes(own) => {
                let view = own.view(cases, self.seed);
                fitted.patch = [1, view.dim, view.dim];
                fitted.view = Some(view);
            }
            Method::Triplanar(own) => fitted.patch = [1, own.side, own.side],
        }
        Ok(fitted)
    }

    /// Samples for a network by its number; `judged` ones are shown as they are.
    ///
    /// # Errors
    /// [`Error::Parameter`] when no sample can be cut from the cases.
    pub fn samples<'a>(
        &'a self,
        network: usize,
        cases: &'a [Case],
        fitted: &'a Fitted,
        judged: bool,
    ) -> Result<Box<dyn Samples + 'a>> {
        let source = Source {
            recipe: self,
            cases,
            fitted,
            judged,
        };
        Ok(match &self.method {
            Method::Slices(own) => Box::new(slices::SliceSamples::new(own, source, network)?),
            Method::Volumetric(_) => Box::new(patches::PatchSamples::new(source)),
            Method::Planes(own) => Box::new(planes::PlaneSamples::new(own, source)?),
            Method::Triplanar(own) => Box::new(triplanar::TriplanarSamples::new(own, source)?),
        })
    }

    /// Everything that fixes the training of a network but its samples.
    pub fn train_plan(&self, network: usize, cases: &[Case], fitted: &Fitted) -> TrainPlan {
        let epoch = match (self.epoch_steps, &self.method) {
            (Some(steps), _) => steps,
            (None, Method::Slices(own)) => {
                (own.count(network, cases).div_ceil(self.batch) as u64).max(1)
            }
            // Refused by [`Self::check`].
            (None, _) => 1,
        };
        TrainPlan {
            patch: fitted.patch,
            batch: self.batch,
            steps: self.epochs.saturating_mul(epoch),
            optimiser: self.optimiser,
            schedule: Schedule::Constant { rate: self.rate },
            clip: NO_CLIP,
            loss: self.loss,
            batch_dice: true,
            deep_supervision: false,
            mean_memory: 0.0,
            seed: self.seed.wrapping_add(network as u64),
        }
    }
}

/// What samples are cut from.
#[derive(Clone, Copy)]
struct Source<'a> {
    recipe: &'a Recipe,
    cases: &'a [Case],
    fitted: &'a Fitted,
    judged: bool,
}

impl Source<'_> {
    /// Random numbers of a sample; those of judged ones are others.
    fn random(&self, network: usize, index: u64) -> Random {
        let own = self.recipe.seed.wrapping_add(network as u64);
        let seed = if self.judged { own ^ 0x5EED } else { own };
        Random::new(seed, index)
    }

    /// A sample as it is shown: under a random map and deformation while learning.
    ///
    /// # Errors
    /// As [`Shown::deformed`](deformation::Shown::deformed).
    fn shown(
        &self,
        mut shown: deformation::Shown,
        shape: [usize; 3],
        random: &mut Random,
    ) -> Result<Sample> {
        if !self.judged {
            if let Some(affine) = &self.recipe.affine {
                shown = shown.mapped(affine, shape, random);
            }
            if let Some(elastic) = &self.recipe.elastic {
                shown = shown.deformed(elastic, shape, random)?;
            }
        }
        Ok(Sample {
            image: shown.image,
            target: shown.labels,
            weights: shown.weights,
        })
    }
}
