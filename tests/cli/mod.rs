//! The command as a user meets it: exit status, standard error, files. Nothing here solves.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn osteoload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_scan(path: &Path) {
    let grid = imaging::Grid::axis_aligned([5, 4, 3], [1.0, 1.5, 2.0]);
    let volume = imaging::Volume::from_fn(grid, |[i, j, k]| (i + 10 * j + 100 * k) as i16);
    imaging::write_volume(path, &volume).expect("a small scan is written");
}

#[test]
fn help_and_version_are_no_errors() {
    for option in ["--help", "-h", "--version"] {
        let output = osteoload(&[option]);
        assert_eq!(output.status.code(), Some(0), "{option}");
        assert!(stderr(&output).is_empty() && !output.stdout.is_empty());
    }
}

#[test]
fn endings_have_their_status_and_say_why_on_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let junk = dir.path().join("junk.nii");
    std::fs::write(&junk, "no image").expect("a file");
    let junk = junk.to_str().expect("a plain name");
    let femur = |calibration: &'static str| {
        vec![
            "run",
            "--ct",
            "c.nii",
            "--bone",
            "femur",
            "--mask",
            "m.nii",
            "--label",
            "1",
            "--calibration",
            calibration,
            "--out",
            "o",
        ]
    };
    let mut with_unknown_key = femur("density");
    with_unknown_key.extend(["--set", "mesh.voxle_mm=1"]);
    for (arguments, status, part) in [
        (vec!["protocol", "show", "sas2020"], 2, "sas2020-femur"),
        (vec!["nonsense"], 2, "nonsense"),
        (with_unknown_key, 2, "did you mean `mesh.voxel_mm`"),
        (vec!["doctor", "--device", "cuda"], 2, "CPU only"),
        (vec!["info", "no-such-file.nii"], 3, "no-such-file.nii"),
        (vec!["info", junk], 3, "junk.nii"),
    ] {
        let output = osteoload(&arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
    let output = osteoload(&["doctor", "--device", "cuda"]);
    assert_eq!(
        stderr(&output),
        "error: --device cuda: this build computes on the CPU only\n\
         help: build with the feature cuda, or compute on the CPU\n"
    );
}

#[test]
fn a_deck_whose_body_is_not_held_names_node_and_motion() {
    const DECK: &str = "*NODE\n11,0,0,0\n12,1,0,0\n13,1,1,0\n14,0,1,0\n15,0,0,1\n16,1,0,1\n17,1,1,1\n18,0,1,1\n\
        *ELEMENT,TYPE=C3D8,ELSET=E\n1,11,12,13,14,15,16,17,18\n\
        *NSET,NSET=BOT\n11,12,13,14\n*NSET,NSET=TOP\n15,16,17,18\n\
        *MATERIAL,NAME=M\n*ELASTIC\n1000.,0.3\n*SOLID SECTION,ELSET=E,MATERIAL=M\n\
        *STEP\n*STATIC\n*BOUNDARY\nBOT,3,3\nTOP,3,3,-0.1\n11,1,2\n*END STEP\n";
    let dir = tempfile::tempdir().expect("a directory");
    let deck = dir.path().join("loose.inp");
    std::fs::write(&deck, DECK).expect("a deck");
    let out = dir.path().join("result");
    let arguments = [
        "solve",
        deck.to_str().expect("name"),
        "--out",
        out.to_str().expect("name"),
    ];
    let output = osteoload(&arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("free to turn about z"), "{text}");
    let node = |label: &str| text.contains(&format!("node {label} "));
    assert!(node("13") || node("17"), "{text}");
    assert!(!out.exists());
    std::fs::write(&deck, DECK.replace("11,1,2\n", "11,1,2\n12,2,2\n")).expect("a deck");
    assert_eq!(osteoload(&arguments).status.code(), Some(0));
}

#[test]
fn a_converted_scan_has_the_same_grid_and_is_not_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("ct.nii.gz"), dir.path().join("ct.mha"));
    write_scan(&from);
    let arguments = [
        "convert",
        from.to_str().expect("name"),
        to.to_str().expect("name"),
    ];
    assert_eq!(osteoload(&arguments).status.code(), Some(0));
    assert_eq!(osteoload(&arguments).status.code(), Some(2));
    let output = osteoload(&["info", "--json", to.to_str().expect("name")]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["size"], serde_json::json!([5, 4, 3]));
    assert_eq!(json["spacing_mm"], serde_json::json!([1.0, 1.5, 2.0]));
    assert_eq!(json["max"], 234.0);
}

