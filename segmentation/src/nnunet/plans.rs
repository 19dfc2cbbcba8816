//! `plans.json` and `dataset.json`: what a model was trained for, in the new format and the old.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::json::{At, InOrder, integers, parse_json, read_json};
use crate::error::{Error, Result};
use crate::network::{Architecture, Kind};

/// What one configuration of a model does to an image before and after the network.
#[derive(Clone, Debug)]
pub struct Plans {
    /// Name of the configuration, such as `3d_fullres`.
    pub configuration: String,
    /// Axis of the file (z, y, x) that becomes each axis of the network's array.
    pub transpose_forward: [usize; 3],
    /// Spacing of the network's array in mm, in its axis order; two values for a 2D configuration.
    pub spacing_mm: Vec<f64>,
    /// Voxels of a tile; the first is 1 for a 2D configuration.
    pub patch: [usize; 3],
    /// How each channel is normalised.
    pub normalisation: Vec<Normalisation>,
    /// The network.
    pub architecture: Architecture,
    /// Which program's reading of an image the model was trained with.
    pub reader: Reader,
    /// The configuration whose result is a further input of this one (cascade).
    pub previous_stage: Option<String>,
    /// What the voxels of a file stand for.
    pub labels: Labels,
    /// Names of the input channels, such as `CT`.
    pub channel_names: Vec<String>,
}

/// How a channel is brought to the range the network was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalisation {
    /// Clipped to two percentiles of the training set's foreground, then its mean and standard deviation taken off.
    Ct {
        /// 0.5 % percentile.
        low: f32,
        /// 99.5 % percentile.
        high: f32,
        /// Mean.
        mean: f32,
        /// Standard deviation.
        deviation: f32,
    },
    /// The image's own mean and standard deviation taken off, those of its non-zero part where `inside`.
    ZScore {
        /// Whether only voxels inside the non-zero part count.
        inside: bool,
    },
    /// Smallest value to 0, largest to 1.
    RescaleTo01,
    /// Divided by 255.
    RgbTo01,
    /// As it is.
    None,
}

/// How a file's array reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// In the order of the file.
    AsStored,
    /// Turned to the RAS axes first.
    Reoriented,
}

/// What the outputs of the network stand for.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Output `i` is label `i`; the largest wins. Names of the foreground labels by value.
    Exclusive(BTreeMap<u16, String>),
    /// Every output is a region of its own; where it is likely, its value is painted, in this order.
    Regions(Vec<(String, u16)>),
}

impl Labels {
    /// Outputs the network must have.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Exclusive(names) => names.len() + 1,
            Self::Regions(regions) => regions.len(),
        }
    }

    /// Largest value a segmentation can hold.
    pub fn largest(&self) -> u16 {
        match self {
            Self::Exclusive(names) => names.keys().copied().max().unwrap_or(0),
            Self::Regions(regions) => regions.iter().map(|r| r.1).max().unwrap_or(0),
        }
    }

    /// The values of a segmentation and what they stand for.
    pub fn names(&self) -> BTreeMap<u16, String> {
        match self {
            Self::Exclusive(names) => names.clone(),
            Self::Regions(regions) => regions
                .iter()
                .map(|(name, value)| (*value, name.clone()))
                .collect(),
        }
    }
}

/// Longest edge of a patch. A cube of it would not fit into any memory; what is larger is a damaged file.
const LARGEST_PATCH: usize = 4096;
/// Most stages of a network: a patch of the longest edge cannot be halved more often.
const MOST_STAGES: usize = 13;

impl Plans {
    /// The configuration of that name in a model folder's `plans.json` and `dataset.json`.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Model`] when a file or an entry is missing or contradictory, [`Error::Unsupported`] when the
    /// model needs what this program does not do.
    pub fn read(directory: &Path, configuration: &str) -> Result<Self> {
        let plans_file = directory.join("plans.json");
        let dataset_file = directory.join("dataset.json");
        let plans = read_json(&plans_file)?;
        let text = std::fs::read(&dataset_file).map_err(|s| Error::io(&dataset_file, s))?;
        let dataset = parse_json(&dataset_file, &text)?;
        let plans = At::new(&plans_file, &plans);
        let dataset = At::new(&dataset_file, &dataset);
        Self::of(&plans, &dataset, &text, configuration)
    }

