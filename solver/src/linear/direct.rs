//! Sparse direct factorisation (faer) for small meshes that are no lattice, where the iteration fails, and as a check of
//! it.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::LltRegularization;
use faer::prelude::Solve;
use faer::sparse::linalg::cholesky::{
    CholeskySymbolicParams, LltRef, SymbolicCholesky, SymmetricOrdering,
    factorize_symbolic_cholesky,
};
use faer::sparse::{SparseColMat, Triplet};
use faer::{Conj, Par, Side};

use super::block_rows::BlockOperator;
use super::dissection::elimination_order;
use crate::error::{Error, Result};

/// A factorised symmetric matrix.
pub struct SparseFactor {
    factor: Factor,
    /// The free unknowns, component first.
    free: Vec<u32>,
}

enum Factor {
    Cholesky {
        symbolic: Box<SymbolicCholesky<u32>>,
        values: Vec<f64>,
    },
    Lu(Box<faer::sparse::linalg::solvers::Lu<u32, f64>>),
}

impl SparseFactor {
    /// Factorises the matrix of the free unknowns. One that is not positive definite is factorised by LU where
    /// `indefinite` allows it, whose factor is many times as large; else there is `None`.
    ///
    /// # Errors
    /// [`Error::Singular`] when it has no inverse.
    pub fn new(
        operator: &BlockOperator,
        nodes_mm: &[[f64; 3]],
        indefinite: bool,
    ) -> Result<Option<Self>> {
        let singular = |what: String| {
            Error::Singular(format!("{what}; check that the supports hold the body"))
        };
        let (pattern, nodes) = (operator.pattern, operator.pattern.rows());
        let mut number = vec![0u32; 3 * nodes];
        for &dof in operator.constrained {
            number[dof as usize] = u32::MAX;
        }
        // Free unknowns in the order of elimination.
        let mut free = Vec::new();
        for node in elimination_order(nodes_mm, pattern) {
            for component in 0..3 {
                let dof = component * nodes + node as usize;
                if number[dof] != u32::MAX {
                    number[dof] = free.len() as u32;
                    free.push(dof as u32);
                }
            }
        }
        let size = free.len();
        // The upper triangle: in the given order faer reads that and no other.
        let mut triplets = Vec::with_capacity(5 * pattern.columns.len());
        for row in 0..nodes {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let column = pattern.columns[place] as usize;
                let (high, low) = (&operator.matrix.high[place], &operator.matrix.low[place]);
                for i in 0..3 {
                    for j in 0..3 {
                        let (r, c) = (number[i * nodes + row], number[j * nodes + column]);
                        if r <= c && c != u32::MAX {
                            let value = f64::from(high[i][j]) + f64::from(low[i][j]);
                            triplets.push(Triplet::new(r, c, value));
                        }
                    }
                }
            }
        }
        let build = |triplets: &[Triplet<u32, u32, f64>]| {
            SparseColMat::<u32, f64>::try_new_from_triplets(size, size, triplets)
                .map_err(|e| singular(format!("the sparse matrix cannot be built ({e:?})")))
        };
        let factor = match cholesky(&build(&triplets)?) {
            Some(factor) => factor,
            None if !indefinite => return Ok(None),
            None => {
                let mirrored: Vec<_> = triplets
                    .iter()
                    .filter(|t| t.row != t.col)
                    .map(|t| Triplet::new(t.col, t.row, t.val))
                    .collect();
                triplets.extend(mirrored);
                Factor::Lu(Box::new(build(&triplets)?.sp_lu().map_err(|e| {
                    singular(format!("the stiffness has no inverse ({e:?})"))
                })?))
            }
        };
        Ok(Some(Self { factor, free }))
    }

    /// Solves `A x = b`; held unknowns become 0.
    pub fn solve(&self, b: &[f64], x: &mut [f64]) {
        let mut free = faer::Mat::from_fn(self.free.len(), 1, |row, _| b[self.free[row] as usize]);
        match &self.factor {
            Factor::Cholesky { symbolic, values } => {
                let mut memory =
                    MemBuffer::new(symbolic.solve_in_place_scratch::<f64>(1, Par::Seq));
                LltRef::new(symbolic, values).solve_in_place_with_conj(
                    Conj::No,
                    free.as_mut(),
                    Par::Seq,
                    MemStack::new(&mut memory),
                );
            }
            Factor::Lu(factor) => factor.solve_in_place(free.as_mut()),
        }
        x.fill(0.0);
        for (row, &dof) in self.free.iter().enumerate() {
            x[dof as usize] = free[(row, 0)];
        }
    }
}

