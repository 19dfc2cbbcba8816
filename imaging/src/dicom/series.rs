//! Finding the series of a directory, choosing one, and reading it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::dataset;
use super::frame::{Content, Frame, Other, Slices, content};
use super::geometry::{self, Arranged};
use super::pixels::Opened;
use super::summary::{self, SeriesSummary};
use super::{AIR_HU, Acquisition, Options, Patient, split_series};
use crate::error::{Error, Result};
use crate::image::{Image, Info, Orientation, lower_name};
use crate::memory;
use crate::payload::{checked_count, format_error, io_error};
use crate::scalar::{ScalarType, Voxels};

/// Folders inside folders that are searched.
const DEEPEST: usize = 16;

/// A series read as one volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The volume.
    pub image: Image,
    /// How it was acquired.
    pub acquisition: Acquisition,
    /// What was done to it beyond reading, in words, such as padding set to air.
    pub notes: Vec<String>,
    /// What was repaired of its geometry, in words, such as a tilt; stands in `notes` too.
    pub repairs: Vec<String>,
}

/// The files of one series.
struct Group {
    frames: Vec<Frame>,
    acquisition: Acquisition,
    files: Vec<PathBuf>,
    /// The first file whose attributes will not do, and why.
    fault: Option<(PathBuf, String)>,
}

impl Group {
    fn new(acquisition: Acquisition) -> Self {
        Self {
            frames: Vec::new(),
            acquisition,
            files: Vec::new(),
            fault: None,
        }
    }

    fn summary(&self, uid: &str) -> SeriesSummary {
        SeriesSummary {
            uid: uid.to_owned(),
            number: self.acquisition.series_number,
            description: self.acquisition.series_description.clone(),
            modality: self.acquisition.modality.clone(),
            size: self
                .frames
                .first()
                .map_or([0; 2], |f| [f.layout.columns, f.layout.rows]),
            slices: self.frames.len(),
            fault: self.fault.as_ref().map(|(path, reason)| {
                let name = path.file_name().unwrap_or(path.as_os_str());
                format!("{}: {reason}", name.to_string_lossy())
            }),
        }
    }
}

/// Everything found below a path.
#[derive(Default)]
struct Found {
    /// Series by UID.
    groups: BTreeMap<String, Group>,
    /// Files that hold no slice, by what they are.
    others: BTreeMap<Other, usize>,
    /// Files that are no DICOM.
    foreign: usize,
}

/// Whether a path is to be read as DICOM: a directory, a series of one, or a file that begins as
/// DICOM files do and whose name is that of no other image format.
pub fn is_dicom(path: &Path) -> bool {
    let (place, series) = split_series(path);
    if place.is_dir() || series.is_some() {
        return true;
    }
    let name = lower_name(place);
    let others = [
        ".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".nrrd", ".nhdr", ".mha", ".mhd",
    ];
    if others.iter().any(|ending| name.ends_with(ending)) {
        return false;
    }
    // A damaged header is for the reader to name.
    name.ends_with(".dcm") || dataset::is_marked(place)
}

/// All files below a path, sorted.
fn files_below(place: &Path) -> Result<Vec<PathBuf>> {
    fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
        if depth > DEEPEST {
            return Err(format_error(
                folder,
                format!(
                    "folders are nested more than {DEEPEST} deep; give a folder nearer to the scan"
                ),
            ));
        }
        for entry in std::fs::read_dir(folder).map_err(|e| io_error(folder, e))? {
            let entry = entry.map_err(|e| io_error(folder, e))?;
            let kind = entry.file_type().map_err(|e| io_error(folder, e))?;
            let path = entry.path();
            // A link to a file is that file; one to a folder could lead round in a circle.
            if kind.is_dir() {
                collect(&path, depth + 1, files)?;
            } else if path.is_file() {
                files.push(path);
            }
        }
        Ok(())
    }
    if !place.is_dir() {
        return Ok(vec![place.to_path_buf()]);
    }
    let mut files = Vec::new();
    collect(place, 0, &mut files)?;
    files.sort();
    Ok(files)
}

fn look(path: &Path) -> Result<Option<Content>> {
    Ok(dataset::open(path)?.map(|header| content(path, header)))
}

