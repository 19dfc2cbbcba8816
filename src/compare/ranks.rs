//! Friedman's and Dunn's tests on the loads of a bone, as `statistics.json` holds them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::agreement::{self, Agreement, Operators};
use super::cohort::{Bone, Case};
use super::statistics::{self, dunn};
use super::variant::Variant;
use crate::cohort::OperatorPair;

/// A case that is not in the test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// Case.
    pub case: String,
    /// The variants without a load, with the status where there is a row: `automatic (no_answer)`.
    pub missing: Vec<String>,
}

/// Friedman's test over the variants of a bone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Friedman {
    /// Chi-squared statistic with the correction for ties; `None` where the test cannot be made.
    pub statistic: Option<f64>,
    /// Number of variants less one.
    pub degrees_of_freedom: Option<usize>,
    /// Upper tail of chi-squared.
    pub p: Option<f64>,
    /// Cases with a load of every variant.
    pub cases: usize,
    /// The variants tested.
    pub variants: Vec<String>,
    /// Mean within-case rank of each, 1 for the smallest load; empty without a test.
    pub mean_ranks: Vec<f64>,
    /// Number of cases that lack a variant.
    pub cases_left_out: usize,
    /// Those cases.
    pub left_out: Vec<LeftOut>,
    /// Variants that are not in the test because no case has a load of theirs.
    pub variants_left_out: Vec<String>,
    /// Why there is no test, where there is none.
    pub reason: Option<String>,
}

/// Dunn's comparison of two variants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The variant.
    pub variant: String,
    /// What it is compared with.
    pub compared_with: String,
    /// Difference of the mean ranks, variant less the other, over its standard error.
    pub z: f64,
    /// Two-sided probability.
    pub p: f64,
    /// The same times the number of all pairs, at most 1 (Bonferroni; what SPSS prints).
    pub p_adjusted: f64,
    /// The same times the number of comparisons with the manual masks, at most 1; `None` for any other pair.
    pub p_adjusted_manual: Option<f64>,
}

/// The tests between the masks of some cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tests {
    /// Cases in the table.
    pub cases: usize,
    /// Friedman's test.
    pub friedman: Friedman,
    /// Dunn's comparisons with the manual masks; empty without Friedman's test.
    pub dunn: Vec<Comparison>,
    /// Dunn's comparisons of all pairs.
    pub dunn_pairs: Vec<Comparison>,
}

/// All statistics of a bone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoneStatistics {
    /// The tests over all its cases.
    #[serde(flatten)]
    pub tests: Tests,
    /// The same over the cases of each group; those without a group are in none.
    pub groups: BTreeMap<String, Tests>,
    /// Agreement of each mask with the manual one.
    pub agreement: Vec<Agreement>,
    /// Agreement of several operators; `None` unless a case has two.
    pub operators: Option<Operators>,
}

/// Computes the statistics of a bone.
pub fn of(bone: &Bone, operators: &[OperatorPair]) -> BoneStatistics {
    let of_group = |group: &str| {
        let cases = bone.cases.iter().filter(|case| case.group == group);
        (group.to_owned(), tests(&bone.variants, cases))
    };
    BoneStatistics {
        tests: tests(&bone.variants, &bone.cases),
        groups: bone.groups().into_iter().map(of_group).collect(),
        agreement: bone
            .compared()
            .map(|variant| agreement::agreement(bone, variant))
            .collect(),
        operators: agreement::operators(bone, operators),
    }
}

fn tests<'a>(variants: &[Variant], cases: impl IntoIterator<Item = &'a Case>) -> Tests {
    let cases: Vec<&Case> = cases.into_iter().collect();
    let has_load = |variant: &&Variant| cases.iter().any(|case| case.load_n(variant).is_some());
    let (tested, unknown): (Vec<&Variant>, Vec<&Variant>) = variants.iter().partition(has_load);
    let mut blocks = Vec::new();
    let mut left_out = Vec::new();
    for case in &cases {
        let loads: Option<Vec<f64>> = tested.iter().map(|variant| case.load_n(variant)).collect();
        match loads {
            Some(loads) => blocks.push(loads),
            None => {
                let missing = tested
                    .iter()
                    .filter(|variant| case.load_n(variant).is_none());
                let missing = missing.map(|variant| match case.variants.get(variant) {
                    Some(measured) => format!("{variant} ({})", measured.status),
                    None => format!("{variant} (no row)"),
                });
                left_out.push(LeftOut {
                    case: case.name.clone(),
                    missing: missing.collect(),
                });
            }
        }
    }
    let words = |variants: &[&Variant]| {
        variants
            .iter()
            .map(|v| v.word().to_owned())
            .collect::<Vec<_>>()
    };
    let mut friedman = Friedman {
        statistic: None,
        degrees_of_freedom: None,
        p: None,
        cases: blocks.len(),
        variants: words(&tested),
        mean_ranks: Vec::new(),
        cases_left_out: left_out.len(),
        left_out,
        variants_left_out: words(&unknown),
        reason: None,
    };
    let mut dunn_pairs = Vec::new();
    match statistics::friedman(&blocks) {
        Ok(found) => {
            dunn_pairs = pairs(&tested, &found.mean_ranks, blocks.len());
            friedman.statistic = Some(found.statistic);
            friedman.degrees_of_freedom = Some(found.degrees_of_freedom);
            friedman.p = Some(found.p);
            friedman.mean_ranks = found.mean_ranks;
        }
        // Without a complete case the number of variants is not the reason.
        Err(_) if blocks.is_empty() => {
            friedman.reason = Some("no case has a load of every variant".into())
        }
        Err(reason) => friedman.reason = Some(reason.to_owned()),
    }
    let with_manual = |pair: &&Comparison| pair.p_adjusted_manual.is_some();
    Tests {
        cases: cases.len(),
        friedman,
        dunn: dunn_pairs.iter().filter(with_manual).cloned().collect(),
        dunn_pairs,
    }
}

/// Every pair of variants, the manual mask always second.
fn pairs(variants: &[&Variant], mean_ranks: &[f64], cases: usize) -> Vec<Comparison> {
    let k = variants.len();
    let all = (k * (k - 1) / 2) as f64;
    let mut found = Vec::new();
    for first in 0..k {
        for second in first + 1..k {
            let (own, other) = match variants[first].is_reference() {
                true => (second, first),
                false => (first, second),
            };
            let (z, p) = dunn(mean_ranks[own], mean_ranks[other], k, cases);
            let with_manual = variants[other].is_reference();
            found.push(Comparison {
                variant: variants[own].word().to_owned(),
                compared_with: variants[other].word().to_owned(),
                z,
                p,
                p_adjusted: (p * all).min(1.0),
                p_adjusted_manual: with_manual.then(|| (p * (k - 1) as f64).min(1.0)),
            });
        }
    }
    found
}
