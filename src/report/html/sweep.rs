//! The head of a sweep: the answer of the unmorphed mask with its band.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::markup::{escape, pairs};
use super::page::number;

/// The folder of the unmorphed mask in the directory of a sweep.
pub(super) fn base(directory: &Path) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    entries.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("morph_0_") && path.join("result.json").is_file()
    })
}

/// What `sweep.json` says: how far the compared quantity goes, and what that means for the patient.
///
/// # Errors
/// The file cannot be read.
pub(super) fn band(directory: &Path) -> anyhow::Result<String> {
    const FILE: &str = "sweep.json";
    let text = std::fs::read_to_string(directory.join(FILE)).context(FILE)?;
    let sweep: Value = serde_json::from_str(&text).context(FILE)?;
    let column = sweep["quantity"].as_str().unwrap_or_default();
    // The key carries the unit.
    let (quantity, key, unit) = match column.strip_suffix("_n_per_mm") {
        Some(quantity) => (quantity, "n_per_mm", "N/mm"),
        None => (column.trim_end_matches("_n"), "n", "N"),
    };
    let percent = |place: &str| number(&sweep, place).map(|p| format!(" ({p:+.1} %)"));
    let range = |place: &str| {
        let low = number(&sweep, &format!("{place}/low_{key}"))?;
        let high = number(&sweep, &format!("{place}/high_{key}"))?;
        Some((low, high))
    };
    let in_words = range("").map(|(low, high)| {
        format!(
            "{low:.0}{} to {high:.0} {unit}{}",
            percent("/low_percent").unwrap_or_default(),
            percent("/high_percent").unwrap_or_default()
        )
    });
    let html = match &in_words {
        Some(band) => format!(
            "<p class=\"answer\"><small>{} over the masks of this sweep: {}</small></p>\n",
            escape(&quantity.replace('_', " ")),
            escape(band)
        ),
        None => String::new(),
    };
    let levels = sweep["levels"].as_array().map_or(0, Vec::len);
    let without = sweep["levels"].as_array().into_iter().flatten();
    let without: Vec<String> = without
        .filter(|level| level["status"] != "done")
        .filter_map(|level| level["level"].as_str().map(str::to_owned))
        .collect();
    let between = |unit: &str, low: &str, high: &str| {
        let (low, high) = (number(&sweep, low)?, number(&sweep, high)?);
        Some(format!("{low:.2} to {high:.2} {unit}"))
    };
    let slope = |place: &str, per: &str| {
        number(&sweep, place).map(|slope| format!("{slope:+.0} {unit} per {per}"))
    };
    Ok(html
        + &pairs(&[
            ("Masks", Some(levels.to_string())),
            (
                "Masks without a load",
                (!without.is_empty()).then(|| without.join(", ")),
            ),
            ("Slope", slope("/slope_n_per_mm", "mm of surface")),
            ("Slope", slope("/slope_n_per_voxel", "voxel")),
            (
                "In body weights",
                between(
                    "body weights",
                    "/risk/low/failure_load_body_weights",
                    "/risk/high/failure_load_body_weights",
                ),
            ),
            (
                "Load to strength",
                between(
                    "",
                    "/risk/high/load_to_strength",
                    "/risk/low/load_to_strength",
                ),
            ),
            (
                "Over the uncertainty budget",
                range("/budget").map(|(low, high)| format!("{low:.0} to {high:.0} {unit}")),
            ),
        ]))
}
