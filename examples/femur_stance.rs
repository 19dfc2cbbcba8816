//! From a scan to a failure load: a small synthetic femur in stance, on coarse voxels.
//!
//! ```text
//!                F                    1  draw a patient with a phantom, scan it, write ct.nii.gz
//!                |                    2  calibrate by the rods of the phantom
//!            ____v__                  3  load the top of the head along the shaft, hold the cut end
//!           /   \___\                 4  go on until the force has passed its maximum
//!           \   |
//!            |  |       the cut end   The failure load is that maximum. Voxels of 3 mm are far too coarse
//!            |__|  <--- is held       for a real bone: this shows the road, not the value.
//! ```
//!
//! Run with `cargo run --example femur_stance`. Expected output:
//!
//! ```text
//! calibration: 0.7851 mg/cm3 per HU (drawn 0.7895)
//! 5903 elements, stiffness 7454 N/mm, peak_passed
//! failure load in body weights 5.5
//! failure load 3777 N
//! ```

use imaging::write_volume;
use osteoload::output_dir::Existing;
use osteoload::plan::{Assignment, Bone, CalibrationSpec, Plan, RodSource, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::run::{RunRequest, run};
use osteoload::synth::{Options, femur};

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let patient = femur(&Options {
        seed: 3,
        spacing_mm: Some([1.5, 1.5, 2.0]),
        shaft_mm: 40.0,
        ..Options::default()
    })?;
    let (ct, mask) = (
        folder.path().join("ct.nii.gz"),
        folder.path().join("labels.nii.gz"),
    );
    let rods = folder.path().join("rods.nii.gz");
    write_volume(&ct, &patient.ct)?;
    write_volume(&mask, &patient.labels)?;
    write_volume(&rods, &patient.rods)?;

    let phantom = CalibrationSpec::Phantom("mindways-model3-ct".into());
    let mut subject = Subject::new(Bone::Femur, Some(phantom));
    subject.rods = Some(RodSource::Labels(rods));
    // The scan also shows the hip bone; the first of its bones is the femur.
    subject.label = patient
        .truth
        .bones
        .iter()
        .take(1)
        .map(|bone| bone.label)
        .collect();
    subject.body_weight_kg = Some(70.0);
    let protocol = Protocol::built_in("saillard2024-femur")?;
    let coarse: Assignment = "mesh.voxel_mm=3".parse().map_err(anyhow::Error::msg)?;

    let request = RunRequest {
        ct,
        mask: Some(mask),
        plan_file: None,
        protocol_file: None,
        plan: Plan::resolve(&protocol, subject, &[coarse])?,
        out: folder.path().join("result"),
        existing: Existing::Refuse,
        device: solver::Device::Cpu,
    };
    let finished = run(&request, &mut Progress::silent())?;
    let result = &finished.results[0];

    let calibration = &result.calibration;
    println!(
        "calibration: {:.4} mg/cm3 per HU (drawn {:.4})",
        calibration.slope_mg_cm3_per_hu,
        patient
            .truth
            .phantom
            .as_ref()
            .map_or(f64::NAN, |phantom| phantom.slope_mg_cm3_per_hu)
    );
    println!(
        "{} elements, stiffness {:.0} N/mm, {}",
        result.mesh.elements,
        result.stiffness_n_per_mm.unwrap_or(f64::NAN),
        result.outcome.word()
    );
    println!(
        "failure load in body weights {:.1}",
        result.risk.failure_load_body_weights.unwrap_or(f64::NAN)
    );
    let failure_load_n = result.failure_load_n.unwrap_or(f64::NAN);
    println!("failure load {failure_load_n:.0} N");
    assert!((failure_load_n - 3777.0).abs() < 0.005 * 3777.0);
    Ok(())
}
