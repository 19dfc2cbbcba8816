//! From voxels to tetrahedra: the value of an image in each element.
//!
//! The three versions of Bonemat (F. Taddei et al., "The material mapping strategy influences the accuracy of CT-based
//! finite element models of bones", Med. Eng. Phys. 29, 2007): V1 takes the mean of the voxels whose centre lies in the
//! element; V2 and V3 integrate over the element with trilinear interpolation between voxel centres, on a regular grid
//! of points in its own coordinates. V2 applies the material laws to the mean, V3 takes the mean of the laws; which
//! of the two is the caller's choice, who is given the samples.

use imaging::Volume;
use imaging::resample::linear;
use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::mesh::{Frame, Tet10Mesh};
use crate::tetrahedron::{tet10_jacobian, tet10_position, tetrahedron_volume_mm3};

/// Integration steps along each element coordinate; the default of the published program.
const STEPS: usize = 4;
/// Points of the regular grid that lie inside an element.
pub const SAMPLES: usize = 10;

/// Values at the sampling points of every element, and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementSamples {
    /// [`SAMPLES`] values an element.
    pub values: Vec<f64>,
    /// Their parts in the element's integral: Jacobian over the sum of Jacobians.
    pub weights: Vec<f64>,
}

impl ElementSamples {
    /// Weighted mean in every element of one value a sample.
    pub fn means(&self, values: &[f64]) -> Vec<f64> {
        values
            .chunks(SAMPLES)
            .zip(self.weights.chunks(SAMPLES))
            .map(|(values, weights)| values.iter().zip(weights).map(|(v, w)| v * w).sum())
            .collect()
    }
}

/// Where a model position stands in the array of an image: `index = offset + matrix * model`.
struct ToIndex {
    matrix: Matrix3<f64>,
    offset: Vector3<f64>,
}

impl ToIndex {
    fn of(frame: &Frame, volume: &Volume<f32>) -> Self {
        let at = |model: [f64; 3]| volume.grid.to_index(Vector3::from(frame.to_world(model)));
        let offset = at([0.0; 3]);
        let columns = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|e| at(e) - offset);
        Self {
            matrix: Matrix3::from_columns(&columns),
            offset,
        }
    }

    fn at(&self, model: [f64; 3]) -> Vector3<f64> {
        self.offset + self.matrix * Vector3::from(model)
    }
}

/// Samples an image in every element. `frame` says where the mesh stands in the patient, whose coordinates the image has.
pub fn integration_samples(
    mesh: &Tet10Mesh,
    frame: &Frame,
    volume: &Volume<f32>,
) -> ElementSamples {
    let to_index = ToIndex::of(frame, volume);
    let points = sampling_points();
    let (values, weights): (Vec<_>, Vec<_>) = (0..mesh.elements.len())
        .into_par_iter()
        .map(|element| {
            let nodes = mesh.positions_mm(element);
            let value = points.map(|p| linear(volume, to_index.at(tet10_position(&nodes, &p))));
            let jacobian = points.map(|p| tet10_jacobian(&nodes, &p));
            let sum: f64 = jacobian.iter().sum();
            (value, jacobian.map(|j| j / sum))
        })
        .unzip();
    ElementSamples {
        values: values.into_flattened(),
        weights: weights.into_flattened(),
    }
}

/// Sampling points as parts of the corners: the middles of a grid of [`STEPS`] cells along each element coordinate that lie
/// inside the element.
fn sampling_points() -> [[f64; 4]; SAMPLES] {
    let mut points = [[0.0; 4]; SAMPLES];
    let mut count = 0;
    let at = |n: usize| (n as f64 + 0.5) / STEPS as f64;
    for i in 0..STEPS {
        for j in 0..STEPS {
            for k in 0..STEPS {
                let sum = at(i) + at(j) + at(k);
                if sum < 1.0 {
                    points[count] = [1.0 - sum, at(i), at(j), at(k)];
                    count += 1;
                }
            }
        }
    }
    points
}

