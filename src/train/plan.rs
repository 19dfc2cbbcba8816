//! A train plan: everything that fixes a training but the data.

use anyhow::Context as _;
use segmentation::network::{Architecture, Kind};
use segmentation::recipes::Recipe;
use segmentation::training::{Optimiser, Schedule, TrainPlan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::anatomy::{Anatomy, Classes, MOST_CLASSES};
use super::images_plan::ImagesPlan;
use super::paint::{Painter, Range};
use super::recipe_plan;
use crate::exit::Failure;

/// A train plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the configuration, the last part of the model folder's name.
    pub configuration: String,
    /// The configuration whose result is further input.
    pub previous_stage: Option<String>,
    /// Names of the classes.
    pub names: Vec<String>,
    /// Labels of the maps that make each kind of bone.
    pub classes: Classes,
    /// Whether the first kind is vertebrae, one label each, of which the network tells body and arch: it then makes two classes.
    #[serde(default)]
    pub vertebrae: bool,
    /// Spacing of the network's voxels, mm.
    pub spacing_mm: f64,
    /// Spacing of the coarser network whose result is imitated as further input, mm.
    pub coarse_mm: Option<f64>,
    /// CT numbers between which the input is clipped, HU.
    pub clip_hu: [f64; 2],
    /// CT number that becomes 0, and the difference that becomes 1, HU.
    pub normalisation_hu: [f64; 2],
    /// Channels of each stage.
    pub features: Vec<usize>,
    /// Convolutions of each stage of the encoder.
    pub encoder: Vec<usize>,
    /// Convolutions of each step of the decoder, deepest first.
    pub decoder: Vec<usize>,
    /// Steps between judgements.
    pub judge_every: u64,
    /// Samples the network is judged by.
    pub judged_samples: u64,
    /// The training itself.
    pub training: TrainPlan,
}

/// A train plan of either kind of data.
#[derive(Clone, Debug, PartialEq)]
// One is held at a time.
#[allow(clippy::large_enum_variant)]
pub enum AnyPlan {
    /// Scans painted on label maps.
    Painted(Plan),
    /// Scans with label maps, as nnU-Net.
    Images(ImagesPlan),
    /// Scans with label maps, as another paper.
    Recipe(Recipe),
}

/// Names of the plans that are built in, but for the recipes.
const OWN_NAMES: [&str; 10] = [
    "nnunet-2d",
    "nnunet-3d_fullres",
    "nnunet-3d_lowres",
    "nnunet-resenc_m-3d_fullres",
    "nnunet-resenc_l-3d_fullres",
    "nnunet-resenc_xl-3d_fullres",
    "builtin-femur-coarse",
    "builtin-femur-fine",
    "builtin-vertebra-coarse",
    "builtin-vertebra-fine",
];

/// Names of the plans that are built in; recipes of papers also with `-small` behind their names.
pub fn names() -> Vec<&'static str> {
    [OWN_NAMES.as_slice(), &recipe_plan::NAMES].concat()
}

impl AnyPlan {
    /// A built-in plan by its name, or one read from a TOML file.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when there is no such plan, or the file is not one.
    pub fn load(name: &str) -> anyhow::Result<Self> {
        if let Some(plan) = Plan::built_in(name) {
            return Ok(Self::Painted(plan));
        }
        if let Some(plan) = ImagesPlan::built_in(name) {
            return Ok(Self::Images(plan));
        }
        if let Some(recipe) = recipe_plan::built_in(name) {
            return Ok(Self::Recipe(recipe));
        }
        if !name.ends_with(".toml") {
            return Err(Failure::usage(format!("there is no train plan `{name}`"))
                .with_help(format!(
                    "name a TOML file, or one of {}",
                    names().join(", ")
                ))
                .into());
        }
        let text =
            std::fs::read_to_string(name).with_context(|| format!("the train plan {name}"))?;
        let wrong = |reason: String| Failure::usage(format!("the train plan {name}: {reason}"));
        let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let plan = if table.contains_key("method") {
            toml::from_str(&text).map(Self::Recipe)
        } else if table.contains_key("data") {
            toml::from_str(&text).map(Self::Images)
        } else {
            toml::from_str(&text).map(Self::Painted)
        };
        let plan = plan.map_err(|error| wrong(error.to_string()))?;
        match &plan {
            Self::Painted(plan) => plan.check(),
            Self::Images(plan) => plan.check(),
            Self::Recipe(recipe) => recipe.check().map_err(|error| error.to_string()),
        }
        .map_err(wrong)?;
        Ok(plan)
    }

