//! Sparse direct factorisation for meshes that are no lattice, and as a check of the iteration.

use faer::Side;
use faer::prelude::Solve;
use faer::sparse::{SparseColMat, Triplet};

use crate::error::{Error, Result};

/// A factorised symmetric matrix.
pub struct SparseFactor {
    factor: Factor,
    size: usize,
}

enum Factor {
    Cholesky(faer::sparse::linalg::solvers::Llt<u32, f64>),
    Lu(Box<faer::sparse::linalg::solvers::Lu<u32, f64>>),
}

impl SparseFactor {
    /// Factorises the matrix of the unconstrained unknowns from its entries (both triangles, repeats are
    /// summed). A matrix that is not positive definite is factorised by LU instead.
    ///
    /// # Errors
    /// [`Error::Singular`] when it has no inverse.
    pub fn new(size: usize, entries: &[(u32, u32, f64)]) -> Result<Self> {
        let singular = |what: String| {
            Error::Singular(format!("{what}; check that the supports hold the body"))
        };
        let triplets: Vec<_> = entries
            .iter()
            .map(|&(row, column, value)| Triplet::new(row, column, value))
            .collect();
        let matrix = SparseColMat::<u32, f64>::try_new_from_triplets(size, size, &triplets)
            .map_err(|e| singular(format!("the sparse matrix cannot be built ({e:?})")))?;
        let factor = match matrix.sp_cholesky(Side::Lower) {
            Ok(cholesky) => Factor::Cholesky(cholesky),
            Err(_) => {
                Factor::Lu(Box::new(matrix.sp_lu().map_err(|e| {
                    singular(format!("the stiffness has no inverse ({e:?})"))
                })?))
            }
        };
        Ok(Self { factor, size })
    }

    /// Solves `A x = b`.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = faer::Mat::from_fn(self.size, 1, |row, _| b[row]);
        match &self.factor {
            Factor::Cholesky(factor) => factor.solve_in_place(x.as_mut()),
            Factor::Lu(factor) => factor.solve_in_place(x.as_mut()),
        }
        (0..self.size).map(|row| x[(row, 0)]).collect()
    }
}
