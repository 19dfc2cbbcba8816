//! `osteoload demo`: a synthetic patient through the whole chain.

use std::path::PathBuf;

use solver::Device;

use super::scan::Scan;
use super::synthesise::{SynthFormat, SynthKind, draw, write};
use super::{Finished, RunRequest, run_into};
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE};
use crate::plan::{Bone, CalibrationSpec, Plan, RodSource, Subject};
use crate::progress::Progress;
use crate::protocol::Protocol;
use crate::provenance::Provenance;
use crate::synth::Options;

/// A demo in which nothing is left open.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoRequest {
    /// The bones; each gets a folder of its name.
    pub bones: Vec<Bone>,
    /// Directory of the results.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
    /// Where to compute.
    pub device: Device,
}

/// Seed of the demo's patients.
const SEED: u64 = 1;

/// Makes synthetic patients and runs them.
///
/// # Errors
/// A [`crate::exit::Failure`] of the kind that fits.
pub fn demo(request: &DemoRequest, progress: &mut Progress) -> anyhow::Result<Finished> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    let mut results = Vec::new();
    for &bone in &request.bones {
        let patient = out.join(&format!("patient-{bone}"));
        std::fs::create_dir(&patient)?;
        progress.stage("draw");
        let kind = match bone {
            Bone::Femur => SynthKind::Femur,
            Bone::Vertebra => SynthKind::Vertebra,
        };
        let drawn = draw(
            kind,
            &Options {
                seed: SEED,
                ..Options::default()
            },
        )?;
        progress.stage("write patient");
        let ct = write(&drawn, &patient, SynthFormat::Nifti, SEED)?;
        let rods = patient.join("rods.nii.gz");
        let mut subject = Subject::new(
            bone,
            Some(CalibrationSpec::Phantom("mindways-model3-ct".into())),
        );
        subject.rods = Some(RodSource::Labels(rods));
        let mask = match bone {
            Bone::Femur => None,
            Bone::Vertebra => {
                progress.note(
                    "the vertebra is taken from the synthetic patient's own truth mask: \
                     the built-in networks of vertebrae are not good enough yet",
                );
                subject.label = vec![target_label(&drawn)];
                Some(patient.join("labels.nii.gz"))
            }
        };
        subject.body_weight_kg = Some(75.0);
        let protocol = Protocol::built_in(Protocol::default_name(bone))?;
        let run = RunRequest {
            ct,
            mask,
            plan_file: None,
            protocol_file: None,
            plan: Plan::resolve(&protocol, subject, &[])?,
            out: out.join(bone.word()),
            existing: Existing::Refuse,
            device: request.device,
        };
        let folder = OutputDir::begin(&run.out, run.existing)?;
        let scan = Scan::open(&run, progress)?;
        results.push(run_into(&scan, &run, &folder, "demo", progress)?.result);
        // The plan names the rods where they will stand, not where they are being written.
        let plan = folder.join("plan.toml");
        let work = out.path().display().to_string();
        let text = std::fs::read_to_string(&plan)?;
        let target = out.target().display().to_string();
        std::fs::write(&plan, text.replace(&work, &target))?;
        folder.finish()?;
    }
    let provenance = Provenance::of_this_process("demo", request.device);
    std::fs::write(out.join(PROVENANCE_FILE), provenance.to_json()?)?;
    Ok(Finished {
        results,
        place: out.finish()?,
    })
}

/// The label of the bone that the patient was made for: the femur, or the one vertebra that the scan shows whole.
fn target_label(patient: &crate::synth::Patient) -> u16 {
    let bones = || patient.truth.bones.iter();
    bones()
        .find(|bone| bone.femur.is_some())
        .or_else(|| bones().max_by(|a, b| a.mask_volume_mm3.total_cmp(&b.mask_volume_mm3)))
        .map_or(1, |bone| bone.label)
}
