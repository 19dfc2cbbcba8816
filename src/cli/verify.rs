//! `osteoload verify`.

use std::path::PathBuf;

use clap::Args;
use solver::Device;

use super::Globals;
use super::output::print;
use crate::exit::Failure;
use crate::output_dir::{check_file, write_file};
use crate::verification::{VerificationRow, markdown, verify};

/// Run the verification problems and print how far each is from its reference
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Also write the table, with the source of every reference, as a Markdown file
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

impl VerifyArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let device = globals.device()?;
        if device != Device::Cpu {
            return Err(Failure::usage(format!(
                "--device {device}: the problems are of every kind of element, and only voxels are solved there"
            ))
            .with_help("leave --device out")
            .into());
        }
        if let Some(file) = &self.markdown {
            check_file(file, self.overwrite)?;
        }
        let rows = verify(&mut globals.progress())?;
        print(format_args!(
            "{:<104} {:>14} {:>14} {:>10}  pass\n",
            "quantity", "reference", "result", "error"
        ))?;
        for row in &rows {
            print(format_args!(
                "{:<104} {:>14.6e} {:>14.6e} {:>10.1e}  {}\n",
                quantity(row),
                row.reference,
                row.result,
                row.error(),
                if row.passes() { "yes" } else { "NO" }
            ))?;
        }
        if let Some(file) = &self.markdown {
            write_file(file, markdown(&rows).as_bytes())?;
        }
        let failed = rows.iter().filter(|row| !row.passes()).count();
        if failed > 0 {
            return Err(Failure::no_answer(format!(
                "{failed} of {} verified quantities are off",
                rows.len()
            ))
            .with_help("do not trust results of this build on this machine")
            .into());
        }
        Ok(())
    }
}

/// Problem, element and quantity in one column.
fn quantity(row: &VerificationRow) -> String {
    format!("{}, {}: {}", row.problem, row.element, row.quantity)
}
