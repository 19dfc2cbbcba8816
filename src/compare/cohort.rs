//! The rows of a cohort, put together by bone and case.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::rows::{BONES, Row};
use super::variant::Variant;
use crate::exit::Failure;

/// The bone of rows that do not say which.
pub const BONE_NOT_GIVEN: &str = "bone not given";

/// What is known of a case with one of its masks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Failure load, N, the mean where several operators drew the mask; `None` without a load.
    pub load_n: Option<f64>,
    /// Dice against the manual mask, likewise.
    pub dice: Option<f64>,
    /// Hausdorff distance from the manual mask, mm, likewise.
    pub hausdorff_mm: Option<f64>,
    /// Why there is no load, where there is none.
    pub status: String,
}

/// One bone of one patient.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Name, with side and level where one case has several bones.
    pub name: String,
    /// Name in the table, which several bones of one patient share.
    pub case: String,
    /// Group; empty when not given.
    pub group: String,
    /// Level of a vertebra; empty when not given.
    pub level: String,
    /// By mask variant.
    pub variants: BTreeMap<Variant, Measured>,
    /// Loads of the manual masks of several operators, N, by operator; empty where nobody is named.
    pub operators: BTreeMap<String, f64>,
}

impl Case {
    /// Failure load with a mask, N.
    pub fn load_n(&self, variant: &Variant) -> Option<f64> {
        self.variants.get(variant)?.load_n
    }

    /// Failure load with the manual mask, N.
    pub fn manual_n(&self) -> Option<f64> {
        let manual = self
            .variants
            .iter()
            .find(|(variant, _)| variant.is_reference());
        manual?.1.load_n
    }

    /// Loads of the manual mask and of another, N, where both are there.
    pub fn pair_n(&self, variant: &Variant) -> Option<[f64; 2]> {
        Some([self.manual_n()?, self.load_n(variant)?])
    }
}

/// Difference of a pair of loads from the manual one, N and percent of the manual one.
pub fn difference([manual, other]: [f64; 2]) -> [f64; 2] {
    [other - manual, 100.0 * (other - manual) / manual]
}

/// All cases of one kind of bone.
#[derive(Clone, Debug, PartialEq)]
pub struct Bone {
    /// `femur`, `vertebra` or [`BONE_NOT_GIVEN`].
    pub name: String,
    /// Every variant that some row names, in the order of the tables.
    pub variants: Vec<Variant>,
    /// Cases by name.
    pub cases: Vec<Case>,
}

impl Bone {
    /// The variants that are compared with the manual masks.
    pub fn compared(&self) -> impl Iterator<Item = &Variant> {
        self.variants
            .iter()
            .filter(|variant| !variant.is_reference())
    }

    /// The groups, in order, without the cases that have none.
    pub fn groups(&self) -> Vec<&str> {
        distinct(self.cases.iter().map(|case| case.group.as_str()))
    }

    /// The vertebral levels from head to foot, without the cases that have none.
    pub fn levels(&self) -> Vec<&str> {
        let mut levels = distinct(self.cases.iter().map(|case| case.level.as_str()));
        levels.sort_by_key(|level| level_order(level));
        levels
    }
}

fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let words: BTreeSet<&str> = words.filter(|word| !word.is_empty()).collect();
    words.into_iter().collect()
}

/// Cervical, thoracic, lumbar, then anything else; within each by number.
fn level_order(level: &str) -> (usize, u32) {
    let region = ["C", "T", "L"].iter().position(|r| level.starts_with(r));
    let number = level.get(1..).and_then(|number| number.parse().ok());
    (region.unwrap_or(3), number.unwrap_or(u32::MAX))
}

/// A row of the table that no bone takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RowLeftOut {
    /// Case.
    pub case: String,
    /// Mask variant.
    pub variant: String,
    /// Why.
    pub reason: String,
}

impl RowLeftOut {
    fn new(row: &Row, reason: String) -> Self {
        Self {
            case: row.case.clone(),
            variant: row.variant.word().to_owned(),
            reason,
        }
    }
}

