//! From image axes to model axes: `load.orientation`, the two resamplings, the model grid.
//!
//! Image axes are the array axes of an image whose arrays run as RAS+, in mm. A pose is a proper
//! rotation R with `p_model = R p_image`; where the scan stands in the room does not matter, because
//! the model grid is anchored to the bone.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use imaging::orientation::{crop, pad};
use imaging::resample::{Interpolation, Outside, isotropic_grid, resample, resample_labels};
use imaging::{Grid, LabelMap, Mask, Volume};
use nalgebra::{Matrix3, Rotation3, Vector3};

use crate::anatomy::FemurLandmarks;
use crate::anatomy::side::Side;

/// How the model axes are chosen (`load.orientation`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Orientation {
    /// Model axes are image axes.
    None,
    /// This rotation from image axes to model axes.
    Matrix(Matrix3<f64>),
    /// From the landmarks of the bone.
    #[default]
    Anatomical,
}

/// How far the rows of a given rotation may be from orthonormal.
const ROTATION_TOLERANCE: f64 = 1e-3;

impl FromStr for Orientation {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => return Ok(Self::None),
            "anatomical" => return Ok(Self::Anatomical),
            _ => {}
        }
        let Some(numbers) = text.strip_prefix("matrix:") else {
            bail!(
                "orientation `{text}` is none of `anatomical`, `none` and `matrix:` with nine numbers"
            );
        };
        let numbers: Vec<f64> = numbers
            .split(',')
            .map(|n| {
                n.trim()
                    .parse()
                    .with_context(|| format!("`{n}` is no number"))
            })
            .collect::<Result<_>>()?;
        if numbers.len() != 9 {
            bail!(
                "`matrix:` needs nine numbers separated by commas, row by row; {} given",
                numbers.len()
            );
        }
        let matrix = Matrix3::from_row_slice(&numbers);
        let off = (matrix * matrix.transpose() - Matrix3::identity())
            .abs()
            .max();
        // A NaN fails the first comparison.
        if !(off < ROTATION_TOLERANCE) || matrix.determinant() < 0.0 {
            bail!(
                "the nine numbers are no proper rotation (rows off from orthonormal by {off:.2e}, determinant {:.4})",
                matrix.determinant()
            );
        }
        Ok(Self::Matrix(Rotation3::from_matrix(&matrix).into_inner()))
    }
}

impl std::fmt::Display for Orientation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Anatomical => f.write_str("anatomical"),
            Self::Matrix(m) => {
                let rows: Vec<String> = m.transpose().iter().map(f64::to_string).collect();
                write!(f, "matrix:{}", rows.join(","))
            }
        }
    }
}

/// How many times the density is resampled on its way to the model grid (`mesh.resampling`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resampling {
    /// To cubes in image axes first, then to the model axes: what the public programs do; blurs a little.
    #[default]
    TwoStep,
    /// Straight to the model grid.
    OneStep,
}

/// Settings of the way from image to model grid.
#[derive(Clone, Debug, PartialEq)]
pub struct PoseOptions {
    /// Edge of the cubic elements, mm; 0 = the image's own grid (`mesh.voxel_mm`).
    pub voxel_mm: f64,
    /// Interpolation of the density (`mesh.interpolation`).
    pub interpolation: Interpolation,
    /// One or two resamplings (`mesh.resampling`).
    pub resampling: Resampling,
    /// How far beyond the bone the image is kept, mm (12 femur, 8 vertebra).
    pub margin_mm: f64,
}

/// A density volume and its label map on one grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Posed {
    /// Density, mg/cm³.
    pub density: Volume<f32>,
    /// Labels of the bone; 0 = not part of the model.
    pub labels: LabelMap,
}

/// Layers of voxels around the bone in the model grid.
pub const MODEL_MARGIN_VOXELS: usize = 4;
/// Layers of zeros added before the rotation, so that nothing is cut.
const PADDING_VOXELS: usize = 16;
/// Spacings this close to the element size count as equal, mm.
const SAME_SPACING_MM: f64 = 1e-3;