fn find(place: &Path) -> Result<Found> {
    let files = files_below(place)?;
    let contents: Vec<Result<Option<Content>>> = files.par_iter().map(|path| look(path)).collect();
    let mut found = Found::default();
    for (path, content) in files.into_iter().zip(contents) {
        match content? {
            None => found.foreign += 1,
            Some(Content::Other(other)) => *found.others.entry(other).or_default() += 1,
            Some(Content::Slices(slices)) => {
                let Slices {
                    frames,
                    acquisition,
                } = *slices;
                let group = found.group(acquisition);
                group.frames.extend(frames);
                group.files.push(path);
            }
            // No reason to refuse another series of the same directory; but what does not say which series it is of could be a
            // slice of any.
            Some(Content::Fault(acquisition, reason)) => {
                if acquisition.series_uid.is_none() || acquisition.modality.is_none() {
                    return Err(format_error(&path, reason));
                }
                let group = found.group(*acquisition);
                group.fault.get_or_insert((path.clone(), reason));
                group.files.push(path);
            }
        }
    }
    for group in found.groups.values_mut() {
        group.acquisition.slices = group.frames.len();
        group.acquisition.files = group.files.len();
    }
    Ok(found)
}

impl Found {
    /// The series that a file belongs to; its first file says how it was acquired.
    fn group(&mut self, acquisition: Acquisition) -> &mut Group {
        let uid = acquisition.series_uid.clone().unwrap_or_default();
        self.groups
            .entry(uid)
            .or_insert_with(|| Group::new(acquisition))
    }

    fn summaries(&self) -> Vec<SeriesSummary> {
        self.groups
            .iter()
            .map(|(uid, group)| group.summary(uid))
            .collect()
    }

    /// What stands here in place of a series.
    fn nothing(&self, place: &Path) -> Error {
        if !place.is_dir() {
            let reason = match self.others.keys().next() {
                Some(other) => format!("is a {other}, no slice of a CT series; give the directory of the original series"),
                None => "is no DICOM file: it has neither the mark DICM nor a first element of group 2 or 8".into(),
            };
            return format_error(place, reason);
        }
        let mut list: Vec<String> = self
            .others
            .iter()
            .map(|(other, count)| format!("{count} x {other}"))
            .collect();
        if self.foreign > 0 {
            list.push(format!("{} files that are no DICOM", self.foreign));
        }
        if list.is_empty() {
            list.push("no file".into());
        }
        format_error(
            place,
            format!(
                "holds no CT series, only: {}; give the directory of the original axial series",
                list.join(", ")
            ),
        )
    }

    /// The series that was asked for, or the only one; a single CT among series of other kinds is
    /// the only one.
    fn choose(mut self, place: &Path, series: Option<&str>) -> Result<Group> {
        if self.groups.is_empty() {
            return Err(self.nothing(place));
        }
        let summaries = self.summaries();
        let matching: Vec<&SeriesSummary> = match series {
            Some(wanted) => summaries
                .iter()
                .filter(|s| s.uid == wanted || s.number.is_some_and(|n| n.to_string() == wanted))
                .collect(),
            None => {
                let ct = |s: &&SeriesSummary| s.modality.as_deref() == Some("CT");
                let cts: Vec<_> = summaries.iter().filter(ct).collect();
                if cts.is_empty() {
                    summaries.iter().collect()
                } else {
                    cts
                }
            }
        };
        let list = || {
            let list: Vec<String> = summaries
                .iter()
                .map(|s| summary::named_uniquely(s, &summaries).to_string())
                .collect();
            list.join("; ")
        };
        let place_name = place
            .file_name()
            .unwrap_or(place.as_os_str())
            .to_string_lossy();
        match matching.as_slice() {
            [one] => {
                let uid = one.uid.clone();
                // Every summary was made of a group.
                let group = self
                    .groups
                    .remove(&uid)
                    .ok_or_else(|| self.nothing(place))?;
                match group.fault {
                    Some((path, reason)) => Err(format_error(&path, reason)),
                    None => Ok(group),
                }
            }
            [] => Err(format_error(
                place,
                format!(
                    "has no series {:?}; there are: {}",
                    series.unwrap_or_default(),
                    list()
                ),
            )),
            several => Err(format_error(
                place,
                format!(
                    "{} series are here: {}; name one by its number or its UID, as in {place_name}#{}",
                    several.len(),
                    list(),
                    summary::hint(several, &summaries)
                ),
            )),
        }
    }
}

/// The series below a path, in order of their UIDs; empty when there is none.
///
/// # Errors
/// [`Error`] naming a file that is DICOM but damaged.
pub fn list_series(path: &Path) -> Result<Vec<SeriesSummary>> {
    Ok(find(path)?.summaries())
}

fn chosen(path: &Path) -> Result<(PathBuf, Group)> {
    let (place, series) = split_series(path);
    Ok((place.to_path_buf(), find(place)?.choose(place, series)?))
}

pub(super) fn acquisition(path: &Path) -> Result<Acquisition> {
    Ok(chosen(path)?.1.acquisition)
}

