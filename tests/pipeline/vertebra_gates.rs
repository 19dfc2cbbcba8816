//! Vertebrae: several in one scan, their names, and the gates that refuse one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use imaging::morphology::{StructuringElement, morph_voxels};
use imaging::{Grid, LabelMap, Volume};
use osteoload::exit::Ending;
use osteoload::output_dir::Existing;
use osteoload::plan::{Assignment, Basis, Bone, CalibrationSpec, LevelChoice, Plan, Subject};
use osteoload::progress::Progress;
use osteoload::protocol::Protocol;
use osteoload::report::{Check, CheckStatus};
use osteoload::run::{RunRequest, check, mesh, run};
use osteoload::synth::{Options, Patient, vertebra};

use super::scanner_line;
use crate::verification::shared;

/// L2 whole between the cut bodies of L1 and L3.
fn patient() -> Patient {
    vertebra(&Options {
        seed: 3,
        spacing_mm: Some([1.5; 3]),
        level: Some(21),
        ..Options::default()
    })
    .expect("a patient")
}

/// Files of a case in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    subject: Subject,
}

impl Case {
    fn new(
        ct: &Volume<f32>,
        labels: &LabelMap,
        label: &[u16],
        calibration: CalibrationSpec,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        imaging::write_volume(&folder.path().join("ct.nii.gz"), ct).expect("a scan");
        imaging::write_volume(&folder.path().join("labels.nii.gz"), labels).expect("labels");
        let mut subject = Subject::new(Bone::Vertebra, Some(calibration));
        subject.label = label.to_vec();
        Self { folder, subject }
    }

    fn of(patient: &Patient, labels: &LabelMap) -> Self {
        Self::new(&patient.ct, labels, &[21], scanner_line(patient))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, settings: &[&str]) -> RunRequest {
        let settings: Vec<Assignment> = settings
            .iter()
            .map(|text| text.parse().expect("a setting"))
            .collect();
        let protocol = Protocol::built_in("saillard2024-vertebra").expect("the protocol");
        RunRequest {
            ct: self.path("ct.nii.gz"),
            mask: Some(self.path("labels.nii.gz")),
            plan_file: None,
            protocol_file: None,
            plan: Plan::resolve(&protocol, self.subject.clone(), &settings).expect("a plan"),
            out: self.path("result"),
            existing: Existing::Refuse,
            device: solver::Device::Cpu,
        }
    }

    fn checks(&self, settings: &[&str]) -> Vec<Check> {
        check(&self.request(settings), &mut Progress::silent()).expect("the gates")
    }

    fn gate(&self, name: &str, settings: &[&str]) -> Check {
        let checks = self.checks(settings);
        let found = checks.iter().find(|check| check.name == name).cloned();
        found.unwrap_or_else(|| panic!("no check {name} in {checks:?}"))
    }

    /// The run must end at this gate; returns what it says.
    fn is_refused_at(&self, gate: &str) -> String {
        let error = run(&self.request(&[]), &mut Progress::silent()).expect_err("a refusal");
        let ending = Ending::of(&error);
        assert_eq!(ending.status, 4, "{}", ending.error);
        assert!(ending.error.contains(gate), "{}", ending.error);
        assert!(
            !self.path("result").exists(),
            "nothing half-written may stay"
        );
        ending.error
    }
}

/// A part of a patient's scan along the third array axis.
fn levels_of<T: Copy>(volume: &Volume<T>, from: usize, to: usize) -> Volume<T> {
    let mut grid: Grid = volume.grid.clone();
    grid.size[2] = to - from;
    grid.origin_mm += grid.matrix().column(2) * from as f64;
    Volume::from_fn(grid, |[i, j, k]| volume.at(i, j, k + from))
}