    /// As [`Self::read`], of the two files' contents; `name` stands for the model in errors.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Unsupported`].
    pub fn parse(name: &Path, plans: &[u8], dataset: &[u8], configuration: &str) -> Result<Self> {
        let (plans, json) = (parse_json(name, plans)?, parse_json(name, dataset)?);
        let plans = At::new(name, &plans);
        Self::of(&plans, &At::new(name, &json), dataset, configuration)
    }

    fn of(at: &At<'_>, dataset: &At<'_>, text: &[u8], configuration: &str) -> Result<Self> {
        let channel_names = channel_names(dataset)?;
        let labels = labels(dataset, text)?;
        let resolved = resolve(&at.field("configurations")?, configuration, 0)?;
        let own = At::new(at.file, &resolved).named(&format!("configurations.{configuration}"));
        let patch = own.field("patch_size")?.integers()?;
        let spacing_mm = own.field("spacing")?.numbers()?;
        let dimensions = patch.len();
        if !(dimensions == 2 || dimensions == 3) || !matches!(spacing_mm.len(), 2 | 3) {
            return Err(own.wrong(&format!(
                "patch_size {patch:?} and spacing {spacing_mm:?} must have 2 or 3 entries"
            )));
        }
        if patch.iter().any(|&n| n > LARGEST_PATCH) {
            return Err(own.unsupported(&format!(
                "patch_size {patch:?}; an edge of at most {LARGEST_PATCH} voxels is possible"
            )));
        }
        if patch.contains(&0) || spacing_mm.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(own.wrong(&format!(
                "patch_size {patch:?} and spacing {spacing_mm:?} must be positive"
            )));
        }
        for key in [
            "resampling_fn_data",
            "resampling_fn_seg",
            "resampling_fn_probabilities",
        ] {
            if let Some(name) = own.get(key).and_then(|v| v.value.as_str())
                && name != "resample_data_or_seg_to_shape"
            {
                return Err(own.unsupported(&format!(
                    "{key} is `{name}`; only resample_data_or_seg_to_shape is known"
                )));
            }
        }
        let previous_stage = own
            .get("previous_stage")
            .and_then(|v| v.value.as_str().map(str::to_owned));
        let cascade = match (&previous_stage, &labels) {
            (None, _) => 0,
            (Some(_), Labels::Exclusive(names)) => names.len(),
            (Some(_), Labels::Regions(_)) => {
                return Err(own.unsupported("a cascade over regions is not known"));
            }
        };
        let architecture = architecture(
            &own,
            dimensions,
            channel_names.len() + cascade,
            labels.outputs(),
        )?;
        for (axis, &size) in patch.iter().enumerate() {
            let factor: usize = architecture
                .strides
                .iter()
                .map(|stride| stride[3 - dimensions + axis])
                .product();
            if size % factor != 0 {
                return Err(own.wrong(&format!(
                    "patch_size {patch:?} cannot be halved as often as the strides ask (axis {axis} must be a multiple of {factor})"
                )));
            }
        }
        Ok(Self {
            configuration: configuration.to_owned(),
            transpose_forward: transpose(at)?,
            spacing_mm,
            patch: match patch.as_slice() {
                [y, x] => [1, *y, *x],
                patch => [patch[0], patch[1], patch[2]],
            },
            normalisation: normalisation(at, &own, channel_names.len())?,
            architecture,
            reader: reader(at)?,
            previous_stage,
            labels,
            channel_names,
        })
    }

    /// Channels, labels and the way of reading that a `dataset.json` at `file` with that text asks for.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Unsupported`].
    pub fn dataset(file: &Path, text: &[u8]) -> Result<(Vec<String>, Labels, Reader)> {
        let json = parse_json(file, text)?;
        let dataset = At::new(file, &json);
        let reader = reader_named(&dataset, "overwrite_image_reader_writer")?;
        Ok((channel_names(&dataset)?, labels(&dataset, text)?, reader))
    }

    /// Names of the configurations in a `plans.json`.
    ///
    /// # Errors
    /// As [`Plans::read`].
    pub fn configurations(directory: &Path) -> Result<Vec<String>> {
        let file = directory.join("plans.json");
        let plans = read_json(&file)?;
        let at = At::new(&file, &plans).field("configurations")?;
        Ok(at.object()?.keys().cloned().collect())
    }

    /// Whether slices are segmented one by one.
    pub fn is_2d(&self) -> bool {
        self.architecture.dimensions == 2
    }
}

