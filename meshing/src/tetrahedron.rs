//! Size and shape of tetrahedra with four and with ten nodes.

use crate::mesh::{Mesh, Tet10Mesh};
use crate::surface::{FACES, cross, dot, minus};

/// Corners joined by the edge that each middle node of a 10-node tetrahedron lies on, in the order of nodes 4 to 9.
pub const TET10_EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]];

/// The four integration points of the 10-node tetrahedron, as the parts of the four corners (degree 2; Hammer, Marlowe
/// and Stroud 1956): the ones the solver uses.
pub const FOUR_POINTS: [[f64; 4]; 4] = {
    const A: f64 = 0.585_410_196_624_968_5;
    const B: f64 = 0.138_196_601_125_010_5;
    [[A, B, B, B], [B, A, B, B], [B, B, A, B], [B, B, B, A]]
};

/// Points and weights exact for cubic polynomials (Zienkiewicz and Taylor): the Jacobian determinant of a quadratic
/// element is one.
const FIVE_POINTS: [([f64; 4], f64); 5] = {
    const H: f64 = 0.5;
    const S: f64 = 1.0 / 6.0;
    [
        ([0.25; 4], -0.8),
        ([H, S, S, S], 0.45),
        ([S, H, S, S], 0.45),
        ([S, S, H, S], 0.45),
        ([S, S, S, H], 0.45),
    ]
};

/// Volume of a tetrahedron by its corners, mm³; negative when it is inside out.
pub fn tetrahedron_volume_mm3(corners: &[[f64; 3]; 4]) -> f64 {
    let [a, b, c] = [1, 2, 3].map(|n| minus(corners[n], corners[0]));
    dot(cross(a, b), c) / 6.0
}

/// Shape of a tetrahedron with straight edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TetrahedronShape {
    /// Smallest and largest dihedral angle, degrees; the regular tetrahedron has 70.5 six times.
    pub dihedral_deg: [f64; 2],
    /// Three inscribed radii over the circumscribed radius: 1 for the regular tetrahedron, 0 for a flat one.
    pub radius_ratio: f64,
}

impl TetrahedronShape {
    /// The shape, by the corners.
    pub fn of(corners: &[[f64; 3]; 4]) -> Self {
        let normals = FACES
            .map(|[a, b, c]| cross(minus(corners[b], corners[a]), minus(corners[c], corners[a])));
        let mut dihedral_deg = [180.0_f64, 0.0_f64];
        for i in 0..4 {
            for j in i + 1..4 {
                let sine = {
                    let n = cross(normals[i], normals[j]);
                    dot(n, n).sqrt()
                };
                let angle = sine.atan2(-dot(normals[i], normals[j])).to_degrees();
                dihedral_deg = [dihedral_deg[0].min(angle), dihedral_deg[1].max(angle)];
            }
        }
        let volume = tetrahedron_volume_mm3(corners);
        let surface: f64 = normals.iter().map(|n| 0.5 * dot(*n, *n).sqrt()).sum();
        let [a, b, c] = [1, 2, 3].map(|n| minus(corners[n], corners[0]));
        // Circumscribed radius: |a² (b×c) + b² (c×a) + c² (a×b)| / 12 V.
        let terms = [
            (dot(a, a), cross(b, c)),
            (dot(b, b), cross(c, a)),
            (dot(c, c), cross(a, b)),
        ];
        let sum: [f64; 3] = std::array::from_fn(|n| terms.iter().map(|(f, v)| f * v[n]).sum());
        let circumscribed = dot(sum, sum).sqrt() / (12.0 * volume);
        let inscribed = 3.0 * volume / surface;
        Self {
            dihedral_deg,
            radius_ratio: 3.0 * inscribed / circumscribed,
        }
    }
}