fn osteoload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program on a case, which must end with this status; returns standard output and error.
fn ends_with(status: i32, case: &Case, out: &str, more: &[&str]) -> (String, String) {
    let Some(CalibrationSpec::Line {
        slope, intercept, ..
    }) = case.subject.calibration
    else {
        panic!("a line");
    };
    let line = format!("line:{slope},{intercept},k2hpo4");
    let paths = ["ct.nii.gz", "labels.nii.gz", out].map(|name| case.path(name));
    let [ct, mask, out] = [0, 1, 2].map(|n| paths[n].to_str().expect("a plain name"));
    let mut arguments = vec!["run", "--bone", "vertebra", "--ct", ct, "--mask", mask];
    arguments.extend(["--out", out, "--calibration", &line]);
    arguments.extend(["--set", "mesh.kind=hex", "--set", "mesh.voxel_mm=3"]);
    arguments.extend(more);
    let output = osteoload(&arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    (said, error)
}

fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a table");
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("rows")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_level_is_run_or_reported_and_one_level_alone_is_the_same() {
    let patient = patient();
    let case = Case::of(&patient, &patient.labels);
    let (said, _) = ends_with(0, &case, "all", &["--level", "all"]);
    let all = case.path("all");
    let table = rows(&all.join("results.csv"));
    let column = |name: &str| -> Vec<&str> { table.iter().map(|row| row[name].as_str()).collect() };
    assert_eq!(column("level"), ["L1", "L2", "L3"]);
    assert_eq!(column("label"), ["20", "21", "22"]);
    assert_eq!(column("status"), ["refuse", "done", "refuse"]);
    assert!(table[0]["reason"].contains("edge of the scan"), "{table:?}");
    assert_eq!(table[0]["failure_load_n"], "");
    let load: f64 = table[1]["failure_load_n"].parse().expect("a load");
    assert!((1000.0..30_000.0).contains(&load), "{load} N");
    assert_eq!(table[1]["outcome"], "target_reached");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("L1 (label 20): refuse: "), "{said}");
    assert!(lines[1].starts_with("L2 (label 21): "), "{said}");
    assert!(!all.join("L1").exists() && !all.join("L3").exists());
    for name in ["plan.toml", "provenance.json"] {
        assert!(all.join(name).is_file(), "{name}");
    }
    let plan = String::from_utf8(bytes(&all.join("L2/plan.toml"))).expect("text");
    assert!(plan.contains("label_names = \"verse\""), "{plan}");

    // The level alone, by either name of it and by either numbering of the map.
    ends_with(0, &case, "one", &["--level", "vertebrae_L2"]);
    for name in ["curve.csv", "plan.toml", "mask.nii.gz"] {
        let (one, of_all) = (case.path("one").join(name), all.join("L2").join(name));
        assert_eq!(bytes(&one), bytes(&of_all), "{name}");
    }
    let renamed = patient
        .labels
        .map(|&label| if label > 0 { 51 - label } else { 0 });
    let other = Case::of(&patient, &renamed);
    let names = ["--label-names", "totalsegmentator"];
    ends_with(0, &other, "one", &[&names[..], &["--level", "L2"]].concat());
    let curves = [&case, &other].map(|case| bytes(&case.path("one/curve.csv")));
    assert_eq!(curves[0], curves[1]);
    let json: serde_json::Value =
        serde_json::from_slice(&bytes(&other.path("one/result.json"))).expect("JSON");
    assert_eq!(json["level"], "L2");
    // Read as VerSe numbers the same map has no L2.
    let (_, error) = ends_with(3, &other, "none", &["--level", "L2"]);
    assert!(error.contains("no voxel carries label 21"), "{error}");
    let (_, error) = ends_with(3, &other, "none", &["--level", "all"]);
    assert!(error.contains("--label-names"), "{error}");
}

#[test]
fn a_scan_without_a_whole_vertebra_ends_as_its_gates_do() {
    let patient = patient();
    let labels = patient
        .labels
        .map(|&label| if label == 20 { 101 } else { 0 });
    let case = Case::of(&patient, &labels);
    let (said, error) = ends_with(4, &case, "all", &["--level", "all"]);
    assert!(said.starts_with("label-101 (label 101): refuse"), "{said}");
    assert!(error.contains("none of 1 vertebrae"), "{error}");
    let table = rows(&case.path("all/results.csv"));
    assert_eq!((table.len(), table[0]["level"].as_str()), (1, ""));
}

#[test]
fn names_are_stated_and_a_contradiction_goes_to_review() {
    let patient = patient();
    let mut case = Case::of(&patient, &patient.labels);
    let names = case.gate("level_names", &[]);
    assert_eq!(names.status, CheckStatus::Pass);
    assert!(names.reason.contains("VerSe") && names.reason.contains("label 21 is L2"));
    case.subject.level = Some("L3".parse::<LevelChoice>().expect("a level"));
    let level = case.gate("level", &[]);
    assert_eq!(level.status, CheckStatus::Review);
    assert!(
        level.reason.contains("L2") && level.reason.contains("L3"),
        "{}",
        level.reason
    );
    case.subject.level = Some("L2".parse::<LevelChoice>().expect("a level"));
    assert_eq!(case.gate("level", &[]).status, CheckStatus::Pass);
}

