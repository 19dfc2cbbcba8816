//! Whole cases against the official predictor: arrays before the network, logits after it, labels at the end.

use imaging::Volume;
use segmentation::Channels;
use segmentation::network::{Device, Network};
use segmentation::nnunet::sliding_window::{Ensemble, Tiling, importance, logits_in_half};
use segmentation::nnunet::{Checkpoint, Choice, Model, Options, Plans, Precision, prepare};

use crate::kit;

const MODEL: &str = "Dataset901_TinyBone/nnUNetTrainer__nnUNetPlans__3d_fullres";

fn scan(case: &str) -> Option<Volume<f32>> {
    let path = kit::file(&format!("raw/{case}_0000.nii.gz"))?;
    Some(imaging::read_volume(&path).expect("a scan"))
}

fn array(scan: &Volume<f32>) -> (Channels<f32>, [f64; 3]) {
    let [x, y, z] = scan.grid.size;
    let [sx, sy, sz] = scan.grid.spacing_mm;
    let channels = Channels {
        shape: [z, y, x],
        data: scan.data.clone(),
    };
    (channels, [sz, sy, sx])
}

#[test]
fn preprocessing_to_the_last_bit() {
    for case in ["TB_T00", "TB_T01"] {
        let (Some(model), Some(scan), Some(arrays)) = (
            kit::file(MODEL),
            scan(case),
            kit::npz(&format!("predict/{case}_preprocessed.npz")),
        ) else {
            return;
        };
        let plans = Plans::read(&model, "3d_fullres").expect("plans");
        let (image, spacing) = array(&scan);
        let prepared = prepare(&plans, image, spacing, None).expect("a prepared scan");
        let wanted = arrays["data"].channels(|v| v as f32);
        assert_eq!(prepared.image.shape, wanted.shape, "{case}");
        let off = kit::largest_difference(&prepared.image.data, &arrays["data"].values);
        println!("{case}: preprocessed arrays differ by {off:.1e}");
        assert!(off <= 1e-6, "{case}: off by {off}");
    }
}

#[test]
fn logits_in_half_precision() {
    for (case, mirroring) in [("TB_T00", false), ("TB_T00", true), ("TB_T01", false)] {
        let how = if mirroring { "mirror" } else { "nomirror" };
        let (Some(model), Some(scan), Some(arrays)) = (
            kit::file(MODEL),
            scan(case),
            kit::npz(&format!("predict/{case}_{how}_logits.npz")),
        ) else {
            return;
        };
        let plans = Plans::read(&model, "3d_fullres").expect("plans");
        let mut checkpoint =
            Checkpoint::read(&model.join("fold_0/checkpoint_final.pth")).expect("a checkpoint");
        let network = Network::new(&plans.architecture, &mut checkpoint.weights, Device::Cpu);
        let (image, spacing) = array(&scan);
        let prepared = prepare(&plans, image, spacing, None).expect("a prepared scan");
        let tiling = Tiling::new(prepared.image.shape, plans.patch, 0.5, false);
        let ensemble = Ensemble {
            networks: &[network.expect("a network")],
            mirror_axes: if mirroring { vec![0, 1, 2] } else { vec![] },
            classes: 3,
        };
        let weights = importance(plans.patch, false);
        let shape = prepared.image.shape;
        let logits = logits_in_half(prepared.image, &tiling, &weights, &ensemble, || ());
        let logits: Vec<f32> = logits
            .expect("logits")
            .data
            .iter()
            .map(|v| v.to_f32())
            .collect();
        let wanted = &arrays["logits_f16"].values;
        let total = total_weight(shape, &tiling, &weights);
        assert_eq!(logits.len(), wanted.len());
        let mut off: f64 = 0.0;
        for (index, (found, wanted)) in logits.iter().zip(wanted).enumerate() {
            if total[index % total.len()] > 1e-3 {
                off = off.max((f64::from(*found) - wanted).abs());
            }
        }
        let same = logits
            .iter()
            .zip(wanted)
            .filter(|(a, b)| f64::from(**a) == **b)
            .count();
        println!(
            "{case} {how}: logits differ by {off:.1e}, {same} of {} the same",
            wanted.len()
        );
        assert!(off <= 2e-2, "{case} {how}: off by {off}");
    }
}

/// Sum of the tiles' weights at every voxel. Where it is tiny, half precision has no digits left to compare.
fn total_weight(shape: [usize; 3], tiling: &Tiling, weights: &[half::f16]) -> Vec<f64> {
    let [before, after] = tiling.padding;
    let mut sum = Channels::filled(1, shape, 0.0).padded(before, after, 0.0);
    let [_, rows, columns] = sum.shape;
    let [nz, ny, nx] = tiling.patch;
    for z in &tiling.starts[0] {
        for y in &tiling.starts[1] {
            for x in &tiling.starts[2] {
                for (index, weight) in weights.iter().enumerate() {
                    let (dz, dy, dx) = (index / (ny * nx), index / nx % ny, index % nx);
                    sum.data[((z + dz) * rows + y + dy) * columns + x + dx] += weight.to_f64();
                }
            }
        }
    }
    assert_eq!(weights.len(), nz * ny * nx);
    sum.cropped(
        before,
        std::array::from_fn(|axis| before[axis] + shape[axis]),
    )
    .data
}

#[test]
fn labels_of_whole_cases() {
    let Some(folder) = kit::file(MODEL) else {
        return;
    };
    let model = Model::open(&folder, &Choice::default()).expect("a model");
    for case in ["TB_T00", "TB_T01"] {
        for mirroring in [false, true] {
            let how = if mirroring { "mirror" } else { "nomirror" };
            let wanted = kit::file(&format!("predict/{case}_{how}.nii.gz")).expect("a file");
            let wanted = imaging::read_labels(&wanted).expect("labels");
            let scan = scan(case).expect("a scan");
            for (precision, allowed) in [(Precision::Exact, 1e-4), (Precision::Fast, 2e-4)] {
                let options = Options {
                    mirroring,
                    precision,
                    ..Options::default()
                };
                let found = model.segment(std::slice::from_ref(&scan), &options, &mut |_, _| ());
                let found = found.expect("labels").labels;
                found.grid.check_same(&wanted.grid).expect("the same grid");
                let differ = found
                    .data
                    .iter()
                    .zip(&wanted.data)
                    .filter(|(a, b)| a != b)
                    .count();
                println!(
                    "{case} {how} {precision:?}: {differ} of {} labels differ",
                    wanted.data.len()
                );
                assert!(
                    (differ as f64) <= allowed * wanted.data.len() as f64,
                    "{case} {how} {precision:?}: {differ} labels differ"
                );
            }
        }
    }
}
