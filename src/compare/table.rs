//! Table 3 of Saillard et al. 2024 for a cohort of one's own: Dice and difference of the load by bone and mask variant, as CSV and Markdown.

use serde::Serialize;

use super::cohort::{Bone, Case, difference};
use super::statistics::Summary;
use super::variant::Variant;

/// What the figures of the table are.
const FOOTNOTE: &str = "d is the failure load with the mask less that with the manual mask of the same case, in N or in percent of \
the manual load. The main column is the mean of |d| ± its standard deviation over the cases (n − 1). Saillard et al. 2024 print `mean ± \
standard error`; several of their ± exceed the mean beside them, and the standard error of absolute differences never does (SD ≤ mean·√n \
for values of one sign, so SE ≤ mean), so theirs are not standard errors of |d|. SE is SD/√n of |d|; signed mean and median are those of d. \
Dice is mean ± standard deviation.";

/// Differences of one unit over some cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differences {
    /// Of |d|.
    pub absolute: Summary,
    /// Of d.
    pub signed: Summary,
}

impl Differences {
    fn of(values: &[f64]) -> Option<Self> {
        let absolute: Vec<f64> = values.iter().map(|value| value.abs()).collect();
        Some(Self {
            absolute: Summary::of(&absolute)?,
            signed: Summary::of(values)?,
        })
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Bone.
    pub bone: String,
    /// `all`, `group` or `level`.
    pub stratum: &'static str,
    /// The group or level; empty for all.
    pub stratum_value: String,
    /// Mask variant.
    pub variant: Variant,
    /// Cases with a load of this mask and of the manual one.
    pub cases: usize,
    /// Cases without.
    pub cases_missing: usize,
    /// Dice, over the cases where it is known.
    pub dice: Option<Summary>,
    /// Hausdorff distance, mm, likewise.
    pub hausdorff_mm: Option<Summary>,
    /// Failure load, N, over `cases`.
    pub load_n: Option<Summary>,
    /// Differences from the manual load, N; `None` for the manual mask itself.
    pub difference_n: Option<Differences>,
    /// The same in percent of the manual load.
    pub difference_percent: Option<Differences>,
}

/// The rows of all bones: over all cases, by group, by level.
pub fn lines(bones: &[Bone]) -> Vec<Line> {
    let mut lines = Vec::new();
    for bone in bones {
        let mut add = |stratum, value: &str, chosen: &dyn Fn(&Case) -> bool| {
            let cases: Vec<&Case> = bone.cases.iter().filter(|case| chosen(case)).collect();
            let strata = bone
                .variants
                .iter()
                .map(|variant| line(bone, stratum, value, &cases, variant));
            lines.extend(strata);
        };
        add("all", "", &|_| true);
        for group in bone.groups() {
            add("group", group, &|case| case.group == group);
        }
        for level in bone.levels() {
            add("level", level, &|case| case.level == level);
        }
    }
    lines
}

fn line(
    bone: &Bone,
    stratum: &'static str,
    value: &str,
    cases: &[&Case],
    variant: &Variant,
) -> Line {
    let pairs: Vec<[f64; 2]> = cases
        .iter()
        .filter_map(|case| case.pair_n(variant))
        .collect();
    let mask = |pick: fn(&super::cohort::Measured) -> Option<f64>| {
        let known = cases
            .iter()
            .filter_map(|case| case.variants.get(variant).and_then(pick));
        Summary::of(&known.collect::<Vec<f64>>())
    };
    let differences = |unit: usize| {
        let values: Vec<f64> = pairs.iter().map(|pair| difference(*pair)[unit]).collect();
        Differences::of(&values).filter(|_| !variant.is_reference())
    };
    let loads: Vec<f64> = pairs.iter().map(|pair| pair[1]).collect();
    Line {
        bone: bone.name.clone(),
        stratum,
        stratum_value: value.to_owned(),
        variant: variant.clone(),
        cases: pairs.len(),
        cases_missing: cases.len() - pairs.len(),
        dice: mask(|measured| measured.dice),
        hausdorff_mm: mask(|measured| measured.hausdorff_mm),
        load_n: Summary::of(&loads),
        difference_n: differences(0),
        difference_percent: differences(1),
    }
}

/// A row of `table3.csv`.
#[derive(Serialize)]
struct CsvLine<'a> {
    bone: &'a str,
    stratum: &'a str,
    stratum_value: &'a str,
    variant: &'a str,
    cases: usize,
    cases_missing: usize,
    dice_cases: usize,
    dice_mean: Option<f64>,
    dice_sd: Option<f64>,
    hausdorff_mean_mm: Option<f64>,
    hausdorff_sd_mm: Option<f64>,
    failure_load_mean_n: Option<f64>,
    failure_load_sd_n: Option<f64>,
    absolute_difference_mean_n: Option<f64>,
    absolute_difference_sd_n: Option<f64>,
    absolute_difference_se_n: Option<f64>,
    absolute_difference_median_n: Option<f64>,
    signed_difference_mean_n: Option<f64>,
    signed_difference_mean_magnitude_n: Option<f64>,
    signed_difference_median_n: Option<f64>,
    absolute_difference_mean_percent: Option<f64>,
    absolute_difference_sd_percent: Option<f64>,
    absolute_difference_se_percent: Option<f64>,
    absolute_difference_median_percent: Option<f64>,
    signed_difference_mean_percent: Option<f64>,
    signed_difference_mean_magnitude_percent: Option<f64>,
    signed_difference_median_percent: Option<f64>,
}

