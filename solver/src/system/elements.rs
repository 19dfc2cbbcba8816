//! What one element does at a displacement, per constitutive model.

use nalgebra::{SMatrix, SVector};

use super::{ElementResponse, ElementState, ElementTangent, LocalVector, Shapes, System, Want};
use crate::element::hex8::{ElementMatrix, elasticity_matrix};
use crate::element::{GaussBox, HexElement};
use crate::material::HardeningCurve;
use crate::material::j2::{self, Moduli, PlasticState};
use crate::model::{Formulation, MaterialModel};
use crate::operator::FlowTangent;

impl System<'_> {
    #[inline(always)]
    pub(super) fn j2_element(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        curve: &HardeningCurve,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let shape = self.shape(element);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let moduli = Moduli::new(modulus, self.model.materials.poissons_ratio[element]);
        if old.points.iter().all(|point| point.equivalent == 0.0)
            && let Shapes::Uniform(_) = &self.shapes
            && self.stays_elastic(local, moduli.shear, curve.stress(0.0))
        {
            return self.linear_response(element, local, modulus);
        }
        if let Some(flow_shape) = &self.flow_shape {
            return box_element(
                &flow_shape.gauss_box,
                local,
                &old.points,
                modulus,
                moduli,
                curve,
                want,
                keep_state,
            );
        }
        let mut modes = old.modes;
        let mut failed = false;
        let mut updates: [j2::J2Update; 8];
        if shape.modes {
            (updates, modes, failed) = self.condensed_updates(element, local, old, moduli, curve);
        } else {
            updates = std::array::from_fn(|point| {
                let strain = strain_at(&shape.points[point].b, local);
                j2::update(&strain, &old.points[point], moduli, curve)
            });
        }
        let mut force = [0.0; 24];
        let mut phase = 0;
        let mut flows = false;
        for (point, update) in shape.points.iter().zip(&mut updates) {
            for row in 0..6 {
                let stress = point.weight * update.stress[row];
                for dof in 0..24 {
                    force[dof] += point.b[row][dof] * stress;
                }
            }
            flows |= update.flow.is_some();
            if update.state.equivalent > 0.0 {
                phase = phase.max(1 + curve.segment(update.state.equivalent));
            }
        }
        let tangent = match want {
            Want::Tangent { lowest_slope } if flows => {
                let tangents = std::array::from_fn(|point| {
                    j2::tangent(updates[point].flow.as_ref(), moduli, lowest_slope * modulus)
                });
                Some(ElementTangent::Matrix(shape.stiffness(&tangents).0))
            }
            _ => None,
        };
        let state = keep_state.then(|| {
            Box::new(ElementState {
                points: std::array::from_fn(|p| updates[p].state),
                modes,
                largest_strain: 0.0,
            })
        });
        ElementResponse {
            force: Some(force),
            tangent,
            modulus,
            phase,
            state,
            failed,
        }
    }

    /// Whether a box cannot yield from the virgin state: a bound on its von Mises stress that costs little.
    ///
    /// The displacement gradient of a trilinear box is everywhere a weighted mean of the differences along its
    /// edges, so that each strain component is bounded by the largest of them. B-bar changes the dilatation
    /// only; incompatible modes add strain that is not bounded here.
    #[inline(always)]
    fn stays_elastic(&self, local: &LocalVector, shear: f64, yield_stress: f64) -> bool {
        let Some(lattice) = self
            .model
            .mesh
            .lattice()
            .filter(|_| self.model.formulation != Formulation::Incompatible)
        else {
            return false;
        };
        let mut slope = [[0.0f64; 3]; 3];
        for component in 0..3 {
            for axis in 0..3 {
                let bit = 1 << axis;
                let mut largest = 0.0f64;
                for corner in 0..8 {
                    if corner & bit == 0 {
                        let edge =
                            local[8 * component + corner + bit] - local[8 * component + corner];
                        largest = largest.max(edge.abs());
                    }
                }
                slope[component][axis] = largest / lattice.spacing_mm[axis];
            }
        }
        // |dev e|^2 <= |e|^2 with tensor shear (a + b) / 2 on both sides of the diagonal.
        let mut norm2 = 0.0;
        for i in 0..3 {
            norm2 += slope[i][i] * slope[i][i];
            for j in 0..i {
                let shear_strain = slope[i][j] + slope[j][i];
                norm2 += 0.5 * shear_strain * shear_strain;
            }
        }
        // q = sqrt(3/2) |s| and |s| = 2 G |dev e|.
        6.0 * shear * shear * norm2 < yield_stress * yield_stress
    }

    /// Updates of an element with incompatible modes: the modes are iterated until they are stress-free.
    fn condensed_updates(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        moduli: Moduli,
        curve: &HardeningCurve,
    ) -> ([j2::J2Update; 8], [f64; 9], bool) {
        let shape = self.shape(element);
        let mut modes = SVector::<f64, 9>::from(old.modes);
        let before = self.gather(element, &self.committed);
        let elastic = j2::tangent(None, moduli, 0.0);
        let change: LocalVector = std::array::from_fn(|i| local[i] - before[i]);
        if let (_, Some(condensation)) = shape.mode_matrices(&[elastic; 8]) {
            modes -= *condensation * SVector::<f64, 24>::from(change);
        }
        let plain: [[f64; 6]; 8] =
            std::array::from_fn(|point| strain_at(&shape.points[point].b, local));
        let evaluate = |modes: &SVector<f64, 9>| -> ([j2::J2Update; 8], SVector<f64, 9>, f64) {
            let updates: [j2::J2Update; 8] = std::array::from_fn(|number| {
                let point = &shape.points[number];
                let mut strain = plain[number];
                for row in 0..6 {
                    for mode in 0..9 {
                        strain[row] += point.g[row][mode] * modes[mode];
                    }
                }
                j2::update(&strain, &old.points[number], moduli, curve)
            });
            let mut residual = SVector::<f64, 9>::zeros();
            let mut scale = 0.0f64;
            for (point, update) in shape.points.iter().zip(&updates) {
                for row in 0..6 {
                    for mode in 0..9 {
                        let part = point.weight * point.g[row][mode] * update.stress[row];
                        residual[mode] += part;
                        scale = scale.max(part.abs());
                    }
                }
            }
            (updates, residual, scale)
        };
        let (mut updates, mut residual, mut scale) = evaluate(&modes);
        for _ in 0..40 {
            if residual.norm() <= 1e-11 * scale || scale == 0.0 {
                return (updates, modes.into(), false);
            }
            let tangents: [_; 8] = std::array::from_fn(|point| {
                j2::tangent(updates[point].flow.as_ref(), moduli, f64::NEG_INFINITY)
            });
            let Some(step) = shape
                .mode_matrices(&tangents)
                .0
                .and_then(|k| k.lu().solve(&residual))
            else {
                break;
            };
            let mut length = 1.0;
            loop {
                let trial = modes - step * length;
                let found = evaluate(&trial);
                if found.1.norm() < residual.norm() || length < 0.05 {
                    modes = trial;
                    (updates, residual, scale) = found;
                    break;
                }
                length *= 0.5;
            }
        }
        // Round-off bounds what can be reached; only a residual that matters is a failure.
        let failed = residual.norm() > 1e-7 * scale;
        (updates, modes.into(), failed)
    }

    #[inline(always)]
    pub(super) fn secant_element(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        curve: &HardeningCurve,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let shape = self.shape(element);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let ratio = self.model.materials.poissons_ratio[element];
        let strain = strain_at(&shape.centre, local);
        let d = elasticity_matrix(modulus, ratio);
        let stress: [f64; 6] = std::array::from_fn(|i| (0..6).map(|j| d[i][j] * strain[j]).sum());
        let elastic_equivalent = j2::von_mises(&stress);
        let equivalent = elastic_equivalent / modulus;
        let explicit = self.model.material_model == MaterialModel::SecantExplicit;
        let loading = equivalent > old.largest_strain && !explicit;
        let largest = if loading {
            equivalent
        } else {
            old.largest_strain
        };
        let (uniaxial, slope, phase) = curve.total_strain(modulus, largest);
        let secant = if phase == 0 {
            modulus
        } else {
            uniaxial / largest
        };
        let unit = self.unit_matrix(element);
        let force = self.linear_response(element, local, secant).force;
        let tangent = match want {
            Want::Tangent { lowest_slope } if loading && phase > 0 => {
                let slope = slope.max(lowest_slope * modulus);
                let shear = Moduli::new(modulus, ratio).shear;
                let mean = (stress[0] + stress[1] + stress[2]) / 3.0;
                let deviator: [f64; 6] =
                    std::array::from_fn(|i| if i < 3 { stress[i] - mean } else { stress[i] });
                // Gradient of the equivalent strain by the displacements.
                let gradient: LocalVector = std::array::from_fn(|dof| {
                    let work: f64 = (0..6)
                        .map(|row| deviator[row] * shape.centre[row][dof])
                        .sum();
                    3.0 * shear / (elastic_equivalent * modulus) * work
                });
                // Symmetric part of the exact derivative: the pressure that the falling secant modulus
                // releases is left out.
                let release = (secant - slope) * shape.volume * modulus / (3.0 * shear);
                Some(ElementTangent::Matrix(Box::new(std::array::from_fn(|i| {
                    secant * unit[i] - release * gradient[i / 24] * gradient[i % 24]
                }))))
            }
            _ => None,
        };
        let state = keep_state.then(|| {
            Box::new(ElementState {
                largest_strain: old.largest_strain.max(equivalent),
                ..Default::default()
            })
        });
        ElementResponse {
            force,
            tangent,
            modulus: secant,
            phase,
            state,
            failed: false,
        }
    }
}