impl Posed {
    /// Joins a density volume and labels.
    ///
    /// # Errors
    /// When they do not share a grid.
    pub fn new(density: Volume<f32>, labels: LabelMap) -> Result<Self> {
        density.grid.check_same(&labels.grid)?;
        Ok(Self { density, labels })
    }

    /// The bone: every voxel with a label.
    pub fn bone(&self) -> Mask {
        self.labels.map(|&label| label != 0)
    }

    /// Crops to the bone's bounding box and `margin_mm` around it, never beyond the image.
    ///
    /// # Errors
    /// When no voxel has a label.
    pub fn cropped(&self, margin_mm: f64) -> Result<Self> {
        let [mut low, mut high] = self.bone().bounding_box().context("the mask is empty")?;
        let grid = &self.labels.grid;
        for axis in 0..3 {
            let margin = (margin_mm / grid.spacing_mm[axis]).ceil() as usize;
            low[axis] = low[axis].saturating_sub(margin);
            high[axis] = (high[axis] + margin).min(grid.size[axis] - 1);
        }
        Ok(Self {
            density: crop(&self.density, low, high)?,
            labels: crop(&self.labels, low, high)?,
        })
    }

    /// Resamples to cubes of side `h_mm` along RAS+ axes. A volume that has them already is left alone.
    ///
    /// # Errors
    /// When the grid cannot be made.
    pub fn to_cubes(&self, h_mm: f64, interpolation: Interpolation) -> Result<Self> {
        let grid = &self.density.grid;
        let aligned = is_signed_permutation(&grid.direction);
        let cubes = grid
            .spacing_mm
            .iter()
            .all(|s| (s - h_mm).abs() <= SAME_SPACING_MM);
        if aligned && cubes {
            return Ok(self.clone());
        }
        let target = if aligned {
            isotropic_grid(grid, h_mm)?
        } else {
            upright_grid(grid, h_mm)
        };
        Ok(Self {
            density: resample(&self.density, &target, interpolation, Outside::Mirror),
            labels: resample_labels(&self.labels, &target),
        })
    }

    /// Turns the bone by `rotation` (image axes to model axes) onto the model grid of cubes of side
    /// `h_mm`, anchored to the bone: the componentwise smallest surface voxel centre, turned, stands at
    /// index 4 of each axis.
    ///
    /// # Errors
    /// When no voxel has a label or the padded volume is too large.
    pub fn turned(
        &self,
        rotation: &Matrix3<f64>,
        h_mm: f64,
        interpolation: Interpolation,
    ) -> Result<Self> {
        let target = model_grid(&self.bone(), rotation, h_mm)?;
        let density = pad(&self.density, [PADDING_VOXELS; 3], 0.0)?;
        Ok(Self {
            density: resample(&density, &target, interpolation, Outside::Value(0.0)),
            labels: resample_labels(&self.labels, &target),
        })
    }
}

/// World directions (LPS) of the image axes: RAS+.
fn image_axes() -> Matrix3<f64> {
    Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0))
}

/// Direction or position in image axes of a world (LPS) one.
pub fn to_image(world: Vector3<f64>) -> Vector3<f64> {
    image_axes() * world
}

fn is_signed_permutation(direction: &Matrix3<f64>) -> bool {
    direction
        .iter()
        .all(|v| v.abs() < 1e-4 || (v.abs() - 1.0).abs() < 1e-4)
}

/// Cubes along RAS+ that cover an oblique grid.
fn upright_grid(grid: &Grid, h_mm: f64) -> Grid {
    let mut low = Vector3::repeat(f64::INFINITY);
    let mut high = -low;
    for corner in 0..8 {
        let at = Vector3::from_fn(|a, _| {
            if corner >> a & 1 == 1 {
                (grid.size[a] - 1) as f64
            } else {
                0.0
            }
        });
        let p = to_image(grid.to_world(at));
        low = low.inf(&p);
        high = high.sup(&p);
    }
    Grid {
        size: std::array::from_fn(|a| ((high[a] - low[a]) / h_mm).round() as usize + 1),
        spacing_mm: [h_mm; 3],
        origin_mm: image_axes() * low,
        direction: image_axes(),
    }
}

