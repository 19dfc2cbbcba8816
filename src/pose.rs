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
        // Numbers rounded in writing are set right; exact ones stay as they are.
        Ok(Self::Matrix(if off < 1e-9 {
            matrix
        } else {
            Rotation3::from_matrix(&matrix).into_inner()
        }))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn image(spacing: [f64; 3]) -> Posed {
        let mut grid = Grid::axis_aligned([20, 18, 16], spacing);
        grid.direction = image_axes();
        grid.origin_mm = Vector3::new(12.3, -4.5, 100.25);
        let density = Volume::from_fn(grid.clone(), |[i, j, k]| {
            (i * i) as f32 - 3.0 * j as f32 + (7 * k % 11) as f32
        });
        let labels = Volume::from_fn(grid, |[i, j, k]| {
            u16::from((6..13).contains(&i) && (5..11).contains(&j) && (4..12).contains(&k))
        });
        Posed { density, labels }
    }

    #[test]
    fn orientations_are_read_and_written() {
        assert_eq!("none".parse::<Orientation>().unwrap(), Orientation::None);
        assert_eq!(
            "anatomical".parse::<Orientation>().unwrap(),
            Orientation::Anatomical
        );
        let quarter: Orientation = "matrix:0,-1,0, 1,0,0, 0,0,1".parse().unwrap();
        let Orientation::Matrix(m) = &quarter else {
            panic!()
        };
        // Row by row: the image's x axis becomes the model's y axis.
        assert_eq!(m * Vector3::x(), Vector3::y());
        assert_eq!(quarter.to_string().parse::<Orientation>().unwrap(), quarter);
        for wrong in [
            "matrix:1,0,0,0,1,0,0,0",
            "matrix:1,0,0,0,1,0,0,0,-1",
            "matrix:2,0,0,0,1,0,0,0,1",
            "sideways",
        ] {
            assert!(wrong.parse::<Orientation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_turn_on_cubes_changes_nothing_and_anchors_the_grid_to_the_bone() {
        let input = image([1.0; 3]);
        let cubes = input.to_cubes(1.0, Interpolation::CubicBSpline).unwrap();
        assert_eq!(cubes, input);
        let turned = cubes
            .turned(&Matrix3::identity(), 1.0, Interpolation::CubicBSpline)
            .unwrap();
        assert_eq!(turned.labels.grid.size, [7 + 8, 6 + 8, 8 + 8]);
        for k in 0..8 {
            for j in 0..6 {
                for i in 0..7 {
                    assert_eq!(turned.labels.at(i + 4, j + 4, k + 4), 1);
                    let (new, old) = (
                        turned.density.at(i + 4, j + 4, k + 4),
                        input.density.at(i + 6, j + 5, k + 4),
                    );
                    assert!((new - old).abs() < 2e-3, "{new} {old}");
                }
            }
        }
        assert_eq!(turned.bone().count(), 7 * 6 * 8);
    }

    #[test]
    fn a_quarter_turn_permutes_the_axes() {
        let input = image([1.0; 3]);
        // Image x -> model y, image y -> model -x.
        let quarter = Matrix3::new(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0);
        let turned = input
            .turned(&quarter, 1.0, Interpolation::CubicBSpline)
            .unwrap();
        assert_eq!(turned.labels.grid.size, [6 + 8, 7 + 8, 8 + 8]);
        for (a, b, k) in [(0, 0, 0), (5, 6, 7), (2, 3, 1)] {
            let new = turned.density.at(a + 4, b + 4, k + 4);
            // Model x counts down image y from its end (10), model y counts up image x.
            let old = input.density.at(6 + b, 10 - a, 4 + k);
            assert!((new - old).abs() < 2e-3, "{new} {old}");
        }
    }

    #[test]
    fn the_model_does_not_depend_on_where_the_scan_stands() {
        let turn = *Rotation3::from_euler_angles(0.2, -0.3, 0.4).matrix();
        let input = image([0.9, 0.8, 1.1]);
        let mut moved = input.clone();
        for grid in [&mut moved.density.grid, &mut moved.labels.grid] {
            grid.origin_mm += Vector3::new(17.37, -3.21, 0.777);
        }
        let (a, b) = (
            input
                .turned(&turn, 1.0, Interpolation::CubicBSpline)
                .unwrap(),
            moved
                .turned(&turn, 1.0, Interpolation::CubicBSpline)
                .unwrap(),
        );
        assert_eq!(a.labels.data, b.labels.data);
        let apart = a
            .density
            .data
            .iter()
            .zip(&b.density.data)
            .map(|(x, y)| (x - y).abs());
        assert!(apart.fold(0.0, f32::max) < 0.05);
    }

    #[test]
    fn cubes_keep_the_first_voxel_centre() {
        let input = image([0.82, 0.82, 0.9]);
        let cubes = input.to_cubes(1.0, Interpolation::Linear).unwrap();
        // round(20 * 0.82) = 16, round(18 * 0.82) = 15, round(16 * 0.9) = 14.
        assert_eq!(cubes.density.grid.size, [16, 15, 14]);
        assert_eq!(cubes.density.grid.origin_mm, input.density.grid.origin_mm);
        assert_eq!(cubes.density.at(0, 0, 0), input.density.at(0, 0, 0));
    }

    #[test]
    fn an_internal_rotation_turns_the_front_to_medial_on_both_sides() {
        use crate::anatomy::test_shapes::TestFemur;
        for (mirror, side) in [(1.0, Side::Left), (-1.0, Side::Right)] {
            let stand = Matrix3::from_diagonal(&Vector3::new(mirror, 1.0, 1.0));
            let (landmarks, _) =
                FemurLandmarks::find(&TestFemur::default().mask(stand, [2.0; 3])).unwrap();
            let plain = fall_rotation(&landmarks, None, 15.0, 0.0).unwrap();
            let turned = fall_rotation(&landmarks, Some(side), 15.0, 30.0).unwrap();
            assert!((turned.determinant() - 1.0).abs() < 1e-9);
            // A direction in front of the bone, in image axes, moves towards where medial was.
            let front = to_image(
                landmarks.shaft.direction.cross(&landmarks.medial)
                    * if side == Side::Left { 1.0 } else { -1.0 },
            );
            let medial = plain * to_image(landmarks.medial);
            assert!(((turned * front).dot(&medial) - 0.5).abs() < 1e-9);
            assert!((plain * front).dot(&medial).abs() < 1e-9);
            // And in front it is: towards -y in LPS for this femur.
            assert!(to_image(front).y < -0.8);
        }
        assert!(
            fall_rotation(
                &FemurLandmarks::find(&TestFemur::default().mask(Matrix3::identity(), [2.0; 3]))
                    .unwrap()
                    .0,
                None,
                15.0,
                5.0
            )
            .is_err()
        );
    }

    #[test]
    fn a_leaning_vertebra_is_set_upright_by_the_least_rotation() {
        let axis = Vector3::new(0.1, 0.2, 0.95).normalize();
        let r = upright_rotation(axis);
        assert!((r * to_image(axis) - Vector3::z()).norm() < 1e-12);
        let angle = ((r.trace() - 1.0) / 2.0).acos();
        assert!((angle - axis.z.acos()).abs() < 1e-9);
    }
}
