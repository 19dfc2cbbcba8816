//! What one hexahedron does at a displacement, per constitutive model.

use nalgebra::{SMatrix, SVector};

use super::{ElementState, Want};
use crate::element::hex8::{ElementMatrix, elasticity_matrix};
use crate::element::{GaussBox, HexElement};
use crate::material::HardeningCurve;
use crate::material::j2::{self, Moduli, PlasticState};
use crate::model::MaterialModel;
use crate::operator::FlowTangent;

/// Displacements of one hexahedron, component first.
pub(super) type LocalVector = [f64; 24];

/// What an element does at a displacement.
pub(super) struct ElementResponse {
    /// Its forces; `None` where they are those of a linear element with `modulus`.
    pub(super) force: Option<LocalVector>,
    /// Tangent, when it differs from `modulus` times the unit matrix.
    pub(super) tangent: Option<ElementTangent>,
    /// Young's or secant modulus.
    pub(super) modulus: f64,
    /// 0 elastic, then the segment of the curve.
    pub(super) phase: usize,
    pub(super) state: Option<Box<ElementState>>,
    pub(super) failed: bool,
}

/// The tangent of an element that is no elastic one.
pub(super) enum ElementTangent {
    Flow(Box<FlowTangent>),
    Matrix(Box<ElementMatrix>),
}

impl ElementResponse {
    /// An element whose forces are those of a linear one.
    #[inline(always)]
    pub(super) fn linear(modulus: f64) -> Self {
        Self {
            force: None,
            tangent: None,
            modulus,
            phase: 0,
            state: None,
            failed: false,
        }
    }
}

/// A hexahedron that can yield, and its displacements.
pub(super) struct HexContext<'a> {
    pub(super) shape: &'a HexElement,
    /// Young's modulus, MPa.
    pub(super) modulus: f64,
    /// Poisson's ratio.
    pub(super) ratio: f64,
    pub(super) curve: &'a HardeningCurve,
    pub(super) local: &'a LocalVector,
}

impl HexContext<'_> {
    /// Von Mises plasticity; `before` gives the committed displacements, which only incompatible modes need.
    #[inline(always)]
    pub(super) fn j2(
        &self,
        before: impl Fn() -> LocalVector,
        old: &ElementState,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let Self {
            shape,
            modulus,
            ratio,
            curve,
            local,
        } = *self;
        let moduli = Moduli::new(modulus, ratio);
        let mut modes = old.modes;
        let mut failed = false;
        let mut updates: [j2::J2Update; 8];
        if shape.modes {
            (updates, modes, failed) = self.condensed_updates(&before(), old, moduli);
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

    /// Updates of an element with incompatible modes: the modes are iterated until they are stress-free.
    fn condensed_updates(
        &self,
        before: &LocalVector,
        old: &ElementState,
        moduli: Moduli,
    ) -> ([j2::J2Update; 8], [f64; 9], bool) {
        let Self {
            shape,
            curve,
            local,
            ..
        } = *self;
        let mut modes = SVector::<f64, 9>::from(old.modes);
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

    /// The secant model of Sas 2020; `unit` is the stiffness for a Young's modulus of 1 MPa.
    #[inline(always)]
    pub(super) fn secant(
        &self,
        unit: &ElementMatrix,
        model: MaterialModel,
        old: &ElementState,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let Self {
            shape,
            modulus,
            ratio,
            curve,
            local,
        } = *self;
        let strain = strain_at(&shape.centre, local);
        let d = elasticity_matrix(modulus, ratio);
        let stress: [f64; 6] = std::array::from_fn(|i| (0..6).map(|j| d[i][j] * strain[j]).sum());
        let elastic_equivalent = j2::von_mises(&stress);
        let equivalent = elastic_equivalent / modulus;
        let explicit = model == MaterialModel::SecantExplicit;
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
            force: None,
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

/// A box without incompatible modes, its eight points side by side; `old` is `None` where it has never flowed.
#[inline(always)]
pub(super) fn box_element(
    gauss_box: &GaussBox,
    local: &LocalVector,
    old: Option<&[PlasticState; 8]>,
    modulus: f64,
    moduli: Moduli,
    curve: &HardeningCurve,
    want: Want,
    keep_state: bool,
) -> ElementResponse {
    let strain = gauss_box.strains(local);
    let old = match old {
        Some(old) => old,
        // Most elements of a bone: as a linear element it needs neither state nor forces of its own.
        None if is_below(&strain, moduli.shear, curve.stress(0.0)) => {
            return ElementResponse::linear(modulus);
        }
        None => &[PlasticState::default(); 8],
    };
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

/// Whether elastic strains (engineering shear) at eight points stay below a yield stress.
#[inline(always)]
fn is_below(strain: &[[f64; 8]; 6], shear: f64, yield_stress: f64) -> bool {
    let mut squares = [0.0; 8];
    for point in 0..8 {
        let mean = (strain[0][point] + strain[1][point] + strain[2][point]) / 3.0;
        for row in 0..3 {
            let (e, g) = (strain[row][point] - mean, strain[row + 3][point]);
            squares[point] += 2.0 * e * e + g * g;
        }
    }
    // q = sqrt(3/2) |s| and s = 2 G dev e, whose shear is half the engineering one.
    let limit = yield_stress * yield_stress / (3.0 * shear * shear);
    squares.iter().all(|&square| square <= limit)
}

/// Displacements of a hexahedron from those of all nodes.
#[inline(always)]
pub(super) fn gather(corners: &[u32; 8], u: &[f64]) -> LocalVector {
    let nodes = u.len() / 3;
    let mut local = [0.0; 24];
    for component in 0..3 {
        for corner in 0..8 {
            local[8 * component + corner] = u[component * nodes + corners[corner] as usize];
        }
    }
    local
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
