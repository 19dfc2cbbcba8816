//! Writing a volume as a directory of CT slices (CT Image Storage, PS3.3, A.3; explicit VR little
//! endian), the same bytes for the same volume and seed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::syntax::WRITTEN;
use crate::error::Result;
use crate::image::Image;
use crate::payload::{format_error, io_error};
use crate::scalar::for_each_type;

/// What slices say beside their voxels.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceFacts {
    /// UIDs are made of it and of the voxels: the same seed and scan give the same series, another of either another.
    pub seed: u64,
    /// PatientName.
    pub patient_name: String,
    /// PatientID.
    pub patient_id: String,
    /// SeriesDescription.
    pub description: String,
    /// ConvolutionKernel.
    pub kernel: String,
    /// KVP, kV.
    pub tube_voltage_kv: Option<f64>,
}

impl SliceFacts {
    /// The facts of a synthetic patient.
    pub fn synthetic(seed: u64) -> Self {
        Self {
            seed,
            patient_name: "OsteoLoad^Synthetic".into(),
            patient_id: format!("synthetic-{seed}"),
            description: "OsteoLoad synthetic CT".into(),
            kernel: "SYNTHETIC".into(),
            tube_voltage_kv: Some(120.0),
        }
    }
}

/// Writes a volume as `0001.dcm`, `0002.dcm`, … into a folder, which is made when it is missing.
/// Real values become `int16`; a scaled image keeps its stored values and its line.
///
/// Array axes of right hand come back as they were; those of left hand come back with the slices
/// in the other order (a stack of slices has no other form).
///
/// The folder fills slice by slice: a caller that must not leave half a series renames it when it is complete.
///
/// # Errors
/// [`crate::Error::Format`] when a value is not whole or not within `int16`, when the array axes
/// are not at right angles, or when there are more than 9999 slices; [`crate::Error::Io`].
pub fn write_series(folder: &Path, image: &Image, facts: &SliceFacts) -> Result<Vec<PathBuf>> {
    let grid = &image.grid;
    let refuse = |reason: String| Err(format_error(folder, reason));
    if !grid.is_orthogonal() {
        return refuse(
            "slices of DICOM need array axes at right angles; resample the image".into(),
        );
    }
    let [columns, rows, slices] = grid.size;
    if columns > 65535 || rows > 65535 || slices > 9999 || grid.is_empty() {
        return refuse(format!(
            "{columns} x {rows} x {slices} voxels cannot be written as slices"
        ));
    }
    if image.voxels.len() != grid.len() {
        return Err(crate::Error::Length {
            expected: grid.len(),
            found: image.voxels.len(),
        });
    }
    let stored: Result<Vec<i16>, f64> = for_each_type!(&image.voxels, values => values
        .iter()
        .map(|v| whole(crate::scalar::Scalar::to_f64(*v)))
        .collect());
    let stored = stored.map_err(|value| {
        format_error(
            folder,
            format!("the value {value} is not a whole number of 16 bits, as CT slices hold; round the image first"),
        )
    })?;
    // Two scans of one seed, with another bone or lesion, are two series.
    let facts = &SliceFacts {
        seed: stored.iter().fold(facts.seed, |hash, value| {
            (hash ^ u64::from(*value as u16)).wrapping_mul(0x0100_0000_01b3)
        }),
        ..facts.clone()
    };
    std::fs::create_dir_all(folder).map_err(|e| io_error(folder, e))?;
    let mut paths = Vec::with_capacity(slices);
    for (slice, values) in stored.chunks_exact(columns * rows).enumerate() {
        let path = folder.join(format!("{:04}.dcm", slice + 1));
        let object = object(image, facts, slice, values);
        let instance = uid(facts.seed, "instance", slice as u64);
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
            .media_storage_sop_instance_uid(instance)
            .transfer_syntax(WRITTEN);
        let file = object
            .with_meta(meta)
            .map_err(|e| format_error(&path, e.to_string()))?;
        let mut target = BufWriter::new(File::create(&path).map_err(|e| io_error(&path, e))?);
        file.write_all(&mut target)
            .map_err(|e| io_error(&path, std::io::Error::other(e)))?;
        target.flush().map_err(|e| io_error(&path, e))?;
        paths.push(path);
    }
    Ok(paths)
}

/// A number as a stored value, or the number again.
fn whole(value: f64) -> Result<i16, f64> {
    if value.fract() == 0.0 && (f64::from(i16::MIN)..=f64::from(i16::MAX)).contains(&value) {
        Ok(value as i16)
    } else {
        Err(value)
    }
}

