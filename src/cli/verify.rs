//! `osteoload verify`.

use clap::Args;

use super::Globals;
use crate::exit::Failure;

/// Run the verification problems and print how far each is from its reference
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {}

impl VerifyArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let rows = crate::run::verify(&mut globals.progress())?;
        println!(
            "{:<44} {:>14} {:>14} {:>11}  pass",
            "quantity", "reference", "result", "error"
        );
        for row in &rows {
            println!(
                "{:<44} {:>14.6} {:>14.6} {:>10.2e}  {}",
                row.quantity,
                row.reference,
                row.result,
                row.relative_error(),
                if row.passes() { "yes" } else { "NO" }
            );
        }
        let failed = rows.iter().filter(|row| !row.passes()).count();
        if failed > 0 {
            return Err(Failure::no_answer(format!(
                "{failed} of {} verification problems failed",
                rows.len()
            ))
            .with_help("do not trust results of this build on this machine")
            .into());
        }
        Ok(())
    }
}
