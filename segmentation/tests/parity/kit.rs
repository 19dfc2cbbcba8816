//! Reading the kit: its place, its arrays, its numbers made from names.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use segmentation::network::Weights;
use segmentation::{Channels, Result};

/// A file of the kit; prints that the test is skipped where there is no kit.
pub fn file(name: &str) -> Option<PathBuf> {
    match std::env::var_os("OSTEOLOAD_SHARED") {
        Some(shared) => Some(PathBuf::from(shared).join("nnunet-parity").join(name)),
        None => {
            println!("skipped: OSTEOLOAD_SHARED is not set");
            None
        }
    }
}

pub fn json(name: &str) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(file(name)?).expect("a file of the kit");
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// An array of numpy, its values as doubles.
#[derive(Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    /// As channels: the last three axes are z, y, x.
    pub fn channels<T>(&self, value: impl Fn(f64) -> T) -> Channels<T> {
        let spatial = &self.shape[self.shape.len() - 3..];
        Channels {
            shape: [spatial[0], spatial[1], spatial[2]],
            data: self.values.iter().map(|&v| value(v)).collect(),
        }
    }
}

/// The arrays of an `.npz` file.
pub fn npz(name: &str) -> Option<BTreeMap<String, Array>> {
    let reader = std::fs::File::open(file(name)?).expect("a file of the kit");
    let mut archive = zip::ZipArchive::new(reader).expect("a zip archive");
    let arrays = (0..archive.len()).map(|index| {
        let mut entry = archive.by_index(index).expect("an entry");
        let name = entry
            .name()
            .expect("a name")
            .trim_end_matches(".npy")
            .to_owned();
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        (name, npy(&bytes))
    });
    Some(arrays.collect())
}

fn npy(bytes: &[u8]) -> Array {
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("a header");
    let after = |key: &str| header.split(key).nth(1).expect("a key of the header");
    assert!(after("'fortran_order': ").starts_with("False"));
    let dtype = after("'descr': '").split('\'').next().expect("a type");
    let shape = after("'shape': (").split(')').next().expect("a shape");
    let shape: Vec<usize> = shape
        .split(',')
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    let data = &bytes[10 + length..];
    let values: Vec<f64> = match dtype {
        "<f2" => data
            .as_chunks()
            .0
            .iter()
            .map(|b| half::f16::from_le_bytes(*b).to_f64())
            .collect(),
        "<f4" => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(f32::from_le_bytes(*b)))
            .collect(),
        "<f8" => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect(),
        "<i2" => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(i16::from_le_bytes(*b)))
            .collect(),
        "|i1" => data.iter().map(|&b| f64::from(b as i8)).collect(),
        "|u1" => data.iter().map(|&b| f64::from(b)).collect(),
        other => panic!("numbers of type {other}"),
    };
    assert_eq!(values.len(), shape.iter().product::<usize>());
    Array { shape, values }
}

/// Largest difference between two arrays of the same length.
pub fn largest_difference(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max)
}

/// Uniform numbers in 0..1 that depend on a name and an index only.
pub fn uniform(name: &str, count: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (1..=count as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            (z >> 11) as f64 * 2f64.powi(-53)
        })
        .collect()
}

/// An input of that name: −1 to 1.
pub fn input(name: &str, count: usize) -> Vec<f32> {
    uniform(name, count)
        .iter()
        .map(|u| (2.0 * u - 1.0) as f32)
        .collect()
}

/// The kit's parameters, made from their names.
pub struct Detgen {
    pub names: Vec<String>,
    pub count: usize,
}

impl Weights for Detgen {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count: usize = shape.iter().product();
        self.names.push(name.to_owned());
        self.count += count;
        let fan_in: usize = shape[1..].iter().product();
        let value = |u: f64| {
            if shape.len() >= 2 {
                (2.0 * u - 1.0) * (6.0 / fan_in as f64).sqrt()
            } else if name.ends_with("running_var") || name.ends_with(".weight") {
                0.8 + 0.4 * u
            } else {
                (2.0 * u - 1.0) * 0.1
            }
        };
        Ok(uniform(name, count)
            .into_iter()
            .map(|u| value(u) as f32)
            .collect())
    }
}