/// Mean of the voxels whose centre lies in each element (between the planes through its corners), and how many elements
/// hold none: those take the nearest voxel's value.
pub fn voxel_means(mesh: &Tet10Mesh, frame: &Frame, volume: &Volume<f32>) -> (Vec<f64>, usize) {
    let to_index = ToIndex::of(frame, volume);
    let size = volume.grid.size;
    let means: Vec<(f64, bool)> = (0..mesh.elements.len())
        .into_par_iter()
        .map(|element| {
            let nodes = mesh.positions_mm(element);
            let corners: [[f64; 3]; 4] = std::array::from_fn(|n| to_index.at(nodes[n]).into());
            let whole = tetrahedron_volume_mm3(&corners);
            let range = |axis: usize| {
                let ends = corners.map(|c| c[axis]);
                let low = ends.iter().copied().fold(f64::INFINITY, f64::min).ceil();
                let high = ends
                    .iter()
                    .copied()
                    .fold(f64::NEG_INFINITY, f64::max)
                    .floor();
                let last = size[axis] as f64 - 1.0;
                (low.max(0.0) as usize, high.min(last) as isize)
            };
            let [x, y, z] = [range(0), range(1), range(2)];
            let (mut sum, mut count) = (0.0, 0usize);
            for k in z.0 as isize..=z.1 {
                for j in y.0 as isize..=y.1 {
                    for i in x.0 as isize..=x.1 {
                        let p = [i, j, k].map(|v| v as f64);
                        // A mirrored frame turns all signs.
                        let inside = (0..4).all(|n| {
                            let mut part = corners;
                            part[n] = p;
                            tetrahedron_volume_mm3(&part) / whole >= 0.0
                        });
                        if inside {
                            sum += f64::from(volume.at(i as usize, j as usize, k as usize));
                            count += 1;
                        }
                    }
                }
            }
            if count > 0 {
                return (sum / count as f64, false);
            }
            let middle = to_index.at(tet10_position(&nodes, &[0.25; 4]));
            let nearest: [usize; 3] = std::array::from_fn(|a| {
                middle[a].round().clamp(0.0, (size[a] - 1) as f64) as usize
            });
            (
                f64::from(volume.at(nearest[0], nearest[1], nearest[2])),
                true,
            )
        })
        .collect();
    let empty = means.iter().filter(|(_, empty)| *empty).count();
    (means.into_iter().map(|(mean, _)| mean).collect(), empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Grid;

    /// A tetrahedron with legs of 12 mm along the axes, in a 0.5 mm image of f(x, y, z).
    fn element(f: impl Fn([f64; 3]) -> f64) -> (Tet10Mesh, Frame, Volume<f32>) {
        let corners = [
            [2.0, 2.0, 2.0],
            [14.0, 2.0, 2.0],
            [2.0, 14.0, 2.0],
            [2.0, 2.0, 14.0],
        ];
        let mut nodes_mm = corners.to_vec();
        for [i, j] in crate::tetrahedron::TET10_EDGES {
            nodes_mm.push(std::array::from_fn(|a| {
                0.5 * (corners[i][a] + corners[j][a])
            }));
        }
        let mesh = Tet10Mesh {
            nodes_mm,
            elements: vec![std::array::from_fn(|n| n as u32)],
        };
        let grid = Grid::axis_aligned([40; 3], [0.5; 3]);
        let at = grid.clone();
        let volume = Volume::from_fn(grid, |v| {
            let p = at.to_world(Vector3::from(v.map(|v| v as f64)));
            f(p.into()) as f32
        });
        (mesh, Frame::default(), volume)
    }

    #[test]
    fn sampling_points_lie_inside_and_weigh_one() {
        assert!(
            sampling_points()
                .iter()
                .all(|p| p.iter().all(|&part| part > 0.0 && part < 1.0))
        );
        let (mesh, frame, volume) = element(|_| 7.0);
        let samples = integration_samples(&mesh, &frame, &volume);
        assert_eq!(samples.values.len(), SAMPLES);
        assert!((samples.weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        assert!((samples.means(&samples.values)[0] - 7.0).abs() < 1e-12);
    }

    #[test]
    fn a_linear_image_gives_its_value_at_the_centroid() {
        // The ten points average to a quarter of each coordinate, which is the centroid, at 5 mm.
        let (mesh, frame, volume) = element(|p| 10.0 * p[0] + p[2]);
        let samples = integration_samples(&mesh, &frame, &volume);
        let mean = samples.means(&samples.values)[0];
        assert!((mean - 55.0).abs() < 1e-4, "{mean}");
        // Voxel centres come as near to it as voxels are small.
        let (means, empty) = voxel_means(&mesh, &frame, &volume);
        assert_eq!(empty, 0);
        assert!((means[0] - 55.0).abs() < 2.5, "{}", means[0]);
    }

    #[test]
    fn an_element_without_a_voxel_takes_the_nearest() {
        let (mut mesh, frame, volume) = element(|p| p[0]);
        for node in &mut mesh.nodes_mm {
            *node = node.map(|x| 5.1 + (x - 2.0) * 0.02);
        }
        let (means, empty) = voxel_means(&mesh, &frame, &volume);
        assert_eq!(empty, 1);
        assert!((means[0] - 5.0).abs() < 1e-6);
    }
}
