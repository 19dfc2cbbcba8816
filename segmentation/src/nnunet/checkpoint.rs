//! A fold's weights and the few facts that stand beside them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use pytorch_reader::{PickleValue, PytorchReader};

use crate::error::{Error, Result};
use crate::network::Stored;
use crate::network::floats;

/// A fold's weights and the few facts that stand beside them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Parameters by their canonical names.
    pub weights: Stored,
    /// Spatial axes along which the network may see a mirrored image; none allowed where empty.
    pub mirror_axes: Vec<usize>,
    /// Configuration it was trained for.
    pub configuration: Option<String>,
    /// Name of the trainer.
    pub trainer: Option<String>,
}

/// Python objects that trainers leave in a checkpoint and that mean nothing here.
const HARMLESS: [&str; 13] = [
    "torch.Tensor",
    "torch.tensor",
    "torch.device",
    "torch.Size",
    "torch.storage",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "_codecs.encode",
    "int",
];

/// Types of numbers, which stand as `torch.float32` or `numpy.float64`.
const NUMBERS: [&str; 12] = [
    "float16", "bfloat16", "float32", "float64", "float", "half", "double", "int8", "int16",
    "int32", "int64", "bool",
];

/// Whether a Python object of that name is data rather than a call.
fn is_harmless(name: &str) -> bool {
    let number = |module: &str| {
        let own = name.strip_prefix(module);
        own.is_some_and(|own| NUMBERS.contains(&own) || (module == "torch." && is_storage(own)))
    };
    HARMLESS.contains(&name) || number("torch.") || number("numpy.")
}

/// `FloatStorage` and its kin.
fn is_storage(name: &str) -> bool {
    name.strip_suffix("Storage")
        .is_some_and(|kind| kind.chars().all(char::is_alphabetic))
}

impl Checkpoint {
    /// Reads a `.pth` file of PyTorch, of which no code is run, or a `.safetensors` file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Model`] when it is damaged or not a checkpoint, [`Error::Unsupported`] when it asks for code to be run
    /// or holds numbers of an unknown type.
    pub fn read(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Self::of(path, Stored::read_safetensors(path)?),
            _ => Self::read_pickle(path),
        }
    }

    /// As [`Self::read`], of the contents of a `.safetensors` file; `path` stands for it in errors.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::of(path, Stored::parse_safetensors(path, bytes)?)
    }

    fn of(path: &Path, (weights, facts): (Stored, BTreeMap<String, String>)) -> Result<Self> {
        let axes = facts.get("inference_allowed_mirroring_axes");
        let mirror_axes: Vec<usize> = match axes {
            Some(text) => serde_json::from_str(text).map_err(|_| {
                Error::model(
                    path,
                    format!("mirroring axes `{text}` are not a list of numbers"),
                )
            })?,
            None => vec![],
        };
        Ok(Self {
            weights,
            mirror_axes: checked_axes(path, mirror_axes)?,
            configuration: facts.get("configuration").cloned(),
            trainer: facts.get("trainer_name").cloned(),
        })
    }

    fn read_pickle(path: &Path) -> Result<Self> {
        let damaged = |error: pytorch_reader::PytorchError| match error {
            pytorch_reader::PytorchError::Io(source)
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Error::io(path, source)
            }
            error => Error::model(
                path,
                format!("not a PyTorch checkpoint this program can read: {error}"),
            ),
        };
        let top = PytorchReader::read_pickle_data(path, None).map_err(damaged)?;
        let PickleValue::Dict(top) = top else {
            return Err(refused(path, &top).unwrap_or_else(|| {
                Error::model(path, "not a checkpoint of nnU-Net: its top is not a table")
            }));
        };
        if let Some(error) = top.values().find_map(|value| refused(path, value)) {
            return Err(error);
        }
        if !top.contains_key("network_weights") {
            let mut keys: Vec<&str> = top.keys().map(String::as_str).take(5).collect();
            keys.sort_unstable();
            return Err(Error::model(
                path,
                format!(
                    "not a checkpoint of nnU-Net: `network_weights` is missing, there are {}",
                    keys.join(", ")
                ),
            ));
        }
        let reader = PytorchReader::with_top_level_key(path, "network_weights").map_err(damaged)?;
        let mut names: Vec<&String> = reader.tensors().keys().collect();
        names.sort_unstable();
        let mut weights = Stored::default();
        let mut left = most_weights(path)?;
        for name in names {
            let Some(canonical) = canonical(name) else {
                continue;
            };
            let tensor = &reader.tensors()[name];
            // A view may repeat one stored number without end (a stride of 0): nothing is made of it before it is counted.
            let size = tensor
                .shape()
                .iter()
                .try_fold(4_u64, |n, &edge| n.checked_mul(edge as u64));
            left = size.and_then(|size| left.checked_sub(size)).ok_or_else(|| {
                Error::model(
                    path,
                    format!(
                        "the parameters up to {name}, of shape {:?}, are more than its file can hold",
                        tensor.shape()
                    ),
                )
            })?;
            let bytes = tensor.read().map_err(|source| Error::io(path, source))?;
            let values = floats(&bytes, &format!("{:?}", tensor.dtype()))
                .map_err(|reason| Error::unsupported(path, format!("{name}: {reason}")))?;
            weights.insert(canonical.to_owned(), tensor.shape().to_vec(), values);
        }
        let text = |value: Option<&PickleValue>| match value {
            Some(PickleValue::String(text)) => Some(text.clone()),
            _ => None,
        };
        let arguments = match top.get("init_args") {
            Some(PickleValue::Dict(arguments)) => arguments.clone(),
            _ => HashMap::new(),
        };
        Ok(Self {
            weights,
            mirror_axes: axes(path, top.get("inference_allowed_mirroring_axes"))?,
            configuration: text(arguments.get("configuration")),
            trainer: text(top.get("trainer_name")),
        })
    }
}