/// Cholesky factor of an upper triangle in the order it stands in; `None` when it is not positive definite.
fn cholesky(matrix: &SparseColMat<u32, f64>) -> Option<Factor> {
    let matrix = matrix.as_ref();
    let symbolic = factorize_symbolic_cholesky(
        matrix.symbolic(),
        Side::Upper,
        SymmetricOrdering::Identity,
        CholeskySymbolicParams::default(),
    )
    .ok()?;
    let mut values = Vec::new();
    values.try_reserve_exact(symbolic.len_val()).ok()?;
    values.resize(symbolic.len_val(), 0.0);
    let scratch = symbolic.factorize_numeric_llt_scratch::<f64>(Par::Seq, Default::default());
    let mut memory = MemBuffer::try_new(scratch).ok()?;
    symbolic
        .factorize_numeric_llt(
            &mut values,
            matrix,
            Side::Upper,
            LltRegularization::default(),
            Par::Seq,
            MemStack::new(&mut memory),
            Default::default(),
        )
        .ok()?;
    Some(Factor::Cholesky {
        symbolic: Box::new(symbolic),
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::block_rows::{BlockPattern, SplitMatrix, add_split};
    use crate::operator::Operator;

    /// A grid of nodes that are bound along its lines; `own` is the diagonal.
    fn grid(n: usize, own: f64) -> (Vec<[f64; 3]>, BlockPattern, SplitMatrix) {
        let id = |p: [usize; 3]| (p[0] + n * (p[1] + n * p[2])) as u32;
        let mut nodes_mm = Vec::new();
        let mut connectivity = Vec::new();
        for k in 0..n {
            for j in 0..n {
                for i in 0..n {
                    nodes_mm.push([i, j, k].map(|i| i as f64));
                    for axis in 0..3 {
                        let mut next = [i, j, k];
                        next[axis] += 1;
                        if next[axis] < n {
                            connectivity.extend([id([i, j, k]), id(next)]);
                        }
                    }
                }
            }
        }
        let pattern = BlockPattern::of_elements(nodes_mm.len(), 2, &connectivity);
        let mut matrix = SplitMatrix::default();
        matrix.set_to_zero(&pattern);
        for row in 0..pattern.rows() {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let column = pattern.columns[place] as usize;
                let mut block = [0.0; 9];
                for i in 0..3 {
                    block[4 * i] = if column == row { own + i as f64 } else { -1.0 };
                }
                if column != row {
                    // The block and its transpose are the same.
                    for place in [1, 3, 5, 7] {
                        block[place] = 0.1;
                    }
                }
                add_split(&mut matrix.high[place], &mut matrix.low[place], &block);
            }
        }
        (nodes_mm, pattern, matrix)
    }

    #[test]
    fn a_solution_satisfies_its_equations() {
        // 3000 unknowns, definite; 81, indefinite.
        for (n, own) in [(10, 8.0), (3, 1.2)] {
            let (nodes_mm, pattern, matrix) = grid(n, own);
            let operator = BlockOperator {
                pattern: &pattern,
                matrix: &matrix,
                constrained: &[0, 7],
            };
            let size = operator.size();
            let b: Vec<f64> = (0..size)
                .map(|i| match i {
                    0 | 7 => 0.0,
                    i => ((13 * i) % 17) as f64 - 8.0,
                })
                .collect();
            let definite = SparseFactor::new(&operator, &nodes_mm, false).unwrap();
            assert_eq!(definite.is_some(), n == 10);
            let factor = SparseFactor::new(&operator, &nodes_mm, true)
                .unwrap()
                .unwrap();
            assert_eq!(matches!(factor.factor, Factor::Lu(_)), n == 3);
            let mut x = vec![1.0; size];
            factor.solve(&b, &mut x);
            assert_eq!((x[0], x[7]), (0.0, 0.0));
            let mut product = vec![0.0; size];
            operator.apply(&x, &mut product);
            for i in 0..size {
                assert!(
                    (product[i] - b[i]).abs() < 1e-9,
                    "{n} {i}: {} {}",
                    product[i],
                    b[i]
                );
            }
        }
    }
}
