//! `osteoload evaluate`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::output::print;
use crate::evaluate::{self, EvaluateRequest};
use crate::output_dir::{check_file, write_file};
use crate::plan::LabelNames;

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
    /// The labels are vertebrae: the table and the figure name them by their levels, and the table ends with all levels together
    #[arg(long)]
    levels: bool,
    /// Numbering of the vertebrae: verse (1-24 = C1-L5, 25 = L6, 28 = T13) or totalsegmentator (version 2: 27-31 = L5-L1,
    /// 32-43 = T12-T1, 44-50 = C7-C1) [default: verse]
    #[arg(long, value_name = "NAMES", requires = "levels")]
    label_names: Option<LabelNames>,
    /// Draw the prediction's surfaces, coloured by their signed distance (mm) to the reference, into a PNG; of folders of maps, into
    /// a folder with one PNG per case
    #[arg(long, value_name = "FIGURE.png")]
    figure: Option<PathBuf>,
    /// Write the numbers to a file instead of printing them
    #[arg(long, value_name = "metrics.json")]
    out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

impl EvaluateArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let names = self.label_names.unwrap_or(LabelNames::Verse);
        let request = EvaluateRequest {
            reference: self.reference.clone(),
            prediction: self.prediction.clone(),
            by_overlap: self.by_overlap,
            femora: self.femur.clone(),
            levels: self.levels.then_some(names),
            figure: self.figure.clone(),
        };
        let drawn = evaluate::figure_files(&request)?;
        for file in self.out.iter().chain(&self.table).chain(&drawn) {
            check_file(file, self.overwrite)?;
        }
        let figures = evaluate::evaluate(&request)?;
        if let Some(file) = &self.table {
            write_file(file, evaluate::table(&figures).as_bytes())?;
        }
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        match &self.out {
            Some(out) => write_file(out, text.as_bytes())?,
            // Nowhere else does this result stand.
            None if !globals.quiet => return print(text),
            None => {}
        }
        Ok(())
    }
}