fn object(image: &Image, facts: &SliceFacts, slice: usize, values: &[i16]) -> InMemDicomObject {
    let grid = &image.grid;
    let [row, column] = [grid.direction.column(0), grid.direction.column(1)];
    let position = grid.to_world(nalgebra::Vector3::new(0.0, 0.0, slice as f64));
    let [along_i, along_j, along_k] = grid.spacing_mm;
    let orientation: Vec<String> = row
        .iter()
        .chain(column.iter())
        .map(|v| decimal(*v))
        .collect();
    let position: Vec<String> = position.iter().map(|v| decimal(*v)).collect();
    let series = uid(facts.seed, "series", 0);
    let mut object = InMemDicomObject::new_empty();
    let mut put = |tag: Tag, vr: VR, text: &str| {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    };
    put(tags::IMAGE_TYPE, VR::CS, r"DERIVED\PRIMARY\AXIAL");
    put(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE);
    put(
        tags::SOP_INSTANCE_UID,
        VR::UI,
        &uid(facts.seed, "instance", slice as u64),
    );
    put(tags::MODALITY, VR::CS, "CT");
    put(tags::MANUFACTURER, VR::LO, "OsteoLoad");
    put(tags::SERIES_DESCRIPTION, VR::LO, &facts.description);
    put(tags::PATIENT_NAME, VR::PN, &facts.patient_name);
    put(tags::PATIENT_ID, VR::LO, &facts.patient_id);
    // Type 2 of their modules: they must be there, and nothing is known.
    for (tag, vr) in [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::STUDY_ID, VR::SH),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
    ] {
        put(tag, vr, "");
    }
    put(tags::SLICE_THICKNESS, VR::DS, &decimal(along_k));
    if let Some(kv) = facts.tube_voltage_kv {
        put(tags::KVP, VR::DS, &decimal(kv));
    }
    put(tags::CONVOLUTION_KERNEL, VR::SH, &facts.kernel);
    put(tags::PATIENT_POSITION, VR::CS, "HFS");
    put(
        tags::STUDY_INSTANCE_UID,
        VR::UI,
        &uid(facts.seed, "study", 0),
    );
    put(tags::SERIES_INSTANCE_UID, VR::UI, &series);
    put(
        tags::FRAME_OF_REFERENCE_UID,
        VR::UI,
        &uid(facts.seed, "frame", 0),
    );
    put(tags::SERIES_NUMBER, VR::IS, "1");
    put(tags::ACQUISITION_NUMBER, VR::IS, "1");
    put(tags::INSTANCE_NUMBER, VR::IS, &(slice + 1).to_string());
    put(tags::IMAGE_POSITION_PATIENT, VR::DS, &position.join("\\"));
    put(
        tags::IMAGE_ORIENTATION_PATIENT,
        VR::DS,
        &orientation.join("\\"),
    );
    put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    let between = format!("{}\\{}", decimal(along_j), decimal(along_i));
    put(tags::PIXEL_SPACING, VR::DS, &between);
    put(tags::RESCALE_INTERCEPT, VR::DS, &decimal(image.intercept));
    put(tags::RESCALE_SLOPE, VR::DS, &decimal(image.slope));
    put(tags::RESCALE_TYPE, VR::LO, "HU");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, grid.size[1] as u16),
        (tags::COLUMNS, grid.size[0] as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 1),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let words: Vec<u16> = values.iter().map(|v| v.cast_unsigned()).collect();
    let words = PrimitiveValue::U16(words.into());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, words));
    object
}

/// A number as a decimal string, which has 16 characters at most (PS3.5, 6.2).
fn decimal(value: f64) -> String {
    let shortest = format!("{value}");
    if shortest.len() <= 16 {
        return shortest;
    }
    (0..=14)
        .rev()
        .map(|digits| format!("{value:.digits$}"))
        .find(|text| text.len() <= 16)
        .unwrap_or_else(|| format!("{value:.8e}"))
}

/// A UID under `2.25`, the root of UUIDs (PS3.5, B.2), made of seed, role and number.
fn uid(seed: u64, role: &str, number: u64) -> String {
    // FNV-1a of 128 bits (Fowler, Noll and Vo).
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let bytes = b"osteoload"
        .iter()
        .copied()
        .chain(seed.to_be_bytes())
        .chain(role.bytes())
        .chain(number.to_be_bytes());
    for byte in bytes {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    }
    // Version 8 (own making) and variant of RFC 9562.
    let hash = hash & !(0xf << 76) | 8 << 76;
    let hash = hash & !(0b11 << 62) | 0b10 << 62;
    format!("2.25.{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_fit_and_keep_their_digits() {
        for value in [
            0.1,
            -1.0 / 3.0,
            1e-7,
            -123_456.789_012_345,
            0.976_562_5,
            1e300,
        ] {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!(
                (back - value).abs() <= 1e-8 * value.abs().max(1.0),
                "{text}"
            );
        }
        assert_eq!(decimal(0.7), "0.7");
    }

    #[test]
    fn uids_are_legal_and_differ() {
        let all = [
            uid(1, "series", 0),
            uid(2, "series", 0),
            uid(1, "study", 0),
            uid(1, "series", 1),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(one.len() <= 64 && one.starts_with("2.25."));
            assert!(!all[..n].contains(one));
        }
        assert_eq!(uid(7, "instance", 3), uid(7, "instance", 3));
    }
}
