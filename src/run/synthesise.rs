//! `osteoload synth`: synthetic patients as files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use calibration::{DensityKind, Phantom};
use imaging::dicom::SliceFacts;

use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{Existing, OutputDir};
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::synth::{self, LabelMeaning, Lesion, Options, Patient, PhantomRods, RodBasis, RodSpec};

/// Anatomy of a synthetic patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SynthKind {
    /// A proximal femur.
    Femur,
    /// Pelvis and both femora.
    Hip,
    /// One vertebra.
    Vertebra,
    /// Several vertebrae.
    Spine,
}

impl std::fmt::Display for SynthKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Femur => "femur",
            Self::Hip => "hip",
            Self::Vertebra => "vertebra",
            Self::Spine => "spine",
        })
    }
}

/// Format of a synthetic scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynthFormat {
    /// `ct.nii.gz`.
    Nifti,
    /// `ct.nrrd`.
    Nrrd,
    /// `ct.mha`.
    MetaImage,
    /// Directory `ct` of slices.
    Dicom,
}

impl SynthFormat {
    /// Name of the scan.
    fn file_name(self) -> &'static str {
        match self {
            Self::Nifti => "ct.nii.gz",
            Self::Nrrd => "ct.nrrd",
            Self::MetaImage => "ct.mha",
            Self::Dicom => "ct",
        }
    }
}

/// A synthetic patient to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthRequest {
    /// Anatomy.
    pub kind: SynthKind,
    /// Seed.
    pub seed: u64,
    /// Label map to paint on.
    pub from_labels: Option<PathBuf>,
    /// Whether the bone carries a lytic lesion.
    pub lytic_lesion: bool,
    /// The calibration phantom.
    pub phantom: Option<Phantom>,
    /// Format of the scan.
    pub format: SynthFormat,
    /// Directory of the patient.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
}

/// Makes a synthetic patient and returns its directory.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn synth(request: &SynthRequest, progress: &mut Progress) -> anyhow::Result<PathBuf> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    progress.stage("draw");
    let phantom = request.phantom.as_ref().map(phantom_rods).transpose()?;
    let options = Options {
        seed: request.seed,
        lesion: if request.lytic_lesion {
            Lesion::Lytic
        } else {
            Lesion::None
        },
        phantom,
        ..Options::default()
    };
    let mut provenance = Provenance::of_this_process("synth", solver::Device::Cpu);
    let patient = match &request.from_labels {
        Some(path) => {
            provenance.add_input("labels", path)?;
            let map = imaging::read_labels(path)
                .context("the label map")
                .kind(Kind::Input)?;
            synth::from_labels(&map, meaning(request.kind), &options).kind(Kind::Input)?
        }
        None => draw(request.kind, &options)?,
    };
    progress.stage("write");
    write(&patient, out.path(), request.format, request.seed)?;
    std::fs::write(
        out.join(crate::output_dir::PROVENANCE_FILE),
        provenance.to_json()?,
    )
    .context("provenance.json")?;
    progress.finish();
    out.finish()
}

/// What the labels of a map mean for an anatomy.
fn meaning(kind: SynthKind) -> LabelMeaning {
    match kind {
        SynthKind::Femur | SynthKind::Hip => LabelMeaning::Hip,
        SynthKind::Vertebra | SynthKind::Spine => LabelMeaning::Spine,
    }
}

/// Draws an anatomy and scans it.
pub(super) fn draw(kind: SynthKind, options: &Options) -> anyhow::Result<Patient> {
    match kind {
        SynthKind::Femur => synth::femur(options),
        SynthKind::Hip => synth::hip(options),
        SynthKind::Vertebra => synth::vertebra(options),
        SynthKind::Spine => synth::spine(options),
    }
    .kind(Kind::Usage)
}

/// Writes scan, labels, density, rods and truth into a directory; returns the path of the scan.
pub(super) fn write(
    patient: &Patient,
    directory: &Path,
    format: SynthFormat,
    seed: u64,
) -> anyhow::Result<PathBuf> {
    let ct = directory.join(format.file_name());
    // Synthetic CT numbers are whole and within i16.
    let scan = patient.ct.map(|&hu| hu as i16);
    if format == SynthFormat::Dicom {
        let image = imaging::Image::new(scan.grid, imaging::Voxels::I16(scan.data))?;
        imaging::dicom::write_series(&ct, &image, &SliceFacts::synthetic(seed))?;
    } else {
        imaging::write_volume(&ct, &scan)?;
    }
    imaging::write_volume(&directory.join("labels.nii.gz"), &patient.labels)?;
    imaging::write_volume(&directory.join("density.nii.gz"), &patient.density)?;
    if patient.rods.data.iter().any(|&label| label > 0) {
        imaging::write_volume(&directory.join("rods.nii.gz"), &patient.rods)?;
    }
    let truth = serde_json::to_string_pretty(&patient.truth)? + "\n";
    std::fs::write(directory.join("truth.json"), truth).context("truth.json")?;
    Ok(ct)
}

/// A phantom definition in the words of the synthetic scanner.
fn phantom_rods(phantom: &Phantom) -> anyhow::Result<PhantomRods> {
    let basis = match phantom.basis {
        DensityKind::K2Hpo4 => RodBasis::K2hpo4,
        DensityKind::Ha => RodBasis::Ha,
        other => {
            return Err(Failure::usage(format!(
                "phantom {}: the synthetic scanner knows rods of k2hpo4 and ha, not of {other}",
                phantom.name
            ))
            .into());
        }
    };
    Ok(PhantomRods {
        name: phantom.name.clone(),
        basis,
        rods: phantom
            .rods
            .iter()
            .map(|rod| RodSpec {
                name: rod.name.clone(),
                equivalent_mg_cm3: rod.equivalent_mg_cm3,
                water_mg_cm3: rod.water_mg_cm3,
                diameter_mm: rod.diameter_mm,
                position_mm: rod.position_mm,
            })
            .collect(),
    })
}
