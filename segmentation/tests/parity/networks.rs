//! Networks filled with numbers made from the parameters' names, against their logits; and a real checkpoint.

use std::path::Path;

use segmentation::network::{Architecture, Device, Kind, Network, Weights};
use segmentation::nnunet::Checkpoint;
use serde_json::Value;

use crate::kit::{self, Detgen};

const ANISO_KERNELS: [[usize; 3]; 5] = [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]];
const ANISO_STRIDES: [[usize; 3]; 5] = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]];

fn tiny(kind: Kind) -> Architecture {
    Architecture {
        kind,
        dimensions: 3,
        inputs: 1,
        outputs: 3,
        features: vec![8, 16, 24, 32, 40],
        kernels: ANISO_KERNELS.to_vec(),
        strides: ANISO_STRIDES.to_vec(),
        encoder: match kind {
            Kind::Plain => vec![2; 5],
            Kind::ResidualEncoder => vec![1, 3, 4, 6, 6],
        },
        decoder: match kind {
            Kind::Plain => vec![2; 4],
            Kind::ResidualEncoder => vec![1; 4],
        },
        bias: true,
    }
}

/// The network that the kit trains.
pub fn tiny_plain() -> Architecture {
    tiny(Kind::Plain)
}

/// Names and shapes of a network's parameters.
pub fn parameter_shapes(architecture: &Architecture) -> Vec<(String, Vec<usize>)> {
    struct Shapes(Vec<(String, Vec<usize>)>);
    impl Weights for Shapes {
        fn take(&mut self, name: &str, shape: &[usize]) -> segmentation::Result<Vec<f32>> {
            self.0.push((name.to_owned(), shape.to_vec()));
            Ok(vec![0.0; shape.iter().product()])
        }
    }
    let mut shapes = Shapes(vec![]);
    Network::new(architecture, &mut shapes, Device::Cpu).expect("a network");
    shapes.0
}

fn standard(kind: Kind) -> Architecture {
    Architecture {
        kind,
        dimensions: 3,
        inputs: 1,
        outputs: 3,
        features: vec![32, 64, 128, 256, 320, 320],
        kernels: vec![[3; 3]; 6],
        strides: [vec![[1; 3]], vec![[2; 3]; 5]].concat(),
        encoder: match kind {
            Kind::Plain => vec![2; 6],
            Kind::ResidualEncoder => vec![1, 3, 4, 6, 6, 6],
        },
        decoder: match kind {
            Kind::Plain => vec![2; 5],
            Kind::ResidualEncoder => vec![1; 5],
        },
        bias: true,
    }
}

/// Builds the network from names, compares parameter names, their number and the logits.
fn compare(name: &str, architecture: &Architecture, halves: bool) {
    let (Some(index), Some(arrays), Some(keys)) = (
        kit::json("models/index_nnunet.json"),
        kit::npz(&format!("models/{name}.npz")),
        kit::json(&format!("models/{name}.keys.json")),
    ) else {
        return;
    };
    let mut detgen = Detgen {
        names: vec![],
        count: 0,
    };
    let network = Network::new(architecture, &mut detgen, Device::Cpu).expect("a network");
    let entry = &index[name];
    assert_eq!(
        Some(detgen.count as u64),
        entry["params"].as_u64(),
        "{name}: parameters"
    );
    let mut wanted: Vec<String> = keys
        .as_array()
        .expect("names")
        .iter()
        .map(|key| key["name"].as_str().expect("a name").to_owned())
        .collect();
    wanted.sort();
    detgen.names.sort();
    assert_eq!(detgen.names, wanted, "{name}: names");

    let shape = entry["input_shape"].as_array().expect("a shape");
    let shape: Vec<usize> = shape
        .iter()
        .map(|n| n.as_u64().expect("a size") as usize)
        .collect();
    let shape: [usize; 5] = shape.try_into().expect("five axes");
    let x = kit::input("input", shape.iter().product());
    let logits = network.forward(x, shape).expect("logits");
    let deviation = entry["logits"][0]["std"].as_f64().expect("a deviation");
    let mut worst: f64 = 0.0;
    for (found, wanted) in logits.iter().zip(&arrays["logits0"].values) {
        // Half a unit in the last place where the kit stores halves.
        let stored = if halves {
            wanted.abs() * 2f64.powi(-11)
        } else {
            0.0
        };
        worst = worst.max(((f64::from(*found) - wanted).abs() - stored).max(0.0));
    }
    assert_eq!(logits.len(), arrays["logits0"].values.len());
    println!("{name}: {:.1e} of the deviation", worst / deviation);
    assert!(worst < 1e-4 * deviation, "{name}: off by {worst}");
}

