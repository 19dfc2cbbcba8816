//! How well label maps agree with their references: figures of one pair or of many, and the table of a paper.

mod figures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::orientation::on_grid;
use imaging::{LabelMap, Mask};
use segmentation::metrics::{Agreement, SurfaceDistances, agreement, boxed};
use serde_json::{Map, Value, json};

use crate::anatomy::regions::{FemurRegion, femur_regions};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{Existing, OutputDir};
use crate::plan::{LabelNames, Level};
pub use figures::figure_files;

/// What is compared, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluateRequest {
    /// The reference label map, or a folder of them.
    pub reference: PathBuf,
    /// The label map to judge, or a folder with maps of the same names.
    pub prediction: PathBuf,
    /// Whether labels are instances, matched by their largest overlap.
    pub by_overlap: bool,
    /// Labels of the reference that are proximal femora, judged by head, middle and shaft too.
    pub femora: Vec<u16>,
    /// Labels are vertebrae, numbered like this, and named by their levels.
    pub levels: Option<LabelNames>,
    /// A PNG of the prediction's surfaces, coloured by their distance to the reference; of folders, a folder with one per case.
    pub figure: Option<PathBuf>,
}

/// Figures of one structure in one case, by the names of `metrics.json`.
type Figures = Map<String, Value>;

/// Compares label maps and gives the figures as JSON: of a pair, or of every case of two folders with their mean, spread and extreme.
///
/// # Errors
/// A [`Failure`] of kind input when a map cannot be read, the grids differ, a case is missing or no label is a level; of kind gate where
/// a femur has no regions; of kind usage when a figure cannot be written.
pub fn evaluate(request: &EvaluateRequest) -> anyhow::Result<Value> {
    if !request.reference.is_dir() {
        let figure = request.figure.as_deref();
        return pair(&request.reference, &request.prediction, request, figure);
    }
    // All figures or none: a case that cannot be judged ends it.
    let drawn = request.figure.as_deref();
    let drawn = drawn.map(|folder| OutputDir::begin(folder, Existing::AddTo));
    let drawn = drawn.transpose()?;
    let mut cases = Map::new();
    for reference in maps(&request.reference)? {
        let name = reference.file_name().unwrap_or_default();
        let prediction = request.prediction.join(name);
        let figure = drawn.as_ref();
        let figure = figure.map(|folder| figures::in_folder(folder.path(), &reference));
        let figures = pair(&reference, &prediction, request, figure.as_deref())?;
        cases.insert(name.to_string_lossy().into_owned(), figures);
    }
    if let Some(drawn) = drawn {
        drawn.finish()?;
    }
    let summary = summary(&cases);
    Ok(json!({"cases": cases, "summary": summary}))
}

/// Endings of the files that are label maps.
const ENDINGS: [&str; 6] = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"];

/// The label maps of a folder, by the order of their names.
fn maps(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let is_map = |file: &PathBuf| {
        let name = file.to_string_lossy();
        ENDINGS.iter().any(|ending| name.ends_with(ending))
    };
    files.retain(is_map);
    files.sort();
    if files.is_empty() {
        return Err(Failure::input(format!("{} holds no label map", folder.display())).into());
    }
    Ok(files)
}

