//! `osteoload collect`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::output_dir::Existing;

/// Join the tables of a cohort's shards
#[derive(Clone, Debug, Args)]
pub struct CollectArgs {
    /// Directories that `osteoload cohort --shard I/N` has filled
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Directory of the joined table
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

impl CollectArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let existing = Existing::from_option(self.overwrite);
        let collected = crate::cohort::collect(&self.directories, &self.out, existing)?;
        globals.say(format!(
            "{} rows of {} shards in {}",
            collected.rows,
            self.directories.len(),
            collected.place.display()
        ));
        Ok(())
    }
}
