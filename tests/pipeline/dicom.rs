//! A scan as a DICOM series is the same scan, and its phantom finds itself.

use std::path::Path;

use imaging::orientation::{parse_axis_code, reorient, to_ras_axes};
use osteoload::output_dir::Existing;
use osteoload::plan::{Assignment, Bone, CalibrationSpec, LabelNames, LevelChoice, Plan, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::report::{CheckStatus, RunResult};
use osteoload::run::{
    CaseEnding, RunRequest, SynthFormat, SynthKind, SynthRequest, run, run_levels, synth,
};

use crate::verification::shared;

/// The synthetic femur of seed 42, its scan in the given format.
fn patient(folder: &Path, format: SynthFormat) -> std::path::PathBuf {
    let request = SynthRequest {
        kind: SynthKind::Femur,
        seed: 42,
        from_labels: None,
        lytic_lesion: false,
        phantom: Some(calibration::Phantom::named("mindways-model3-ct").expect("a phantom")),
        format,
        out: folder.to_owned(),
        existing: Existing::Refuse,
    };
    synth(&request, &mut Progress::silent()).expect("a patient")
}

/// A coarse run, the rods of the phantom not given.
fn load(patient: &Path, scan: &str) -> RunResult {
    let spec = CalibrationSpec::Phantom("mindways-model3-ct".into());
    let mut subject = Subject::new(Bone::Femur, Some(spec));
    subject.label = vec![2];
    let settings = ["mesh.voxel_mm=4", "load.increments=20"]
        .map(|text| text.parse::<Assignment>().expect("a setting"));
    let protocol = Protocol::built_in("saillard2024-femur").expect("a protocol");
    let request = RunRequest {
        ct: patient.join(scan),
        mask: Some(patient.join("labels.nii.gz")),
        plan_file: None,
        protocol_file: None,
        plan: Plan::resolve(&protocol, subject, &settings).expect("a plan"),
        out: patient.join("result"),
        existing: Existing::Refuse,
        device: solver::Device::Cpu,
    };
    let finished = run(&request, &mut Progress::silent()).expect("a result");
    finished.results.into_iter().next().expect("a result")
}

#[test]
fn a_dicom_series_gives_the_load_of_the_nifti_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let nifti = patient(&folder.path().join("nifti"), SynthFormat::Nifti);
    let dicom = patient(&folder.path().join("dicom"), SynthFormat::Dicom);
    let one = imaging::read_volume(&nifti.join("ct.nii.gz")).expect("a scan");
    let other = imaging::read_volume(&dicom.join("ct")).expect("a series");
    // Array axes may run otherwise: what counts is the value at a place.
    let [one, other] = [one, other].map(|scan| to_ras_axes(&scan));
    one.grid.check_same(&other.grid).expect("the same grid");
    assert!(one.data == other.data, "the voxels differ");

    // Masks come with their axes in another order than the series they were drawn on.
    let labels = dicom.join("labels.nii.gz");
    let map = imaging::read_labels(&labels).expect("a label map");
    let turned = reorient(&map, parse_axis_code("SLA").expect("axes")).expect("a label map");
    turned
        .grid
        .check_same(&other.grid)
        .expect_err("another order");
    imaging::write_volume(&labels, &turned).expect("written");

    let [one, other] = [load(&nifti, "ct.nii.gz"), load(&dicom, "ct")];
    let newtons = one.failure_load_n.expect("a load");
    let change = other.failure_load_n.expect("a load") / newtons - 1.0;
    assert!(change.abs() < 1e-5, "{newtons} N, and {change:+e} as DICOM");
    // The rods were found, not given: the line is that of the rods where they are.
    let truth: serde_json::Value =
        serde_json::from_slice(&std::fs::read(nifti.join("truth.json")).expect("a truth"))
            .expect("JSON");
    let line = &truth["phantom"];
    let slope = line["slope_mg_cm3_per_hu"].as_f64().expect("a slope");
    let intercept = line["intercept_mg_cm3"].as_f64().expect("an intercept");
    let found = &one.calibration;
    assert_eq!(found.rods.len(), 5);
    assert!(
        (found.slope_mg_cm3_per_hu / slope - 1.0).abs() < 0.02
            && (found.intercept_mg_cm3 - intercept).abs() < 5.0,
        "{} {}, and the scanner's {slope} {intercept}",
        found.slope_mg_cm3_per_hu,
        found.intercept_mg_cm3
    );
}

/// A real series in JPEG 2000 with the label map that another program drew on it, its axes running otherwise: the vertebra whose body
/// is whole between its endplates runs to a load, and the other one, which the scan cuts, is refused.
#[test]
fn a_real_series_runs_to_the_load_of_its_whole_vertebra() {
    let Some(data) = shared("data/ct-hu/dicom-jpeg2000-totalsegmentator") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a directory");
    let mut subject = Subject::new(
        Bone::Vertebra,
        Some(CalibrationSpec::Internal {
            without: Vec::new(),
        }),
    );
    subject.label_names = Some(LabelNames::TotalSegmentator);
    subject.level = Some(LevelChoice::All);
    let settings = ["mesh.tet_volume_mm3=6", "load.increments=5"]
        .map(|text| text.parse::<Assignment>().expect("a setting"));
    let protocol = Protocol::built_in("saillard2024-vertebra").expect("a protocol");
    let request = RunRequest {
        ct: data.join("series"),
        mask: Some(data.join("labels.nii.gz")),
        plan_file: None,
        protocol_file: None,
        plan: Plan::resolve(&protocol, subject, &settings).expect("a plan"),
        out: folder.path().join("result"),
        existing: Existing::Refuse,
        device: solver::Device::Cpu,
    };
    let finished = run_levels(&request, &mut Progress::silent()).expect("results");
    let [upper, lower] = &finished.vertebrae[..] else {
        panic!("{} vertebrae", finished.vertebrae.len());
    };
    assert_eq!((upper.label, lower.label), (33, 32));
    // Exit status of a refusal by a gate.
    let CaseEnding::Failed(refused) = &upper.ending else {
        panic!("T11 is cut: {:?}", upper.ending);
    };
    assert_eq!(refused.status, 4);
    assert!(
        refused.error.contains("vertebra_field_of_view"),
        "{refused:?}"
    );
    let CaseEnding::Ran(result) = &lower.ending else {
        panic!("T12 is whole: {:?}", lower.ending);
    };
    // Between 20 and 24 mm of bone are to be seen between the two discs, 11 to 12 slices of 2 mm.
    let height = result.bone_height_mm.expect("a height");
    assert!((19.0..25.0).contains(&height), "{height} mm");
    // Strengths of T12 in machines run from 1 to 8 kN (Kopperdahl 2002 and others).
    let newtons = result.failure_load_n.expect("a load");
    assert!((1000.0..8000.0).contains(&newtons), "{newtons} N");
    let status = |name: &str| {
        let check = result.checks.iter().find(|check| check.name == name);
        check.map(|check| check.status)
    };
    // An osteophyte is cut, the header states an agent, and a piece of the body carries the label of T11.
    for name in ["vertebra_field_of_view", "contrast_agent", "other_labels"] {
        assert_eq!(status(name), Some(CheckStatus::Review), "{name}");
    }
}
