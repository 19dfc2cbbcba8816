//! Femora painted on real label maps, left and right.

use osteoload::report::RunOutcome;
use osteoload::synth::{LabelMeaning, Options, from_labels};

use super::{FemurCase, scanner_line};
use crate::verification::shared;

#[test]
fn real_hips_break_between_2_and_15_kilonewtons() {
    let Some(folder) = shared("data/masks/hip-joint-autoseg") else {
        return;
    };
    let mut maps: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            ["a70", "a7w", "a80"]
                .iter()
                .any(|known| name.starts_with(known))
        })
        .collect();
    maps.sort();
    assert_eq!(maps.len(), 3);
    for path in maps {
        let map = imaging::read_labels(&path).expect("a label map");
        let patient = from_labels(&map, LabelMeaning::Hip, &Options::default()).expect("a patient");
        let mut sides = Vec::new();
        for label in [1, 2] {
            let case = FemurCase::new(&patient.ct, &patient.labels, label, scanner_line(&patient));
            // 3 mm voxels: fast enough for a test; the figures at 1 mm stand in the README.
            let coarse = case.run(&["mesh.voxel_mm=3", "load.increments=80"]);
            let fine = case.run(&["mesh.voxel_mm=3", "load.increments=160"]);
            let name = format!("{} label {label}", path.display());
            assert_eq!(coarse.outcome, RunOutcome::PeakPassed, "{name}");
            let (a, b) = (
                coarse.failure_load_n.expect("a load"),
                fine.failure_load_n.expect("a load"),
            );
            assert!((2000.0..15000.0).contains(&a), "{name}: {a} N");
            assert!(
                (a - b).abs() < 0.02 * a,
                "{name}: {a} N, {b} N with half the increment"
            );
            sides.push(coarse.side.expect("a side"));
        }
        assert_ne!(sides[0], sides[1], "{}", path.display());
    }
}
