//! What one slice says of itself: its pixels, its place in the patient and its scale.
//!
//! Classic files hold one slice each (PS3.3, A.3), enhanced multi-frame files hold many and say
//! the same things in functional groups (PS3.3, A.38 and C.7.6.16).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::Tag;
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, tags, uids};
use nalgebra::Vector3;

use super::Acquisition;
use super::dataset::{Dataset, Header, PixelPlace, name_of};
use super::syntax::Syntax;

/// How one frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    pub bits_allocated: u32,
    pub bits_stored: u32,
    pub high_bit: u32,
    pub signed: bool,
}

/// The pixels of one file.
#[derive(Debug)]
pub(super) struct Pixels {
    pub path: PathBuf,
    pub syntax: Syntax,
    pub place: PixelPlace,
    /// Where the data set begins, for a deflated one.
    pub start: u64,
    /// Frames in the file.
    pub frames: usize,
    /// Where the fragments of each frame begin and how long they are, from the extended offset table.
    pub extended_offsets: Vec<u64>,
    pub big_endian: bool,
}

/// One slice.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub pixels: Arc<Pixels>,
    /// Which frame of its file.
    pub index: usize,
    pub layout: Layout,
    /// Centre of the first pixel, LPS mm (ImagePositionPatient).
    pub position: Vector3<f64>,
    /// Direction of a row and of a column, LPS (ImageOrientationPatient).
    pub along_row: Vector3<f64>,
    pub along_column: Vector3<f64>,
    /// Distance of neighbouring columns and of neighbouring rows, mm.
    pub spacing: [f64; 2],
    pub slope: f64,
    pub intercept: f64,
    /// Range of stored values that mean "outside of the reconstruction" (PS3.3, C.7.5.1.1.2).
    pub padding: Option<[i64; 2]>,
    pub kernel: String,
    pub kvp: Option<f64>,
    /// GantryDetectorTilt, degrees.
    pub tilt_deg: f64,
    /// What a slice without a neighbour says of the third dimension, mm.
    pub thickness: Option<f64>,
    pub acquisition_number: String,
}

impl Frame {
    pub fn path(&self) -> &Path {
        &self.pixels.path
    }
}

/// What a file is.
pub(super) enum Content {
    /// Slices of a CT or MR series.
    Slices(Box<Slices>),
    /// A file of such a series whose attributes will not do, with the first that is missing or impossible.
    Fault(Box<Acquisition>, String),
    /// Something else, in words.
    Other(Other),
}

/// What a file that holds no slice is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Other {
    Localizer,
    SecondaryCapture(String),
    Class(String),
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Localizer => f.write_str("localizer"),
            Self::SecondaryCapture(name) => write!(f, "secondary capture ({name})"),
            Self::Class(name) => f.write_str(name),
        }
    }
}

/// The slices of a file and what they have in common.
pub(super) struct Slices {
    pub frames: Vec<Frame>,
    pub acquisition: Acquisition,
}

/// Attributes of one frame: its own functional groups, the shared ones, the data set.
struct Attributes<'a> {
    own: Option<&'a Dataset>,
    shared: Option<&'a Dataset>,
    root: &'a Dataset,
}

impl Attributes<'_> {
    fn holder(&self, tag: Tag) -> &Dataset {
        self.own
            .and_then(|d| d.holder(tag))
            .or_else(|| self.shared.and_then(|d| d.holder(tag)))
            .unwrap_or(self.root)
    }

    fn number(&self, tag: Tag) -> Result<Option<f64>, String> {
        self.holder(tag).number(tag)
    }

    /// A number that only describes: one that cannot be read is left out.
    fn fact(&self, tag: Tag) -> Option<f64> {
        self.number(tag).ok().flatten()
    }

    fn text(&self, tag: Tag) -> Option<String> {
        self.holder(tag).text(tag)
    }

    fn required<const N: usize>(&self, tag: Tag) -> Result<[f64; N], String> {
        let numbers = self.holder(tag).numbers(tag)?.ok_or_else(|| {
            format!(
                "{} is missing: the file does not say where its voxels stand; export the original series",
                name_of(tag)
            )
        })?;
        <[f64; N]>::try_from(numbers.as_slice()).map_err(|_| {
            format!(
                "{} holds {} numbers, not {N}; correct it or export the series again",
                name_of(tag),
                numbers.len()
            )
        })
    }
}

