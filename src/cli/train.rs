//! `osteoload train`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::exit::Failure;
use crate::train::{Plan, TrainRequest, train};

/// Train a network on CT painted on label maps
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// Train plan: a name, or a file ending in .toml
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "print_plan")]
    plan: Option<String>,
    /// Print a train plan and end
    #[arg(long, value_name = "NAME", conflicts_with_all = ["plan", "data", "out"])]
    print_plan: Option<String>,
    /// Folder with label maps in labelsTr, and in labelsTs those to judge by
    #[arg(long, value_name = "DIR", required_unless_present = "print_plan")]
    data: Option<PathBuf>,
    /// The model folder
    #[arg(long, value_name = "MODEL_DIR", required_unless_present = "print_plan")]
    out: Option<PathBuf>,
    /// Go on with a training that was stopped
    #[arg(long)]
    resume: bool,
    /// Stop after so many steps, at the next judgement; --resume goes on from there
    #[arg(long, value_name = "N")]
    at_most_steps: Option<u64>,
    /// Replace an existing model
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

impl TrainArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        if let Some(name) = &self.print_plan {
            print!("{}", Plan::load(name)?.to_toml()?);
            return Ok(());
        }
        let (Some(plan), Some(data), Some(out)) = (&self.plan, &self.data, &self.out) else {
            return Err(Failure::usage("--plan, --data and --out are needed").into());
        };
        let plan = Plan::load(plan)?;
        let taken = out.join("plans.json").exists() || out.join("training.csv").exists();
        if taken && !self.resume && !self.overwrite {
            return Err(
                Failure::usage(format!("{} holds a model already", out.display()))
                    .with_help("go on with --resume, or replace it with --overwrite")
                    .into(),
            );
        }
        let request = TrainRequest {
            plan,
            data: data.clone(),
            out: out.clone(),
            resume: self.resume,
            at_most: self.at_most_steps,
        };
        let judged = train(&request, &mut globals.progress())?;
        for (name, dice) in request.plan.names.iter().zip(&judged.dice) {
            globals.say(format!(
                "{name:<16} Dice {dice:.4} on painted samples of the maps kept for judging"
            ));
        }
        globals.say(format!("model in {}", out.display()));
        Ok(())
    }
}
