//! The papers' recipes by name, at full width and small enough to be tried.

use segmentation::network::{DecoderKind, EncoderKind};
use segmentation::recipes::{
    Affine, Axis, DistanceWeights, Elastic, Fusion, Kept, Method, Normalisation, Patience, Planes,
    Postprocess, Recipe, SliceKind, Slices, Triplanar, Volumetric,
};
use segmentation::training::Optimiser;

/// Names of the recipes; each with `-small` behind it is one that two cores train in minutes.
pub(super) const NAMES: [&str; 14] = [
    "saillard-2d",
    "saillard-3d",
    "xu-planes",
    "pivi-unet-resnet34",
    "pivi-unet-resnet50",
    "pivi-unet-mobilenetv3",
    "pivi-unetpp-resnet34",
    "pivi-unetpp-resnet50",
    "pivi-unetpp-mobilenetv3",
    "pivi-deeplabv3-resnet34",
    "pivi-deeplabv3-resnet50",
    "pivi-deeplabv3plus-resnet34",
    "pivi-deeplabv3plus-resnet50",
    "hallyburton-triplanar",
];

/// Adam as PyTorch and Keras have it.
const ADAM: Optimiser = Optimiser::Adam {
    beta1: 0.9,
    beta2: 0.999,
    weight_decay: 0.0,
};

/// Suggested bounds: the papers that name these maps print none.
const AFFINE: Affine = Affine {
    rotation_deg: 15.0,
    shift: 0.1,
    shear: 0.1,
    scale: [0.9, 1.1],
};

/// The median voxel of the femora of Saillard et al., mm.
const MEDIAN_VOXEL_MM: [f64; 3] = segmentation::coregistration::VOXEL_MM;

/// The recipe of a name.
pub(super) fn built_in(name: &str) -> Option<Recipe> {
    match name.strip_suffix("-small") {
        Some(whole) => Some(small(full(whole)?)),
        None => full(name),
    }
}

fn full(name: &str) -> Option<Recipe> {
    let recipe = match name.split_once('-')? {
        ("saillard", "2d") => saillard_slices(),
        ("saillard", "3d") => saillard_patches(),
        ("xu", "planes") => xu(),
        ("pivi", network) => pivi(network)?,
        ("hallyburton", "triplanar") => hallyburton(),
        _ => return None,
    };
    Some(recipe)
}

fn saillard_slices() -> Recipe {
    Recipe {
        source: "Saillard et al. 2024, three 2D U-Nets; bounds of the CT numbers, of the random maps and of the islands are not printed; 250 epochs for femora, 500 for vertebrae".into(),
        spacing_mm: Some(MEDIAN_VOXEL_MM),
        coregistered: true,
        batch: 16,
        epochs: 250,
        epoch_steps: None,
        judged_samples: 64,
        rate: 2e-4,
        loss: [0.0, 1.0],
        keep: Kept::BestDice,
        seed: 1,
        optimiser: ADAM,
        normalisation: Normalisation::ClippedRange {
            low: -200.0,
            high: 1500.0,
        },
        method: Method::Slices(Slices {
            axes: vec![Axis::Axial, Axis::Coronal, Axis::Sagittal],
            one_network: false,
            size: None,
            labelled_only: false,
            fusion: Fusion::Vote,
            network: SliceKind::UNet {
                features: vec![64, 128, 256, 512, 1024],
            },
        }),
        affine: Some(AFFINE),
        elastic: None,
        patience: None,
        postprocess: Postprocess::Islands { radius: 1 },
    }
}

fn saillard_patches() -> Recipe {
    Recipe {
        source: "Saillard et al. 2024, 3D U-Net; width, bounds and steps of an epoch are not printed; 500 epochs for femora, 300 for vertebrae".into(),
        batch: 4,
        epochs: 500,
        epoch_steps: Some(100),
        rate: 3e-5,
        method: Method::Volumetric(Volumetric {
            features: vec![22, 44, 88, 176, 352],
            patch: [64; 3],
            step: 0.5,
        }),
        ..saillard_slices()
    }
}

