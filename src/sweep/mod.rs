//! `osteoload sweep`: how the failure load moves with the mask.
//!
//! The scan is read and calibrated once; every level then is a run of its own ([`crate::run`]), its mask eroded or dilated, with
//! the result that `run --morph` gives. Levels run beside each other.

mod budget;
mod factors;
mod figure;
mod levels;
mod tornado;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

pub use budget::{Budget, BudgetRow, BudgetRun, End};
pub use factors::Factor;
pub use figure::SweepFigure;
pub use levels::{Level, Moved, Quantity, Sweep};
pub use tornado::TornadoFigure;

use calibration::Calibration;
use factors::{Case, Change, Variants};

use crate::exit::{EndWith as _, Ending, Failure, Kind};
use crate::output_dir::{OutputDir, PROVENANCE_FILE};
use crate::plan::{CalibrationSpec, LevelChoice, MorphUnit, Plan};
use crate::progress::Progress;
use crate::report::figure::Figure as _;
use crate::report::html;
use crate::run::beside::{Done, Task, expected_memory_mib, jobs, run_beside};
use crate::run::{CaseEnding, RunRequest, Scan, provenance};

/// A sweep over a mask.
#[derive(Clone, Debug)]
pub struct SweepRequest {
    /// The case, unmorphed; its output directory is that of the sweep.
    pub base: RunRequest,
    /// Erosions (negative) and dilations (positive), in the plan's `morph_unit`. 0 is computed whether it is there or not.
    pub morphs: Vec<f64>,
    /// Factors of the uncertainty budget; none leaves it out.
    pub factors: Vec<Factor>,
    /// Levels to compute at a time; as many as there are threads and memory when it is not given.
    pub jobs: Option<NonZeroUsize>,
}

/// What a sweep left behind.
#[derive(Clone, Debug)]
pub struct SweepFinished {
    /// The levels and what follows from them.
    pub sweep: Sweep,
    /// The uncertainty budget, where factors were asked for.
    pub budget: Option<Budget>,
    /// The output directory.
    pub place: PathBuf,
}

impl SweepFinished {
    /// Whether the unmorphed mask has the failure load that was asked for and nobody interrupted.
    ///
    /// # Errors
    /// A [`Failure`] that ends the program as a run of the unmorphed mask would.
    pub fn answered(&self) -> anyhow::Result<()> {
        let interrupted = Kind::Interrupted.status();
        let ending = |level: &Level| level.ending.clone();
        let levels = &self.sweep.levels;
        let budget = self.budget.iter().flat_map(|budget| &budget.rows);
        let changed = budget.flat_map(|row| &row.runs);
        if levels
            .iter()
            .filter_map(ending)
            .any(|ending| ending.status == interrupted)
            || changed
                .into_iter()
                .any(|run| matches!(run.status, "interrupted" | "not_run"))
        {
            return Err(Failure::interrupted(
                "interrupted; the levels done are kept, see sweep.csv",
            )
            .into());
        }
        match self.sweep.base().and_then(ending) {
            None => Ok(()),
            Some(ending) => Err(Failure::from(Ending {
                error: format!("without erosion or dilation: {}", ending.error),
                ..ending
            })
            .into()),
        }
    }
}

