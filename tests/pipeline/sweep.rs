//! A sweep over the mask: every level is the run of its own, and one that cannot be computed stops none.

use std::num::NonZeroUsize;
use std::path::Path;

use osteoload::exit::Ending;
use osteoload::output_dir::Existing;
use osteoload::plan::{Assignment, Bone, MorphUnit, Plan, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::run::{RunRequest, run};
use osteoload::sweep::{Factor, SweepFinished, SweepRequest, sweep};
use osteoload::synth::{Options, femur, vertebra};

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
fn standard_deviations_of_one_length_are_that_length() {
    let case = case();
    let sd = |name: &str, deviation_mm: &dyn Fn(f64) -> f32| -> anyhow::Result<SweepFinished> {
        let labels = imaging::read_labels(&case.path("labels.nii.gz"))?;
        let grid = labels.grid.clone();
        let height = |index: [usize; 3]| grid.to_world(index.map(|i| i as f64).into()).z;
        let map = imaging::Volume::from_fn(grid.clone(), |index| deviation_mm(height(index)));
        let path = case.path(name);
        imaging::write_volume(&path, &map)?;
        let mut base = case.request(&SETTINGS)?;
        base.plan.subject.morph_unit = MorphUnit::StandardDeviation;
        base.plan.subject.uncertainty = Some(path.display().to_string());
        base.out = case.path("sweep-sd");
        let request = SweepRequest {
            base,
            morphs: vec![1.0],
            factors: Vec::new(),
            jobs: None,
        };
        sweep(&request, &mut Progress::silent())
    };
    let millimetres = swept(&case, &[1.0], MorphUnit::Millimetre, 2).expect("a sweep");
    let everywhere = sd("everywhere.nii.gz", &|_| 1.0).expect("a sweep");
    let values = |finished: &SweepFinished| -> Vec<Option<f64>> {
        finished
            .sweep
            .levels
            .iter()
            .map(|level| level.value)
            .collect()
    };
    assert_eq!(values(&everywhere), values(&millimetres));
    assert_ne!(values(&everywhere)[0], values(&everywhere)[1]);
    let mask = |finished: &SweepFinished, level: &str| {
        imaging::read_labels(&finished.place.join(level).join("mask.nii.gz")).expect("a mask")
    };
    let moved = mask(&everywhere, "morph_+1_sd");
    assert_eq!(moved.data, mask(&millimetres, "morph_+1_mm").data);
    let json: serde_json::Value =
        serde_json::from_str(&read(&everywhere.place.join("sweep.json"))).expect("JSON");
    assert_eq!(json["unit"], "sd");
    assert!(json["slope_n_per_mm"].is_null() && json["surface_mm_per_unit"].is_null());
    let provenance = read(&everywhere.place.join("provenance.json"));
    assert!(
        provenance.contains(r#""role": "uncertainty""#),
        "{provenance}"
    );

    // Sure of the lower half: nothing moves there.
    let base = mask(&millimetres, "morph_0_mm");
    let [low, high] = base.map(|&v| v != 0).bounding_box().expect("a bone");
    let z = |k: usize| base.grid.to_world([0.0, 0.0, k as f64].into()).z;
    let middle = 0.5 * (z(low[2]) + z(high[2]));
    let above = sd("above.nii.gz", &|z| if z > middle { 1.0 } else { 0.0 }).expect("a sweep");
    let half = mask(&above, "morph_+1_sd");
    let (mut below_moved, mut above_moved) = (0, 0);
    for index in 0..half.data.len() {
        if half.data[index] != base.data[index] {
            // A point of the surface between the halves has a ball of half the length.
            match z(half.grid.voxel(index)[2]) < middle - 1.0 {
                true => below_moved += 1,
                false => above_moved += 1,
            }
        }
    }
    assert_eq!(below_moved, 0);
    assert!(above_moved > 100, "{above_moved}");

    let negative = sd("negative.nii.gz", &|z| if z > middle { -1.0 } else { 1.0 });
    let ending = Ending::of(&negative.expect_err("no length"));
    assert_eq!(ending.status, 3);
    assert!(ending.error.contains("negative.nii.gz") && ending.error.contains("-1 mm"));

    // A map in micrometres: the level has no load, and says why.
    let wrong = sd("micrometres.nii.gz", &|_| 1000.0).expect("the level as it is");
    let level = &wrong.sweep.levels[1];
    let reason = &level.ending.as_ref().expect("a reason").error;
    assert!(
        level.value.is_none() && reason.contains("micrometres.nii.gz"),
        "{reason}"
    );
    assert!(reason.contains("is the map in mm"), "{reason}");
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

/// Loads of the changed runs of a factor over that of the unchanged case.
fn ratios(finished: &SweepFinished, factor: Factor) -> Vec<f64> {
    let budget = finished.budget.as_ref().expect("a budget");
    let row = budget.rows.iter().find(|row| row.factor == factor);
    let row = row.unwrap_or_else(|| panic!("no row {factor}"));
    let base = budget.base.expect("a base");
    row.runs
        .iter()
        .map(|run| run.value.unwrap_or_else(|| panic!("{run:?}")) / base)
        .collect()
}

#[test]
fn a_factor_changes_the_load_of_a_femur_and_the_table_says_by_how_much() {
    let case = case();
    let mut base = case.request(&SETTINGS).expect("a request");
    base.out = case.path("budget");
    let factors = [
        Factor::Conversion,
        Factor::LoadDirection,
        Factor::Segmentation,
        Factor::Calibration,
    ];
    let request = SweepRequest {
        base,
        morphs: vec![-1.0],
        factors: factors.to_vec(),
        jobs: None,
    };
    let finished = sweep(&request, &mut Progress::silent()).expect("a sweep");
    // Ash density of the same phantom density is larger, so is the load; a turned load is another load.
    assert!(ratios(&finished, Factor::Conversion)[0] > 1.1);
    let turned = ratios(&finished, Factor::LoadDirection);
    assert_eq!(turned.len(), 4);
    assert!(
        turned.iter().all(|ratio| (ratio - 1.0).abs() > 1e-4),
        "{turned:?}"
    );
    // One voxel less is the level of the sweep, one more is computed for the budget.
    let levels: Vec<f64> = finished
        .sweep
        .levels
        .iter()
        .filter_map(|level| level.value)
        .collect();
    let mask = ratios(&finished, Factor::Segmentation);
    assert!((mask[0] - levels[0] / levels[1]).abs() < 1e-12 && (mask[1] - 1.0).abs() > 1e-4);
    assert!(finished.place.join("morph_+1_voxel").is_dir());

    let text = read(&finished.place.join("budget.csv"));
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let head = rows.headers().expect("a head").clone();
    let contract = "factor,low,high,failure_load_low_n,failure_load_high_n,change_low_percent,change_high_percent";
    assert!(head.iter().zip(contract.split(',')).all(|(a, b)| a == b));
    let rows: Vec<csv::StringRecord> = rows.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!((&rows[0][1], &rows[0][2]), ("identity", "keyak1994"));
    let change: f64 = rows[0][6].parse().expect("a change");
    assert!((change / 100.0 + 1.0 - ratios(&finished, Factor::Conversion)[0]).abs() < 1e-9);
    // A line that is given has no standard errors: the row says so and has no numbers.
    assert!(rows[3][1].is_empty() && text.contains("no standard errors"));
    for name in [
        "tornado.svg",
        "tornado.png",
        "budget_runs.csv",
        "report.html",
    ] {
        assert!(finished.place.join(name).is_file(), "{name}");
    }
    // The plan says what was changed, and a run reads it as its base's.
    let plan = read(&finished.place.join("plan.toml"));
    assert!(plan.contains("[sweep.load-direction]") && plan.contains("+10°"));
    Plan::from_toml(&plan).expect("a plan");
}

#[test]
fn an_internal_calibration_shows_what_it_owes_to_each_tissue() {
    let mut case = case();
    case.calibration = "internal".parse().expect("a calibration");
    // Blood drawn within the muscle of the thigh joins the four tissues that are found.
    let ct = imaging::read_volume(&case.path("ct.nii.gz")).expect("the scan");
    let truth = imaging::read_labels(&case.path("labels.nii.gz")).expect("labels");
    let (bone, hu) = (truth.select(&[case.label]), &ct.data);
    let near = |voxel: usize| {
        let [i, j, k] = bone.grid.voxel(voxel);
        let beside = (0..8).all(|step| {
            let at = bone.grid.index((i + step).min(bone.grid.size[0] - 1), j, k);
            !bone.data[at] && (20.0..90.0).contains(&hu[at])
        });
        beside && (k + 1) * 2 > bone.grid.size[2]
    };
    let mut drawn = imaging::LabelMap::filled(bone.grid.clone(), 0);
    for voxel in (0..bone.data.len()).filter(|&voxel| near(voxel)).take(400) {
        drawn.data[voxel] = 3;
    }
    imaging::write_volume(&case.path("tissues.nii.gz"), &drawn).expect("a label map");

    let settings = ["mesh.voxel_mm=3", "load.increments=10"];
    let mut base = case.request(&settings).expect("a request");
    base.plan.subject.tissues = Some(case.path("tissues.nii.gz").display().to_string());
    base.out = case.path("budget");
    let request = SweepRequest {
        base: base.clone(),
        morphs: Vec::new(),
        factors: vec![Factor::Calibration],
        jobs: None,
    };
    let finished = sweep(&request, &mut Progress::silent()).expect("a sweep");
    let budget = finished.budget.as_ref().expect("a budget");
    let row = &budget.rows[0];
    let settings: Vec<&str> = row.runs.iter().map(|run| run.setting.as_str()).collect();
    let all = ["adipose", "air", "blood", "cortical bone", "muscle"];
    assert_eq!(settings, all.map(|tissue| format!("without {tissue}")));
    // Without air there is no density that rises with the CT number: said, not left out.
    assert!(row.runs[1].value.is_none() && row.runs[1].reason.contains("no air among them"));
    let unchanged = budget.base.expect("a base");
    let load = |place: usize| row.runs[place].value.expect("a load");
    assert!((load(3) / unchanged - 1.0).abs() > 0.01, "{row:?}");
    assert!((load(2) / unchanged - 1.0).abs() < 0.1, "{row:?}");

    // A run by the variant's own plan is that variant.
    let plan = read(&finished.place.join("factor_calibration_4/plan.toml"));
    assert!(plan.contains("internal:without=cortical_bone"), "{plan}");
    let mut again = base;
    again.plan = Plan::from_toml(&plan).expect("a plan");
    again.out = case.path("again");
    let result = run(&again, &mut Progress::silent()).expect("a run");
    let alone = result.results[0].failure_load_n.expect("a load");
    assert!((alone / load(3) - 1.0).abs() < 1e-5, "{alone} {}", load(3));
    let provenance = read(&case.path("again").join("provenance.json"));
    assert!(provenance.contains("\"tissues\""), "{provenance}");
}

#[test]
fn a_turned_load_is_another_load_for_a_vertebra_too() {
    let patient = vertebra(&Options {
        seed: 5,
        spacing_mm: Some([2.0; 3]),
        ..Options::default()
    })
    .expect("a patient");
    let bones = patient.truth.bones.iter();
    let target = bones
        .max_by(|a, b| a.mask_volume_mm3.total_cmp(&b.mask_volume_mm3))
        .expect("a vertebra");
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    imaging::write_volume(&path("ct.nii.gz"), &patient.ct).expect("a scan");
    imaging::write_volume(&path("labels.nii.gz"), &patient.labels).expect("labels");
    let mut subject = Subject::new(Bone::Vertebra, Some(scanner_line(&patient)));
    subject.label = vec![target.label];
    let settings = ["mesh.kind=hex", "mesh.voxel_mm=3", "load.increments=6"];
    let settings: Vec<Assignment> = settings
        .iter()
        .map(|text| text.parse().expect("a setting"))
        .collect();
    let protocol = Protocol::built_in("saillard2024-vertebra").expect("a protocol");
    let base = RunRequest {
        ct: path("ct.nii.gz"),
        mask: Some(path("labels.nii.gz")),
        plan_file: None,
        protocol_file: None,
        plan: Plan::resolve(&protocol, subject, &settings).expect("a plan"),
        out: path("budget"),
        existing: Existing::Refuse,
        device: solver::Device::Cpu,
    };
    let request = SweepRequest {
        base,
        morphs: Vec::new(),
        factors: vec![Factor::LoadDirection],
        jobs: None,
    };
    let finished = sweep(&request, &mut Progress::silent()).expect("a sweep");
    let turned = ratios(&finished, Factor::LoadDirection);
    assert!(
        turned.iter().all(|ratio| (ratio - 1.0).abs() > 1e-4),
        "{turned:?}"
    );
    assert!(
        turned.iter().all(|ratio| (0.5..1.5).contains(ratio)),
        "{turned:?}"
    );
}
