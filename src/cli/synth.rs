//! `osteoload synth`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Globals;
use crate::output_dir::Existing;
use crate::run::{SynthFormat, SynthKind, SynthRequest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LesionChoice {
    None,
    Lytic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    Nifti,
    Nrrd,
    Mha,
    Dicom,
}

/// Make a synthetic patient: scan, labels, density and truth
#[derive(Clone, Debug, Args)]
pub struct SynthArgs {
    /// Anatomy: femur, hip, vertebra or spine
    kind: SynthKind,
    /// Seed; the same seed gives the same bytes
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Paint the scan on this label map in place of a drawn anatomy
    #[arg(long, value_name = "MAP")]
    from_labels: Option<PathBuf>,
    /// Lesion in the bone
    #[arg(long, value_enum, default_value = "none")]
    lesion: LesionChoice,
    /// Calibration phantom under the patient: a name, a definition ending in .toml, or none
    #[arg(long, value_name = "MODEL|none", default_value = "mindways-model3-ct")]
    phantom: String,
    /// Format of the scan; dicom is a directory of slices
    #[arg(long, value_enum, default_value = "nifti")]
    format: FormatChoice,
    /// Directory of the patient
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing patient
    #[arg(long)]
    overwrite: bool,
}

impl SynthArgs {
    pub(super) fn request(&self) -> anyhow::Result<SynthRequest> {
        let format = match self.format {
            FormatChoice::Nifti => SynthFormat::Nifti,
            FormatChoice::Nrrd => SynthFormat::Nrrd,
            FormatChoice::Mha => SynthFormat::MetaImage,
            FormatChoice::Dicom => SynthFormat::Dicom,
        };
        let phantom = match self.phantom.as_str() {
            "none" => None,
            model => Some(crate::calibrate::find_phantom(model)?),
        };
        Ok(SynthRequest {
            kind: self.kind,
            seed: self.seed,
            from_labels: self.from_labels.clone(),
            lytic_lesion: self.lesion == LesionChoice::Lytic,
            phantom,
            format,
            out: self.out.clone(),
            existing: Existing::from_option(self.overwrite),
        })
    }

    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let place = crate::run::synth(&self.request()?, &mut globals.progress())?;
        globals.say(format!("synthetic {} in {}", self.kind, place.display()));
        Ok(())
    }
}
