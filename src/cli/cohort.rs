//! `osteoload cohort`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser};
use solver::Device;

use super::Globals;
use super::run::RunOptions;
use crate::automatic::BUILT_IN;
use crate::cohort::{CohortCase, CohortRequest, Layout, Reference, Shard};
use crate::exit::{EndWith as _, Ending, Failure, Kind};
use crate::plan::{MorphUnit, closest, labels};
use crate::sweep::ordered;

/// Compute every case of a study, with every variant of its mask, into one table
///
/// COHORT.csv has a row per case. `case` names it; every other column is named like an option of `run` (`ct`, `bone`, `side`,
/// `level`, `mask`, `label`, `calibration`, `body_weight_kg`, `set` …; with - or _), or is one of: group, operator, sex; `morph`,
/// erosions and dilations such as -2,-1,0,1,2; reference_mask and reference_label, the manual mask: then the variants are `manual`
/// and `automatic`, the row's own mask or a network's, eroded and dilated. Without them they are those of the row's mask (`manual`)
/// or of a network's (`automatic`). An empty cell is an option not given; several values of `set` or `accept` stand with ; between
/// them. Paths are relative to COHORT.csv.
#[derive(Clone, Debug, Args)]
pub struct CohortArgs {
    /// Table of the cases
    #[arg(value_name = "COHORT.csv")]
    table: PathBuf,
    /// Directory of the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with what stands there: cases that are done are not computed again
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace what stands there
    #[arg(long)]
    overwrite: bool,
    /// Cases computed at a time, each on its share of the threads [default: as many as threads and memory allow]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Memory for all cases together, MiB; a case waits until there is room for it [default: four fifths of what is free]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory_mib: Option<u32>,
    /// Compute every N-th case, from the I-th on; `collect` joins the tables of all shards
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Name the folders as a BIDS derivative does: sub-CASE/desc-VARIANT
    #[arg(long)]
    bids: bool,
}

/// A row's options, read as those of `run` are.
#[derive(Debug, Parser)]
struct Row {
    #[command(flatten)]
    options: RunOptions,
}

impl CohortArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let request = CohortRequest {
            file: self.table.clone(),
            cases: read_cohort(&self.table, globals.device()?)?,
            out: self.out.clone(),
            resume: self.resume,
            overwrite: self.overwrite,
            jobs: self.jobs,
            memory_mib: self.memory_mib.map(f64::from),
            shard: self.shard,
            layout: match self.bids {
                true => Layout::Bids,
                false => Layout::Plain,
            },
            device: globals.device()?,
        };
        let finished = crate::cohort::cohort(&request, &mut globals.progress())?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &finished.rows {
            *counts.entry(row.cell("status")).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        globals.say(format!(
            "{} rows: {}",
            finished.rows.len(),
            counts.join(", ")
        ));
        globals.say(format!("results in {}", finished.place.display()));
        finished.answered()
    }
}

/// Columns that are not options of `run`, but say what a case is.
const OWN: [&str; 7] = [
    "case",
    "group",
    "operator",
    "sex",
    "morph",
    "reference-mask",
    "reference-label",
];
/// Columns whose cells are paths.
const PATHS: [&str; 7] = [
    "ct",
    "mask",
    "uncertainty",
    "rods",
    "tissues",
    "phantom-ct",
    "plan",
];
/// Columns whose cells hold several values with `;` between them, each an option of its own.
const REPEATED: [&str; 2] = ["set", "accept"];