fn pair(
    reference: &Path,
    prediction: &Path,
    request: &EvaluateRequest,
    figure: Option<&Path>,
) -> anyhow::Result<Value> {
    let reference_map = imaging::read_labels(reference).context("the reference")?;
    let predicted_map = imaging::read_labels(prediction).context("the prediction")?;
    let predicted_map = on_grid(predicted_map, &reference_map.grid)
        .with_context(|| prediction.display().to_string())
        .kind(Kind::Input)
        .help("resample one map onto the grid of the other")?;
    let evaluation = match request.by_overlap {
        true => segmentation::metrics::evaluate_by_overlap(&reference_map, &predicted_map),
        false => segmentation::metrics::evaluate(&reference_map, &predicted_map),
    }
    .kind(Kind::Input)
    .help("resample one map onto the grid of the other")?;
    let voxel = reference_map.grid.voxel_volume_mm3();
    if let Some(names) = request.levels {
        let mut judged = vec![(reference, &reference_map)];
        // Matched by overlap, the numbers of the prediction mean nothing.
        if !request.by_overlap {
            judged.push((prediction, &predicted_map));
        }
        check_levels(&judged, names)?;
    }
    let mut labels = Map::new();
    for (label, found) in &evaluation.labels {
        let mut own = figures(found, voxel);
        if let Some(level) = request.levels.and_then(|names| names.level(*label)) {
            own.insert("level".into(), level.name().into());
        }
        if request.femora.contains(label) {
            let regions = regions(&reference_map, &predicted_map, *label)
                .with_context(|| format!("{}, label {label}", reference.display()))?;
            own.insert("regions".into(), Value::Object(regions));
        }
        labels.insert(label.to_string(), Value::Object(own));
    }
    if let Some(file) = figure {
        let maps = [&reference_map, &predicted_map];
        let names = [reference, prediction];
        figures::draw(file, maps, names, &labels, request.by_overlap)?;
    }
    Ok(json!({
        "reference": reference.display().to_string(),
        "prediction": prediction.display().to_string(),
        "labels": labels,
        "gap_dice": evaluation.gap_dice,
        "collision_voxels": evaluation.collision_voxels,
    }))
}

/// Refuses maps with labels that are no vertebrae in a numbering.
fn check_levels(maps: &[(&Path, &LabelMap)], names: LabelNames) -> anyhow::Result<()> {
    let refused = |what: String, paths: &[&Path]| {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Failure::input(format!("{}: {what}", paths.join(" and ")))
            .with_help("give the numbering with --label-names, or leave out --levels")
    };
    let mut some = false;
    for (path, map) in maps {
        let present = map.labels();
        if let Some(label) = names.foreign_label(&present) {
            let what = format!("label {label} has no place in {}", names.statement());
            return Err(refused(what, &[path]).into());
        }
        some |= present.iter().any(|&label| names.level(label).is_some());
    }
    if !some {
        let what = format!("no label is a vertebra in {}", names.statement());
        let paths: Vec<&Path> = maps.iter().map(|(path, _)| *path).collect();
        return Err(refused(what, &paths).into());
    }
    Ok(())
}

fn figures(found: &Agreement, voxel_mm3: f64) -> Figures {
    let surface = |pick: fn(&SurfaceDistances) -> f64| found.surface.as_ref().map(pick);
    let figures = json!({
        "dice": found.dice,
        "iou": found.iou,
        "volume_similarity": found.volume_similarity,
        "hausdorff_mm": surface(|s| s.hausdorff_mm),
        "hausdorff95_mm": surface(|s| s.hausdorff95_mm),
        "mean_surface_distance_mm": surface(|s| s.mean_mm),
        "precision": found.precision,
        "sensitivity": found.sensitivity,
        "reference_volume_mm3": found.reference_voxels as f64 * voxel_mm3,
        "predicted_volume_mm3": found.predicted_voxels as f64 * voxel_mm3,
    });
    match figures {
        Value::Object(figures) => figures,
        _ => Map::new(),
    }
}

/// How well two masks on one grid agree.
///
/// # Errors
/// When the grids differ.
pub(crate) fn mask_agreement(reference: &Mask, prediction: &Mask) -> anyhow::Result<Agreement> {
    Ok(agreement(reference, prediction)?)
}

/// Figures of the head, the middle and the shaft of a femur, both maps cut by the planes of the reference.
fn regions(reference: &LabelMap, prediction: &LabelMap, label: u16) -> anyhow::Result<Figures> {
    let [reference, prediction] = [reference, prediction].map(|map| map.select(&[label]));
    let Some([reference, prediction]) = boxed(&reference, &prediction)? else {
        return Ok(Map::new());
    };
    let parts = femur_regions(&reference).map_err(|refused| {
        Failure::gate(refused.to_string()).with_help("leave the label out of --femur")
    })?;
    let mut found = Map::new();
    for (part, region) in (1..).zip(FemurRegion::ALL) {
        let cut = |mask: &Mask| {
            let mut own = mask.clone();
            for (inside, &here) in own.data.iter_mut().zip(&parts.data) {
                *inside &= here == part;
            }
            own
        };
        let agreement = agreement(&cut(&reference), &cut(&prediction))?;
        let own = figures(&agreement, reference.grid.voxel_volume_mm3());
        found.insert(region.name().into(), Value::Object(own));
    }
    Ok(found)
}

