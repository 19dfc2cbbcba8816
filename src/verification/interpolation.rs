//! Shape functions and integration of the verification, independent of the solver's own.

use nalgebra::{Matrix3, Vector3};

use super::ElementType;
use super::body::{Body, Material};

/// Barycentric corners that each edge of a 10-node tetrahedron joins.
const EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]];
/// Corners of the reference hexahedron, VTK order.
const CORNERS: [[f64; 3]; 8] = [
    [-1.0, -1.0, -1.0],
    [1.0, -1.0, -1.0],
    [1.0, 1.0, -1.0],
    [-1.0, 1.0, -1.0],
    [-1.0, -1.0, 1.0],
    [1.0, -1.0, 1.0],
    [1.0, 1.0, 1.0],
    [-1.0, 1.0, 1.0],
];

/// Shape functions and their reference slopes.
fn shape(element: ElementType, xi: [f64; 3]) -> Vec<(f64, [f64; 3])> {
    match element {
        ElementType::Hex8(_) => CORNERS
            .iter()
            .map(|corner| {
                let factor: [f64; 3] = std::array::from_fn(|a| 1.0 + corner[a] * xi[a]);
                let slope = std::array::from_fn(|a| {
                    0.125 * corner[a] * factor[(a + 1) % 3] * factor[(a + 2) % 3]
                });
                (0.125 * factor.iter().product::<f64>(), slope)
            })
            .collect(),
        ElementType::Tet4 | ElementType::Tet10 => {
            let l = [1.0 - xi[0] - xi[1] - xi[2], xi[0], xi[1], xi[2]];
            let slope = |corner: usize| -> [f64; 3] {
                std::array::from_fn(|a| {
                    if corner == 0 {
                        -1.0
                    } else {
                        f64::from(u8::from(corner == a + 1))
                    }
                })
            };
            if element == ElementType::Tet4 {
                return (0..4).map(|i| (l[i], slope(i))).collect();
            }
            let corners = (0..4).map(|i| {
                let factor = 4.0 * l[i] - 1.0;
                (l[i] * (2.0 * l[i] - 1.0), slope(i).map(|s| factor * s))
            });
            let middles = EDGES.iter().map(|&[i, j]| {
                let (si, sj) = (slope(i), slope(j));
                (
                    4.0 * l[i] * l[j],
                    std::array::from_fn(|a| 4.0 * (si[a] * l[j] + l[i] * sj[a])),
                )
            });
            corners.chain(middles).collect()
        }
    }
}

