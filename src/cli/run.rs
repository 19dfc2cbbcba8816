//! `osteoload run`.

use std::path::PathBuf;

use clap::Args;
use solver::Device;

use super::Globals;
use super::case::CaseArgs;
use super::output::print;
use crate::exit::Ending;
use crate::output_dir::Existing;
use crate::plan::LevelChoice;
use crate::progress::Progress;
use crate::report::{Check, RunResult, status_word};
use crate::run::{CaseEnding, RunRequest, answered};

/// The options that `run` and `sweep` share.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    case: CaseArgs,
    /// Body weight, kg
    #[arg(long, value_name = "W")]
    body_weight_kg: Option<f64>,
    /// Load the bone is to bear, N
    #[arg(long, value_name = "F")]
    applied_load_n: Option<f64>,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

impl RunOptions {
    /// The request, with everything resolved and checked that needs no image. `morph` is that of the mask; a plan's own where it is
    /// not given.
    ///
    /// # Errors
    /// A [`crate::exit::Failure`] of kind usage or input.
    pub(super) fn request(
        &self,
        device: Device,
        morph: Option<f64>,
        out: Option<&PathBuf>,
    ) -> anyhow::Result<RunRequest> {
        let plan = self.case.resolve(|subject| {
            subject.morph = morph.unwrap_or(subject.morph);
            subject.body_weight_kg = self.body_weight_kg.or(subject.body_weight_kg);
            subject.applied_load_n = self.applied_load_n.or(subject.applied_load_n);
        })?;
        let existing = Existing::from_option(self.overwrite);
        let out = out.cloned().unwrap_or_default();
        self.case.request(plan, out, existing, device)
    }
}

/// Compute the failure load of a bone from a CT scan
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    options: RunOptions,
    /// Dilate (positive) or erode (negative) the mask by this much before meshing [default: 0]
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    morph: Option<f64>,
    /// Print plan and gates, solve nothing
    #[arg(long)]
    dry_run: bool,
    /// Directory of the result
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
}

impl RunArgs {
    /// The request, with everything resolved and checked that needs no image.
    pub(super) fn request(&self, globals: &Globals) -> anyhow::Result<RunRequest> {
        self.options
            .request(globals.device()?, self.morph, self.out.as_ref())
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let request = self.request(globals)?;
        let mut progress = globals.progress();
        let every = request.plan.subject.level == Some(LevelChoice::All);
        if self.dry_run {
            print(request.plan.to_toml())?;
            if !every {
                return print_checks("Gates", &crate::run::check(&request, &mut progress)?);
            }
            for (vertebra, checks) in crate::run::check_levels(&request, &mut progress)? {
                let title = format!("Gates of {} (label {})", vertebra.name, vertebra.label);
                match checks {
                    Ok(checks) => print_checks(&title, &checks)?,
                    Err(error) => print(format_args!(
                        "\n# {title}\n# refuse: {}\n",
                        Ending::of(&error).error
                    ))?,
                }
            }
            return Ok(());
        }
        if every {
            return run_every_level(&request, &mut progress, globals);
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
    format!("{}: {}", result.which(), result.headline())
}

fn print_checks(title: &str, checks: &[Check]) -> anyhow::Result<()> {
    print(format_args!("\n# {title}\n"))?;
    for check in checks {
        let status = status_word(check.status);
        print(format_args!(
            "# {status} {}: {}\n",
            check.name, check.reason
        ))?;
    }
    Ok(())
}

/// `--level all`: one line per vertebra, and the exit status of them together.
fn run_every_level(
    request: &RunRequest,
    progress: &mut Progress,
    globals: &Globals,
) -> anyhow::Result<()> {
    let finished = crate::run::run_levels(request, progress)?;
    for vertebra in &finished.vertebrae {
        let said = match &vertebra.ending {
            CaseEnding::Ran(result) => result.headline(),
            other => format!(
                "{}: {}",
                other.status(&request.plan),
                other.reason(&request.plan)
            ),
        };
        globals.say(format!(
            "{} (label {}): {said}",
            vertebra.name, vertebra.label
        ));
    }
    globals.say(format!("results in {}", finished.place.display()));
    finished.answered(&request.plan)
}
