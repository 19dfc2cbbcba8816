//! Training on scans with label maps, as nnU-Net v2 does it: measured, planned, prepared, trained in folds, validated.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use segmentation::network::Stored;
use segmentation::nnunet::planner::plan_dataset;
use segmentation::nnunet::{Choice, Folds, Model, Options, Plans, plans_json};
use segmentation::training::{
    Augmentation, Parameters, Patches, Random, RawCase, RawDataset, Schedule, StoredCase, TrainPlan,
};
use serde_json::{Value, json};

use super::TrainRequest;
use super::course::{Course, Judgement, Keep};
use super::images_plan::{FOLDS, Fold, ImagesPlan};
use super::validation::{choose_postprocessing, validate};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{PROVENANCE_FILE, write_file};
use crate::progress::Progress;
use crate::provenance::Provenance;

/// Seed of the split, as the original's.
const SPLIT_SEED: u64 = 12345;

/// Trains one fold and, when it is done, predicts the cases it never saw.
///
/// # Errors
/// A [`Failure`] of kind input for data that are refused, of kind usage for a plan that does not suit them.
pub(super) fn train(
    plan: &ImagesPlan,
    request: &TrainRequest,
    progress: &mut Progress,
) -> anyhow::Result<Judgement> {
    progress.stage("read");
    let data = RawDataset::open(&request.data).kind(Kind::Input)?;
    std::fs::create_dir_all(&request.out)
        .with_context(|| format!("{} cannot be made", request.out.display()))?;
    let initial = match &request.initial {
        Some(folder) => Some(given(folder)?),
        None => None,
    };
    let plans_file = request.out.join("plans.json");
    if !plans_file.is_file() || request.overwrite {
        let plans = planned(plan, &data, request, progress)?;
        write_file(&plans_file, &pretty(&plans)?)?;
        write_file(&request.out.join("dataset.json"), &pretty(&data.json)?)?;
    }
    let plans = Plans::read(&request.out, &plan.configuration).kind(Kind::Usage)?;
    if plans.previous_stage.is_some() {
        return Err(Failure::usage(format!(
            "{} refines another configuration, and cascades are not trained on scans",
            plan.configuration
        ))
        .into());
    }
    let prepared = request.out.join("preprocessed").join(&plan.configuration);
    let provenance = provenance(&data, request, &["plans.json"])?;
    prepare(&data, &plans, &prepared, &provenance, progress)?;
    let (learned, judged) = split(&data, request)?;
    let open = |cases: &[&RawCase]| -> anyhow::Result<Vec<StoredCase>> {
        let opened = cases
            .iter()
            .map(|case| StoredCase::open(&prepared, &case.name));
        Ok(opened.collect::<Result<_, _>>()?)
    };
    let batch = batch(&plans_file, &plan.configuration)?;
    let mut augmentation = Augmentation::of(plans.patch);
    if !plan.mirrored {
        augmentation.mirrored.clear();
    }
    let offset = 3 - plans.architecture.dimensions;
    let mirrored = augmentation
        .mirrored
        .iter()
        .map(|axis| axis - offset)
        .collect();
    let samples = Patches {
        cases: open(&learned)?,
        augmentation: augmentation.clone(),
        augmented: plan.augmented,
        batch: batch.patches,
        foreground: plan.foreground,
        seed: plan.seed,
    };
    let judge = Patches {
        cases: open(&judged)?,
        augmented: false,
        seed: plan.seed ^ 0x5EED,
        ..samples.clone()
    };
    let folder = request.out.join(format!("fold_{}", request.fold));
    std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    write_file(
        &folder.join("train.toml"),
        toml::to_string_pretty(plan)?.as_bytes(),
    )?;
    write_file(
        &folder.join(PROVENANCE_FILE),
        provenance.to_json()?.as_bytes(),
    )?;
    let course = Course {
        training: TrainPlan {
            patch: plans.patch,
            batch: batch.patches,
            steps: plan.epochs * plan.epoch_steps,
            optimiser: plan.optimiser,
            schedule: Schedule::Polynomial {
                rate: plan.rate,
                epoch_steps: plan.epoch_steps,
            },
            clip: plan.clip,
            loss: [1.0, 1.0],
            batch_dice: batch.dice,
            deep_supervision: true,
            mean_memory: 0.0,
            seed: plan.seed,
        },
        topology: plans.architecture.clone().into(),
        names: data.names.values().cloned().collect(),
        configuration: plan.configuration.clone(),
        trainer: "nnUNetTrainer",
        mirrored,
        judge_every: plan.epoch_steps,
        judged_samples: plan.judged_batches * batch.patches as u64,
        keep: Keep::Last,
        patience: None,
        weights: folder.join("checkpoint_final.safetensors"),
        folder: folder.clone(),
        given: initial.unwrap_or_default(),
    };
    let judgement = course.run(&samples, &judge, request.resume, request.at_most, progress)?;
    if course.is_done()? && request.fold != Fold::All {
        let Fold::One(number) = request.fold else {
            return Ok(judgement);
        };
        let choice = Choice {
            folds: Folds::These(vec![number]),
            ..Choice::default()
        };
        let model = Model::open(&request.out, &choice)?;
        validate(&data, &judged, &folder, progress, &|scan| {
            let found = model.segment(scan, &Options::default(), &mut |_, _| {})?;
            Ok(found.labels)
        })?;
        choose_postprocessing(&data, &request.out)?;
    }
    progress.finish();
    Ok(judgement)
}

