//! Reading and writing images of any supported format, by file name.
//!
//! | name | format | read | written |
//! |---|---|---|---|
//! | `.nii`, `.nii.gz` | NIfTI-1 and NIfTI-2 | yes | NIfTI-1; NIfTI-2 when a side is longer than 32767 voxels |
//! | `.hdr`/`.img` (each also `.gz`) | NIfTI-1 and NIfTI-2 pairs | yes, by either name | no |
//! | `.nrrd`, `.nhdr` | NRRD | raw, gzip, text | gzip |
//! | `.mha`, `.mhd` | MetaImage | raw, zlib, text | zlib |
//! | a directory, `DIR#SERIES`, `.dcm` | DICOM | see [`crate::dicom`] | [`crate::dicom::write_series`] |
//!
//! Every writer gives the same bytes for the same image, and the file appears under its name only
//! when it is complete.

use std::path::Path;

use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::payload::{Payload, checked_count, format_error, io_error};
use crate::scalar::{Scalar, for_each_type};
pub use crate::scalar::{ScalarType, Voxels};
use crate::volume::{LabelMap, Volume};
use crate::{dicom, metaimage, nifti, nrrd};

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

/// What the header of an image file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Name of the file format.
    pub format: &'static str,
    /// Where the voxels stand (LPS mm).
    pub grid: Grid,
    /// The type the voxels are stored in.
    pub scalar_type: ScalarType,
    /// Real value = `slope * stored + intercept`.
    pub slope: f64,
    /// Real value = `slope * stored + intercept`.
    pub intercept: f64,
    /// What the sides of the patient were read from.
    pub orientation: Orientation,
}

/// Where the position of an image in the patient comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// The file states it, in the field named here.
    Stated(&'static str),
    /// The file does not say where left and right are; the convention named here was taken.
    Assumed(&'static str),
}

/// A parsed header and the place of its voxels.
pub(crate) struct Header {
    pub info: Info,
    pub payload: Payload,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Nifti,
    NiftiPair,
    Nrrd,
    MetaImage,
}

/// Lower-case file name, for its ending.
pub(crate) fn lower_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

fn format_of(path: &Path) -> Result<Format> {
    let name = lower_name(path);
    let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    if ends(&[".nii", ".nii.gz"]) {
        Ok(Format::Nifti)
    } else if ends(&[".hdr", ".img", ".hdr.gz", ".img.gz"]) {
        Ok(Format::NiftiPair)
    } else if ends(&[".nrrd", ".nhdr"]) {
        Ok(Format::Nrrd)
    } else if ends(&[".mha", ".mhd"]) {
        Ok(Format::MetaImage)
    } else {
        Err(format_error(
            path,
            "the name does not end in an image format, and the file is no DICOM; .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd and directories of DICOM slices are supported",
        ))
    }
}

fn read_header(path: &Path) -> Result<Header> {
    // A directory or file of DICOM that is mistyped has no ending to blame.
    let format = format_of(path).or_else(|e| {
        std::fs::metadata(path).map_err(|e| io_error(path, e))?;
        Err(e)
    })?;
    let header = match format {
        Format::Nifti | Format::NiftiPair => nifti::read_header(path),
        Format::Nrrd => nrrd::read_header(path),
        Format::MetaImage => metaimage::read_header(path),
    }?;
    checked_count(header.info.grid.size, header.info.scalar_type)
        .map_err(|reason| format_error(path, reason))?;
    Ok(header)
}

/// Reads only the header of an image.
///
/// # Errors
/// As [`read_image`], except for faults in the voxels.
pub fn describe(path: &Path) -> Result<Info> {
    if dicom::is_dicom(path) {
        return dicom::describe(path, &dicom::Options::default());
    }
    read_header(path).map(|header| header.info)
}

/// Reads an image of any supported format (`.nii`, `.nii.gz`, `.hdr`/`.img`, `.nrrd`, `.nhdr`,
/// `.mha`, `.mhd`, DICOM as a directory or as a file).
///
/// # Errors
/// [`Error`] naming the file and what is wrong with it.
pub fn read_image(path: &Path) -> Result<Image> {
    if dicom::is_dicom(path) {
        return dicom::read_series(path, &dicom::Options::default()).map(|series| series.image);
    }
    let Header { info, payload } = read_header(path)?;
    let voxels = payload.read(info.grid.len())?;
    Ok(Image {
        grid: info.grid,
        voxels,
        slope: info.slope,
        intercept: info.intercept,
    })
}

/// Reads an image as real values in `f32`. Voxels that are not finite are kept;
/// [`Volume::count_non_finite`] finds them.
///
/// # Errors
/// As [`read_image`].
pub fn read_volume(path: &Path) -> Result<Volume<f32>> {
    read_image(path)?.into_volume()
}

/// Reads a label map; refuses values that are not integers in `0..=65535`.
///
/// # Errors
/// As [`read_image`], and [`Error::Format`] naming the first voxel that holds no label.
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    let image = read_image(path)?;
    image
        .labels()
        .map_err(|reason| format_error(path, reason))
        .and_then(|data| Volume::new(image.grid, data))
}

/// Largest distance of a *rescaled* value from the whole number it stands for. Programs that store
/// floating-point label maps as scaled integers leave such errors; unscaled values must be whole.
const RESCALED_LABEL_TOLERANCE: f64 = 1e-3;

