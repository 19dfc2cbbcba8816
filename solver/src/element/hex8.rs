//! The 8-node hexahedron with 2x2x2 Gauss points: full integration, mean dilatation (B-bar, Hughes
//! 1980) and incompatible modes (Wilson 1973 with the correction of Taylor, Beresford and Wilson 1976).
//!
//! Inside the solver the corners are numbered by their coordinate bits, `x + 2 y + 4 z`, and the 24
//! displacements of an element are ordered by component first: `8 * component + corner`. Both make the
//! Walsh-Hadamard transform of the operator a plain butterfly.

use nalgebra::{Matrix3, SMatrix};

use crate::error::{Error, Result};
use crate::model::Formulation;

/// Displacements of one element.
pub const LOCAL_DOFS: usize = 24;

/// Corner (by coordinate bits) of each node in VTK order.
pub const CORNER_OF_VTK_NODE: [usize; 8] = [0, 1, 3, 2, 4, 5, 7, 6];

/// One row per stress component, one column per displacement of the element.
pub type StrainMatrix = [[f64; LOCAL_DOFS]; 6];
/// Strain of the nine incompatible modes.
pub type ModeMatrix = [[f64; 9]; 6];
/// A 24 x 24 matrix, row by row.
pub type ElementMatrix = [f64; LOCAL_DOFS * LOCAL_DOFS];

/// One integration point.
#[derive(Clone, Debug)]
pub struct HexPoint {
    /// Strain from displacements.
    pub b: StrainMatrix,
    /// Strain from incompatible modes (zero for the other formulations).
    pub g: ModeMatrix,
    /// Gauss weight times Jacobian determinant, mm³.
    pub weight: f64,
}

/// Everything about one element that its shape and formulation decide.
#[derive(Clone, Debug)]
pub struct HexElement {
    /// The 2x2x2 Gauss points.
    pub points: Box<[HexPoint; 8]>,
    /// Strain at the element centre from displacements (plain, without B-bar or modes).
    pub centre: Box<StrainMatrix>,
    /// Volume, mm³.
    pub volume: f64,
    /// Whether the nine incompatible modes are active.
    pub modes: bool,
}

/// Corner positions in bit order from node positions in VTK order.
pub fn corners_from_vtk<T: Copy + Default>(nodes: [T; 8]) -> [T; 8] {
    let mut corners = [T::default(); 8];
    for (node, &corner) in CORNER_OF_VTK_NODE.iter().enumerate() {
        corners[corner] = nodes[node];
    }
    corners
}

/// Sign of the reference coordinate of a corner along an axis.
fn sign(corner: usize, axis: usize) -> f64 {
    if corner >> axis & 1 == 1 { 1.0 } else { -1.0 }
}

/// Derivatives of the eight shape functions by the reference coordinates.
fn reference_gradients(xi: [f64; 3]) -> [[f64; 3]; 8] {
    std::array::from_fn(|corner| {
        std::array::from_fn(|axis| {
            let mut value = 0.125 * sign(corner, axis);
            for other in (0..3).filter(|&other| other != axis) {
                value *= 1.0 + xi[other] * sign(corner, other);
            }
            value
        })
    })
}

/// Jacobian matrix `J[a][i] = dx_i / dxi_a`.
fn jacobian(corners: &[[f64; 3]; 8], gradients: &[[f64; 3]; 8]) -> Matrix3<f64> {
    Matrix3::from_fn(|a, i| (0..8).map(|c| gradients[c][a] * corners[c][i]).sum())
}

/// Shape-function gradients in space, and the Jacobian determinant.
fn spatial_gradients(corners: &[[f64; 3]; 8], xi: [f64; 3]) -> Option<([[f64; 3]; 8], f64)> {
    let reference = reference_gradients(xi);
    let jacobian = jacobian(corners, &reference);
    let determinant = jacobian.determinant();
    let inverse = jacobian.try_inverse()?;
    let gradients = std::array::from_fn(|c| {
        std::array::from_fn(|i| (0..3).map(|a| inverse[(i, a)] * reference[c][a]).sum())
    });
    (determinant > 0.0).then_some((gradients, determinant))
}

/// Puts the gradient of one scalar function into the strain columns of its three components.
fn put<const M: usize>(matrix: &mut [[f64; M]; 6], columns: [usize; 3], gradient: [f64; 3]) {
    let [x, y, z] = gradient;
    for (component, column) in columns.into_iter().enumerate() {
        matrix[component][column] = gradient[component];
    }
    let [cx, cy, cz] = columns;
    matrix[3][cy] = z; // yz
    matrix[3][cz] = y;
    matrix[4][cx] = z; // xz
    matrix[4][cz] = x;
    matrix[5][cx] = y; // xy
    matrix[5][cy] = x;
}

fn strain_matrix(gradients: &[[f64; 3]; 8]) -> StrainMatrix {
    let mut b = [[0.0; LOCAL_DOFS]; 6];
    for corner in 0..8 {
        put(&mut b, [corner, 8 + corner, 16 + corner], gradients[corner]);
    }
    b
}

