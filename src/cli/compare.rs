//! `osteoload compare`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::compare::{self, CompareRequest};
use crate::output_dir::Existing;

/// Compare the loads of the masks of a cohort with those of the manual masks: tables, figures, statistics
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// The table of a cohort: one row per case and mask variant
    #[arg(value_name = "results.csv")]
    results: PathBuf,
    /// Directory for the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing directory
    #[arg(long)]
    overwrite: bool,
}

impl CompareArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let compared = compare::compare(&CompareRequest {
            results: self.results.clone(),
            out: self.out.clone(),
            existing: Existing::from_option(self.overwrite),
            device: globals.device()?,
        })?;
        for line in &compared.summary {
            globals.say(line);
        }
        globals.say(compared.out.display());
        Ok(())
    }
}
