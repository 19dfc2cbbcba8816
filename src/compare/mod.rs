//! From the `results.csv` of a cohort to what a paper prints about its masks: Table 3, Figure 2, agreement, sensitivity and tests.
//!
//! Everything is relative to the manual mask of the same case. Femora and vertebrae are never mixed. The definitions stand in
//! `docs/cohorts.md`.

pub mod agreement;
mod canvas;
pub mod cohort;
pub mod figures;
mod marks;
mod operator_figure;
pub mod ranks;
pub mod rows;
mod sensitivity_figure;
pub mod statistics;
pub mod table;
#[cfg(test)]
mod tests;
pub mod variant;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use solver::Device;

use self::cohort::{Cohort, RowLeftOut};
use self::ranks::{BoneStatistics, Comparison, Friedman};
use crate::cohort::{OPERATORS_FILE, OperatorPair, read_operators};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE, check_not_inside};
use crate::provenance::Provenance;
use crate::report::Figure;

/// What is compared, and where the results go.
#[derive(Clone, Debug)]
pub struct CompareRequest {
    /// The table of a cohort.
    pub results: PathBuf,
    /// Directory for the results.
    pub out: PathBuf,
    /// What may stand there.
    pub existing: Existing,
    /// For `provenance.json`; nothing is computed on it.
    pub device: Device,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Where the results stand.
    pub out: PathBuf,
    /// A line or two per bone, and one on rows that are in none.
    pub summary: Vec<String>,
}

/// `statistics.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Friedman's test of the only bone; `None` where there are two.
    pub friedman: Option<Friedman>,
    /// Dunn's comparisons with the manual masks of the only bone; `None` where there are two.
    pub dunn: Option<Vec<Comparison>>,
    /// Everything by bone.
    pub bones: BTreeMap<String, BoneStatistics>,
    /// Rows of the table that are in no bone.
    pub rows_left_out: Vec<RowLeftOut>,
}

impl Statistics {
    /// The statistics of all bones.
    pub fn of(cohort: &Cohort, operators: &[OperatorPair]) -> Self {
        let bones: BTreeMap<String, BoneStatistics> = cohort
            .bones
            .iter()
            .map(|bone| (bone.name.clone(), ranks::of(bone, operators)))
            .collect();
        let only = bones.values().next().filter(|_| bones.len() == 1);
        Self {
            friedman: only.map(|bone| bone.tests.friedman.clone()),
            dunn: only.map(|bone| bone.tests.dunn.clone()),
            bones,
            rows_left_out: cohort.rows_left_out.clone(),
        }
    }
}

/// Writes tables, figures and statistics of a cohort.
///
/// # Errors
/// A [`Failure`]: of kind usage for the output directory, of kind input for the table.
pub fn compare(request: &CompareRequest) -> anyhow::Result<Compared> {
    check_not_inside(&request.out, &request.results)?;
    let out = OutputDir::begin(&request.out, request.existing)?;
    let found = of_results(&request.results)?;
    let statistics = &found.statistics;
    let bones = &found.cohort.bones;
    let write = |name: &str, contents: &[u8]| {
        std::fs::write(out.join(name), contents).with_context(|| name.to_owned())
    };
    let lines = found.lines();
    write("table3.csv", &table::to_csv(&lines)?)?;
    write("table3.md", table::to_markdown(&lines).as_bytes())?;
    write("cases.csv", &table::cases_csv(bones)?)?;
    let json = serde_json::to_string_pretty(statistics)? + "\n";
    write("statistics.json", json.as_bytes())?;
    for (name, figure) in found.figures() {
        figure.write(out.path(), name)?;
    }
    write("plan.toml", plan().as_bytes())?;
    let mut provenance = Provenance::of_this_process("compare", request.device);
    provenance.add_input("results", &request.results)?;
    if let Some(beside) = operators_beside(&request.results) {
        provenance.add_input("operators", &beside)?;
    }
    write(PROVENANCE_FILE, provenance.to_json()?.as_bytes())?;
    let summary = found.sentences();
    let left = statistics.rows_left_out.len();
    let left = (left > 0).then(|| {
        format!("rows left out: {left}; they stand under rows_left_out in statistics.json")
    });
    Ok(Compared {
        summary: summary.into_iter().chain(left).collect(),
        out: out.finish()?,
    })
}

/// Pairs of operators whose figures are such as two masks can have.
fn checked(pairs: Vec<OperatorPair>) -> anyhow::Result<Vec<OperatorPair>> {
    for pair in &pairs {
        let figures = [
            ("dice", pair.dice, 1.0),
            ("hausdorff_mm", pair.hausdorff_mm, f64::MAX),
            ("hausdorff95_mm", pair.hausdorff95_mm, f64::MAX),
        ];
        for (name, value, most) in figures {
            let Some(value) = value.filter(|value| !(0.0..=most).contains(value)) else {
                continue;
            };
            let range = match name {
                "dice" => "a Dice coefficient from 0 to 1",
                _ => "a distance in mm",
            };
            return Err(Failure::input(format!(
                "case {}, operators {} and {}: `{value}` under {name} is not {range}",
                pair.of[0], pair.operators[0], pair.operators[1]
            ))
            .with_help("correct the value, or leave it empty where it is not known")
            .into());
        }
    }
    Ok(pairs)
}

