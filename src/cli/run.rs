//! `osteoload run`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::case::CaseArgs;
use crate::exit::Failure;
use crate::output_dir::Existing;
use crate::plan::{Criterion, Plan, RodSource};
use crate::report::{RunOutcome, RunResult, status_word};
use crate::run::RunRequest;

/// Compute the failure load of a bone from a CT scan
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    case: CaseArgs,
    /// The phantom's rods: a label map with one value per rod, or a .toml with their centres
    #[arg(long, value_name = "LABELS|CENTRES")]
    rods: Option<RodSource>,
    /// Scan of an asynchronous phantom
    #[arg(long, value_name = "SCAN")]
    phantom_ct: Option<PathBuf>,
    /// Body weight, kg
    #[arg(long, value_name = "W")]
    body_weight_kg: Option<f64>,
    /// Load the bone is to bear, N
    #[arg(long, value_name = "F")]
    applied_load_n: Option<f64>,
    /// Go on although this quality gate refuses; may be repeated
    #[arg(long, value_name = "GATE")]
    accept: Vec<String>,
    /// Print plan and gates, solve nothing
    #[arg(long)]
    dry_run: bool,
    /// Directory of the result
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

impl RunArgs {
    /// The request, with everything resolved and checked that needs no image.
    pub(super) fn request(&self, globals: &Globals) -> anyhow::Result<RunRequest> {
        let plan = self.case.resolve(|subject| {
            if self.rods.is_some() {
                subject.rods.clone_from(&self.rods);
            }
            if let Some(path) = &self.phantom_ct {
                subject.phantom_ct = Some(path.display().to_string());
            }
            subject.body_weight_kg = self.body_weight_kg.or(subject.body_weight_kg);
            subject.applied_load_n = self.applied_load_n.or(subject.applied_load_n);
            if !self.accept.is_empty() {
                subject.accept.clone_from(&self.accept);
            }
        })?;
        plan.subject.calibration()?;
        plan.check_available()?;
        Ok(RunRequest {
            ct: self.case.ct.clone(),
            mask: self.case.mask(&plan)?,
            plan_file: self.case.plan.clone(),
            protocol_file: self
                .case
                .protocol
                .as_ref()
                .filter(|name| name.ends_with(".toml"))
                .map(PathBuf::from),
            plan,
            out: self.out.clone().unwrap_or_default(),
            existing: Existing::from_option(self.overwrite),
            device: globals.device()?,
        })
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let request = self.request(globals)?;
        let mut progress = globals.progress();
        if self.dry_run {
            let checks = crate::run::check(&request, &mut progress)?;
            print!("{}", request.plan.to_toml());
            println!("\n# Gates");
            for check in checks {
                println!(
                    "# {} {}: {}",
                    status_word(check.status),
                    check.name,
                    check.reason
                );
            }
            return Ok(());
        }
        let finished = crate::run::run(&request, &mut progress)?;
        for result in &finished.results {
            globals.say(headline(result));
        }
        globals.say(format!("results in {}", finished.place.display()));
        answered(&request.plan, &finished.results)
    }
}

fn headline(result: &RunResult) -> String {
    let which = match (&result.side, &result.level) {
        (Some(side), _) => format!("{side} {}", result.bone),
        (_, Some(level)) => level.to_string(),
        _ => result.bone.to_string(),
    };
    format!("{which}: {}", result.headline())
}

/// Exit status 5 when a failure load was asked for and there is none.
pub(super) fn answered(plan: &Plan, results: &[RunResult]) -> anyhow::Result<()> {
    if results
        .iter()
        .any(|result| result.outcome == RunOutcome::Interrupted)
    {
        return Err(Failure::interrupted("interrupted; the increments done are kept").into());
    }
    let failure = &plan.settings.failure;
    let missing = results.iter().find(|result| {
        let asked = match failure.criterion {
            Criterion::None => return result.outcome == RunOutcome::StepTooSmall,
            Criterion::Pistoia => result.pistoia_load_n,
            Criterion::MaximumForce | Criterion::HeightReduction => result.failure_load_n,
        };
        asked.is_none()
    });
    let Some(result) = missing else {
        return Ok(());
    };
    let failure = match result.outcome {
        RunOutcome::StillRising => Failure::no_answer(
            "the force was still rising at the end of the load: there is no failure load",
        )
        .with_help("raise load.displacement_mm or load.extension"),
        RunOutcome::StepTooSmall => Failure::no_answer(
            "an increment did not converge however small: there is no failure load",
        )
        .with_help("raise load.increments or solver.max_iterations; look at fields.pvd"),
        _ => Failure::no_answer("the load ended before a failure load was found"),
    };
    Err(failure.into())
}
