//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` and pairs of `.hdr` and `.img`.
//!
//! The only place where world coordinates are turned from RAS, which NIfTI speaks, to LPS, which
//! everything else here speaks. The rules of the standard (nifti1.h, 2007) where they matter:
//!
//! - A positive `sform_code` makes the sform the position; else a positive `qform_code` the qform,
//!   with `qfac`; else only the voxel size is known. For that last case the standard names no
//!   sides; the image is placed as nibabel places it, first axis to the left, second to the front,
//!   third to the head, world origin in the middle, and [`Orientation::Assumed`] says so.
//! - A slope of zero or one that is not finite means no scaling.
//! - Lengths stated in metres or micrometres become millimetres, as in ITK; without a unit they
//!   are millimetres.
//! - Negative voxel sizes lose their sign, as in every other reader: the sides come from `qfac` and
//!   the quaternion. A voxel size of zero is refused where it is needed.

use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ::nifti::{Endianness, NiftiHeader, NiftiType};
use nalgebra::{Matrix3, Matrix4, Quaternion, Rotation3, UnitQuaternion, Vector3};

use crate::error::Result;
use crate::grid::Grid;
use crate::image::{Header, Image, Info, Orientation, lower_name};
use crate::payload::{
    Inflate, Packing, Payload, Start, format_error, gzip, io_error, is_gzip, open, write_atomic,
};
use crate::scalar::{self, Endian, ScalarType};

/// Size of a NIfTI-1 header, bytes.
const SIZE_1: usize = 348;
/// Size of a NIfTI-2 header, bytes.
const SIZE_2: usize = 540;
/// Longest image side NIfTI-1 can state.
const LONGEST_1: usize = i16::MAX as usize;

/// What both versions of the header say, in one form.
struct Fields {
    version: u8,
    /// Header and voxels in one file.
    single: bool,
    endian: Endian,
    dim: [i64; 8],
    datatype: i32,
    pixdim: [f64; 8],
    vox_offset: f64,
    slope: f64,
    intercept: f64,
    units: i32,
    qform_code: i32,
    sform_code: i32,
    quaternion: Vector3<f64>,
    offset: Vector3<f64>,
    srow: [[f64; 4]; 3],
}

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

/// Reads numbers of a NIfTI-2 header at their places.
struct At<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl At<'_> {
    fn number<T: scalar::Scalar>(&self, offset: usize) -> T {
        T::from_bytes(&self.bytes[offset..offset + size_of::<T>()], self.endian)
    }

    fn numbers<T: scalar::Scalar, const N: usize>(&self, offset: usize) -> [T; N] {
        std::array::from_fn(|n| self.number(offset + n * size_of::<T>()))
    }
}

