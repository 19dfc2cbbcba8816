//! `osteoload solve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Globals;
use crate::exit::Failure;
use crate::output_dir::Existing;
use crate::run::{DeckFormulation, SolveRequest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormulationChoice {
    AsDeck,
    Bbar,
}

/// Solve a deck in the Abaqus/CalculiX keyword format
#[derive(Clone, Debug, Args)]
pub struct SolveArgs {
    /// The deck
    #[arg(value_name = "DECK.inp")]
    deck: PathBuf,
    /// Directory of the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Formulation of 8-node hexahedra: what the deck's element names say, or mean dilatation
    #[arg(long, value_enum, default_value = "as-deck")]
    element_formulation: FormulationChoice,
    /// Relative residual of a linear step; a nonlinear increment converges at 100 times this
    #[arg(long, default_value_t = 1e-8)]
    tolerance: f64,
    /// Leave out fields.pvd
    #[arg(long)]
    no_fields: bool,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

impl SolveArgs {
    pub(super) fn request(&self, globals: &Globals) -> anyhow::Result<SolveRequest> {
        if !(self.tolerance > 0.0 && self.tolerance <= 1e-3) {
            return Err(Failure::usage(format!(
                "--tolerance {} must lie above 0 and at most at 1e-3",
                self.tolerance
            ))
            .into());
        }
        Ok(SolveRequest {
            deck: self.deck.clone(),
            out: self.out.clone(),
            existing: Existing::from_option(self.overwrite),
            formulation: match self.element_formulation {
                FormulationChoice::AsDeck => DeckFormulation::AsDeck,
                FormulationChoice::Bbar => DeckFormulation::BBar,
            },
            tolerance: self.tolerance,
            fields: !self.no_fields,
            device: globals.device()?,
        })
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let finished = crate::run::solve(&self.request(globals)?, &mut globals.progress())?;
        globals.say(&finished.headline);
        globals.say(format!("results in {}", finished.place.display()));
        if finished.interrupted {
            Err(Failure::interrupted("interrupted; the increments done are kept").into())
        } else if finished.converged {
            Ok(())
        } else {
            Err(Failure::no_answer("the analysis did not converge").into())
        }
    }
}