pub(super) fn pretty(value: &Value) -> anyhow::Result<Vec<u8>> {
    Ok((serde_json::to_string_pretty(value)? + "\n").into_bytes())
}

/// Weights of a model to start from, without its heads.
fn given(folder: &Path) -> anyhow::Result<Parameters> {
    Ok(parameters(weights_of(folder)?, |name| {
        !name.contains(".seg_layers.")
    }))
}

/// Weights of the first fold of a model.
pub(super) fn weights_of(folder: &Path) -> anyhow::Result<Stored> {
    let choice = Choice::default();
    // Opened as a model first: it must be one that runs.
    let model = Model::open(folder, &choice)
        .context("the model to start from")
        .kind(Kind::Input)?;
    let file = model
        .weight_files
        .first()
        .context("the model to start from has no weights")?;
    Ok(segmentation::nnunet::Checkpoint::read(file)?.weights)
}

/// The weights whose names are wanted, as a training starts from them.
pub(super) fn parameters(weights: Stored, wanted: impl Fn(&str) -> bool) -> Parameters {
    let mut parameters = Parameters::default();
    for (name, (shape, values)) in weights.into_all() {
        if wanted(&name) {
            parameters.insert(name, shape, values);
        }
    }
    parameters
}

/// `plans.json`: the planner's, or those of the model to start from, with what the train plan wants otherwise.
fn planned(
    plan: &ImagesPlan,
    data: &RawDataset,
    request: &TrainRequest,
    progress: &mut Progress,
) -> anyhow::Result<Value> {
    let mut plans = match &request.initial {
        // Its intensities, spacing and network are what its weights know.
        Some(folder) => {
            let file = folder.join("plans.json");
            let text = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{}", file.display()))?
        }
        None => {
            progress.stage("measure");
            let cases = data.cases.len();
            let fingerprint = data
                .fingerprint(|done| progress.part(done, cases))
                .kind(Kind::Input)?;
            let file = request.out.join("dataset_fingerprint.json");
            write_file(&file, &pretty(&serde_json::to_value(&fingerprint)?)?)?;
            let preset = plan.preset.into();
            let outputs = data.names.len() + 1;
            let planned = plan_dataset(&fingerprint, data.channels.len(), outputs, preset)?;
            let name = request
                .data
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            plans_json(
                &planned,
                preset,
                &name,
                &fingerprint,
                &data.channels,
                data.reader,
            )
        }
    };
    let known: Vec<String> = plans["configurations"]
        .as_object()
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default();
    if !known.contains(&plan.configuration) {
        return Err(Failure::usage(format!(
            "the planner has no {} for these data; it has {}",
            plan.configuration,
            known.join(", ")
        ))
        .into());
    }
    let own = &mut plans["configurations"][&plan.configuration];
    if let Some(patch) = &plan.patch {
        own["patch_size"] = json!(patch);
    }
    if let Some(batch) = plan.batch {
        own["batch_size"] = json!(batch);
    }
    if let Some(features) = &plan.features {
        own["architecture"]["arch_kwargs"]["features_per_stage"] = json!(features);
    }
    Ok(plans)
}

struct Batch {
    patches: usize,
    dice: bool,
}

fn batch(plans_file: &Path, configuration: &str) -> anyhow::Result<Batch> {
    let plans: Value = serde_json::from_slice(&std::fs::read(plans_file)?)?;
    let own = &plans["configurations"][configuration];
    let patches = own["batch_size"]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok());
    Ok(Batch {
        patches: patches.context("`batch_size` is missing in plans.json")?,
        dice: own["batch_dice"].as_bool().unwrap_or(false),
    })
}

/// Brings all cases to the network's grid, unless that was done from the same files by the same plans.
fn prepare(
    data: &RawDataset,
    plans: &Plans,
    directory: &Path,
    provenance: &Provenance,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    progress.stage("prepare");
    // Plans and files by their hashes: what was prepared from others must not pass for these.
    let mark = directory.join("prepared_from.json");
    let wanted = serde_json::to_vec_pretty(&provenance.inputs)?;
    if std::fs::read(&mark).ok().as_ref() != Some(&wanted) {
        if directory.is_dir() {
            std::fs::remove_dir_all(directory)
                .with_context(|| format!("{}", directory.display()))?;
        }
        std::fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
        write_file(&mark, &wanted)?;
    }
    for (done, case) in data.cases.iter().enumerate() {
        if !StoredCase::is_there(directory, &case.name) {
            data.prepare(case, plans, directory)
                .with_context(|| case.name.clone())
                .kind(Kind::Input)?;
        }
        progress.part(done + 1, data.cases.len());
    }
    Ok(())
}