/// Columns of the table: key of the figure, heading, decimals.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("dice", "Dice", 3),
    ("iou", "IoU", 3),
    ("volume_similarity", "VS", 3),
    ("hausdorff_mm", "HD (mm)", 2),
    ("hausdorff95_mm", "HD95 (mm)", 2),
    ("mean_surface_distance_mm", "MSD (mm)", 2),
];

/// The row of all vertebrae together.
const ALL_LEVELS: &str = "all levels";

/// Mean, sample standard deviation, least and largest of every figure of every structure.
fn summary(cases: &Map<String, Value>) -> Value {
    let mut values: BTreeMap<String, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    let mut add = |structure: String, figures: &Value| {
        let own = values.entry(structure).or_default();
        for (key, ..) in COLUMNS {
            own.entry(key).or_default().extend(figures[key].as_f64());
        }
    };
    for labels in cases.values().filter_map(|case| case["labels"].as_object()) {
        for (label, figures) in labels {
            let level = figures["level"].as_str();
            add(level.unwrap_or(label).to_owned(), figures);
            if level.is_some() {
                add(ALL_LEVELS.to_owned(), figures);
            }
            for (region, figures) in figures["regions"].as_object().into_iter().flatten() {
                add(format!("{label} {region}"), figures);
            }
        }
    }
    let of = |values: &Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let some = |value: f64, least: usize| (values.len() >= least).then_some(value);
        json!({
            "cases": values.len(),
            "mean": some(mean, 1),
            "standard_deviation": some((squares / (n - 1.0)).sqrt(), 2),
            "min": some(values.iter().copied().fold(f64::INFINITY, f64::min), 1),
            "max": some(values.iter().copied().fold(f64::NEG_INFINITY, f64::max), 1),
        })
    };
    let structures = values.iter().map(|(structure, figures)| {
        let figures: Map<String, Value> = figures
            .iter()
            .map(|(key, values)| ((*key).to_owned(), of(values)))
            .collect();
        (structure.clone(), Value::Object(figures))
    });
    Value::Object(structures.collect())
}

/// The table of a paper, in Markdown: a row per structure or region, `mean ± standard deviation` of each metric over the cases, as
/// Saillard et al. 2024 print Tables 1 and 2 and Pivi et al. 2025 theirs. Figures of a single pair stand without a spread. Vertebrae
/// with levels stand from head to foot, and last the mean over all of them.
pub fn table(found: &Value) -> String {
    let summary = match found.get("summary") {
        Some(summary) => summary.clone(),
        None => summary(&Map::from_iter([("case".to_owned(), found.clone())])),
    };
    let headings: Vec<&str> = COLUMNS.iter().map(|(_, heading, _)| *heading).collect();
    let mut text = format!("| label | cases | {} |\n", headings.join(" | "));
    text += &format!("|---|---|{}\n", "---|".repeat(COLUMNS.len()));
    let mut rows: Vec<_> = summary.as_object().into_iter().flatten().collect();
    rows.sort_by_key(|(structure, _)| match structure.parse::<Level>() {
        Ok(level) => level.place_from_head(),
        Err(_) if *structure == ALL_LEVELS => u16::MAX,
        Err(_) => 0,
    });
    for (structure, figures) in rows {
        let cells: Vec<String> = COLUMNS
            .iter()
            .map(|&(key, _, decimals)| {
                let number = |name: &str| figures[key][name].as_f64();
                match (number("mean"), number("standard_deviation")) {
                    (Some(mean), Some(spread)) => {
                        format!("{mean:.decimals$} ± {spread:.decimals$}")
                    }
                    (Some(mean), None) => format!("{mean:.decimals$}"),
                    _ => "–".to_owned(),
                }
            })
            .collect();
        let cases = &figures["dice"]["cases"];
        text += &format!("| {structure} | {cases} | {} |\n", cells.join(" | "));
    }
    text
}
