//! `osteoload train`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::output::print;
use crate::exit::Failure;
use crate::train::{AnyPlan, Fold, TrainRequest, train};

/// Train a network on scans with label maps, or on CT painted on label maps alone
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// Train plan: a name, or a file ending in .toml
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "print_plan")]
    plan: Option<String>,
    /// Print a train plan and end
    #[arg(long, value_name = "NAME", conflicts_with_all = ["plan", "data", "out"])]
    print_plan: Option<String>,
    /// Data: dataset.json, imagesTr and labelsTr as for nnU-Net; for a painting plan label maps in labelsTr, and in labelsTs those to
    /// judge by
    #[arg(long, value_name = "DIR", required_unless_present = "print_plan")]
    data: Option<PathBuf>,
    /// The model folder
    #[arg(long, value_name = "MODEL_DIR", required_unless_present = "print_plan")]
    out: Option<PathBuf>,
    /// Fold of scans with label maps: 0 to 4 leaves out a fifth and predicts it at the end; all
    #[arg(long, value_name = "K|all", default_value = "0")]
    fold: Fold,
    /// Start from the weights of this model (fine-tuning) and, for nnU-Net's plans, with its plans; its heads are made anew unless a painting
    /// plan has the same classes. For the papers' recipes a folder they left, or a .safetensors file of an ImageNet encoder
    #[arg(long, value_name = "MODEL_DIR|FILE")]
    initial_weights: Option<PathBuf>,
    /// Split scans into single femora, mirror left ones and lay all on one before they are learned from (Saillard et al. 2024); on for the
    /// saillard recipes
    #[arg(long, conflicts_with = "no_preprocessing")]
    preprocessing: bool,
    /// Learn from scans as they are, whatever the recipe
    #[arg(long)]
    no_preprocessing: bool,
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
            return print(AnyPlan::load(name)?.to_toml()?);
        }
        let (Some(plan), Some(data), Some(out)) = (&self.plan, &self.data, &self.out) else {
            return Err(Failure::usage("--plan, --data and --out are needed").into());
        };
        let plan = AnyPlan::load(plan)?;
        let taken = match &plan {
            AnyPlan::Painted(_) => {
                out.join("plans.json").exists() || out.join("training.csv").exists()
            }
            AnyPlan::Recipe(_) => out.join("recipe.toml").exists(),
            // Folds share a folder.
            AnyPlan::Images(_) => out
                .join(format!("fold_{}/training.csv", self.fold))
                .exists(),
        };
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
            overwrite: self.overwrite,
            fold: self.fold,
            preprocessing: match (self.preprocessing, self.no_preprocessing) {
                (false, false) => None,
                (wanted, _) => Some(wanted),
            },
            initial: self.initial_weights.clone(),
            at_most: self.at_most_steps,
        };
        let judged = train(&request, &mut globals.progress())?;
        let by = match &request.plan {
            AnyPlan::Painted(_) => "painted samples of the maps kept for judging",
            AnyPlan::Images(_) | AnyPlan::Recipe(_) => "samples of the cases kept for judging",
        };
        let names = request.plan.names();
        for (class, dice) in judged.dice.iter().enumerate() {
            let name = names.get(class).cloned();
            let name = name.unwrap_or_else(|| format!("label {}", class + 1));
            globals.say(format!("{name:<16} Dice {dice:.4} on {by}"));
        }
        globals.say(format!("model in {}", out.display()));
        Ok(())
    }
}