/// Computes a sweep.
///
/// The directory holds a folder per level that ran, each as [`crate::run::run`] writes it, `sweep.csv`, `sweep.json`, `sweep.svg`,
/// `sweep.png`, `report.html` and `density.nii.gz`, which is that of every level; with factors also a folder per changed run, `budget.csv`,
/// `budget_runs.csv`, `tornado.svg` and `tornado.png`.
///
/// # Errors
/// A [`Failure`]: usage, or a scan or mask that is refused. What happens to a single level is no error here: see
/// [`SweepFinished::answered`].
pub fn sweep(request: &SweepRequest, progress: &mut Progress) -> anyhow::Result<SweepFinished> {
    let base = &request.base;
    if base.plan.subject.level == Some(LevelChoice::All) {
        return Err(
            Failure::usage("a sweep takes one vertebra, not --level all")
                .with_help("name one, such as --level L2, or list them for `osteoload cohort`")
                .into(),
        );
    }
    let morphs = ordered(&request.morphs)?;
    // Before any work: a level that is no level of this unit.
    for &morph in &morphs {
        morphed(&base.plan, morph)?;
    }
    let out = OutputDir::begin(&base.out, base.existing)?;
    let mut scan = Scan::open(base, progress)?;
    let density = out.join("density.nii.gz");
    scan.write_density(&density)?;
    scan.density_file = Some(density);
    let scan = Arc::new(scan);
    let base = scan.completed(base)?;
    let levels = run_levels(request, &base, &scan, &morphs, &out, progress)?;
    if levels.iter().all(|done| done.shape.is_none()) {
        // Nothing was computed: there is nothing to keep.
        let unmorphed = morphs.iter().position(|&morph| morph == 0.0).unwrap_or(0);
        let ending = levels
            .get(unmorphed)
            .and_then(|done| done.ending.ending(&base.plan));
        if let Some(ending) = ending {
            return Err(Failure::from(ending).into());
        }
    }
    let sweep = Sweep::of(&base.plan, scan.grid.spacing_mm, &morphs, levels);
    let mut factors = Vec::new();
    let budget = match request.factors.is_empty() {
        true => None,
        false => {
            factors = variants(request, &base.plan, &scan, &sweep);
            let rows = run_factors(request, &base, &scan, &factors, &sweep, &out, progress)?;
            Some(rows)
        }
    };
    progress.stage("write");
    let write = |name: &str, contents: &[u8]| {
        std::fs::write(out.join(name), contents).with_context(|| name.to_owned())
    };
    write("sweep.csv", &sweep.to_csv()?)?;
    write(
        "sweep.json",
        sweep.to_json(budget.as_ref(), &base.plan)?.as_bytes(),
    )?;
    let figure = SweepFigure::of(&sweep, &base.plan);
    figure.write(out.path(), "sweep")?;
    if let Some(budget) = &budget {
        write("budget.csv", &budget.to_csv()?)?;
        write("budget_runs.csv", &budget.runs_to_csv()?)?;
        let which = sweep.which(&base.plan);
        if let Some(figure) = TornadoFigure::of(budget, &which, &base.plan.protocol) {
            figure.write(out.path(), "tornado")?;
        }
    }
    let plan = base.plan.to_toml() + &plan_table(&morphs, &factors);
    write("plan.toml", plan.as_bytes())?;
    let provenance = provenance(&scan, &base, "sweep")?;
    write(PROVENANCE_FILE, provenance.to_json()?.as_bytes())?;
    html::write(out.path(), &out.join(html::REPORT_FILE))?;
    write("timings.csv", progress.finish().to_csv().as_bytes())?;
    Ok(SweepFinished {
        sweep,
        budget,
        place: out.finish()?,
    })
}

/// The plan with another morph, checked.
fn morphed(plan: &Plan, morph: f64) -> anyhow::Result<Plan> {
    let mut plan = plan.clone();
    plan.subject.morph = morph;
    plan.with(&[])
}

