//! A cohort: what stands is never computed again, what is half written is never trusted, and the table is the same whatever
//! happened on the way.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use imaging::morphology::{StructuringElement, morph_voxels};
use osteoload::evaluate::{EvaluateRequest, evaluate};
use osteoload::synth::{Options, femur};

/// A scan with a femur, its mask, a mask one voxel thicker, and tables of cases.
struct Study {
    folder: tempfile::TempDir,
}

/// A femur on coarse elements: a run takes a fraction of a second.
const SETTINGS: &str = "mesh.voxel_mm=5;load.increments=16";

impl Study {
    fn new() -> Self {
        let patient = femur(&Options {
            seed: 3,
            spacing_mm: Some([2.5, 2.5, 3.0]),
            shaft_mm: 45.0,
            ..Options::default()
        })
        .expect("a patient");
        let folder = tempfile::tempdir().expect("a directory");
        let label = patient.truth.bones[0].label;
        let mask = patient.labels.select(&[label]);
        let thicker = morph_voxels(&mask, 1, StructuringElement::Faces);
        let write = |name: &str, mask: &imaging::Mask| {
            let labels = mask.map(|&inside| u16::from(inside));
            imaging::write_volume(&folder.path().join(name), &labels).expect("a mask");
        };
        write("mask.nii.gz", &mask);
        write("thicker.nii.gz", &thicker);
        imaging::write_volume(&folder.path().join("ct.nii.gz"), &patient.ct).expect("a scan");
        let phantom = patient.truth.phantom.as_ref().expect("a phantom");
        let line = format!(
            "line:{},{}",
            phantom.slope_mg_cm3_per_hu, phantom.intercept_mg_cm3
        );
        let study = Self { folder };
        // Five cases: one with a manual mask beside its own, one whose scan is not there, one whose bone is none.
        let head = "case,ct,bone,side,mask,label,reference_mask,calibration,set,morph,group,body_weight_kg";
        let row = |case: &str, ct: &str, bone: &str, mask: &str, reference: &str, morph: &str| {
            format!(
                "{case},{ct},{bone},left,{mask},1,{reference},\"{line}\",{SETTINGS},\"{morph}\",healthy,70"
            )
        };
        let rows = [
            row(
                "b-compared",
                "ct.nii.gz",
                "femur",
                "thicker.nii.gz",
                "mask.nii.gz",
                "-1,1",
            ),
            row("a-plain", "ct.nii.gz", "femur", "mask.nii.gz", "", ""),
            row(
                "c-missing",
                "nowhere.nii.gz",
                "femur",
                "mask.nii.gz",
                "",
                "1",
            ),
            row("d-tibia", "ct.nii.gz", "tibia", "mask.nii.gz", "", ""),
            row("e-thick", "ct.nii.gz", "femur", "thicker.nii.gz", "", "-1"),
        ];
        let table = format!("{head}\n{}\n", rows.join("\n"));
        std::fs::write(study.path("cohort.csv"), table).expect("a table");
        study
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osteoload"));
        command.arg("cohort").arg(self.path("cohort.csv"));
        command.arg("--out").arg(self.path(out)).args(more);
        command
    }

    fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more)
            .output()
            .expect("the program starts")
    }

    fn table(&self, out: &str) -> String {
        let file = self.path(out).join("results.csv");
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

fn succeeded(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
}

/// Cells of a table by case, variant and column.
fn cell(table: &str, case: &str, variant: &str, column: &str) -> String {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let head = reader.headers().expect("a head").clone();
    let at = |name: &str| {
        head.iter()
            .position(|column| column == name)
            .expect("a column")
    };
    let rows = reader.records().map(|row| row.expect("a row"));
    let row = rows
        .into_iter()
        .find(|row| row[at("case")] == *case && row[at("variant")] == *variant)
        .unwrap_or_else(|| panic!("no row {case} {variant}"));
    row[at(column)].to_owned()
}

/// Names of everything below a folder, without what is timed.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_cohort_has_a_row_per_case_and_variant_and_shards_make_the_same() {
    let study = Study::new();
    succeeded(&study.run("whole", &[]));
    let table = study.table("whole");
    let value = |case: &str, variant: &str, column: &str| cell(&table, case, variant, column);
    let number = |case: &str, variant: &str, column: &str| -> f64 {
        value(case, variant, column).parse().expect(column)
    };
    let keys: Vec<(String, String)> = csv::Reader::from_reader(table.as_bytes())
        .records()
        .map(|row| row.expect("a row"))
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let expected = [
        ("a-plain", "manual"),
        ("b-compared", "automatic"),
        ("b-compared", "automatic+1"),
        ("b-compared", "automatic-1"),
        ("b-compared", "manual"),
        ("c-missing", "manual"),
        ("c-missing", "manual+1"),
        ("d-tibia", "manual"),
        ("e-thick", "manual"),
        ("e-thick", "manual-1"),
    ];
    let expected = expected.map(|(case, variant)| (case.to_owned(), variant.to_owned()));
    assert_eq!(keys, expected);
    // The row's own mask is the manual one dilated by a voxel: that of the case `e-thick`, and so is its erosion.
    assert_eq!(number("b-compared", "manual", "dice"), 1.0);
    for column in ["failure_load_n", "volume_mm3", "elements"] {
        for (own, alone) in [("automatic", "manual"), ("automatic-1", "manual-1")] {
            let (a, b) = (
                number("b-compared", own, column),
                number("e-thick", alone, column),
            );
            assert_eq!(a, b, "{column}");
        }
    }
    // The same figures as of the two files themselves.
    let metrics = evaluate(&EvaluateRequest {
        reference: study.path("mask.nii.gz"),
        prediction: study.path("thicker.nii.gz"),
        ..EvaluateRequest::default()
    })
    .expect("figures");
    for column in ["dice", "hausdorff_mm", "hausdorff95_mm"] {
        let expected = metrics["labels"]["1"][column].as_f64().expect(column);
        let found = number("b-compared", "automatic", column);
        assert!(
            (found - expected).abs() < 1e-9,
            "{column}: {found}, not {expected}"
        );
    }
    assert!((0.8..0.99).contains(&number("b-compared", "automatic", "dice")));
    let load = |variant: &str| number("b-compared", variant, "failure_load_n");
    let change = 100.0 * (load("automatic-1") / load("manual") - 1.0);
    assert!((number("b-compared", "automatic-1", "change_percent") - change).abs() < 1e-9);
    let weights = load("manual") / (70.0 * 9.80665);
    let told = number("b-compared", "manual", "failure_load_body_weights");
    assert!((told - weights).abs() < 1e-9);
    assert_eq!(
        value("a-plain", "manual", "failure_load_n"),
        load("manual").to_string()
    );
    assert_eq!(value("c-missing", "manual", "status"), "failed");
    assert!(value("c-missing", "manual", "reason").contains("nowhere.nii.gz"));
    assert!(value("d-tibia", "manual", "reason").contains("tibia"));
    let folder = study
        .path("whole")
        .join(value("b-compared", "automatic-1", "folder"));
    for name in ["result.json", "curve.csv", "plan.toml", "provenance.json"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    for name in ["plan.toml", "provenance.json", "report.html"] {
        assert!(study.path("whole").join(name).is_file(), "{name}");
    }

    let parts = ["s1", "s2", "s3"];
    for (part, shard) in parts.iter().zip(["1/3", "2/3", "3/3"]) {
        // A shard of nothing but failures has the status of the worst, and its table all the same.
        let output = study.run(part, &["--shard", shard, "--jobs", "1", "--bids"]);
        assert!(matches!(output.status.code(), Some(0 | 2 | 3)), "{shard}");
    }
    let mut collect = Command::new(env!("CARGO_BIN_EXE_osteoload"));
    collect
        .arg("collect")
        .args(parts.map(|part| study.path(part)));
    collect.arg("--out").arg(study.path("joined"));
    succeeded(&collect.output().expect("the program starts"));
    // But for the names of the folders, which the layout of BIDS makes others.
    let joined = study.table("joined");
    for (case, variant) in &keys {
        for column in [
            "failure_load_n",
            "dice",
            "status",
            "reason",
            "change_percent",
        ] {
            assert_eq!(
                cell(&joined, case, variant, column),
                value(case, variant, column),
                "{case} {variant} {column}"
            );
        }
    }
    assert_eq!(
        cell(&joined, "a-plain", "manual", "folder"),
        "sub-amplainleft/desc-manual"
    );
    assert!(study.path("s2").join("dataset_description.json").is_file());
    collect.arg(study.path("s1")).arg("--overwrite");
    let twice = collect.output().expect("the program starts");
    assert_eq!(twice.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("stands in"));
}

#[test]
fn the_masks_of_operators_are_compared_pair_by_pair() {
    let study = Study::new();
    let table = std::fs::read_to_string(study.path("cohort.csv")).expect("a table");
    let line = table.lines().nth(2).expect("the plain case");
    let row = |operator: &str, mask: &str| {
        let row = line
            .replacen("mask.nii.gz", mask, 1)
            .replacen("a-plain", "p", 1);
        format!("{row},{operator}\n")
    };
    let head = table.lines().next().expect("a head");
    let rows = [
        row("Bea", "thicker.nii.gz"),
        row("Ada", "mask.nii.gz"),
        row("Cleo", "mask.nii.gz"),
    ];
    std::fs::write(
        study.path("cohort.csv"),
        format!("{head},operator\n{}", rows.concat()),
    )
    .expect("a table");
    succeeded(&study.run("whole", &[]));
    // Rows of one patient stay in one shard, so the pairs are the same.
    succeeded(&study.run("s1", &["--shard", "1/2"]));
    let text =
        |out: &str| std::fs::read_to_string(study.path(out).join("operators.csv")).expect("pairs");
    let pairs = text("whole");
    assert_eq!(text("s1"), pairs);
    let metrics = evaluate(&EvaluateRequest {
        reference: study.path("mask.nii.gz"),
        prediction: study.path("thicker.nii.gz"),
        ..EvaluateRequest::default()
    })
    .expect("figures");
    let dice = metrics["labels"]["1"]["dice"].as_f64().expect("a Dice");
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(pairs.as_bytes())
        .records()
        .map(|row| row.expect("a row"))
        .collect();
    let named = |row: &csv::StringRecord| (row[4].to_owned(), row[5].to_owned());
    let expected = [("Ada", "Bea"), ("Ada", "Cleo"), ("Bea", "Cleo")];
    assert!(
        rows.iter()
            .map(named)
            .eq(expected.map(|(a, b)| (a.to_owned(), b.to_owned())))
    );
    let found: Vec<f64> = rows
        .iter()
        .map(|row| row[6].parse().expect("a Dice"))
        .collect();
    assert_eq!(found[1], 1.0);
    assert!((found[0] - dice).abs() < 1e-12 && (found[2] - dice).abs() < 1e-12);

    let mut compare = Command::new(env!("CARGO_BIN_EXE_osteoload"));
    compare.arg("compare").arg(study.path("whole/results.csv"));
    compare.arg("--out").arg(study.path("comparison"));
    succeeded(&compare.output().expect("the program starts"));
    let statistics =
        std::fs::read_to_string(study.path("comparison/statistics.json")).expect("statistics");
    let statistics: serde_json::Value = serde_json::from_str(&statistics).expect("JSON");
    let operators = &statistics["bones"]["femur"]["operators"];
    assert_eq!(operators["pairs"], 3);
    let mean = (2.0 * dice + 1.0) / 3.0;
    assert!((operators["pairwise_dice"].as_f64().expect("a mean") - mean).abs() < 1e-12);
}

/// A child that is killed, not asked to end, after a while; whether it had ended before.
fn kill_after(mut child: Child, wait: Duration) -> bool {
    std::thread::sleep(wait);
    let ended = child.try_wait().expect("a child").is_some();
    if !ended {
        child.kill().expect("killed");
        child.wait().expect("a child");
    }
    ended
}

#[test]
fn a_cohort_killed_at_any_moment_ends_with_the_same_table() {
    let study = Study::new();
    succeeded(&study.run("whole", &["--jobs", "2"]));
    let table = study.table("whole");
    let mut killed = 0;
    // Moments from the start of the program to well into its cases, spread as the golden ratio spreads them.
    for moment in 0..20 {
        let part = (f64::from(moment) * 0.618_034).fract();
        let wait = Duration::from_millis(5 + (part * 700.0) as u64);
        let mut command = study.command("killed", &["--resume", "--jobs", "2"]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        killed += usize::from(!kill_after(child, wait));
    }
    assert!(killed >= 3, "only {killed} of 20 were killed in time");
    succeeded(&study.run("killed", &["--resume"]));
    assert_eq!(study.table("killed"), table);
    assert_eq!(
        names(&study.path("killed/cases")),
        names(&study.path("whole/cases"))
    );

    // What stands is not computed again; a folder without its mark is not trusted.
    let mark = study.path("killed/cases/a-plain_left/case.json");
    let stands = study.path("killed/cases/e-thick_left/manual/result.json");
    let before = std::fs::metadata(&stands)
        .and_then(|data| data.modified())
        .expect("a time");
    std::fs::remove_file(&mark).expect("removed");
    std::fs::write(study.path("killed/cases/a-plain_left/rows.csv"), "nonsense").expect("spoilt");
    std::fs::create_dir(study.path("killed/cases/.x.partial-1-0")).expect("a folder");
    succeeded(&study.run("killed", &["--resume"]));
    assert_eq!(study.table("killed"), table);
    assert_eq!(
        names(&study.path("killed/cases")),
        names(&study.path("whole/cases"))
    );
    let after = std::fs::metadata(&stands)
        .and_then(|data| data.modified())
        .expect("a time");
    assert_eq!(before, after);

    // An input that has changed makes its case another one, whatever its size.
    let mask = study.path("mask.nii.gz");
    let thicker = std::fs::read(study.path("thicker.nii.gz")).expect("a mask");
    let original = std::fs::read(&mask).expect("a mask");
    std::fs::write(&mask, thicker).expect("a mask");
    succeeded(&study.run("killed", &["--resume"]));
    let changed = study.table("killed");
    let load = |table: &str, case: &str| cell(table, case, "manual", "failure_load_n");
    assert_eq!(load(&changed, "a-plain"), load(&table, "e-thick"));
    std::fs::write(&mask, original).expect("a mask");
    succeeded(&study.run("killed", &["--resume"]));
    assert_eq!(study.table("killed"), table);

    // Asked to end, it keeps what stands and says so.
    let mut child = study
        .command("asked", &["--jobs", "1"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // Its handler is there once it has begun to write.
    let begun = study.path("asked/cohort.json");
    for _ in 0..3000 {
        if begun.is_file() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(asked.expect("kill").success());
    assert_eq!(child.wait().expect("a child").code(), Some(130));
    succeeded(&study.run("asked", &["--resume"]));
    assert_eq!(study.table("asked"), table);

    // A full directory is neither mixed with nor lost.
    let again = study.run("killed", &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--resume"));
    std::fs::create_dir(study.path("thesis")).expect("a folder");
    std::fs::write(study.path("thesis/thesis.doc"), "precious").expect("a file");
    let foreign = study.run("thesis", &["--overwrite"]);
    assert_eq!(foreign.status.code(), Some(2));
    assert_eq!(names(&study.path("thesis")), ["thesis.doc"]);
    let into_a_file = study.run("cohort.csv/deeper", &[]);
    assert_eq!(into_a_file.status.code(), Some(2));
}

#[test]
fn cases_that_would_share_a_folder_are_refused_before_any_work() {
    let study = Study::new();
    let table = std::fs::read_to_string(study.path("cohort.csv")).expect("a table");
    let row = |case: &str| {
        let line = table.lines().nth(2).expect("the plain case");
        line.replacen("a-plain", case, 1)
    };
    let head = table.lines().next().expect("a head");
    let text = format!("{head}\n{}\n{}\n", row("1_11"), row("11_1"));
    std::fs::write(study.path("cohort.csv"), text).expect("a table");
    let refused = study.run("bids", &["--bids"]);
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        error.contains("1_11_left") && error.contains("11_1_left"),
        "{error}"
    );
    succeeded(&study.run("plain", &[]));
}

/// Runs the example for Snakemake, where Snakemake is installed.
#[test]
fn snakemake_makes_the_same_table() {
    let version = Command::new("snakemake").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!("skipped: snakemake is not installed");
        return;
    }
    let study = Study::new();
    succeeded(&study.run("whole", &[]));
    let snakefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/engines/Snakefile");
    let config = |name: &str, value: &Path| format!("{name}={}", value.display());
    let made = Command::new("snakemake")
        .current_dir(study.folder.path())
        .args(["--cores", "2", "--snakefile"])
        .arg(snakefile)
        .arg("--config")
        .arg(config("table", &study.path("cohort.csv")))
        .arg(config("results", &study.path("results")))
        .arg(config(
            "program",
            Path::new(env!("CARGO_BIN_EXE_osteoload")),
        ))
        .arg("shards=3")
        .output()
        .expect("snakemake starts");
    succeeded(&made);
    assert_eq!(study.table("results/all"), study.table("whole"));
}
