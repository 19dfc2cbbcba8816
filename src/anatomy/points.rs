//! A bone as world points: its voxel centres, its surface, the voxels on the border of the image.

use imaging::Mask;
use nalgebra::{Matrix3, SymmetricEigen, Vector3};

/// The voxels of a mask as world positions (LPS mm).
#[derive(Clone, Debug)]
pub struct BonePoints {
    /// Centres of the voxels inside, mm.
    pub voxels_mm: Vec<Vector3<f64>>,
    /// Centres of the voxel faces between inside and outside, mm. A face on the border of the image
    /// is no surface of the bone and is left out.
    pub surface_mm: Vec<Vector3<f64>>,
    /// Centres of the voxels inside that lie in the outermost layer of the image, mm.
    pub border_mm: Vec<Vector3<f64>>,
    /// Volume that each entry of `voxels_mm` stands for, mm³.
    pub voxel_volume_mm3: f64,
    /// Largest voxel spacing, mm.
    pub coarsest_mm: f64,
    /// Unit world directions of the array axes.
    pub array_axes: [Vector3<f64>; 3],
    /// Voxel spacing along the array axes, mm.
    pub spacing_mm: [f64; 3],
}

impl BonePoints {
    /// Collects the points of a mask.
    pub fn from_mask(mask: &Mask) -> Self {
        let grid = &mask.grid;
        let matrix = grid.matrix();
        let mut points = Self {
            voxels_mm: Vec::new(),
            surface_mm: Vec::new(),
            border_mm: Vec::new(),
            voxel_volume_mm3: grid.voxel_volume_mm3(),
            coarsest_mm: grid.spacing_mm.iter().copied().fold(0.0, f64::max),
            array_axes: std::array::from_fn(|a| grid.direction.column(a).into()),
            spacing_mm: grid.spacing_mm,
        };
        let strides = [1, grid.size[0], grid.size[0] * grid.size[1]];
        for (index, _) in mask.data.iter().enumerate().filter(|(_, inside)| **inside) {
            let voxel = grid.voxel(index);
            let at = grid.to_world(Vector3::from_fn(|a, _| voxel[a] as f64));
            points.voxels_mm.push(at);
            let mut on_border = false;
            for axis in 0..3 {
                let half = matrix.column(axis) * 0.5;
                if voxel[axis] == 0 {
                    on_border = true;
                } else if !mask.data[index - strides[axis]] {
                    points.surface_mm.push(at - half);
                }
                if voxel[axis] + 1 == grid.size[axis] {
                    on_border = true;
                } else if !mask.data[index + strides[axis]] {
                    points.surface_mm.push(at + half);
                }
            }
            if on_border {
                points.border_mm.push(at);
            }
        }
        points
    }

    /// The same bone with about `limit` voxels and as many surface points, for rough searches.
    pub fn thinned(&self, limit: usize) -> Self {
        let every = |points: &[Vector3<f64>]| -> Vec<Vector3<f64>> {
            let step = points.len().div_ceil(limit.max(1)).max(1);
            points.iter().step_by(step).copied().collect()
        };
        let voxels_mm = every(&self.voxels_mm);
        let volume = self.volume_mm3();
        Self {
            voxel_volume_mm3: volume / voxels_mm.len().max(1) as f64,
            voxels_mm,
            surface_mm: every(&self.surface_mm),
            border_mm: self.border_mm.clone(),
            coarsest_mm: self.coarsest_mm,
            array_axes: self.array_axes,
            spacing_mm: self.spacing_mm,
        }
    }

    /// Volume of the bone, mm³.
    pub fn volume_mm3(&self) -> f64 {
        self.voxels_mm.len() as f64 * self.voxel_volume_mm3
    }

    /// Mean of the voxel centres.
    pub fn centroid_mm(&self) -> Vector3<f64> {
        mean(&self.voxels_mm)
    }

    /// Principal axes of the voxels, the longest first.
    pub fn principal_axes(&self) -> [Vector3<f64>; 3] {
        principal_axes(&self.voxels_mm)
    }
}

/// Mean of some positions; the origin for none.
pub fn mean(points: &[Vector3<f64>]) -> Vector3<f64> {
    points.iter().sum::<Vector3<f64>>() / points.len().max(1) as f64
}

/// Directions of the largest, middle and smallest spread of some positions.
pub fn principal_axes(points: &[Vector3<f64>]) -> [Vector3<f64>; 3] {
    let centre = mean(points);
    let mut covariance = Matrix3::zeros();
    for p in points {
        let d = p - centre;
        covariance += d * d.transpose();
    }
    let eigen = SymmetricEigen::new(covariance);
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.map(|n| eigen.eigenvectors.column(n).into())
}

/// Thickness of slabs across `direction`, mm: a good voxel, and across an array axis a whole number of
/// layers, so that every slab holds as many of them.
pub fn slab_mm(bone: &BonePoints, direction: Vector3<f64>) -> f64 {
    const LEAST_MM: f64 = 2.0;
    (0..3)
        .find(|&axis| bone.array_axes[axis].dot(&direction).abs() > 1.0 - 1e-6)
        .map_or(bone.coarsest_mm.max(LEAST_MM), |axis| {
            (LEAST_MM / bone.spacing_mm[axis]).ceil() * bone.spacing_mm[axis]
        })
}

/// A slab of a bone between two parallel planes.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Middle of the slab along the direction, mm.
    pub at_mm: f64,
    /// Bone volume of the slab over its thickness, mm².
    pub area_mm2: f64,
    /// Centre of the bone in the slab, mm.
    pub centroid_mm: Vector3<f64>,
}

/// Cuts a bone into slabs of `thickness_mm` across `direction`, positions counted from `origin`,
/// ascending; empty slabs are left out.
pub fn sections(
    bone: &BonePoints,
    origin: Vector3<f64>,
    direction: Vector3<f64>,
    thickness_mm: f64,
) -> Vec<Section> {
    let along = |p: &Vector3<f64>| (p - origin).dot(&direction);
    let (low, high) = range(bone.voxels_mm.iter().map(along));
    if low > high {
        return Vec::new();
    }
    // Starts a little before the first voxel centres, so that rounding moves no layer between slabs.
    let low = low - 0.1 * thickness_mm;
    let count = ((high - low) / thickness_mm) as usize + 1;
    let mut sums = vec![(0usize, Vector3::zeros()); count];
    for p in &bone.voxels_mm {
        let slab = (((along(p) - low) / thickness_mm) as usize).min(count - 1);
        sums[slab].0 += 1;
        sums[slab].1 += p;
    }
    sums.iter()
        .enumerate()
        .filter(|(_, (n, _))| *n > 0)
        .map(|(slab, (n, sum))| Section {
            at_mm: low + (slab as f64 + 0.5) * thickness_mm,
            area_mm2: *n as f64 * bone.voxel_volume_mm3 / thickness_mm,
            centroid_mm: sum / *n as f64,
        })
        .collect()
}

/// Smallest and largest of some numbers; `(inf, -inf)` for none.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

/// Middle value of some numbers; 0 for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}