/// Name and number of the patient of the series that a path names. Nothing else in this crate
/// reads them.
///
/// # Errors
/// As [`read_series`], except for faults of geometry and pixels.
pub fn patient(path: &Path) -> Result<Patient> {
    let (place, group) = chosen(path)?;
    let file = group
        .files
        .first()
        .map_or(place.as_path(), PathBuf::as_path);
    let [name, id] = dataset::patient(file)?;
    Ok(Patient { name, id })
}

/// How the stored values of a series become those of its image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// One number type and one line for all slices: the stored values stay.
    Stored(ScalarType),
    /// Whole real values that fit the type.
    Whole(ScalarType),
    /// Real values.
    Real,
}

impl Scale {
    /// The type the voxels of the image have.
    fn scalar_type(self) -> ScalarType {
        match self {
            Self::Stored(scalar) | Self::Whole(scalar) => scalar,
            Self::Real => ScalarType::F32,
        }
    }
}

/// Whether padding of this slice is below every CT number.
fn padding_is_air(frame: &Frame, is_ct: bool) -> bool {
    let real = |stored: i64| frame.slope * stored as f64 + frame.intercept;
    is_ct
        && frame
            .padding
            .is_some_and(|[a, b]| real(a).max(real(b)) < AIR_HU)
}

fn scale(frames: &[Frame], is_ct: bool) -> Scale {
    let first = &frames[0];
    let stored_type = |f: &Frame| match (f.layout.bits_allocated, f.layout.signed) {
        (8, false) => ScalarType::U8,
        (8, true) => ScalarType::I8,
        (16, false) => ScalarType::U16,
        (16, true) => ScalarType::I16,
        (_, false) => ScalarType::U32,
        (_, true) => ScalarType::I32,
    };
    let uniform = frames.iter().all(|f| {
        (f.slope, f.intercept) == (first.slope, first.intercept)
            && stored_type(f) == stored_type(first)
    });
    if uniform && !frames.iter().any(|f| padding_is_air(f, is_ct)) {
        return Scale::Stored(stored_type(first));
    }
    // The widest values the stored bits can hold, of every slice.
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for f in frames {
        if f.slope.fract() != 0.0 || f.intercept.fract() != 0.0 {
            return Scale::Real;
        }
        let bits = f.layout.bits_stored as i32;
        let range = if f.layout.signed {
            [-(2_f64.powi(bits - 1)), 2_f64.powi(bits - 1) - 1.0]
        } else {
            [0.0, 2_f64.powi(bits) - 1.0]
        };
        for stored in range {
            let real = f.slope * stored + f.intercept;
            low = low.min(real);
            high = high.max(real);
        }
    }
    if low >= f64::from(i16::MIN) && high <= f64::from(i16::MAX) {
        Scale::Whole(ScalarType::I16)
    } else if low >= f64::from(i32::MIN) && high <= f64::from(i32::MAX) {
        Scale::Whole(ScalarType::I32)
    } else {
        Scale::Real
    }
}

/// A chosen series, arranged.
struct Ready {
    arranged: Arranged,
    acquisition: Acquisition,
    scale: Scale,
    is_ct: bool,
}

impl Ready {
    fn new(path: &Path, options: Options) -> Result<Self> {
        let (place, group) = chosen(path)?;
        let is_ct = group.acquisition.modality.as_deref() != Some("MR");
        let arranged = geometry::arrange(group.frames, options.repair)
            .map_err(|reason| format_error(&place, reason))?;
        let scale = if arranged.repair.is_some() {
            Scale::Real
        } else {
            scale(&arranged.frames, is_ct)
        };
        checked_count(arranged.grid.size, ScalarType::F64)
            .map_err(|reason| format_error(&place, reason))?;
        Ok(Self {
            arranged,
            acquisition: group.acquisition,
            scale,
            is_ct,
        })
    }

    fn info(&self) -> Info {
        let first = &self.arranged.frames[0];
        let (scalar_type, slope, intercept) = match self.scale {
            Scale::Stored(scalar) => (scalar, first.slope, first.intercept),
            Scale::Whole(scalar) => (scalar, 1.0, 0.0),
            Scale::Real => (ScalarType::F32, 1.0, 0.0),
        };
        Info {
            format: "DICOM",
            grid: self.arranged.grid.clone(),
            scalar_type,
            slope,
            intercept,
            orientation: Orientation::Stated("ImageOrientationPatient"),
        }
    }
}

/// What the headers of a series say of its volume, without reading its pixels.
///
/// # Errors
/// As [`read_series`], except for faults of the pixels.
pub fn describe(path: &Path, options: &Options) -> Result<Info> {
    Ok(Ready::new(path, *options)?.info())
}

