//! Tetrahedra with 4 nodes (one integration point) and 10 nodes (four points, degree 2), nodes in VTK order.
//!
//! Zienkiewicz, Taylor, Zhu 2013, The Finite Element Method, tables of the tetrahedral rules. Edges of the 10-node
//! tetrahedron may be curved: the Jacobian is taken at every integration point.

use nalgebra::Matrix3;

/// What an integration point of a tetrahedron with `N` nodes needs.
#[derive(Clone, Copy, Debug)]
pub struct TetrahedronPoint<const N: usize> {
    /// Derivatives of the shape functions by x, y and z, 1/mm.
    pub gradients: [[f64; N]; 3],
    /// Weight times Jacobian determinant, mm³.
    pub weight: f64,
}

/// A tetrahedron by its number of nodes `N` and integration points `P`.
#[derive(Clone, Debug)]
pub struct TetrahedronRule<const N: usize, const P: usize> {
    /// Derivatives of the shape functions by the three reference coordinates, per point.
    reference: [[[f64; N]; 3]; P],
    /// Weight of every point.
    weight: f64,
}

impl TetrahedronRule<4, 1> {
    /// The 4-node tetrahedron.
    pub fn linear() -> Self {
        Self {
            reference: [std::array::from_fn(|axis| {
                std::array::from_fn(|node| barycentric_slope(node, axis))
            })],
            weight: 1.0 / 6.0,
        }
    }
}

impl TetrahedronRule<10, 4> {
    /// The 10-node tetrahedron.
    pub fn quadratic() -> Self {
        let near = (5.0 + 3.0 * 5f64.sqrt()) / 20.0;
        let far = (5.0 - 5f64.sqrt()) / 20.0;
        let reference = std::array::from_fn(|point| {
            let l: [f64; 4] = std::array::from_fn(|i| if i == point { near } else { far });
            std::array::from_fn(|axis| quadratic_slopes(l, axis))
        });
        Self {
            reference,
            weight: 1.0 / 24.0,
        }
    }
}

impl<const N: usize, const P: usize> TetrahedronRule<N, P> {
    /// The points of a tetrahedron; `None` when a Jacobian is not positive.
    #[inline(always)]
    pub fn points(&self, nodes_mm: &[[f64; 3]; N]) -> Option<[TetrahedronPoint<N>; P]> {
        let mut points = [TetrahedronPoint {
            gradients: [[0.0; N]; 3],
            weight: 0.0,
        }; P];
        for (point, reference) in points.iter_mut().zip(&self.reference) {
            let mut jacobian = Matrix3::zeros();
            for a in 0..3 {
                for i in 0..3 {
                    let mut sum = 0.0;
                    for node in 0..N {
                        sum += reference[a][node] * nodes_mm[node][i];
                    }
                    jacobian[(a, i)] = sum;
                }
            }
            let determinant = jacobian.determinant();
            if determinant.is_nan() || determinant <= 0.0 {
                return None;
            }
            let inverse = jacobian.try_inverse()?;
            for i in 0..3 {
                for node in 0..N {
                    point.gradients[i][node] = inverse[(i, 0)] * reference[0][node]
                        + inverse[(i, 1)] * reference[1][node]
                        + inverse[(i, 2)] * reference[2][node];
                }
            }
            point.weight = self.weight * determinant;
        }
        Some(points)
    }
}

/// Derivative of a barycentric coordinate by a reference coordinate.
fn barycentric_slope(corner: usize, axis: usize) -> f64 {
    match corner {
        0 => -1.0,
        corner if corner == axis + 1 => 1.0,
        _ => 0.0,
    }
}

/// Corners that each edge of a tetrahedron joins; its middle is node `4 + edge`.
pub const EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]];

/// Derivatives of the ten shape functions at barycentric coordinates.
fn quadratic_slopes(l: [f64; 4], axis: usize) -> [f64; 10] {
    let mut slopes = [0.0; 10];
    for corner in 0..4 {
        slopes[corner] = (4.0 * l[corner] - 1.0) * barycentric_slope(corner, axis);
    }
    for (edge, [a, b]) in EDGES.into_iter().enumerate() {
        slopes[4 + edge] =
            4.0 * (l[a] * barycentric_slope(b, axis) + l[b] * barycentric_slope(a, axis));
    }
    slopes
}

