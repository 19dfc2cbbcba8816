//! Chebyshev smoother of the fourth kind on the diagonally scaled matrix (Lottes 2023, Numer Linear Algebra Appl), in
//! single precision, and the vectors of a multigrid level.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::operator::vector::{ChebyshevStep, chebyshev_step, dot, fill, update};

/// Steps before and after the coarse correction.
pub(crate) const SMOOTHING_STEPS: usize = 3;
/// The Lanczos iteration finds the largest eigenvalue from below; the smoother needs it from above.
const EIGENVALUE_MARGIN: f64 = 1.15;
/// Steps of the Lanczos iteration, usually and when more is to be spent. Ten find the largest eigenvalue of a femur to
/// 3 %, as 30 power steps do.
const LANCZOS_STEPS: [usize; 2] = [10, 30];

/// Smoother and vectors of one level.
#[derive(Default)]
pub(super) struct Smoother {
    /// 0 where an unknown does not move: supports, and unknowns without stiffness.
    pub(super) inverse_diagonal: Vec<f32>,
    /// Largest eigenvalue of the diagonally scaled matrix.
    largest: f64,
    /// Right-hand side, then residual.
    pub(super) b: Vec<f32>,
    /// Solution.
    pub(super) x: Vec<f32>,
    /// Last change of the solution.
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
            .par_iter()
            .map(|&value| {
                if value > 1e-12 * largest {
                    (1.0 / value) as f32
                } else {
                    0.0
                }
            })
            .collect();
        let n = diagonal.len();
        if self.x.len() != n {
            for vector in [&mut self.b, &mut self.x, &mut self.d] {
                *vector = vec![0.0; n];
            }
        }
        self.largest = self.lanczos(apply, LANCZOS_STEPS[usize::from(thorough)])?;
        Ok(())
    }

    /// Largest eigenvalue of the diagonally scaled matrix `S A`, from below: Lanczos 1950 in the inner product in which
    /// it is self-adjoint, `x . y / s`. The start vector is noise, so that a local eigenvector, at an element that has
    /// begun to flow, has a part in it.
    fn lanczos(&mut self, apply: impl Fn(&[f32], &mut [f32]), steps: usize) -> Result<f64> {
        let over = |w: f32, s: f32| if s == 0.0 { 0.0 } else { w / s };
        let Self {
            inverse_diagonal: s,
            b: before,
            x: v,
            d: w,
            ..
        } = self;
        *w = pseudo_random(s.len());
        update(w, s, |w, s| if s == 0.0 { 0.0 } else { w * s.sqrt() });
        fill(v, 0.0);
        let mut tridiagonal = nalgebra::DMatrix::<f64>::zeros(steps, steps);
        let mut found = 0;
        for step in 0..steps {
            before.copy_from_slice(w);
            update(before, s, over);
            let length = dot(w, before).sqrt();
            if step > 0 {
                tridiagonal[(step, step - 1)] = length;
                tridiagonal[(step - 1, step)] = length;
            }
            if !(length > 0.0 && length.is_finite()) {
                break;
            }
            before.copy_from_slice(v);
            update(v, w, |_, w| w / length as f32);
            apply(v, w);
            let own = dot(v, w);
            tridiagonal[(step, step)] = own;
            found = step + 1;
            update(w, s, |w, s| w * s);
            update(w, v, |w, v| w - own as f32 * v);
            if step > 0 {
                update(w, before, |w, before| w - length as f32 * before);
            }
        }
        let tridiagonal = tridiagonal.view((0, 0), (found, found)).into_owned();
        if !tridiagonal.iter().all(|v| v.is_finite()) {
            return Err(Error::Singular("the stiffness is not finite".into()));
        }
        let largest = nalgebra::SymmetricEigen::new(tridiagonal)
            .eigenvalues
            .iter()
            .copied()
            .fold(1.0, f64::max);
        Ok(largest)
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

/// Numbers between -1 and 1, always the same: the mixing function of SplitMix64 (Steele, Lea and Flood 2014).
fn pseudo_random(n: usize) -> Vec<f32> {
    (0..n as u64)
        .into_par_iter()
        .map(|place| {
            let mut state = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bound for a chain of springs whose last node is held; one node more stands on a spring of its own.
    fn largest(n: usize, outlier: f32) -> f64 {
        let mut smoother = Smoother::default();
        let mut diagonal = vec![2.0; n];
        diagonal[n - 1] = 0.0;
        smoother
            .set_up(&diagonal, false, |x, y| {
                for i in 0..n {
                    let left = if i > 0 { x[i - 1] } else { 0.0 };
                    let right = if i + 1 < n { x[i + 1] } else { 0.0 };
                    y[i] = 2.0 * x[i] - left - right;
                }
                // Beyond its diagonal, as a flowing element between rigid ones may be.
                y[n / 2] += outlier * x[n / 2];
            })
            .unwrap();
        smoother.eigenvalue_bound() / EIGENVALUE_MARGIN
    }

    #[test]
    fn the_largest_eigenvalue_is_found_from_below() {
        // Eigenvalues of the scaled chain are 1 + cos, up to 2.
        let found = largest(5000, 0.0);
        assert!(found > 0.95 * 2.0 && found < 2.0 + 1e-5, "{found}");
    }

    #[test]
    fn a_local_eigenvalue_is_found_too() {
        // A decaying pattern a^|i| around a point with k more on its diagonal has the eigenvalue 1 + sqrt(1 + k^2 / 4).
        let k = 2.0f64;
        let exact = 1.0 + (1.0 + k * k / 4.0).sqrt();
        let found = largest(5000, k as f32);
        assert!(
            found > 0.95 * exact && found < exact * (1.0 + 1e-5),
            "{found} {exact}"
        );
    }
}
