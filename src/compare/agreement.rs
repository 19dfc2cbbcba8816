//! How well loads agree: Bland and Altman's limits, the regression line, and several operators with one another.

use std::collections::BTreeSet;

use serde::Serialize;

use super::cohort::{BONE_NOT_GIVEN, Bone, Case, difference};
use super::statistics::{IntraclassCorrelation, Summary, intraclass_correlation, mean};
use super::variant::Variant;
use crate::cohort::OperatorPair;

/// Half the width of the limits of agreement in standard deviations of the difference (Bland and Altman 1986).
pub const LIMITS_SD: f64 = 1.96;

/// Mean difference with its limits of agreement, in the unit of the differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Mean difference.
    pub mean: f64,
    /// Standard deviation of the differences; `None` for a single case.
    pub standard_deviation: Option<f64>,
    /// Mean − 1.96 standard deviations.
    pub lower_limit: Option<f64>,
    /// Mean + 1.96 standard deviations.
    pub upper_limit: Option<f64>,
}

impl Limits {
    /// The limits of some differences; `None` when there are none.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let summary = Summary::of(differences)?;
        let limit = |sign: f64| {
            let half = LIMITS_SD * summary.standard_deviation?;
            Some(summary.mean + sign * half)
        };
        Some(Self {
            mean: summary.mean,
            standard_deviation: summary.standard_deviation,
            lower_limit: limit(-1.0),
            upper_limit: limit(1.0),
        })
    }
}

/// The least-squares line through the loads of a mask over those of the manual mask.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Regression {
    /// Square of Pearson's correlation. It says how near the loads are to some line, not to the identity.
    pub r2: f64,
    /// Slope, N/N.
    pub slope: f64,
    /// Intercept, N.
    pub intercept_n: f64,
}

impl Regression {
    /// The line through `[x, y]`; `None` with fewer than three points or without spread in x or y.
    pub fn of(points: &[[f64; 2]]) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let centre =
            [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / points.len() as f64);
        let product = |a: usize, b: usize| -> f64 {
            let terms = points
                .iter()
                .map(|p| (p[a] - centre[a]) * (p[b] - centre[b]));
            terms.sum()
        };
        let (xx, xy, yy) = (product(0, 0), product(0, 1), product(1, 1));
        (xx > 0.0 && yy > 0.0).then(|| Self {
            r2: xy * xy / (xx * yy),
            slope: xy / xx,
            intercept_n: centre[1] - xy / xx * centre[0],
        })
    }
}

/// Agreement of one mask with the manual one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Mask variant.
    pub variant: String,
    /// Cases with both loads.
    pub cases: usize,
    /// Differences, N.
    pub difference_n: Option<Limits>,
    /// Differences in percent of the manual load.
    pub difference_percent: Option<Limits>,
    /// The line through the loads.
    pub regression: Option<Regression>,
}

/// Agreement of a mask with the manual one over all cases of a bone.
pub fn agreement(bone: &Bone, variant: &Variant) -> Agreement {
    let pairs: Vec<[f64; 2]> = bone
        .cases
        .iter()
        .filter_map(|case| case.pair_n(variant))
        .collect();
    let limits = |unit: usize| {
        let differences: Vec<f64> = pairs.iter().map(|pair| difference(*pair)[unit]).collect();
        Limits::of(&differences)
    };
    Agreement {
        variant: variant.word().to_owned(),
        cases: pairs.len(),
        difference_n: limits(0),
        difference_percent: limits(1),
        regression: Regression::of(&pairs),
    }
}

/// How the operators agree on one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorCase {
    /// Case.
    pub case: String,
    /// Operators with a load.
    pub operators: usize,
    /// Mean load, N.
    pub mean_n: f64,
    /// Standard deviation (n − 1) in percent of the mean.
    pub coefficient_of_variation_percent: f64,
    /// Smallest and largest load as differences from the mean, percent.
    pub spread_percent: [f64; 2],
    /// Other masks, neither eroded nor dilated, against the operators.
    pub others: Vec<AgainstOperators>,
}

