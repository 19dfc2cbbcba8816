//! A sweep over the mask: every level is the run of its own, and one that cannot be computed stops none.

use std::num::NonZeroUsize;
use std::path::Path;

use osteoload::exit::Ending;
use osteoload::plan::MorphUnit;
use osteoload::progress::Progress;
use osteoload::run::run;
use osteoload::sweep::{SweepFinished, SweepRequest, sweep};
use osteoload::synth::{Options, femur};

use super::{FemurCase, scanner_line};

const SETTINGS: [&str; 2] = ["mesh.voxel_mm=3", "load.increments=40"];

fn case() -> FemurCase {
    let patient = femur(&Options {
        seed: 3,
        spacing_mm: Some([1.5, 1.5, 2.0]),
        shaft_mm: 45.0,
        ..Options::default()
    })
    .expect("a patient");
    let label = patient.truth.bones[0].label;
    FemurCase::new(&patient.ct, &patient.labels, label, scanner_line(&patient))
}

fn swept(
    case: &FemurCase,
    morphs: &[f64],
    unit: MorphUnit,
    jobs: usize,
) -> anyhow::Result<SweepFinished> {
    let mut base = case.request(&SETTINGS)?;
    base.plan.subject.morph_unit = unit;
    base.plan.subject.body_weight_kg = Some(70.0);
    base.out = case.path("sweep");
    let request = SweepRequest {
        base,
        morphs: morphs.to_vec(),
        factors: Vec::new(),
        jobs: NonZeroUsize::new(jobs),
    };
    sweep(&request, &mut Progress::silent())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_level_is_the_run_of_its_own() {
    let case = case();
    let finished = swept(&case, &[-1.0, 1.0], MorphUnit::Voxel, 2).expect("a sweep");
    finished.answered().expect("an answer");
    let sweep = &finished.sweep;
    let loads: Vec<f64> = sweep
        .levels
        .iter()
        .filter_map(|level| level.value)
        .collect();
    assert_eq!(loads.len(), 3, "the base is computed too");

    let mut request = case.request(&SETTINGS).expect("a request");
    request.plan.subject.morph = -1.0;
    request.plan.subject.body_weight_kg = Some(70.0);
    let own = run(&request, &mut Progress::silent()).expect("a run");
    let level = finished.place.join("morph_-1_voxel");
    for name in ["curve.csv", "plan.toml"] {
        assert_eq!(
            read(&level.join(name)),
            read(&own.place.join(name)),
            "{name}"
        );
    }
    for name in ["mask.nii.gz", "density.nii.gz", "model.vtu", "fields.pvd"] {
        let bytes = |folder: &Path| std::fs::read(folder.join(name)).expect(name);
        assert_eq!(bytes(&level), bytes(&own.place), "{name}");
    }

    // One at a time, and in another order: the same table.
    let table = read(&finished.place.join("sweep.csv"));
    let again = swept(&case, &[1.0, 0.0, -1.0], MorphUnit::Voxel, 1).expect("a sweep");
    assert_eq!(read(&again.place.join("sweep.csv")), table);

    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let names = rows.headers().expect("a header").clone();
    let contract =
        "morph,unit,dice,volume_mm3,failure_load_n,change_percent,stiffness_n_per_mm,outcome";
    assert!(names.iter().zip(contract.split(',')).all(|(a, b)| a == b));
    let rows: Vec<csv::StringRecord> = rows.records().map(|row| row.expect("a row")).collect();
    let number = |row: usize, column: &str| -> f64 {
        let at = names.iter().position(|name| name == column).expect(column);
        rows[row][at].parse().expect(column)
    };
    assert_eq!((number(0, "morph"), number(2, "morph")), (-1.0, 1.0));
    for row in 0..3 {
        let change = 100.0 * (loads[row] / loads[1] - 1.0);
        assert!((number(row, "change_percent") - change).abs() < 1e-9);
    }
    assert_eq!(
        (number(1, "dice"), number(1, "loaded_moved_percent")),
        (1.0, 0.0)
    );
    assert!((0.8..0.999).contains(&number(0, "dice")));
    assert!(number(0, "volume_mm3") < number(1, "volume_mm3"));
    // Voxels of 1.5 x 1.5 x 2 mm: a third of the distance from -1 to +1 in mm is (4.5)^(1/3).
    let slope = (loads[2] - loads[0]) / (2.0 * 4.5_f64.cbrt());
    assert!((number(1, "slope_n_per_mm") / slope - 1.0).abs() < 1e-9);
    assert!((number(1, "slope_n_per_voxel") - (loads[2] - loads[0]) / 2.0).abs() < 1e-6);

    let band: serde_json::Value =
        serde_json::from_str(&read(&finished.place.join("sweep.json"))).expect("JSON");
    let weight_n = 70.0 * 9.80665;
    let lowest = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let in_weights = band["risk"]["low"]["failure_load_body_weights"].as_f64();
    assert!((in_weights.expect("a ratio") - lowest / weight_n).abs() < 1e-9);
    for name in ["sweep.svg", "sweep.png", "provenance.json", "plan.toml"] {
        assert!(finished.place.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_level_that_cannot_be_computed_stops_none() {
    let case = case();
    let finished = swept(&case, &[-60.0, 0.5], MorphUnit::Millimetre, 2).expect("a sweep");
    finished.answered().expect("the base has its load");
    let [gone, base, grown] = &finished.sweep.levels[..] else {
        panic!("{} levels", finished.sweep.levels.len());
    };
    assert_eq!(gone.status, "failed");
    let ending = gone.ending.as_ref().expect("a reason");
    assert!(ending.error.contains("nothing is left"), "{}", ending.error);
    assert!(!finished.place.join("morph_-60_mm").exists());
    assert!(base.value.is_some() && grown.value.is_some());
}

#[test]
fn a_sweep_of_nothing_leaves_nothing() {
    let mut case = case();
    case.label = 77;
    let error = swept(&case, &[-1.0], MorphUnit::Voxel, 2).expect_err("no such label");
    let ending = Ending::of(&error);
    assert_eq!(ending.status, 3);
    assert!(ending.error.contains("label 77"), "{}", ending.error);
    assert!(!case.path("sweep").exists());
    let half_a_voxel = swept(&case, &[0.5], MorphUnit::Voxel, 1).expect_err("voxels are whole");
    assert_eq!(Ending::of(&half_a_voxel).status, 2);
}
