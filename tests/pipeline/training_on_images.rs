//! A small network learns from scans with label maps as nnU-Net's do, in a fold, and is fine-tuned.

use std::path::{Path, PathBuf};

use imaging::{Grid, LabelMap, Volume};
use osteoload::train::ImagesPlan;

use super::export::{ends_with, name};

/// A bright ball (label 1) and a dimmer block (label 2), somewhere.
pub(super) fn case(number: usize) -> (Volume<i16>, LabelMap) {
    let grid = Grid::axis_aligned([30, 28, 24], [1.0, 1.0, 1.25]);
    let shift = [(number * 3) % 5, (number * 2) % 4, number % 3].map(|n| n as f64);
    let labels = LabelMap::from_fn(grid, |[i, j, k]| {
        let at = [
            i as f64 - shift[0],
            j as f64 - shift[1],
            1.25 * k as f64 - shift[2],
        ];
        let from = |c: [f64; 3]| (0..3).map(|a| (at[a] - c[a]).powi(2)).sum::<f64>().sqrt();
        let block = (17.0..24.0).contains(&at[0])
            && (12.0..22.0).contains(&at[1])
            && (8.0..20.0).contains(&at[2]);
        match (from([8.0, 9.0, 12.0]) < 5.5, block) {
            (true, _) => 1,
            (_, true) => 2,
            _ => 0,
        }
    });
    let mut state = number as u32 + 7;
    let image = labels.map(|&label| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 16) as i16 % 60;
        noise + [40, 700, 350][usize::from(label)]
    });
    (image, labels)
}

pub(super) fn data(directory: &Path) -> PathBuf {
    let data = directory.join("Dataset007_Blocks");
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(data.join(folder)).expect("a folder");
    }
    for number in 0..6 {
        let (image, labels) = case(number);
        let file = |folder: &str, ending: &str| {
            data.join(folder)
                .join(format!("case_{number}{ending}.nii.gz"))
        };
        imaging::write_volume(&file("imagesTr", "_0000"), &image).expect("an image");
        imaging::write_volume(&file("labelsTr", ""), &labels).expect("a map");
    }
    std::fs::write(data.join("dataset.json"), DATASET).expect("a file");
    data
}

const DATASET: &str = r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1, "block": 2},
 "numTraining": 6, "file_ending": ".nii.gz"}"#;

fn plan(directory: &Path, configuration: &str, patch: &[usize]) -> String {
    let mut plan =
        toml::Table::try_from(ImagesPlan::built_in(configuration).expect("a plan")).expect("TOML");
    let sizes = |values: &[usize]| {
        toml::Value::Array(
            values
                .iter()
                .map(|&n| toml::Value::Integer(n as i64))
                .collect(),
        )
    };
    plan.insert("patch".into(), sizes(patch));
    plan.insert("batch".into(), 2.into());
    plan.insert("features".into(), sizes(&[12, 24, 32]));
    plan.insert("epochs".into(), 3.into());
    plan.insert("epoch_steps".into(), 40.into());
    plan.insert("judged_batches".into(), 4.into());
    let file = directory.join(format!("{configuration}.toml"));
    std::fs::write(&file, toml::to_string(&plan).expect("TOML")).expect("a file");
    name(&file).to_owned()
}

pub(super) fn train(status: i32, plan: &str, data: &Path, out: &Path, more: &[&str]) -> String {
    let own = [
        "train",
        "--plan",
        plan,
        "--data",
        name(data),
        "--out",
        name(out),
        "--quiet",
    ];
    ends_with(status, &[&own[..], more].concat())
}