/// Reads a series: `path` is a directory with one CT series, `DIR#SERIES` by number or UID, or a
/// file (an enhanced multi-frame CT, or a single slice, which becomes a volume of one slice).
///
/// The image keeps the stored integers and their line where all slices share one; otherwise it
/// holds real values, as `int16` or `int32` where they are whole, else as `f32`.
///
/// # Errors
/// [`Error::Format`] naming the file or directory and what is wrong: no CT series (localizers,
/// secondary captures and other objects are named), several series (they are listed), mixed
/// sizes, pixel spacings, orientations, kernels or tube voltages, duplicate positions, missing or
/// uneven slices, gantry tilt, an unsupported transfer syntax, pixels that are damaged or cut off.
pub fn read_series(path: &Path, options: &Options) -> Result<Series> {
    let ready = Ready::new(path, *options)?;
    let frames = &ready.arranged.frames;
    let opened = open_files(frames)?;
    let Info {
        grid,
        slope,
        intercept,
        ..
    } = ready.info();
    let length = frames[0].layout.len();
    // What repair makes is another volume.
    let repaired = ready.arranged.repair.as_ref().map_or(0, |_| grid.len());
    memory::check(
        path,
        length.saturating_mul(frames.len()).saturating_add(repaired),
        ready.scale.scalar_type(),
        memory::available(),
    )?;
    let (is_ct, padded) = (ready.is_ct, std::sync::atomic::AtomicUsize::new(0));
    // Real values; padding that is no CT number becomes air.
    let real = |frame: &Frame, air: bool, stored: i64| match frame.padding {
        Some([a, b]) if air && (a..=b).contains(&stored) => {
            padded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            AIR_HU
        }
        _ => frame.slope * stored as f64 + frame.intercept,
    };
    macro_rules! unpack {
        ($t:ty, $value:expr) => {{
            let value = $value;
            let mut data: Vec<$t> = vec![<$t>::default(); length * frames.len()];
            let read: Vec<Result<()>> = data
                .par_chunks_mut(length)
                .zip(frames.par_iter())
                .map(|(slice, frame)| {
                    let air = padding_is_air(frame, is_ct);
                    let stored = opened[&key(frame)].read(frame)?;
                    for (to, stored) in slice.iter_mut().zip(stored) {
                        *to = value(frame, air, stored) as $t;
                    }
                    Ok(())
                })
                .collect();
            read.into_iter().collect::<Result<Vec<()>>>()?;
            data
        }};
    }
    macro_rules! stored {
        ($t:ty) => {
            unpack!($t, |_: &Frame, _: bool, stored: i64| stored)
        };
    }
    let mut voxels = match ready.scale {
        Scale::Stored(ScalarType::U8) => Voxels::U8(stored!(u8)),
        Scale::Stored(ScalarType::I8) => Voxels::I8(stored!(i8)),
        Scale::Stored(ScalarType::U16) => Voxels::U16(stored!(u16)),
        Scale::Stored(ScalarType::I16) => Voxels::I16(stored!(i16)),
        Scale::Stored(ScalarType::U32) => Voxels::U32(stored!(u32)),
        Scale::Stored(_) => Voxels::I32(stored!(i32)),
        Scale::Whole(ScalarType::I16) => Voxels::I16(unpack!(i16, real)),
        Scale::Whole(_) => Voxels::I32(unpack!(i32, real)),
        Scale::Real => Voxels::F32(unpack!(f32, real)),
    };
    let (mut notes, mut repairs) = (Vec::new(), Vec::new());
    let padded = padded.into_inner();
    if padded > 0 {
        notes.push(format!("{padded} voxels of padding set to {AIR_HU} HU"));
    }
    if let (Some(repair), Voxels::F32(slices)) = (&ready.arranged.repair, &voxels) {
        repairs = repair.notes();
        notes.extend_from_slice(&repairs);
        let outside = if is_ct { AIR_HU as f32 } else { 0.0 };
        voxels = Voxels::F32(repair.apply(slices, outside));
    }
    Ok(Series {
        image: Image {
            grid,
            voxels,
            slope,
            intercept,
        },
        acquisition: ready.acquisition,
        notes,
        repairs,
    })
}

/// Identity of the file of a frame.
fn key(frame: &Frame) -> usize {
    Arc::as_ptr(&frame.pixels) as usize
}

/// Opens every file once and checks that its bytes can hold its frames.
fn open_files(frames: &[Frame]) -> Result<BTreeMap<usize, Opened<'_>>> {
    let mut opened = BTreeMap::new();
    for frame in frames {
        if let std::collections::btree_map::Entry::Vacant(place) = opened.entry(key(frame)) {
            place.insert(Opened::new(&frame.pixels, frame.layout)?);
        }
    }
    Ok(opened)
}
