//! Sections that are tables: calibration, mesh, settings, provenance, and tables of a directory as they are.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use calibration::Calibration;
use serde_json::Value;

use super::ShownTable;
use super::markup::{
    escape, note, pairs, paragraph, picture, significant, spaced, table, without_directories,
};
use super::page::{number, word};
use crate::report::calibration_figure::line_svg;

/// Line and rods of the calibration.
///
/// # Errors
/// `result.json` holds no calibration, or its figure cannot be drawn.
pub(super) fn calibration(result: &Value) -> anyhow::Result<String> {
    let held = result.get("calibration").context("there is none")?;
    let found: Calibration = serde_json::from_value(held.clone())?;
    let with_error = |value: f64, error: Option<f64>, unit: &str| {
        let error = error.map_or_else(
            || "standard error not known".to_owned(),
            |error| format!("± {} (standard error)", significant(error, 3)),
        );
        format!("{} {unit}, {error}", significant(value, 6))
    };
    let mut html = pairs(&[
        ("Method", word(held, "/method").map(spaced)),
        ("Phantom", found.phantom.clone()),
        ("Density is equivalent to", Some(found.kind.to_string())),
        (
            "Slope",
            Some(with_error(
                found.slope_mg_cm3_per_hu,
                found.slope_standard_error,
                "mg/cm³ per HU",
            )),
        ),
        (
            "Intercept",
            Some(with_error(
                found.intercept_mg_cm3,
                found.intercept_standard_error,
                "mg/cm³",
            )),
        ),
        (
            "Per squared CT number",
            found
                .quadratic_mg_cm3_per_hu2
                .map(|q| format!("{} mg/cm³ per HU²", significant(q, 4))),
        ),
        ("r²", found.r2.map(|r2| significant(r2, 7))),
    ]);
    if found.rods.is_empty() {
        return Ok(html + &note("No rods stand behind this line."));
    }
    html += &picture(
        "image/svg+xml",
        line_svg(&found)?.as_bytes(),
        "density over CT number: the rods and the calibration line",
    );
    let by_tissues = !found.tissue_samples().is_empty();
    let rows: Vec<Vec<String>> = found
        .rods
        .iter()
        .map(|rod| {
            let or_none = |value: Option<f64>| {
                value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
            };
            vec![
                escape(&rod.name),
                format!("{:.1}", rod.hu_mean),
                or_none(rod.hu_sd),
                format!("{:.2}", rod.reference_mg_cm3),
                rod.voxels.to_string(),
            ]
        })
        .collect();
    html += &table(
        &[
            if by_tissues { "Tissue" } else { "Rod" },
            "Mean (HU)",
            "SD (HU)",
            match (by_tissues, found.quadratic_mg_cm3_per_hu2) {
                (false, _) => "Density by the phantom's definition (mg/cm³)",
                (true, Some(_)) => "Density by the calibration (mg/cm³)",
                (true, None) => "Density as given (mg/cm³)",
            },
            "Voxels",
        ],
        &rows,
    );
    Ok(html)
}

/// Mesh, density and solution in numbers.
pub(super) fn mesh(result: &Value) -> String {
    let count = |place: &str| number(result, place).map(|n| format!("{n:.0}"));
    let measured = |place: &str, unit: &str| {
        number(result, place).map(|n| {
            format!("{} {unit}", significant(n, 4))
                .trim_end()
                .to_owned()
        })
    };
    pairs(&[
        (
            "Elements",
            count("/mesh/elements").map(|n| {
                let kind = match word(result, "/mesh/kind") {
                    Some("hex") => "8-node hexahedra (voxels)",
                    Some("tet10") => "10-node tetrahedra",
                    _ => "elements",
                };
                format!("{n} {kind}")
            }),
        ),
        ("Nodes", count("/mesh/nodes")),
        (
            "Mean volume of an element",
            measured("/mesh/mean_volume_mm3", "mm³"),
        ),
        (
            "Worst quality (1 = cube or regular tetrahedron)",
            measured("/mesh/min_quality", ""),
        ),
        (
            "Height of the bone along the load",
            measured("/bone_height_mm", "mm"),
        ),
        ("Mean density", measured("/density/mean_mg_cm3", "mg/cm³")),
        (
            "Smallest density",
            measured("/density/min_mg_cm3", "mg/cm³"),
        ),
        ("Largest density", measured("/density/max_mg_cm3", "mg/cm³")),
        (
            "Elements raised to a floor of density or modulus",
            count("/density/clamped_elements"),
        ),
        (
            "Sum of all reactions over the force",
            measured("/force_balance", ""),
        ),
        ("Newton or secant iterations", count("/newton_iterations")),
        (
            "Iterations of the linear solver",
            count("/linear_iterations"),
        ),
    ])
}

