//! DICOM series: a directory of slices, or an enhanced multi-frame file, as one volume.
//!
//! * [`list_series`] says which series are in a directory (searched to any depth, mixed with other
//!   files, with or without DICOMDIR, with or without the Part 10 header), [`read_series`] reads one.
//! * Order and spacing come from ImagePositionPatient along the slice normal (PS3.3, C.7.6.2),
//!   never from SliceThickness or InstanceNumber. What does not fit a regular grid is refused by
//!   name; [`Options::repair`] resamples gantry tilt, uneven spacing and small gaps, and says so.
//! * Real values are `RescaleSlope * stored + RescaleIntercept` of each slice (PS3.3, C.11.1).
//! * Padding (PS3.3, C.7.5.1.1.2) is no tissue. In a CT a padding value below [`AIR_HU`] becomes
//!   [`AIR_HU`], so that no later statistic or filter sees it; one that could be a CT number is
//!   left alone, because writers state such values wrongly and tissue must not be overwritten.
//! * Transfer syntaxes: uncompressed (implicit and explicit, both byte orders, deflated), RLE,
//!   JPEG baseline and lossless, JPEG 2000. JPEG-LS, JPEG XL, HTJ2K and 12-bit JPEG are refused by
//!   name: no decoder for them builds without more than a Rust and a C++ compiler.
//! * [`Acquisition`] holds what the scanner did. The patient's name and number are only read by
//!   [`patient`].
//!
//! DICOM speaks LPS millimetres, as this crate does: no axis is turned.

mod dataset;
mod frame;
mod geometry;
mod pixels;
mod repair;
mod series;
mod summary;
mod syntax;
mod write;

use std::path::Path;

pub use self::series::{Series, describe, is_dicom, list_series, patient, read_series};
pub use self::summary::SeriesSummary;
pub use self::write::{SliceFacts, write_series};

/// What padding below it becomes, HU: the lowest value of the 12-bit scale of CT, which scanners
/// that do not pad write outside of the field of view. Air is -1000 HU.
pub const AIR_HU: f64 = -1024.0;

/// How a series is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Resample gantry tilt, uneven spacing and gaps of one or two missing slices instead of
    /// refusing them.
    pub repair: bool,
}

/// How a series was acquired, as its first slice says. No name, number or birth date of a patient
/// is ever in it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Acquisition {
    /// Modality (0008,0060).
    pub modality: Option<String>,
    /// KVP (0018,0060), kV.
    pub tube_voltage_kv: Option<f64>,
    /// ConvolutionKernel (0018,1210); several values are joined by a backslash.
    pub kernel: Option<String>,
    /// Manufacturer (0008,0070).
    pub manufacturer: Option<String>,
    /// ManufacturerModelName (0008,1090).
    pub model: Option<String>,
    /// SoftwareVersions (0018,1020).
    pub software: Option<String>,
    /// TableHeight (0018,1130), mm.
    pub table_height_mm: Option<f64>,
    /// GantryDetectorTilt (0018,1120), degrees.
    pub gantry_tilt_deg: Option<f64>,
    /// SliceThickness (0018,0050), mm. The spacing of the slices is another matter.
    pub slice_thickness_mm: Option<f64>,
    /// Exposure (0018,1152), mAs.
    pub exposure_mas: Option<f64>,
    /// XRayTubeCurrent (0018,1151), mA.
    pub tube_current_ma: Option<f64>,
    /// ContrastBolusAgent (0018,0010), or the meaning of its code (0018,0012), or its route (0018,1040).
    pub contrast_agent: Option<String>,
    /// PatientPosition (0018,5100), such as `HFS`.
    pub patient_position: Option<String>,
    /// StudyDate (0008,0020), ISO 8601.
    pub study_date: Option<String>,
    /// AcquisitionDate (0008,0022), ISO 8601.
    pub acquisition_date: Option<String>,
    /// ImageType (0008,0008).
    pub image_type: Option<String>,
    /// RescaleType (0028,1054), such as `HU`.
    pub rescale_type: Option<String>,
    /// SeriesDescription (0008,103E).
    pub series_description: Option<String>,
    /// SeriesNumber (0020,0011).
    pub series_number: Option<i64>,
    /// SeriesInstanceUID (0020,000E).
    pub series_uid: Option<String>,
    /// Name of the transfer syntax.
    pub transfer_syntax: String,
    /// Slices read.
    pub slices: usize,
    /// Files they came from.
    pub files: usize,
}

/// The patient's identity, read only when asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patient {
    /// PatientName (0010,0010).
    pub name: Option<String>,
    /// PatientID (0010,0020).
    pub id: Option<String>,
}

/// Splits `DIR#SERIES`, which names one series of a directory by its number or its UID. A path
/// that is there as a whole names itself.
pub fn split_series(path: &Path) -> (&Path, Option<&str>) {
    if path.exists() {
        return (path, None);
    }
    let split = path
        .to_str()
        .and_then(|text| text.rsplit_once('#'))
        .filter(|(place, series)| !series.is_empty() && Path::new(place).is_dir());
    match split {
        Some((place, series)) => (Path::new(place), Some(series)),
        None => (path, None),
    }
}

/// How the series that a path names was acquired; `None` when the path is no DICOM.
///
/// # Errors
/// As [`read_series`], except for faults of geometry and pixels.
pub fn acquisition(path: &Path) -> crate::Result<Option<Acquisition>> {
    if is_dicom(path) {
        series::acquisition(path).map(Some)
    } else {
        Ok(None)
    }
}
