//! Every network takes three steps with falling loss, and a step is the gradient's.

use segmentation::network::{
    BatchArchitecture, DecoderKind, Device, EncoderKind, Network, NormPlacement, PatchArchitecture,
    PlanarArchitecture, Topology,
};
use segmentation::training::{Optimiser, Parameters, Random, Sample, Schedule, TrainPlan, Trainer};

/// A bright ball on noise.
fn sample(topology: &Topology, patch: [usize; 3], number: u64) -> Sample {
    let mut random = Random::new(5, number);
    let [z, y, x] = patch;
    let middle = patch.map(|n| n as f64 * random.between(0.35, 0.65));
    let ball: Vec<u8> = (0..z * y * x)
        .map(|i| {
            let at = [i / (y * x), i / x % y, i % x];
            let radius = 0.3 * y as f64;
            let flat = |a: usize| {
                if patch[a] == 1 {
                    0.0
                } else {
                    at[a] as f64 - middle[a]
                }
            };
            u8::from((0..3).map(|a| flat(a).powi(2)).sum::<f64>().sqrt() < radius)
        })
        .collect();
    let mut image = vec![];
    for _ in 0..topology.inputs() {
        image.extend(
            ball.iter()
                .map(|&b| f32::from(b) + 0.3 * random.normal() as f32),
        );
    }
    let target = match topology {
        Topology::Patch(_) => vec![(number % 2) as u8],
        _ => ball,
    };
    Sample {
        image,
        target,
        weights: vec![],
    }
}

fn plan(patch: [usize; 3], rate: f64, loss: [f64; 2]) -> TrainPlan {
    TrainPlan {
        patch,
        batch: 2,
        steps: 10,
        optimiser: Optimiser::Adam {
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.0,
        },
        schedule: Schedule::Constant { rate },
        clip: 1e30,
        loss,
        batch_dice: true,
        deep_supervision: false,
        mean_memory: 0.0,
        seed: 1,
    }
}

/// Losses of three steps with the same samples at the paper's rate.
fn losses(topology: Topology, patch: [usize; 3], rate: f64, loss: [f64; 2]) -> [f64; 3] {
    let batch: Vec<Sample> = (0..2).map(|i| sample(&topology, patch, i)).collect();
    let plan = plan(patch, rate, loss);
    let mut trainer = Trainer::new(topology, plan, Parameters::default()).expect("a trainer");
    std::array::from_fn(|_| trainer.learn(&batch, Device::Cpu).expect("a step").loss)
}

fn falls(what: &str, [first, second, third]: [f64; 3]) {
    println!("{what}: {first:.6} {second:.6} {third:.6}");
    assert!(
        second < first && third < second,
        "{what}: {first} {second} {third}"
    );
}

fn batch_network(dimensions: usize, features: &[usize], norms: NormPlacement) -> Topology {
    Topology::BatchUNet(BatchArchitecture {
        dimensions,
        inputs: 1,
        outputs: 2,
        features: features.to_vec(),
        norms,
    })
}

#[test]
fn saillards_networks_learn_at_full_width() {
    let flat = batch_network(2, &[64, 128, 256, 512, 1024], NormPlacement::AfterEach);
    falls("2D", losses(flat, [1, 32, 32], 2e-4, [0.0, 1.0]));
    let solid = batch_network(3, &[22, 44, 88, 176, 352], NormPlacement::AfterEach);
    falls("3D", losses(solid, [16, 16, 16], 3e-5, [0.0, 1.0]));
}

#[test]
fn the_network_of_planes_learns_at_full_width() {
    let planes = batch_network(2, &[90, 181, 362, 724, 1448], NormPlacement::AfterBoth);
    falls("planes", losses(planes, [1, 32, 32], 1e-5, [1.0, 0.0]));
}