impl Image {
    /// An image of real values, without scaling.
    ///
    /// # Errors
    /// [`Error::Length`] when the number of values is not the number of voxels.
    pub fn new(grid: Grid, voxels: Voxels) -> Result<Self> {
        let image = Self {
            grid,
            voxels,
            slope: 1.0,
            intercept: 0.0,
        };
        image.check_length()?;
        Ok(image)
    }

    fn check_length(&self) -> Result<()> {
        if self.voxels.len() == self.grid.len() {
            Ok(())
        } else {
            Err(Error::Length {
                expected: self.grid.len(),
                found: self.voxels.len(),
            })
        }
    }

    /// Whether stored and real values differ.
    pub fn is_scaled(&self) -> bool {
        (self.slope, self.intercept) != (1.0, 0.0)
    }

    /// The real values in `f32`.
    ///
    /// # Errors
    /// [`Error::Length`] when the number of values is not the number of voxels.
    pub fn into_volume(self) -> Result<Volume<f32>> {
        let data = match self.voxels {
            Voxels::F32(values) if (self.slope, self.intercept) == (1.0, 0.0) => values,
            voxels => for_each_type!(voxels, values => values
                .iter()
                .map(|v| (self.slope * v.to_f64() + self.intercept) as f32)
                .collect()),
        };
        Volume::new(self.grid, data)
    }

    /// The real values as labels, or a sentence about the first voxel that holds none.
    fn labels(&self) -> Result<Vec<u16>, String> {
        let tolerance = if self.is_scaled() {
            RESCALED_LABEL_TOLERANCE
        } else {
            0.0
        };
        let label = |(index, stored): (usize, f64)| {
            let value = self.slope * stored + self.intercept;
            let whole = value.round();
            // A NaN fails both comparisons.
            if (0.0..=65535.0).contains(&whole) && (value - whole).abs() <= tolerance {
                Ok(whole as u16)
            } else {
                let [i, j, k] = self.grid.voxel(index);
                Err(format!(
                    "voxel ({i}, {j}, {k}) holds {value}, which is no label; a label map holds whole numbers from 0 to 65535. Is this a CT or a probability map?"
                ))
            }
        };
        for_each_type!(&self.voxels, values => values
            .iter()
            .map(|v| v.to_f64())
            .enumerate()
            .map(label)
            .collect())
    }

    /// The voxels with the scaling applied, for formats that cannot store one: `f32` where that
    /// holds every digit of the stored type, else `f64`.
    pub(crate) fn real_voxels(&self) -> std::borrow::Cow<'_, Voxels> {
        use std::borrow::Cow;
        if !self.is_scaled() {
            return Cow::Borrowed(&self.voxels);
        }
        let real = |stored: f64| self.slope * stored + self.intercept;
        Cow::Owned(match self.voxels.scalar_type() {
            ScalarType::U8
            | ScalarType::I8
            | ScalarType::U16
            | ScalarType::I16
            | ScalarType::F32 => Voxels::F32(
                for_each_type!(&self.voxels, values => values.iter().map(|v| real(v.to_f64()) as f32).collect()),
            ),
            _ => Voxels::F64(
                for_each_type!(&self.voxels, values => values.iter().map(|v| real(v.to_f64())).collect()),
            ),
        })
    }
}

impl Volume<f32> {
    /// Number of voxels that are infinite or not a number.
    pub fn count_non_finite(&self) -> usize {
        self.data.iter().filter(|v| !v.is_finite()).count()
    }
}

/// Writes an image in the format of the file's name; the file appears complete or not at all.
///
/// NIfTI keeps the stored values and their scaling; the other formats, which have no scaling every
/// program honours, get the real values of a scaled image.
///
/// # Errors
/// [`Error`] naming the file.
pub fn write_image(path: &Path, image: &Image) -> Result<()> {
    image.check_length()?;
    if image.grid.is_empty() {
        return Err(format_error(
            path,
            "an image without voxels cannot be written",
        ));
    }
    match format_of(path)? {
        Format::Nifti => nifti::write(path, image),
        Format::Nrrd => nrrd::write(path, &image.grid, &image.real_voxels()),
        Format::MetaImage => metaimage::write(path, &image.grid, &image.real_voxels()),
        Format::NiftiPair => Err(format_error(
            path,
            "pairs of .hdr and .img are read but not written; write a .nii or .nii.gz",
        )),
    }
}

/// A voxel type that a [`Volume`] can be written from.
pub trait Stored: Copy + Send + Sync {
    /// The values as [`Voxels`].
    fn voxels(values: &[Self]) -> Voxels;
}

macro_rules! stored {
    ($($t:ty => $variant:ident),*) => {$(
        impl Stored for $t {
            fn voxels(values: &[Self]) -> Voxels {
                Voxels::$variant(values.to_vec())
            }
        }
    )*};
}
stored!(u8 => U8, u16 => U16, i16 => I16, i32 => I32, f32 => F32, f64 => F64);

impl Stored for bool {
    fn voxels(values: &[Self]) -> Voxels {
        Voxels::U8(values.iter().map(|&inside| u8::from(inside)).collect())
    }
}

/// Writes a volume (`f32`, `f64`, `u8`, `u16`, `i16`, `i32`, `bool` as `u8`) in the format of the file's name.
///
/// # Errors
/// [`Error`] naming the file.
pub fn write_volume<T: Stored>(path: &Path, volume: &Volume<T>) -> Result<()> {
    write_image(
        path,
        &Image::new(volume.grid.clone(), T::voxels(&volume.data))?,
    )
}