/// Says what a file holds.
pub(super) fn content(path: &Path, header: Header) -> Content {
    if let Some(other) = other(&header.root, header.pixels.is_some()) {
        return Content::Other(other);
    }
    let acquisition = acquisition(&header);
    match frames(path, header) {
        Ok(frames) => Content::Slices(Box::new(Slices {
            frames,
            acquisition,
        })),
        Err(reason) => Content::Fault(Box::new(acquisition), reason),
    }
}

/// The frames of a file.
fn frames(path: &Path, header: Header) -> Result<Vec<Frame>, String> {
    let root = &header.root;
    let Some(place) = header.pixels else {
        return Err("PixelData is missing: the file is cut off, or holds only a header; copy or export it again".into());
    };
    let groups = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let stated = root.number(tags::NUMBER_OF_FRAMES)?.unwrap_or(1.0);
    let frames = whole(stated, 1.0, 1e6)
        .ok_or_else(|| format!("NumberOfFrames is {stated}; a positive whole number is needed"))?;
    if frames != groups.len() && (frames > 1 || !groups.is_empty()) {
        return Err(format!(
            "NumberOfFrames is {frames}, but PerFrameFunctionalGroupsSequence says where {} frames stand; export the series again",
            groups.len()
        ));
    }
    let layout = layout(root)?;
    let big_endian = header.syntax.encoding == super::syntax::Encoding::ExplicitBig;
    let pixels = Arc::new(Pixels {
        path: path.to_path_buf(),
        place,
        start: header.start,
        frames,
        extended_offsets: root
            .bytes(tags::EXTENDED_OFFSET_TABLE)
            .unwrap_or_default()
            .chunks_exact(8)
            .filter_map(|c| c.first_chunk())
            .map(|c| u64::from_le_bytes(*c))
            .collect(),
        big_endian,
        syntax: header.syntax.clone(),
    });
    (0..frames)
        .map(|index| frame(root, groups.get(index), index, layout, &pixels))
        .collect()
}

/// Why a file holds no slices, where it holds none.
fn other(root: &Dataset, has_pixels: bool) -> Option<Other> {
    let class = root.text(tags::SOP_CLASS_UID).unwrap_or_default();
    let modality = root.text(tags::MODALITY).unwrap_or_default();
    let types = root.texts(tags::IMAGE_TYPE);
    let name = StandardSopClassDictionary.by_uid(&class).map_or_else(
        || format!("SOP class {class}"),
        |entry| entry.name.to_owned(),
    );
    // ImageType value 3 (PS3.3, C.8.2.1.1.1); enhanced files say it in FrameType alike.
    let localizer = types.iter().skip(2).any(|t| t == "LOCALIZER");
    match class.as_str() {
        uids::CT_IMAGE_STORAGE
        | uids::ENHANCED_CT_IMAGE_STORAGE
        | uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE
        | uids::MR_IMAGE_STORAGE
        | uids::ENHANCED_MR_IMAGE_STORAGE
        | uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE => localizer.then_some(Other::Localizer),
        // Anonymised files often lose the class and keep the modality.
        "" if matches!(modality.as_str(), "CT" | "MR") && has_pixels => {
            localizer.then_some(Other::Localizer)
        }
        "" => Some(Other::Class(
            "DICOM without SOPClassUID, and no CT or MR by its Modality".into(),
        )),
        // The class and its multi-frame kin, 1.2.840.10008.5.1.4.1.1.7 and .7.N.
        class
            if class
                .strip_prefix(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) =>
        {
            Some(Other::SecondaryCapture(name))
        }
        _ => Some(Other::Class(name)),
    }
}

/// A number as a whole number within limits.
fn whole(number: f64, least: f64, most: f64) -> Option<usize> {
    (number.fract() == 0.0 && (least..=most).contains(&number)).then_some(number as usize)
}

