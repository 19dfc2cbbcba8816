//! `osteoload sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::run::RunOptions;
use crate::sweep::{Factor, SweepRequest};

/// Compute how the failure load moves when the mask is eroded and dilated
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    options: RunOptions,
    /// Erosions (negative) and dilations (positive) of the mask, such as --morph=-2,-1,0,1,2; 0 is computed in any case
    #[arg(
        long,
        value_name = "V,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        required_unless_present = "factors"
    )]
    morph: Vec<f64>,
    /// Factors of an uncertainty budget, each changed alone by stated amounts: segmentation, calibration, conversion, law, model,
    /// softening, element, mesh, smoothing, load-direction, boundary, shaft-length
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    factors: Vec<Factor>,
    /// Levels computed at a time, each on its share of the threads [default: as many as threads and memory allow]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Directory of the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl SweepArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let request = SweepRequest {
            base: self
                .options
                .request(globals.device()?, Some(0.0), Some(&self.out))?,
            morphs: self.morph.clone(),
            factors: self.factors.clone(),
            jobs: self.jobs,
        };
        let finished = crate::sweep::sweep(&request, &mut globals.progress())?;
        globals.say(finished.sweep.headline());
        for level in &finished.sweep.levels {
            if let Some(ending) = &level.ending {
                globals.say(format!(
                    "{} {}: {}: {}",
                    level.morph, finished.sweep.unit, level.status, ending.error
                ));
            }
        }
        for row in finished.budget.iter().flat_map(|budget| &budget.rows) {
            let base = finished.budget.as_ref().and_then(|budget| budget.base);
            let said = match base.and_then(|base| row.ends(base)) {
                Some([low, high]) => format!(
                    "{:+.1} % ({}) to {:+.1} % ({})",
                    low.change_percent, low.setting, high.change_percent, high.setting
                ),
                None => row.why_missing(),
            };
            globals.say(format!("{}: {said}", row.factor));
        }
        globals.say(format!("results in {}", finished.place.display()));
        finished.answered()
    }
}