/// The model grid of a bone turned by `rotation`.
pub(crate) fn model_grid(bone: &Mask, rotation: &Matrix3<f64>, h_mm: f64) -> Result<Grid> {
    let mut low = Vector3::repeat(f64::INFINITY);
    let mut high = -low;
    // The extreme voxels of a mask are surface voxels, turned or not, so all voxels may be looked at.
    for (index, _) in bone.data.iter().enumerate().filter(|(_, inside)| **inside) {
        let voxel = bone.grid.voxel(index);
        let world = bone.grid.to_world(Vector3::from_fn(|a, _| voxel[a] as f64));
        let p = rotation * to_image(world);
        low = low.inf(&p);
        high = high.sup(&p);
    }
    if low.x.is_infinite() {
        bail!("the mask is empty");
    }
    // Columns: world direction of each model axis.
    let direction = image_axes() * rotation.transpose();
    let margin = MODEL_MARGIN_VOXELS as f64;
    Ok(Grid {
        // A hair less than whole, so that noise in the turned positions adds no layer.
        size: std::array::from_fn(|a| {
            ((high[a] - low[a]) / h_mm - 1e-6).ceil().max(0.0) as usize
                + 1
                + 2 * MODEL_MARGIN_VOXELS
        }),
        spacing_mm: [h_mm; 3],
        origin_mm: direction * (low - Vector3::repeat(margin * h_mm)),
        direction,
    })
}

/// Rotation of the sideways fall (load-cases 2.2): the shaft axis to (0, -sin a, cos a) and the
/// direction from the shaft to the head to (0, cos a, sin a), a = `adduction_deg`;
/// `internal_rotation_deg` turns the bone about its shaft first, its front towards medial.
///
/// # Errors
/// When an internal rotation is asked for and the side is not known.
pub fn fall_rotation(
    landmarks: &FemurLandmarks,
    side: Option<Side>,
    adduction_deg: f64,
    internal_rotation_deg: f64,
) -> Result<Matrix3<f64>> {
    let (sin, cos) = adduction_deg.to_radians().sin_cos();
    let target = frame_of(Vector3::new(0.0, -sin, cos), Vector3::new(0.0, cos, sin));
    let shaft = to_image(landmarks.shaft.direction);
    let own = frame_of(shaft, to_image(landmarks.medial));
    let about_shaft = if internal_rotation_deg == 0.0 {
        Matrix3::identity()
    } else {
        // Seen from above, the front turns to medial anticlockwise on a right femur.
        let sign = match side.context("an internal rotation needs the side of the femur")? {
            Side::Right => 1.0,
            Side::Left => -1.0,
        };
        let axis = nalgebra::Unit::new_normalize(shaft);
        Rotation3::from_axis_angle(&axis, sign * internal_rotation_deg.to_radians()).into_inner()
    };
    Ok(target * own.transpose() * about_shaft)
}

/// Rotation that lays a load direction (world, LPS) along -z and the medial direction, as far as it is
/// across, along x.
pub fn stance_rotation(direction: Vector3<f64>, medial: Vector3<f64>) -> Matrix3<f64> {
    let up = -to_image(direction).normalize();
    let medial = to_image(medial);
    let across = (medial - up * medial.dot(&up)).normalize();
    frame_of(Vector3::z(), Vector3::x()) * frame_of(up, across).transpose()
}

/// Least rotation that turns the body axis of a vertebra (world, LPS) to z.
pub fn upright_rotation(body_axis: Vector3<f64>) -> Matrix3<f64> {
    let axis = to_image(body_axis).normalize();
    Rotation3::rotation_between(&axis, &Vector3::z()).map_or_else(
        // Opposite directions: half a turn about x.
        || Matrix3::from_diagonal(&Vector3::new(1.0, -1.0, -1.0)),
        Rotation3::into_inner,
    )
}

/// Right-handed frame with the first column along `first` and the second along `second`.
fn frame_of(first: Vector3<f64>, second: Vector3<f64>) -> Matrix3<f64> {
    Matrix3::from_columns(&[first, second, first.cross(&second)])
}