/// Reference points and weights fine enough to integrate squares of errors.
pub(super) fn fine_rule(element: ElementType) -> Vec<([f64; 3], f64)> {
    // Gauss-Legendre, four points on [-1, 1].
    let points = [
        (-0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
        (-0.339_981_043_584_856_3, 0.652_145_154_862_546_2),
        (0.339_981_043_584_856_3, 0.652_145_154_862_546_2),
        (0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
    ];
    let mut rule = Vec::new();
    for (x, wx) in points {
        for (y, wy) in points {
            for (z, wz) in points {
                let weight = wx * wy * wz;
                if matches!(element, ElementType::Hex8(_)) {
                    rule.push(([x, y, z], weight));
                } else {
                    // Duffy's collapse of the cube to the tetrahedron.
                    let [u, v, w]: [f64; 3] = [x, y, z].map(|t| 0.5 * (1.0 + t));
                    let at = [u, v * (1.0 - u), w * (1.0 - u) * (1.0 - v)];
                    let jacobian = (1.0 - u).powi(2) * (1.0 - v) / 8.0;
                    rule.push((at, weight * jacobian));
                }
            }
        }
    }
    rule
}

/// A displacement field of an element at a point.
pub(super) struct FieldPoint {
    pub(super) position: [f64; 3],
    pub(super) displacement: [f64; 3],
    /// `du_i / dx_j`.
    pub(super) gradient: [[f64; 3]; 3],
    /// Jacobian determinant.
    pub(super) determinant: f64,
}

/// Interpolates nodal displacements (three per node) at a reference point of an element.
pub(super) fn field_point(
    body: &Body,
    displacements_mm: &[f64],
    element: usize,
    xi: [f64; 3],
) -> FieldPoint {
    let nodes = body.mesh.element(element);
    let functions = shape(body.element, xi);
    let mut position = [0.0; 3];
    let mut displacement = [0.0; 3];
    // Slopes by the reference coordinates: of the position (column per coordinate) and of the displacement.
    let mut jacobian = Matrix3::zeros();
    let mut slopes = Matrix3::zeros();
    for (&node, (n, slope)) in nodes.iter().zip(&functions) {
        let p = Vector3::from(body.nodes()[node as usize]);
        let u = Vector3::from_fn(|i, _| displacements_mm[3 * node as usize + i]);
        let s = Vector3::from(*slope).transpose();
        for i in 0..3 {
            position[i] += n * p[i];
            displacement[i] += n * u[i];
        }
        jacobian += p * s;
        slopes += u * s;
    }
    let determinant = jacobian.determinant();
    let gradient = slopes * jacobian.try_inverse().unwrap_or_else(Matrix3::zeros);
    FieldPoint {
        position,
        displacement,
        gradient: std::array::from_fn(|i| std::array::from_fn(|j| gradient[(i, j)])),
        determinant,
    }
}

/// Elastic stress (xx, yy, zz, MPa) at a node, the mean over its elements of the stress at that corner.
pub(super) fn nodal_normal_stress(
    body: &Body,
    displacements_mm: &[f64],
    material: &Material,
    node: usize,
) -> [f64; 3] {
    let (e, nu) = (material.youngs_modulus, material.poissons_ratio);
    let lame = e * nu / ((1.0 + nu) * (1.0 - 2.0 * nu));
    let shear = e / (2.0 * (1.0 + nu));
    let mut sum = [0.0; 3];
    let mut count = 0.0;
    for element in 0..body.mesh.element_count() {
        let Some(corner) = body
            .mesh
            .element(element)
            .iter()
            .position(|&n| n as usize == node)
        else {
            continue;
        };
        let xi = match body.element {
            ElementType::Hex8(_) => CORNERS[corner],
            _ => [[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]][corner.min(3)],
        };
        let g = field_point(body, displacements_mm, element, xi).gradient;
        let dilatation = g[0][0] + g[1][1] + g[2][2];
        for i in 0..3 {
            sum[i] += lame * dilatation + 2.0 * shear * g[i][i];
        }
        count += 1.0;
    }
    sum.map(|s| s / count)
}

#[cfg(test)]
mod tests {
    use super::super::body::brick;
    use super::*;

    #[test]
    fn the_rule_fills_the_body_and_gradients_are_those_of_the_field() {
        for element in [ElementType::FULL, ElementType::Tet4, ElementType::Tet10] {
            let body = brick([2, 1, 1], [0.0; 3], [2.0, 3.0, 1.5]).mesh(element);
            let slope = [[0.3, -0.2, 0.5], [0.1, 0.4, -0.6], [0.7, 0.2, -0.1]];
            let field = |p: [f64; 3]| -> [f64; 3] {
                slope.map(|row: [f64; 3]| row[0] * p[0] + row[1] * p[1] + row[2] * p[2])
            };
            let u: Vec<f64> = body.nodes().iter().flat_map(|&p| field(p)).collect();
            let mut volume = 0.0;
            for e in 0..body.mesh.element_count() {
                for (xi, weight) in fine_rule(element) {
                    let point = field_point(&body, &u, e, xi);
                    volume += weight * point.determinant;
                    let expected = field(point.position);
                    for i in 0..3 {
                        assert!((point.displacement[i] - expected[i]).abs() < 1e-12);
                        for j in 0..3 {
                            assert!((point.gradient[i][j] - slope[i][j]).abs() < 1e-12);
                        }
                    }
                }
            }
            assert!((volume - 9.0).abs() < 1e-12, "{element:?}: {volume}");
        }
    }
}