/// The rows of a table, put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    /// The bones that have a manual mask.
    pub bones: Vec<Bone>,
    /// The rows that are in none of them, by case.
    pub rows_left_out: Vec<RowLeftOut>,
}

/// Puts rows together, femora and vertebrae apart.
///
/// A row without a bone belongs to that of the other rows of its case, or to the only one of the file. A case with several sides or
/// levels is as many cases. A row without a load whose bone cannot be told is left out, and so is a bone without a manual mask.
///
/// # Errors
/// A [`Failure`] of kind input: a case stands twice with the same mask and operator or in two groups, or no bone has a manual mask.
pub fn bones(rows: &[Row]) -> Result<Cohort, Failure> {
    let mut rows_left_out = Vec::new();
    let all = distinct(rows.iter().map(|row| row.bone.as_str()));
    let all: Vec<&str> = all
        .into_iter()
        .filter(|bone| BONES.contains(bone))
        .collect();
    let mut bones: BTreeMap<&str, BTreeMap<String, Vec<&Row>>> = BTreeMap::new();
    let mut of_case: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if row.bone.is_empty() || BONES.contains(&row.bone.as_str()) {
            of_case.entry(&row.case).or_default().push(row);
        } else {
            rows_left_out.push(RowLeftOut::new(row, format!("`{}` is no bone", row.bone)));
        }
    }
    for (row, same) in of_case
        .values()
        .flat_map(|same| same.iter().map(move |row| (*row, same)))
    {
        let same_case = || same.iter().copied();
        let own = distinct(same_case().map(|other| other.bone.as_str()));
        let bone = match (row.bone.as_str(), own.as_slice(), all.as_slice()) {
            ("", [only], _) | ("", [], [only]) => *only,
            ("", ..) => BONE_NOT_GIVEN,
            (named, ..) => named,
        };
        let has_load = || same_case().any(|other| other.failure_load_n.is_some());
        // In a file that names bones elsewhere, a case that failed and names none is nothing to compare.
        if bone == BONE_NOT_GIVEN && !all.is_empty() && !has_load() {
            let reason = format!("its bone is not given ({})", row.status);
            rows_left_out.push(RowLeftOut::new(row, reason));
            continue;
        }
        let of_bone = || {
            same_case().filter(|other| {
                other.bone == row.bone || other.bone.is_empty() || row.bone.is_empty()
            })
        };
        let mut name = row.case.clone();
        for part in [|row: &Row| &row.side, |row: &Row| &row.level] as [fn(&Row) -> &String; 2] {
            let several = distinct(of_bone().map(|other| part(other).as_str())).len() > 1;
            if several && !part(row).is_empty() {
                name += &format!(" {}", part(row));
            }
        }
        let cases = bones.entry(bone).or_default();
        cases.entry(name).or_default().push(row);
    }
    let mut found = Vec::new();
    for (name, cases) in bones {
        if cases
            .values()
            .flatten()
            .any(|row| row.variant.is_reference())
        {
            found.push(bone(name, cases)?);
        } else {
            let reason = || format!("no row of {name} has the variant `manual`");
            let rows = cases.values().flatten();
            rows_left_out.extend(rows.map(|row| RowLeftOut::new(row, reason())));
        }
    }
    if found.is_empty() {
        return Err(
            Failure::input("no row of a known bone has the variant `manual`")
                .with_help("every other mask is compared with the manual one; add its rows"),
        );
    }
    rows_left_out.sort();
    Ok(Cohort {
        bones: found,
        rows_left_out,
    })
}

fn bone(name: &str, cases: BTreeMap<String, Vec<&Row>>) -> Result<Bone, Failure> {
    let words = cases.values().flatten().map(|row| row.variant.clone());
    let variants: BTreeSet<Variant> = words.collect();
    let cases = cases.into_iter().map(|(name, rows)| case(name, &rows));
    Ok(Bone {
        name: name.to_owned(),
        variants: variants.into_iter().collect(),
        cases: cases.collect::<Result<_, _>>()?,
    })
}

