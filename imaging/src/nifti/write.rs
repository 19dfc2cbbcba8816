//! The headers of the NIfTI files written here.

use std::io::Write;
use std::path::Path;

use ::nifti::NiftiType;
use nalgebra::{Matrix3, Rotation3, UnitQuaternion, Vector3};

use super::fields::rotation;
use super::{SIZE_1, SIZE_2};
use crate::error::Result;
use crate::grid::Grid;
use crate::image::{Image, lower_name};
use crate::payload::{gzip, write_atomic};
use crate::scalar::{self, ScalarType};

/// Longest image side NIfTI-1 can state.
const LONGEST_1: usize = i16::MAX as usize;

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
        Self {
            srow: std::array::from_fn(|row| {
                let step = |column| matrix[(row, column)];
                [step(0), step(1), step(2), origin[row]]
            }),
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
