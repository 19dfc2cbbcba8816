//! A small set of scans with label maps, as `osteoload train` takes it: synthetic femora at 3 mm.
//!
//! Run with `cargo run --release --example training_set`: says what one case holds. `-- OUT` writes ten cases in nnU-Net's raw layout,
//! for the recipes whose names end in `-small`. Expected without arguments:
//!
//! ```text
//! femur 901: 51 x 48 x 68 voxels, 5 % of them femur
//! ```

use std::path::Path;

use anyhow::Context as _;
use imaging::{LabelMap, Volume};
use osteoload::synth::{self, Options};

/// Seeds of the cases.
const SEEDS: std::ops::RangeInclusive<u64> = 901..=910;
const SPACING_MM: f64 = 3.0;
const DATASET: &str = r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "femur": 1}, "numTraining": 10,
 "file_ending": ".nii.gz"}
"#;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1) {
        None => {
            let (_, labels) = case(*SEEDS.start())?;
            let [x, y, z] = labels.grid.size;
            let inside = labels.data.iter().filter(|&&label| label > 0).count();
            let part = 100.0 * inside as f64 / labels.data.len() as f64;
            println!("femur 901: {x} x {y} x {z} voxels, {part:.0} % of them femur");
            Ok(())
        }
        Some(out) => write(Path::new(&out)),
    }
}

fn case(seed: u64) -> anyhow::Result<(Volume<f32>, LabelMap)> {
    let patient = synth::femur(&Options {
        seed,
        phantom: None,
        spacing_mm: Some([SPACING_MM; 3]),
        ..Options::default()
    })?;
    // Left and right are one class here.
    let femur = patient
        .labels
        .map(|label| u16::from((1..=2).contains(label)));
    Ok((patient.ct, femur))
}

fn write(out: &Path) -> anyhow::Result<()> {
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(out.join(folder)).with_context(|| format!("{}", out.display()))?;
    }
    for seed in SEEDS {
        let (ct, labels) = case(seed)?;
        imaging::write_volume(
            &out.join(format!("imagesTr/femur_{seed}_0000.nii.gz")),
            &ct.map(|&hu| hu as i16),
        )?;
        imaging::write_volume(&out.join(format!("labelsTr/femur_{seed}.nii.gz")), &labels)?;
    }
    std::fs::write(out.join("dataset.json"), DATASET)?;
    println!("10 cases in {}", out.display());
    Ok(())
}
