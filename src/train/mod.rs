//! Training a network on CT painted on label maps: the plan, the loop around the trainer, the model folder it leaves.

mod anatomy;
mod paint;
mod picture;
mod plan;
mod scenery;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use segmentation::network::{Device, Network};
use segmentation::training::{Parameters, Samples as _, Trainer};
use serde_json::json;

use crate::output_dir::{PROVENANCE_FILE, write_file, write_file_with};
use crate::progress::Progress;
use crate::provenance::Provenance;
use anatomy::Anatomy;
use paint::Painter;
use picture::Seen;
pub use plan::{NAMES, Plan};

/// What is trained, on what, and where the model goes.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// Everything that fixes the training.
    pub plan: Plan,
    /// Folder with label maps in `labelsTr`, and in `labelsTs` those to judge by.
    pub data: PathBuf,
    /// The model folder.
    pub out: PathBuf,
    /// Whether a training found there goes on.
    pub resume: bool,
    /// Stop after so many steps of this run, and as many more as lead to the next judgement.
    pub at_most: Option<u64>,
}

/// Label maps that are learned from, and those that are only judged by, as nnU-Net names the folders.
const LEARNED: &str = "labelsTr";
const JUDGED: &str = "labelsTs";
/// The weights in a model folder.
const WEIGHTS: &str = "fold_0/checkpoint_final.safetensors";
/// Samples that are drawn at every judgement.
const PICTURED: u64 = 12;

/// How good the network is on samples it never saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Dice of each class, over all samples together.
    pub dice: Vec<f64>,
}

impl Judgement {
    fn mean(&self) -> f64 {
        self.dice.iter().sum::<f64>() / self.dice.len().max(1) as f64
    }
}

/// Trains and writes the model folder; gives the last judgement.
///
/// # Errors
/// When the data cannot be read, or files cannot be written.
pub fn train(request: &TrainRequest, progress: &mut Progress) -> anyhow::Result<Judgement> {
    let plan = &request.plan;
    progress.stage("read");
    let painter = plan.painter(
        anatomies(&request.data.join(LEARNED), plan)?,
        plan.training.seed,
    );
    let held_out = request.data.join(JUDGED);
    let judge = plan.painter(anatomies(&held_out, plan)?, plan.training.seed ^ 0x5EED);
    std::fs::create_dir_all(request.out.join("fold_0"))
        .with_context(|| format!("{} cannot be made", request.out.display()))?;
    provenance(request)?;
    let state = request.out.join("checkpoint_latest.safetensors");
    let log = request.out.join("training.csv");
    if !request.resume {
        // What an earlier training left must not pass for this one's, should it be stopped before its first judgement.
        for file in [
            &state,
            &log,
            &request.out.join(WEIGHTS),
            &request.out.join("samples.png"),
        ] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}", file.display()));
                }
                _ => {}
            }
        }
    }
    write_file(&request.out.join("train.toml"), plan.to_toml()?.as_bytes())?;
    write_file(
        &request.out.join("plans.json"),
        plan.plans_json().to_string().as_bytes(),
    )?;
    write_file(
        &request.out.join("dataset.json"),
        plan.dataset_json().to_string().as_bytes(),
    )?;
    let architecture = plan.architecture();
    let (mut trainer, mut rows) = match request.resume && state.is_file() {
        true => (
            Trainer::resume(architecture, plan.training, &state)?,
            std::fs::read_to_string(&log).unwrap_or_default(),
        ),
        false => (
            Trainer::new(architecture, plan.training, Parameters::default())?,
            header(plan),
        ),
    };
    // Rows after the state that is taken up again belong to steps that are done once more.
    rows = kept(&rows, trainer.step());
    let mut best = best_of(&rows);
    let mut last = Judgement { dice: vec![] };
    progress.stage("train");
    let first = trainer.step();
    // A training stops where it is judged: so one that was stopped leaves the same files as one that was not.
    let asked = request
        .at_most
        .map_or(u64::MAX, |n| n.next_multiple_of(plan.judge_every));
    let until = first.saturating_add(asked).min(plan.training.steps);
    let (mut loss, mut dice, mut counted) = (0.0, 0.0, 0.0);
    trainer.run(&painter, Device::Cpu, until, |trainer, step| {
        loss += step.loss;
        dice += step.dice;
        counted += 1.0;
        progress.part((step.step - first) as usize, (until - first) as usize);
        if step.step % plan.judge_every != 0 && step.step != plan.training.steps {
            return Ok(true);
        }
        let outcome = (|| -> anyhow::Result<()> {
            let result = trainer.result();
            let (judgement, seen) = judged(plan, &judge, &result)?;
            last = judgement;
            write_file_with(&request.out.join("samples.png"), |path| {
                picture::draw(path, plan.training.patch, &seen)
            })?;
            let _ = write!(
                rows,
                "{},{:.6},{:.5},{:.5},{:.3e}",
                step.step,
                loss / counted,
                dice / counted,
                last.mean(),
                step.rate
            );
            for dice in &last.dice {
                let _ = write!(rows, ",{dice:.5}");
            }
            rows.push('\n');
            if last.mean() > best {
                best = last.mean();
                keep(plan, &result, &request.out, step.step, &last)?;
            }
            // The state last: rows behind it are dropped when it is taken up again.
            write_file(&log, rows.as_bytes())?;
            trainer.save(&state)?;
            (loss, dice, counted) = (0.0, 0.0, 0.0);
            Ok(())
        })();
        outcome.map_err(|error| segmentation::Error::Parameter(format!("{error:#}")))?;
        Ok(true)
    })?;
    progress.finish();
    Ok(last)
}

