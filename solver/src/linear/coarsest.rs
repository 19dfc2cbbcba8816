//! The factorised matrix of the coarsest level of a multigrid.

use faer::linalg::solvers::{Llt, Solve};

use crate::error::{Error, Result};

/// A dense Cholesky factor (faer).
pub(super) struct Coarsest {
    factor: Llt<f64>,
    size: usize,
}

impl Coarsest {
    /// Factorises a symmetric matrix, given row by row. Unknowns without stiffness are left out of the solution.
    ///
    /// # Errors
    /// [`Error::Singular`] when it is not positive definite.
    pub(super) fn new(dense: &[f64], size: usize) -> Result<Self> {
        let mut matrix =
            faer::Mat::<f64>::from_fn(size, size, |row, column| dense[size * row + column]);
        let largest = (0..size).map(|i| matrix[(i, i)]).fold(0.0, f64::max);
        for i in 0..size {
            if matrix[(i, i)] <= 1e-12 * largest {
                for j in 0..size {
                    matrix[(i, j)] = 0.0;
                    matrix[(j, i)] = 0.0;
                }
                matrix[(i, i)] = largest;
            }
        }
        // Beside a support two coarse functions can agree on all free nodes: the matrix is then only
        // semi-definite. A shift far below the accuracy that a preconditioner needs makes it definite.
        for shift in [1e-6, 1e-5, 1e-4, 1e-3] {
            let mut shifted = matrix.clone();
            for i in 0..size {
                shifted[(i, i)] *= 1.0 + shift;
            }
            if let Ok(factor) = shifted.llt(faer::Side::Lower) {
                return Ok(Self { factor, size });
            }
        }
        Err(Error::Singular(
            "the coarsest level cannot be factorised; check that the supports hold the body".into(),
        ))
    }

    /// The inverse, row by row.
    #[cfg(feature = "gpu")]
    pub(super) fn inverse(&self) -> Vec<f64> {
        let n = self.size;
        let mut inverse = faer::Mat::<f64>::identity(n, n);
        self.factor.solve_in_place(inverse.as_mut());
        (0..n * n).map(|at| inverse[(at / n, at % n)]).collect()
    }

    /// Solves for the right-hand side `b(row)` and hands each entry of the solution to `put`.
    pub(super) fn solve(&self, b: impl Fn(usize) -> f32, mut put: impl FnMut(usize, f32)) {
        let mut x = faer::Mat::from_fn(self.size, 1, |row, _| f64::from(b(row)));
        self.factor.solve_in_place(x.as_mut());
        for row in 0..self.size {
            put(row, x[(row, 0)] as f32);
        }
    }
}
