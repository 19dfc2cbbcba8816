//! What a trained fold makes of the cases it never saw, and what the folds together say of post-processing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use segmentation::nnunet::keep_largest;
use segmentation::training::{RawCase, RawDataset};
use serde_json::{Value, json};

use super::images::pretty;
use super::images_plan::FOLDS;
use crate::output_dir::write_file;
use crate::progress::Progress;
use crate::segment::write_labels;

/// Predicts cases and writes label maps and `summary.json` as nnU-Net does.
pub(super) fn validate(
    data: &RawDataset,
    cases: &[&RawCase],
    folder: &Path,
    progress: &mut Progress,
    segment: &dyn Fn(&[Volume<f32>]) -> anyhow::Result<LabelMap>,
) -> anyhow::Result<()> {
    progress.stage("validate");
    let out = folder.join("validation");
    std::fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
    let mut figures = vec![];
    for (done, case) in cases.iter().enumerate() {
        let scan = case.images.iter().map(|path| imaging::read_volume(path));
        let scan = scan.collect::<Result<Vec<_>, _>>()?;
        let found = segment(&scan)?;
        let file = out.join(format!("{}.nii.gz", case.name));
        let partial = out.join("partial.nii.gz");
        write_labels(&partial, &found)?;
        std::fs::rename(&partial, &file).with_context(|| format!("{}", file.display()))?;
        let reference = imaging::read_labels(&case.labels)?;
        let metrics: serde_json::Map<String, Value> = dice_of(&reference, &found, data)
            .into_iter()
            .map(|(label, dice)| (label.to_string(), json!({"Dice": dice})))
            .collect();
        figures.push(json!({
            "metrics": metrics,
            "prediction_file": file.file_name().map(|name| name.to_string_lossy()),
            "reference_file": case.labels.file_name().map(|name| name.to_string_lossy()),
        }));
        progress.part(done + 1, cases.len());
    }
    let mean_of = |label: u16| {
        let values = figures
            .iter()
            .filter_map(|f| f["metrics"][label.to_string()]["Dice"].as_f64());
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let means: Vec<(u16, Option<f64>)> = data
        .names
        .keys()
        .map(|&label| (label, mean_of(label)))
        .collect();
    let known: Vec<f64> = means.iter().filter_map(|(_, mean)| *mean).collect();
    let foreground = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    let mean: serde_json::Map<String, Value> = means
        .iter()
        .map(|(label, mean)| (label.to_string(), json!({"Dice": mean})))
        .collect();
    let summary = json!({
        "foreground_mean": {"Dice": foreground},
        "mean": mean,
        "metric_per_case": figures,
    });
    write_file(&out.join("summary.json"), &pretty(&summary)?)
}

/// Dice of every label of a data set; none where neither map has it.
fn dice_of(
    reference: &LabelMap,
    found: &LabelMap,
    data: &RawDataset,
) -> BTreeMap<u16, Option<f64>> {
    let most = data.names.len() + 1;
    let mut counts = vec![[0u64; 2]; most];
    for (&own, &other) in reference.data.iter().zip(&found.data) {
        for label in [own, other] {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                count[1] += 1;
            }
        }
        if own == other && usize::from(own) < most {
            counts[usize::from(own)][0] += 2;
        }
    }
    let dice = |label: &u16| {
        let [right, of] = counts[usize::from(*label)];
        (of > 0).then(|| right as f64 / of as f64)
    };
    data.names
        .keys()
        .map(|label| (*label, dice(label)))
        .collect()
}

/// Once all folds are validated: whether keeping the largest component only, of all labels together and then of each, makes the
/// predictions better; writes `postprocessing.json`.
pub(super) fn choose_postprocessing(data: &RawDataset, out: &Path) -> anyhow::Result<()> {
    let mut pairs: Vec<(PathBuf, PathBuf)> = vec![];
    for fold in 0..FOLDS {
        let folder = out.join(format!("fold_{fold}/validation"));
        if !folder.join("summary.json").is_file() {
            return Ok(());
        }
        for case in &data.cases {
            let file = folder.join(format!("{}.nii.gz", case.name));
            if file.is_file() {
                pairs.push((case.labels.clone(), file));
            }
        }
    }
    let labels: Vec<u16> = data.names.keys().copied().collect();
    let mut steps: Vec<Vec<u16>> = vec![];
    let score = |steps: &[Vec<u16>]| -> anyhow::Result<BTreeMap<u16, f64>> {
        let mut sums: BTreeMap<u16, (f64, f64)> = BTreeMap::new();
        for (reference, prediction) in &pairs {
            let (reference, mut found) = (
                imaging::read_labels(reference)?,
                imaging::read_labels(prediction)?,
            );
            for labels in steps {
                keep_largest(&mut found, labels);
            }
            for (label, dice) in dice_of(&reference, &found, data) {
                if let Some(dice) = dice {
                    let sum = sums.entry(label).or_default();
                    *sum = (sum.0 + dice, sum.1 + 1.0);
                }
            }
        }
        Ok(sums
            .into_iter()
            .map(|(label, (sum, n))| (label, sum / n))
            .collect())
    };
    let mean =
        |scores: &BTreeMap<u16, f64>| scores.values().sum::<f64>() / scores.len().max(1) as f64;
    let mut best = score(&[])?;
    let together = score(std::slice::from_ref(&labels))?;
    let none_worse = best
        .iter()
        .all(|(label, dice)| together.get(label).is_some_and(|d| d >= dice));
    if mean(&together) > mean(&best) && none_worse {
        steps.push(labels.clone());
        best = together;
    }
    if labels.len() > 1 {
        for &label in &labels {
            let mut tried = steps.clone();
            tried.push(vec![label]);
            let scores = score(&tried)?;
            if scores.get(&label) > best.get(&label) {
                (steps, best) = (tried, scores);
            }
        }
    }
    let arguments: Vec<Value> = steps
        .iter()
        .map(|labels| json!({"labels_or_regions": labels}))
        .collect();
    let functions = vec!["remove_all_but_largest_component_from_segmentation"; steps.len()];
    let chosen = json!({"postprocessing_fns": functions, "postprocessing_kwargs": arguments});
    write_file(&out.join("postprocessing.json"), &pretty(&chosen)?)
}