impl<const N: usize> TetrahedronPoint<N> {
    /// Strain from the displacements of the nodes, one array per component.
    #[inline(always)]
    pub fn strain(&self, u: &[[f64; N]; 3]) -> [f64; 6] {
        let mut slope = [[0.0; 3]; 3];
        for component in 0..3 {
            for axis in 0..3 {
                let mut sum = 0.0;
                for node in 0..N {
                    sum += u[component][node] * self.gradients[axis][node];
                }
                slope[component][axis] = sum;
            }
        }
        [
            slope[0][0],
            slope[1][1],
            slope[2][2],
            slope[1][2] + slope[2][1],
            slope[0][2] + slope[2][0],
            slope[0][1] + slope[1][0],
        ]
    }

    /// Adds the nodal forces of a stress.
    #[inline(always)]
    pub fn add_forces(&self, stress: &[f64; 6], force: &mut [[f64; N]; 3]) {
        let [xx, yy, zz, yz, xz, xy] = stress.map(|s| s * self.weight);
        let [gx, gy, gz] = &self.gradients;
        for node in 0..N {
            force[0][node] += xx * gx[node] + xy * gy[node] + xz * gz[node];
            force[1][node] += xy * gx[node] + yy * gy[node] + yz * gz[node];
            force[2][node] += xz * gx[node] + yz * gy[node] + zz * gz[node];
        }
    }

