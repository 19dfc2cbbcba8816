//! Tetrahedra with 4 nodes (one integration point) and 10 nodes (four points, degree 2), nodes in VTK order.
//!
//! Zienkiewicz, Taylor, Zhu 2013, The Finite Element Method, tables of the tetrahedral rules. Edges of the 10-node
//! tetrahedron may be curved: the Jacobian is taken at every integration point.

use nalgebra::Matrix3;

use crate::material::j2::{self, Flow, Moduli};

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
}

/// What a point's consistent tangent is made of: `D = lame 1 x 1 + 2 shear I - k n x n`.
#[derive(Clone, Copy, Debug)]
pub struct PointTangent {
    /// First Lamé parameter, MPa.
    lame: f64,
    /// Shear modulus, MPa.
    shear: f64,
    /// What plastic flow takes away: `k`, MPa, and the unit deviator `n`, xx, yy, zz, yz, xz, xy.
    flow: Option<(f64, [f64; 6])>,
}

impl PointTangent {
    /// The tangent of an update; `lowest_slope` as for [`j2::tangent`].
    #[inline(always)]
    pub fn of(flow: Option<&Flow>, moduli: Moduli, lowest_slope: f64) -> Self {
        let Some(flow) = flow else {
            return Self {
                lame: moduli.bulk - 2.0 / 3.0 * moduli.shear,
                shear: moduli.shear,
                flow: None,
            };
        };
        let (deviatoric, k) = j2::tangent_moduli(flow, moduli, lowest_slope);
        Self {
            lame: moduli.bulk - deviatoric / 3.0,
            shear: 0.5 * deviatoric,
            flow: Some((k, flow.direction)),
        }
    }
}

/// Pairs of axes, each once.
const PAIRS: [(usize, usize); 6] = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)];

/// Sums over the points of `weight g_i(a) g_j(b)`, for every pair of axes.
#[inline(always)]
fn gradient_products<const N: usize, const P: usize>(
    points: &[TetrahedronPoint<N>; P],
    weights: [f64; P],
) -> [[[f64; N]; N]; 6] {
    let mut sums = [[[0.0; N]; N]; 6];
    for (pair, (i, j)) in PAIRS.into_iter().enumerate() {
        for a in 0..N {
            // A line stays in registers while it is summed.
            let mut line = [0.0; N];
            for (point, weight) in points.iter().zip(weights) {
                let factor = weight * point.gradients[i][a];
                for b in 0..N {
                    line[b] += factor * point.gradients[j][b];
                }
            }
            sums[pair][a] = line;
        }
    }
    sums
}

