//! A small network learns on painted label maps, is stopped and goes on, and segments a scan it never saw.

use std::path::Path;
use std::process::Command;

use imaging::{Grid, LabelMap, Volume};
use osteoload::train::{AnyPlan, Plan};

use super::export::{ends_with, name};

/// Two balls of bone, the second beside the first.
fn balls(radius_mm: f64, apart_mm: f64) -> LabelMap {
    let grid = Grid::axis_aligned([40, 30, 30], [3.0; 3]);
    LabelMap::from_fn(grid, |[i, j, k]| {
        let from = |x: f64| {
            let d = [
                3.0 * i as f64 - x,
                3.0 * j as f64 - 43.5,
                3.0 * k as f64 - 43.5,
            ];
            d.iter().map(|v| v * v).sum::<f64>().sqrt()
        };
        match (
            from(38.0) < radius_mm,
            from(38.0 + apart_mm) < 0.6 * radius_mm,
        ) {
            (true, _) => 1,
            (_, true) => 3,
            _ => 0,
        }
    })
}

fn plan(directory: &Path) -> String {
    let mut plan = Plan::built_in("builtin-femur-coarse").expect("a plan");
    plan.names = vec!["bone".into()];
    plan.classes = vec![vec![1, 3]];
    plan.features = vec![8, 16];
    plan.encoder = vec![1, 1];
    plan.decoder = vec![1];
    plan.judge_every = 60;
    plan.judged_samples = 6;
    plan.training.patch = [16; 3];
    plan.training.batch = 2;
    plan.training.steps = 240;
    plan.training.mean_memory = 0.9;
    let file = directory.join("plan.toml");
    std::fs::write(&file, plan.to_toml().expect("TOML")).expect("a file");
    name(&file).to_owned()
}

