//! Loss, gradient and three steps of the official trainer.

use segmentation::network::{Device, Weights as _};
use segmentation::training::{
    LossOptions, Optimiser, Parameters, Sample, Schedule, TrainPlan, Trainer, supervision_weights,
};

use crate::kit::{self, Detgen};

#[test]
fn loss_and_gradient() {
    let Some(wanted) = kit::json("unit/loss.json") else {
        return;
    };
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let weights = supervision_weights(3);
    for (found, wanted) in weights
        .iter()
        .zip(wanted["ds_weights"].as_array().expect("weights"))
    {
        assert!((found - number(wanted)).abs() < 1e-12);
    }
    for batch_dice in [false, true] {
        let name = format!("batch_dice_{}", if batch_dice { "True" } else { "False" });
        let options = LossOptions {
            batch_dice,
            ..LossOptions::default()
        };
        let mut total = 0.0;
        for (level, weight) in weights.iter().enumerate() {
            let voxels = (8 >> level) * (16 >> level) * (16 >> level);
            let logits: Vec<f32> = kit::input(&format!("logit{level}"), 2 * 3 * voxels)
                .into_iter()
                .map(|v| 3.0 * v)
                .collect();
            let target: Vec<u8> = kit::uniform(&format!("tgt{level}"), 2 * voxels)
                .into_iter()
                .map(|u| (3.0 * u) as u8)
                .collect();
            let loss = options.of(&logits, 3, &target, &[], 2).expect("a loss");
            let value = number(&wanted[&format!("{name}_level")][level]);
            assert!(
                (loss.value - value).abs() < 1e-6,
                "{name} {level}: {}",
                loss.value
            );
            let dice = number(&wanted[&format!("{name}_dice_only")][level]);
            assert!(
                (loss.dice - dice).abs() < 1e-6,
                "{name} {level}: {}",
                loss.dice
            );
            total += weight * loss.value;
            if level == 0 {
                let first = wanted[&format!("{name}_ds_grad0_first8")]
                    .as_array()
                    .expect("numbers");
                for (found, wanted) in loss.gradient.iter().zip(first) {
                    let off = f64::from(*found) * weight - number(wanted);
                    assert!(off.abs() < 1e-9, "{name}: gradient off by {off}");
                }
                let square = loss
                    .gradient
                    .iter()
                    .map(|g| (f64::from(*g) * weight).powi(2));
                let norm = square.sum::<f64>().sqrt();
                let off = norm / number(&wanted[&format!("{name}_ds_grad0_norm")]) - 1.0;
                assert!(off.abs() < 1e-5, "{name}: norm off by {off}");
            }
        }
        let off = total - number(&wanted[&format!("{name}_ds")]);
        assert!(off.abs() < 1e-6, "{name}: total off by {off}");
    }
}

#[test]
fn three_steps() {
    let (Some(wanted), Some(arrays)) = (
        kit::json("unit/train_steps.json"),
        kit::npz("unit/train_batch_seg.npz"),
    ) else {
        return;
    };
    let patch = [16, 64, 64];
    let voxels: usize = patch.iter().product();
    let plan = TrainPlan {
        patch,
        batch: 2,
        steps: 1000,
        optimiser: Optimiser::nnunet(),
        schedule: Schedule::Polynomial {
            rate: 0.01,
            epoch_steps: 1,
        },
        clip: 12.0,
        loss: [1.0, 1.0],
        batch_dice: false,
        deep_supervision: true,
        mean_memory: 0.0,
        seed: 1,
    };
    let mut detgen = Detgen {
        names: vec![],
        count: 0,
    };
    let architecture = crate::networks::tiny_plain();
    let mut given = Parameters::default();
    for (name, shape) in crate::networks::parameter_shapes(&architecture) {
        let values = detgen.take(&name, &shape).expect("numbers");
        given.insert(name, shape, values);
    }
    let mut trainer = Trainer::new(architecture, plan, given).expect("a trainer");
    assert_eq!(trainer.parameters.count(), 314_372);
    let x = kit::input("train.x", 2 * voxels);
    let seg: Vec<u8> = arrays["seg"].values.iter().map(|&v| v as u8).collect();
    let batch: Vec<Sample> = (0..2)
        .map(|i| Sample {
            image: x[i * voxels..(i + 1) * voxels].to_vec(),
            target: seg[i * voxels..(i + 1) * voxels].to_vec(),
            weights: vec![],
        })
        .collect();
    for step in wanted["steps"].as_array().expect("steps") {
        let progress = trainer.learn(&batch, Device::Cpu).expect("a step");
        let number = |key: &str| step[key].as_f64().expect("a number");
        assert!((progress.rate - number("lr")).abs() < 1e-12);
        let off = progress.loss - number("loss");
        assert!(
            off.abs() < 1e-5,
            "step {}: loss off by {off}",
            progress.step
        );
        let off = progress.gradient_norm / number("grad_norm_before_clip") - 1.0;
        assert!(
            off.abs() < 1e-4,
            "step {}: norm off by {off}",
            progress.step
        );
        for (name, sum) in step["param_sums"].as_object().expect("sums") {
            let found = trainer.parameters.sum(name).expect("a parameter");
            let off = found - sum.as_f64().expect("a number");
            assert!(
                off.abs() < 2e-5,
                "step {}: {name} off by {off}",
                progress.step
            );
        }
    }
}