fn xu() -> Recipe {
    Recipe {
        source: "Xu et al., planes of six directions after Perslev et al. 2019; steps of an epoch are not printed; labels 1 and 2, 3 and 4 are left and right".into(),
        spacing_mm: None,
        coregistered: false,
        batch: 10,
        epochs: 40,
        epoch_steps: Some(250),
        judged_samples: 100,
        rate: 1e-5,
        loss: [1.0, 0.0],
        keep: Kept::BestDice,
        seed: 1,
        optimiser: ADAM,
        normalisation: Normalisation::Quartiles { median: false },
        method: Method::Planes(Planes {
            features: vec![90, 181, 362, 724, 1448],
            views: 6,
            pixels: [128, 512],
            resolution_quantile: 0.75,
            tilt: 0.1,
            labelled: 0.5,
            weights: Some(DistanceWeights {
                erosion: 3,
                strength: 20.0,
                width: 5.0,
                background_only: false,
            }),
        }),
        affine: None,
        elastic: Some(Elastic {
            part: 1.0 / 3.0,
            alpha: [0.0, 450.0],
            sigma: [20.0, 30.0],
            weight: 0.33,
        }),
        patience: Some(Patience {
            fall_after: 2,
            factor: 0.9,
            stop_after: 5,
        }),
        postprocess: Postprocess::Largest {
            symmetric: vec![[1, 2], [3, 4]],
        },
    }
}

fn pivi(network: &str) -> Option<Recipe> {
    let (decoder, encoder) = network.split_once('-')?;
    let encoder = match encoder {
        "resnet34" => EncoderKind::ResNet34,
        "resnet50" => EncoderKind::ResNet50,
        "mobilenetv3" if decoder.starts_with("unet") => EncoderKind::MobileNetV3Large,
        _ => return None,
    };
    let decoder = match decoder {
        "unet" => DecoderKind::UNet,
        "unetpp" => DecoderKind::UNetPlusPlus,
        "deeplabv3" => DecoderKind::DeepLabV3,
        "deeplabv3plus" => DecoderKind::DeepLabV3Plus,
        _ => return None,
    };
    Some(Recipe {
        source: "Pivi et al., slices of all axes; its DeepLabV3 encoder is MobileNetV3 in the published code, its 256 × 256 a cut; how a volume is put together is not said".into(),
        spacing_mm: None,
        coregistered: false,
        batch: 16,
        epochs: 5,
        epoch_steps: None,
        judged_samples: 64,
        rate: 3e-4,
        loss: [1.0, 0.0],
        keep: Kept::LeastLoss,
        seed: 1,
        optimiser: ADAM,
        normalisation: Normalisation::SliceRange {
            below: -3024.0,
            becomes: -1000.0,
        },
        method: Method::Slices(Slices {
            axes: vec![Axis::Axial, Axis::Coronal, Axis::Sagittal],
            one_network: true,
            size: Some([256, 256]),
            labelled_only: true,
            fusion: Fusion::Sum,
            network: SliceKind::Pretrained { encoder, decoder },
        }),
        affine: None,
        elastic: None,
        patience: None,
        postprocess: Postprocess::None,
    })
}

fn hallyburton() -> Recipe {
    Recipe {
        source: "Hallyburton et al., 2.5D patches; channels, weight decay, size of clusters and the share of bone among the samples are not printed".into(),
        spacing_mm: None,
        coregistered: false,
        batch: 256,
        epochs: 62,
        epoch_steps: Some(500),
        judged_samples: 2000,
        rate: 1e-4,
        loss: [1.0, 0.0],
        keep: Kept::BestDice,
        seed: 1,
        optimiser: Optimiser::Sgd {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
        },
        normalisation: Normalisation::Standard,
        method: Method::Triplanar(Triplanar {
            side: 32,
            features: 32,
            labelled: 0.5,
            background_below: -0.5,
        }),
        affine: None,
        elastic: None,
        patience: None,
        postprocess: Postprocess::Clusters {
            least: 100,
            radius: 1,
        },
    }
}