/// A configuration with what it inherits filled in; its own entries win.
fn resolve(configurations: &At<'_>, name: &str, depth: usize) -> Result<Value> {
    let known = configurations.object()?;
    let Some(own) = known.get(name) else {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(configurations.wrong(&format!(
            "there is no configuration `{name}`; there are {}",
            names.join(", ")
        )));
    };
    let Some(parent) = own.get("inherits_from").and_then(Value::as_str) else {
        return Ok(own.clone());
    };
    if depth > known.len() {
        return Err(configurations.wrong(&format!("`{name}` inherits from itself")));
    }
    let mut whole = resolve(configurations, parent, depth + 1)?;
    if let (Some(whole), Some(own)) = (whole.as_object_mut(), own.as_object()) {
        for (key, value) in own {
            whole.insert(key.clone(), value.clone());
        }
    }
    Ok(whole)
}

fn channel_names(dataset: &At<'_>) -> Result<Vec<String>> {
    let names = match dataset.get("channel_names") {
        Some(names) => names,
        None => dataset
            .get("modality")
            .ok_or_else(|| Error::model(dataset.file, "`channel_names` is missing"))?,
    };
    let table = names.object()?;
    (0..table.len())
        .map(|channel| {
            table
                .get(&channel.to_string())
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| names.wrong(&format!("channel {channel} is missing")))
        })
        .collect()
}

/// `text` is the file's: the order of its keys counts.
fn labels(dataset: &At<'_>, text: &[u8]) -> Result<Labels> {
    #[derive(Deserialize)]
    struct Dataset {
        labels: InOrder,
    }
    let at = dataset.field("labels")?;
    let read: Dataset =
        serde_json::from_slice(text).map_err(|error| at.wrong(&error.to_string()))?;
    let mut single = BTreeMap::new();
    let mut regions = vec![];
    let mut has_regions = false;
    for (name, value) in &read.labels.0 {
        let values = match value {
            Value::Array(_) => integers(value),
            value => value
                .as_u64()
                .and_then(|v| usize::try_from(v).ok())
                .map(|v| vec![v]),
        }
        .ok_or_else(|| {
            at.wrong(&format!(
                "`{name}` is {value}, not a label or a list of labels"
            ))
        })?;
        if name == "ignore" || values.iter().all(|&v| v == 0) {
            continue;
        }
        has_regions |= values.len() > 1;
        let first = u16::try_from(values[0])
            .map_err(|_| at.wrong(&format!("`{name}`: label {} is too large", values[0])))?;
        regions.push(name.clone());
        single.insert(first, name.clone());
    }
    if regions.is_empty() {
        return Err(at.wrong("there is no label but background"));
    }
    if !has_regions {
        if let Some((gap, _)) = (1..)
            .zip(single.keys())
            .find(|(wanted, have)| wanted != *have)
        {
            return Err(at.wrong(&format!("the labels must be 0, 1, 2, …; {gap} is missing")));
        }
        return Ok(Labels::Exclusive(single));
    }
    let order = dataset.field("regions_class_order")?;
    let values = order.integers()?;
    if values.len() != regions.len() {
        return Err(order.wrong(&format!(
            "{} values for {} regions",
            values.len(),
            regions.len()
        )));
    }
    let values = values
        .into_iter()
        .map(|v| u16::try_from(v).map_err(|_| order.wrong(&format!("value {v} is too large"))));
    let values: Vec<u16> = values.collect::<Result<_>>()?;
    Ok(Labels::Regions(regions.into_iter().zip(values).collect()))
}

