//! Images of bone: grids, volumes, masks and label maps, their files, and the operations on them.
//!
//! **One internal frame.** World coordinates are LPS millimetres (x to the patient's left, y to the
//! back, z to the head), as in DICOM, ITK, MetaImage and the NRRD files of this field. NIfTI, which
//! speaks RAS, is converted in [`nifti`] and nowhere else. Left and right are read from the affine,
//! never from the side of the array.
//!
//! **One memory order.** Voxel `(i, j, k)` of a volume of size `[ni, nj, nk]` stands at
//! `i + ni * (j + nj * k)`: the first index runs fastest.

pub mod components;
pub mod dicom;
pub mod distance;
pub mod error;
pub mod extrapolate;
pub mod filter;
mod fraction;
pub mod grid;
pub mod image;
mod lines;
mod memory;
pub mod metaimage;
pub mod morphology;
pub mod nifti;
pub mod nrrd;
pub mod orientation;
mod payload;
pub mod resample;
mod scalar;
pub mod shape;
pub mod spline;
mod text_header;
pub mod volume;

pub use error::{Error, Result};
pub use grid::Grid;
pub use image::{
    Image, Info, Orientation, ScalarType, Stored, Voxels, describe, read_image, read_labels,
    read_volume, write_image, write_volume,
};
pub use volume::{LabelMap, Mask, Volume};

#[cfg(test)]
mod pattern;