fn rows(model: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(model.join("training.csv")).expect("a log");
    let row = |line: &str| {
        line.split(',')
            .map(|n| n.parse().expect("a number"))
            .collect()
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn a_training_goes_on_where_it_was_stopped_and_its_model_segments() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    for (folder, shapes) in [
        ("labelsTr", [(24.0, 50.0), (28.0, 54.0)]),
        ("labelsTs", [(26.0, 52.0); 2]),
    ] {
        let folder = data.join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (index, (radius, apart)) in shapes.into_iter().enumerate() {
            let file = folder.join(format!("ball{index}.nii.gz"));
            imaging::write_volume(&file, &balls(radius, apart)).expect("a map");
        }
    }
    let plan = plan(directory.path());
    let [whole, parts] = ["whole", "parts"].map(|n| directory.path().join(n));
    let train = |out: &Path, more: &[&str]| {
        let own = [
            "train",
            "--plan",
            &plan,
            "--data",
            name(&data),
            "--out",
            name(out),
            "--quiet",
        ];
        ends_with(0, &[&own[..], more].concat());
    };
    train(&whole, &[]);
    train(&parts, &["--at-most-steps", "70", "--threads", "1"]);
    assert_eq!(rows(&parts).len(), 2, "stopped at the next judgement");
    // What a kill in the middle of a write leaves behind does no harm.
    let log = parts.join("training.csv");
    let text = std::fs::read_to_string(&log).expect("a log");
    std::fs::write(&log, text + "180,1,1,1,1,1\n").expect("a log");
    train(&parts, &["--resume"]);
    for file in [
        "training.csv",
        "checkpoint_latest.safetensors",
        "fold_0/checkpoint_final.safetensors",
        "samples.png",
        "plans.json",
    ] {
        let bytes = |model: &Path| std::fs::read(model.join(file)).expect("a file");
        assert!(bytes(&whole) == bytes(&parts), "{file} differs");
    }
    let rows = rows(&whole);
    let (first, last) = (&rows[0], &rows[3]);
    assert_eq!([first[0], last[0]], [60.0, 240.0]);
    assert!(
        last[1] < first[1] - 0.1,
        "the loss fell from {} to {}",
        first[1],
        last[1]
    );
    assert!(
        last[3] > first[3] + 0.1,
        "Dice rose from {} to {}",
        first[3],
        last[3]
    );

    // Starting from a model is better than starting from nothing.
    let tuned = directory.path().join("tuned");
    let from = ["--initial-weights", name(&whole), "--at-most-steps", "60"];
    train(&tuned, &from);
    let log = std::fs::read_to_string(tuned.join("training.csv")).expect("a log");
    let tuned: Vec<&str> = log.lines().nth(1).expect("a row").split(',').collect();
    let judged: f64 = tuned[3].parse().expect("a Dice");
    assert!(judged > first[3] + 0.1, "{judged} after {}", first[3]);

    // A scan like those painted: shells around a dim inside, in muscle with noise.
    let map = balls(25.0, 51.0);
    let (inner, mut state) = (balls(21.0, 51.0), 1u32);
    let pairs = map.data.iter().zip(&inner.data);
    let values = pairs.map(|(&bone, &inner)| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 16) as f32 / 65_536.0 * 60.0 - 30.0;
        noise
            + if inner > 0 {
                150.0
            } else if bone > 0 {
                900.0
            } else {
                50.0
            }
    });
    let scan = Volume {
        grid: map.grid.clone(),
        data: values.collect::<Vec<f32>>(),
    };
    let [ct, out, truth] =
        ["ct.nii.gz", "found.nii.gz", "truth.nii.gz"].map(|n| directory.path().join(n));
    imaging::write_volume(&ct, &scan).expect("a scan");
    let bone = map.map(|&label| u8::from(label > 0));
    imaging::write_volume(&truth, &bone).expect("a map");
    ends_with(
        0,
        &[
            "segment",
            "--ct",
            name(&ct),
            "--model",
            name(&whole),
            "--out",
            name(&out),
        ],
    );
    let judged = ends_with(
        0,
        &[
            "evaluate",
            "--reference",
            name(&truth),
            "--prediction",
            name(&out),
        ],
    );
    let figures: serde_json::Value = serde_json::from_str(&judged).expect("JSON");
    let dice = figures["labels"]["1"]["dice"].as_f64().expect("a Dice");
    assert!(dice > 0.6, "the balls are found with Dice {dice}");

    // A plan that is not the one of the state; a model that would be overwritten; no data.
    let text = std::fs::read_to_string(&plan)
        .expect("a plan")
        .replace("steps = 240", "steps = 250");
    let other = directory.path().join("other.toml");
    std::fs::write(&other, text).expect("a plan");
    let with = |plan: &str, data: &Path, more: &[&str]| {
        let own = [
            "train",
            "--plan",
            plan,
            "--data",
            name(data),
            "--out",
            name(&whole),
        ];
        [&own[..], more]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    let refused = |status: i32, arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        ends_with(status, &arguments)
    };
    assert!(refused(3, with(name(&other), &data, &["--resume"])).contains("another plan"));
    assert!(refused(2, with(&plan, &data, &[])).contains("--resume"));
    assert!(refused(3, with(&plan, directory.path(), &["--resume"])).contains("labelsTr"));
    assert!(refused(2, with("no-such-plan", &data, &[])).contains("builtin-femur-coarse"));
    let text = std::fs::read_to_string(&plan).expect("a plan");
    for (from, to, named) in [
        ("judge_every = 60", "judge_every = 0", "judge_every"),
        (
            "names = [\"bone\"]",
            "names = [\"bone\", \"other\"]",
            "names",
        ),
        ("spacing_mm = 4.0", "spacing_mm = 0.0", "spacing_mm"),
        ("16,\n    16,\n    16", "16,\n    16,\n    17", "patch"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(&other, text.replace(from, to)).expect("a plan");
        let reason = refused(2, with(name(&other), &data, &[]));
        assert!(reason.contains(named), "{reason}");
    }
    // A fresh start leaves nothing of the old training, even when it is stopped at once.
    std::fs::remove_dir_all(data.join("labelsTs")).expect("removed");
    refused(3, with(&plan, &data, &["--overwrite"]));
    assert!(
        whole.join("training.csv").is_file(),
        "refused before anything was touched"
    );
}

#[test]
fn train_plans_are_printed_and_read_back() {
    for known in osteoload::train::names() {
        let output = Command::new(env!("CARGO_BIN_EXE_osteoload"))
            .args(["train", "--print-plan", known])
            .output()
            .expect("the program starts");
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).expect("text");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("plan.toml");
        std::fs::write(&file, printed).expect("a file");
        let read = AnyPlan::load(name(&file)).expect("a plan");
        assert_eq!(read, AnyPlan::load(known).expect("a plan"));
        let AnyPlan::Painted(read) = read else {
            continue;
        };
        // What the trial of the method had, in million parameters.
        let count = osteoload::train::parameter_count(&read).expect("a network");
        assert!(
            (0.4e6..3.0e6).contains(&(count as f64)),
            "{count} parameters"
        );
    }
}