/// Determinant of the Jacobian of a 10-node tetrahedron at a point given by the parts of its corners, mm³; six volumes
/// for straight edges.
pub fn tet10_jacobian(nodes: &[[f64; 3]; 10], parts: &[f64; 4]) -> f64 {
    // Derivatives of the parts by the three element coordinates.
    const SLOPES: [[f64; 3]; 4] = [
        [-1.0, -1.0, -1.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0],
    ];
    let mut columns = [[0.0; 3]; 3];
    let mut add = |node: usize, slope: [f64; 3]| {
        for (column, slope) in columns.iter_mut().zip(slope) {
            for (value, x) in column.iter_mut().zip(nodes[node]) {
                *value += slope * x;
            }
        }
    };
    for n in 0..4 {
        let factor = 4.0 * parts[n] - 1.0;
        add(n, SLOPES[n].map(|s| factor * s));
    }
    for (n, [i, j]) in TET10_EDGES.into_iter().enumerate() {
        add(
            4 + n,
            std::array::from_fn(|a| 4.0 * (parts[j] * SLOPES[i][a] + parts[i] * SLOPES[j][a])),
        );
    }
    dot(cross(columns[0], columns[1]), columns[2])
}

/// Position in a 10-node tetrahedron of the point given by the parts of its corners, mm.
pub fn tet10_position(nodes: &[[f64; 3]; 10], parts: &[f64; 4]) -> [f64; 3] {
    let mut at = [0.0; 3];
    let mut add = |node: usize, weight: f64| {
        for (value, x) in at.iter_mut().zip(nodes[node]) {
            *value += weight * x;
        }
    };
    for n in 0..4 {
        add(n, parts[n] * (2.0 * parts[n] - 1.0));
    }
    for (n, [i, j]) in TET10_EDGES.into_iter().enumerate() {
        add(4 + n, 4.0 * parts[i] * parts[j]);
    }
    at
}

/// Counts, size and shape of a mesh of tetrahedra.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TetrahedraStatistics {
    /// Number of elements.
    pub elements: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Mean element volume, mm³.
    pub mean_volume_mm3: f64,
    /// Smallest and largest dihedral angle between the planes through the corners, degrees.
    pub dihedral_deg: [f64; 2],
    /// Smallest radius ratio of the corners: 1 for a regular tetrahedron, 0 for a flat one.
    pub min_radius_ratio: f64,
    /// Elements with a dihedral angle below 10 degrees.
    pub flat_elements: usize,
    /// Smallest ratio of the Jacobian at an integration point to that of the element with straight edges.
    pub min_jacobian_ratio: f64,
}

impl<const N: usize> Mesh<N> {
    /// Positions of an element's nodes, mm.
    pub fn positions_mm(&self, element: usize) -> [[f64; 3]; N] {
        self.elements[element].map(|node| self.nodes_mm[node as usize])
    }
}

impl Tet10Mesh {
    /// Volume of an element, mm³, exact for curved edges.
    pub fn volume_mm3(&self, element: usize) -> f64 {
        let nodes = self.positions_mm(element);
        FIVE_POINTS
            .iter()
            .map(|(at, weight)| weight * tet10_jacobian(&nodes, at) / 6.0)
            .sum()
    }

    /// Volume of all elements, mm³.
    pub fn total_volume_mm3(&self) -> f64 {
        use rayon::prelude::*;
        // Summed in order, so that the number of threads does not matter.
        let each: Vec<f64> = (0..self.elements.len())
            .into_par_iter()
            .map(|element| self.volume_mm3(element))
            .collect();
        each.iter().sum()
    }

    /// Whether the Jacobian is positive at the four integration points and at the corners of an element, and how far:
    /// the smallest ratio to that of the element with straight edges.
    pub fn jacobian_ratio(&self, element: usize) -> f64 {
        jacobian_ratio(&self.positions_mm(element))
    }

    /// Counts, size and shape; all figures are 0 for an empty mesh.
    pub fn statistics(&self) -> TetrahedraStatistics {
        use rayon::prelude::*;
        let count = self.elements.len();
        let each: Vec<(f64, TetrahedronShape, f64)> = (0..count)
            .into_par_iter()
            .map(|element| {
                let nodes = self.positions_mm(element);
                (
                    self.volume_mm3(element),
                    TetrahedronShape::of(&[nodes[0], nodes[1], nodes[2], nodes[3]]),
                    jacobian_ratio(&nodes),
                )
            })
            .collect();
        let least = |value: fn(&(f64, TetrahedronShape, f64)) -> f64| {
            each.iter().map(value).reduce(f64::min).unwrap_or(0.0)
        };
        TetrahedraStatistics {
            elements: count,
            nodes: self.nodes_mm.len(),
            mean_volume_mm3: each.iter().map(|e| e.0).sum::<f64>() / count.max(1) as f64,
            dihedral_deg: [
                least(|e| e.1.dihedral_deg[0]),
                -least(|e| -e.1.dihedral_deg[1]),
            ],
            min_radius_ratio: least(|e| e.1.radius_ratio),
            flat_elements: each.iter().filter(|e| e.1.dihedral_deg[0] < 10.0).count(),
            min_jacobian_ratio: least(|e| e.2),
        }
    }
}