impl HexElement {
    /// Tabulates an element from its corner positions (mm, VTK order).
    ///
    /// # Errors
    /// [`Error::Singular`] when the Jacobian is not positive at the centre or a Gauss point.
    pub fn new(nodes_mm: [[f64; 3]; 8], formulation: Formulation) -> Result<Self> {
        let corners = corners_from_vtk(nodes_mm);
        let inverted = || {
            Error::Singular("a hexahedron is inverted or degenerate (Jacobian not positive)".into())
        };
        let (centre_gradients, centre_determinant) =
            spatial_gradients(&corners, [0.0; 3]).ok_or_else(inverted)?;
        let centre_inverse = jacobian(&corners, &reference_gradients([0.0; 3]))
            .try_inverse()
            .ok_or_else(inverted)?;
        let at = 1.0 / 3f64.sqrt();
        let mut points = Vec::with_capacity(8);
        let mut volume = 0.0;
        for point in 0..8 {
            let xi: [f64; 3] = std::array::from_fn(|axis| at * sign(point, axis));
            let (gradients, determinant) = spatial_gradients(&corners, xi).ok_or_else(inverted)?;
            let mut g = [[0.0; 9]; 6];
            if formulation == Formulation::Incompatible {
                // Modes 1 - xi_a^2. Their gradient uses the Jacobian of the centre, scaled by
                // det J0 / det J: then a constant stress does no work on them (patch test).
                for mode in 0..3 {
                    let slope = -2.0 * xi[mode] * centre_determinant / determinant;
                    let gradient = std::array::from_fn(|i| centre_inverse[(i, mode)] * slope);
                    put(&mut g, [mode, 3 + mode, 6 + mode], gradient);
                }
            }
            volume += determinant;
            points.push(HexPoint {
                b: strain_matrix(&gradients),
                g,
                weight: determinant,
            });
        }
        if formulation == Formulation::BBar {
            let mut mean = [0.0; LOCAL_DOFS];
            for point in &points {
                for dof in 0..LOCAL_DOFS {
                    mean[dof] += point.weight / volume
                        * (point.b[0][dof] + point.b[1][dof] + point.b[2][dof]);
                }
            }
            for point in &mut points {
                for dof in 0..LOCAL_DOFS {
                    let shift =
                        (mean[dof] - point.b[0][dof] - point.b[1][dof] - point.b[2][dof]) / 3.0;
                    for row in 0..3 {
                        point.b[row][dof] += shift;
                    }
                }
            }
        }
        let points: Box<[HexPoint; 8]> = points
            .into_boxed_slice()
            .try_into()
            .map_err(|_| inverted())?;
        Ok(Self {
            points,
            centre: Box::new(strain_matrix(&centre_gradients)),
            volume,
            modes: formulation == Formulation::Incompatible,
        })
    }

    /// Stiffness for one Young's modulus (MPa) and Poisson's ratio, the incompatible modes condensed.
    pub fn elastic_stiffness(
        &self,
        youngs_modulus: f64,
        poissons_ratio: f64,
    ) -> Box<ElementMatrix> {
        let d = elasticity_matrix(youngs_modulus, poissons_ratio);
        self.stiffness(&[d; 8]).0
    }

    /// Stiffness for one 6x6 tangent per Gauss point, the incompatible modes condensed. Also returns the
    /// condensation `A` (9 x 24) with `modes = -A * displacements` for a linear material.
    pub fn stiffness(
        &self,
        tangents: &[[[f64; 6]; 6]; 8],
    ) -> (Box<ElementMatrix>, ModeCondensation) {
        let mut k = Box::new([0.0; LOCAL_DOFS * LOCAL_DOFS]);
        let mut k_modes = SMatrix::<f64, 9, 9>::zeros();
        let mut k_mixed = SMatrix::<f64, 9, 24>::zeros();
        for (point, d) in self.points.iter().zip(tangents) {
            let mut db = [[0.0; LOCAL_DOFS]; 6];
            for row in 0..6 {
                for inner in 0..6 {
                    let factor = point.weight * d[row][inner];
                    for dof in 0..LOCAL_DOFS {
                        db[row][dof] += factor * point.b[inner][dof];
                    }
                }
            }
            // Only the upper triangle, in whole lanes; it is mirrored below.
            for i in 0..LOCAL_DOFS {
                let from = i & !3;
                let line = &mut k[LOCAL_DOFS * i + from..LOCAL_DOFS * (i + 1)];
                for row in 0..6 {
                    let factor = point.b[row][i];
                    if factor != 0.0 {
                        for (entry, value) in line.iter_mut().zip(&db[row][from..]) {
                            *entry += factor * value;
                        }
                    }
                }
            }
            if self.modes {
                for mode in 0..9 {
                    for row in 0..6 {
                        let factor = point.g[row][mode];
                        if factor == 0.0 {
                            continue;
                        }
                        for dof in 0..LOCAL_DOFS {
                            k_mixed[(mode, dof)] += factor * db[row][dof];
                        }
                        for other in 0..9 {
                            let dg: f64 = (0..6)
                                .map(|inner| d[row][inner] * point.g[inner][other])
                                .sum();
                            k_modes[(mode, other)] += point.weight * factor * dg;
                        }
                    }
                }
            }
        }
        for i in 0..LOCAL_DOFS {
            for j in 0..i {
                k[LOCAL_DOFS * i + j] = k[LOCAL_DOFS * j + i];
            }
        }
        if !self.modes {
            return (k, None);
        }
        let Some(inverse) = k_modes.try_inverse() else {
            return (k, None);
        };
        let condensation = inverse * k_mixed;
        let correction = k_mixed.transpose() * condensation;
        for i in 0..LOCAL_DOFS {
            for j in 0..LOCAL_DOFS {
                k[LOCAL_DOFS * i + j] -= correction[(i, j)];
            }
        }
        (k, Some(Box::new(condensation)))
    }
}