fn transpose(plans: &At<'_>) -> Result<[usize; 3]> {
    let at = plans.field("transpose_forward")?;
    let axes = at.integers()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted != [0, 1, 2] {
        return Err(at.wrong(&format!("{axes:?} is not an order of the axes 0, 1, 2")));
    }
    Ok([axes[0], axes[1], axes[2]])
}

fn reader(plans: &At<'_>) -> Result<Reader> {
    reader_named(plans, "image_reader_writer")
}

fn reader_named(plans: &At<'_>, key: &str) -> Result<Reader> {
    let Some(at) = plans.get(key) else {
        return Ok(Reader::AsStored);
    };
    match at.text()? {
        "SimpleITKIO" | "NibabelIO" => Ok(Reader::AsStored),
        "NibabelIOWithReorient" => Ok(Reader::Reoriented),
        other => Err(at.unsupported(&format!(
            "`{other}`; known are SimpleITKIO, NibabelIO and NibabelIOWithReorient"
        ))),
    }
}

fn normalisation(plans: &At<'_>, own: &At<'_>, channels: usize) -> Result<Vec<Normalisation>> {
    let schemes = own.field("normalization_schemes")?;
    let names = schemes.array()?;
    let masked = match own.get("use_mask_for_norm") {
        Some(at) => at.array()?.clone(),
        None => vec![],
    };
    if names.len() != channels {
        return Err(schemes.wrong(&format!("{} schemes for {channels} channels", names.len())));
    }
    names
        .iter()
        .enumerate()
        .map(|(channel, name)| {
            Ok(match name.as_str().unwrap_or_default() {
                "CTNormalization" => {
                    let key = "foreground_intensity_properties_per_channel";
                    // Before 2.2 the key ended in `_by_modality`.
                    let table = match plans.get(key) {
                        Some(table) => table,
                        None => plans.field("foreground_intensity_properties_by_modality")?,
                    };
                    let of = table.field(&channel.to_string())?;
                    let number = |key: &str| -> Result<f32> { Ok(of.field(key)?.number()? as f32) };
                    Normalisation::Ct {
                        low: number("percentile_00_5")?,
                        high: number("percentile_99_5")?,
                        mean: number("mean")?,
                        deviation: of.field("std")?.number()?.max(1e-8) as f32,
                    }
                }
                "ZScoreNormalization" => Normalisation::ZScore {
                    inside: masked
                        .get(channel)
                        .and_then(Value::as_bool)
                        .unwrap_or(false),
                },
                "RescaleTo01Normalization" => Normalisation::RescaleTo01,
                "RGBTo01Normalization" => Normalisation::RgbTo01,
                "NoNormalization" => Normalisation::None,
                other => {
                    return Err(schemes.unsupported(&format!("`{other}` is not a known scheme")));
                }
            })
        })
        .collect()
}

fn architecture(
    own: &At<'_>,
    dimensions: usize,
    inputs: usize,
    outputs: usize,
) -> Result<Architecture> {
    let (class, arguments, old) = match own.get("architecture") {
        Some(new) => (
            new.field("network_class_name")?.text()?.to_owned(),
            new.field("arch_kwargs")?,
            false,
        ),
        // Plans before 2.3: the entries stand in the configuration itself.
        None => (
            own.field("UNet_class_name")?.text()?.to_owned(),
            At::new(own.file, own.value).named(&own.place),
            true,
        ),
    };
    let kind = match class.rsplit('.').next().unwrap_or_default() {
        "PlainConvUNet" => Kind::Plain,
        "ResidualEncoderUNet" => Kind::ResidualEncoder,
        _ => {
            return Err(own.unsupported(&format!(
                "the network is `{class}`; PlainConvUNet and ResidualEncoderUNet are known"
            )));
        }
    };
    let kernels_key = if old {
        "conv_kernel_sizes"
    } else {
        "kernel_sizes"
    };
    let strides_key = if old {
        "pool_op_kernel_sizes"
    } else {
        "strides"
    };
    let kernels = per_axis(&arguments.field(kernels_key)?, dimensions)?;
    let strides = per_axis(&arguments.field(strides_key)?, dimensions)?;
    let stages = strides.len();
    if !(2..=MOST_STAGES).contains(&stages) {
        return Err(arguments.wrong(&format!("{stages} stages; a U-Net has 2 to {MOST_STAGES}")));
    }
    let encoder = match kind {
        _ if old => "n_conv_per_stage_encoder",
        Kind::Plain => "n_conv_per_stage",
        Kind::ResidualEncoder => "n_blocks_per_stage",
    };
    let features = if old {
        let base = arguments.field("UNet_base_num_features")?.number()? as usize;
        let most = arguments.field("unet_max_num_features")?.number()? as usize;
        (0..stages)
            .map(|stage| base.saturating_mul(1 << stage).min(most))
            .collect()
    } else {
        per_stage(&arguments.field("features_per_stage")?, stages)?
    };
    if !old {
        known_operations(&arguments)?;
    }
    let architecture = Architecture {
        kind,
        dimensions,
        inputs,
        outputs,
        features,
        kernels,
        strides,
        encoder: per_stage(&arguments.field(encoder)?, stages)?,
        decoder: per_stage(&arguments.field("n_conv_per_stage_decoder")?, stages - 1)?,
        bias: match arguments.get("conv_bias") {
            Some(at) => at
                .value
                .as_bool()
                .ok_or_else(|| at.wrong("neither true nor false"))?,
            // The old trainers' networks had one, the class's own default is none.
            None => old,
        },
    };
    architecture
        .check()
        .map_err(|reason| arguments.wrong(&reason))?;
    Ok(architecture)
}