impl Fields {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Some(&start) = bytes.first_chunk::<4>() else {
            return Err(format!(
                "the file holds {} bytes and no header",
                bytes.len()
            ));
        };
        let sizes = [SIZE_1 as i32, SIZE_2 as i32];
        let little = i32::from_le_bytes(start);
        let big = i32::from_be_bytes(start);
        let (size, endian) = if sizes.contains(&little) {
            (little as usize, Endian::Little)
        } else if sizes.contains(&big) {
            (big as usize, Endian::Big)
        } else {
            return Err(format!(
                "is not a NIfTI file: it begins with {start:02x?}, not with the header size 348 or 540"
            ));
        };
        let Some(header) = bytes.get(..size) else {
            return Err(format!(
                "the file is cut off inside its header: {} of {size} bytes are there",
                bytes.len()
            ));
        };
        if size == SIZE_1 {
            Self::parse_1(header, endian)
        } else {
            Self::parse_2(header, endian)
        }
    }

    fn parse_1(bytes: &[u8], endian: Endian) -> Result<Self, String> {
        let magic = &bytes[344..348];
        let single = match magic {
            b"n+1\0" => true,
            b"ni1\0" => false,
            _ => {
                return Err(format!(
                    "the header has no NIfTI mark (found {magic:02x?}): an Analyze 7.5 file says nothing about left and right; convert it to NIfTI with a program that knows its origin"
                ));
            }
        };
        let h = NiftiHeader::from_reader(bytes).map_err(|e| e.to_string())?;
        let found = match h.endianness {
            Endianness::Little => Endian::Little,
            Endianness::Big => Endian::Big,
        };
        if found != endian {
            return Err(format!(
                "the header contradicts itself on its byte order (dim[0] bytes {:02x?}): it is damaged",
                &bytes[40..42]
            ));
        }
        Ok(Self {
            version: 1,
            single,
            endian,
            dim: h.dim.map(|n| i64::from(n as i16)),
            datatype: i32::from(h.datatype),
            pixdim: h.pixdim.map(f64::from),
            vox_offset: f64::from(h.vox_offset),
            slope: f64::from(h.scl_slope),
            intercept: f64::from(h.scl_inter),
            units: i32::from(h.xyzt_units),
            qform_code: i32::from(h.qform_code),
            sform_code: i32::from(h.sform_code),
            quaternion: Vector3::new(h.quatern_b, h.quatern_c, h.quatern_d).map(f64::from),
            offset: Vector3::new(h.quatern_x, h.quatern_y, h.quatern_z).map(f64::from),
            srow: [h.srow_x, h.srow_y, h.srow_z].map(|row| row.map(f64::from)),
        })
    }

    fn parse_2(bytes: &[u8], endian: Endian) -> Result<Self, String> {
        let at = At { bytes, endian };
        let magic = &bytes[4..12];
        let single = match &magic[..4] {
            b"n+2\0" => true,
            b"ni2\0" => false,
            _ => {
                return Err(format!(
                    "the NIfTI-2 header has the mark {magic:02x?}, not n+2 or ni2"
                ));
            }
        };
        if magic[4..] != [0x0d, 0x0a, 0x1a, 0x0a] {
            return Err(format!(
                "the mark of the NIfTI-2 header ends in {:02x?}, not in 0d 0a 1a 0a: the file was damaged by a text-mode transfer; copy it as binary",
                &magic[4..]
            ));
        }
        Ok(Self {
            version: 2,
            single,
            endian,
            datatype: i32::from(at.number::<i16>(12)),
            dim: at.numbers(16),
            pixdim: at.numbers(104),
            vox_offset: at.number::<i64>(168) as f64,
            slope: at.number(176),
            intercept: at.number(184),
            qform_code: at.number(344),
            sform_code: at.number(348),
            quaternion: Vector3::from(at.numbers::<f64, 3>(352)),
            offset: Vector3::from(at.numbers::<f64, 3>(376)),
            srow: std::array::from_fn(|row| at.numbers(400 + 32 * row)),
            units: at.number(500),
        })
    }

    /// The three sizes; further axes must have size one.
    fn size(&self) -> Result<[usize; 3], String> {
        let rank = self.dim[0];
        if !(1..=7).contains(&rank) {
            return Err(format!(
                "dim[0] is {rank}, not a number of axes from 1 to 7"
            ));
        }
        let rank = rank as usize;
        let dims = &self.dim[1..=rank];
        if let Some(axis) = dims.iter().position(|&n| n < 1) {
            return Err(format!(
                "dim[{}] is {}; every size must be at least 1",
                axis + 1,
                dims[axis]
            ));
        }
        let beyond = dims.iter().skip(3);
        if beyond.clone().any(|&n| n > 1) {
            let volumes = beyond.fold(1_i64, |product, &n| product.saturating_mul(n));
            let what = if rank > 4 && dims[3] == 1 {
                format!("{volumes} values per voxel")
            } else {
                format!("{volumes} volumes")
            };
            return Err(format!(
                "the image has {rank} axes of size {dims:?}, which is {what}; one 3-D volume is needed: extract one of them to a file of its own"
            ));
        }
        let mut size = [1; 3];
        for (n, &dim) in size.iter_mut().zip(dims) {
            *n = usize::try_from(dim).map_err(|_| format!("a side of {dim} voxels"))?;
        }
        Ok(size)
    }

    fn scalar_type(&self) -> Result<ScalarType, String> {
        let code = i16::try_from(self.datatype).unwrap_or(-1);
        let named = NiftiHeader {
            datatype: code,
            ..NiftiHeader::default()
        };
        let kind = match self.datatype {
            0 => Err("unknown (0)".to_string()),
            1 => Err("binary (1), one bit per voxel".to_string()),
            other => named
                .data_type()
                .map_err(|_| format!("{other}, which the standard does not know")),
        };
        let refuse = |what: &str| {
            Err(format!(
                "the data type is {what}; only real numbers of 8 to 64 bits are supported: convert the image"
            ))
        };
        match kind {
            Ok(NiftiType::Uint8) => Ok(ScalarType::U8),
            Ok(NiftiType::Int8) => Ok(ScalarType::I8),
            Ok(NiftiType::Uint16) => Ok(ScalarType::U16),
            Ok(NiftiType::Int16) => Ok(ScalarType::I16),
            Ok(NiftiType::Uint32) => Ok(ScalarType::U32),
            Ok(NiftiType::Int32) => Ok(ScalarType::I32),
            Ok(NiftiType::Uint64) => Ok(ScalarType::U64),
            Ok(NiftiType::Int64) => Ok(ScalarType::I64),
            Ok(NiftiType::Float32) => Ok(ScalarType::F32),
            Ok(NiftiType::Float64) => Ok(ScalarType::F64),
            Ok(other) => refuse(&format!("{other:?} ({})", self.datatype).to_lowercase()),
            Err(what) => refuse(&what),
        }
    }

    fn scaling(&self) -> Result<(f64, f64), String> {
        if self.slope == 0.0 || !self.slope.is_finite() {
            return Ok((1.0, 0.0));
        }
        if !self.intercept.is_finite() {
            return Err(format!(
                "scl_slope is {} but scl_inter is {}; set a finite intercept",
                self.slope, self.intercept
            ));
        }
        Ok((self.slope, self.intercept))
    }

    /// Bytes before the first voxel in the voxels' file.
    fn voxel_offset(&self) -> Result<u64, String> {
        let least = match (self.single, self.version) {
            (false, _) => 0,
            (true, 1) => SIZE_1 + 4,
            (true, _) => SIZE_2 + 4,
        };
        let offset = self.vox_offset;
        if offset.fract() != 0.0 || !(least as f64..=2f64.powi(53)).contains(&offset) {
            return Err(format!(
                "vox_offset is {offset}; the voxels must begin at byte {least} or later: correct the header"
            ));
        }
        Ok(offset as u64)
    }

    /// Millimetres per unit of length of the header.
    fn unit_mm(&self) -> Result<f64, String> {
        match self.units & 7 {
            0 | 2 => Ok(1.0),
            1 => Ok(1e3),
            3 => Ok(1e-3),
            code => Err(format!(
                "the unit of length has code {code}; 1 (metre), 2 (millimetre) and 3 (micrometre) are known"
            )),
        }
    }

    fn grid(&self, size: [usize; 3]) -> Result<(Grid, Orientation), String> {
        let (mut matrix, origin, orientation) = if self.sform_code > 0 {
            let (matrix, origin) = self.sform(size);
            (matrix, origin, Orientation::Stated("sform"))
        } else if self.qform_code > 0 {
            (self.qform(size)?, self.offset, Orientation::Stated("qform"))
        } else {
            let voxel = self.voxel_size(size)?;
            let matrix = Matrix3::from_diagonal(&Vector3::new(-voxel.x, voxel.y, voxel.z));
            let middle = Vector3::from(size.map(|n| (n as f64 - 1.0) / 2.0));
            let assumed = "neither sform nor qform; taken as left, front, head (as nibabel does)";
            (matrix, -(matrix * middle), Orientation::Assumed(assumed))
        };
        matrix *= self.unit_mm()?;
        let to_lps = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        Grid::from_affine(size, to_lps * matrix, to_lps * origin * self.unit_mm()?)
            .map(|grid| (grid, orientation))
            .map_err(|e| {
                let source = match orientation {
                    Orientation::Stated(name) => name,
                    Orientation::Assumed(_) => "pixdim",
                };
                format!("{source}: {e}; correct the header")
            })
    }

    /// Matrix (RAS) and origin of the sform. The missing step of a single slice is one unit along
    /// the slice's normal.
    fn sform(&self, size: [usize; 3]) -> (Matrix3<f64>, Vector3<f64>) {
        let mut matrix = Matrix3::from_fn(|row, column| self.srow[row][column]);
        let origin = Vector3::from_fn(|row, _| self.srow[row][3]);
        if size[2] == 1 && matrix.column(2).norm() == 0.0 {
            let normal = matrix.column(0).cross(&matrix.column(1));
            matrix.set_column(2, &normal.try_normalize(0.0).unwrap_or_default());
        }
        (matrix, origin)
    }

    /// Voxel size from `pixdim`; an axis of a single voxel needs none.
    fn voxel_size(&self, size: [usize; 3]) -> Result<Vector3<f64>, String> {
        let mut voxel = Vector3::zeros();
        for axis in 0..3 {
            let step = self.pixdim[axis + 1].abs();
            voxel[axis] = if step > 0.0 && step.is_finite() {
                step
            } else if size[axis] == 1 {
                1.0
            } else {
                return Err(format!(
                    "pixdim[{}] is {}: the voxel size is not known; correct the header",
                    axis + 1,
                    self.pixdim[axis + 1]
                ));
            };
        }
        Ok(voxel)
    }

    /// Matrix (RAS) of the qform.
    fn qform(&self, size: [usize; 3]) -> Result<Matrix3<f64>, String> {
        let voxel = self.voxel_size(size)?;
        // Any pixdim[0] but a negative one means +1 (nifti1.h, "QUATERNION REPRESENTATION").
        let qfac = if self.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let rotation = rotation(self.quaternion)?;
        Ok(rotation * Matrix3::from_diagonal(&Vector3::new(voxel.x, voxel.y, qfac * voxel.z)))
    }
}