/// Where the masks of several operators are compared: by the cohort, beside its results.
fn operators_beside(results: &Path) -> Option<PathBuf> {
    let beside = results.with_file_name(OPERATORS_FILE);
    beside.is_file().then_some(beside)
}

/// What a table of results says about its masks.
#[derive(Clone, Debug)]
pub struct Results {
    /// Every row of the table.
    pub rows: Vec<rows::Row>,
    /// The cases by bone.
    pub cohort: Cohort,
    /// The tests between masks.
    pub statistics: Statistics,
}

/// Reads a table of results, and the table of the operators beside it.
///
/// # Errors
/// A [`Failure`] of kind input for either table.
pub fn of_results(results: &Path) -> anyhow::Result<Results> {
    let rows = rows::read(results)?;
    let cohort = cohort::bones(&rows)
        .map_err(anyhow::Error::from)
        .with_context(|| results.display().to_string())?;
    let operators = match operators_beside(results) {
        Some(beside) => read_operators(&beside)
            .and_then(checked)
            .with_context(|| beside.display().to_string())
            .kind(Kind::Input)?,
        None => Vec::new(),
    };
    let statistics = Statistics::of(&cohort, &operators);
    Ok(Results {
        rows,
        cohort,
        statistics,
    })
}

impl Results {
    /// The rows of Table 3.
    pub fn lines(&self) -> Vec<table::Line> {
        table::lines(&self.cohort.bones)
    }

    /// A sentence per bone on its test between masks.
    pub fn sentences(&self) -> Vec<String> {
        self.statistics
            .bones
            .iter()
            .map(|(name, bone)| sentence(name, bone))
            .collect()
    }

    /// Name and SVG of every figure.
    ///
    /// # Errors
    /// When one cannot be drawn.
    pub fn drawn(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        self.figures()
            .into_iter()
            .map(|(name, figure)| Ok((name, figure.svg()?)))
            .collect()
    }

    fn figures(&self) -> Vec<(&'static str, ComparisonFigure<'_>)> {
        use ComparisonFigure as Of;
        let (bones, statistics) = (&self.cohort.bones[..], &self.statistics);
        let mut figures = vec![
            (
                "figure2",
                Of::Loads(figures::LoadFigure { bones, statistics }),
            ),
            (
                "bland_altman",
                Of::BlandAltman(figures::BlandAltmanFigure::of(bones, statistics)),
            ),
            (
                "scatter",
                Of::Scatter(figures::ScatterFigure::of(bones, statistics)),
            ),
            (
                "sensitivity",
                Of::Sensitivity(sensitivity_figure::SensitivityFigure { bones }),
            ),
        ];
        let operators = operator_figure::OperatorFigure::of(statistics);
        figures.extend(operators.map(|figure| ("operators", Of::Operators(figure))));
        figures
    }
}

/// Any figure of a comparison.
enum ComparisonFigure<'a> {
    Loads(figures::LoadFigure<'a>),
    BlandAltman(figures::BlandAltmanFigure<'a>),
    Scatter(figures::ScatterFigure<'a>),
    Sensitivity(sensitivity_figure::SensitivityFigure<'a>),
    Operators(operator_figure::OperatorFigure<'a>),
}

impl ComparisonFigure<'_> {
    fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Loads(figure) => figure.write(folder, name),
            Self::BlandAltman(figure) => figure.write(folder, name),
            Self::Scatter(figure) => figure.write(folder, name),
            Self::Sensitivity(figure) => figure.write(folder, name),
            Self::Operators(figure) => figure.write(folder, name),
        }
    }

    fn svg(&self) -> anyhow::Result<String> {
        match self {
            Self::Loads(figure) => figure.svg(),
            Self::BlandAltman(figure) => figure.svg(),
            Self::Scatter(figure) => figure.svg(),
            Self::Sensitivity(figure) => figure.svg(),
            Self::Operators(figure) => figure.svg(),
        }
    }
}

/// Every choice that went into the results, for `plan.toml`.
fn plan() -> String {
    format!(
        "# osteoload compare\nreference = \"manual\"\ntest = \"friedman\"\npost_hoc = \"dunn, within-case ranks\"\n\
         adjustment = \"bonferroni\"\nlimits_of_agreement_sd = {}\n",
        agreement::LIMITS_SD
    )
}

fn sentence(name: &str, bone: &BoneStatistics) -> String {
    let test = &bone.tests.friedman;
    match (test.statistic, test.degrees_of_freedom, test.p) {
        (Some(statistic), Some(freedom), Some(p)) => format!(
            "{name}: Friedman chi-squared {statistic:.3} ({freedom} degrees of freedom, {} cases, {} left out), p {p:.3e}",
            test.cases, test.cases_left_out
        ),
        _ => format!(
            "{name}: no Friedman test: {}",
            test.reason.as_deref().unwrap_or("no reason known")
        ),
    }
}
