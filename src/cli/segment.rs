//! `osteoload segment`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use segmentation::nnunet::{Folds, Options, Precision};
use segmentation::total_segmentator::Task;

use super::Globals;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::Bone;
use crate::segment::{ModelChoice, SegmentRequest, segment};

/// `all`, or numbers separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FoldChoice(Folds);

impl FromStr for FoldChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(Folds::All));
        }
        let numbers = text
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>();
        match numbers {
            Ok(numbers) if !numbers.is_empty() => Ok(Self(Folds::These(numbers))),
            _ => Err("folds are `all` or numbers such as 0,1,2".into()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mirroring {
    /// Along the axes that the model was trained with
    Auto,
    /// None
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionChoice {
    /// Half precision as nnU-Net computes, to the last tie
    Exact,
    /// Single precision, memory for one layer of tiles
    Fast,
}

/// Segment bones in a CT scan
#[derive(Clone, Debug, Args)]
pub struct SegmentArgs {
    /// CT scan; several times for a model with several channels
    #[arg(long, value_name = "SCAN", required = true)]
    ct: Vec<PathBuf>,
    /// Resample gantry tilt, uneven spacing and gaps of one or two slices of a DICOM series; the labels are on the new grid
    #[arg(long)]
    repair: bool,
    /// builtin:femur, builtin:vertebra, or a model folder: nnU-Net v2's, or one of `train`; with --task, the folder that holds TotalSegmentator's Dataset folders
    #[arg(long, value_name = "builtin:BONE|DIR")]
    model: String,
    /// A task of TotalSegmentator, whose weights lie in MODEL_DIR: total, total_3mm, total_6mm, total_v3, vertebrae_body …
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Classes wanted of the task, such as femur_left,femur_right; models with none of them do not run
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "task")]
    classes: Vec<String>,
    /// Label map to write
    #[arg(long, value_name = "labels.nii.gz")]
    out: PathBuf,
    /// Folds of the model: all, or numbers such as 0,1
    #[arg(long, value_name = "FOLDS", default_value = "all")]
    folds: FoldChoice,
    /// Test-time mirroring
    #[arg(long, value_enum, default_value = "auto")]
    mirroring: Mirroring,
    /// Distance of tiles as a part of their size
    #[arg(long, value_name = "PART", default_value_t = 0.5)]
    step: f64,
    /// Arithmetic of the logits
    #[arg(long, value_enum, default_value = "fast")]
    precision: PrecisionChoice,
    /// Write the probabilities as nnU-Net does: an .npz with the key `probabilities` (class, z, y, x)
    #[arg(long, value_name = "FILE.npz")]
    probabilities: Option<PathBuf>,
    /// Write how sure the built-in networks are of the surface: standard deviation between two looks, mm, near the surface
    #[arg(long, value_name = "doubt.nii.gz")]
    uncertainty: Option<PathBuf>,
    /// Show the scan to the network as it is, though the model was trained behind a pre-processing
    #[arg(long)]
    no_preprocessing: bool,
    /// Replace existing files
    #[arg(long)]
    overwrite: bool,
}

impl SegmentArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let model = match self.model.strip_prefix("builtin") {
            None => ModelChoice::Folder(PathBuf::from(&self.model)),
            Some(":femur") => ModelChoice::BuiltIn(Bone::Femur),
            Some(":vertebra") => ModelChoice::BuiltIn(Bone::Vertebra),
            Some(_) => {
                return Err(Failure::usage(format!(
                    "--model {}: there are no such built-in networks",
                    self.model
                ))
                .with_help(
                    "give builtin:femur, builtin:vertebra or the folder of an nnU-Net v2 model",
                )
                .into());
            }
        };
        let request = SegmentRequest {
            channels: self.ct.clone(),
            repair: self.repair,
            model,
            task: match &self.task {
                None => None,
                Some(name) => {
                    let task = Task::named(name).kind(Kind::Usage)?;
                    Some((task, self.classes.clone()))
                }
            },
            folds: self.folds.0.clone(),
            preprocessing: !self.no_preprocessing,
            options: Options {
                mirroring: self.mirroring == Mirroring::Auto,
                step: self.step,
                precision: match self.precision {
                    PrecisionChoice::Exact => Precision::Exact,
                    PrecisionChoice::Fast => Precision::Fast,
                },
                ..Options::default()
            },
            device: globals.device()?,
            out: self.out.clone(),
            probabilities: self.probabilities.clone(),
            uncertainty: self.uncertainty.clone(),
            overwrite: self.overwrite,
        };
        if !(self.step > 0.0 && self.step <= 1.0) {
            return Err(Failure::usage(format!(
                "--step {} must lie above 0 and at most at 1",
                self.step
            ))
            .into());
        }
        for found in segment(&request, &mut globals.progress())? {
            globals.say(format!(
                "{:>5} {:<24} {:.0} mm3",
                found.label, found.name, found.volume_mm3
            ));
        }
        Ok(())
    }
}
