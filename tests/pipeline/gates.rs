//! Gates on scan and mask: a synthetic patient passes every one, and each fault painted into it trips its own.

use imaging::components::{Connectivity, largest_component};
use imaging::morphology::{StructuringElement, closing, morph_voxels};
use imaging::{LabelMap, Mask, Volume};
use nalgebra::Vector3;
use osteoload::plan::{Basis, Bone, CalibrationSpec, Plan, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::report::{Check, CheckStatus};
use osteoload::run::{RunRequest, check};
use osteoload::synth::{Lesion, Options, Patient, Side, femur, vertebra};

use super::{FemurCase, scanner_line};
use crate::verification::shared;

/// The gates of this module.
const NAMES: [&str; 13] = [
    "grid",
    "metal",
    "contrast_agent",
    "noise",
    "motion",
    "impossible_densities",
    "holes",
    "thickness",
    "femur_field_of_view",
    "femur_joint_leak",
    "lesion",
    "density_constant",
    "density_around_bone",
];

fn patient(lesion: Lesion) -> Patient {
    femur(&Options {
        seed: 2,
        spacing_mm: Some([1.4; 3]),
        shaft_mm: 40.0,
        side: Some(Side::Left),
        lesion,
        ..Options::default()
    })
    .expect("a patient")
}

fn found(checks: &[Check], name: &str) -> Check {
    let check = checks.iter().find(|check| check.name == name).cloned();
    check.unwrap_or_else(|| panic!("no check {name} in {checks:?}"))
}

/// The gates of a femur with this scan and these labels.
fn gates(patient: &Patient, ct: &Volume<f32>, labels: &LabelMap) -> Vec<Check> {
    let label = patient.truth.bones[0].label;
    FemurCase::new(ct, labels, label, scanner_line(patient)).checks(&[])
}

/// The scan with CT numbers changed by place.
fn painted(patient: &Patient, hu: impl Fn(Vector3<f64>, f32) -> f32) -> Volume<f32> {
    let grid = &patient.ct.grid;
    Volume::from_fn(grid.clone(), |[i, j, k]| {
        let place = grid.to_world(Vector3::new(i as f64, j as f64, k as f64));
        hu(place, patient.ct.at(i, j, k))
    })
}

fn head(patient: &Patient) -> Vector3<f64> {
    let femur = patient.truth.bones[0].femur.as_ref().expect("a femur");
    Vector3::from(femur.head_centre_mm)
}

#[test]
fn a_synthetic_femur_passes_every_gate() {
    let patient = patient(Lesion::None);
    let checks = gates(&patient, &patient.ct, &patient.labels);
    for name in NAMES {
        let check = found(&checks, name);
        assert_eq!(check.status, CheckStatus::Pass, "{check:?}");
        let times = checks.iter().filter(|check| check.name == name).count();
        assert_eq!(times, 1, "{name}");
    }
}

#[test]
fn each_fault_of_the_scan_trips_its_gate() {
    let patient = patient(Lesion::None);
    let head = head(&patient);
    let trips = |ct: &Volume<f32>, name: &str, status: CheckStatus| {
        let check = found(&gates(&patient, ct, &patient.labels), name);
        assert_eq!(check.status, status, "{check:?}");
        check
    };
    // A screw along the neck's height, 6 mm wide.
    let metal = painted(&patient, |place, hu| {
        let screw = (place.yz() - head.yz()).norm() < 3.0 && (place.x - head.x).abs() < 40.0;
        if screw { 3071.0 } else { hu }
    });
    let check = trips(&metal, "metal", CheckStatus::Refuse);
    assert!(check.value.is_some_and(|mm3| mm3 > 1000.0), "{check:?}");
    // A femoral artery 9 mm wide, 10 mm in front of the bone and clear of the pelvis.
    let bone = patient.labels.select(&[patient.truth.bones[0].label]);
    let [low, high] = bone.bounding_box().expect("a bone");
    let place = |i: usize, j: usize| bone.grid.to_world(Vector3::new(i as f64, j as f64, 0.0));
    let artery = place((low[0] + high[0]) / 2, low[1]) - Vector3::new(0.0, 10.0, 0.0);
    let vessel = painted(&patient, |place, hu| {
        let inside = (place.x - artery.x).hypot(place.y - artery.y) < 4.5;
        if inside { 300.0 } else { hu }
    });
    trips(&vessel, "contrast_agent", CheckStatus::Review);
    // Noise that differs from voxel to voxel.
    let mut state = 1u32;
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    let mut noisy = |sd: f32| patient.ct.map(|hu| hu + sd * 12f32.sqrt() * draw());
    trips(&noisy(85.0), "noise", CheckStatus::Review);
    trips(&noisy(220.0), "noise", CheckStatus::Refuse);
    // The patient moves by two voxels, 2.8 mm, to the side.
    let [_, _, nk] = patient.ct.grid.size;
    let moved = Volume::from_fn(patient.ct.grid.clone(), |[i, j, k]| {
        let shift = if k > nk / 3 { 2 } else { 0 };
        patient.ct.at(i.saturating_sub(shift), j, k)
    });
    let check = trips(&moved, "motion", CheckStatus::Review);
    assert!(check.reason.contains("z = "), "{check:?}");
    // CT numbers ten times too large.
    let scaled = patient.ct.map(|hu| 10.0 * hu);
    trips(&scaled, "impossible_densities", CheckStatus::Refuse);
}

#[test]
fn each_fault_of_the_mask_trips_its_gate() {
    let patient = patient(Lesion::None);
    let label = patient.truth.bones[0].label;
    let bone = patient.labels.select(&[label]);
    let relabelled = |mask: &Mask| Volume {
        grid: mask.grid.clone(),
        data: mask
            .data
            .iter()
            .map(|&inside| if inside { label } else { 0 })
            .collect(),
    };
    let trips = |mask: &Mask, name: &str, status: CheckStatus| {
        let check = found(&gates(&patient, &patient.ct, &relabelled(mask)), name);
        assert_eq!(check.status, status, "{check:?}");
        check
    };
    let without = |layers: i32| {
        let core = morph_voxels(&bone, -layers, StructuringElement::Corners);
        Volume {
            grid: bone.grid.clone(),
            data: bone
                .data
                .iter()
                .zip(&core.data)
                .map(|(&bone, &core)| bone && !core)
                .collect(),
        }
    };
    // The cortex alone, then a skin of one voxel.
    trips(&without(2), "holes", CheckStatus::Refuse);
    trips(&without(1), "thickness", CheckStatus::Refuse);
    // Femur and hip bone in one, the joint closed.
    let joined = closing(
        &patient.labels.map(|&label| label > 0),
        3,
        StructuringElement::Faces,
    )
    .expect("a closing");
    let joined = largest_component(&joined, Connectivity::Faces);
    trips(&joined, "femur_joint_leak", CheckStatus::Refuse);
    // A scan that ends inside the trochanter, on its lateral side: the patient's left.
    let [low, high] = bone.bounding_box().expect("a bone");
    let mut grid = bone.grid.clone();
    grid.size[0] = high[0] - 6;
    assert!(grid.size[0] > low[0] + 40);
    let ct = Volume::from_fn(grid.clone(), |[i, j, k]| patient.ct.at(i, j, k));
    let labels = Volume::from_fn(grid, |[i, j, k]| patient.labels.at(i, j, k));
    let check = found(&gates(&patient, &ct, &labels), "femur_field_of_view");
    assert_eq!(check.status, CheckStatus::Refuse, "{check:?}");
}

#[test]
fn coarse_voxels_and_lesions_go_to_review() {
    let with_lesion = patient(Lesion::Lytic);
    let truth = with_lesion.truth.lesion.clone().expect("a lesion");
    assert_eq!(truth.site, "neck");
    let check = found(
        &gates(&with_lesion, &with_lesion.ct, &with_lesion.labels),
        "lesion",
    );
    assert_eq!(check.status, CheckStatus::Review, "{check:?}");
    let coarse = femur(&Options {
        seed: 2,
        spacing_mm: Some([2.0; 3]),
        shaft_mm: 40.0,
        ..Options::default()
    })
    .expect("a patient");
    let check = found(&gates(&coarse, &coarse.ct, &coarse.labels), "grid");
    assert_eq!(
        (check.status, check.value),
        (CheckStatus::Review, Some(2.0))
    );
}

/// The gates of a vertebra.
fn vertebra_gates(
    ct: &Volume<f32>,
    labels: &LabelMap,
    label: &[u16],
    calibration: CalibrationSpec,
) -> Vec<Check> {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    imaging::write_volume(&path("ct.nii.gz"), ct).expect("a scan");
    imaging::write_volume(&path("labels.nii.gz"), labels).expect("labels");
    let mut subject = Subject::new(Bone::Vertebra, Some(calibration));
    subject.label = label.to_vec();
    let protocol = Protocol::built_in("saillard2024-vertebra").expect("the protocol");
    let request = RunRequest {
        ct: path("ct.nii.gz"),
        mask: Some(path("labels.nii.gz")),
        plan_file: None,
        protocol_file: None,
        plan: Plan::resolve(&protocol, subject, &[]).expect("a plan"),
        out: path("result"),
        existing: osteoload::output_dir::Existing::Refuse,
        device: solver::Device::Cpu,
    };
    check(&request, &mut Progress::silent()).expect("the gates")
}

#[test]
fn a_vertebra_has_the_same_gates() {
    let options = Options {
        seed: 3,
        spacing_mm: Some([1.5; 3]),
        level: Some(21),
        ..Options::default()
    };
    let patient = vertebra(&options).expect("a patient");
    let line = scanner_line(&patient);
    let checks = vertebra_gates(&patient.ct, &patient.labels, &[21], line.clone());
    for name in NAMES.iter().filter(|name| !name.starts_with("femur")) {
        let check = found(&checks, name);
        assert_eq!(check.status, CheckStatus::Pass, "{check:?}");
    }
    let lytic = vertebra(&Options {
        lesion: Lesion::Lytic,
        ..options
    })
    .expect("a patient");
    let checks = vertebra_gates(&lytic.ct, &lytic.labels, &[21], line);
    assert_eq!(found(&checks, "lesion").status, CheckStatus::Review);
}

/// Of the real L2 the labels of its cortex alone are a shell; of all four nothing is refused, and of the real L3 neither.
#[test]
fn real_vertebrae_are_refused_by_none_and_a_real_shell_is() {
    let (Some(masked), Some(crop)) = (
        shared("data/density-fe/verse004-L2-spineFE"),
        shared("data/ct-hu/vertebra-L3-tptbox"),
    ) else {
        return;
    };
    let ct = |path: &std::path::Path| imaging::read_volume(path).expect("a scan");
    let map = |path: &std::path::Path| imaging::read_labels(path).expect("labels");
    let density = CalibrationSpec::Density {
        basis: Basis::K2hpo4,
    };
    let l2 = ct(&masked.join("sub-verse004_0000_vertebra_21_im.nii.gz"));
    let labels = map(&masked.join("sub-verse004_0000_vertebra_21_seg.nii.gz"));
    let none_refuses = |checks: &[Check]| {
        for name in NAMES.iter().filter(|name| !name.starts_with("femur")) {
            let check = found(checks, name);
            assert_ne!(check.status, CheckStatus::Refuse, "{check:?}");
        }
        assert_eq!(found(checks, "lesion").status, CheckStatus::Pass);
    };
    none_refuses(&vertebra_gates(
        &l2,
        &labels,
        &[1, 2, 3, 4],
        density.clone(),
    ));
    let shell = found(&vertebra_gates(&l2, &labels, &[2, 4], density), "holes");
    assert_eq!(shell.status, CheckStatus::Refuse, "{shell:?}");
    let l3 = ct(&crop.join("sub-ct_label-22_ct.nii.gz"));
    let labels = map(&crop.join("sub-ct_seg-vert_label-22_msk.nii.gz"));
    let line = CalibrationSpec::Line {
        slope: 0.8,
        intercept: 0.0,
        basis: Basis::K2hpo4,
    };
    let checks = vertebra_gates(&l3, &labels, &[22], line);
    none_refuses(&checks);
    // 70 HU on voxels of 1.5 mm.
    assert_eq!(found(&checks, "noise").status, CheckStatus::Review);
}
