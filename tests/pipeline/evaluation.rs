//! `evaluate`: the parts of a femur, folders of cases, the table and the figure of a paper.

use osteoload::synth::{Options, femur};
use serde_json::Value;

use super::export::{ends_with, name};

#[test]
fn a_femur_is_judged_by_its_parts_and_cases_by_their_mean() {
    let patient = femur(&Options {
        seed: 703,
        spacing_mm: Some([1.5; 3]),
        ..Options::default()
    })
    .expect("a patient");
    let label = patient.truth.bones[0].label;
    let truth = patient
        .labels
        .map(|&found| if found == label { label } else { 0 });
    // The lowest 30 mm are missed: the third axis runs to the head.
    let [low, _] = truth.select(&[label]).bounding_box().expect("a bone");
    let layer = truth.grid.size[0] * truth.grid.size[1];
    let mut worn = truth.clone();
    let missed = &mut worn.data[..layer * (low[2] + 20)];
    let lost = missed.iter().filter(|&&found| found > 0).count() as f64;
    missed.fill(0);

    let folder = tempfile::tempdir().expect("a directory");
    let [references, predictions] = ["references", "predictions"].map(|kind| {
        let kind = folder.path().join(kind);
        std::fs::create_dir(&kind).expect("a folder");
        kind
    });
    for (case, prediction) in [("a.nii.gz", &truth), ("b.nii.gz", &worn)] {
        imaging::write_volume(&references.join(case), &truth).expect("a map");
        imaging::write_volume(&predictions.join(case), prediction).expect("a map");
    }
    let [out, table] = ["metrics.json", "table.md"].map(|file| folder.path().join(file));
    let own = label.to_string();
    let arguments = [
        "evaluate",
        "--reference",
        name(&references),
        "--prediction",
        name(&predictions),
    ];
    let more = [
        "--femur",
        &own,
        "--out",
        name(&out),
        "--table",
        name(&table),
    ];
    let drawn = folder.path().join("figures");
    let figure = ["--figure", name(&drawn)];
    ends_with(0, &[&arguments[..], &more, &figure].concat());
    for case in ["a.png", "b.png"] {
        let png = std::fs::read(drawn.join(case)).expect("a figure");
        assert!(png.starts_with(b"\x89PNG"));
    }
    assert!(ends_with(2, &[&arguments[..], &figure].concat()).contains("--overwrite"));
    let read = |file| std::fs::read_to_string(file).expect("a file");
    let found: Value = serde_json::from_str(&read(&out)).expect("JSON");
    let regions = &found["cases"]["b.nii.gz"]["labels"][&own]["regions"];
    let figure = |region: &str, key: &str| regions[region][key].as_f64().expect("a figure");
    let voxel = 1.5f64.powi(3);
    let volumes: f64 = ["head", "middle", "shaft"]
        .map(|region| figure(region, "reference_volume_mm3"))
        .iter()
        .sum();
    assert_eq!(volumes, truth.select(&[label]).count() as f64 * voxel);
    assert_eq!(figure("head", "dice"), 1.0);
    assert_eq!(figure("middle", "dice"), 1.0);
    // Nothing but `lost` voxels of the shaft are missing.
    let shaft = figure("shaft", "reference_volume_mm3") / voxel;
    let dice = 2.0 * (shaft - lost) / (2.0 * shaft - lost);
    assert!((figure("shaft", "dice") - dice).abs() < 1e-12);
    assert!((figure("shaft", "hausdorff_mm") - 30.0).abs() < 1.0);

    let summary = &found["summary"][format!("{own} shaft")]["dice"];
    assert_eq!(summary["cases"], 2);
    let close = |key: &str, to: f64| (summary[key].as_f64().expect("a figure") - to).abs() < 1e-12;
    assert!(close("mean", 0.5 * (1.0 + dice)));
    assert!(close("standard_deviation", (1.0 - dice) / 2f64.sqrt()));
    assert!(close("min", dice) && close("max", 1.0));
    let (mean, spread) = (0.5 * (1.0 + dice), (1.0 - dice) / 2f64.sqrt());
    let row = format!("| {own} shaft | 2 | {mean:.3} ± {spread:.3} |");
    assert!(read(&table).contains(&row), "{}", read(&table));

    // A case without its prediction, and a femur without a trochanter.
    std::fs::remove_file(predictions.join("b.nii.gz")).expect("removed");
    assert!(ends_with(3, &arguments).contains("b.nii.gz"));
    let mut head = truth.clone();
    let top = truth.grid.size[2] - 1;
    head.data[..layer * (top - 20)].fill(0);
    let cut = folder.path().join("cut.nii.gz");
    imaging::write_volume(&cut, &head).expect("a map");
    let pair = [
        "evaluate",
        "--reference",
        name(&cut),
        "--prediction",
        name(&cut),
        "--femur",
        &own,
    ];
    assert!(ends_with(4, &pair).contains("--femur"));
}