#[test]
#[cfg(unix)]
fn an_interruption_ends_with_130() {
    // A pelvis takes many seconds to draw.
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(["synth", "hip", "--seed", "1", "--out"])
        .arg(dir.path().join("patient"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(!dir.path().join("patient").exists(), "half a patient");
}

/// A block of 4x4x4 boxes that yields, pressed in 20000 increments.
fn long_deck() -> String {
    use std::fmt::Write as _;
    let mut deck = String::from("*NODE\n");
    let number = |i: usize, j: usize, k: usize| 1 + i + 5 * (j + 5 * k);
    for index in 0..125 {
        let (i, j, k) = (index % 5, index / 5 % 5, index / 25);
        let _ = writeln!(deck, "{},{i}.,{j}.,{k}.", number(i, j, k));
    }
    deck += "*ELEMENT,TYPE=C3D8,ELSET=ALL\n";
    for index in 0..64 {
        let (i, j, k) = (index % 4, index / 4 % 4, index / 16);
        let layer =
            |k| [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(a, b)| number(i + a, j + b, k).to_string());
        let corners = [layer(k), layer(k + 1)].concat().join(",");
        let _ = writeln!(deck, "{},{corners}", index + 1);
    }
    deck += "*NSET,NSET=BOT,GENERATE\n1,25\n*NSET,NSET=TOP,GENERATE\n101,125\n\
        *MATERIAL,NAME=M\n*ELASTIC\n1000.,0.3\n*PLASTIC\n10.,0.\n\
        *SOLID SECTION,ELSET=ALL,MATERIAL=M\n*BOUNDARY\nBOT,1,3\n\
        *STEP,INC=20000\n*STATIC,DIRECT\n5e-5,1.\n*BOUNDARY\nTOP,3,3,-0.2\n\
        *NODE PRINT,NSET=TOP,TOTALS=ONLY\nRF\n*END STEP\n";
    deck
}

#[test]
#[cfg(unix)]
fn an_interrupted_deck_keeps_the_increments_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let deck = dir.path().join("block.inp");
    std::fs::write(&deck, long_deck()).expect("the deck");
    let out = dir.path().join("result");
    let mut child = Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .arg("solve")
        .arg(&deck)
        .arg("--out")
        .arg(&out)
        .args(["--quiet", "--threads", "1"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The fields of each increment are written at once, into the directory that is being filled.
    let begun = || {
        let folders = std::fs::read_dir(dir.path()).expect("the directory");
        folders
            .flatten()
            .any(|entry| entry.path().join("fields_0005.vtu").is_file())
    };
    let start = std::time::Instant::now();
    while !begun() {
        assert!(
            start.elapsed().as_secs() < 120,
            "no increment in two minutes"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let text = std::fs::read_to_string(out.join("result.json")).expect("a result");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["outcome"], "interrupted");
    assert_eq!(json["converged"], false);
    let done = json["increments"].as_u64().expect("a number");
    assert!((5..20000).contains(&done), "{done}");
    let reactions = std::fs::read_to_string(out.join("reactions.csv")).expect("reactions");
    let rows = reactions
        .lines()
        .filter(|line| line.contains(",TOP,"))
        .count();
    assert_eq!(rows as u64, done);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // As in `osteoload protocol keys | head -1`.
    let mut child = Command::new(env!("CARGO_BIN_EXE_osteoload"))
        .args(["protocol", "keys"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}");
}