/// `A` in `modes = -A * displacements`; `None` when there are no modes.
pub type ModeCondensation = Option<Box<SMatrix<f64, 9, 24>>>;

/// Isotropic elasticity (Hooke) in the order xx, yy, zz, yz, xz, xy with engineering shear, MPa.
pub fn elasticity_matrix(youngs_modulus: f64, poissons_ratio: f64) -> [[f64; 6]; 6] {
    let shear = youngs_modulus / (2.0 * (1.0 + poissons_ratio));
    let lame =
        youngs_modulus * poissons_ratio / ((1.0 + poissons_ratio) * (1.0 - 2.0 * poissons_ratio));
    let mut d = [[0.0; 6]; 6];
    for i in 0..3 {
        for j in 0..3 {
            d[i][j] = lame;
        }
        d[i][i] += 2.0 * shear;
        d[i + 3][i + 3] = shear;
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{DMatrix, SymmetricEigen};

    /// A distorted hexahedron (VTK order).
    const DISTORTED: [[f64; 3]; 8] = [
        [0.0, 0.1, -0.1],
        [1.1, 0.0, 0.05],
        [1.0, 1.2, 0.0],
        [-0.1, 0.9, 0.1],
        [0.05, 0.0, 1.0],
        [0.9, 0.1, 1.1],
        [1.15, 1.0, 0.9],
        [0.0, 1.05, 1.2],
    ];
    const ALL: [Formulation; 3] = [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ];

    #[test]
    fn rigid_motions_are_the_only_zero_modes() {
        for formulation in ALL {
            let element = HexElement::new(DISTORTED, formulation).unwrap();
            let k = element.elastic_stiffness(1000.0, 0.3);
            let mut values: Vec<f64> = SymmetricEigen::new(DMatrix::from_row_slice(24, 24, &*k))
                .eigenvalues
                .iter()
                .copied()
                .collect();
            values.sort_by(f64::total_cmp);
            for value in &values[..6] {
                assert!(value.abs() < 1e-9 * values[23], "{formulation:?}: {value}");
            }
            assert!(
                values[6] > 1e-3 * values[23],
                "{formulation:?}: hourglass mode {}",
                values[6]
            );
        }
    }

    #[test]
    fn stiffness_is_symmetric_and_turns_with_the_body() {
        let turn = nalgebra::Rotation3::from_euler_angles(0.3, -0.7, 1.1);
        let turned: [[f64; 3]; 8] = DISTORTED.map(|p| (turn * nalgebra::Vector3::from(p)).into());
        for formulation in ALL {
            let k = HexElement::new(DISTORTED, formulation)
                .unwrap()
                .elastic_stiffness(700.0, 0.4);
            let rotated = HexElement::new(turned, formulation)
                .unwrap()
                .elastic_stiffness(700.0, 0.4);
            for i in 0..24 {
                for j in 0..24 {
                    assert!((k[24 * i + j] - k[24 * j + i]).abs() < 1e-9 * k[0].abs());
                    // K' = T K T^T with T turning the three components of each corner.
                    let (ci, ni) = (i / 8, i % 8);
                    let (cj, nj) = (j / 8, j % 8);
                    let mut expected = 0.0;
                    for a in 0..3 {
                        for b in 0..3 {
                            expected +=
                                turn[(ci, a)] * k[24 * (8 * a + ni) + 8 * b + nj] * turn[(cj, b)];
                        }
                    }
                    assert!((rotated[24 * i + j] - expected).abs() < 1e-8 * k[0].abs());
                }
            }
        }
    }

    #[test]
    fn an_inverted_element_is_refused() {
        let mut nodes = DISTORTED;
        nodes.swap(0, 6);
        assert!(matches!(
            HexElement::new(nodes, Formulation::Full),
            Err(Error::Singular(_))
        ));
    }
}