/// Size and number type of a frame (PS3.3, C.7.6.3).
fn layout(root: &Dataset) -> Result<Layout, String> {
    let count = |tag, least: f64, most: f64, absent: Option<f64>| {
        let number = root.number(tag)?.or(absent);
        let number = number.ok_or_else(|| format!("{} is missing", name_of(tag)))?;
        whole(number, least, most)
            .ok_or_else(|| format!("{} is {number}, which cannot be", name_of(tag)))
    };
    let samples = count(tags::SAMPLES_PER_PIXEL, 0.0, 65535.0, Some(1.0))?;
    let colours = root
        .text(tags::PHOTOMETRIC_INTERPRETATION)
        .unwrap_or_else(|| "MONOCHROME2".into());
    if samples != 1 || !colours.starts_with("MONOCHROME") {
        return Err(format!(
            "it has {samples} samples per pixel ({colours}): a colour picture, no CT; export the original series"
        ));
    }
    let bits_allocated = count(tags::BITS_ALLOCATED, 1.0, 64.0, None)?;
    if !matches!(bits_allocated, 8 | 16 | 32) {
        return Err(format!(
            "BitsAllocated is {bits_allocated}; 8, 16 and 32 are supported"
        ));
    }
    let bits_stored = count(
        tags::BITS_STORED,
        1.0,
        bits_allocated as f64,
        Some(bits_allocated as f64),
    )?;
    let high_bit = count(
        tags::HIGH_BIT,
        bits_stored as f64 - 1.0,
        bits_allocated as f64 - 1.0,
        Some(bits_stored as f64 - 1.0),
    )?;
    Ok(Layout {
        rows: count(tags::ROWS, 1.0, 65535.0, None)?,
        columns: count(tags::COLUMNS, 1.0, 65535.0, None)?,
        bits_allocated: bits_allocated as u32,
        bits_stored: bits_stored as u32,
        high_bit: high_bit as u32,
        signed: count(tags::PIXEL_REPRESENTATION, 0.0, 1.0, None)? == 1,
    })
}

fn frame(
    root: &Dataset,
    own: Option<&Dataset>,
    index: usize,
    layout: Layout,
    pixels: &Arc<Pixels>,
) -> Result<Frame, String> {
    let shared = root.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let of = Attributes { own, shared, root };
    let position = Vector3::from(of.required::<3>(tags::IMAGE_POSITION_PATIENT)?);
    let [a, b, c, d, e, f] = of.required::<6>(tags::IMAGE_ORIENTATION_PATIENT)?;
    let (along_row, along_column) = (Vector3::new(a, b, c), Vector3::new(d, e, f));
    // Seven digits are common in these texts; what is off by more is no direction.
    if (along_row.norm() - 1.0).abs() > 1e-3
        || (along_column.norm() - 1.0).abs() > 1e-3
        || along_row.dot(&along_column).abs() > 1e-3
    {
        return Err(format!(
            "ImageOrientationPatient is {a}, {b}, {c}, {d}, {e}, {f}: rows and columns are not two directions at right angles; correct it or export the series again"
        ));
    }
    let [between_rows, between_columns] = of.required::<2>(tags::PIXEL_SPACING)?;
    if !(between_rows > 0.0 && between_columns > 0.0) {
        return Err(format!(
            "PixelSpacing is {between_rows}, {between_columns} mm; positive numbers are needed"
        ));
    }
    let (slope, intercept) = rescale(&of)?;
    let positive = |tag| of.fact(tag).filter(|mm| *mm > 0.0);
    Ok(Frame {
        pixels: Arc::clone(pixels),
        index,
        layout,
        position,
        along_row: along_row.normalize(),
        along_column: along_column.normalize(),
        spacing: [between_columns, between_rows],
        slope,
        intercept,
        padding: padding(root, layout),
        kernel: kernel(&of).unwrap_or_default(),
        kvp: of.fact(tags::KVP),
        tilt_deg: of.fact(tags::GANTRY_DETECTOR_TILT).unwrap_or(0.0),
        thickness: positive(tags::SPACING_BETWEEN_SLICES)
            .or_else(|| positive(tags::SLICE_THICKNESS)),
        acquisition_number: of.text(tags::ACQUISITION_NUMBER).unwrap_or_default(),
    })
}