    /// Adds the stiffness of a tangent `d` (MPa): `matrix[component][node][component][node]`.
    #[inline(always)]
    pub fn add_stiffness(&self, d: &[[f64; 6]; 6], matrix: &mut [[[[f64; N]; 3]; N]; 3]) {
        // Rows of a strain vector that each displacement component feeds, with the axis of the derivative.
        const FEEDS: [[(usize, usize); 3]; 3] = [
            [(0, 0), (5, 1), (4, 2)],
            [(5, 0), (1, 1), (3, 2)],
            [(4, 0), (3, 1), (2, 2)],
        ];
        let mut db = [[[0.0; N]; 3]; 6];
        for row in 0..6 {
            for component in 0..3 {
                for (inner, axis) in FEEDS[component] {
                    let factor = self.weight * d[row][inner];
                    for node in 0..N {
                        db[row][component][node] += factor * self.gradients[axis][node];
                    }
                }
            }
        }
        for component in 0..3 {
            for node in 0..N {
                let line = &mut matrix[component][node];
                for (row, axis) in FEEDS[component] {
                    let factor = self.gradients[axis][node];
                    for other in 0..3 {
                        for n in 0..N {
                            line[other][n] += factor * db[row][other][n];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::hex8::elasticity_matrix;
    use nalgebra::{DMatrix, Rotation3, SymmetricEigen, Vector3};

    const CORNERS: [[f64; 3]; 4] = [
        [0.1, 0.0, -0.1],
        [2.0, 0.2, 0.1],
        [0.3, 1.7, 0.2],
        [0.2, 0.1, 1.9],
    ];

    /// A tetrahedron whose edges bulge by `bend` mm.
    fn tetrahedron(bend: f64) -> [[f64; 3]; 10] {
        std::array::from_fn(|node| match node.checked_sub(4) {
            None => CORNERS[node],
            Some(edge) => {
                let [a, b] = EDGES[edge];
                std::array::from_fn(|i| {
                    let out = [[1.0, -0.5, 0.3], [-0.4, 0.8, 0.6]][edge % 2][i];
                    0.5 * (CORNERS[a][i] + CORNERS[b][i]) + bend * out
                })
            }
        })
    }

    fn stiffness<const N: usize, const P: usize>(
        rule: &TetrahedronRule<N, P>,
        nodes: &[[f64; 3]; N],
    ) -> DMatrix<f64> {
        let d = elasticity_matrix(700.0, 0.4);
        let mut matrix = Box::new([[[[0.0; N]; 3]; N]; 3]);
        for point in rule.points(nodes).unwrap() {
            point.add_stiffness(&d, &mut matrix);
        }
        DMatrix::from_fn(3 * N, 3 * N, |r, c| matrix[r / N][r % N][c / N][c % N])
    }

    #[test]
    fn the_volume_is_that_of_the_corners() {
        // (b - a) x (c - a) . (d - a) / 6, also with four points.
        let [a, b, c, d] = CORNERS.map(Vector3::from);
        let volume = (b - a).cross(&(c - a)).dot(&(d - a)) / 6.0;
        let linear = TetrahedronRule::linear().points(&CORNERS).unwrap();
        assert!((linear[0].weight - volume).abs() < 1e-12);
        let quadratic = TetrahedronRule::quadratic()
            .points(&tetrahedron(0.0))
            .unwrap();
        let sum: f64 = quadratic.iter().map(|p| p.weight).sum();
        assert!((sum - volume).abs() < 1e-12);
    }

    #[test]
    fn rigid_motions_are_the_only_zero_modes() {
        let curved = stiffness(&TetrahedronRule::quadratic(), &tetrahedron(0.1));
        let straight = stiffness(&TetrahedronRule::quadratic(), &tetrahedron(0.0));
        let linear = stiffness(&TetrahedronRule::linear(), &CORNERS);
        for k in [curved, straight, linear] {
            assert!((&k - k.transpose()).norm() < 1e-12 * k.norm());
            let mut values: Vec<f64> = SymmetricEigen::new(k).eigenvalues.iter().copied().collect();
            values.sort_by(f64::total_cmp);
            let last = values[values.len() - 1];
            assert!(values[..6].iter().all(|v| v.abs() < 1e-12 * last));
            assert!(values[6] > 1e-3 * last, "{} of {last}", values[6]);
        }
    }

    #[test]
    fn stiffness_turns_with_the_body() {
        let turn = Rotation3::from_euler_angles(0.3, -0.7, 1.1);
        let nodes = tetrahedron(0.1);
        let turned = nodes.map(|p| (turn * Vector3::from(p)).into());
        let rule = TetrahedronRule::quadratic();
        let (k, rotated) = (stiffness(&rule, &nodes), stiffness(&rule, &turned));
        let big = DMatrix::from_fn(30, 30, |r, c| {
            if r % 10 == c % 10 {
                turn[(r / 10, c / 10)]
            } else {
                0.0
            }
        });
        assert!((rotated - &big * k * big.transpose()).norm() < 1e-9);
    }

    #[test]
    fn forces_of_a_strain_are_the_stiffness_times_the_displacement() {
        let rule = TetrahedronRule::quadratic();
        let nodes = tetrahedron(0.1);
        let u: [[f64; 10]; 3] =
            std::array::from_fn(|c| std::array::from_fn(|n| ((7 * n + 5 * c) % 11) as f64 / 11.0));
        let d = elasticity_matrix(700.0, 0.4);
        let mut force = [[0.0; 10]; 3];
        for point in rule.points(&nodes).unwrap() {
            let strain = point.strain(&u);
            let stress = std::array::from_fn(|i| (0..6).map(|j| d[i][j] * strain[j]).sum::<f64>());
            point.add_forces(&stress, &mut force);
        }
        let k = stiffness(&rule, &nodes);
        let product = &k * DMatrix::from_fn(30, 1, |r, _| u[r / 10][r % 10]);
        for r in 0..30 {
            assert!((product[r] - force[r / 10][r % 10]).abs() < 1e-10 * k.norm());
        }
    }

    #[test]
    fn a_linear_field_has_a_constant_strain_on_curved_edges_too() {
        let slope = [[0.3, -0.2, 0.5], [0.1, 0.4, -0.6], [0.7, 0.2, -0.1]];
        let nodes = tetrahedron(0.15);
        let u: [[f64; 10]; 3] = std::array::from_fn(|c| {
            nodes.map(|p| (0..3).map(|axis| slope[c][axis] * p[axis]).sum::<f64>())
        });
        for point in TetrahedronRule::quadratic().points(&nodes).unwrap() {
            let strain = point.strain(&u);
            let expected = [0.3, 0.4, -0.1, -0.4, 1.2, -0.1];
            for i in 0..6 {
                assert!((strain[i] - expected[i]).abs() < 1e-12, "{i}");
            }
        }
    }

    #[test]
    fn an_inverted_tetrahedron_has_no_points() {
        let mut nodes = CORNERS;
        nodes.swap(0, 1);
        assert!(TetrahedronRule::linear().points(&nodes).is_none());
        let mut folded = tetrahedron(0.0);
        folded[4] = [folded[0][0] - 3.0, 0.0, 0.0];
        assert!(TetrahedronRule::quadratic().points(&folded).is_none());
    }
}