/// Stiffness of a tetrahedron by the tangents of its points: `matrix[component][node][component][node]`, N/mm.
///
/// An isotropic tangent needs no more of the shape functions than the products of their derivatives: the block of two nodes is
/// `lame g_i(a) g_j(b) + shear g_j(a) g_i(b) + shear g(a) . g(b) delta_ij`. Flow takes one product of a vector with itself away.
#[inline(always)]
pub fn stiffness<const N: usize, const P: usize>(
    points: &[TetrahedronPoint<N>; P],
    tangents: &[PointTangent; P],
) -> [[[[f64; N]; 3]; N]; 3] {
    let alike = tangents
        .iter()
        .all(|t| (t.lame, t.shear) == (tangents[0].lame, tangents[0].shear));
    let weight = |number: usize| points[number].weight;
    let (mut lame, mut shear);
    if alike {
        lame = gradient_products(points, std::array::from_fn(weight));
        shear = lame;
        for (sum, modulus) in [
            (&mut lame, tangents[0].lame),
            (&mut shear, tangents[0].shear),
        ] {
            let numbers = sum.as_flattened_mut().as_flattened_mut();
            numbers.iter_mut().for_each(|number| *number *= modulus);
        }
    } else {
        lame = gradient_products(
            points,
            std::array::from_fn(|n| weight(n) * tangents[n].lame),
        );
        shear = gradient_products(
            points,
            std::array::from_fn(|n| weight(n) * tangents[n].shear),
        );
    }
    let mut matrix = [[[[0.0; N]; 3]; N]; 3];
    for (pair, (i, j)) in PAIRS.into_iter().enumerate() {
        for a in 0..N {
            for b in 0..N {
                if i == j {
                    let along = shear[0][a][b] + shear[1][a][b] + shear[2][a][b];
                    matrix[i][a][i][b] = lame[pair][a][b] + shear[pair][a][b] + along;
                } else {
                    let value = lame[pair][a][b] + shear[pair][b][a];
                    matrix[i][a][j][b] = value;
                    matrix[j][b][i][a] = value;
                }
            }
        }
    }
    for (point, tangent) in points.iter().zip(tangents) {
        let Some((k, direction)) = tangent.flow else {
            continue;
        };
        let mut along = [[0.0; N]; 3];
        point.add_forces(&direction, &mut along);
        // The forces of a stress hold the weight once; so does what is taken away.
        for i in 0..3 {
            for a in 0..N {
                let factor = k / point.weight * along[i][a];
                for j in 0..3 {
                    for b in 0..N {
                        matrix[i][a][j][b] -= factor * along[j][b];
                    }
                }
            }
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::hex8::elasticity_matrix;
    use crate::material::HardeningCurve;
    use crate::material::j2::PlasticState;
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

    /// By the parts of the tangents.
    fn by_parts<const N: usize, const P: usize>(
        points: &[TetrahedronPoint<N>; P],
        tangents: &[PointTangent; P],
    ) -> DMatrix<f64> {
        let matrix = stiffness(points, tangents);
        DMatrix::from_fn(3 * N, 3 * N, |r, c| matrix[r / N][r % N][c / N][c % N])
    }

    fn elastic<const N: usize, const P: usize>(
        rule: &TetrahedronRule<N, P>,
        nodes: &[[f64; 3]; N],
    ) -> DMatrix<f64> {
        let tangent = PointTangent::of(None, Moduli::new(700.0, 0.4), 0.0);
        by_parts(&rule.points(nodes).unwrap(), &[tangent; P])
    }

    /// The sum of weight B^T D B.
    fn by_definition<const N: usize, const P: usize>(
        points: &[TetrahedronPoint<N>; P],
        tangents: &[[[f64; 6]; 6]; P],
    ) -> DMatrix<f64> {
        let mut sum = DMatrix::zeros(3 * N, 3 * N);
        for (point, d) in points.iter().zip(tangents) {
            let d = DMatrix::from_fn(6, 6, |i, j| d[i][j]);
            let columns: Vec<[f64; 6]> = (0..3 * N)
                .map(|dof| {
                    let mut u = [[0.0; N]; 3];
                    u[dof / N][dof % N] = 1.0;
                    point.strain(&u)
                })
                .collect();
            let b = DMatrix::from_fn(6, 3 * N, |row, dof| columns[dof][row]);
            sum += point.weight * b.transpose() * d * b;
        }
        sum
    }

    #[test]
    fn the_parts_of_a_tangent_make_the_matrix_of_its_definition() {
        let points = TetrahedronRule::quadratic()
            .points(&tetrahedron(0.1))
            .unwrap();
        let moduli = Moduli::new(700.0, 0.4);
        let d = elasticity_matrix(700.0, 0.4);
        let tangent = PointTangent::of(None, moduli, 0.0);
        let difference = by_parts(&points, &[tangent; 4]) - by_definition(&points, &[d; 4]);
        assert!(difference.norm() < 1e-12 * by_definition(&points, &[d; 4]).norm());
        // Points that flow, by different amounts and in softening, beside one that does not.
        let curve =
            HardeningCurve::new(vec![[0.0, 7.0], [0.01, 7.0], [0.02, 5.0], [0.03, 40.0]]).unwrap();
        // Elastic, on the plateau, in softening, and so far along the steep branch that `k` is negative.
        let sizes = [0.001, 0.02, 0.024, 0.06];
        let updates = sizes.map(|size: f64| {
            let strain = [0.9, -0.3, 0.1, 0.5, -0.4, 0.7].map(|part| part * size);
            j2::update(&strain, &PlasticState::default(), moduli, &curve)
        });
        assert!(updates[0].flow.is_none() && updates[2].flow.is_some());
        let last = PointTangent::of(updates[3].flow.as_ref(), moduli, 0.0).flow;
        assert!(last.is_some_and(|(k, _)| k < 0.0));
        for lowest in [f64::NEG_INFINITY, 7.0] {
            let parts = updates
                .each_ref()
                .map(|update| PointTangent::of(update.flow.as_ref(), moduli, lowest));
            let whole = updates
                .each_ref()
                .map(|update| j2::tangent(update.flow.as_ref(), moduli, lowest));
            let whole = by_definition(&points, &whole);
            let difference = (by_parts(&points, &parts) - &whole).norm();
            assert!(difference < 1e-12 * whole.norm(), "{difference}");
        }
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
        let curved = elastic(&TetrahedronRule::quadratic(), &tetrahedron(0.1));
        let straight = elastic(&TetrahedronRule::quadratic(), &tetrahedron(0.0));
        let linear = elastic(&TetrahedronRule::linear(), &CORNERS);
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
        let (k, rotated) = (elastic(&rule, &nodes), elastic(&rule, &turned));
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
        let k = elastic(&rule, &nodes);
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
