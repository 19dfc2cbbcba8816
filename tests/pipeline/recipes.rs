//! The papers' networks learn from scans with label maps, resume, and segment.

use std::path::{Path, PathBuf};

use osteoload::train::AnyPlan;

use super::export::{ends_with, name};
use super::training_on_images::{case, data, rows, train};

/// A recipe by its name with other numbers, in a file.
pub(super) fn recipe(directory: &Path, known: &str, changes: &[(&str, toml::Value)]) -> String {
    let text = AnyPlan::load(known)
        .expect("a recipe")
        .to_toml()
        .expect("TOML");
    let mut plan: toml::Table = toml::from_str(&text).expect("TOML");
    for (key, value) in changes {
        let mut table = &mut plan;
        let mut keys: Vec<&str> = key.split('.').collect();
        let last = keys.pop().expect("a key");
        for key in keys {
            table = table[key].as_table_mut().expect("a table");
        }
        table.insert(last.to_owned(), value.clone());
    }
    let file = directory.join(format!("{known}.toml"));
    std::fs::write(&file, toml::to_string(&plan).expect("TOML")).expect("a file");
    name(&file).to_owned()
}

fn numbers(values: &[i64]) -> toml::Value {
    toml::Value::Array(values.iter().map(|&n| toml::Value::Integer(n)).collect())
}

/// Few and small: what it learns is enough to see that it learns.
fn few(epoch_steps: i64) -> Vec<(&'static str, toml::Value)> {
    vec![
        ("epochs", 3.into()),
        ("epoch_steps", epoch_steps.into()),
        ("judged_samples", 16.into()),
    ]
}

/// Dice of the case that was left out.
fn left_out(model: &Path) -> f64 {
    let text = std::fs::read_to_string(model.join("validation/summary.json")).expect("a file");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    summary["foreground_mean"]["Dice"].as_f64().expect("a Dice")
}

fn segmented(model: &Path, directory: &Path) -> imaging::LabelMap {
    let scan = directory.join("scan.nii.gz");
    imaging::write_volume(&scan, &case(1).0).expect("an image");
    let out = directory.join("found.nii.gz");
    let arguments = ["segment", "--ct", name(&scan), "--model", name(model)];
    let more = ["--out", name(&out), "--quiet", "--overwrite"];
    ends_with(0, &[&arguments[..], &more].concat());
    imaging::read_labels(&out).expect("a label map")
}

fn model(directory: &Path) -> PathBuf {
    directory.join("model")
}

#[test]
fn three_networks_vote() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let mut changes = few(25);
    changes.push(("method.network.features", numbers(&[8, 16, 24])));
    changes.push(("rate", 0.01.into()));
    let plan = recipe(directory.path(), "saillard-2d-small", &changes);
    let whole = model(directory.path());
    train(0, &plan, &data, &whole, &[]);
    for network in ["axial", "coronal", "sagittal"] {
        let log = rows(&whole.join(network).join("training.csv"));
        assert_eq!(log.len(), 3);
        assert!(
            log[2][1] < log[0][1] - 0.05,
            "{network}: the loss fell from {} to {}",
            log[0][1],
            log[2][1]
        );
    }
    assert!(left_out(&whole) > 0.6, "{}", left_out(&whole));
    let found = segmented(&whole, directory.path());
    let (image, truth) = case(1);
    found.grid.check_same(&image.grid).expect("the scan's grid");
    let both = found
        .data
        .iter()
        .zip(&truth.data)
        .filter(|(a, b)| **a > 0 && a == b);
    let sizes = [&found, &truth].map(|map| map.data.iter().filter(|l| **l > 0).count());
    let dice = 2.0 * both.count() as f64 / (sizes[0] + sizes[1]) as f64;
    assert!(dice > 0.6, "{dice}");
    assert!(train(2, &plan, &data, &whole, &[]).contains("--resume"));
}

