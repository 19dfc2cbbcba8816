//! A run's model in the formats of other programs, and what they make of it.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use osteoload::export::{Format, MODEL_FILE, StoredModel};
use osteoload::synth::{Options, femur};

use super::{FemurCase, scanner_line};

/// Increments of the run.
const INCREMENTS: usize = 5;

fn osteoload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program, which must end with this status.
pub(super) fn ends_with(status: i32, arguments: &[&str]) -> String {
    let output = osteoload(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    error + &String::from_utf8_lossy(&output.stdout)
}

pub(super) fn name(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a table");
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("rows")
}

/// Reactions (N) by set and time.
pub(super) type Reactions = HashMap<(String, usize), [f64; 3]>;

/// Solves a deck with this program.
pub(super) fn solved(deck: &Path, out: &Path, formulation: &str) -> Reactions {
    let arguments = ["solve", name(deck), "--out", name(out), "--no-fields"];
    let arguments = [&arguments[..], &["--element-formulation", formulation]].concat();
    ends_with(0, &arguments);
    table(&out.join("reactions.csv"))
        .iter()
        .map(|row| {
            let time: f64 = row["time"].parse().expect("a time");
            let force = ["rfx_n", "rfy_n", "rfz_n"].map(|key| row[key].parse().expect("a force"));
            ((row["set"].clone(), time.round() as usize), force)
        })
        .collect()
}

/// The same by CalculiX; `None` where it is not installed.
pub(super) fn solved_by_calculix(folder: &Path, job: &str) -> Option<Reactions> {
    let Ok(output) = Command::new("ccx").arg(job).current_dir(folder).output() else {
        eprintln!("not compared with CalculiX: there is no `ccx` on PATH");
        return None;
    };
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !log.contains("*ERROR"), "{log}");
    let printed = std::fs::read_to_string(folder.join(format!("{job}.dat"))).expect("its output");
    let words: Vec<&str> = printed.split_whitespace().collect();
    let mut reactions = Reactions::new();
    for at in 0..words.len() {
        // "total force (fx,fy,fz) for set NAME and time T" and three numbers.
        if words[at..].starts_with(&["total", "force"]) {
            let number = |n: usize| words[at + n].parse::<f64>().expect("a number");
            let time = number(8).round() as usize;
            let force = [number(9), number(10), number(11)];
            reactions.insert((words[at + 5].to_owned(), time), force);
        }
    }
    Some(reactions)
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest difference of two reactions of one set and time over the second.
pub(super) fn worst(found: &Reactions, expected: &Reactions) -> f64 {
    assert_eq!(found.len(), expected.len());
    expected
        .iter()
        .map(|(key, force)| {
            let own = found[key];
            length(std::array::from_fn(|axis| own[axis] - force[axis])) / length(*force)
        })
        // A maximum would pass over what is no number.
        .inspect(|off| assert!(off.is_finite(), "a reaction is no number"))
        .fold(0.0, f64::max)
}

#[test]
fn a_run_is_exported_and_solved_again() {
    let patient = femur(&Options {
        seed: 3,
        spacing_mm: Some([3.0, 3.0, 3.0]),
        shaft_mm: 40.0,
        ..Options::default()
    })
    .expect("a patient");
    let bone = &patient.truth.bones[0];
    let line = scanner_line(&patient);
    let case = FemurCase::new(&patient.ct, &patient.labels, bone.label, line);
    let increments = format!("load.increments={INCREMENTS}");
    // Perfectly plastic; the run goes no further than the prescribed displacement.
    case.run(&[
        "mesh.voxel_mm=5",
        "material.softening=off",
        "load.extension=1",
        &increments,
    ]);
    let run = case.path("result");
    // Every run leaves its report, and the command makes the same one again.
    let page = std::fs::read_to_string(run.join("report.html")).expect("a report");
    assert!(page.contains("id=\"scene-data\"") && !page.contains("Not shown"));
    let again = case.path("again.html");
    ends_with(0, &["report", name(&run), "--out", name(&again)]);
    assert!(std::fs::read_to_string(again).expect("a report") == page);

    for format in Format::ALL {
        let to = format.extension();
        ends_with(0, &["export", name(&run), "--to", to]);
        let again = ends_with(2, &["export", name(&run), "--to", to]);
        assert!(again.contains("--overwrite"), "{again}");
        ends_with(0, &["export", name(&run), "--to", to, "--overwrite"]);
    }
    let empty = tempfile::tempdir().expect("a directory");
    let error = ends_with(3, &["export", name(empty.path()), "--to", "inp"]);
    assert!(
        error.contains(MODEL_FILE) && error.contains("help: "),
        "{error}"
    );
    let binned = case.path("binned.inp");
    let out = ["--out", name(&binned), "--bins", "10"];
    let said = ends_with(
        0,
        &[&["export", name(&run), "--to", "inp"], &out[..]].concat(),
    );
    assert!(said.contains("at most 10 bins"), "{said}");
    assert!(
        said.contains(", 10 materials") || said.contains(", 9 materials"),
        "{said}"
    );

    // The deck is the model: solved with the run's own elements it gives the run's curve.
    let model = StoredModel::read(&run.join(MODEL_FILE)).expect("the model");
    assert_eq!(model.increments, INCREMENTS);
    let loaded = &model.sets[0];
    let mut direction = [0.0; 3];
    for held in model
        .prescribed
        .iter()
        .filter(|h| h.node == loaded.nodes[0])
    {
        direction[usize::from(held.component)] = held.displacement_mm;
    }
    let total = length(direction);
    let with_bbar = solved(&run.join("model.inp"), &case.path("bbar"), "bbar");
    let curve = table(&run.join("curve.csv"));
    let mut compared = 0;
    for row in &curve {
        let increment: usize = row["increment"].parse().expect("a number");
        let Some(force) = with_bbar.get(&(loaded.name.to_uppercase(), increment)) else {
            continue;
        };
        let along: f64 = (0..3)
            .map(|axis| force[axis] * direction[axis] / total)
            .sum();
        let expected: f64 = row["force_n"].parse().expect("a force");
        assert!(
            (along - expected).abs() < 1e-5 * expected,
            "increment {increment}: {along} for {expected}"
        );
        compared += 1;
    }
    assert_eq!(compared, INCREMENTS);

    // Plain elements, which CalculiX has, with every material and with bins.
    std::fs::copy(run.join("model.inp"), case.path("all.inp")).expect("a copy");
    for job in ["all", "binned"] {
        let deck = case.path(&format!("{job}.inp"));
        let ours = solved(&deck, &case.path(job), "as-deck");
        assert_eq!(ours.len(), 2 * INCREMENTS);
        // CalculiX names its files by the job, in the directory where it runs.
        if let Some(theirs) = solved_by_calculix(case.folder.path(), job) {
            let worst = worst(&ours, &theirs);
            eprintln!(
                "{job}: reactions within {worst:.1e} of CalculiX's in {INCREMENTS} increments"
            );
            assert!(worst < 1e-3, "{job}: {worst}");
        }
    }
}
