//! Scans split into single femora that are laid on one, and what is found there brought back.

use std::path::Path;

use imaging::{LabelMap, Volume};
use osteoload::synth::{self, Options};
use segmentation::coregistration::{Side, Template};

use super::export::{ends_with, name};
use super::recipes::recipe;
use super::training_on_images::train;

/// A pelvis with both femora, or only one of them; labels 1 left and 2 right femur.
fn hip(seed: u64, both: bool) -> (Volume<f32>, LabelMap) {
    let options = Options {
        seed,
        spacing_mm: Some([3.0; 3]),
        ..Options::default()
    };
    let patient = match both {
        true => synth::hip(&options),
        false => synth::femur(&options),
    }
    .expect("a patient");
    let femora = patient
        .labels
        .map(|&label| if label <= 2 { label } else { 0 });
    (patient.ct, femora)
}

fn dice(a: &LabelMap, b: &LabelMap, label: u16) -> f64 {
    let both = a.data.iter().zip(&b.data);
    let both = both.filter(|(x, y)| **x == label && **y == label).count();
    let sizes = [a, b].map(|map| map.data.iter().filter(|l| **l == label).count());
    2.0 * both as f64 / (sizes[0] + sizes[1]).max(1) as f64
}

#[test]
fn labels_come_back_to_where_they_were() {
    let (scan, labels) = hip(31, true);
    let template = Template::new(&scan, &labels.select(&[1])).expect("a template");
    for (seed, both) in [(31, true), (32, true), (33, false)] {
        let (scan, labels) = hip(seed, both);
        let laid = template.lay(&scan).expect("femora");
        let sides: Vec<u16> = laid
            .iter()
            .map(|femur| match femur.side {
                Side::Left => 1,
                Side::Right => 2,
            })
            .collect();
        assert_eq!(sides, labels.labels(), "seed {seed}");
        let mut back = LabelMap::filled(scan.grid.clone(), 0);
        for (femur, side) in laid.iter().zip(&sides) {
            println!(
                "seed {seed}: label {side}, correlation {:.3}",
                femur.correlation
            );
            let own = template.labels_on(femur, &labels).expect("labels");
            let value = |label: u16| if label > 0 { *side } else { 0 };
            template
                .paste(femur, &own, &scan.grid, &mut back, value)
                .expect("a map");
        }
        for label in labels.labels() {
            // Shafts longer than the template's box would be cut there; these are not.
            let found = dice(&labels, &back, label);
            println!("seed {seed}: label {label} comes back with Dice {found:.4}");
            assert!(
                (0.98..=1.0).contains(&found),
                "seed {seed}, label {label}: {found}"
            );
        }
    }
}

fn data(directory: &Path) {
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(directory.join(folder)).expect("a folder");
    }
    for seed in 41..43 {
        let (scan, labels) = hip(seed, true);
        let file = |part: &str| directory.join(part);
        imaging::write_volume(
            &file(&format!("imagesTr/hip_{seed}_0000.nii.gz")),
            &scan.map(|&hu| hu as i16),
        )
        .expect("an image");
        imaging::write_volume(&file(&format!("labelsTr/hip_{seed}.nii.gz")), &labels)
            .expect("a map");
    }
    let json = r#"{"channel_names": {"0": "CT"}, "numTraining": 2, "file_ending": ".nii.gz",
        "labels": {"background": 0, "femur_left": 1, "femur_right": 2}}"#;
    std::fs::write(directory.join("dataset.json"), json).expect("a file");
}

#[test]
fn a_network_behind_it_finds_both_femora() {
    let directory = tempfile::tempdir().expect("a directory");
    let set = directory.path().join("Dataset008_Hips");
    data(&set);
    let changes = [
        ("coregistered", true.into()),
        (
            "spacing_mm",
            toml::Value::Array(vec![toml::Value::Float(3.0); 3]),
        ),
        ("epochs", 2.into()),
        ("epoch_steps", 25.into()),
        ("judged_samples", 8.into()),
        ("rate", 0.005.into()),
    ];
    let plan = recipe(directory.path(), "saillard-3d-small", &changes);
    let model = directory.path().join("model");
    train(0, &plan, &set, &model, &["--fold", "all"]);
    assert!(model.join("template.nii.gz").is_file());
    // What a folder was begun with stays.
    let asked = ["--fold", "all", "--resume", "--no-preprocessing"];
    let refused = train(2, &plan, &set, &model, &asked);
    assert!(refused.contains("behind pre-processing"), "{refused}");
    assert!(model.join("template.nii.gz").is_file());
    let (scan, labels) = hip(45, true);
    let file = directory.path().join("scan.nii.gz");
    imaging::write_volume(&file, &scan).expect("an image");
    let out = directory.path().join("found.nii.gz");
    let arguments = ["segment", "--ct", name(&file), "--model", name(&model)];
    ends_with(
        0,
        &[&arguments[..], &["--out", name(&out), "--quiet"]].concat(),
    );
    let found = imaging::read_labels(&out).expect("a label map");
    found.grid.check_same(&scan.grid).expect("the scan's grid");
    for label in [1, 2] {
        let dice = dice(&labels, &found, label);
        println!("label {label}: Dice {dice:.3}");
        assert!((0.5..=1.0).contains(&dice), "label {label}: {dice}");
    }
    // A scan without a hip is refused.
    let empty = scan.map(|&hu| hu.min(80.0));
    imaging::write_volume(&file, &empty).expect("an image");
    let more = ["--out", name(&out), "--quiet", "--overwrite"];
    let refused = ends_with(3, &[&arguments[..], &more].concat());
    assert!(refused.contains("no bone"), "{refused}");
    // Labels that are no femora cannot be laid on one.
    let json = set.join("dataset.json");
    let text = std::fs::read_to_string(&json).expect("a file");
    std::fs::write(&json, text.replace("femur", "thigh")).expect("a file");
    let other = directory.path().join("other");
    let refused = train(2, &plan, &set, &other, &["--fold", "all"]);
    assert!(refused.contains("--no-preprocessing"), "{refused}");
}