    /// The plan as a TOML file.
    ///
    /// # Errors
    /// Never, for a plan that was loaded.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        match self {
            Self::Painted(plan) => plan.to_toml(),
            Self::Images(plan) => Ok(toml::to_string_pretty(plan)?),
            Self::Recipe(recipe) => Ok(toml::to_string_pretty(recipe)?),
        }
    }

    /// Names of the classes, where the plan and not the data say them.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Painted(plan) => &plan.names,
            Self::Images(_) | Self::Recipe(_) => &[],
        }
    }
}

impl Plan {
    /// Why nothing can be trained by this plan, if nothing can.
    fn check(&self) -> Result<(), String> {
        let classes = self.classes.len();
        let named = classes + usize::from(self.vertebrae);
        if !(1..=MOST_CLASSES).contains(&classes) || self.names.len() != named {
            return Err(format!(
                "{classes} `classes` and {} `names`; 1 to {MOST_CLASSES} classes are possible, with a name each, vertebrae with two",
                self.names.len()
            ));
        }
        let stages = self.features.len();
        if !(2..=8).contains(&stages)
            || self.encoder.len() != stages
            || self.decoder.len() != stages - 1
        {
            return Err(format!(
                "{stages} `features`, {} `encoder` and {} `decoder` entries; 2 to 8 stages are possible, with one decoder step less",
                self.encoder.len(),
                self.decoder.len()
            ));
        }
        let counts = self
            .features
            .iter()
            .chain(&self.encoder)
            .chain(&self.decoder);
        if counts.clone().any(|n| !(1..=4096).contains(n)) {
            return Err(
                "`features`, `encoder` and `decoder` must hold numbers from 1 to 4096".into(),
            );
        }
        let factor = 1 << (stages - 1);
        let patch = self.training.patch;
        if patch
            .iter()
            .any(|&n| !(2 * factor..=512).contains(&n) || !n.is_multiple_of(factor))
        {
            return Err(format!(
                "`patch` {patch:?}; multiples of {factor}, at least {}, are possible",
                2 * factor
            ));
        }
        if self.judge_every == 0 || self.judged_samples == 0 {
            return Err("`judge_every` and `judged_samples` must be positive".into());
        }
        let lengths = [
            Some(self.spacing_mm),
            self.coarse_mm,
            Some(self.normalisation_hu[1]),
        ];
        if lengths
            .into_iter()
            .flatten()
            .any(|v| !(v.is_finite() && v > 0.0))
        {
            return Err(
                "`spacing_mm`, `coarse_mm` and the second of `normalisation_hu` must be positive"
                    .into(),
            );
        }
        match self.clip_hu[0] < self.clip_hu[1] && self.normalisation_hu[0].is_finite() {
            true => Ok(()),
            false => Err("`clip_hu` must rise and `normalisation_hu` be numbers".into()),
        }
    }

