//! The uncertainty budget: one factor changed at a time, what the load makes of each, `budget.csv` and `budget_runs.csv`.

use anyhow::Context as _;

use super::factors::{Factor, Variants};
use super::levels::Quantity;
use crate::plan::Plan;
use crate::run::CaseEnding;

/// What a changed run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetRun {
    /// Its setting in words.
    pub setting: String,
    /// The compared quantity, N or N/mm.
    pub value: Option<f64>,
    /// Its change against the unchanged case, percent.
    pub change_percent: Option<f64>,
    /// How it ended, as in `results.csv` of `run --level all`.
    pub status: &'static str,
    /// Why there is no value.
    pub reason: String,
}

/// One factor.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetRow {
    /// The factor.
    pub factor: Factor,
    /// The plan's own setting.
    pub base: String,
    /// The changed runs; empty where the factor does not apply.
    pub runs: Vec<BudgetRun>,
    /// Why the factor does not apply.
    pub reason: String,
}

/// One end of a factor's bar.
#[derive(Clone, Debug, PartialEq)]
pub struct End<'a> {
    /// The setting.
    pub setting: &'a str,
    /// The compared quantity, N or N/mm.
    pub value: f64,
    /// Its change against the unchanged case, percent.
    pub change_percent: f64,
}

/// All factors, in the order they were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// What is compared.
    pub quantity: Quantity,
    /// Its value of the unchanged case, N or N/mm.
    pub base: Option<f64>,
    /// The factors.
    pub rows: Vec<BudgetRow>,
}

impl BudgetRow {
    /// Puts a factor's variants and the endings of their runs, which belong to `plans`, together.
    pub(crate) fn of(
        variants: Variants,
        endings: &[(CaseEnding, Plan)],
        quantity: Quantity,
        base: Option<f64>,
    ) -> Self {
        let runs = variants
            .variants
            .into_iter()
            .zip(endings)
            .map(|(variant, (ending, plan))| {
                let value = match ending {
                    CaseEnding::Ran(result) => quantity.value(result),
                    _ => None,
                };
                BudgetRun {
                    setting: variant.setting,
                    value,
                    change_percent: value
                        .zip(base)
                        .map(|(value, base)| 100.0 * (value / base - 1.0)),
                    status: ending.status(plan),
                    reason: ending.reason(plan),
                }
            })
            .collect();
        Self {
            factor: variants.factor,
            base: variants.base,
            runs,
            reason: variants.reason,
        }
    }

    /// The settings with the smallest and the largest value, the unchanged case among them; `None` where no changed run has a value.
    pub fn ends(&self, base: f64) -> Option<[End<'_>; 2]> {
        let unchanged = End {
            setting: &self.base,
            value: base,
            change_percent: 0.0,
        };
        let changed = self.runs.iter().filter_map(|run| {
            Some(End {
                setting: &run.setting,
                value: run.value?,
                change_percent: run.change_percent?,
            })
        });
        let all: Vec<End<'_>> = changed.collect();
        if all.is_empty() {
            return None;
        }
        let mut low = unchanged.clone();
        let mut high = unchanged;
        for end in all {
            if end.value < low.value {
                low = end;
            } else if end.value > high.value {
                high = end;
            }
        }
        Some([low, high])
    }

    /// Why the factor, or some of its runs, has no value.
    pub fn why_missing(&self) -> String {
        if !self.reason.is_empty() {
            return self.reason.clone();
        }
        let missing: Vec<String> = self
            .runs
            .iter()
            .filter(|run| run.value.is_none())
            .map(|run| format!("{}: {}: {}", run.setting, run.status, run.reason))
            .collect();
        missing.join("; ")
    }
}

impl Budget {
    /// Smallest and largest value over all factors, N or N/mm.
    pub fn band(&self) -> Option<[f64; 2]> {
        let base = self.base?;
        let ends = || self.rows.iter().filter_map(|row| row.ends(base));
        Some([
            ends().map(|[low, _]| low.value).fold(base, f64::min),
            ends().map(|[_, high]| high.value).fold(base, f64::max),
        ])
    }

