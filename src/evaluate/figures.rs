//! Figures of the surfaces of a prediction, coloured by their distance to the reference.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::LabelMap;
use segmentation::metrics::{boxed, largest_overlap};
use serde_json::{Map, Value};

use super::{ENDINGS, EvaluateRequest, maps};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::write_file_with;
use crate::report::{ColouredSurface, SurfaceFigure, SurfaceRow};

/// Labels drawn at most; a row each.
const ROWS: usize = 4;

/// The figures that a request asks for: one of a pair, or one per case in a folder.
///
/// # Errors
/// A [`Failure`] of kind usage when the figure's name does not fit, of kind input when there are no cases.
pub fn figure_files(request: &EvaluateRequest) -> anyhow::Result<Vec<PathBuf>> {
    let Some(figure) = &request.figure else {
        return Ok(vec![]);
    };
    let shown = figure.display();
    if !request.reference.is_dir() {
        let is_png = |ending: &std::ffi::OsStr| ending.eq_ignore_ascii_case("png");
        return match figure.extension().is_some_and(is_png) {
            true => Ok(vec![figure.clone()]),
            false => Err(Failure::usage(format!("the figure {shown} is no PNG"))
                .with_help("give --figure a name that ends in .png")
                .into()),
        };
    }
    if figure.is_file() {
        return Err(Failure::usage(format!("the output {shown} is a file"))
            .with_help("for folders of cases --figure names a folder")
            .into());
    }
    let cases = maps(&request.reference)?;
    let mut files: Vec<PathBuf> = cases.iter().map(|case| in_folder(figure, case)).collect();
    files.sort();
    files.dedup();
    if files.len() < cases.len() {
        let folder = request.reference.display();
        return Err(Failure::input(format!(
            "{folder} holds maps whose names differ in their endings only, and so one figure for two cases"
        ))
        .with_help("rename one of them, or leave out --figure")
        .into());
    }
    Ok(files)
}

/// Where the figure of a case stands in the folder of all.
pub(super) fn in_folder(folder: &Path, case: &Path) -> PathBuf {
    let name = case.file_name().unwrap_or_default().to_string_lossy();
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    folder.join(format!("{}.png", stem.unwrap_or(&name)))
}

/// Draws a pair of maps with the figures of their labels.
pub(super) fn draw(
    file: &Path,
    [reference, prediction]: [&LabelMap; 2],
    names: [&Path; 2],
    labels: &Map<String, Value>,
    by_overlap: bool,
) -> anyhow::Result<()> {
    let mut values: Vec<u16> = labels
        .keys()
        .filter_map(|label| label.parse().ok())
        .collect();
    values.sort_unstable();
    let of_prediction = names[1].display();
    let mut title = format!(
        "Prediction against reference: {}",
        names[1].file_name().unwrap_or_default().to_string_lossy()
    );
    if values.len() > ROWS {
        title += &format!(" (first {ROWS} of {} labels)", values.len());
    }
    let mut rows = Vec::new();
    if values.is_empty() {
        let of = if by_overlap {
            "the reference holds no label"
        } else {
            "neither map holds a label"
        };
        rows.push(SurfaceRow {
            heading: "no label".to_owned(),
            surface: Err(format!("{of}: no surface to show")),
        });
    }
    for label in values.into_iter().take(ROWS) {
        let truth = reference.select(&[label]);
        let found = match by_overlap {
            true => largest_overlap(&truth, prediction),
            false => Some(label),
        };
        let mask = prediction.select(found.as_slice());
        let figures = &labels[&label.to_string()];
        let mut heading = match figures["level"].as_str() {
            Some(level) => format!("{level} (label {label})"),
            None => format!("label {label}"),
        };
        if let Some(found) = found.filter(|found| *found != label) {
            heading += &format!(", in the prediction {found}");
        }
        if let Some(dice) = figures["dice"].as_f64() {
            heading += &format!("    Dice {dice:.3}");
        }
        let held = [&truth, &mask].map(|mask| mask.data.contains(&true));
        let surface = match (held, boxed(&truth, &mask)?) {
            ([true, true], Some([truth, mask])) => {
                let surface = ColouredSurface::of(&mask, &truth)
                    .with_context(|| format!("{of_prediction}, label {label}"))
                    .kind(Kind::Input)?;
                if let Some(hausdorff) = figures["hausdorff_mm"].as_f64() {
                    heading += &format!("    HD {hausdorff:.2} mm");
                }
                heading += &format!("    mean |distance| {:.2} mm", surface.mean_distance_mm());
                Ok(surface)
            }
            ([true, _], _) => Err("not in the prediction: no surface to show".to_owned()),
            _ => Err("not in the reference: no distance to show".to_owned()),
        };
        rows.push(SurfaceRow { heading, surface });
    }
    let figure = SurfaceFigure { title, rows };
    write_file_with(file, |partial| figure.write_png(partial))
}