impl HexElement {
    /// Stiffness of the incompatible modes alone and the elastic condensation `inverse(K_mm) K_mu`.
    fn mode_matrices(
        &self,
        tangents: &[[[f64; 6]; 6]; 8],
    ) -> (Option<SMatrix<f64, 9, 9>>, Option<Box<SMatrix<f64, 9, 24>>>) {
        let mut k_modes = SMatrix::<f64, 9, 9>::zeros();
        let mut k_mixed = SMatrix::<f64, 9, 24>::zeros();
        for (point, d) in self.points.iter().zip(tangents) {
            let mut gd = [[0.0; 6]; 9];
            for mode in 0..9 {
                for row in 0..6 {
                    let factor = point.weight * point.g[row][mode];
                    if factor != 0.0 {
                        for inner in 0..6 {
                            gd[mode][inner] += factor * d[row][inner];
                        }
                    }
                }
                for inner in 0..6 {
                    let factor = gd[mode][inner];
                    for other in 0..9 {
                        k_modes[(mode, other)] += factor * point.g[inner][other];
                    }
                    for dof in 0..24 {
                        k_mixed[(mode, dof)] += factor * point.b[inner][dof];
                    }
                }
            }
        }
        let condensation = k_modes.lu().solve(&k_mixed).map(Box::new);
        (Some(k_modes), condensation)
    }
}