    /// A built-in plan by its name.
    pub fn built_in(name: &str) -> Option<Self> {
        let femur = Self {
            configuration: "3d_lowres".into(),
            previous_stage: None,
            names: vec!["femur".into(), "other_bone".into()],
            classes: vec![vec![1, 2], vec![3, 4, 5]],
            vertebrae: false,
            spacing_mm: 4.0,
            coarse_mm: None,
            clip_hu: [-250.0, 1250.0],
            normalisation_hu: [100.0, 300.0],
            features: vec![12, 24, 48, 72],
            encoder: vec![1, 2, 2, 2],
            decoder: vec![2, 2, 1],
            judge_every: 500,
            judged_samples: 48,
            training: TrainPlan {
                patch: [48; 3],
                batch: 2,
                steps: 5000,
                optimiser: Optimiser::Adam {
                    beta1: 0.9,
                    beta2: 0.99,
                    weight_decay: 0.01,
                },
                schedule: Schedule::Cosine {
                    rate: 2e-3,
                    warm_up: 100,
                },
                clip: 5.0,
                loss: [1.0, 1.0],
                batch_dice: true,
                deep_supervision: true,
                mean_memory: 0.995,
                seed: 1,
            },
        };
        let (bone, stage) = name.strip_prefix("builtin-")?.split_once('-')?;
        // The coarse network; channels of the fine one, its steps, and those between its judgements.
        let (coarse, features, steps, judge_every) = match bone {
            "femur" => (femur, vec![16, 32, 64, 96], 6000, 500),
            "vertebra" => {
                let training = TrainPlan {
                    steps: 1200,
                    ..femur.training
                };
                (
                    Self {
                        training,
                        names: ["vertebral_body", "vertebral_arch", "other_bone"]
                            .map(str::to_owned)
                            .into(),
                        // VerSe numbers of T1 to L6, and T13; femora, hip bones and sacrum as 101 to 105.
                        classes: vec![(8..=25).chain([28]).collect(), (101..=105).collect()],
                        vertebrae: true,
                        judge_every: 400,
                        ..femur
                    },
                    vec![12, 24, 48, 72],
                    1800,
                    450,
                )
            }
            _ => return None,
        };
        match stage {
            "coarse" => Some(coarse),
            "fine" => Some(Self {
                configuration: "3d_cascade_fullres".into(),
                previous_stage: Some("3d_lowres".into()),
                spacing_mm: 1.5,
                coarse_mm: Some(4.0),
                features,
                judge_every,
                training: TrainPlan {
                    steps,
                    ..coarse.training
                },
                ..coarse
            }),
            _ => None,
        }
    }

    /// The plan as a TOML file.
    ///
    /// # Errors
    /// Never, for a plan that was loaded.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string_pretty(self)?)
    }

    pub(super) fn painter(&self, anatomies: Vec<Anatomy>, seed: u64) -> Painter {
        Painter {
            anatomies,
            patch: self.training.patch,
            spacing_mm: self.spacing_mm as f32,
            range: Range {
                clip_hu: self.clip_hu.map(|v| v as f32),
                mean_hu: self.normalisation_hu[0] as f32,
                deviation_hu: self.normalisation_hu[1] as f32,
            },
            coarse_input: self.coarse_mm.map(|mm| mm as f32),
            seed,
        }
    }

    /// The network.
    pub fn architecture(&self) -> Architecture {
        let stages = self.features.len();
        let coarse = if self.coarse_mm.is_some() {
            self.names.len()
        } else {
            0
        };
        Architecture {
            kind: Kind::Plain,
            dimensions: 3,
            inputs: 1 + coarse,
            outputs: self.names.len() + 1,
            features: self.features.clone(),
            kernels: vec![[3; 3]; stages],
            strides: (0..stages)
                .map(|stage| [if stage == 0 { 1 } else { 2 }; 3])
                .collect(),
            encoder: self.encoder.clone(),
            decoder: self.decoder.clone(),
            bias: true,
        }
    }

    /// What nnU-Net's `plans.json` says of this model.
    pub(super) fn plans_json(&self) -> Value {
        let stages = self.features.len();
        let strides: Vec<[usize; 3]> = self.architecture().strides;
        json!({
            "dataset_name": "painted",
            "plans_name": "osteoload",
            "image_reader_writer": "NibabelIOWithReorient",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "foreground_intensity_properties_per_channel": {"0": {
                "percentile_00_5": self.clip_hu[0],
                "percentile_99_5": self.clip_hu[1],
                "mean": self.normalisation_hu[0],
                "std": self.normalisation_hu[1],
            }},
            "configurations": {&self.configuration: {
                "patch_size": self.training.patch,
                "spacing": vec![self.spacing_mm; 3],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [false],
                "previous_stage": self.previous_stage,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": stages,
                        "features_per_stage": self.features,
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "nonlin": "torch.nn.LeakyReLU",
                        "kernel_sizes": vec![vec![3; 3]; stages],
                        "strides": strides,
                        "n_conv_per_stage": self.encoder,
                        "n_conv_per_stage_decoder": self.decoder,
                        "conv_bias": true,
                    },
                },
            }},
        })
    }

    pub(super) fn dataset_json(&self) -> Value {
        let mut labels = serde_json::Map::from_iter([("background".to_owned(), json!(0))]);
        for (label, name) in (1..).zip(&self.names) {
            labels.insert(name.clone(), json!(label));
        }
        json!({
            "channel_names": {"0": "CT"},
            "labels": labels,
            "file_ending": ".nii.gz",
        })
    }
}