#[test]
fn plain_network_with_flat_kernels() {
    compare("plain_unet_aniso_tiny_ds", &tiny(Kind::Plain), false);
}

#[test]
fn residual_network_with_flat_kernels() {
    compare(
        "resenc_m_aniso_tiny_ds",
        &tiny(Kind::ResidualEncoder),
        false,
    );
}

#[test]
fn plain_network_at_full_width() {
    compare("plain_unet_3d_fullres_std6", &standard(Kind::Plain), true);
}

#[test]
fn residual_network_at_full_width() {
    compare("resenc_m_std6", &standard(Kind::ResidualEncoder), true);
}

#[test]
fn a_checkpoint_of_pytorch_holds_the_numbers_made_from_its_names() {
    let (Some(path), Some(arrays)) = (
        kit::file("models/resenc_m_aniso_tiny_ds.pth"),
        kit::npz("models/resenc_m_aniso_tiny_ds.npz"),
    ) else {
        return;
    };
    let mut checkpoint = Checkpoint::read(&path).expect("a checkpoint");
    assert_eq!(checkpoint.weights.len(), 208);
    let architecture = tiny(Kind::ResidualEncoder);
    let network =
        Network::new(&architecture, &mut checkpoint.weights, Device::Cpu).expect("a network");
    checkpoint.weights.finish().expect("nothing left over");
    let logits = network
        .forward(kit::input("input", 16 * 64 * 64), [1, 1, 16, 64, 64])
        .expect("logits");
    let off = kit::largest_difference(&logits, &arrays["logits0"].values);
    assert!(off < 1e-4, "off by {off}");
}

#[test]
fn a_trained_network_on_one_tile() {
    let (Some(model), Some(arrays)) = (
        kit::file("Dataset901_TinyBone/nnUNetTrainer__nnUNetPlans__3d_fullres"),
        kit::npz("predict/tile_forward_f32.npz"),
    ) else {
        return;
    };
    let mut checkpoint =
        Checkpoint::read(&model.join("fold_0/checkpoint_final.pth")).expect("a checkpoint");
    assert_eq!(checkpoint.weights.len(), 88);
    assert_eq!(checkpoint.mirror_axes, [0, 1, 2]);
    assert_eq!(checkpoint.configuration.as_deref(), Some("3d_fullres"));
    assert_eq!(checkpoint.trainer.as_deref(), Some("nnUNetTrainer"));
    let plans = segmentation::nnunet::Plans::read(Path::new(&model), "3d_fullres").expect("plans");
    assert_eq!(plans.architecture, tiny(Kind::Plain));
    let network =
        Network::new(&plans.architecture, &mut checkpoint.weights, Device::Cpu).expect("a network");
    let x: Vec<f32> = arrays["x"].values.iter().map(|&v| v as f32).collect();
    let logits = network.forward(x, [1, 1, 16, 64, 64]).expect("logits");
    let off = kit::largest_difference(&logits, &arrays["y"].values);
    println!("trained tile: off by {off:.1e}");
    assert!(off < 2e-4, "off by {off}");
}

#[test]
fn the_index_of_the_kit_lists_what_is_compared() {
    let Some(index) = kit::json("models/index_nnunet.json") else {
        return;
    };
    let names: Vec<&str> = match &index {
        Value::Object(table) => table.keys().map(String::as_str).collect(),
        _ => vec![],
    };
    let known = [
        "plain_unet_3d_fullres_std6",
        "plain_unet_aniso_tiny_ds",
        "resenc_m_aniso_tiny_ds",
        "resenc_m_std6",
    ];
    for name in names {
        assert!(known.contains(&name), "{name} is not compared");
    }
}