/// The cases that are learned from and those that are judged by. A `splits_final.json` among the data or in the model folder is followed;
/// else five parts are drawn and written there.
pub(super) fn split<'a>(
    data: &'a RawDataset,
    request: &TrainRequest,
) -> anyhow::Result<(Vec<&'a RawCase>, Vec<&'a RawCase>)> {
    let all: Vec<&RawCase> = data.cases.iter().collect();
    let Fold::One(fold) = request.fold else {
        return Ok((all.clone(), all));
    };
    let own = request.out.join("splits_final.json");
    let file = [request.data.join("splits_final.json"), own.clone()]
        .into_iter()
        .find(|file| file.is_file());
    let splits: Vec<BTreeMap<String, Vec<String>>> = match file {
        Some(file) => serde_json::from_slice(&std::fs::read(&file)?)
            .with_context(|| format!("{}", file.display()))
            .kind(Kind::Input)?,
        None => {
            if all.len() < FOLDS {
                return Err(Failure::usage(format!(
                    "{} cases cannot be split into {FOLDS} folds",
                    all.len()
                ))
                .with_help("train on all of them with --fold all, or give a splits_final.json")
                .into());
            }
            let names: Vec<String> = all.iter().map(|case| case.name.clone()).collect();
            let splits = drawn(&names);
            write_file(&own, &pretty(&serde_json::to_value(&splits)?)?)?;
            splits
        }
    };
    let parts = splits
        .get(fold)
        .ok_or_else(|| Failure::usage(format!("splits_final.json has no fold {fold}")))?;
    let pick = |key: &str| -> anyhow::Result<Vec<&RawCase>> {
        let names = parts.get(key).map(Vec::as_slice).unwrap_or_default();
        let picked = names.iter().map(|name| {
            let case = data.cases.iter().find(|case| case.name == *name);
            case.ok_or_else(|| {
                Failure::input(format!(
                    "splits_final.json names the case {name:?}, which is not there"
                ))
                .into()
            })
        });
        let picked: Vec<&RawCase> = picked.collect::<anyhow::Result<_>>()?;
        ensure!(
            !picked.is_empty(),
            "fold {fold} of splits_final.json has no `{key}` cases"
        );
        Ok(picked)
    };
    Ok((pick("train")?, pick("val")?))
}

/// Five parts of shuffled names, as even as they can be.
pub(super) fn drawn(names: &[String]) -> Vec<BTreeMap<String, Vec<String>>> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    let mut random = Random::new(SPLIT_SEED, 0);
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i + 1));
    }
    let part = |fold: usize| {
        let from = fold * names.len() / FOLDS;
        let to = (fold + 1) * names.len() / FOLDS;
        let judged: Vec<usize> = order[from..to].to_vec();
        let pick = |inside: bool| {
            let indices = (0..names.len()).filter(|i| judged.contains(i) == inside);
            indices.map(|i| names[i].clone()).collect()
        };
        BTreeMap::from([
            ("train".to_owned(), pick(false)),
            ("val".to_owned(), pick(true)),
        ])
    };
    (0..FOLDS).map(part).collect()
}

/// The files of the data and, of the model folder, `own`, by their hashes.
pub(super) fn provenance(
    data: &RawDataset,
    request: &TrainRequest,
    own: &[&str],
) -> anyhow::Result<Provenance> {
    let mut provenance = Provenance::of_this_process("osteoload train", solver::Device::Cpu);
    provenance.add_input("dataset", &request.data.join("dataset.json"))?;
    for file in own {
        provenance.add_input("plans", &request.out.join(file))?;
    }
    for case in &data.cases {
        for image in &case.images {
            provenance.add_input("imagesTr", image)?;
        }
        provenance.add_input("labelsTr", &case.labels)?;
    }
    Ok(provenance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_judged_by_once() {
        let names: Vec<String> = (0..13).map(|i| format!("case{i:02}")).collect();
        let splits = drawn(&names);
        let mut judged: Vec<String> = splits.iter().flat_map(|part| part["val"].clone()).collect();
        judged.sort();
        assert_eq!(judged, names);
        for part in &splits {
            assert!((2..=3).contains(&part["val"].len()));
            assert_eq!(part["train"].len() + part["val"].len(), 13);
            assert!(part["train"].iter().all(|name| !part["val"].contains(name)));
        }
    }
}
