//! The surface of a mask with its signed distance to another, as triangles to look at.
//!
//! Surface nets (S. Gibson, "Constrained elastic surface nets", MICCAI 1998): a node in every cube of eight voxel centres
//! that are not all alike, joined across the faces between unlike voxels, smoothed while each node stays in its cube. Parts
//! one voxel thin thus remain, and no surface passes a voxel centre.

use imaging::Mask;
use imaging::distance::signed_distance_mm;
use imaging::orientation::pad;
use imaging::resample::linear;
use nalgebra::{Matrix3, Vector3};

/// Empty voxels around both masks: a bone that the scan cuts is closed at the cut, in both.
const MARGIN: usize = 2;
/// Steps of the smoothing, towards the mean of a node's neighbours and back (G. Taubin, SIGGRAPH 1995): nothing shrinks.
const STEPS: [f64; 2] = [0.5, -0.51];
/// How often both are done.
const PASSES: usize = 20;
/// How often a normal becomes the mean of its neighbours': voxel steps are no edges.
const NORMAL_PASSES: usize = 4;

/// A surface with a distance at every node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColouredSurface {
    /// Node positions in the patient, LPS, mm.
    pub nodes_mm: Vec<Vector3<f64>>,
    /// Unit normals at the nodes.
    pub normals: Vec<Vector3<f64>>,
    /// Distance of the nodes to the surface of the other mask, mm; positive outside of it.
    pub distance_mm: Vec<f64>,
    /// Node numbers of each triangle.
    pub triangles: Vec<[u32; 3]>,
}

impl ColouredSurface {
    /// The surface of `mask`, with its distance to that of `reference`; both should be cropped to what they hold.
    ///
    /// # Errors
    /// When the grids differ or are sheared, or either mask is empty.
    pub fn of(mask: &Mask, reference: &Mask) -> imaging::Result<Self> {
        mask.grid.check_same(&reference.grid)?;
        let mask = pad(mask, [MARGIN; 3], false)?;
        let distance = signed_distance_mm(&pad(reference, [MARGIN; 3], false)?)?;
        let mut net = Net::of(&mask);
        if net.at.is_empty() {
            return Err(imaging::Error::Parameter(
                "the mask is empty: it has no surface".into(),
            ));
        }
        for step in [STEPS; PASSES].into_iter().flatten() {
            net.smooth(step);
        }
        let grid = &mask.grid;
        let nodes_mm: Vec<_> = net.at.iter().map(|at| grid.to_world(*at)).collect();
        Ok(Self {
            normals: net.normals(&nodes_mm, &grid.direction),
            distance_mm: net.at.iter().map(|at| linear(&distance, *at)).collect(),
            nodes_mm,
            triangles: net.triangles(),
        })
    }

    /// Mean over the area of the magnitude of the distance, mm.
    pub fn mean_distance_mm(&self) -> f64 {
        let [mut sum, mut whole] = [0.0, 0.0];
        for triangle in &self.triangles {
            let [a, b, c] = triangle.map(|n| self.nodes_mm[n as usize]);
            let area = (b - a).cross(&(c - a)).norm();
            let distances = triangle.map(|n| self.distance_mm[n as usize].abs());
            sum += area * distances.iter().sum::<f64>() / 3.0;
            whole += area;
        }
        if whole > 0.0 { sum / whole } else { 0.0 }
    }

    /// Opposite corners of the box around the nodes, mm.
    pub fn bounds_mm(&self) -> [Vector3<f64>; 2] {
        let ends = |pick: fn(&Vector3<f64>, &Vector3<f64>) -> Vector3<f64>| {
            let found = self.nodes_mm.iter().copied().reduce(|a, b| pick(&a, &b));
            found.unwrap_or_default()
        };
        [ends(Vector3::inf), ends(Vector3::sup)]
    }
}

/// A net of quadrilaterals, in voxels.
struct Net {
    at: Vec<Vector3<f64>>,
    /// First voxel of the cube of each node.
    cube: Vec<[usize; 3]>,
    /// Anticlockwise seen from outside, where the array axes are right-handed.
    quads: Vec<[u32; 4]>,
}

impl Net {
    /// The net of a mask whose outer voxels are empty.
    fn of(mask: &Mask) -> Self {
        let size = mask.grid.size;
        let stride = [1, size[0], size[0] * size[1]];
        let mut number = vec![u32::MAX; mask.data.len()];
        let mut net = Self {
            at: vec![],
            cube: vec![],
            quads: vec![],
        };
        let mut faces: Vec<f64> = vec![];
        for (index, &inside) in mask.data.iter().enumerate() {
            for axis in 0..3 {
                let Some(&next) = mask.data.get(index + stride[axis]) else {
                    continue;
                };
                if next == inside {
                    continue;
                }
                // Neither voxel is an outer one in the other two axes, so the cubes before them exist.
                let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
                let mut middle = Vector3::from(mask.grid.voxel(index).map(|v| v as f64));
                middle[axis] += 0.5;
                let before = [stride[b] + stride[c], stride[c], 0, stride[b]];
                let mut quad = before.map(|back| {
                    let first = index - back;
                    if number[first] == u32::MAX {
                        number[first] = net.at.len() as u32;
                        net.at.push(Vector3::zeros());
                        net.cube.push(mask.grid.voxel(first));
                        faces.push(0.0);
                    }
                    let node = number[first] as usize;
                    net.at[node] += middle;
                    faces[node] += 1.0;
                    number[first]
                });
                if !inside {
                    quad.reverse();
                }
                net.quads.push(quad);
            }
        }
        for (at, faces) in net.at.iter_mut().zip(faces) {
            *at /= faces;
        }
        net
    }

