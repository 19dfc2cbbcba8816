//! Chebyshev smoother of the fourth kind on the diagonally scaled matrix (Lottes 2023, Numer Linear Algebra Appl), in
//! single precision, and the vectors of a multigrid level.

use crate::error::{Error, Result};
use crate::operator::vector::{ChebyshevStep, chebyshev_step, norm, update};

/// Steps before and after the coarse correction.
pub(crate) const SMOOTHING_STEPS: usize = 3;
/// The power iteration finds the largest eigenvalue from below; the smoother needs it from above.
const EIGENVALUE_MARGIN: f64 = 1.15;
/// Steps of the power iteration at first, and when it starts from the vector of the last set-up.
const POWER_STEPS: [usize; 2] = [30, 5];

/// Smoother and vectors of one level.
#[derive(Default)]
pub(super) struct Smoother {
    /// 0 where an unknown does not move: supports, and unknowns without stiffness.
    pub(super) inverse_diagonal: Vec<f32>,
    /// Largest eigenvalue of the diagonally scaled matrix.
    largest: f64,
    /// Last vector of the power iteration: the next set-up starts there.
    eigenvector: Vec<f32>,
    /// Right-hand side, then residual.
    pub(super) b: Vec<f32>,
    /// Solution.
    pub(super) x: Vec<f32>,
    /// Last change of the solution; the product of the power iteration while setting up.
    pub(super) d: Vec<f32>,
}

impl Smoother {
    /// Takes over a matrix by its diagonal and its product; `thorough` spends more on the eigenvalue bound.
    ///
    /// # Errors
    /// [`Error::Singular`] when a diagonal entry is negative or the matrix not finite.
    pub(super) fn set_up(
        &mut self,
        diagonal: &[f64],
        thorough: bool,
        apply: impl Fn(&[f32], &mut [f32]),
    ) -> Result<()> {
        let largest = diagonal.iter().fold(0.0f64, |m, v| m.max(*v));
        if diagonal
            .iter()
            .any(|value| *value < -1e-6 * largest || !value.is_finite())
        {
            return Err(Error::Singular("a diagonal entry is negative".into()));
        }
        // Unknowns without stiffness (supports, and coarse nodes that see nothing else) stay where they are.
        self.inverse_diagonal = diagonal
            .iter()
            .map(|&value| {
                if value > 1e-12 * largest {
                    (1.0 / value) as f32
                } else {
                    0.0
                }
            })
            .collect();
        let n = diagonal.len();
        let first = self.eigenvector.len() != n;
        if first {
            for vector in [&mut self.b, &mut self.x, &mut self.d] {
                *vector = vec![0.0; n];
            }
            self.eigenvector = vec![0.0; n];
        }
        // The last vector is a good start, but it has forgotten all others: fresh noise lets a new
        // local eigenvector, at an element that has just begun to flow, be found.
        let length = norm(&self.eigenvector);
        let length = if length > 0.0 { length as f32 } else { 1.0 };
        let noise = pseudo_random(n);
        let weight = 1.0 / norm(&noise).max(1.0) as f32;
        update(&mut self.eigenvector, &noise, |v, noise| {
            v / length + weight * noise
        });
        self.largest =
            self.power_iteration(apply, POWER_STEPS[usize::from(!first && !thorough)])?;
        Ok(())
    }

    /// Largest eigenvalue of the diagonally scaled matrix.
    fn power_iteration(&mut self, apply: impl Fn(&[f32], &mut [f32]), steps: usize) -> Result<f64> {
        let mut value = 0.0;
        update(&mut self.eigenvector, &self.inverse_diagonal, |v, s| {
            if s == 0.0 { 0.0 } else { v }
        });
        for _ in 0..steps {
            let length = norm(&self.eigenvector);
            if !(length > 0.0 && length.is_finite()) {
                break;
            }
            update(&mut self.x, &self.eigenvector, |_, v| v / length as f32);
            apply(&self.x, &mut self.d);
            update(&mut self.eigenvector, &self.d, |_, product| product);
            update(&mut self.eigenvector, &self.inverse_diagonal, |v, s| v * s);
            value = norm(&self.eigenvector);
        }
        if value.is_finite() {
            Ok(value.max(1.0))
        } else {
            Err(Error::Singular("the stiffness is not finite".into()))
        }
    }

    /// Bound of the eigenvalues of the diagonally scaled matrix from above.
    pub(super) fn eigenvalue_bound(&self) -> f64 {
        EIGENVALUE_MARGIN * self.largest
    }

    /// Smooths `x`. `b` holds the residual and is kept up to date by `subtract(d, b)`, which takes `A d` from it; with
    /// `from_zero` `b` starts as the right-hand side and `x` as zero. After the post-smoothing (`from_zero` unset) the
    /// residual is not needed and not computed.
    pub(super) fn smooth(&mut self, from_zero: bool, subtract: impl Fn(&[f32], &mut [f32])) {
        let largest = self.eigenvalue_bound();
        for step in 0..SMOOTHING_STEPS {
            let (keep, take) = shares(step, largest);
            chebyshev_step(
                ChebyshevStep {
                    keep,
                    take,
                    first: step == 0 && from_zero,
                },
                &mut self.d,
                &mut self.x,
                &self.b,
                &self.inverse_diagonal,
            );
            if from_zero || step + 1 < SMOOTHING_STEPS {
                subtract(&self.d, &mut self.b);
            }
        }
    }
}

/// How much of the last change is kept and how much of the scaled residual is taken in a step, for eigenvalues up to
/// `largest`.
pub(crate) fn shares(step: usize, largest: f64) -> (f32, f32) {
    let i = step as f64;
    let keep = if step == 0 {
        0.0
    } else {
        (2.0 * i - 1.0) / (2.0 * i + 3.0)
    };
    let take = (8.0 * i + 4.0) / (2.0 * i + 3.0) / largest;
    (keep as f32, take as f32)
}

/// Numbers between -1 and 1, always the same.
fn pseudo_random(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}