/// Rotation of a quaternion given by its last three parts; the first is the positive root.
fn rotation(bcd: Vector3<f64>) -> Result<Matrix3<f64>, String> {
    let squared = bcd.norm_squared();
    // Rounding of half turns leaves lengths a little over one; anything more is no quaternion.
    if !(squared <= 1.01) {
        return Err(format!(
            "the quaternion ({}, {}, {}) is longer than one; correct the header",
            bcd.x, bcd.y, bcd.z
        ));
    }
    let a = (1.0 - squared).max(0.0).sqrt();
    let unit = UnitQuaternion::from_quaternion(Quaternion::new(a, bcd.x, bcd.y, bcd.z));
    Ok(unit.to_rotation_matrix().into_inner())
}

/// Writes an image: NIfTI-1, or NIfTI-2 when a side is too long for it; gzip when the name ends so.
pub(crate) fn write(path: &Path, image: &Image) -> Result<()> {
    let header = if image.grid.size.iter().all(|&n| n <= LONGEST_1) {
        header_1(image)
    } else {
        header_2(image)
    };
    let fill = |target: &mut dyn Write| {
        target.write_all(&header)?;
        scalar::write_binary(target, &image.voxels)
    };
    let packed = lower_name(path).ends_with(".gz");
    write_atomic(path, |target| {
        if packed {
            gzip(target, fill)
        } else {
            fill(target)
        }
    })
}

