//! What a cohort says about its masks: statuses, Table 3 in short, and the figures of `compare`.

use std::collections::BTreeMap;
use std::path::Path;

use super::markup::{note, paragraph, picture, table};
use crate::compare::statistics::Summary;
use crate::compare::{Results, of_results};

/// The comparison of the masks in `results.csv`; `None` where the table is not there or is not that of a cohort.
///
/// # Errors
/// The table, or the one of the operators beside it, cannot be read.
pub(super) fn comparison(directory: &Path) -> anyhow::Result<Option<String>> {
    let path = directory.join("results.csv");
    if !path.is_file() {
        return Ok(None);
    }
    // `run --level all` leaves a table of that name without cases.
    let mut reader = csv::Reader::from_path(&path)?;
    if !reader.headers()?.iter().any(|column| column == "case") {
        return Ok(None);
    }
    let found = of_results(&path)?;
    let mut html = paragraph(&statuses(&found));
    for sentence in found.sentences() {
        html += &paragraph(&sentence);
    }
    for (name, svg) in found.drawn()? {
        html += &picture("image/svg+xml", svg.as_bytes(), name);
    }
    html += &table(
        &[
            "bone", "mask", "cases", "Dice", "load, N", "|d|, N", "|d|, %", "d, %",
        ],
        &rows(&found),
    );
    html += &note(
        "d is the failure load less that with the manual mask of the same case. Mean ± standard deviation over the cases. \
         `osteoload compare` writes all of it, with the tests between masks.",
    );
    Ok(Some(html))
}

/// How many analyses ended in which way.
fn statuses(found: &Results) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &found.rows {
        *counts.entry(&row.status).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    format!("Analyses: {} ({}).", found.rows.len(), counts.join(", "))
}

fn rows(found: &Results) -> Vec<Vec<String>> {
    let spread = |summary: Option<Summary>, digits: usize| match summary {
        None => "–".to_owned(),
        Some(Summary {
            mean,
            standard_deviation: Some(deviation),
            ..
        }) => format!("{mean:.digits$} ± {deviation:.digits$}"),
        Some(Summary { mean, .. }) => format!("{mean:.digits$}"),
    };
    found
        .lines()
        .into_iter()
        .filter(|line| line.stratum == "all")
        .map(|line| {
            let [newtons, percent] = [line.difference_n, line.difference_percent];
            vec![
                line.bone.clone(),
                line.variant.word().to_owned(),
                line.cases.to_string(),
                spread(line.dice, 3),
                spread(line.load_n, 0),
                spread(newtons.map(|d| d.absolute), 0),
                spread(percent.map(|d| d.absolute), 2),
                spread(percent.map(|d| d.signed), 2),
            ]
        })
        .collect()
}