fn case(name: String, rows: &[&Row]) -> Result<Case, Failure> {
    let mut seen: BTreeMap<(&Variant, &str), u64> = BTreeMap::new();
    for row in rows {
        let Some(first) = seen.insert((&row.variant, &row.operator), row.line) else {
            continue;
        };
        return Err(Failure::input(format!(
            "lines {first} and {}: case {name} stands twice with the mask {} of the same operator",
            row.line, row.variant
        ))
        .with_help(
            "one row per case, mask and operator; give bones of one patient names of their own",
        ));
    }
    let groups = distinct(rows.iter().map(|row| row.group.as_str()));
    if let [first, second, ..] = groups.as_slice() {
        return Err(Failure::input(format!(
            "case {name} stands in the groups {first} and {second}"
        ))
        .with_help("a case belongs to one group"));
    }
    let mut by_variant: BTreeMap<Variant, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_variant.entry(row.variant.clone()).or_default().push(row);
    }
    let manual = rows.iter().filter(|row| row.variant.is_reference());
    let operators = manual
        .filter(|row| !row.operator.is_empty())
        .filter_map(|row| Some((row.operator.clone(), row.failure_load_n?)))
        .collect();
    let level = distinct(rows.iter().map(|row| row.level.as_str()));
    Ok(Case {
        case: rows
            .first()
            .map_or_else(|| name.clone(), |row| row.case.clone()),
        name,
        group: groups.first().copied().unwrap_or("").to_owned(),
        level: level.first().copied().unwrap_or("").to_owned(),
        variants: by_variant
            .into_iter()
            .map(|(variant, rows)| (variant, measured(&rows)))
            .collect(),
        operators,
    })
}