/// Normalisation, non-linearity and dropout of the network are those this program computes.
fn known_operations(arguments: &At<'_>) -> Result<()> {
    let last = |at: &At<'_>| -> Result<String> {
        Ok(at.text()?.rsplit('.').next().unwrap_or_default().to_owned())
    };
    for (key, known) in [
        ("conv_op", ["Conv2d", "Conv3d"].as_slice()),
        ("norm_op", &["InstanceNorm2d", "InstanceNorm3d"]),
        ("nonlin", &["LeakyReLU"]),
    ] {
        let at = arguments.field(key)?;
        let name = last(&at)?;
        if !known.contains(&name.as_str()) {
            return Err(at.unsupported(&format!("`{name}`; known are {}", known.join(", "))));
        }
    }
    for (key, default) in [
        ("nonlin_kwargs.negative_slope", 0.01),
        ("norm_op_kwargs.eps", 1e-5),
    ] {
        let (table, entry) = key.split_once('.').unwrap_or((key, ""));
        if let Some(at) = arguments.get(table).and_then(|table| table.get(entry))
            && at.number()? != default
        {
            return Err(at.unsupported(&format!("{} is not {default}", at.value)));
        }
    }
    if let Some(at) = arguments
        .get("norm_op_kwargs")
        .and_then(|table| table.get("affine"))
        && at.value.as_bool() != Some(true)
    {
        return Err(at.unsupported("norms without scale and shift are not known"));
    }
    Ok(())
}

/// One number per axis and stage; a plain number stands for all axes. A 2D network is given a first axis of one.
fn per_axis(at: &At<'_>, dimensions: usize) -> Result<Vec<[usize; 3]>> {
    at.array()?
        .iter()
        .map(|entry| {
            let axes = match entry {
                Value::Array(_) => integers(entry),
                entry => entry.as_u64().map(|n| vec![n as usize; dimensions]),
            };
            match axes.as_deref() {
                Some([y, x]) if dimensions == 2 => Ok([1, *y, *x]),
                Some([z, y, x]) if dimensions == 3 => Ok([*z, *y, *x]),
                _ => Err(at.wrong(&format!(
                    "{entry} is not a whole number for each of {dimensions} axes"
                ))),
            }
        })
        .collect()
}

/// One number per stage; a plain number stands for all.
fn per_stage(at: &At<'_>, stages: usize) -> Result<Vec<usize>> {
    match at.value.as_u64() {
        Some(number) => Ok(vec![number as usize; stages]),
        None => {
            let numbers = at.integers()?;
            if numbers.len() == stages {
                Ok(numbers)
            } else {
                Err(at.wrong(&format!("{} entries for {stages} stages", numbers.len())))
            }
        }
    }
}