#[test]
fn slice_networks_learn_at_full_width() {
    use DecoderKind::{DeepLabV3, DeepLabV3Plus, UNet, UNetPlusPlus};
    use EncoderKind::{MobileNetV3Large, ResNet34, ResNet50};
    for (encoder, decoder) in [
        (ResNet34, UNet),
        (ResNet50, UNetPlusPlus),
        (MobileNetV3Large, UNet),
        (ResNet34, DeepLabV3),
        (ResNet34, DeepLabV3Plus),
    ] {
        let topology = Topology::Planar(PlanarArchitecture {
            encoder,
            decoder,
            inputs: 1,
            outputs: 2,
        });
        let what = format!("{encoder:?} {decoder:?}");
        falls(&what, losses(topology, [1, 64, 64], 3e-4, [1.0, 0.0]));
    }
}

/// What a step changes is what the loss says: a step along the gradient lowers it by rate times its square, to first order.
#[test]
fn a_small_step_lowers_the_loss_by_the_square_of_the_gradient() {
    let planar = Topology::Planar(PlanarArchitecture {
        encoder: EncoderKind::MobileNetV3Large,
        decoder: DecoderKind::UNet,
        inputs: 1,
        outputs: 2,
    });
    let cases = [
        (
            "after each",
            batch_network(2, &[4, 8, 12], NormPlacement::AfterEach),
            [1, 16, 16],
        ),
        (
            "after both",
            batch_network(3, &[4, 8], NormPlacement::AfterBoth),
            [8, 8, 8],
        ),
        ("slices", planar, [1, 64, 64]),
    ];
    for (what, topology, patch) in cases {
        let batch: Vec<Sample> = (0..2).map(|i| sample(&topology, patch, i)).collect();
        let rate = 1e-6;
        let plan = TrainPlan {
            optimiser: Optimiser::Sgd {
                momentum: 0.0,
                nesterov: false,
                weight_decay: 0.0,
            },
            ..plan(patch, rate, [1.0, 0.0])
        };
        let mut trainer = Trainer::new(topology, plan, Parameters::default()).expect("a trainer");
        trainer.rate_factor = 100.0;
        let first = trainer.learn(&batch, Device::Cpu).expect("a step");
        let second = trainer.learn(&batch, Device::Cpu).expect("a step");
        let ratio = (first.loss - second.loss) / (100.0 * rate * first.gradient_norm.powi(2));
        println!("{what}: ratio {ratio}");
        assert!((0.8..1.2).contains(&ratio), "{what}: ratio {ratio}");
    }
}

/// The network of three patches drops units at random, so what it says while running is compared.
#[test]
fn the_network_of_patches_learns_at_full_width() {
    let topology = Topology::Patch(PatchArchitecture {
        side: 32,
        inputs: 3,
        outputs: 2,
        features: 32,
    });
    let patch = [1, 32, 32];
    let batch: Vec<Sample> = (0..16).map(|i| sample(&topology, patch, i)).collect();
    let plan = TrainPlan {
        optimiser: Optimiser::Sgd {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
        },
        batch: 16,
        ..plan(patch, 1e-3, [1.0, 0.0])
    };
    let mut trainer = Trainer::new(topology.clone(), plan, Parameters::default()).expect("one");
    let loss = |trainer: &Trainer| {
        let weights = &trainer.parameters;
        let network = Network::new(topology.clone(), &mut &*weights, Device::Cpu).expect("one");
        let losses = batch.iter().map(|sample| {
            let logits = network.forward(sample.image.clone(), [1, 3, 1, 32, 32]);
            let logits = logits.expect("logits");
            let own = usize::from(sample.target[0]);
            f64::from((1.0 + (logits[1 - own] - logits[own]).exp()).ln())
        });
        losses.sum::<f64>()
    };
    let mut all = vec![loss(&trainer)];
    for _ in 0..3 {
        trainer.learn(&batch, Device::Cpu).expect("a step");
        all.push(loss(&trainer));
    }
    falls("patches", [all[1], all[2], all[3]]);
    assert!(all[1] < all[0]);
}
