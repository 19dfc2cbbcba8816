//! `osteoload evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::output_dir::{check_file, write_file};

/// Compare a segmentation with a reference
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    /// The reference label map
    #[arg(long, value_name = "R")]
    reference: PathBuf,
    /// The label map to judge
    #[arg(long, value_name = "P")]
    prediction: PathBuf,
    /// Match instances by their largest overlap, whatever their values
    #[arg(long)]
    by_overlap: bool,
    /// Write the figures to a file instead of printing them
    #[arg(long, value_name = "metrics.json")]
    out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

impl EvaluateArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        if let Some(out) = &self.out {
            check_file(out, self.overwrite)?;
        }
        let figures = crate::segment::evaluate(&self.reference, &self.prediction, self.by_overlap)?;
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        match &self.out {
            Some(out) => write_file(out, text.as_bytes())?,
            None => globals.say(text.trim_end()),
        }
        Ok(())
    }
}
