//! The chain from scan to failure load: what must not change the answer, and what must be refused.

mod automatic;
mod cohort;
mod coregistration;
mod dicom;
mod evaluation;
mod export;
mod femur;
mod gates;
mod painted;
mod recipes;
mod refusals;
mod sweep;
mod training;
mod training_on_images;
mod vertebra;
mod vertebra_gates;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use osteoload::output_dir::Existing;
use osteoload::plan::{Assignment, Bone, CalibrationSpec, Plan, Side, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::report::{Check, RunResult};
use osteoload::run::{RunRequest, check, run};

/// A femur run on files in `folder`, with `line` calibration of the synthetic scanner.
pub struct FemurCase {
    pub folder: tempfile::TempDir,
    pub label: u16,
    pub calibration: CalibrationSpec,
    pub side: Option<Side>,
}

impl FemurCase {
    pub fn new(
        ct: &Volume<f32>,
        labels: &LabelMap,
        label: u16,
        calibration: CalibrationSpec,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        imaging::write_volume(&folder.path().join("ct.nii.gz"), ct).expect("a scan");
        imaging::write_volume(&folder.path().join("labels.nii.gz"), labels).expect("labels");
        Self {
            folder,
            label,
            calibration,
            side: None,
        }
    }

    pub fn run(&self, settings: &[&str]) -> RunResult {
        self.try_run(settings).expect("a result")
    }

    pub fn try_run(&self, settings: &[&str]) -> anyhow::Result<RunResult> {
        let finished = run(&self.request(settings)?, &mut Progress::silent())?;
        finished.results.into_iter().next().context("a result")
    }

    /// The gates, refusing or not, without a solution.
    pub fn checks(&self, settings: &[&str]) -> Vec<Check> {
        let request = self.request(settings).expect("a request");
        check(&request, &mut Progress::silent()).expect("the gates")
    }

    pub fn request(&self, settings: &[&str]) -> anyhow::Result<RunRequest> {
        let mut subject = Subject::new(Bone::Femur, Some(self.calibration.clone()));
        subject.label = vec![self.label];
        subject.side = self.side;
        let settings: Vec<Assignment> = settings
            .iter()
            .map(|text| text.parse().expect("a setting"))
            .collect();
        let protocol = Protocol::built_in("saillard2024-femur")?;
        Ok(RunRequest {
            ct: self.path("ct.nii.gz"),
            mask: Some(self.path("labels.nii.gz")),
            plan_file: None,
            protocol_file: None,
            plan: Plan::resolve(&protocol, subject, &settings)?,
            out: self.path("result"),
            existing: Existing::Overwrite,
            device: solver::Device::Cpu,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// The scanner's own line, so that no rod noise comes in.
pub fn scanner_line(patient: &osteoload::synth::Patient) -> CalibrationSpec {
    let phantom = patient.truth.phantom.as_ref().expect("a phantom");
    CalibrationSpec::Line {
        slope: phantom.slope_mg_cm3_per_hu,
        intercept: phantom.intercept_mg_cm3,
        basis: osteoload::plan::Basis::K2hpo4,
    }
}
