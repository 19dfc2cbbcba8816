//! `osteoload mesh`.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::case::CaseArgs;
use crate::exit::Failure;
use crate::output_dir::Existing;
use crate::plan::LevelChoice;
use crate::run::RunRequest;

/// Mesh a bone as `run` would, without solving
#[derive(Clone, Debug, Args)]
pub struct MeshArgs {
    #[command(flatten)]
    case: CaseArgs,
    /// Dilate (positive) or erode (negative) the mask by this much before meshing [default: 0]
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    morph: Option<f64>,
    /// Directory of the mesh
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing result
    #[arg(long)]
    overwrite: bool,
}

impl MeshArgs {
    pub(super) fn request(&self, globals: &Globals) -> anyhow::Result<RunRequest> {
        let plan = self.case.resolve(|subject| {
            subject.morph = self.morph.unwrap_or(subject.morph);
        })?;
        if plan.subject.level == Some(LevelChoice::All) {
            return Err(Failure::usage("mesh takes one vertebra, not --level all")
                .with_help("name one, such as --level L2")
                .into());
        }
        let existing = Existing::from_option(self.overwrite);
        self.case
            .request(plan, self.out.clone(), existing, globals.device()?)
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let request = self.request(globals)?;
        let (statistics, place) = crate::run::mesh(&request, &mut globals.progress())?;
        globals.say(format!(
            "{} elements, {} nodes, mean volume {:.4} mm3",
            statistics.elements, statistics.nodes, statistics.mean_volume_mm3
        ));
        globals.say(format!("mesh in {}", place.display()));
        Ok(())
    }
}