#[test]
fn patches_are_learned_and_taken_up_again_without_a_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let mut changes = few(12);
    changes.push(("method.features", numbers(&[8, 16])));
    changes.push(("method.patch", numbers(&[16, 16, 16])));
    let plan = recipe(directory.path(), "saillard-3d-small", &changes);
    let [whole, parts] = ["whole", "parts"].map(|n| directory.path().join(n));
    train(0, &plan, &data, &whole, &[]);
    let stop = ["--at-most-steps", "12", "--threads", "1"];
    train(0, &plan, &data, &parts, &stop);
    // Half a training is no model.
    let scan = directory.path().join("scan.nii.gz");
    imaging::write_volume(&scan, &case(1).0).expect("an image");
    let out = directory.path().join("none.nii.gz");
    let arguments = ["segment", "--ct", name(&scan), "--model", name(&parts)];
    let refused = ends_with(
        3,
        &[&arguments[..], &["--out", name(&out), "--quiet"]].concat(),
    );
    assert!(refused.contains("has not ended"), "{refused}");
    assert!(!out.exists());
    train(0, &plan, &data, &parts, &["--resume"]);
    for file in [
        "fold_0/training.csv",
        "fold_0/checkpoint_final.safetensors",
        "fitted.json",
        "validation/summary.json",
    ] {
        let bytes = |model: &Path| std::fs::read(model.join(file)).expect("a file");
        assert!(bytes(&whole) == bytes(&parts), "{file} differs");
    }
    assert!(left_out(&whole) > 0.4, "{}", left_out(&whole));
}

#[test]
fn planes_are_learned_and_summed() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let mut changes = few(12);
    changes.push(("method.features", numbers(&[8, 16, 24])));
    changes.push(("method.pixels", numbers(&[32, 32])));
    changes.push(("method.views", 3.into()));
    changes.push(("postprocess.symmetric", toml::Value::Array(vec![])));
    let plan = recipe(directory.path(), "xu-planes-small", &changes);
    let whole = model(directory.path());
    train(0, &plan, &data, &whole, &[]);
    assert!(left_out(&whole) > 0.5, "{}", left_out(&whole));
    let labels = segmented(&whole, directory.path()).labels();
    assert_eq!(labels, [1, 2]);
}

#[test]
fn three_patches_tell_one_bone_by_a_threshold() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = data(directory.path());
    let plan = recipe(directory.path(), "hallyburton-triplanar-small", &few(60));
    let whole = model(directory.path());
    // Two labels are one too many.
    let refused = train(3, &plan, &data, &whole, &[]);
    assert!(refused.contains("one bone"), "{refused}");
    let json = data.join("dataset.json");
    let text = std::fs::read_to_string(&json).expect("a file");
    std::fs::write(&json, text.replace(", \"block\": 2", "")).expect("a file");
    for number in 0..6 {
        let file = data.join(format!("labelsTr/case_{number}.nii.gz"));
        let labels = imaging::read_labels(&file).expect("a map");
        imaging::write_volume(&file, &labels.map(|&l| u8::from(l > 0))).expect("a map");
    }
    train(0, &plan, &data, &whole, &["--overwrite"]);
    let text = std::fs::read_to_string(whole.join("fitted.json")).expect("a file");
    let fitted: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let threshold = fitted["threshold"].as_f64().expect("a threshold");
    assert!((0.01..0.99).contains(&threshold), "{threshold}");
    let area = fitted["auc"].as_f64().expect("an area");
    assert!((0.9..=1.0).contains(&area), "{area}");
    assert!(left_out(&whole) > 0.5, "{}", left_out(&whole));
    // A damaged model is refused by its file.
    std::fs::write(whole.join("fitted.json"), "{").expect("a file");
    let scan = directory.path().join("scan.nii.gz");
    imaging::write_volume(&scan, &case(1).0).expect("an image");
    let out = directory.path().join("none.nii.gz");
    let arguments = ["segment", "--ct", name(&scan), "--model", name(&whole)];
    let refused = ends_with(
        3,
        &[&arguments[..], &["--out", name(&out), "--quiet"]].concat(),
    );
    assert!(refused.contains("fitted.json"), "{refused}");
}
