//! A CT scan from any supported file, and what its scanner says of it.

use std::path::Path;

use anyhow::Context as _;
use imaging::dicom::{self, Acquisition};
use imaging::image::Orientation;
use imaging::{Info, Volume};
use serde_json::{Map, Value, json};

use crate::anatomy::Check;
use crate::exit::{EndWith as _, Failure, Kind};

/// A scan that was read.
#[derive(Clone, Debug)]
pub struct Ct {
    /// Its real values.
    pub volume: Volume<f32>,
    /// Where its sides come from.
    pub orientation: Orientation,
    /// How it was acquired, where the format says it (DICOM).
    pub acquisition: Option<Acquisition>,
    /// What was done to it beyond reading, in words, such as padding set to air.
    pub notes: Vec<String>,
    /// What was repaired of its geometry, in words; stands in `notes` too.
    pub repairs: Vec<String>,
}

/// Reads a CT scan. `repair` resamples gantry tilt, uneven spacing and small gaps of a DICOM series,
/// which are refused otherwise.
///
/// # Errors
/// A [`Failure`] of kind input naming the scan and what is wrong with it.
pub fn read(path: &Path, repair: bool) -> anyhow::Result<Ct> {
    if !dicom::is_dicom(path) {
        return Ok(Ct {
            orientation: imaging::describe(path).kind(Kind::Input)?.orientation,
            volume: imaging::read_volume(path).kind(Kind::Input)?,
            acquisition: None,
            notes: Vec::new(),
            repairs: Vec::new(),
        });
    }
    let series = dicom::read_series(path, &dicom::Options { repair }).kind(Kind::Input)?;
    if let Some(modality) = series
        .acquisition
        .modality
        .as_deref()
        .filter(|modality| *modality != "CT")
    {
        return Err(Failure::input(format!(
            "{}: the modality is {modality}, not CT: its values are no HU",
            path.display()
        ))
        .into());
    }
    // A CT series may also hold iodine, effective atomic numbers or electron densities (PS3.3, C.11.1.1.2). US is "unspecified".
    if let Some(kind) = series
        .acquisition
        .rescale_type
        .as_deref()
        .filter(|kind| !["HU", "HU_MOD", "US", ""].contains(&kind.trim()))
    {
        return Err(Failure::input(format!(
            "{}: its values are {kind} (RescaleType), not HU",
            path.display()
        ))
        .with_help("name the series of CT numbers")
        .into());
    }
    Ok(Ct {
        orientation: Orientation::Stated("ImageOrientationPatient"),
        volume: series
            .image
            .into_volume()
            .with_context(|| path.display().to_string())
            .kind(Kind::Input)?,
        acquisition: Some(series.acquisition),
        notes: series.notes,
        repairs: series.repairs,
    })
}

/// What the header of an image says; of a DICOM series that `repair` would mend, what it says after that.
///
/// # Errors
/// As [`read`].
pub fn describe(path: &Path, repair: bool) -> anyhow::Result<Info> {
    if dicom::is_dicom(path) {
        return dicom::describe(path, &dicom::Options { repair }).kind(Kind::Input);
    }
    imaging::describe(path).kind(Kind::Input)
}

/// The check of a scan that was repaired; none where nothing was.
pub fn repaired(repairs: &[String]) -> Option<Check> {
    (!repairs.is_empty()).then(|| {
        Check::review(
            "scan_repaired",
            None,
            format!("{} (--repair)", repairs.join("; ")),
        )
    })
}

/// How a scan was acquired, with units in the keys; what the file does not say is null. No name,
/// number or birth date of a patient is in it, nor free text but that of the scanner.
pub fn acquisition_json(acquisition: &Acquisition) -> Map<String, Value> {
    let a = acquisition;
    let value = json!({
        "modality": a.modality,
        "tube_voltage_kv": a.tube_voltage_kv,
        "kernel": a.kernel,
        "rescale_type": a.rescale_type,
        "manufacturer": a.manufacturer,
        "model": a.model,
        "software": a.software,
        "table_height_mm": a.table_height_mm,
        "gantry_tilt_deg": a.gantry_tilt_deg,
        "slice_thickness_mm": a.slice_thickness_mm,
        "exposure_mas": a.exposure_mas,
        "tube_current_ma": a.tube_current_ma,
        "contrast_agent": a.contrast_agent,
        "patient_position": a.patient_position,
        "study_date": a.study_date,
        "acquisition_date": a.acquisition_date,
        "transfer_syntax": a.transfer_syntax,
        "slices": a.slices,
        "files": a.files,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
