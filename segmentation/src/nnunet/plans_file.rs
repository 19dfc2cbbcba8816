//! The plans of a data set as nnU-Net's `plans.json`.

use serde_json::{Value, json};

use super::planner::{DatasetPlans, Fingerprint, Planned, Preset};
use super::plans::Reader;
use crate::network::{Architecture, Kind};

/// Part of the images below which, after the crop, a z-score counts the part that is not zero only.
const MASKED_BELOW: f64 = 0.75;

/// `plans.json` of a data set, as nnU-Net v2.8 writes it; `channels` are the names of the channels, which choose their normalisation.
pub fn plans_json(
    plans: &DatasetPlans,
    preset: Preset,
    dataset: &str,
    fingerprint: &Fingerprint,
    channels: &[String],
    reader: Reader,
) -> Value {
    let (name, planner) = match preset {
        Preset::Plain => ("nnUNetPlans", "ExperimentPlanner"),
        Preset::ResEncM => ("nnUNetResEncUNetMPlans", "nnUNetPlannerResEncM"),
        Preset::ResEncL => ("nnUNetResEncUNetLPlans", "nnUNetPlannerResEncL"),
        Preset::ResEncXL => ("nnUNetResEncUNetXLPlans", "nnUNetPlannerResEncXL"),
    };
    let mut back = [0; 3];
    for (to, &from) in plans.transpose_forward.iter().enumerate() {
        back[from] = to;
    }
    let configurations: serde_json::Map<String, Value> = plans
        .configurations
        .iter()
        .map(|planned| {
            let own = configuration(planned, name, fingerprint, channels);
            (planned.name.to_owned(), own)
        })
        .collect();
    json!({
        "dataset_name": dataset,
        "plans_name": name,
        "original_median_spacing_after_transp": plans.median_spacing_mm,
        "original_median_shape_after_transp": plans.median_shape.map(|n| n.round_ties_even() as u64),
        "image_reader_writer": match reader {
            Reader::AsStored => "SimpleITKIO",
            Reader::Reoriented => "NibabelIOWithReorient",
        },
        "transpose_forward": plans.transpose_forward,
        "transpose_backward": back,
        "configurations": configurations,
        "experiment_planner_used": planner,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel":
            fingerprint.foreground_intensity_properties_per_channel,
    })
}

fn configuration(
    planned: &Planned,
    plans: &str,
    fingerprint: &Fingerprint,
    channels: &[String],
) -> Value {
    let schemes: Vec<&str> = channels.iter().map(|name| scheme(name)).collect();
    let masked = fingerprint.median_relative_size_after_cropping < MASKED_BELOW;
    let resampling = |is_seg: bool, order: u8| json!({"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": null});
    let resample = "resample_data_or_seg_to_shape";
    json!({
        // Presets share what is prepared alike.
        "data_identifier": match planned.name {
            "3d_lowres" => format!("{plans}_{}", planned.name),
            name => format!("nnUNetPlans_{name}"),
        },
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": planned.configuration.batch,
        "patch_size": planned.configuration.patch,
        "median_image_size_in_voxels": planned.median_shape,
        "spacing": planned.spacing_mm,
        "normalization_schemes": schemes,
        "use_mask_for_norm":
            schemes.iter().map(|&scheme| masked && scheme == Z_SCORE).collect::<Vec<bool>>(),
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_data_kwargs": resampling(false, 3),
        "resampling_fn_seg_kwargs": resampling(true, 1),
        "resampling_fn_probabilities": resample,
        "resampling_fn_probabilities_kwargs": resampling(false, 1),
        "architecture": architecture(&planned.configuration.architecture),
        "batch_dice": planned.batch_dice,
    })
}

const Z_SCORE: &str = "ZScoreNormalization";

/// The normalisation that a channel's name asks for.
fn scheme(name: &str) -> &'static str {
    match name.to_lowercase().as_str() {
        "ct" => "CTNormalization",
        "nonorm" => "NoNormalization",
        "rescale_to_0_1" => "RescaleTo01Normalization",
        "rgb_to_0_1" => "RGBTo01Normalization",
        _ => Z_SCORE,
    }
}

/// An architecture as `plans.json` describes it.
pub fn architecture(network: &Architecture) -> Value {
    let dimensions = network.dimensions;
    let last = |values: &[[usize; 3]]| -> Vec<Vec<usize>> {
        values
            .iter()
            .map(|own| own[3 - dimensions..].to_vec())
            .collect()
    };
    let (class, blocks) = match network.kind {
        Kind::Plain => ("PlainConvUNet", "n_conv_per_stage"),
        Kind::ResidualEncoder => ("ResidualEncoderUNet", "n_blocks_per_stage"),
    };
    json!({
        "network_class_name": format!("dynamic_network_architectures.architectures.unet.{class}"),
        "arch_kwargs": {
            "n_stages": network.features.len(),
            "features_per_stage": network.features,
            "conv_op": format!("torch.nn.modules.conv.Conv{dimensions}d"),
            "kernel_sizes": last(&network.kernels),
            "strides": last(&network.strides),
            blocks: network.encoder,
            "n_conv_per_stage_decoder": network.decoder,
            "conv_bias": network.bias,
            "norm_op": format!("torch.nn.modules.instancenorm.InstanceNorm{dimensions}d"),
            "norm_op_kwargs": {"eps": 1e-5, "affine": true},
            "dropout_op": null,
            "dropout_op_kwargs": null,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": true},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    })
}