    /// Means of values over the neighbours of each node; an edge has two quadrilaterals, which changes no mean.
    fn neighbour_means(&self, values: &[Vector3<f64>]) -> Vec<Vector3<f64>> {
        let mut sums = vec![(Vector3::zeros(), 0.0); values.len()];
        for quad in &self.quads {
            for side in 0..4 {
                let [a, b] = [quad[side] as usize, quad[(side + 1) % 4] as usize];
                sums[a].0 += values[b];
                sums[a].1 += 1.0;
                sums[b].0 += values[a];
                sums[b].1 += 1.0;
            }
        }
        sums.into_iter().map(|(sum, count)| sum / count).collect()
    }

    /// Moves every node by a part of the way to the mean of its neighbours, within its cube.
    fn smooth(&mut self, step: f64) {
        let means = self.neighbour_means(&self.at);
        for ((at, mean), cube) in self.at.iter_mut().zip(means).zip(&self.cube) {
            for axis in 0..3 {
                let low = cube[axis] as f64;
                at[axis] = (at[axis] + step * (mean[axis] - at[axis])).clamp(low, low + 1.0);
            }
        }
    }

    fn triangles(&self) -> Vec<[u32; 3]> {
        let halves = |[a, b, c, d]: &[u32; 4]| [[*a, *b, *c], [*a, *c, *d]];
        self.quads.iter().flat_map(halves).collect()
    }

    fn normals(&self, nodes_mm: &[Vector3<f64>], direction: &Matrix3<f64>) -> Vec<Vector3<f64>> {
        let sign = direction.determinant().signum();
        let mut normals = vec![Vector3::zeros(); nodes_mm.len()];
        for quad in &self.quads {
            let [a, b, c, d] = quad.map(|n| nodes_mm[n as usize]);
            let normal = sign * (c - a).cross(&(d - b));
            for node in quad {
                normals[*node as usize] += normal;
            }
        }
        let unit = |normal: Vector3<f64>| normal.try_normalize(0.0).unwrap_or_default();
        for _ in 0..NORMAL_PASSES {
            normals = normals.into_iter().map(unit).collect();
            let means = self.neighbour_means(&normals);
            for (normal, mean) in normals.iter_mut().zip(means) {
                *normal += mean;
            }
        }
        normals.into_iter().map(unit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ball;
    use super::*;

    #[test]
    fn a_ball_lies_within_a_larger_one_by_the_difference_of_their_radii() {
        // The distance of the library is short by 0.1 to 0.3 voxels on curved surfaces.
        for (spacing, within) in [([1.0; 3], 0.15), ([0.7, 0.9, 1.6], 0.25)] {
            let [small, large] = [20.0, 22.0].map(|radius| ball(spacing, radius));
            for (mask, reference, expected) in [(&small, &large, -2.0), (&large, &small, 2.0)] {
                let found = ColouredSurface::of(mask, reference).unwrap();
                let mean = found.distance_mm.iter().sum::<f64>() / found.distance_mm.len() as f64;
                assert!((mean - expected).abs() < within, "{spacing:?} {mean}");
                assert!((found.mean_distance_mm() - 2.0).abs() < within);
                // Neither smoothing nor the cut corners of the voxels make it smaller.
                let radius = 21.0 + 0.5 * expected;
                let centre = Vector3::repeat(30.0);
                let radii = found.nodes_mm.iter().map(|node| (node - centre).norm());
                let mean = radii.sum::<f64>() / found.nodes_mm.len() as f64;
                assert!((mean - radius).abs() < 0.05, "{spacing:?} {mean} {radius}");
                let outward = found.nodes_mm.iter().zip(&found.normals);
                let least = outward.map(|(node, n)| (node - centre).normalize().dot(n));
                assert!(least.fold(1.0, f64::min) > 0.85, "{spacing:?}");
            }
        }
    }

    #[test]
    fn a_mask_up_to_the_border_is_closed_there_and_lies_on_itself() {
        let grid = imaging::Grid::axis_aligned([14, 15, 16], [1.0, 1.0, 2.0]);
        let full = Mask::filled(grid.clone(), true);
        let found = ColouredSurface::of(&full, &full).unwrap();
        assert!(found.mean_distance_mm() < 0.2);
        let [low, high] = found.bounds_mm();
        let edges = high - low;
        assert!(
            (edges - Vector3::new(14.0, 15.0, 32.0)).abs().max() < 0.4,
            "{edges}"
        );
        let empty = Mask::filled(grid, false);
        assert!(ColouredSurface::of(&empty, &full).is_err());
        assert!(ColouredSurface::of(&full, &empty).is_err());
    }
}
