//! Where the voxels of an image stand in the patient.

use nalgebra::{Matrix3, Vector3};

use crate::error::{Error, Result};

/// A voxel grid in LPS world coordinates.
///
/// Voxel centre `(i, j, k)` stands at `origin_mm + direction * diag(spacing_mm) * (i, j, k)`.
/// The columns of `direction` are unit vectors, one per array axis. They need not be orthogonal
/// (a sheared NIfTI affine is a legal image); whoever needs a right-angled grid asks
/// [`Grid::is_orthogonal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Number of voxels along the array axes `i, j, k`.
    pub size: [usize; 3],
    /// Distance of neighbouring voxel centres along each array axis, mm; always positive.
    pub spacing_mm: [f64; 3],
    /// World position (LPS) of the centre of voxel `(0, 0, 0)`, mm.
    pub origin_mm: Vector3<f64>,
    /// Unit direction (LPS) of each array axis, one per column.
    pub direction: Matrix3<f64>,
}

/// Largest difference of two grids, in mm over their whole extent, that still counts as the same grid.
pub const SAME_GRID_TOLERANCE_MM: f64 = 1e-3;

impl Grid {
    /// An axis-aligned grid: array axes along L, P, S, first voxel centre at the world origin.
    pub fn axis_aligned(size: [usize; 3], spacing_mm: [f64; 3]) -> Self {
        Self {
            size,
            spacing_mm,
            origin_mm: Vector3::zeros(),
            direction: Matrix3::identity(),
        }
    }

    /// Builds a grid from its index-to-world matrix (LPS mm, columns = step of each array axis).
    ///
    /// # Errors
    /// [`Error::Geometry`] when a column is zero or not finite, or the matrix is singular.
    pub fn from_affine(
        size: [usize; 3],
        matrix: Matrix3<f64>,
        origin_mm: Vector3<f64>,
    ) -> Result<Self> {
        let mut spacing_mm = [0.0; 3];
        let mut direction = matrix;
        for axis in 0..3 {
            let step = matrix.column(axis).norm();
            if !(step.is_finite() && step > 0.0) {
                return Err(Error::Geometry(format!(
                    "the step along array axis {axis} is {step} mm; a positive, finite spacing is needed"
                )));
            }
            spacing_mm[axis] = step;
            direction.set_column(axis, &(matrix.column(axis) / step));
        }
        if !origin_mm.iter().all(|v| v.is_finite()) {
            return Err(Error::Geometry("the origin is not finite".into()));
        }
        if direction.determinant().abs() < 1e-6 {
            return Err(Error::Geometry(
                "the array axes lie in one plane (singular affine)".into(),
            ));
        }
        Ok(Self {
            size,
            spacing_mm,
            origin_mm,
            direction,
        })
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.size.iter().product()
    }

    /// Whether the grid holds no voxel at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of voxel `(i, j, k)` in the data of a volume on this grid.
    #[inline]
    pub fn index(&self, i: usize, j: usize, k: usize) -> usize {
        i + self.size[0] * (j + self.size[1] * k)
    }

    /// Voxel `(i, j, k)` that stands at `index` in the data.
    #[inline]
    pub fn voxel(&self, index: usize) -> [usize; 3] {
        let [ni, nj, _] = self.size;
        [index % ni, index / ni % nj, index / (ni * nj)]
    }

    /// Volume of one voxel, mm³.
    pub fn voxel_volume_mm3(&self) -> f64 {
        self.matrix().determinant().abs()
    }

    /// Index-to-world matrix (LPS mm), without the origin.
    pub fn matrix(&self) -> Matrix3<f64> {
        self.direction * Matrix3::from_diagonal(&Vector3::from(self.spacing_mm))
    }

    /// World position (LPS mm) of a continuous voxel index.
    pub fn to_world(&self, index: Vector3<f64>) -> Vector3<f64> {
        self.origin_mm + self.matrix() * index
    }

    /// Continuous voxel index of a world position (LPS mm).
    pub fn to_index(&self, world_mm: Vector3<f64>) -> Vector3<f64> {
        let inverse = self
            .matrix()
            .try_inverse()
            .unwrap_or_else(Matrix3::identity);
        inverse * (world_mm - self.origin_mm)
    }

    /// Whether the array axes are at right angles (to 1e-4).
    pub fn is_orthogonal(&self) -> bool {
        let gram = self.direction.transpose() * self.direction;
        (gram - Matrix3::identity()).abs().max() < 1e-4
    }

    /// Checks that `other` is the same grid: same size, and no voxel centre further apart than
    /// [`SAME_GRID_TOLERANCE_MM`].
    ///
    /// # Errors
    /// [`Error::GridMismatch`] naming both grids.
    pub fn check_same(&self, other: &Self) -> Result<()> {
        self.check_within(other, SAME_GRID_TOLERANCE_MM)
    }

    /// [`Self::check_same`] with a tolerance of its own, mm.
    pub(crate) fn check_within(&self, other: &Self, tolerance_mm: f64) -> Result<()> {
        let same = self.size == other.size
            && (0..8).all(|corner| {
                let at = Vector3::from_fn(|axis, _| {
                    if corner >> axis & 1 == 1 {
                        self.size[axis].saturating_sub(1) as f64
                    } else {
                        0.0
                    }
                });
                (self.to_world(at) - other.to_world(at)).norm() <= tolerance_mm
            });
        if same {
            Ok(())
        } else {
            Err(Error::GridMismatch {
                expected: self.to_string(),
                found: other.to_string(),
            })
        }
    }

    /// For each array axis `i, j, k`: the world axis (0 = L, 1 = P, 2 = S) it runs closest to and
    /// whether it runs in that direction (`true`) or against it. Always a permutation.
    pub fn closest_axes(&self) -> [(usize, bool); 3] {
        const PERMUTATIONS: [[usize; 3]; 6] = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let alignment = |p: &[usize; 3]| {
            (0..3)
                .map(|a| self.direction[(p[a], a)].abs())
                .product::<f64>()
        };
        let mut best = PERMUTATIONS[0];
        for p in PERMUTATIONS {
            if alignment(&p) > alignment(&best) + 1e-12 {
                best = p;
            }
        }
        std::array::from_fn(|a| (best[a], self.direction[(best[a], a)] >= 0.0))
    }

    /// The axis code of the grid in the field's letters, such as `RAS` or `LPI`: the letter names the
    /// side towards which each array axis runs.
    pub fn axis_code(&self) -> String {
        const LETTERS: [[char; 2]; 3] = [['R', 'L'], ['A', 'P'], ['I', 'S']];
        self.closest_axes()
            .iter()
            .map(|&(axis, forward)| LETTERS[axis][usize::from(forward)])
            .collect()
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ni, nj, nk] = self.size;
        let [sx, sy, sz] = self.spacing_mm;
        let o = self.origin_mm;
        write!(
            f,
            "{ni}x{nj}x{nk} voxels of {sx:.4}x{sy:.4}x{sz:.4} mm, origin ({:.3}, {:.3}, {:.3}) mm LPS, axes {}",
            o.x,
            o.y,
            o.z,
            self.axis_code()
        )?;
        if self
            .closest_axes()
            .iter()
            .enumerate()
            .any(|(a, &(w, _))| self.direction[(w, a)].abs() < 0.99999)
        {
            write!(f, " (oblique)")?;
        }
        Ok(())
    }
}