    /// `budget.csv`: a row per factor, its lowest and its highest setting.
    ///
    /// # Errors
    /// When a record cannot be written.
    pub fn to_csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let head = "factor,low,high,failure_load_low_n,failure_load_high_n,change_low_percent,change_high_percent,base,reason,quantity,value_low,value_high";
        table.write_record(head.split(','))?;
        let load = |value: String| match self.quantity {
            Quantity::FailureLoad => value,
            _ => String::new(),
        };
        for row in &self.rows {
            let ends = self.base.and_then(|base| row.ends(base));
            let of =
                |pick: fn(&[End<'_>; 2]) -> String| ends.as_ref().map_or_else(String::new, pick);
            table.write_record([
                row.factor.word().to_owned(),
                of(|[low, _]| low.setting.to_owned()),
                of(|[_, high]| high.setting.to_owned()),
                load(of(|[low, _]| low.value.to_string())),
                load(of(|[_, high]| high.value.to_string())),
                of(|[low, _]| low.change_percent.to_string()),
                of(|[_, high]| high.change_percent.to_string()),
                row.base.clone(),
                row.why_missing(),
                self.quantity.column(),
                of(|[low, _]| low.value.to_string()),
                of(|[_, high]| high.value.to_string()),
            ])?;
        }
        table.into_inner().context("budget.csv")
    }

    /// `budget_runs.csv`: a row per changed run.
    ///
    /// # Errors
    /// When a record cannot be written.
    pub fn runs_to_csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let value = self.quantity.column();
        table.write_record([
            "factor",
            "setting",
            &value,
            "change_percent",
            "status",
            "reason",
        ])?;
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        for row in &self.rows {
            for run in &row.runs {
                table.write_record([
                    row.factor.word(),
                    &run.setting,
                    &number(run.value),
                    &number(run.change_percent),
                    run.status,
                    &run.reason,
                ])?;
            }
        }
        table.into_inner().context("budget_runs.csv")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(setting: &str, value: Option<f64>) -> BudgetRun {
        BudgetRun {
            setting: setting.into(),
            value,
            change_percent: value.map(|value| value / 50.0 - 100.0),
            status: if value.is_some() { "done" } else { "no_answer" },
            reason: String::new(),
        }
    }

    fn row(runs: Vec<BudgetRun>) -> BudgetRow {
        BudgetRow {
            factor: Factor::Softening,
            base: "fixed_3mm".into(),
            runs,
            reason: String::new(),
        }
    }

    #[test]
    fn the_unchanged_case_is_an_end_where_all_changes_go_one_way() {
        let row = row(vec![
            run("off", None),
            run("element_size", Some(5500.0)),
            run("other", Some(5200.0)),
        ]);
        let [low, high] = row.ends(5000.0).unwrap();
        assert_eq!(
            (low.setting, low.value, low.change_percent),
            ("fixed_3mm", 5000.0, 0.0)
        );
        assert_eq!((high.setting, high.value), ("element_size", 5500.0));
        assert_eq!(row.why_missing(), "off: no_answer: ");
    }

    #[test]
    fn the_table_is_that_of_the_contract() {
        let budget = Budget {
            quantity: Quantity::FailureLoad,
            base: Some(5000.0),
            rows: vec![
                row(vec![run("a", Some(4500.0)), run("b", Some(6000.0))]),
                BudgetRow {
                    reason: "does not apply".into(),
                    ..row(Vec::new())
                },
            ],
        };
        assert_eq!(
            String::from_utf8(budget.to_csv().unwrap()).unwrap(),
            "factor,low,high,failure_load_low_n,failure_load_high_n,change_low_percent,change_high_percent,base,reason,quantity,value_low,value_high\n\
             softening,a,b,4500,6000,-10,20,fixed_3mm,,failure_load_n,4500,6000\n\
             softening,,,,,,,fixed_3mm,does not apply,failure_load_n,,\n"
        );
        assert_eq!(budget.band(), Some([4500.0, 6000.0]));
    }
}