/// A mask's load against the spread of the operators.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgainstOperators {
    /// Mask variant.
    pub variant: String,
    /// Difference from the operators' mean, percent of it.
    pub difference_percent: f64,
    /// Whether the load lies between the operators' smallest and largest.
    pub within_operators: bool,
}

/// How several operators agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operators {
    /// Their names.
    pub operators: Vec<String>,
    /// Cases with two or more of them.
    pub cases: Vec<OperatorCase>,
    /// Root mean square of the cases' coefficients of variation, percent (Glüer 1995).
    pub coefficient_of_variation_rms_percent: Option<f64>,
    /// Mean of the cases' coefficients of variation, percent.
    pub coefficient_of_variation_mean_percent: Option<f64>,
    /// ICC(2,1) of the load over the cases that every operator has.
    pub intraclass_correlation: Option<IntraclassCorrelation>,
    /// Those cases.
    pub intraclass_correlation_cases: usize,
    /// Pairs of operators whose masks were compared, over the cases of the table; they stand in `operators.csv`.
    pub pairs: usize,
    /// Mean Dice of those pairs; `None` where there are none.
    pub pairwise_dice: Option<f64>,
    /// Mean Hausdorff distance of those pairs, mm.
    pub pairwise_hausdorff_mm: Option<f64>,
}

/// Agreement of the operators of a bone; `None` unless some case has two.
pub fn operators(bone: &Bone, pairs: &[OperatorPair]) -> Option<Operators> {
    let several: Vec<&Case> = bone
        .cases
        .iter()
        .filter(|case| case.operators.len() > 1)
        .collect();
    if several.is_empty() {
        return None;
    }
    let names: BTreeSet<&String> = bone
        .cases
        .iter()
        .flat_map(|case| case.operators.keys())
        .collect();
    let complete: Vec<Vec<f64>> = several
        .iter()
        .filter(|case| case.operators.len() == names.len())
        .map(|case| case.operators.values().copied().collect())
        .collect();
    let cases: Vec<OperatorCase> = several
        .iter()
        .filter_map(|case| operator_case(bone, case))
        .collect();
    let of_each = |value: fn(f64) -> f64| {
        let values: Vec<f64> = cases
            .iter()
            .map(|case| value(case.coefficient_of_variation_percent))
            .collect();
        mean(&values)
    };
    // The pairs may be of more cases than the table.
    let words: BTreeSet<&str> = bone.cases.iter().map(|case| case.case.as_str()).collect();
    let own = || {
        pairs.iter().filter(|pair| {
            let [case, of_bone, ..] = &pair.of;
            let same = of_bone.is_empty() || *of_bone == bone.name || bone.name == BONE_NOT_GIVEN;
            same && words.contains(case.as_str())
        })
    };
    let mean_of = |figure: fn(&OperatorPair) -> Option<f64>| {
        mean(&own().filter_map(figure).collect::<Vec<f64>>())
    };
    Some(Operators {
        operators: names.into_iter().cloned().collect(),
        coefficient_of_variation_rms_percent: of_each(|cv| cv * cv).map(f64::sqrt),
        coefficient_of_variation_mean_percent: of_each(|cv| cv),
        cases,
        intraclass_correlation: intraclass_correlation(&complete),
        intraclass_correlation_cases: complete.len(),
        pairs: own().count(),
        pairwise_dice: mean_of(|pair| pair.dice),
        pairwise_hausdorff_mm: mean_of(|pair| pair.hausdorff_mm),
    })
}

