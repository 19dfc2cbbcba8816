//! Small model folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imaging::{Grid, Volume};
use segmentation::Result;
use segmentation::network::{Device, Network, Stored, Weights};
use segmentation::nnunet::Plans;
use serde_json::{Value, json};

/// Random parameters that are kept as they are handed out.
pub struct Recorded {
    pub stored: Stored,
    state: u64,
}

impl Recorded {
    pub fn new(seed: u64) -> Self {
        Self {
            stored: Stored::default(),
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }
}

impl Weights for Recorded {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count = shape.iter().product();
        let fan_in: usize = shape[1..].iter().product();
        let mut uniform = || {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..count)
            .map(|_| match (shape.len(), name.ends_with("weight")) {
                (1, true) => 1.0 + 0.2 * uniform(),
                (1, false) => 0.3 * uniform(),
                _ => uniform() * (6.0 / fan_in as f32).sqrt(),
            })
            .collect();
        self.stored
            .insert(name.to_owned(), shape.to_vec(), values.clone());
        Ok(values)
    }
}

/// One configuration of a small plain network.
pub fn configuration(patch: &[usize], spacing: &[f64], kernel: usize) -> Value {
    let dimensions = patch.len();
    let axes = |n: usize| {
        let mut axes = vec![n; dimensions];
        if dimensions == 3 && kernel == 1 {
            axes[0] = 1;
        }
        axes
    };
    let names = if dimensions == 2 {
        ["Conv2d", "InstanceNorm2d"]
    } else {
        ["Conv3d", "InstanceNorm3d"]
    };
    json!({
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [false],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [4, 6],
                "conv_op": format!("torch.nn.modules.conv.{}", names[0]),
                "norm_op": format!("torch.nn.modules.instancenorm.{}", names[1]),
                "nonlin": "torch.nn.LeakyReLU",
                "kernel_sizes": [axes(3), axes(3)],
                "strides": [axes(1), axes(2)],
                "n_conv_per_stage": [1, 2],
                "n_conv_per_stage_decoder": [1],
                "conv_bias": true,
            },
        },
    })
}

pub fn plans(transpose: [usize; 3], configurations: Value) -> Value {
    json!({
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": transpose,
        "foreground_intensity_properties_per_channel": {
            "0": {"percentile_00_5": -200.0, "percentile_99_5": 900.0, "mean": 150.0, "std": 250.0}
        },
        "configurations": configurations,
    })
}

pub fn dataset() -> Value {
    json!({
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "femur": 1, "hip": 2},
        "file_ending": ".nii.gz",
    })
}

/// Writes a model folder; `seeds` are those of the folds' weights.
pub fn write(
    parent: &Path,
    configuration: &str,
    plans: &Value,
    dataset: &Value,
    seeds: &[u64],
) -> PathBuf {
    let folder = parent.join(format!("nnUNetTrainer__nnUNetPlans__{configuration}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("plans.json"), plans.to_string()).expect("plans");
    std::fs::write(folder.join("dataset.json"), dataset.to_string()).expect("a data set");
    let read = Plans::read(&folder, configuration).expect("plans");
    for (fold, &seed) in seeds.iter().enumerate() {
        let mut weights = Recorded::new(seed);
        Network::new(&read.architecture, &mut weights, Device::Cpu).expect("a network");
        let fold = folder.join(format!("fold_{fold}"));
        std::fs::create_dir_all(&fold).expect("a folder");
        let facts = BTreeMap::from([(
            "inference_allowed_mirroring_axes".to_owned(),
            "[0, 1]".to_owned(),
        )]);
        weights
            .stored
            .write_safetensors(&fold.join("checkpoint_final.safetensors"), &facts, false)
            .expect("weights");
    }
    folder
}

/// A scan with something in it.
pub fn scan(size: [usize; 3], spacing: [f64; 3]) -> Volume<f32> {
    let grid = Grid::axis_aligned(size, spacing);
    Volume::from_fn(grid, |[i, j, k]| {
        let (x, y, z) = (i as f32, j as f32, k as f32);
        let wave = (0.7 * x).sin() + (0.45 * y + 0.2 * x).cos() + (0.6 * z + 0.1 * y).sin();
        1.0 + 250.0 * wave
    })
}