/// Bytes, of four a number, that the parameters of a file may have. PyTorch does not pack them; half precision doubles here, and
/// aliases of one storage may count a few times.
fn most_weights(path: &Path) -> Result<u64> {
    const ROOM: u64 = 1 << 20;
    const TIMES: u64 = 16;
    let about = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
    Ok(about.len().saturating_mul(TIMES).saturating_add(ROOM))
}

fn axes(path: &Path, value: Option<&PickleValue>) -> Result<Vec<usize>> {
    let Some(PickleValue::List(list)) = value else {
        return Ok(vec![]);
    };
    let axis = |axis: &PickleValue| match axis {
        PickleValue::Int(axis) => usize::try_from(*axis).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    checked_axes(path, list.iter().map(axis).collect())
}

/// Each axis once, and none but 0, 1 and 2.
fn checked_axes(path: &Path, mut axes: Vec<usize>) -> Result<Vec<usize>> {
    axes.sort_unstable();
    axes.dedup();
    match axes.iter().all(|axis| *axis <= 2) {
        true => Ok(axes),
        false => Err(Error::model(
            path,
            "inference_allowed_mirroring_axes holds something else than 0, 1 and 2",
        )),
    }
}

/// The canonical name of a parameter; `None` for an alias of another.
fn canonical(name: &str) -> Option<&str> {
    let name = name.strip_prefix("_orig_mod.").unwrap_or(name);
    let name = name.strip_prefix("module.").unwrap_or(name);
    let alias = name.starts_with("decoder.encoder.") || name.contains(".all_modules.");
    (!alias).then_some(name)
}

/// Why a pickle is refused: it holds a call of something no trainer leaves in a checkpoint.
fn refused(path: &Path, value: &PickleValue) -> Option<Error> {
    match value {
        PickleValue::List(list) => list.iter().find_map(|value| refused(path, value)),
        PickleValue::Dict(table) => table.values().find_map(|value| refused(path, value)),
        PickleValue::Unsupported(name) => {
            (!is_harmless(name)).then(|| {
                Error::unsupported(
                    path,
                    format!(
                        "the checkpoint asks to run `{name}`; a checkpoint holds numbers only, and this one is not opened"
                    ),
                )
            })
        }
        _ => None,
    }
}