/// The position of a grid in the fields of a NIfTI header.
struct Position {
    srow: [[f64; 4]; 3],
    qfac: f64,
    quaternion: Vector3<f64>,
    /// Whether the qform says the same as the sform; it cannot for sheared grids.
    qform: bool,
}

impl Position {
    fn of(grid: &Grid) -> Self {
        let to_ras = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
        let matrix = to_ras * grid.matrix();
        let origin = to_ras * grid.origin_mm;
        let mut turn = to_ras * grid.direction;
        let qfac = if turn.determinant() < 0.0 { -1.0 } else { 1.0 };
        turn.column_mut(2).scale_mut(qfac);
        let mut unit =
            UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(turn))
                .into_inner()
                .normalize();
        if unit.w < 0.0 {
            unit = -unit;
        }
        let quaternion = unit.imag().map(|v| f64::from(v as f32));
        let qform = rotation(quaternion).is_ok_and(|back| {
            let steps = Vector3::from(grid.spacing_mm).component_mul(&Vector3::new(1.0, 1.0, qfac));
            let same = to_ras * back * Matrix3::from_diagonal(&steps);
            Grid::from_affine(grid.size, same, grid.origin_mm)
                .is_ok_and(|same| grid.check_same(&same).is_ok())
        });
        let affine = Matrix4::new_translation(&origin) * matrix.to_homogeneous();
        Self {
            srow: std::array::from_fn(|row| std::array::from_fn(|column| affine[(row, column)])),
            qfac,
            quaternion,
            qform,
        }
    }
}