/// A box without incompatible modes, its eight points side by side.
#[inline(always)]
fn box_element(
    gauss_box: &GaussBox,
    local: &LocalVector,
    old: &[PlasticState; 8],
    modulus: f64,
    moduli: Moduli,
    curve: &HardeningCurve,
    want: Want,
    keep_state: bool,
) -> ElementResponse {
    let strain = gauss_box.strains(local);
    let mut elastic = strain;
    let mut limit = [0.0; 8];
    for (point, old) in old.iter().enumerate() {
        for row in 0..6 {
            elastic[row][point] -= old.plastic_strain[row];
        }
        limit[point] = curve.stress(old.equivalent);
    }
    let (mut stress, mut trial) = ([[0.0; 8]; 6], [0.0; 8]);
    for point in 0..8 {
        let dilatation = elastic[0][point] + elastic[1][point] + elastic[2][point];
        let mut square = 0.0;
        for row in 0..3 {
            let s = 2.0 * moduli.shear * (elastic[row][point] - dilatation / 3.0);
            let t = moduli.shear * elastic[row + 3][point];
            square += 1.5 * s * s + 3.0 * t * t;
            stress[row][point] = s + moduli.bulk * dilatation;
            stress[row + 3][point] = t;
        }
        trial[point] = square.sqrt();
    }
    let mut new = *old;
    let mut tangent = FlowTangent {
        bulk: moduli.bulk as f32,
        deviatoric: [2.0 * moduli.shear as f32; 8],
        flow: [[0.0; 5]; 8],
    };
    let mut flows = false;
    let mut phase = 0;
    for point in 0..8 {
        if trial[point] > limit[point] {
            let strain = std::array::from_fn(|row| strain[row][point]);
            let update = j2::update(&strain, &old[point], moduli, curve);
            for row in 0..6 {
                stress[row][point] = update.stress[row];
            }
            new[point] = update.state;
            if let (Some(flow), Want::Tangent { lowest_slope }) = (&update.flow, want) {
                flows = true;
                let (deviatoric, m) = j2::tangent_parts(flow, moduli, lowest_slope * modulus);
                tangent.deviatoric[point] = deviatoric as f32;
                tangent.flow[point] = m.map(|m| m as f32);
            }
        }
        if new[point].equivalent > 0.0 {
            phase = phase.max(1 + curve.segment(new[point].equivalent));
        }
    }
    ElementResponse {
        force: Some(gauss_box.forces(&stress)),
        tangent: flows.then(|| ElementTangent::Flow(Box::new(tangent))),
        modulus,
        phase,
        state: keep_state.then(|| {
            Box::new(ElementState {
                points: new,
                ..Default::default()
            })
        }),
        failed: false,
    }
}

#[inline(always)]
pub(super) fn strain_at(b: &[[f64; 24]; 6], local: &LocalVector) -> [f64; 6] {
    std::array::from_fn(|row| {
        let mut lanes = [0.0; 4];
        for chunk in 0..6 {
            for lane in 0..4 {
                lanes[lane] += b[row][4 * chunk + lane] * local[4 * chunk + lane];
            }
        }
        lanes[0] + lanes[1] + lanes[2] + lanes[3]
    })
}

/// `factor * matrix * vector` for a symmetric matrix.
#[inline(always)]
pub(super) fn multiply(matrix: &ElementMatrix, vector: &LocalVector, factor: f64) -> LocalVector {
    let mut sum = [0.0; 24];
    for column in 0..24 {
        let value = factor * vector[column];
        let line = &matrix[24 * column..24 * (column + 1)];
        for row in 0..24 {
            sum[row] += line[row] * value;
        }
    }
    sum
}
