//! Von Mises plasticity with isotropic, piecewise-linear hardening or softening.
//!
//! Radial return (Krieg and Key 1976) with the consistent tangent of Simo and Taylor (1985). The yield
//! stress is piecewise linear in the equivalent plastic strain, so that the return is closed in each
//! segment. The return has one solution as long as `3 G + H > 0`.

use super::HardeningCurve;

/// Plastic state of one integration point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlasticState {
    /// Plastic strain, engineering shear.
    pub plastic_strain: [f64; 6],
    /// Equivalent plastic strain.
    pub equivalent: f64,
}

/// What a strain does to an integration point.
#[derive(Clone, Copy, Debug)]
pub struct J2Update {
    /// Stress, MPa.
    pub stress: [f64; 6],
    /// New state.
    pub state: PlasticState,
    /// The plastic flow of this update; `None` when it was elastic.
    pub flow: Option<Flow>,
}

/// Plastic flow in one update: what the consistent tangent needs.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Unit deviator of the trial stress.
    pub(crate) direction: [f64; 6],
    /// Increment of equivalent plastic strain over the trial von Mises stress, 1/MPa.
    increment_over_trial: f64,
    /// Slope of the curve at the end of the update, MPa.
    pub slope: f64,
    /// Segment of the curve at the end of the update, counted from 0.
    pub segment: usize,
}

impl Flow {
    /// Derivative of the equivalent plastic strain by the strain (engineering shear).
    pub(crate) fn strain_gradient(&self, moduli: Moduli) -> [f64; 6] {
        // d q_trial = sqrt(3/2) 2 G n : d e, and (3 G + H) dp = d q_trial.
        let factor = 6f64.sqrt() * moduli.shear / (3.0 * moduli.shear + self.slope);
        self.direction.map(|n| factor * n)
    }
}

/// Bulk and shear modulus, MPa.
#[derive(Clone, Copy, Debug)]
pub struct Moduli {
    /// Bulk modulus, MPa.
    pub bulk: f64,
    /// Shear modulus, MPa.
    pub shear: f64,
}

impl Moduli {
    /// From Young's modulus (MPa) and Poisson's ratio.
    pub fn new(youngs_modulus: f64, poissons_ratio: f64) -> Self {
        Self {
            bulk: youngs_modulus / (3.0 * (1.0 - 2.0 * poissons_ratio)),
            shear: youngs_modulus / (2.0 * (1.0 + poissons_ratio)),
        }
    }
}

/// Von Mises stress of a deviator.
fn von_mises_of_deviator(s: &[f64; 6]) -> f64 {
    let normal = s[0] * s[0] + s[1] * s[1] + s[2] * s[2];
    let shear = s[3] * s[3] + s[4] * s[4] + s[5] * s[5];
    (1.5 * normal + 3.0 * shear).sqrt()
}

/// Von Mises equivalent of a stress, MPa.
pub fn von_mises(stress: &[f64; 6]) -> f64 {
    let mean = (stress[0] + stress[1] + stress[2]) / 3.0;
    let [x, y, z, yz, xz, xy] = *stress;
    von_mises_of_deviator(&[x - mean, y - mean, z - mean, yz, xz, xy])
}

/// Stress of a point that never yields.
#[inline(always)]
pub fn elastic(strain: &[f64; 6], moduli: Moduli) -> J2Update {
    let dilatation = strain[0] + strain[1] + strain[2];
    let mut stress = [0.0; 6];
    for i in 0..3 {
        stress[i] = 2.0 * moduli.shear * (strain[i] - dilatation / 3.0) + moduli.bulk * dilatation;
        stress[i + 3] = moduli.shear * strain[i + 3];
    }
    J2Update {
        stress,
        state: PlasticState::default(),
        flow: None,
    }
}