/// Writes `provenance.json`: the label maps by their hashes, the program, the machine.
fn provenance(request: &TrainRequest) -> anyhow::Result<()> {
    let mut provenance = Provenance::of_this_process("osteoload train", solver::Device::Cpu);
    for folder in [LEARNED, JUDGED] {
        for file in label_maps(&request.data.join(folder))? {
            provenance.add_input(folder, &file)?;
        }
    }
    write_file(
        &request.out.join(PROVENANCE_FILE),
        provenance.to_json()?.as_bytes(),
    )
}

/// Number of parameters of a plan's network.
///
/// # Errors
/// When there is no such network.
pub fn parameter_count(plan: &Plan) -> anyhow::Result<usize> {
    let trainer = Trainer::new(plan.architecture(), plan.training, Parameters::default())?;
    Ok(trainer.parameters.count())
}

/// The label maps of a folder, by the order of their names.
fn label_maps(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".nii.gz"));
    files.sort();
    ensure!(
        !files.is_empty(),
        "{} holds no label map (.nii.gz)",
        folder.display()
    );
    Ok(files)
}

/// The label maps of a folder, measured.
fn anatomies(folder: &Path, plan: &Plan) -> anyhow::Result<Vec<Anatomy>> {
    label_maps(folder)?
        .par_iter()
        .map(|file| {
            let map = imaging::read_labels(file)?;
            Anatomy::of(&map, &plan.classes, plan.vertebrae)
                .with_context(|| format!("{}", file.display()))
        })
        .collect()
}

fn header(plan: &Plan) -> String {
    let mut text = String::from("step,loss,soft_dice,judged_dice,rate");
    for name in &plan.names {
        let _ = write!(text, ",{name}");
    }
    text + "\n"
}

fn kept(rows: &str, step: u64) -> String {
    let within = |row: &&str| {
        let number = row.split(',').next().and_then(|n| n.parse::<u64>().ok());
        number.is_none_or(|n| n <= step)
    };
    rows.lines()
        .filter(within)
        .map(|row| format!("{row}\n"))
        .collect()
}

fn best_of(rows: &str) -> f64 {
    let judged = rows
        .lines()
        .skip(1)
        .filter_map(|row| row.split(',').nth(3)?.parse::<f64>().ok());
    judged.fold(f64::NEG_INFINITY, f64::max)
}

/// Dice of the classes over the samples kept for judging.
fn judged(
    plan: &Plan,
    judge: &Painter,
    weights: &Parameters,
) -> anyhow::Result<(Judgement, Vec<Seen>)> {
    let network = Network::new(&plan.architecture(), &mut &*weights, Device::Cpu)?;
    let classes = plan.names.len();
    let voxels: usize = plan.training.patch.iter().product();
    let [z, y, x] = plan.training.patch;
    // Twice the voxels that are right, and the voxels of both.
    let mut counts = vec![[0.0f64; 2]; classes + 1];
    let mut seen = vec![];
    for index in 0..plan.judged_samples {
        let sample = judge.sample(index)?;
        let logits = network.forward(
            sample.image.clone(),
            [1, plan.architecture().inputs, z, y, x],
        )?;
        let mut labels = vec![0u8; voxels];
        for (voxel, &own) in sample.target.iter().enumerate() {
            let value = |class: usize| logits[class * voxels + voxel];
            let largest = |best, class| {
                if value(class) > value(best) {
                    class
                } else {
                    best
                }
            };
            let (found, own) = ((1..=classes).fold(0, largest), usize::from(own));
            labels[voxel] = found as u8;
            counts[found][1] += 1.0;
            counts[own][1] += 1.0;
            if found == own {
                counts[own][0] += 2.0;
            }
        }
        if index < PICTURED {
            seen.push(Seen {
                sample,
                found: labels,
            });
        }
    }
    let dice = counts.iter().skip(1).map(|[right, of]| match *of {
        0.0 => 1.0,
        of => right / of,
    });
    let judgement = Judgement {
        dice: dice.collect(),
    };
    Ok((judgement, seen))
}

/// Writes the weights of the model folder, in half precision.
fn keep(
    plan: &Plan,
    weights: &Parameters,
    out: &Path,
    step: u64,
    judged: &Judgement,
) -> anyhow::Result<()> {
    let facts = BTreeMap::from([
        ("configuration".to_owned(), plan.configuration.clone()),
        ("trainer_name".to_owned(), "osteoload".to_owned()),
        (
            "inference_allowed_mirroring_axes".to_owned(),
            "[2]".to_owned(),
        ),
        ("step".to_owned(), step.to_string()),
        ("judged_dice".to_owned(), json!(judged.dice).to_string()),
        ("seed".to_owned(), plan.training.seed.to_string()),
    ]);
    let file = out.join(WEIGHTS);
    let partial = file.with_extension("partial");
    weights
        .to_stored()
        .write_safetensors(&partial, &facts, true)?;
    std::fs::rename(&partial, &file).with_context(|| format!("{}", file.display()))
}
