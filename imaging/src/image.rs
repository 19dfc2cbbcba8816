//! Reading and writing images of any supported format, by file name.

use std::path::Path;

use crate::error::Result;
use crate::grid::Grid;
use crate::volume::{LabelMap, Volume};

/// Voxel values in the type they are stored in.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Voxels {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An image as it stands in a file: grid (LPS), stored values and their linear scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Where the voxels stand (LPS mm).
    pub grid: Grid,
    /// Stored values, first index fastest.
    pub voxels: Voxels,
    /// Real value = `slope * stored + intercept`.
    pub slope: f64,
    /// Real value = `slope * stored + intercept`.
    pub intercept: f64,
}

/// Reads an image of any supported format (`.nii`, `.nii.gz`, `.nrrd`, `.nhdr`, `.mha`, `.mhd`).
///
/// # Errors
/// [`crate::Error`] naming the file and what is wrong with it.
pub fn read_image(path: &Path) -> Result<Image> {
    let _ = path;
    todo!()
}

/// Reads an image as real values in `f32`.
///
/// # Errors
/// As [`read_image`].
pub fn read_volume(path: &Path) -> Result<Volume<f32>> {
    let _ = path;
    todo!()
}

/// Reads a label map; refuses values that are not integers in `0..=65535`.
///
/// # Errors
/// As [`read_image`].
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    let _ = path;
    todo!()
}

/// Writes an image in the format of the file's name; the file appears complete or not at all.
///
/// # Errors
/// [`crate::Error`] naming the file.
pub fn write_image(path: &Path, image: &Image) -> Result<()> {
    let _ = (path, image);
    todo!()
}

/// A voxel type that a [`Volume`] can be written from.
pub trait Stored: Copy + Send + Sync {
    /// The values as [`Voxels`].
    fn voxels(values: &[Self]) -> Voxels;
}

/// Writes a volume (`f32`, `f64`, `u8`, `u16`, `i16`, `i32`, `bool` as `u8`) in the format of the file's name.
///
/// # Errors
/// [`crate::Error`] naming the file.
pub fn write_volume<T: Stored>(path: &Path, volume: &Volume<T>) -> Result<()> {
    let _ = (path, volume);
    todo!()
}