/// Stress and new state for a total strain.
#[inline(always)]
pub fn update(
    strain: &[f64; 6],
    old: &PlasticState,
    moduli: Moduli,
    curve: &HardeningCurve,
) -> J2Update {
    let mut elastic = [0.0; 6];
    for i in 0..6 {
        elastic[i] = strain[i] - old.plastic_strain[i];
    }
    let dilatation = elastic[0] + elastic[1] + elastic[2];
    let pressure = moduli.bulk * dilatation;
    let mut s = [0.0; 6];
    for i in 0..3 {
        s[i] = 2.0 * moduli.shear * (elastic[i] - dilatation / 3.0);
        s[i + 3] = moduli.shear * elastic[i + 3];
    }
    let trial = von_mises_of_deviator(&s);
    let stress_of = |s: &[f64; 6]| {
        [
            s[0] + pressure,
            s[1] + pressure,
            s[2] + pressure,
            s[3],
            s[4],
            s[5],
        ]
    };
    if trial <= curve.stress(old.equivalent) {
        return J2Update {
            stress: stress_of(&s),
            state: *old,
            flow: None,
        };
    }
    let three_g = 3.0 * moduli.shear;
    let (increment, slope, segment) = curve.return_map(trial, three_g, old.equivalent);
    let keep = 1.0 - three_g * increment / trial;
    let norm = trial / 1.5f64.sqrt();
    let mut state = *old;
    let mut direction = [0.0; 6];
    for i in 0..6 {
        direction[i] = s[i] / norm;
        let tensor = 1.5 * s[i] / trial * increment;
        state.plastic_strain[i] += if i < 3 { tensor } else { 2.0 * tensor };
        s[i] *= keep;
    }
    state.equivalent += increment;
    let flow = Flow {
        direction,
        increment_over_trial: increment / trial,
        slope,
        segment,
    };
    J2Update {
        stress: stress_of(&s),
        state,
        flow: Some(flow),
    }
}

/// Consistent tangent (MPa) of an update; `lowest_slope` bounds the slope of the curve from below
/// (`NEG_INFINITY`: the true tangent; 0: a tangent that is positive semi-definite also in softening).
pub fn tangent(flow: Option<&Flow>, moduli: Moduli, lowest_slope: f64) -> [[f64; 6]; 6] {
    let g = moduli.shear;
    let (deviatoric, normal) = match flow {
        None => (2.0 * g, 0.0),
        Some(flow) => {
            let slope = flow.slope.max(lowest_slope);
            (
                2.0 * g * (1.0 - 3.0 * g * flow.increment_over_trial),
                6.0 * g * g * (flow.increment_over_trial - 1.0 / (3.0 * g + slope)),
            )
        }
    };
    let mut d = [[0.0; 6]; 6];
    for i in 0..3 {
        for j in 0..3 {
            d[i][j] = moduli.bulk - deviatoric / 3.0;
        }
        d[i][i] += deviatoric;
        d[i + 3][i + 3] = 0.5 * deviatoric;
    }
    if let Some(flow) = flow {
        for i in 0..6 {
            for j in 0..6 {
                d[i][j] += normal * flow.direction[i] * flow.direction[j];
            }
        }
    }
    d
}

/// The consistent tangent of a flowing point as [`tangent`] gives it, in parts: deviatoric stiffness (MPa) and the
/// deviator `m` (xx, yy, yz, xz, xy, square roots of MPa) with `D = bulk 1x1 + deviatoric I_dev - m x m`.
#[inline(always)]
pub fn tangent_parts(flow: &Flow, moduli: Moduli, lowest_slope: f64) -> (f64, [f64; 5]) {
    let (deviatoric, square) = tangent_moduli(flow, moduli, lowest_slope);
    // Below zero only where a curve hardens so steeply after a plateau that an increment ends above its secant; the tangent is then a
    // little softer.
    let root = square.max(0.0).sqrt();
    let n = &flow.direction;
    (deviatoric, [n[0], n[1], n[3], n[4], n[5]].map(|n| root * n))
}

