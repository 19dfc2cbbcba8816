//! Preconditioned conjugate gradients.

use crate::operator::Operator;
use crate::operator::vector::{advance, dot, norm, update};

/// A preconditioner and the vector `z` that it makes of a residual, in whatever form it has it.
pub trait Preconditioned {
    /// `z` = the preconditioner applied to `r`, whose norm is `size`.
    fn apply(&mut self, r: &[f64], size: f64);
    /// `z . v`.
    fn dot(&self, v: &[f64]) -> f64;
    /// `p = z + beta p`.
    fn turn(&self, p: &mut [f64], beta: f64);
}

/// One that writes `z` out.
pub struct Written<F> {
    cycle: F,
    z: Vec<f64>,
}

impl<F: FnMut(&[f64], &mut [f64])> Written<F> {
    /// By `cycle(r, z)`.
    pub fn new(cycle: F) -> Self {
        Self {
            cycle,
            z: Vec::new(),
        }
    }
}

impl<F: FnMut(&[f64], &mut [f64])> Preconditioned for Written<F> {
    fn apply(&mut self, r: &[f64], _size: f64) {
        self.z.resize(r.len(), 0.0);
        (self.cycle)(r, &mut self.z);
    }

    fn dot(&self, v: &[f64]) -> f64 {
        dot(v, &self.z)
    }

    fn turn(&self, p: &mut [f64], beta: f64) {
        update(p, &self.z, |p, z| z + beta * p);
    }
}

/// How an iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgEnd {
    /// The residual fell below the tolerance.
    Converged,
    /// A direction with `p A p <= 0` was met: the matrix is not positive definite.
    NegativeCurvature,
    /// The preconditioner is not positive definite: of an indefinite matrix, or with too low an eigenvalue bound.
    Preconditioner,
    /// The iteration limit was reached.
    IterationLimit,
}

/// What an iteration cost and reached.
#[derive(Clone, Copy, Debug)]
pub struct CgResult {
    /// How it ended.
    pub end: CgEnd,
    /// Iterations.
    pub iterations: usize,
}

/// Solves `A x = b` from `x = 0` until `|b - A x| <= tolerance |b|`; `r` holds `b` at the start and what is left of it
/// at the end.
///
/// The preconditioner works in single precision and is therefore only nearly symmetric; the
/// Polak-Ribiere form of the new direction (Notay 2000) keeps the iteration safe from that. It needs the change of the
/// residual, which is the product with the last direction over again.
pub fn conjugate_gradients(
    operator: &dyn Operator<f64>,
    mut preconditioner: impl Preconditioned,
    r: &mut [f64],
    x: &mut [f64],
    tolerance: f64,
    limit: usize,
) -> CgResult {
    let n = operator.size();
    x.fill(0.0);
    let scale = norm(r);
    let target = scale * tolerance;
    let mut q = vec![0.0; n];
    let mut p = vec![0.0; n];
    let (mut rz_old, mut step) = (0.0, 0.0);
    let mut residual = scale;
    for iteration in 0..limit {
        if residual <= target || residual == 0.0 {
            return CgResult {
                end: CgEnd::Converged,
                iterations: iteration,
            };
        }
        preconditioner.apply(r, residual);
        let rz = preconditioner.dot(r);
        if rz.is_nan() || rz <= 0.0 {
            return CgResult {
                end: CgEnd::Preconditioner,
                iterations: iteration,
            };
        }
        let beta = if iteration == 0 {
            0.0
        } else {
            -step * preconditioner.dot(&q) / rz_old
        };
        rz_old = rz;
        preconditioner.turn(&mut p, beta);
        operator.apply(&p, &mut q);
        let curvature = dot(&p, &q);
        if curvature.is_nan() || curvature <= 0.0 {
            return CgResult {
                end: CgEnd::NegativeCurvature,
                iterations: iteration + 1,
            };
        }
        step = rz / curvature;
        residual = advance(x, r, &p, &q, step);
    }
    let end = if residual <= target {
        CgEnd::Converged
    } else {
        CgEnd::IterationLimit
    };
    CgResult {
        end,
        iterations: limit,
    }
}
