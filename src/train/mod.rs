//! Training a network on CT painted on label maps: the plan, the loop around the trainer, the model folder it leaves.

mod anatomy;
mod coregistered;
mod course;
mod images;
mod images_plan;
mod paint;
mod picture;
mod plan;
mod recipe;
mod recipe_plan;
mod scanner;
mod scenery;
mod validation;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use segmentation::training::{Parameters, Trainer};

use crate::automatic::TEMPLATE;
use crate::exit::Failure;
use crate::output_dir::{PROVENANCE_FILE, write_file};
use crate::progress::Progress;
use crate::provenance::Provenance;
use anatomy::Anatomy;
pub use course::Judgement;
use course::{Course, Keep};
pub use images_plan::{Fold, ImagesPlan};
pub use plan::{AnyPlan, Plan, names};

/// What is trained, on what, and where the model goes.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// Everything that fixes the training.
    pub plan: AnyPlan,
    /// Folder with label maps in `labelsTr`, and in `labelsTs` those to judge by.
    pub data: PathBuf,
    /// The model folder.
    pub out: PathBuf,
    /// Whether a training found there goes on.
    pub resume: bool,
    /// Whether what is there is replaced.
    pub overwrite: bool,
    /// Which cases are learned from, of scans with label maps.
    pub fold: Fold,
    /// Whether scans are split into femora that are laid on one; as the plan says where there is nothing.
    pub preprocessing: Option<bool>,
    /// A model to start from.
    pub initial: Option<PathBuf>,
    /// Stop after so many steps of this run, and as many more as lead to the next judgement.
    pub at_most: Option<u64>,
}

/// Label maps that are learned from, and those that are only judged by, as nnU-Net names the folders.
const LEARNED: &str = "labelsTr";
const JUDGED: &str = "labelsTs";
/// The weights in a model folder.
const WEIGHTS: &str = "fold_0/checkpoint_final.safetensors";

/// Trains and writes the model folder; gives the last judgement.
///
/// # Errors
/// When the data cannot be read, or files cannot be written.
pub fn train(request: &TrainRequest, progress: &mut Progress) -> anyhow::Result<Judgement> {
    let wanted = preprocessed(request)?;
    let template = request.out.join(TEMPLATE);
    if !wanted && template.is_file() {
        // What a training that is replaced laid its scans on.
        std::fs::remove_file(&template).with_context(|| format!("{}", template.display()))?;
    }
    let single;
    let request = match (&request.plan, wanted) {
        (AnyPlan::Painted(_), true) => {
            return Err(Failure::usage(
                "--preprocessing is for scans with label maps; painting plans make their own",
            )
            .into());
        }
        (_, false) => request,
        (_, true) => {
            single = TrainRequest {
                data: coregistered::prepare(request, progress)?,
                ..request.clone()
            };
            &single
        }
    };
    match &request.plan {
        AnyPlan::Painted(plan) => train_painted(plan, request, progress),
        AnyPlan::Images(plan) => images::train(plan, request, progress),
        AnyPlan::Recipe(recipe) => recipe::train(recipe, request, progress),
    }
}

/// Whether scans are laid on a template: as asked, else as the model folder was begun, else as the plan says. All that shares a folder,
/// folds and a training that goes on, learns from scans of one kind.
fn preprocessed(request: &TrainRequest) -> anyhow::Result<bool> {
    let own = match &request.plan {
        AnyPlan::Recipe(recipe) => recipe.coregistered,
        _ => false,
    };
    let begun = ["plans.json", "recipe.toml"]
        .iter()
        .any(|file| request.out.join(file).is_file());
    if !begun || request.overwrite {
        return Ok(request.preprocessing.unwrap_or(own));
    }
    let before = request.out.join(TEMPLATE).is_file();
    match request.preprocessing {
        Some(asked) if asked != before => Err(Failure::usage(format!(
            "{} was begun {} pre-processing",
            request.out.display(),
            if before { "behind" } else { "without" }
        ))
        .with_help(
            "leave the choice to the folder, take another --out, or replace it with --overwrite",
        )
        .into()),
        _ => Ok(before),
    }
}

fn train_painted(
    plan: &Plan,
    request: &TrainRequest,
    progress: &mut Progress,
) -> anyhow::Result<Judgement> {
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
    write_file(&request.out.join("train.toml"), plan.to_toml()?.as_bytes())?;
    write_file(
        &request.out.join("plans.json"),
        plan.plans_json().to_string().as_bytes(),
    )?;
    write_file(
        &request.out.join("dataset.json"),
        plan.dataset_json().to_string().as_bytes(),
    )?;
    let course = Course {
        training: plan.training,
        topology: plan.architecture().into(),
        names: plan.names.clone(),
        configuration: plan.configuration.clone(),
        trainer: "osteoload",
        mirrored: vec![2],
        judge_every: plan.judge_every,
        judged_samples: plan.judged_samples,
        keep: Keep::Best,
        patience: None,
        folder: request.out.clone(),
        weights: request.out.join(WEIGHTS),
        given: match &request.initial {
            Some(folder) => initial(folder, plan)?,
            None => Parameters::default(),
        },
    };
    course.run(&painter, &judge, request.resume, request.at_most, progress)
}

/// Weights of a model to start from: all of them where it tells the same classes, else all but its heads.
fn initial(folder: &Path, plan: &Plan) -> anyhow::Result<Parameters> {
    let file = folder.join("dataset.json");
    let text = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
    let theirs: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{}", file.display()))?;
    let same = theirs["labels"] == plan.dataset_json()["labels"];
    let weights = images::weights_of(folder)?;
    Ok(images::parameters(weights, |name| {
        same || !name.contains(".seg_layers.")
    }))
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
