//! `osteoload evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use crate::evaluate::{self, EvaluateRequest};
use crate::output_dir::{check_file, write_file};

/// Compare a segmentation with a reference, or all of a folder with those of another
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    /// The reference label map, or a folder of them
    #[arg(long, value_name = "R")]
    reference: PathBuf,
    /// The label map to judge, or a folder with maps of the same names
    #[arg(long, value_name = "P")]
    prediction: PathBuf,
    /// Match instances by their largest overlap, whatever their values
    #[arg(long)]
    by_overlap: bool,
    /// Labels of the reference that are proximal femora: head, middle and shaft are judged too
    #[arg(
        long,
        value_name = "K,…",
        value_delimiter = ',',
        conflicts_with = "by_overlap"
    )]
    femur: Vec<u16>,
    /// Write a table as papers print it, mean ± standard deviation over the cases, to a Markdown file
    #[arg(long, value_name = "TABLE.md")]
    table: Option<PathBuf>,
    /// Write the figures to a file instead of printing them
    #[arg(long, value_name = "metrics.json")]
    out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

impl EvaluateArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        for file in self.out.iter().chain(&self.table) {
            check_file(file, self.overwrite)?;
        }
        let figures = evaluate::evaluate(&EvaluateRequest {
            reference: self.reference.clone(),
            prediction: self.prediction.clone(),
            by_overlap: self.by_overlap,
            femora: self.femur.clone(),
        })?;
        if let Some(file) = &self.table {
            write_file(file, evaluate::table(&figures).as_bytes())?;
        }
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        match &self.out {
            Some(out) => write_file(out, text.as_bytes())?,
            None => globals.say(text.trim_end()),
        }
        Ok(())
    }
}
