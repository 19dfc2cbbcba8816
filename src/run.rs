//! The pipeline: the only place where all stages meet.

use std::path::PathBuf;

use calibration::Phantom;

use crate::exit::Failure;
use crate::output_dir::Existing;
use crate::plan::{Bone, Plan};
use crate::progress::Progress;
use crate::report::{Check, MeshStatistics, RunResult};

/// A run in which nothing is left open.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The scan.
    pub ct: PathBuf,
    /// The mask or label map; which values are the bone stands in the plan.
    pub mask: PathBuf,
    /// The plan file the plan came from, for the provenance.
    pub plan_file: Option<PathBuf>,
    /// The protocol file the plan came from, for the provenance.
    pub protocol_file: Option<PathBuf>,
    /// Every setting.
    pub plan: Plan,
    /// Directory of the result.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
    /// `cpu`.
    pub device: String,
}

/// What a run or a demo left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The directory.
    pub place: PathBuf,
    /// One result per bone.
    pub results: Vec<RunResult>,
}

/// A demo in which nothing is left open.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoRequest {
    /// The bones; each gets a folder of its name.
    pub bones: Vec<Bone>,
    /// Directory of the results.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
    /// `cpu`.
    pub device: String,
}

/// Formulation of the 8-node hexahedra of a deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeckFormulation {
    /// What the element names say.
    AsDeck,
    /// Mean dilatation for all.
    BBar,
}

/// A deck to be solved.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveRequest {
    /// The deck.
    pub deck: PathBuf,
    /// Directory of the result.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
    /// Formulation of the hexahedra.
    pub formulation: DeckFormulation,
    /// Relative residual of a linear step; a nonlinear increment converges at 100 times this.
    pub tolerance: f64,
    /// Whether to write `fields.pvd`.
    pub fields: bool,
}

/// What a deck left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveFinished {
    /// The directory.
    pub place: PathBuf,
    /// Whether every step converged.
    pub converged: bool,
    /// One line for the user.
    pub headline: String,
}

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

/// One line of `osteoload verify`.
#[derive(Clone, Debug, PartialEq)]
pub struct VerificationRow {
    /// Problem and quantity.
    pub quantity: String,
    /// What it should be.
    pub reference: f64,
    /// What it is.
    pub result: f64,
    /// Largest relative error that passes.
    pub tolerance: f64,
}

impl VerificationRow {
    /// Difference to the reference over its magnitude; over 1 for a reference of 0.
    pub fn relative_error(&self) -> f64 {
        let scale = if self.reference == 0.0 {
            1.0
        } else {
            self.reference.abs()
        };
        (self.result - self.reference) / scale
    }

    /// Whether the error is within the tolerance. NaN is not.
    pub fn passes(&self) -> bool {
        self.relative_error().abs() <= self.tolerance
    }
}

/// Computes the failure load and writes the directory.
///
/// # Errors
/// A [`Failure`] of the kind that fits. A run without an answer is no error here: its directory is written
/// and its result says so.
pub fn run(_request: &RunRequest, _progress: &mut Progress) -> anyhow::Result<Finished> {
    not_in_this_build("run")
}

/// Reads the inputs and evaluates every gate that needs no solution.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn check(_request: &RunRequest, _progress: &mut Progress) -> anyhow::Result<Vec<Check>> {
    not_in_this_build("run --dry-run")
}

/// Writes the mesh of a run without solving.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn mesh(
    _request: &RunRequest,
    _progress: &mut Progress,
) -> anyhow::Result<(MeshStatistics, PathBuf)> {
    not_in_this_build("mesh")
}

/// Makes synthetic patients and runs them.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn demo(_request: &DemoRequest, _progress: &mut Progress) -> anyhow::Result<Finished> {
    not_in_this_build("demo")
}

/// Solves a deck.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn solve(_request: &SolveRequest, _progress: &mut Progress) -> anyhow::Result<SolveFinished> {
    not_in_this_build("solve")
}

/// Makes a synthetic patient and returns its directory.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn synth(_request: &SynthRequest, _progress: &mut Progress) -> anyhow::Result<PathBuf> {
    not_in_this_build("synth")
}

/// Runs the verification problems.
///
/// # Errors
/// A [`Failure`] of the kind that fits.
pub fn verify(_progress: &mut Progress) -> anyhow::Result<Vec<VerificationRow>> {
    not_in_this_build("verify")
}

fn not_in_this_build<T>(command: &str) -> anyhow::Result<T> {
    Err(Failure::usage(format!("`{command}` is not available in this build")).into())
}