/// TotalSegmentator's values read as VerSe's would name L4 T13 and organs cervical vertebrae.
#[test]
fn a_map_in_another_numbering_is_refused() {
    let patient = patient();
    // L1, L2, L3 as 31, 30 and 29, the sacrum's 25 and an organ's 5 somewhere in the background.
    let mut labels = patient.labels.map(|&label| match label {
        20..=22 => 51 - label,
        other => other,
    });
    let background: Vec<usize> = (0..labels.data.len())
        .filter(|&index| labels.data[index] == 0)
        .take(2)
        .collect();
    (labels.data[background[0]], labels.data[background[1]]) = (25, 5);
    let mut case = Case::of(&patient, &labels);
    let (_, error) = ends_with(3, &case, "all", &["--level", "all"]);
    assert!(error.contains("--label-names totalsegmentator"), "{error}");
    case.subject.label = vec![25];
    assert_eq!(case.gate("level_names", &[]).status, CheckStatus::Refuse);
    // A level that is given for a label that is given needs no numbering.
    case.subject.label = vec![30];
    case.subject.level = Some(LevelChoice::One("L2".parse().expect("a level")));
    assert_eq!(case.gate("level_names", &[]).status, CheckStatus::Pass);
}

/// A body whose cortex has a label of its own grows as one body does.
#[test]
fn dilation_moves_a_body_and_its_cortex() {
    let patient = patient();
    let whole = patient.labels.select(&[21]);
    let core = morph_voxels(&whole, -1, StructuringElement::Faces);
    let labels = Volume {
        grid: whole.grid.clone(),
        data: whole
            .data
            .iter()
            .zip(&core.data)
            .map(|(&whole, &core)| u16::from(whole) + u16::from(whole && !core))
            .collect(),
    };
    for step in [-1, 1] {
        let mut case = Case::new(&patient.ct, &labels, &[1, 2], scanner_line(&patient));
        case.subject.morph = f64::from(step);
        let request = case.request(&["mesh.kind=hex", "mesh.voxel_mm=0"]);
        let (mesh, _) = mesh(&request, &mut Progress::silent()).expect("a mesh");
        let wanted = morph_voxels(&whole, step, StructuringElement::Faces).count() as f64;
        let found = mesh.elements as f64;
        // All but crumbs that hang on by an edge.
        assert!(
            (found / wanted - 1.0).abs() < 0.01,
            "{step}: {found} of {wanted}"
        );
    }
}

/// Endplates that were to be found in the image are not taken from the mask instead.
#[test]
fn accepted_or_not_endplates_of_the_image_are_those_of_the_image() {
    let patient = patient();
    let masked = Volume {
        grid: patient.ct.grid.clone(),
        data: patient
            .ct
            .data
            .iter()
            .zip(&patient.labels.data)
            .map(|(&hu, &label)| if label == 21 { hu } else { 0.0 })
            .collect(),
    };
    let mut case = Case::new(&masked, &patient.labels, &[21], scanner_line(&patient));
    case.subject.accept = [
        "density_around_bone",
        "image_endplate_cranial",
        "image_endplate_caudal",
    ]
    .map(str::to_owned)
    .to_vec();
    let request = case.request(&["load.endplates=image_edge"]);
    let error = run(&request, &mut Progress::silent()).expect_err("a refusal");
    let ending = Ending::of(&error);
    assert_eq!(ending.status, 4, "{}", ending.error);
    assert!(
        ending.error.contains("not found in the image"),
        "{}",
        ending.error
    );
}

#[test]
fn a_whole_vertebra_passes_every_gate() {
    let patient = patient();
    let case = Case::of(&patient, &patient.labels);
    let doubts: Vec<Check> = case
        .checks(&[])
        .into_iter()
        .filter(|check| check.status != CheckStatus::Pass)
        .collect();
    assert!(doubts.is_empty(), "{doubts:?}");
}

#[test]
fn two_vertebrae_under_one_label_are_refused_with_their_sizes() {
    let patient = patient();
    // L1 and L2 apart, then joined by what lies between them.
    let apart = patient
        .labels
        .map(|&label| if matches!(label, 20 | 21) { 21 } else { 0 });
    let reason = Case::of(&patient, &apart).is_refused_at("pieces");
    assert!(reason.contains("two pieces of"), "{reason}");
    let [low, high] = patient.labels.select(&[21]).bounding_box().expect("a bone");
    let middle = [0, 1].map(|axis| (low[axis] + high[axis]) / 2);
    let joined = Volume::from_fn(apart.grid.clone(), |[i, j, k]| {
        let column = i.abs_diff(middle[0]) < 6 && j.abs_diff(middle[1]) < 20;
        let between = column && (low[2] + high[2]) / 2 < k;
        if between { 21 } else { apart.at(i, j, k) }
    });
    let check = Case::of(&patient, &joined).gate("one_vertebra", &[]);
    assert_eq!(check.status, CheckStatus::Refuse);
    assert!(check.value.is_some_and(|height| height > 45.0), "{check:?}");
    assert!(check.reason.matches("cm³").count() == 2, "{}", check.reason);
}