/// The table as CSV, numbers in full.
///
/// # Errors
/// When the text cannot be made.
pub fn to_csv(lines: &[Line]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mean = |summary: Option<Summary>| summary.map(|s| s.mean);
    let sd = |summary: Option<Summary>| summary.and_then(|s| s.standard_deviation);
    for line in lines {
        let absolute = [line.difference_n, line.difference_percent].map(|d| d.map(|d| d.absolute));
        let signed = [line.difference_n, line.difference_percent].map(|d| d.map(|d| d.signed));
        let of = |summary: Option<Summary>, value: fn(Summary) -> f64| summary.map(value);
        writer.serialize(CsvLine {
            bone: &line.bone,
            stratum: line.stratum,
            stratum_value: &line.stratum_value,
            variant: line.variant.word(),
            cases: line.cases,
            cases_missing: line.cases_missing,
            dice_cases: line.dice.map_or(0, |dice| dice.count),
            dice_mean: mean(line.dice),
            dice_sd: sd(line.dice),
            hausdorff_mean_mm: mean(line.hausdorff_mm),
            hausdorff_sd_mm: sd(line.hausdorff_mm),
            failure_load_mean_n: mean(line.load_n),
            failure_load_sd_n: sd(line.load_n),
            absolute_difference_mean_n: mean(absolute[0]),
            absolute_difference_sd_n: sd(absolute[0]),
            absolute_difference_se_n: absolute[0].and_then(|s| s.standard_error),
            absolute_difference_median_n: of(absolute[0], |s| s.median),
            signed_difference_mean_n: mean(signed[0]),
            signed_difference_mean_magnitude_n: of(signed[0], |s| s.mean.abs()),
            signed_difference_median_n: of(signed[0], |s| s.median),
            absolute_difference_mean_percent: mean(absolute[1]),
            absolute_difference_sd_percent: sd(absolute[1]),
            absolute_difference_se_percent: absolute[1].and_then(|s| s.standard_error),
            absolute_difference_median_percent: of(absolute[1], |s| s.median),
            signed_difference_mean_percent: mean(signed[1]),
            signed_difference_mean_magnitude_percent: of(signed[1], |s| s.mean.abs()),
            signed_difference_median_percent: of(signed[1], |s| s.median),
        })?;
    }
    Ok(writer.into_inner()?)
}

/// A row of `cases.csv`.
#[derive(Serialize)]
struct CaseLine<'a> {
    bone: &'a str,
    case: &'a str,
    group: &'a str,
    level: &'a str,
    variant: &'a str,
    reason: &'a str,
    dice: Option<f64>,
    hausdorff_mm: Option<f64>,
    failure_load_n: Option<f64>,
    difference_n: Option<f64>,
    difference_percent: Option<f64>,
}

/// The results of every case as CSV: loads and their differences from the manual one.
///
/// # Errors
/// When the text cannot be made.
pub fn cases_csv(bones: &[Bone]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for bone in bones {
        for case in &bone.cases {
            for (variant, measured) in &case.variants {
                let pair = case.pair_n(variant).filter(|_| !variant.is_reference());
                let difference = pair.map(difference);
                writer.serialize(CaseLine {
                    bone: &bone.name,
                    case: &case.name,
                    group: &case.group,
                    level: &case.level,
                    variant: variant.word(),
                    reason: &measured.status,
                    dice: measured.dice,
                    hausdorff_mm: measured.hausdorff_mm,
                    failure_load_n: measured.load_n,
                    difference_n: difference.map(|d| d[0]),
                    difference_percent: difference.map(|d| d[1]),
                })?;
            }
        }
    }
    Ok(writer.into_inner()?)
}

