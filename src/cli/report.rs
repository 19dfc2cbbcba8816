//! `osteoload report`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::report::html::{ReportRequest, report};

/// Make the report of a finished run, sweep or cohort again, from the files of its directory
///
/// One HTML page that opens without a network: the answer, what was found in the scan, a 3D view of the bone under load,
/// checks, settings, provenance. Every run leaves one; this makes it anew.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Directory of a finished run, sweep or cohort
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// File to write [default: DIR/report.html]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Replace an existing --out
    #[arg(long)]
    overwrite: bool,
}

impl ReportArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let place = report(&ReportRequest {
            directory: self.directory.clone(),
            out: self.out.clone(),
            overwrite: self.overwrite,
        })?;
        globals.say(format!("report in {}", place.display()));
        Ok(())
    }
}