/// Every setting of `plan.toml` with its meaning and origin, folded on a screen.
pub(super) fn settings(text: &str, plan: &toml::Table) -> String {
    let protocol = plan
        .get("protocol")
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let meanings = meanings(text);
    let origins = plan.get("origin").and_then(toml::Value::as_table);
    let mut rows = Vec::new();
    let mut given = 0;
    for (section, content) in plan {
        let Some(content) = content.as_table() else {
            continue;
        };
        if section == "origin" {
            continue;
        }
        for (name, value) in content {
            let key = format!("{section}.{name}");
            let origin = origins.and_then(|origins| origins.get(&key)?.as_str());
            let origin = match (section.as_str(), origin) {
                ("subject", _) => "the case".to_owned(),
                (_, origin) => origin.unwrap_or("not known").to_owned(),
            };
            if origin == "given" {
                given += 1;
            }
            let value = match value {
                toml::Value::String(text) => without_directories(text).to_owned(),
                other => other.to_string(),
            };
            rows.push(vec![
                format!("<code>{}</code>", escape(&key)),
                format!("<code>{}</code>", escape(&value)),
                escape(&origin),
                escape(meanings.get(&key).map_or("", String::as_str)),
            ]);
        }
    }
    let summary = format!(
        "{} settings; defaults are those of {protocol}, {given} were given by the user",
        rows.len()
    );
    format!(
        "<details>\n<summary>{}</summary>\n{}</details>\n{}",
        escape(&summary),
        table(&["Key", "Value", "Origin", "Meaning"], &rows),
        note("osteoload run --plan plan.toml repeats the run. Directories are left out of paths.")
    )
}

/// The comment above each key of a plan.
fn meanings(text: &str) -> BTreeMap<String, String> {
    let (mut section, mut comment) = (String::new(), String::new());
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some(words) = line.strip_prefix("# ") {
            comment = words.to_owned();
        } else if let Some((name, _)) = line.split_once(" = ") {
            found.insert(format!("{section}.{name}"), std::mem::take(&mut comment));
        }
    }
    found
}

/// Program, inputs and networks by their checksums. Dates and the machine stand in `provenance.json` only, so that the
/// same run gives the same report.
pub(super) fn provenance(provenance: &Value) -> String {
    let mut html = pairs(&[
        (
            "Program",
            word(provenance, "/version").map(|v| format!("OsteoLoad {v}")),
        ),
        ("Command", word(provenance, "/made_by").map(str::to_owned)),
    ]);
    let inputs = provenance.get("inputs").and_then(Value::as_array);
    let mut rows: Vec<Vec<String>> = inputs
        .into_iter()
        .flatten()
        .map(|input| {
            vec![
                escape(word(input, "/role").unwrap_or_default()),
                number(input, "/bytes").map_or_else(String::new, |bytes| format!("{bytes:.0}")),
                format!(
                    "<code>{}</code>",
                    escape(word(input, "/sha256").unwrap_or_default())
                ),
            ]
        })
        .collect();
    let weights = provenance.get("weights").and_then(Value::as_object);
    for (name, hash) in weights.into_iter().flatten() {
        rows.push(vec![
            format!("weights of {}", escape(name)),
            String::new(),
            format!("<code>{}</code>", escape(hash.as_str().unwrap_or_default())),
        ]);
    }
    html += &table(&["Input", "Bytes", "SHA-256"], &rows);
    html + &note(
        "Command line, date and machine stand in provenance.json, times in timings.csv: they differ from run to run, this page does not.",
    )
}

/// A `.csv` of the directory as a table, with the figure that belongs to it; `None` where it is not there.
///
/// # Errors
/// The file is no table.
pub(super) fn file(directory: &Path, shown: &ShownTable) -> anyhow::Result<Option<String>> {
    let csv = shown.file;
    let path = directory.join(csv);
    if !path.is_file() {
        return Ok(None);
    }
    let mut reader = csv::Reader::from_path(&path).with_context(|| csv.to_owned())?;
    let head = reader.headers().with_context(|| csv.to_owned())?;
    let all: Vec<String> = head.iter().map(str::to_owned).collect();
    let kept: Vec<usize> = shown
        .columns
        .iter()
        .filter_map(|column| all.iter().position(|name| name == column))
        .collect();
    let head: Vec<String> = kept.iter().map(|&place| spaced(&all[place])).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| csv.to_owned())?;
        let cells = kept
            .iter()
            .map(|&place| cell(&all[place], record.get(place).unwrap_or("")));
        rows.push(cells.collect());
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut html = String::new();
    if let Ok(bytes) = std::fs::read(directory.join(shown.figure)) {
        html += &picture("image/svg+xml", &bytes, shown.figure);
    }
    html += &table(&head, &rows);
    Ok(Some(html + &paragraph(&format!("From {csv}."))))
}

/// Columns of words, which stay as they are even where they are made of digits only.
const WORDS: [&str; 8] = [
    "case", "variant", "group", "operator", "level", "label", "folder", "reason",
];

/// A cell, of numbers with no more digits than one reads.
fn cell(column: &str, text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if text.len() > 8 && !WORDS.contains(&column) => significant(value, 5),
        _ => escape(text),
    }
}
