//! Inputs that must be refused, each with its own words and the right kind.

use std::io::{Read as _, Write as _};

use calibration::Phantom;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use imaging::{Grid, LabelMap, Volume};
use osteoload::exit::Ending;
use osteoload::plan::{Basis, CalibrationSpec, RodSource, Subject};
use osteoload::report::CheckStatus;
use osteoload::synth::{Options, Patient, femur};

use super::FemurCase;

fn patient() -> Patient {
    femur(&Options {
        seed: 3,
        spacing_mm: Some([3.0, 3.0, 3.0]),
        shaft_mm: 40.0,
        ..Options::default()
    })
    .expect("a patient")
}

fn refused(ct: &Volume<f32>, labels: &LabelMap, label: u16) -> (u8, String) {
    let line = CalibrationSpec::Line {
        slope: 0.8,
        intercept: 2.0,
        basis: Basis::K2hpo4,
    };
    let case = FemurCase::new(ct, labels, label, line);
    let error = case.try_run(&["mesh.voxel_mm=4"]).expect_err("a refusal");
    assert!(
        !case.path("result").exists(),
        "nothing half-written may stay"
    );
    let ending = Ending::of(&error);
    (ending.status, ending.error)
}

#[test]
fn an_empty_mask_and_a_missing_label() {
    let patient = patient();
    let (status, text) = refused(&patient.ct, &patient.labels.map(|_| 0), 1);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("empty"), "{text}");
    let (status, text) = refused(&patient.ct, &patient.labels, 77);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("77"), "{text}");
}

#[test]
fn a_mask_off_the_grid() {
    let patient = patient();
    let mut labels = patient.labels.clone();
    labels.grid.origin_mm.x += 1.0;
    let (status, text) = refused(&patient.ct, &labels, 1);
    assert_eq!(status, 3, "{text}");
    assert!(
        text.contains("expected") && text.contains("found"),
        "both grids are named: {text}"
    );
}

#[test]
fn a_head_cut_by_the_edge_of_the_scan() {
    let patient = patient();
    let bone = &patient.truth.bones[0];
    let mask = patient.labels.select(&[bone.label]);
    let [_, high] = mask.bounding_box().expect("a bone");
    // Take the upper 18 mm of the scan away, array k running towards the head or not.
    let grid = &patient.ct.grid;
    assert!(
        grid.direction[(2, 2)] > 0.9,
        "the synthetic scan runs towards the head"
    );
    let size = [grid.size[0], grid.size[1], high[2] - 6];
    let cut = Grid {
        size,
        ..grid.clone()
    };
    let ct = Volume::from_fn(cut.clone(), |[i, j, k]| patient.ct.at(i, j, k));
    let labels = Volume::from_fn(cut, |[i, j, k]| patient.labels.at(i, j, k));
    let (status, text) = refused(&ct, &labels, bone.label);
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("head"), "{text}");
}

#[test]
fn two_bones_under_one_label() {
    let patient = patient();
    let label = patient.truth.bones[0].label;
    let labels = patient
        .labels
        .map(|&value| if value > 0 { label } else { 0 });
    let (status, text) = refused(&patient.ct, &labels, label);
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("two bones"), "{text}");
}

#[test]
fn voxels_that_are_no_number() {
    let patient = patient();
    let mut ct = patient.ct.clone();
    ct.data[1234] = f32::NAN;
    let (status, text) = refused(&ct, &patient.labels, patient.truth.bones[0].label);
    assert_eq!(status, 3, "{text}");
    assert!(
        text.to_lowercase().contains("not finite") || text.contains("NaN"),
        "{text}"
    );
}

#[test]
fn negative_densities_are_raised_counted_and_reported() {
    let patient = patient();
    let line = CalibrationSpec::Line {
        slope: 0.8,
        intercept: -150.0,
        basis: Basis::K2hpo4,
    };
    let case = FemurCase::new(
        &patient.ct,
        &patient.labels,
        patient.truth.bones[0].label,
        line,
    );
    let result = case.run(&["mesh.voxel_mm=4", "material.model=linear"]);
    assert!(result.density.min_mg_cm3 < 0.0);
    assert!(result.density.clamped_elements > 0);
    assert!(
        result
            .checks
            .iter()
            .any(|check| check.name == "clamped_density")
    );
}

#[test]
fn a_phantom_with_one_rod() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("one.toml");
    let text = "name = \"one\"\nbasis = \"k2hpo4\"\nsource = \"test\"\n[[rod]]\nname = \"A\"\nequivalent_mg_cm3 = 100.0\n";
    std::fs::write(&file, text).expect("a file");
    assert!(Phantom::read(&file).is_err());
    let patient = patient();
    let mut subject = Subject::new(
        osteoload::plan::Bone::Femur,
        Some(CalibrationSpec::Phantom(file.display().to_string())),
    );
    subject.rods = Some(RodSource::Labels(dir.path().join("rods.nii.gz")));
    let error =
        osteoload::calibrate::for_subject(&subject, &patient.ct, None).expect_err("a refusal");
    let ending = Ending::of(&error);
    assert_eq!(ending.status, 3, "{}", ending.error);
    assert!(ending.error.contains("rod"), "{}", ending.error);
}

#[test]
fn a_file_that_does_not_say_where_left_is_goes_to_review() {
    let patient = patient();
    let line = CalibrationSpec::Line {
        slope: 0.8,
        intercept: 2.0,
        basis: Basis::K2hpo4,
    };
    let label = patient.truth.bones[0].label;
    let case = FemurCase::new(&patient.ct, &patient.labels, label, line);
    let status = || {
        let checks = case.checks(&[]);
        let check = checks.into_iter().find(|check| check.name == "orientation");
        check.expect("the check").status
    };
    assert_eq!(status(), CheckStatus::Pass);
    for name in ["ct.nii.gz", "labels.nii.gz"] {
        let path = case.path(name);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).expect("a file");
        GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .expect("its bytes");
        // NIfTI-1: qform_code at byte 252, sform_code at byte 254.
        bytes[252..256].fill(0);
        let file = std::fs::File::create(&path).expect("a file");
        let mut packed = GzEncoder::new(file, Compression::fast());
        packed.write_all(&bytes).expect("written");
        packed.finish().expect("written");
    }
    assert_eq!(status(), CheckStatus::Review);
}