pub(super) fn rows(file: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(file).expect("a log");
    let row = |line: &str| {
        line.split(',')
            .map(|n| n.parse().expect("a number"))
            .collect()
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn a_fold_learns_resumes_and_predicts_what_it_never_saw() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let plan = plan(directory.path(), "nnunet-3d_fullres", &[16, 16, 16]);
    let [whole, parts] = ["whole", "parts"].map(|n| directory.path().join(n));
    train(0, &plan, &data, &whole, &[]);
    train(
        0,
        &plan,
        &data,
        &parts,
        &["--at-most-steps", "30", "--threads", "1"],
    );
    assert_eq!(rows(&parts.join("fold_0/training.csv")).len(), 1);
    train(0, &plan, &data, &parts, &["--resume"]);
    for file in [
        "plans.json",
        "dataset_fingerprint.json",
        "splits_final.json",
        "fold_0/training.csv",
        "fold_0/checkpoint_final.safetensors",
        "fold_0/validation/summary.json",
    ] {
        let bytes = |model: &Path| std::fs::read(model.join(file)).expect("a file");
        assert!(bytes(&whole) == bytes(&parts), "{file} differs");
    }
    let log = rows(&whole.join("fold_0/training.csv"));
    assert_eq!(log.len(), 3);
    assert!(
        log[2][1] < log[0][1] - 0.05,
        "the loss fell from {} to {}",
        log[0][1],
        log[2][1]
    );
    let text =
        std::fs::read_to_string(whole.join("fold_0/validation/summary.json")).expect("a file");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        summary["metric_per_case"].as_array().expect("cases").len(),
        1
    );
    let dice = summary["foreground_mean"]["Dice"].as_f64().expect("a Dice");
    assert!(
        dice > 0.5,
        "the case that was left out is found with Dice {dice}"
    );

    // Refused: a fold again without a word, a fold there is none of, a resumption of another plan.
    assert!(train(2, &plan, &data, &whole, &[]).contains("--resume"));
    assert!(train(2, &plan, &data, &whole, &["--fold", "5"]).contains("0 to 4"));
}

#[test]
fn slices_are_learned_and_weights_are_handed_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let plan = plan(directory.path(), "nnunet-2d", &[16, 16]);
    let [first, tuned] = ["first", "tuned"].map(|n| directory.path().join(n));
    train(0, &plan, &data, &first, &["--fold", "all"]);
    let log = rows(&first.join("fold_all/training.csv"));
    assert!(
        log[2][1] < log[0][1] - 0.05,
        "the loss fell from {} to {}",
        log[0][1],
        log[2][1]
    );
    let given = [
        "--fold",
        "all",
        "--initial-weights",
        name(&first),
        "--at-most-steps",
        "25",
    ];
    train(0, &plan, &data, &tuned, &given);
    let tuned_log = rows(&tuned.join("fold_all/training.csv"));
    assert!(
        tuned_log[0][1] < log[0][1] - 0.05,
        "from given weights {}, from none {}",
        tuned_log[0][1],
        log[0][1]
    );
}

#[test]
fn data_that_do_not_fit_together_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let plan = plan(directory.path(), "nnunet-3d_fullres", &[16, 16, 16]);
    let out = directory.path().join("out");
    let refused = |status: i32, change: &dyn Fn(&Path), named: &str| {
        let own = tempfile::tempdir().expect("a directory");
        let data = data(own.path());
        change(&data);
        let reason = train(status, &plan, &data, &out, &[]);
        assert!(reason.contains(named), "{reason}");
        assert!(!out.join("fold_0/checkpoint_final.safetensors").exists());
    };
    refused(
        3,
        &|data| std::fs::remove_file(data.join("imagesTr/case_2_0000.nii.gz")).expect("removed"),
        "case_2",
    );
    refused(
        3,
        &|data| std::fs::remove_file(data.join("dataset.json")).expect("removed"),
        "dataset.json",
    );
    let json = |from: &'static str, to: &'static str| {
        move |data: &Path| {
            assert!(DATASET.contains(from));
            std::fs::write(data.join("dataset.json"), DATASET.replace(from, to)).expect("a file");
        }
    };
    refused(3, &json("\"block\": 2", "\"block\": 3"), "2 is missing");
    refused(3, &json(", \"block\": 2", ""), "does not name");
    refused(
        3,
        &json("\"block\": 2", "\"block\": 2, \"ignore\": 3"),
        "ignore",
    );
    refused(
        2,
        &|data| {
            for number in 4..6 {
                std::fs::remove_file(data.join(format!("labelsTr/case_{number}.nii.gz")))
                    .expect("removed");
                std::fs::remove_file(data.join(format!("imagesTr/case_{number}_0000.nii.gz")))
                    .expect("removed");
            }
        },
        "--fold all",
    );
    let (image, _) = case(1);
    let other = Volume {
        grid: Grid::axis_aligned([30, 28, 24], [1.0; 3]),
        data: image.data,
    };
    refused(
        3,
        &|data| {
            imaging::write_volume(&data.join("imagesTr/case_1_0000.nii.gz"), &other)
                .expect("an image")
        },
        "grid",
    );
}
