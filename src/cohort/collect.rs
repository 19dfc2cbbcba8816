//! `osteoload collect`: the tables of several shards, joined.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::table::{ResultRow, to_csv};
use super::{OPERATORS_FILE, operators, put, read_operators, read_rows};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE, check_not_inside};
use crate::provenance::Provenance;

/// What was joined.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Rows of the joined table.
    pub rows: usize,
    /// Where it stands.
    pub place: PathBuf,
}

/// Joins the `results.csv` of cohort directories into one of `out`, which is what one process would have written.
///
/// # Errors
/// A [`Failure`]: of kind input when a directory holds no table or two hold the same case and variant; of kind usage for `out`.
pub fn collect(
    directories: &[PathBuf],
    out: &Path,
    existing: Existing,
) -> anyhow::Result<Collected> {
    for directory in directories {
        check_not_inside(out, &directory.join("results.csv"))?;
    }
    let out = OutputDir::begin(out, existing)?;
    let mut provenance = Provenance::of_this_process("collect", solver::Device::Cpu);
    let mut from: BTreeMap<[String; 6], &Path> = BTreeMap::new();
    let mut rows: Vec<ResultRow> = Vec::new();
    let mut pairs = Vec::new();
    for directory in directories {
        let file = directory.join("results.csv");
        if !file.is_file() {
            return Err(
                Failure::input(format!("{} holds no results.csv", directory.display()))
                    .with_help("name directories that `osteoload cohort` has filled to the end")
                    .into(),
            );
        }
        for row in read_rows(&file)? {
            let key = ["case", "variant", "operator", "bone", "side", "level"]
                .map(|column| row.cell(column).to_owned());
            let before = from.insert(key, directory);
            if let Some(before) = before {
                return Err(Failure::input(format!(
                    "case {}, variant {} stands in {} and in {}",
                    row.case(),
                    row.variant(),
                    before.display(),
                    directory.display()
                ))
                .with_help("name each shard once")
                .into());
            }
            rows.push(row);
        }
        provenance.add_input("results", &file)?;
        let file = directory.join(OPERATORS_FILE);
        if file.is_file() {
            let read = read_operators(&file).with_context(|| file.display().to_string());
            pairs.extend(read.kind(Kind::Input)?);
        }
    }
    if !pairs.is_empty() {
        put(out.path(), OPERATORS_FILE, &operators::to_csv(&pairs)?)?;
    }
    put(out.path(), "results.csv", &to_csv(&rows)?)?;
    put(
        out.path(),
        "plan.toml",
        b"# OsteoLoad: joined shards of a cohort.\nformat = 1\n",
    )?;
    put(
        out.path(),
        PROVENANCE_FILE,
        provenance.to_json()?.as_bytes(),
    )?;
    Ok(Collected {
        rows: rows.len(),
        place: out.finish()?,
    })
}