/// The same with fewer channels, pixels and steps, and a faster rate: for scans of about 64³ voxels.
fn small(recipe: Recipe) -> Recipe {
    let mut small = Recipe {
        source: format!("{}; small", recipe.source),
        spacing_mm: None,
        coregistered: false,
        ..recipe
    };
    match &mut small.method {
        Method::Slices(own) => {
            small.batch = 8;
            small.judged_samples = 48;
            match &mut own.network {
                SliceKind::UNet { features } => {
                    *features = vec![8, 16, 32, 64];
                    (small.rate, small.epochs, small.epoch_steps) = (2e-3, 6, Some(40));
                }
                SliceKind::Pretrained { .. } => {
                    own.size = Some([64, 64]);
                    (small.rate, small.epochs, small.epoch_steps) = (1e-3, 5, Some(40));
                }
            }
        }
        Method::Volumetric(own) => {
            own.features = vec![8, 16, 32, 64];
            own.patch = [32; 3];
            (small.rate, small.epochs, small.epoch_steps) = (2e-3, 6, Some(40));
        }
        Method::Planes(own) => {
            own.features = vec![16, 32, 64, 128];
            own.pixels = [48, 64];
            small.judged_samples = 48;
            (small.rate, small.epochs, small.epoch_steps) = (2e-3, 12, Some(40));
            if let Some(elastic) = &mut small.elastic {
                // As much deformation for smaller planes.
                (elastic.alpha, elastic.sigma) = ([0.0, 100.0], [6.0, 9.0]);
            }
        }
        Method::Triplanar(own) => {
            own.side = 24;
            own.features = 8;
            small.batch = 64;
            small.judged_samples = 600;
            (small.rate, small.epochs, small.epoch_steps) = (2e-2, 10, Some(200));
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_can_be_read_back_and_stands_the_check() {
        for name in NAMES {
            for name in [name.to_owned(), format!("{name}-small")] {
                let recipe = built_in(&name).expect("a recipe");
                recipe.check().expect("a sound recipe");
                let text = toml::to_string_pretty(&recipe).expect("TOML");
                assert_eq!(toml::from_str::<Recipe>(&text).expect("a recipe"), recipe);
            }
        }
        for name in [
            "pivi-deeplabv3-mobilenetv3",
            "pivi-unet",
            "saillard-4d",
            "xu",
        ] {
            assert_eq!(built_in(name), None, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        type Change = fn(&mut Recipe);
        let cases: [(&str, &str, Change); 6] = [
            ("saillard-2d", "`low` must be below", |r| {
                r.normalisation = Normalisation::ClippedRange {
                    low: 5.0,
                    high: -5.0,
                };
            }),
            ("saillard-3d", "`slice_range` is for", |r| {
                r.normalisation = Normalisation::SliceRange {
                    below: -3024.0,
                    becomes: -1000.0,
                };
            }),
            ("saillard-3d", "`epoch_steps` is missing", |r| {
                r.epoch_steps = None
            }),
            ("hallyburton-triplanar", "not for the method", |r| {
                r.affine = Some(AFFINE)
            }),
            ("saillard-2d", "`scale` holds", |r| {
                r.affine = Some(Affine {
                    scale: [0.0, 1.0],
                    ..AFFINE
                });
            }),
            ("xu-planes", "multiples of", |r| {
                if let Method::Planes(own) = &mut r.method {
                    own.pixels = [0, 64];
                }
            }),
        ];
        for (name, reason, change) in cases {
            let mut recipe = built_in(name).expect("a recipe");
            change(&mut recipe);
            let error = recipe.check().expect_err(reason).to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }
}
