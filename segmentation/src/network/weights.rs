//! Parameters by name: read from a file, or made anew.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::{Error, Result};

/// Where a network gets its parameters from.
pub trait Weights {
    /// The parameter of that name and shape, in row-major order.
    ///
    /// # Errors
    /// [`Error::Weights`] when there is none, or one of another shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;
}

/// Parameters held in memory, as read from a file.
#[derive(Clone, Debug, Default)]
pub struct Stored(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Stored {
    /// Adds a parameter.
    pub fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.0.insert(name, (shape, values));
    }

    /// Number of parameters not yet taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All parameters, by name, with their shapes.
    pub fn into_all(self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        self.0.into_iter().collect()
    }

    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error that names what the network did not ask for, if anything is left.
    ///
    /// # Errors
    /// [`Error::Weights`] when parameters are left over.
    pub fn finish(&self) -> Result<()> {
        let mut left: Vec<&str> = self.0.keys().map(String::as_str).collect();
        left.sort_unstable();
        match left.as_slice() {
            [] => Ok(()),
            left => Err(Error::Weights(format!(
                "{} parameters have no place in the network, first `{}`: the plans describe another network",
                left.len(),
                left[0]
            ))),
        }
    }

    /// Reads a `.safetensors` file and the texts beside its parameters; half precision is widened.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Model`] when it is not such a file.
    pub fn read_safetensors(path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        Self::parse_safetensors(path, &bytes)
    }

    /// As [`Self::read_safetensors`], of a file's contents; `path` stands for it in errors.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn parse_safetensors(
        path: &Path,
        bytes: &[u8],
    ) -> Result<(Self, BTreeMap<String, String>)> {
        let damaged = |error| Error::model(path, format!("not a safetensors file: {error}"));
        let file = safetensors::SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let facts = metadata.metadata().clone().unwrap_or_default();
        let mut stored = Self::default();
        for (name, view) in file.tensors() {
            let values = floats(view.data(), &format!("{:?}", view.dtype()))
                .map_err(|reason| Error::model(path, format!("{name}: {reason}")))?;
            stored.insert(name, view.shape().to_vec(), values);
        }
        Ok((stored, facts.into_iter().collect()))
    }
}

impl Stored {
    /// Writes a `.safetensors` file, in half precision where `half`, with texts beside the parameters.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write_safetensors(
        &self,
        path: &Path,
        facts: &BTreeMap<String, String>,
        half: bool,
    ) -> Result<()> {
        // Written here, not by the crate: it keeps the texts in an order that changes from run to run.
        let (name, bytes) = if half { ("F16", 2) } else { ("F32", 4) };
        let sorted: BTreeMap<&String, &(Vec<usize>, Vec<f32>)> = self.0.iter().collect();
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".into(), serde_json::json!(facts));
        let mut end = 0;
        for (parameter, (shape, values)) in &sorted {
            let start = end;
            end += values.len() * bytes;
            let entry = serde_json::json!({
                "dtype": name, "shape": shape, "data_offsets": [start, end],
            });
            header.insert((*parameter).clone(), entry);
        }
        let mut header = serde_json::Value::Object(header).to_string().into_bytes();
        // Parameters start at a multiple of eight bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.reserve(end);
        for (_, values) in sorted.values() {
            match half {
                true => file.extend(
                    values
                        .iter()
                        .flat_map(|&v| half::f16::from_f32(v).to_le_bytes()),
                ),
                false => file.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            }
        }
        std::fs::write(path, file).map_err(|source| Error::io(path, source))
    }
}

impl Weights for Stored {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.0.remove(name) {
            None => Err(Error::Weights(format!(
                "`{name}` of shape {shape:?} is missing"
            ))),
            Some((found, values)) if found == shape => Ok(values),
            Some((found, _)) => Err(Error::Weights(format!(
                "`{name}` has shape {found:?}, the network needs {shape:?}"
            ))),
        }
    }
}

/// Little-endian numbers of a type named as safetensors and PyTorch name them.
pub(crate) fn floats(bytes: &[u8], dtype: &str) -> std::result::Result<Vec<f32>, String> {
    let halves = |bytes: &[u8]| -> Vec<u16> {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| u16::from_le_bytes(*b))
            .collect()
    };
    match dtype {
        "F32" => Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()),
        "F64" => Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect()),
        "F16" => Ok(halves(bytes)
            .into_iter()
            .map(|h| half::f16::from_bits(h).to_f32())
            .collect()),
        "BF16" => Ok(halves(bytes)
            .into_iter()
            .map(|h| half::bf16::from_bits(h).to_f32())
            .collect()),
        other => Err(format!(
            "numbers of type {other}; F16, BF16, F32 and F64 are known"
        )),
    }
}

/// A number that follows from a name (64-bit FNV-1a): burn knows parameters by numbers, files by names.
pub(crate) fn name_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
