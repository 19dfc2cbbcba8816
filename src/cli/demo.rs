//! `osteoload demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Globals;
use crate::output_dir::Existing;
use crate::plan::Bone;
use crate::run::DemoRequest;

/// Bones of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DemoBone {
    Femur,
    Vertebra,
    Both,
}

/// Run the whole chain on a synthetic patient; needs no input
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Bone
    #[arg(long, value_enum, default_value = "femur")]
    bone: DemoBone,
    /// Directory of the results; the demo replaces what it made itself
    #[arg(long, value_name = "DIR", default_value = "osteoload-demo")]
    out: PathBuf,
    /// Replace what something else made
    #[arg(long)]
    overwrite: bool,
}

impl DemoArgs {
    pub(super) fn request(&self, globals: &Globals) -> anyhow::Result<DemoRequest> {
        let bones = match self.bone {
            DemoBone::Femur => vec![Bone::Femur],
            DemoBone::Vertebra => vec![Bone::Vertebra],
            DemoBone::Both => vec![Bone::Femur, Bone::Vertebra],
        };
        Ok(DemoRequest {
            bones,
            out: self.out.clone(),
            existing: if self.overwrite {
                Existing::Overwrite
            } else {
                Existing::ReplaceMadeBy("osteoload demo")
            },
            device: globals.device()?,
        })
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let finished = crate::run::demo(&self.request(globals)?, &mut globals.progress())?;
        for result in &finished.results {
            globals.say(format!("{}: {}", result.bone, result.headline()));
        }
        globals.say(format!("results in {}", finished.place.display()));
        Ok(())
    }
}
