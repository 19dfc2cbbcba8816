//! Sparse direct factorisation for meshes that are no lattice, and as a check of the iteration.

use faer::Side;
use faer::prelude::Solve;
use faer::sparse::{SparseColMat, Triplet};

use super::block_rows::BlockOperator;
use crate::error::{Error, Result};

/// A factorised symmetric matrix.
pub struct SparseFactor {
    factor: Factor,
    /// The free unknowns, component first, ascending.
    free: Vec<u32>,
}

enum Factor {
    Cholesky(faer::sparse::linalg::solvers::Llt<u32, f64>),
    Lu(Box<faer::sparse::linalg::solvers::Lu<u32, f64>>),
}

impl SparseFactor {
    /// Factorises the matrix of the free unknowns. A matrix that is not positive definite is factorised by LU instead.
    ///
    /// # Errors
    /// [`Error::Singular`] when it has no inverse.
    pub fn new(operator: &BlockOperator) -> Result<Self> {
        let singular = |what: String| {
            Error::Singular(format!("{what}; check that the supports hold the body"))
        };
        let (pattern, nodes) = (operator.pattern, operator.pattern.rows());
        let mut number = vec![0u32; 3 * nodes];
        for &dof in operator.constrained {
            number[dof as usize] = u32::MAX;
        }
        let mut free = Vec::new();
        for (dof, number) in number.iter_mut().enumerate() {
            if *number != u32::MAX {
                *number = free.len() as u32;
                free.push(dof as u32);
            }
        }
        let size = free.len();
        let mut triplets = Vec::with_capacity(9 * pattern.columns.len());
        for row in 0..nodes {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let column = pattern.columns[place] as usize;
                let (high, low) = (&operator.matrix.high[place], &operator.matrix.low[place]);
                for i in 0..3 {
                    for j in 0..3 {
                        let (r, c) = (number[i * nodes + row], number[j * nodes + column]);
                        if r != u32::MAX && c != u32::MAX {
                            let value = f64::from(high[i][j]) + f64::from(low[i][j]);
                            triplets.push(Triplet::new(r, c, value));
                        }
                    }
                }
            }
        }
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
        Ok(Self { factor, free })
    }

    /// Solves `A x = b`; held unknowns become 0.
    pub fn solve(&self, b: &[f64], x: &mut [f64]) {
        let mut free = faer::Mat::from_fn(self.free.len(), 1, |row, _| b[self.free[row] as usize]);
        match &self.factor {
            Factor::Cholesky(factor) => factor.solve_in_place(free.as_mut()),
            Factor::Lu(factor) => factor.solve_in_place(free.as_mut()),
        }
        x.fill(0.0);
        for (row, &dof) in self.free.iter().enumerate() {
            x[dof as usize] = free[(row, 0)];
        }
    }
}
