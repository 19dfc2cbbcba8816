//! A synthetic femur: mirrored, in finer increments, and interrupted.

use imaging::Volume;
use osteoload::plan::CalibrationSpec;
use osteoload::report::RunOutcome;
use osteoload::synth::{Options, Patient, femur};

use super::{FemurCase, scanner_line};

/// A small femur with a short shaft.
fn patient() -> Patient {
    femur(&Options {
        seed: 3,
        spacing_mm: Some([1.5, 1.5, 2.0]),
        shaft_mm: 45.0,
        ..Options::default()
    })
    .expect("a patient")
}

fn label(patient: &Patient) -> u16 {
    patient.truth.bones[0].label
}

/// The mirror image: x of the world is negated, the array is left as it is.
pub(super) fn mirrored<T: Clone>(volume: &Volume<T>) -> Volume<T> {
    let mut grid = volume.grid.clone();
    grid.origin_mm.x = -grid.origin_mm.x;
    for axis in 0..3 {
        grid.direction[(0, axis)] = -grid.direction[(0, axis)];
    }
    Volume {
        grid,
        data: volume.data.clone(),
    }
}

#[test]
fn a_mirrored_femur_breaks_at_the_same_load_on_the_other_side() {
    let patient = patient();
    let line = scanner_line(&patient);
    let settings = ["mesh.voxel_mm=4", "solver.tolerance=1e-8"];
    let one = FemurCase::new(&patient.ct, &patient.labels, label(&patient), line.clone());
    let other = FemurCase::new(
        &mirrored(&patient.ct),
        &mirrored(&patient.labels),
        label(&patient),
        line,
    );
    // The label value names the side of the first; the mirror image contradicts it, so both are told.
    let (a, b) = (one.run(&settings), other.run(&settings));
    assert_ne!(a.side, b.side);
    let (a, b) = (
        a.failure_load_n.expect("a load"),
        b.failure_load_n.expect("a load"),
    );
    assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
}

#[test]
fn half_the_increment_finds_the_same_peak() {
    let patient = patient();
    let case = FemurCase::new(
        &patient.ct,
        &patient.labels,
        label(&patient),
        scanner_line(&patient),
    );
    let coarse = case.run(&["mesh.voxel_mm=3", "load.increments=80"]);
    let fine = case.run(&["mesh.voxel_mm=3", "load.increments=160"]);
    for result in [&coarse, &fine] {
        assert_eq!(result.outcome, RunOutcome::PeakPassed);
        assert!(result.force_balance.expect("a balance") < 1e-4);
    }
    let (a, b) = (
        coarse.failure_load_n.expect("a load"),
        fine.failure_load_n.expect("a load"),
    );
    assert!((a - b).abs() < 0.01 * a, "{a} {b}");
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_keeps_the_increments_done() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let patient = patient();
    let CalibrationSpec::Line {
        slope, intercept, ..
    } = scanner_line(&patient)
    else {
        panic!("a line");
    };
    let label = label(&patient);
    let case = FemurCase::new(&patient.ct, &patient.labels, label, scanner_line(&patient));
    let mut child = Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(["run", "--verbose", "--threads", "1", "--bone", "femur"])
        .args(["--set", "mesh.voxel_mm=4", "--set", "load.increments=50000"])
        .arg(format!("--label={label}"))
        .arg(format!("--calibration=line:{slope},{intercept},k2hpo4"))
        .arg("--ct")
        .arg(case.path("ct.nii.gz"))
        .arg("--mask")
        .arg(case.path("labels.nii.gz"))
        .arg("--out")
        .arg(case.path("result"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let mut said = Vec::new();
    let begun = lines.by_ref().map_while(Result::ok).any(|line| {
        said.push(line);
        said.last()
            .is_some_and(|line| line.contains("increment 5:"))
    });
    assert!(begun, "{}", said.join("\n"));
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
    // Read on, so that the program need not wait for room in the pipe.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(
        child.wait().expect("it ends").code(),
        Some(130),
        "{}",
        rest.join("\n")
    );
    let text = std::fs::read_to_string(case.path("result/result.json")).expect("a result");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["outcome"], "interrupted");
    assert_eq!(json["failure_load_n"], serde_json::Value::Null);
    let curve = std::fs::read_to_string(case.path("result/curve.csv")).expect("a curve");
    let rows = curve.lines().skip(1).count();
    assert!((5..50000).contains(&rows), "{rows}");
}
