//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` and pairs of `.hdr` and `.img`.
//!
//! The only place where world coordinates are turned from RAS, which NIfTI speaks, to LPS, which
//! everything else here speaks. The rules of the standard (nifti1.h, 2007) where they matter:
//!
//! - A positive `sform_code` makes the sform the position; else a positive `qform_code` the qform,
//!   with `qfac`; else only the voxel size is known. For that last case the standard names no
//!   sides; the image is placed as nibabel places it, first axis to the left, second to the front,
//!   third to the head, world origin in the middle, and [`Orientation::Assumed`](crate::Orientation::Assumed) says so.
//! - A slope of zero or one that is not finite means no scaling.
//! - Lengths stated in metres or micrometres become millimetres, as in ITK; without a unit they
//!   are millimetres.
//! - Negative voxel sizes lose their sign, as in every other reader: the sides come from `qfac` and
//!   the quaternion. A voxel size of zero is refused where it is needed.

mod fields;
mod write;

use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::image::{Header, Info, lower_name};
use crate::payload::{Inflate, Packing, Payload, Start, format_error, io_error, is_gzip, open};
use fields::Fields;
pub(crate) use write::write;

/// Size of a NIfTI-1 header, bytes.
const SIZE_1: usize = 348;
/// Size of a NIfTI-2 header, bytes.
const SIZE_2: usize = 540;

pub(crate) fn read_header(path: &Path) -> Result<Header> {
    let header_path = header_path(path);
    let (bytes, packed) = read_start(&header_path)?;
    let fail = |reason: String| format_error(&header_path, reason);
    let fields = Fields::parse(&bytes).map_err(fail)?;
    let size = fields.size().map_err(fail)?;
    let scalar = fields.scalar_type().map_err(fail)?;
    let (slope, intercept) = fields.scaling().map_err(fail)?;
    let (grid, orientation) = fields.grid(size).map_err(fail)?;
    let skip = fields.voxel_offset().map_err(fail)?;
    let is_nii = is_single_name(&header_path);
    if fields.single != is_nii {
        return Err(fail(format!(
            "the header says {}, the name says otherwise; rename the file",
            if fields.single {
                "header and voxels are in one file (.nii)"
            } else {
                "the voxels are in a file of their own (.hdr and .img)"
            }
        )));
    }
    let (data, data_packed) = if fields.single {
        (header_path, packed)
    } else {
        let data = image_path(path, &header_path)?;
        let packed = is_gzip(&mut BufReader::new(open(&data)?)).map_err(|e| io_error(&data, e))?;
        (data, packed)
    };
    Ok(Header {
        payload: Payload {
            files: vec![data],
            start: Start::After {
                bytes: if data_packed { 0 } else { skip },
                lines: 0,
            },
            packing: if data_packed {
                Packing::Deflate
            } else {
                Packing::Raw
            },
            skip_unpacked: if data_packed { skip } else { 0 },
            scalar,
            endian: fields.endian,
        },
        info: Info {
            format: match (fields.version, fields.single) {
                (1, true) => "NIfTI-1",
                (1, false) => "NIfTI-1 pair",
                (_, true) => "NIfTI-2",
                (_, false) => "NIfTI-2 pair",
            },
            grid,
            scalar_type: scalar,
            slope,
            intercept,
            orientation,
        },
    })
}

fn is_single_name(path: &Path) -> bool {
    let name = lower_name(path);
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

/// `path` with its image ending (`.hdr`, `.img.gz`, ...) replaced.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let plain = if lower_name(path).ends_with(".gz") {
        path.with_extension("")
    } else {
        path.to_path_buf()
    };
    let mut name = plain.file_stem().map(OsString::from).unwrap_or_default();
    name.push(ending);
    path.with_file_name(name)
}

/// The header's file: the file itself, or the `.hdr` beside an `.img`.
fn header_path(path: &Path) -> PathBuf {
    let name = lower_name(path);
    let endings = if name.ends_with(".img") {
        [".hdr", ".hdr.gz"]
    } else if name.ends_with(".img.gz") {
        [".hdr.gz", ".hdr"]
    } else {
        return path.to_path_buf();
    };
    let [first, second] = endings.map(|ending| with_ending(path, ending));
    if !first.exists() && second.exists() {
        second
    } else {
        first
    }
}

/// The voxels' file of a pair.
fn image_path(asked: &Path, header: &Path) -> Result<PathBuf> {
    if asked != header {
        return Ok(asked.to_path_buf());
    }
    let endings = if lower_name(header).ends_with(".gz") {
        [".img.gz", ".img"]
    } else {
        [".img", ".img.gz"]
    };
    let candidates = endings.map(|ending| with_ending(header, ending));
    candidates
        .iter()
        .find(|candidate| candidate.exists())
        .cloned()
        .ok_or_else(|| {
            format_error(
                header,
                format!(
                    "the header belongs to a pair and its voxels are missing: neither {} nor {} exists; put the file there",
                    candidates[0].display(),
                    candidates[1].display()
                ),
            )
        })
}

/// The first bytes of a file, unpacked, and whether they were packed.
fn read_start(path: &Path) -> Result<(Vec<u8>, bool)> {
    let mut file = BufReader::new(open(path)?);
    let packed = is_gzip(&mut file).map_err(|e| io_error(path, e))?;
    let mut bytes = Vec::new();
    let limit = SIZE_2 as u64;
    if packed {
        Inflate::new(file)
            .and_then(|inflate| inflate.take(limit).read_to_end(&mut bytes))
            .map_err(|e| {
                format_error(
                    path,
                    format!(
                        "the compressed file is damaged or cut off ({e}); copy or export it again"
                    ),
                )
            })?;
    } else {
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|e| io_error(path, e))?;
    }
    Ok((bytes, packed))
}