/// The consistent tangent of a flowing point as [`tangent`] gives it: deviatoric stiffness and the number `k` (MPa) of `D = bulk 1x1 +
/// deviatoric I_dev - k n x n`, where `n` is the direction of the flow.
#[inline(always)]
pub fn tangent_moduli(flow: &Flow, moduli: Moduli, lowest_slope: f64) -> (f64, f64) {
    let g = moduli.shear;
    let slope = flow.slope.max(lowest_slope);
    (
        2.0 * g * (1.0 - 3.0 * g * flow.increment_over_trial),
        6.0 * g * g * (1.0 / (3.0 * g + slope) - flow.increment_over_trial),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keyak 2005 (as coded by Sas 2020), trabecular, ash density 0.3 g/cm³, 3 mm elements.
    fn keyak() -> (Moduli, HardeningCurve) {
        let (s, h, minimum, plateau) = (11.679343, -59.084686, 4.876034, 0.0456);
        let curve = HardeningCurve::new(vec![
            [0.0, s],
            [plateau, s],
            [plateau + (minimum - s) / h, minimum],
        ])
        .unwrap();
        (Moduli::new(1587.2005, 0.4), curve)
    }

    #[test]
    fn confined_compression_meets_the_closed_form() {
        let (moduli, curve) = keyak();
        for (strain, axial, lateral, p) in [
            (0.05, 140.05294, 128.37360, 0.026465),
            (0.10, 271.74023, 260.93002, 0.060310),
            (0.15, 402.64669, 393.87686, 0.094843),
            (0.20, 533.55315, 526.82369, 0.129376),
        ] {
            let new = update(
                &[0.0, 0.0, -strain, 0.0, 0.0, 0.0],
                &PlasticState::default(),
                moduli,
                &curve,
            );
            assert!(
                (new.stress[2] + axial).abs() < 2e-5 * axial,
                "{}",
                new.stress[2]
            );
            assert!(
                (new.stress[0] + lateral).abs() < 2e-5 * lateral,
                "{}",
                new.stress[0]
            );
            assert!((new.state.equivalent - p).abs() < 1e-6);
        }
    }

    #[test]
    fn simple_shear_meets_the_closed_form_whatever_the_steps() {
        let (moduli, curve) = keyak();
        for steps in [1, 7, 60] {
            let mut state = PlasticState::default();
            for (target, tau, p) in [
                (0.05, 6.74307, 0.022),
                (0.15, 5.53674, 0.080963),
                (0.25, 3.49636, 0.140776),
                (0.30, 2.81518, 0.170338),
            ] {
                let mut stress = [0.0; 6];
                let from = state;
                let start = from.plastic_strain[3]
                    + if from.equivalent > 0.0 {
                        last_elastic(&from, moduli, &curve)
                    } else {
                        0.0
                    };
                for step in 1..=steps {
                    let gamma = start + (target - start) * step as f64 / steps as f64;
                    let new = update(&[0.0, 0.0, 0.0, gamma, 0.0, 0.0], &state, moduli, &curve);
                    state = new.state;
                    stress = new.stress;
                }
                assert!(
                    (stress[3] - tau).abs() < 5e-6 * 10.0,
                    "{target} {steps}: {}",
                    stress[3]
                );
                assert!((state.equivalent - p).abs() < 1e-6);
            }
        }
    }

    fn last_elastic(state: &PlasticState, moduli: Moduli, curve: &HardeningCurve) -> f64 {
        curve.stress(state.equivalent) / 3f64.sqrt() / moduli.shear
    }

    #[test]
    fn tangent_is_the_derivative_in_every_branch() {
        let (moduli, curve) = keyak();
        let old = PlasticState {
            plastic_strain: [0.002, -0.001, -0.001, 0.003, 0.0, -0.002],
            equivalent: 0.004,
        };
        for size in [0.001, 0.02, 0.08, 0.12, 0.3] {
            let strain = [
                0.9 * size,
                -0.3 * size,
                0.1 * size,
                0.5 * size,
                -0.4 * size,
                0.7 * size,
            ];
            let here = update(&strain, &old, moduli, &curve);
            let d = tangent(here.flow.as_ref(), moduli, f64::NEG_INFINITY);
            let step = 1e-7;
            for j in 0..6 {
                let moved = |sign: f64| {
                    let mut e = strain;
                    e[j] += sign * step;
                    update(&e, &old, moduli, &curve).stress
                };
                let (up, down) = (moved(1.0), moved(-1.0));
                for i in 0..6 {
                    let slope = (up[i] - down[i]) / (2.0 * step);
                    assert!(
                        (slope - d[i][j]).abs() < 1e-6 * d[0][0].abs(),
                        "size {size}, {i},{j}: {slope} {}",
                        d[i][j]
                    );
                }
            }
        }
    }

    #[test]
    fn clipped_tangent_has_no_negative_eigenvalue() {
        let (moduli, curve) = keyak();
        let here = update(
            &[0.08, -0.03, 0.0, 0.05, 0.0, 0.02],
            &PlasticState::default(),
            moduli,
            &curve,
        );
        assert!(here.flow.unwrap().slope < 0.0);
        let lowest = |floor: f64| {
            let d = tangent(here.flow.as_ref(), moduli, floor);
            nalgebra::Matrix6::from_fn(|i, j| d[i][j])
                .symmetric_eigenvalues()
                .min()
        };
        assert!(lowest(f64::NEG_INFINITY) < -1.0);
        assert!(lowest(0.0) > -1e-9);
    }
}
