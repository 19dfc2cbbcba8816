//! Size and shape of elements.

use nalgebra::{Matrix3, Vector3};

use crate::mesh::{HEX_CORNERS, HexMesh};

/// Counts, size and shape of a mesh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeshStatistics {
    /// Number of elements.
    pub elements: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Mean element volume, mm³.
    pub mean_volume_mm3: f64,
    /// Smallest scaled Jacobian of all element corners: 1 for a box, 0 for a flat corner, negative when turned inside out.
    pub min_quality: f64,
    /// Largest ratio of the longest to the shortest edge of an element.
    pub max_aspect: f64,
}

impl HexMesh {
    /// Volume of an element, mm³, exact for straight edges (2x2x2 Gauss points); negative when it is inside out.
    pub fn volume_mm3(&self, element: usize) -> f64 {
        let corners = self.corners(element);
        let gauss = 0.5 / 3.0_f64.sqrt();
        HEX_CORNERS
            .iter()
            .map(|at| {
                let at = at.map(|side| 0.5 + if side == 1 { gauss } else { -gauss });
                jacobian(&corners, at).determinant() / 8.0
            })
            .sum()
    }

    /// Smallest scaled Jacobian of the corners of an element (Knupp 2000): the determinant of the three unit
    /// edge vectors that meet there.
    pub fn scaled_jacobian(&self, element: usize) -> f64 {
        let corners = self.corners(element);
        HEX_CORNERS
            .iter()
            .map(|at| {
                let mut edges = jacobian(&corners, at.map(|side| side as f64));
                for mut edge in edges.column_iter_mut() {
                    let length = edge.norm();
                    if length > 0.0 {
                        edge /= length;
                    }
                }
                edges.determinant()
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// Counts, size and shape of the mesh; all figures are 0 for an empty one.
    pub fn statistics(&self) -> MeshStatistics {
        let count = self.elements.len();
        let mut volume_mm3 = 0.0;
        let mut min_quality = f64::INFINITY;
        let mut max_aspect: f64 = 0.0;
        for element in 0..count {
            volume_mm3 += self.volume_mm3(element);
            min_quality = min_quality.min(self.scaled_jacobian(element));
            max_aspect = max_aspect.max(self.aspect(element));
        }
        MeshStatistics {
            elements: count,
            nodes: self.nodes_mm.len(),
            mean_volume_mm3: volume_mm3 / count.max(1) as f64,
            min_quality: if count == 0 { 0.0 } else { min_quality },
            max_aspect,
        }
    }

    fn aspect(&self, element: usize) -> f64 {
        const EDGES: [[usize; 2]; 12] = [
            [0, 1],
            [1, 2],
            [2, 3],
            [3, 0],
            [4, 5],
            [5, 6],
            [6, 7],
            [7, 4],
            [0, 4],
            [1, 5],
            [2, 6],
            [3, 7],
        ];
        let corners = self.corners(element);
        let lengths = EDGES.map(|[a, b]| (corners[a] - corners[b]).norm());
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
        longest / shortest
    }

    fn corners(&self, element: usize) -> [Vector3<f64>; 8] {
        self.elements[element].map(|node| Vector3::from(self.nodes_mm[node as usize]))
    }
}

/// Derivatives of the position by the element coordinates (0 to 1 along each axis), one per column.
fn jacobian(corners: &[Vector3<f64>; 8], at: [f64; 3]) -> Matrix3<f64> {
    let mut jacobian = Matrix3::zeros();
    for (corner, position) in HEX_CORNERS.iter().zip(corners) {
        let weight = |axis: usize| {
            if corner[axis] == 1 {
                at[axis]
            } else {
                1.0 - at[axis]
            }
        };
        for axis in 0..3 {
            let sign = if corner[axis] == 1 { 1.0 } else { -1.0 };
            let slope = sign * weight((axis + 1) % 3) * weight((axis + 2) % 3);
            let mut column = jacobian.column_mut(axis);
            column += position * slope;
        }
    }
    jacobian
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_cube() -> HexMesh {
        HexMesh {
            nodes_mm: HEX_CORNERS.map(|c| c.map(|v| v as f64)).to_vec(),
            elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
        }
    }

    #[test]
    fn a_cube_is_perfect() {
        let s = unit_cube().statistics();
        assert_eq!((s.elements, s.nodes), (1, 8));
        assert!((s.mean_volume_mm3 - 1.0).abs() < 1e-14);
        assert!((s.min_quality - 1.0).abs() < 1e-14);
        assert!((s.max_aspect - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_sheared_box_keeps_its_volume_and_loses_quality() {
        // x += z: the angle at the corners is 45 degrees, its sine 1/sqrt(2).
        let mut mesh = unit_cube();
        for node in &mut mesh.nodes_mm {
            node[0] += node[2];
        }
        assert!((mesh.volume_mm3(0) - 1.0).abs() < 1e-14);
        assert!((mesh.scaled_jacobian(0) - 0.5_f64.sqrt()).abs() < 1e-14);
        assert!((mesh.statistics().max_aspect - 2.0_f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn a_truncated_pyramid_has_the_prismatoid_volume() {
        // Top square shrunk to half its edge: V = h/3 (A + sqrt(AB) + B) = (1 + 1/2 + 1/4)/3.
        let mut mesh = unit_cube();
        for node in &mut mesh.nodes_mm[4..] {
            node[0] = 0.25 + 0.5 * node[0];
            node[1] = 0.25 + 0.5 * node[1];
        }
        assert!((mesh.volume_mm3(0) - 1.75 / 3.0).abs() < 1e-14);
    }

    #[test]
    fn an_element_turned_inside_out_is_negative() {
        let mut mesh = unit_cube();
        mesh.elements[0] = [4, 5, 6, 7, 0, 1, 2, 3];
        assert!((mesh.volume_mm3(0) + 1.0).abs() < 1e-14);
        assert!((mesh.scaled_jacobian(0) + 1.0).abs() < 1e-14);
    }

    #[test]
    fn an_empty_mesh_has_figures_too() {
        assert_eq!(HexMesh::default().statistics().min_quality, 0.0);
    }
}