/// Reads a table of cases. A row that cannot be run is a case that fails; a table that cannot be understood is refused.
///
/// # Errors
/// A [`Failure`] of kind input.
pub fn read_cohort(table: &Path, device: Device) -> anyhow::Result<Vec<CohortCase>> {
    let shown = table.display().to_string();
    let refuse = |message: String, help: &str| -> anyhow::Error {
        Failure::input(format!("{shown}: {message}"))
            .with_help(help)
            .into()
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(table)
        .with_context(|| shown.clone())
        .kind(Kind::Input)?;
    let columns: Vec<String> = reader
        .headers()
        .with_context(|| shown.clone())
        .kind(Kind::Input)?
        .iter()
        // Some programs put a mark before the first name.
        .map(|name| name.trim_start_matches('\u{feff}').replace('_', "-"))
        .collect();
    let command = Row::command();
    let mut known: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|name| *name != "overwrite")
        .collect();
    known.extend(OWN);
    for (place, column) in columns.iter().enumerate() {
        if !known.contains(&column.as_str()) {
            let near = closest(column, &known);
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(refuse(
                format!("unknown column `{column}`{near}"),
                "columns are case, group, operator, sex, morph, reference_mask, reference_label and the options of `osteoload run`",
            ));
        }
        if columns[..place].contains(column) {
            return Err(refuse(
                format!("the column `{column}` stands there twice"),
                "leave one of them out",
            ));
        }
    }
    for needed in ["case", "ct"] {
        if !columns.iter().any(|column| column == needed) {
            return Err(refuse(
                format!("the column `{needed}` is missing"),
                "every case needs a name and a scan",
            ));
        }
    }
    let beside = table.parent().unwrap_or(Path::new(""));
    let mut found: Vec<CohortCase> = Vec::new();
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for record in reader.records() {
        let record = record.with_context(|| shown.clone()).kind(Kind::Input)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cells: BTreeMap<&str, &str> = columns
            .iter()
            .map(String::as_str)
            .zip(&record)
            .filter(|(_, cell)| !cell.is_empty())
            .collect();
        let case = read_row(&cells, beside, device);
        let name = case.name();
        let plain = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
        };
        if case.case.is_empty() || case.case.starts_with('.') || !name.chars().all(plain) {
            return Err(refuse(
                format!("line {line}: `{name}` cannot be the name of a folder"),
                "name cases, operators and levels by letters, digits, - and _",
            ));
        }
        if let Some(before) = lines.insert(name.to_lowercase(), line) {
            return Err(refuse(
                format!("lines {before} and {line} are both case {name}"),
                "rows of one patient differ in side, level or operator, or in the name of the case",
            ));
        }
        found.push(case);
    }
    if found.is_empty() {
        return Err(refuse("it holds no case".into(), "give a row per case"));
    }
    Ok(found)
}

/// A case from the cells that are given.
fn read_row(cells: &BTreeMap<&str, &str>, beside: &Path, device: Device) -> CohortCase {
    let cell = |name: &str| cells.get(name).copied().unwrap_or_default().to_owned();
    let resolved = resolve(cells, beside, device);
    let (request, rest) = match resolved {
        Ok((request, rest)) => (Ok(request), Some(rest)),
        Err(error) => (Err(Ending::of(&error)), None),
    };
    let (reference, morphs) = rest.unwrap_or_else(|| {
        let reference = cells.get("reference-mask").map(|mask| Reference {
            mask: beside.join(mask),
            label: Vec::new(),
        });
        (reference, vec![0.0])
    });
    let unit = match &request {
        Ok(request) => Some(request.plan.subject.morph_unit),
        Err(_) => cells.get("morph-unit").and_then(|unit| unit.parse().ok()),
    };
    CohortCase {
        case: cell("case"),
        group: cell("group"),
        operator: cell("operator"),
        sex: cell("sex"),
        said: ["bone", "side", "level", "body-weight-kg"].map(cell),
        has_mask: cells.contains_key("mask"),
        request,
        reference,
        morphs,
        unit: unit.unwrap_or(MorphUnit::Voxel),
        cells: cells
            .iter()
            .map(|(name, cell)| format!("{name}={cell}\n"))
            .collect(),
    }
}

type Resolved = (crate::run::RunRequest, (Option<Reference>, Vec<f64>));

/// The run of a row, its manual mask and its morphs.
fn resolve(
    cells: &BTreeMap<&str, &str>,
    beside: &Path,
    device: Device,
) -> anyhow::Result<Resolved> {
    let mut options = vec!["cohort".to_owned()];
    for (&name, &cell) in cells {
        if OWN.contains(&name) {
            continue;
        }
        let values: Vec<&str> = match REPEATED.contains(&name) {
            true => cell.split(';').map(str::trim).collect(),
            false => vec![cell],
        };
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            // As one word: a value may begin with a dash.
            options.push(format!("--{name}={}", placed(name, value, beside)));
        }
    }
    let row = Row::try_parse_from(options).map_err(|error| {
        let text = error.to_string();
        // The first paragraph; what follows is about the command line.
        let lines = text.lines().map(str::trim);
        let said: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        Failure::usage(said.join(" ").trim_start_matches("error: ").to_owned())
    })?;
    let request = row.options.request(device, Some(0.0), None)?;
    if request.plan.subject.level == Some(crate::plan::LevelChoice::All) {
        return Err(
            Failure::usage("a case is one vertebra, and its level is all")
                .with_help("give every vertebra a row of its own")
                .into(),
        );
    }
    let number = |text: &str| {
        text.trim().parse::<f64>().map_err(|_| {
            Failure::usage(format!("morph: `{text}` is not a number"))
                .with_help("write erosions and dilations such as -2,-1,0,1,2")
        })
    };
    let morphs = match cells.get("morph") {
        None => Vec::new(),
        Some(list) => list
            .split([',', ';', ' '])
            .filter(|text| !text.is_empty())
            .map(number)
            .collect::<Result<_, _>>()?,
    };
    let reference = match cells.get("reference-mask") {
        None => None,
        Some(mask) => {
            let label = match cells.get("reference-label") {
                Some(list) => labels(list)
                    .map_err(|reason| Failure::usage(format!("reference_label: {reason}")))?,
                None => request.plan.subject.label.clone(),
            };
            if label.is_empty() {
                return Err(
                    Failure::usage("reference_mask is given without reference_label")
                        .with_help("name the values of the bone in it")
                        .into(),
                );
            }
            Some(Reference {
                mask: beside.join(mask),
                label,
            })
        }
    };
    Ok((request, (reference, ordered(&morphs)?)))
}