#[test]
fn a_cut_body_is_refused_and_a_cut_process_goes_to_review() {
    let patient = patient();
    let [low, high] = patient.labels.select(&[21]).bounding_box().expect("a bone");
    let field = |from, to| {
        let case = Case::new(
            &levels_of(&patient.ct, from, to),
            &levels_of(&patient.labels, from, to),
            &[21],
            scanner_line(&patient),
        );
        case.gate("vertebra_field_of_view", &[])
    };
    let size = patient.labels.grid.size[2];
    assert_eq!(field(0, size).status, CheckStatus::Pass);
    // The lowest slices of a lumbar vertebra are those of its spinous and articular processes.
    let process = field(low[2] + 1, size);
    assert_eq!(process.status, CheckStatus::Review, "{process:?}");
    assert!(process.value.is_some_and(|voxels| voxels > 0.0));
    let body = field((low[2] + high[2]) / 2, size);
    assert_eq!(body.status, CheckStatus::Refuse, "{body:?}");
}

#[test]
fn a_bone_without_contrast_is_refused() {
    let patient = patient();
    for density in [0.0, 300.0] {
        let ct = patient.ct.map(|_| density);
        let spec = CalibrationSpec::Density {
            basis: Basis::K2hpo4,
        };
        let case = Case::new(&ct, &patient.labels, &[21], spec);
        let check = case.gate("density_constant", &[]);
        assert_eq!(
            (check.status, check.value),
            (CheckStatus::Refuse, Some(0.0))
        );
        case.is_refused_at("density_constant");
    }
}

#[test]
fn a_masked_scan_allows_no_dilation_and_no_endplates_from_the_image() {
    const NAME: &str = "density_around_bone";
    let patient = patient();
    let mut case = Case::of(&patient, &patient.labels);
    case.subject.morph = 1.0;
    assert_eq!(case.gate(NAME, &[]).status, CheckStatus::Pass);
    let mut ct = patient.ct.clone();
    for (hu, label) in ct.data.iter_mut().zip(&patient.labels.data) {
        if *label != 21 {
            *hu = 0.0;
        }
    }
    let mut case = Case::of(
        &Patient {
            ct,
            ..patient.clone()
        },
        &patient.labels,
    );
    let check = case.gate(NAME, &[]);
    assert_eq!(
        (check.status, check.value),
        (CheckStatus::Review, Some(100.0))
    );
    let check = case.gate(NAME, &["load.endplates=image_edge"]);
    assert_eq!(check.status, CheckStatus::Refuse);
    case.subject.morph = -1.0;
    assert_eq!(case.gate(NAME, &[]).status, CheckStatus::Review);
    case.subject.morph = 1.0;
    assert_eq!(case.gate(NAME, &[]).status, CheckStatus::Refuse);
    case.is_refused_at(NAME);
    case.subject.accept = vec![NAME.into()];
    let coarse = case.request(&["mesh.kind=hex", "mesh.voxel_mm=3"]);
    run(&coarse, &mut Progress::silent()).expect("accepted by name");
}

#[test]
fn real_vertebrae_are_not_taken_for_two() {
    let (Some(masked), Some(crop)) = (
        shared("data/density-fe/verse004-L2-spineFE"),
        shared("data/ct-hu/vertebra-L3-tptbox"),
    ) else {
        return;
    };
    let read = |folder: &Path, ct: &str, mask: &str| {
        let ct = imaging::read_volume(&folder.join(ct)).expect("a scan");
        (
            ct,
            imaging::read_labels(&folder.join(mask)).expect("labels"),
        )
    };
    let (ct, labels) = read(
        &masked,
        "sub-verse004_0000_vertebra_21_im.nii.gz",
        "sub-verse004_0000_vertebra_21_seg.nii.gz",
    );
    let density = CalibrationSpec::Density {
        basis: Basis::K2hpo4,
    };
    // Bodies and processes, each with a cortex of its own label.
    let case = Case::new(&ct, &labels, &[1, 2, 3, 4], density);
    for name in ["one_vertebra", "pieces", "density_constant"] {
        let check = case.gate(name, &[]);
        assert_eq!(check.status, CheckStatus::Pass, "{check:?}");
    }
    assert_eq!(
        case.gate("density_around_bone", &[]).status,
        CheckStatus::Review
    );
    let (ct, labels) = read(
        &crop,
        "sub-ct_label-22_ct.nii.gz",
        "sub-ct_seg-vert_label-22_msk.nii.gz",
    );
    let line = CalibrationSpec::Line {
        slope: 0.8,
        intercept: 0.0,
        basis: Basis::K2hpo4,
    };
    let case = Case::new(&ct, &labels, &[22], line);
    for name in [
        "one_vertebra",
        "pieces",
        "density_constant",
        "density_around_bone",
    ] {
        let check = case.gate(name, &[]);
        assert_eq!(check.status, CheckStatus::Pass, "{check:?}");
    }
    let names = case.gate("level_names", &[]);
    assert!(names.reason.contains("label 22 is L3"), "{names:?}");
}
