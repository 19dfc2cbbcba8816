//! Train plans for scans with label maps.

use segmentation::nnunet::planner::Preset;
use segmentation::training::Optimiser;
use serde::{Deserialize, Serialize};

/// A train plan for scans with label maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesPlan {
    /// What tells this plan from one for painted scans.
    pub data: Images,
    /// Planner's rules.
    pub preset: PresetName,
    /// `2d`, `3d_fullres` or `3d_lowres`.
    pub configuration: String,
    /// Channels of each stage, where the planner's are not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<usize>>,
    /// Voxels of a patch, coarsest axis first, where the planner's are not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Vec<usize>>,
    /// Patches of a batch, where the planner's are not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Epochs; the learning rate falls from one to the next.
    pub epochs: u64,
    /// Steps of an epoch; the network is judged after each.
    pub epoch_steps: u64,
    /// Batches that it is judged by.
    pub judged_batches: u64,
    /// Part of a batch that is put on foreground.
    pub foreground: f64,
    /// Whether patches are changed as nnU-Net does.
    pub augmented: bool,
    /// Whether patches are mirrored, in training and when the model runs.
    pub mirrored: bool,
    /// Learning rate at the start.
    pub rate: f64,
    /// Rule of the steps.
    pub optimiser: Optimiser,
    /// Norm to which gradients are cut.
    pub clip: f64,
    /// Seed.
    pub seed: u64,
}

/// Marks a plan for scans with label maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Images {
    /// `imagesTr` and `labelsTr`.
    Images,
}

/// The planner's rules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresetName {
    /// Plain U-Net.
    Plain,
    /// Residual encoder for 8 GB.
    ResencM,
    /// Residual encoder for 24 GB.
    ResencL,
    /// Residual encoder for 40 GB.
    ResencXl,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::Plain => Self::Plain,
            PresetName::ResencM => Self::ResEncM,
            PresetName::ResencL => Self::ResEncL,
            PresetName::ResencXl => Self::ResEncXL,
        }
    }
}

/// Which cases are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// All but those of this fifth.
    One(usize),
    /// All; judged by the same.
    All,
}

impl std::str::FromStr for Fold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            text => match text.parse() {
                Ok(fold) if fold < FOLDS => Ok(Self::One(fold)),
                _ => Err(format!("a fold is 0 to {} or `all`", FOLDS - 1)),
            },
        }
    }
}

impl std::fmt::Display for Fold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(fold) => write!(f, "{fold}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Parts of a cross-validation.
pub(super) const FOLDS: usize = 5;
impl ImagesPlan {
    /// The plan of a name such as `nnunet-3d_fullres` or `nnunet-resenc_m-3d_fullres`.
    pub fn built_in(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("nnunet-")?;
        let (preset, configuration) = match rest.split_once('-') {
            None => (PresetName::Plain, rest),
            Some(("resenc_m", configuration)) => (PresetName::ResencM, configuration),
            Some(("resenc_l", configuration)) => (PresetName::ResencL, configuration),
            Some(("resenc_xl", configuration)) => (PresetName::ResencXl, configuration),
            Some(_) => return None,
        };
        ["2d", "3d_fullres", "3d_lowres"]
            .contains(&configuration)
            .then(|| Self {
                data: Images::Images,
                preset,
                configuration: configuration.to_owned(),
                features: None,
                patch: None,
                batch: None,
                epochs: 1000,
                epoch_steps: 250,
                judged_batches: 50,
                foreground: 0.33,
                augmented: true,
                mirrored: true,
                rate: 0.01,
                optimiser: Optimiser::nnunet(),
                clip: 12.0,
                seed: 1,
            })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let counts = [self.epochs, self.epoch_steps, self.judged_batches];
        if counts.contains(&0) || self.epochs.checked_mul(self.epoch_steps).is_none() {
            return Err("`epochs`, `epoch_steps` and `judged_batches` must be positive".into());
        }
        if !(0.0..=1.0).contains(&self.foreground) {
            return Err(format!(
                "`foreground` {}; a part is 0 to 1",
                self.foreground
            ));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        match positive(self.rate) && positive(self.clip) && self.batch != Some(0) {
            true => Ok(()),
            false => Err("`rate`, `clip` and `batch` must be positive".into()),
        }
    }
}