/// The rows of one case and mask: that without an operator, or the mean over operators.
fn measured(rows: &[&Row]) -> Measured {
    let unnamed = rows.iter().position(|row| row.operator.is_empty());
    let rows = unnamed.map_or(rows, |at| &rows[at..=at]);
    let over = |value: fn(&Row) -> Option<f64>| {
        let values: Vec<f64> = rows.iter().filter_map(|row| value(row)).collect();
        super::statistics::mean(&values)
    };
    let load_n = over(|row| row.failure_load_n);
    let status = match load_n {
        Some(_) => String::new(),
        None => distinct(rows.iter().map(|row| row.status.as_str())).join(", "),
    };
    Measured {
        load_n,
        dice: over(|row| row.dice),
        hausdorff_mm: over(|row| row.hausdorff_mm),
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row from `case variant load`, with a load of 0 for none.
    fn row(case: &str, variant: &str, load: f64) -> Row {
        Row {
            line: 2,
            case: case.into(),
            variant: Variant::of(variant),
            group: String::new(),
            operator: String::new(),
            bone: "femur".into(),
            side: String::new(),
            level: String::new(),
            status: if load > 0.0 { "done" } else { "no_answer" }.into(),
            failure_load_n: (load > 0.0).then_some(load),
            dice: None,
            hausdorff_mm: None,
        }
    }

    fn by_operator(operator: &str, load: f64) -> Row {
        let operator = operator.to_owned();
        Row {
            operator,
            ..row("A", "manual", load)
        }
    }

    #[test]
    fn operators_are_averaged_unless_one_row_names_none() {
        let mut rows = vec![by_operator("x", 4000.0), by_operator("y", 5000.0)];
        let case = bones(&rows).unwrap().bones[0].cases[0].clone();
        assert_eq!(case.manual_n(), Some(4500.0));
        assert_eq!(case.operators["y"], 5000.0);
        rows.push(row("A", "manual", 4100.0));
        let case = bones(&rows).unwrap().bones[0].cases[0].clone();
        assert_eq!(case.manual_n(), Some(4100.0));
        assert_eq!(case.operators.len(), 2);
    }

    #[test]
    fn bones_are_kept_apart_and_a_silent_row_joins_its_case() {
        let vertebra = |level: &str, load: f64| Row {
            bone: "vertebra".into(),
            level: level.into(),
            ..row("B", "manual", load)
        };
        let silent = Row {
            bone: String::new(),
            ..row("A", "automatic", 0.0)
        };
        let rows = [
            row("A", "manual", 4000.0),
            silent,
            vertebra("L1", 3000.0),
            vertebra("T12", 2900.0),
        ];
        let found = bones(&rows).unwrap().bones;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "femur");
        let automatic = &found[0].cases[0].variants[&Variant::of("automatic")];
        assert_eq!(automatic.status, "no_answer");
        let names: Vec<&str> = found[1]
            .cases
            .iter()
            .map(|case| case.name.as_str())
            .collect();
        assert_eq!(names, ["B L1", "B T12"]);
        assert_eq!(found[1].cases[0].case, "B");
        assert_eq!(found[1].levels(), ["T12", "L1"]);
    }

    #[test]
    fn a_silent_row_joins_the_side_it_names() {
        let of = |variant: &str, bone: &str, side: &str| Row {
            bone: bone.into(),
            side: side.into(),
            ..row("A", variant, 1000.0)
        };
        let rows = [
            of("manual", "femur", "left"),
            of("manual", "femur", "right"),
            of("automatic", "", "left"),
        ];
        let found = bones(&rows).unwrap().bones;
        let names: Vec<&str> = found[0].cases.iter().map(|case| &*case.name).collect();
        assert_eq!(names, ["A left", "A right"]);
        assert_eq!(found[0].cases[0].variants.len(), 2);
    }

    #[test]
    fn what_no_bone_takes_is_named() {
        let of = |case: &str, variant: &str, bone: &str, load: f64| Row {
            bone: bone.into(),
            ..row(case, variant, load)
        };
        let rows = [
            row("A", "manual", 4000.0),
            of("B", "manual", "tibia", 0.0),
            of("C", "manual", "", 0.0),
            of("D", "automatic", "vertebra", 3000.0),
        ];
        let found = bones(&rows).unwrap();
        assert_eq!(found.bones.len(), 1);
        assert_eq!(found.bones[0].cases.len(), 1);
        let left: Vec<String> = found
            .rows_left_out
            .iter()
            .map(|row| format!("{} {}: {}", row.case, row.variant, row.reason))
            .collect();
        assert_eq!(
            left,
            [
                "B manual: `tibia` is no bone",
                "C manual: its bone is not given (no_answer)",
                "D automatic: no row of vertebra has the variant `manual`"
            ]
        );
        // Where no row names a bone, or the case has a load, a failed row is a case that lacks one.
        let silent = |case: &str, variant: &str, load: f64| of(case, variant, "", load);
        let rows = [silent("A", "manual", 1.0), silent("B", "manual", 0.0)];
        let found = bones(&rows).unwrap();
        assert_eq!(
            (found.bones[0].cases.len(), found.rows_left_out.len()),
            (2, 0)
        );
        let alone = [
            silent("A", "automatic", 1.0),
            of("B", "manual", "tibia", 0.0),
        ];
        assert!(bones(&alone).is_err());
    }

    #[test]
    fn rows_that_contradict_are_refused() {
        let twice = [row("A", "manual", 1.0), row("A", "manual", 2.0)];
        assert!(
            bones(&twice)
                .unwrap_err()
                .to_string()
                .contains("stands twice")
        );
        let of = |group: &str, variant: &str| Row {
            group: group.into(),
            ..row("A", variant, 1.0)
        };
        let groups = [of("healthy", "manual"), of("lesion", "automatic")];
        assert!(bones(&groups).unwrap_err().to_string().contains("lesion"));
        let alone = [row("A", "automatic", 1.0)];
        assert!(bones(&alone).unwrap_err().to_string().contains("`manual`"));
    }
}