/// Computes the levels.
fn run_levels(
    request: &SweepRequest,
    base: &RunRequest,
    scan: &Arc<Scan>,
    morphs: &[f64],
    out: &OutputDir,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Done>> {
    let unit = base.plan.subject.morph_unit;
    let tasks: Vec<Task> = morphs
        .iter()
        .map(|&morph| {
            let mut request = base.clone();
            request.plan = morphed(&base.plan, morph)?;
            request.out = out.join(&folder(morph, unit));
            Ok(Task {
                name: format!("{} {unit}", signed(morph)),
                scan: Arc::clone(scan),
                request,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    // The largest first, so that the threads end together.
    let order: Vec<usize> = (0..tasks.len()).rev().collect();
    side_by_side(request, &tasks, &order, progress)
}

/// Computes tasks of one scan beside each other, as many at a time as there is memory for.
fn side_by_side(
    request: &SweepRequest,
    tasks: &[Task],
    order: &[usize],
    progress: &mut Progress,
) -> anyhow::Result<Vec<Done>> {
    let memory_mib = tasks.iter().map(|task| {
        let labels = &task.scan.labels;
        let bone = labels.select(&task.request.plan.subject.label).count() as f64;
        let bone_mm3 = bone * labels.grid.voxel_volume_mm3();
        expected_memory_mib(&task.scan, &task.request.plan, bone_mm3)
    });
    let memory_mib = memory_mib.fold(0.0, f64::max);
    let (jobs, note) = jobs(request.jobs, tasks.len(), memory_mib);
    if let Some(note) = note {
        progress.note(&note);
    }
    run_beside(tasks, order, jobs, "sweep", progress)
}

/// The variants of every factor, each factor once, in the order of the request.
fn variants(request: &SweepRequest, plan: &Plan, scan: &Scan, sweep: &Sweep) -> Vec<Variants> {
    let case = Case {
        plan,
        calibration: &scan.calibration,
        load_direction: sweep.load_direction,
    };
    let mut seen = Vec::new();
    for &factor in &request.factors {
        if !seen.contains(&factor) {
            seen.push(factor);
        }
    }
    seen.into_iter()
        .map(|factor| Variants::of(factor, &case))
        .collect()
}

/// Computes the variants of all factors. What a level of the sweep gave already is taken from there.
fn run_factors(
    request: &SweepRequest,
    base: &RunRequest,
    scan: &Arc<Scan>,
    factors: &[Variants],
    sweep: &Sweep,
    out: &OutputDir,
    progress: &mut Progress,
) -> anyhow::Result<Budget> {
    let unit = base.plan.subject.morph_unit;
    let mut tasks = Vec::new();
    // A run per variant: done by the sweep, refused by the plan, or a task.
    let mut runs: Vec<Vec<Ran>> = Vec::new();
    for factor in factors {
        let mut own = Vec::new();
        for (number, variant) in factor.variants.iter().enumerate() {
            let mut request = base.clone();
            let mut scan = Arc::clone(scan);
            let name = format!("{} {}", factor.factor, variant.setting);
            let changed = match &variant.change {
                Change::Morph(morph) => {
                    if let Some(level) = sweep.levels.iter().find(|level| level.morph == *morph) {
                        own.push(Ran::Before(Box::new((
                            level.case_ending(),
                            base.plan.clone(),
                        ))));
                        continue;
                    }
                    morphed(&base.plan, *morph)
                }
                Change::Settings(settings) => {
                    let plan = base.plan.clone().with(settings);
                    plan.and_then(|plan| plan.check_available().map(|()| plan))
                }
                Change::Line { .. } | Change::WithoutTissue(_) => {
                    recalibrated(&base.plan, &scan, &variant.change).map(|(plan, calibration)| {
                        scan = Arc::new(scan.recalibrated(calibration));
                        plan
                    })
                }
            };
            match changed {
                Err(error) => {
                    let ending = CaseEnding::Failed(Ending::of(&error));
                    own.push(Ran::Before(Box::new((ending, base.plan.clone()))));
                }
                Ok(plan) => {
                    request.plan = plan;
                    request.out = out.join(&match variant.change {
                        Change::Morph(morph) => folder(morph, unit),
                        _ => format!("factor_{}_{}", factor.factor, number + 1),
                    });
                    own.push(Ran::Task(tasks.len()));
                    tasks.push(Task {
                        name,
                        scan,
                        request,
                    });
                }
            }
        }
        runs.push(own);
    }
    let order: Vec<usize> = (0..tasks.len()).collect();
    let done = side_by_side(request, &tasks, &order, progress)?;
    let ended = |ran: Ran| match ran {
        Ran::Before(ended) => *ended,
        Ran::Task(number) => (
            done[number].ending.clone(),
            tasks[number].request.plan.clone(),
        ),
    };
    let base_value = sweep.base().and_then(|level| level.value);
    let rows = factors
        .iter()
        .zip(runs)
        .map(|(factor, runs)| {
            let endings: Vec<(CaseEnding, Plan)> = runs.into_iter().map(ended).collect();
            BudgetRow::of(factor.clone(), &endings, sweep.quantity, base_value)
        })
        .collect();
    Ok(Budget {
        quantity: sweep.quantity,
        base: base_value,
        rows,
    })
}

/// The plan and the calibration of a variant that changes the calibration; `run` with that plan calibrates so. Where a parabola is flat,
/// far below any bone, the density keeps the unchanged calibration's lowest value.
fn recalibrated(plan: &Plan, scan: &Scan, change: &Change) -> anyhow::Result<(Plan, Calibration)> {
    let mut plan = plan.clone();
    let subject = &mut plan.subject;
    let base = &scan.calibration;
    let calibration = match change {
        Change::Line { slope, intercept } => {
            subject.calibration = Some(CalibrationSpec::Line {
                slope: *slope,
                intercept: *intercept,
                basis: scan.basis(),
            });
            subject.rods = None;
            subject.phantom_ct = None;
            Calibration::line(*slope, *intercept, base.kind)
        }
        Change::WithoutTissue(tissue) => {
            if let Some(CalibrationSpec::Internal { without }) = &mut subject.calibration {
                without.push(*tissue);
            }
            base.without_tissue(*tissue)
        }
        Change::Morph(_) | Change::Settings(_) => Ok(base.clone()),
    };
    Ok((plan, calibration.kind(Kind::Input)?))
}

/// Where the run of a variant is found.
enum Ran {
    /// It ended before, under this plan.
    Before(Box<(CaseEnding, Plan)>),
    /// It is the task of this number.
    Task(usize),
}

/// The part of `plan.toml` that says what was swept and changed, and by how much.
fn plan_table(morphs: &[f64], factors: &[Variants]) -> String {
    let mut table = toml::Table::new();
    let list = |values: Vec<toml::Value>| toml::Value::Array(values);
    table.insert(
        "morph".into(),
        list(morphs.iter().map(|&morph| morph.into()).collect()),
    );
    let mut text = format!("\n[sweep]\n{table}");
    for factor in factors {
        let settings = factor.variants.iter();
        let settings = settings.map(|variant| variant.setting.as_str().into());
        text += &format!(
            "\n[sweep.{}]\nbase = {}\nchanged = {}\n",
            factor.factor,
            toml::Value::from(factor.base.as_str()),
            list(settings.collect())
        );
    }
    text
}

/// The levels of a sweep in rising order, each once, with the unmorphed mask.
pub(crate) fn ordered(morphs: &[f64]) -> anyhow::Result<Vec<f64>> {
    if let Some(wrong) = morphs.iter().find(|morph| !morph.is_finite()) {
        return Err(Failure::usage(format!("--morph {wrong} is not a number")).into());
    }
    let mut list = morphs.to_vec();
    list.push(0.0);
    // Adding 0 makes -0 a 0.
    list.iter_mut().for_each(|morph| *morph += 0.0);
    list.sort_by(f64::total_cmp);
    list.dedup();
    Ok(list)
}

/// A level with its sign.
pub(crate) fn signed(morph: f64) -> String {
    if morph > 0.0 {
        format!("+{morph}")
    } else {
        format!("{morph}")
    }
}

/// Folder of a level.
fn folder(morph: f64, unit: MorphUnit) -> String {
    format!("morph_{}_{unit}", signed(morph))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_order_with_the_base_and_once() {
        assert_eq!(ordered(&[2.0, -1.0, 2.0]).unwrap(), [-1.0, 0.0, 2.0]);
        assert_eq!(ordered(&[-0.0]).unwrap(), [0.0]);
        assert!(ordered(&[f64::NAN]).is_err());
        assert_eq!(folder(-0.5, MorphUnit::Millimetre), "morph_-0.5_mm");
        assert_eq!(folder(0.0, MorphUnit::Voxel), "morph_0_voxel");
        assert_eq!(folder(1.0, MorphUnit::Voxel), "morph_+1_voxel");
    }
}