fn datatype(scalar: ScalarType) -> NiftiType {
    match scalar {
        ScalarType::U8 => NiftiType::Uint8,
        ScalarType::I8 => NiftiType::Int8,
        ScalarType::U16 => NiftiType::Uint16,
        ScalarType::I16 => NiftiType::Int16,
        ScalarType::U32 => NiftiType::Uint32,
        ScalarType::I32 => NiftiType::Int32,
        ScalarType::U64 => NiftiType::Uint64,
        ScalarType::I64 => NiftiType::Int64,
        ScalarType::F32 => NiftiType::Float32,
        ScalarType::F64 => NiftiType::Float64,
    }
}

/// Bytes set at their places in a header.
struct Layout(Vec<u8>);

impl Layout {
    fn put<T: scalar::Scalar>(&mut self, offset: usize, values: &[T]) {
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|v| v.append_little_endian(&mut bytes));
        self.0[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
}

/// The text every written file carries; no date, so that equal images are equal bytes.
const DESCRIPTION: &[u8] = b"OsteoLoad";
/// "Scanner" position, the code most programs expect of a CT.
const SCANNER: i16 = 1;
/// Unit code of millimetres.
const MILLIMETRE: u8 = 2;

fn header_1(image: &Image) -> Vec<u8> {
    let grid = &image.grid;
    let scalar = image.voxels.scalar_type();
    let position = Position::of(grid);
    let single = |v: f64| v as f32;
    let mut h = Layout(vec![0; SIZE_1 + 4]);
    h.put(0, &[SIZE_1 as i32]);
    h.put(38, b"r");
    let [ni, nj, nk] = grid.size.map(|n| n as i16);
    h.put(40, &[3, ni, nj, nk, 1, 1, 1, 1]);
    h.put(70, &[datatype(scalar) as i16, 8 * scalar.bytes() as i16]);
    let [si, sj, sk] = grid.spacing_mm;
    h.put(
        76,
        &[position.qfac, si, sj, sk, 1.0, 1.0, 1.0, 1.0].map(single),
    );
    h.put(108, &[(SIZE_1 + 4) as f32]);
    h.put(112, &[image.slope, image.intercept].map(single));
    h.put(123, &[MILLIMETRE]);
    h.put(148, DESCRIPTION);
    h.put(252, &[i16::from(position.qform) * SCANNER, SCANNER]);
    let [x, y, z] = position.srow.map(|row| row[3]);
    let [b, c, d] = position.quaternion.into();
    h.put(256, &[b, c, d, x, y, z].map(single));
    h.put(
        280,
        &position
            .srow
            .as_flattened()
            .iter()
            .map(|&v| v as f32)
            .collect::<Vec<_>>(),
    );
    h.put(344, b"n+1\0");
    h.0
}

fn header_2(image: &Image) -> Vec<u8> {
    let grid = &image.grid;
    let scalar = image.voxels.scalar_type();
    let position = Position::of(grid);
    let mut h = Layout(vec![0; SIZE_2 + 4]);
    h.put(0, &[SIZE_2 as i32]);
    h.put(4, b"n+2\0\r\n\x1a\n");
    h.put(12, &[datatype(scalar) as i16, 8 * scalar.bytes() as i16]);
    let [ni, nj, nk] = grid.size.map(|n| n as i64);
    h.put(16, &[3, ni, nj, nk, 1, 1, 1, 1]);
    let [si, sj, sk] = grid.spacing_mm;
    h.put(104, &[position.qfac, si, sj, sk, 1.0, 1.0, 1.0, 1.0]);
    h.put(168, &[(SIZE_2 + 4) as i64]);
    h.put(176, &[image.slope, image.intercept]);
    h.put(240, DESCRIPTION);
    h.put(
        344,
        &[i32::from(position.qform), 1].map(|code| code * i32::from(SCANNER)),
    );
    let [x, y, z] = position.srow.map(|row| row[3]);
    let [b, c, d] = position.quaternion.into();
    h.put(352, &[b, c, d, x, y, z]);
    h.put(400, position.srow.as_flattened());
    h.put(500, &[i32::from(MILLIMETRE)]);
    h.0
}