fn operator_case(bone: &Bone, case: &Case) -> Option<OperatorCase> {
    let loads: Vec<f64> = case.operators.values().copied().collect();
    let summary = Summary::of(&loads)?;
    let percent = |load: f64| difference([summary.mean, load])[1];
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = loads.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let others = bone.compared().filter(|variant| variant.is_plain());
    let others = others.filter_map(|variant| {
        let load = case.load_n(variant)?;
        Some(AgainstOperators {
            variant: variant.word().to_owned(),
            difference_percent: percent(load),
            within_operators: (least..=most).contains(&load),
        })
    });
    Some(OperatorCase {
        case: case.name.clone(),
        operators: loads.len(),
        mean_n: summary.mean,
        coefficient_of_variation_percent: 100.0 * summary.standard_deviation? / summary.mean,
        spread_percent: [percent(least), percent(most)],
        others: others.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::cohort::Measured;
    use super::*;

    #[test]
    fn limits_and_line_by_hand() {
        // Differences -1, 1, 3: mean 1, sd 2.
        let limits = Limits::of(&[-1.0, 1.0, 3.0]).unwrap();
        assert!((limits.lower_limit.unwrap() + 2.92).abs() < 1e-12);
        assert!((limits.upper_limit.unwrap() - 4.92).abs() < 1e-12);
        assert_eq!(Limits::of(&[2.0]).unwrap().upper_limit, None);
        // scipy.stats.linregress([1, 2, 3, 4], [2.1, 3.9, 6.2, 7.8]): slope 1.94, intercept 0.15, rvalue**2 0.9956613756613755.
        let line = Regression::of(&[[1.0, 2.1], [2.0, 3.9], [3.0, 6.2], [4.0, 7.8]]).unwrap();
        assert!((line.slope - 1.94).abs() < 1e-12);
        assert!((line.intercept_n - 0.15).abs() < 1e-12);
        assert!((line.r2 - 0.9956613756613755).abs() < 1e-12, "{}", line.r2);
        assert_eq!(Regression::of(&[[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), None);
    }

    #[test]
    fn operators_by_hand() {
        let case = |name: &str, automatic: f64, loads: &[(&str, f64)]| Case {
            name: format!("{name} left"),
            case: name.into(),
            group: String::new(),
            level: String::new(),
            variants: BTreeMap::from([(
                Variant::of("automatic"),
                Measured {
                    load_n: Some(automatic),
                    ..Measured::default()
                },
            )]),
            operators: loads
                .iter()
                .map(|(o, load)| ((*o).to_owned(), *load))
                .collect(),
        };
        let bone = Bone {
            name: "femur".into(),
            variants: ["manual", "automatic"].map(Variant::of).to_vec(),
            cases: vec![
                case("A", 101.0, &[("x", 99.0), ("y", 100.0), ("z", 101.0)]),
                case("B", 220.0, &[("x", 196.0), ("y", 204.0)]),
                case("C", 1.0, &[("x", 1.0)]),
            ],
        };
        let pair = |case: &str, of: &str, dice: f64, hausdorff_mm: f64| OperatorPair {
            of: [case, of, "left", ""].map(str::to_owned),
            operators: ["x", "y"].map(str::to_owned),
            dice: Some(dice),
            hausdorff_mm: Some(hausdorff_mm),
            hausdorff95_mm: None,
        };
        let pairs = [
            pair("A", "femur", 0.9, 2.0),
            pair("A", "", 0.8, 4.0),
            pair("A", "vertebra", 0.1, 40.0),
            pair("elsewhere", "femur", 0.1, 40.0),
            pair("elsewhere", "", 0.1, 40.0),
        ];
        let found = operators(&bone, &pairs).unwrap();
        // The vertebra's pair is another bone's, and one case is not in the table.
        assert_eq!(found.pairs, 2);
        assert!((found.pairwise_dice.unwrap() - 0.85).abs() < 1e-12);
        assert!((found.pairwise_hausdorff_mm.unwrap() - 3.0).abs() < 1e-12);
        assert_eq!(found.operators, ["x", "y", "z"]);
        // A: sd 1 of 100, 1 %. B: sd √32 of 200, 2.828 %. Root of the mean of 1 and 8: √4.5.
        assert_eq!(found.cases.len(), 2);
        let rms = found.coefficient_of_variation_rms_percent.unwrap();
        assert!((rms - 4.5_f64.sqrt()).abs() < 1e-9, "{rms}");
        let [a, b] = [0, 1].map(|case| &found.cases[case].others[0]);
        assert!(a.within_operators && (a.difference_percent - 1.0).abs() < 1e-12);
        assert!(!b.within_operators && (b.difference_percent - 10.0).abs() < 1e-12);
        assert_eq!(found.intraclass_correlation_cases, 1);
        assert_eq!(found.intraclass_correlation, None);
        let alone = Bone {
            cases: bone.cases[2..].to_vec(),
            ..bone
        };
        assert_eq!(operators(&alone, &pairs), None);
    }
}