/// Smallest Jacobian at the integration points and corners over that of the element with straight edges.
pub(crate) fn jacobian_ratio(nodes: &[[f64; 3]; 10]) -> f64 {
    const CORNERS: [[f64; 4]; 4] = [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
    let straight = 6.0 * tetrahedron_volume_mm3(&[nodes[0], nodes[1], nodes[2], nodes[3]]);
    FOUR_POINTS
        .iter()
        .chain(&CORNERS)
        .map(|at| tet10_jacobian(nodes, at) / straight)
        .fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regular tetrahedron with edges of 2 √2.
    const REGULAR: [[f64; 3]; 4] = [
        [1.0, 1.0, 1.0],
        [1.0, -1.0, -1.0],
        [-1.0, -1.0, 1.0],
        [-1.0, 1.0, -1.0],
    ];

    fn straight(corners: [[f64; 3]; 4]) -> Tet10Mesh {
        let mut nodes_mm = corners.to_vec();
        for [i, j] in TET10_EDGES {
            nodes_mm.push(std::array::from_fn(|a| {
                0.5 * (corners[i][a] + corners[j][a])
            }));
        }
        Tet10Mesh {
            nodes_mm,
            elements: vec![std::array::from_fn(|n| n as u32)],
        }
    }

    #[test]
    fn the_regular_tetrahedron_has_ratio_one_and_seventy_degrees() {
        let shape = TetrahedronShape::of(&REGULAR);
        assert!((shape.radius_ratio - 1.0).abs() < 1e-12, "{shape:?}");
        for angle in shape.dihedral_deg {
            assert!((angle - (1.0f64 / 3.0).acos().to_degrees()).abs() < 1e-10);
        }
        assert!((tetrahedron_volume_mm3(&REGULAR) - 8.0 / 3.0).abs() < 1e-14);
    }

    #[test]
    fn the_corner_of_a_cube_has_right_angles() {
        // Inscribed radius 1/(3 + √3), circumscribed √3/2.
        let corner = [[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let shape = TetrahedronShape::of(&corner);
        let root = 3.0f64.sqrt();
        assert!((shape.radius_ratio - 3.0 / (3.0 + root) / (root / 2.0)).abs() < 1e-12);
        assert!((shape.dihedral_deg[1] - 90.0).abs() < 1e-10);
        assert!((shape.dihedral_deg[0] - (1.0 / root).acos().to_degrees()).abs() < 1e-10);
    }

    #[test]
    fn a_bulging_face_adds_the_volume_under_it() {
        // Unit corner tetrahedron; the middle node of edge 1-2 is pushed out by d along x: the volume grows by the
        // integral of the shape function 4 L1 L2 over the face z = 0 … computed as d/6 of the Jacobian's mean: d·4·∫ ∂(L1
        // L2)/∂x dV = 4 d ∫ L2 dV = 4 d / 24 = d/6.
        let mut mesh = straight([[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!((mesh.volume_mm3(0) - 1.0 / 6.0).abs() < 1e-15);
        assert!((mesh.jacobian_ratio(0) - 1.0).abs() < 1e-12);
        mesh.nodes_mm[5][0] += 0.05;
        assert!((mesh.volume_mm3(0) - (1.0 / 6.0 + 0.05 / 6.0)).abs() < 1e-14);
        // Far enough out, a corner turns inside out.
        mesh.nodes_mm[5][0] -= 0.35;
        assert!(mesh.jacobian_ratio(0) < 0.0);
    }

    #[test]
    fn statistics_of_one_element() {
        let s = straight(REGULAR).statistics();
        assert_eq!((s.elements, s.nodes, s.flat_elements), (1, 10, 0));
        assert!((s.mean_volume_mm3 - 8.0 / 3.0).abs() < 1e-14);
        assert!((s.min_radius_ratio - 1.0).abs() < 1e-12);
        assert_eq!(Tet10Mesh::default().statistics().min_radius_ratio, 0.0);
    }
}
