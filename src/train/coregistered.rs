//! A data set of scans with label maps as one of single femora, all laid on one (Saillard et al. 2024).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::LabelMap;
use segmentation::coregistration::{Side, Template};
use segmentation::training::RawDataset;
use serde_json::json;

use super::TrainRequest;
use super::images::{drawn, pretty, provenance};
use super::images_plan::FOLDS;
use crate::automatic::TEMPLATE;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{write_file, write_file_with};
use crate::progress::Progress;

/// Folder of the single femora in a model folder.
const FOLDER: &str = "coregistered";

/// Writes the single femora of the data and their template into the model folder, unless that was done from the same files; gives the
/// folder that training reads. Both femora of a scan stay in one fold.
///
/// # Errors
/// A [`Failure`] of kind input for data that are refused, of kind usage when no label is a femur.
pub(super) fn prepare(request: &TrainRequest, progress: &mut Progress) -> anyhow::Result<PathBuf> {
    progress.stage("coregister");
    let data = RawDataset::open(&request.data).kind(Kind::Input)?;
    let femora: Vec<u16> = data
        .names
        .iter()
        .filter(|(_, name)| name.to_lowercase().contains("femur"))
        .map(|(&label, _)| label)
        .collect();
    if femora.is_empty() || data.channels.len() != 1 {
        return Err(Failure::usage(format!(
            "{} names {}; femora are laid on one only where a label is named femur and there is one channel",
            request.data.join("dataset.json").display(),
            data.names.values().cloned().collect::<Vec<_>>().join(", ")
        ))
        .with_help("train with --no-preprocessing, or name the labels femur, femur_left or femur_right")
        .into());
    }
    let folder = request.out.join(FOLDER);
    let mark = folder.join("prepared_from.json");
    let inputs = provenance(&data, request, &[])?.inputs;
    let wanted = serde_json::to_vec_pretty(&inputs)?;
    let template_file = request.out.join(TEMPLATE);
    if std::fs::read(&mark).ok().as_ref() == Some(&wanted) && template_file.is_file() {
        return Ok(folder);
    }
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    }
    for part in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(folder.join(part))
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let mut template: Option<Template> = None;
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (done, case) in data.cases.iter().enumerate() {
        let (images, labels) = data.read(case).kind(Kind::Input)?;
        let scan = images.first().context("no channel")?;
        let femur = labels.map(|label| u16::from(femora.contains(label)));
        let own = match &template {
            Some(template) => template,
            None => {
                // One of the scan's femora: the first label it shows.
                let shown = femora.iter().find(|&&label| labels.data.contains(&label));
                let one = shown.map(|&label| labels.select(&[label]));
                let one = one.ok_or_else(|| {
                    Failure::input(format!("{}: no femur is labelled", case.labels.display()))
                })?;
                template.insert(
                    Template::new(scan, &one)
                        .with_context(|| case.name.clone())
                        .kind(Kind::Input)?,
                )
            }
        };
        let laid = own
            .lay(scan)
            .with_context(|| case.name.clone())
            .kind(Kind::Input)?;
        for found in &laid {
            let label_map = own.labels_on(found, &femur)?;
            if label_map.data.iter().all(|&label| label == 0) {
                continue;
            }
            let side = match found.side {
                Side::Left => "left",
                Side::Right => "right",
            };
            let name = format!("{}_{side}", case.name);
            let image = folder.join(format!("imagesTr/{name}_0000.nii.gz"));
            imaging::write_volume(&image, &found.image.map(|&hu| hu.round() as i16))?;
            write_labels(&folder.join(format!("labelsTr/{name}.nii.gz")), &label_map)?;
            made.entry(case.name.clone()).or_default().push(name);
        }
        progress.part(done + 1, data.cases.len());
    }
    let template = template.context("no case")?;
    write_file_with(&template_file, |path| {
        Ok(imaging::write_volume(path, &template.image)?)
    })?;
    let dataset = json!({
        "channel_names": data.json["channel_names"],
        "labels": {"background": 0, "femur": 1},
        "numTraining": made.values().map(Vec::len).sum::<usize>(),
        "file_ending": ".nii.gz",
    });
    write_file(&folder.join("dataset.json"), &pretty(&dataset)?)?;
    if made.len() >= FOLDS {
        write_file(
            &folder.join("splits_final.json"),
            &pretty(&splits(request, &made)?)?,
        )?;
    }
    write_file(&mark, &wanted)?;
    Ok(folder)
}

/// The parts of the scans, those among the data or drawn ones, with every scan's femora in its place.
fn splits(
    request: &TrainRequest,
    made: &BTreeMap<String, Vec<String>>,
) -> anyhow::Result<serde_json::Value> {
    let file = request.data.join("splits_final.json");
    let parts: Vec<BTreeMap<String, Vec<String>>> = match file.is_file() {
        true => serde_json::from_slice(&std::fs::read(&file)?)
            .with_context(|| format!("{}", file.display()))
            .kind(Kind::Input)?,
        false => drawn(&made.keys().cloned().collect::<Vec<_>>()),
    };
    let femora = |names: &Vec<String>| -> Vec<String> {
        let own = names.iter().filter_map(|name| made.get(name));
        own.flatten().cloned().collect()
    };
    let parts: Vec<BTreeMap<&String, Vec<String>>> = parts
        .iter()
        .map(|part| {
            part.iter()
                .map(|(key, names)| (key, femora(names)))
                .collect()
        })
        .collect();
    Ok(serde_json::to_value(parts)?)
}

fn write_labels(path: &Path, labels: &LabelMap) -> anyhow::Result<()> {
    Ok(imaging::write_volume(
        path,
        &labels.map(|&label| label as u8),
    )?)
}