/// The table as Markdown: first in the paper's layout, then every figure by its name.
pub fn to_markdown(lines: &[Line]) -> String {
    let mut text = "# Image metrics and failure loads against the manual masks\n".to_owned();
    for part in lines.chunk_by(|a, b| {
        a.bone == b.bone && a.stratum == b.stratum && a.stratum_value == b.stratum_value
    }) {
        if part[0].stratum != "level" {
            text += &paper_layout(part);
        }
    }
    text += &format!("\n{FOOTNOTE}\n\n## All figures\n\n");
    text += "| bone | cases of | mask | n | missing | \\|d\\| (N), mean ± SD | SE | median \\|d\\| | signed mean | \\|signed mean\\| | median | \
             \\|d\\| (%), mean ± SD | SE | median \\|d\\| | signed mean | \\|signed mean\\| | median |\n";
    text += &format!("|{}\n", "---|".repeat(17));
    for line in lines.iter().filter(|line| !line.variant.is_reference()) {
        let all = [(line.difference_n, 0), (line.difference_percent, 2)]
            .map(|(d, decimals)| unit_cells(d, decimals));
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            line.bone,
            escaped(stratum_name(line)),
            escaped(line.variant.word()),
            line.cases,
            line.cases_missing,
            all[0],
            all[1],
        );
    }
    text + "\nThe results of each case are in `cases.csv`, all decimals in `table3.csv`.\n"
}

/// The lines of one bone and stratum with the variants as columns.
fn paper_layout(part: &[Line]) -> String {
    let compared: Vec<&Line> = part
        .iter()
        .filter(|line| !line.variant.is_reference())
        .collect();
    let first = &part[0];
    let mut text = format!("\n## {}, {}\n\n| |", first.bone, stratum_name(first));
    for line in &compared {
        text += &format!(" {} |", escaped(line.variant.word()));
    }
    text += &format!("\n|---|{}\n", "---|".repeat(compared.len()));
    let mut row = |name: &str, cell: &dyn Fn(&Line) -> String| {
        let cells: Vec<String> = compared.iter().map(|line| cell(line)).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    };
    row("cases", &|line| line.cases.to_string());
    row("Dice", &|line| spread(line.dice, 3));
    row("mean of \\|d\\| (N)", &|line| {
        spread(line.difference_n.map(|d| d.absolute), 0)
    });
    row("mean of \\|d\\| (%)", &|line| {
        spread(line.difference_percent.map(|d| d.absolute), 2)
    });
    text
}

fn stratum_name(line: &Line) -> &str {
    match line.stratum {
        "all" => "all cases",
        _ => &line.stratum_value,
    }
}

/// Mean ± SD, SE, median |d|, signed mean, |signed mean| and median as cells.
fn unit_cells(differences: Option<Differences>, decimals: usize) -> String {
    let number =
        |value: Option<f64>| value.map_or("–".to_owned(), |value| rounded(value, decimals));
    let absolute = differences.map(|d| d.absolute);
    let signed = differences.map(|d| d.signed);
    [
        spread(absolute, decimals),
        number(absolute.and_then(|s| s.standard_error)),
        number(absolute.map(|s| s.median)),
        number(signed.map(|s| s.mean)),
        number(signed.map(|s| s.mean.abs())),
        number(signed.map(|s| s.median)),
    ]
    .join(" | ")
}

/// `mean ± standard deviation`, the mean alone for a single value, a dash for none.
fn spread(summary: Option<Summary>, decimals: usize) -> String {
    match summary.map(|summary| (summary.mean, summary.standard_deviation)) {
        Some((mean, Some(sd))) => {
            format!("{} ± {}", rounded(mean, decimals), rounded(sd, decimals))
        }
        Some((mean, None)) => rounded(mean, decimals),
        None => "–".to_owned(),
    }
}

/// A number with so many decimals and never a minus before zero.
fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| c == '0' || c == '.') => digits.to_owned(),
        _ => text,
    }
}

/// A word of the table that cannot end its cell.
fn escaped(word: &str) -> String {
    word.replace('|', "\\|")
}
