//! What a NIfTI header says, and what it means.

use ::nifti::{Endianness, NiftiHeader, NiftiType};
use nalgebra::{Matrix3, Quaternion, UnitQuaternion, Vector3};

use super::{SIZE_1, SIZE_2};
use crate::grid::Grid;
use crate::image::Orientation;
use crate::scalar::{self, Endian, ScalarType};

/// What both versions of the header say, in one form.
pub(super) struct Fields {
    pub(super) version: u8,
    /// Header and voxels in one file.
    pub(super) single: bool,
    pub(super) endian: Endian,
    pub(super) dim: [i64; 8],
    pub(super) datatype: i32,
    pub(super) pixdim: [f64; 8],
    pub(super) vox_offset: f64,
    pub(super) slope: f64,
    pub(super) intercept: f64,
    pub(super) units: i32,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    pub(super) quaternion: Vector3<f64>,
    pub(super) offset: Vector3<f64>,
    pub(super) srow: [[f64; 4]; 3],
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
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
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
    pub(super) fn size(&self) -> Result<[usize; 3], String> {
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

    pub(super) fn scalar_type(&self) -> Result<ScalarType, String> {
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

    pub(super) fn scaling(&self) -> Result<(f64, f64), String> {
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
    pub(super) fn voxel_offset(&self) -> Result<u64, String> {
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

    pub(super) fn grid(&self, size: [usize; 3]) -> Result<(Grid, Orientation), String> {
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
pub(super) fn rotation(bcd: Vector3<f64>) -> Result<Matrix3<f64>, String> {
    let squared = bcd.norm_squared();
    // Rounding of half turns leaves lengths a little over one; anything more is no quaternion.
    if !(0.0..=1.01).contains(&squared) {
        return Err(format!(
            "the quaternion ({}, {}, {}) is longer than one; correct the header",
            bcd.x, bcd.y, bcd.z
        ));
    }
    let a = (1.0 - squared).max(0.0).sqrt();
    let unit = UnitQuaternion::from_quaternion(Quaternion::new(a, bcd.x, bcd.y, bcd.z));
    Ok(unit.to_rotation_matrix().into_inner())
}