/// Slope and intercept of the real values. A CT without them does not say what its numbers mean.
fn rescale(of: &Attributes) -> Result<(f64, f64), String> {
    if of.root.has(tags::MODALITY_LUT_SEQUENCE) {
        return Err("its values go through a ModalityLUTSequence, which is not supported; export the series with RescaleSlope and RescaleIntercept".into());
    }
    let slope = of.number(tags::RESCALE_SLOPE)?;
    let intercept = of.number(tags::RESCALE_INTERCEPT)?;
    let is_mr = of.root.text(tags::MODALITY).as_deref() == Some("MR");
    match (slope, intercept) {
        (Some(slope), Some(intercept)) if slope != 0.0 => Ok((slope, intercept)),
        (Some(slope), Some(_)) => Err(format!("RescaleSlope is {slope}")),
        (None, None) if is_mr => Ok((1.0, 0.0)),
        _ => Err("RescaleSlope or RescaleIntercept is missing: the file does not say how its values become HU; export the original series".into()),
    }
}

/// The range of stored padding values; the elements are read in the sign of the pixels.
fn padding(root: &Dataset, layout: Layout) -> Option<[i64; 2]> {
    let value = |tag| {
        let number = root.number(tag).ok().flatten()? as i64;
        // Both are US or SS by PixelRepresentation, but writers mistake one for the other.
        Some(if layout.signed && number > 0x7fff {
            number - 0x1_0000
        } else if !layout.signed && number < 0 {
            number + 0x1_0000
        } else {
            number
        })
    };
    let first = value(tags::PIXEL_PADDING_VALUE)?;
    let last = value(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(first);
    Some([first.min(last), first.max(last)])
}

fn kernel(of: &Attributes) -> Option<String> {
    of.text(tags::CONVOLUTION_KERNEL)
        .or_else(|| of.text(tags::CONVOLUTION_KERNEL_GROUP))
}

/// The contrast agent: as a text in classic files, as codes in enhanced ones; some writers give its route alone.
fn contrast_agent(root: &Dataset) -> Option<String> {
    let code = || {
        let items = root.items(tags::CONTRAST_BOLUS_AGENT_SEQUENCE);
        let named = items.iter().find_map(|item| item.text(tags::CODE_MEANING));
        named.or_else(|| (!items.is_empty()).then(|| "not named".to_owned()))
    };
    root.text(tags::CONTRAST_BOLUS_AGENT)
        .or_else(code)
        .or_else(|| root.text(tags::CONTRAST_BOLUS_ROUTE))
}

/// How the first frame of a file was acquired.
fn acquisition(header: &Header) -> Acquisition {
    let root = &header.root;
    let of = Attributes {
        own: root
            .items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
            .first(),
        shared: root.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(),
        root,
    };
    // mAs: Exposure (0018,1152) in whole mAs, or ExposureInmAs (0018,9332) in enhanced files.
    let exposure = of
        .fact(tags::EXPOSURE)
        .or_else(|| of.fact(tags::EXPOSURE_INM_AS));
    Acquisition {
        modality: of.text(tags::MODALITY),
        tube_voltage_kv: of.fact(tags::KVP),
        kernel: kernel(&of),
        manufacturer: of.text(tags::MANUFACTURER),
        model: of.text(tags::MANUFACTURER_MODEL_NAME),
        software: of.text(tags::SOFTWARE_VERSIONS),
        table_height_mm: of.fact(tags::TABLE_HEIGHT),
        gantry_tilt_deg: of.fact(tags::GANTRY_DETECTOR_TILT),
        slice_thickness_mm: of.fact(tags::SLICE_THICKNESS),
        exposure_mas: exposure,
        tube_current_ma: of.fact(tags::X_RAY_TUBE_CURRENT),
        contrast_agent: contrast_agent(root),
        patient_position: of.text(tags::PATIENT_POSITION),
        study_date: of.text(tags::STUDY_DATE).and_then(|d| iso_date(&d)),
        acquisition_date: of
            .text(tags::ACQUISITION_DATE)
            .or_else(|| of.text(tags::ACQUISITION_DATE_TIME))
            .and_then(|d| iso_date(&d)),
        image_type: root.text(tags::IMAGE_TYPE),
        rescale_type: of.text(tags::RESCALE_TYPE),
        series_description: of.text(tags::SERIES_DESCRIPTION),
        series_number: of.fact(tags::SERIES_NUMBER).map(|n| n as i64),
        series_uid: of.text(tags::SERIES_INSTANCE_UID),
        transfer_syntax: header.syntax.name.clone(),
        ..Acquisition::default()
    }
}

/// A DICOM date or date-time as `YYYY-MM-DD`.
fn iso_date(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).take(8).collect();
    let (year, rest) = digits.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    (day.len() == 2).then(|| format!("{year}-{month}-{day}"))
}