/// A cell with its path put beside the table, where it is one.
fn placed(name: &str, value: &str, beside: &Path) -> String {
    let join = |path: &str| beside.join(path).display().to_string();
    match name {
        _ if PATHS.contains(&name) => join(value),
        "protocol" if value.ends_with(".toml") => join(value),
        "model" if value != BUILT_IN => join(value),
        "calibration" => match value.split_once(':') {
            Some(("file", path)) => format!("file:{}", join(path)),
            Some(("phantom", path)) if path.ends_with(".toml") => {
                format!("phantom:{}", join(path))
            }
            _ => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<CohortCase>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cohort.csv");
        std::fs::write(&file, text).unwrap();
        read_cohort(&file, Device::Cpu)
    }

    fn refused(text: &str, part: &str) {
        let ending = Ending::of(&read(text).unwrap_err());
        assert_eq!(ending.status, 3, "{text}");
        assert!(ending.error.contains(part), "{}", ending.error);
    }

    #[test]
    fn columns_are_the_options_of_run() {
        let found = read(
            "case,ct,bone,mask,label,calibration,body_weight_kg,set,morph,group,operator,side,repair\n\
             a,a/ct.nii.gz,femur,/m.nii,\"1,2\",\"line:0.8,5\",70,mesh.voxel_mm=3;load.increments=20,\"1,-1\",lesion,X,left,true\n\
             b,ct.nii,femur,m.nii,1,density,,,,,,,\n",
        )
        .unwrap();
        let [a, b] = &found[..] else {
            panic!("two cases")
        };
        let request = a.request.as_ref().unwrap();
        assert!(request.ct.ends_with("a/ct.nii.gz") && request.ct.is_absolute());
        assert_eq!(request.mask.as_deref(), Some(Path::new("/m.nii")));
        let plan = &request.plan;
        assert_eq!(plan.subject.label, [1, 2]);
        assert_eq!(plan.subject.body_weight_kg, Some(70.0));
        assert_eq!(
            (plan.settings.mesh.voxel_mm, plan.settings.load.increments),
            (3.0, 20)
        );
        assert_eq!(
            (a.morphs.as_slice(), a.name().as_str()),
            (&[-1.0, 0.0, 1.0][..], "a_left_op-X")
        );
        assert_eq!((b.name().as_str(), b.morphs.as_slice()), ("b", &[0.0][..]));
        assert!(request.plan.subject.repair);
        assert!(!b.request.as_ref().unwrap().plan.subject.repair);
    }

    #[test]
    fn a_wrong_row_is_a_case_and_a_wrong_table_is_refused() {
        let found = read(
            "case,ct,bone,mask,label,calibration,morph,level\n\
             a,c.nii,tibia,m.nii,1,density,,\n\
             b,c.nii,femur,m.nii,1,,,\n\
             c,c.nii,femur,m.nii,1,density,x,\n\
             d,c.nii,vertebra,m.nii,,density,,all\n\
             e,c.nii,femur,m.nii,1,density,0.5,\n",
        )
        .unwrap();
        for (case, part) in found
            .iter()
            .zip(["tibia", "calibration", "`x`", "level is all", ""])
        {
            match &case.request {
                Err(ending) => assert!(ending.error.contains(part), "{}", ending.error),
                Ok(_) => assert_eq!(case.case, "e", "{part}"),
            }
        }
        refused("case,ct,bnoe\na,c,femur\n", "did you mean `bone`");
        refused("case,bone\na,femur\n", "`ct` is missing");
        refused("case,ct,ct\na,c,d\n", "twice");
        refused("case,ct\na,c\nA,d\n", "lines 2 and 3");
        refused("case,ct\n../a,c\n", "name of a folder");
        refused("case,ct\n,c\n", "name of a folder");
        refused("case,ct\n", "no case");
        refused("case,ct\na,b,c\n", "found record with 3 fields");
        refused("case,ct,overwrite\na,b,yes\n", "unknown column");
    }
}
