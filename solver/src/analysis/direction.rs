//! The linear solve inside a Newton iteration.

use super::Run;
use crate::error::Result;
use crate::linear::{CgEnd, SparseFactor, conjugate_gradients};
use crate::operator::LatticeOperator;
use crate::system::Evaluation;

/// Linear iterations after which a solve is given up.
const LINEAR_LIMIT: usize = 500;
/// The same with the preconditioner of another tangent; one that needed more than half as many is not used again. Ours:
/// a fresh one needs 5 to 10 iterations for the tolerances of Newton's method.
const REUSE_LIMIT: usize = 24;

/// How much is spent on the preconditioner of a linear solve.
#[derive(Clone, Copy, PartialEq)]
enum Care {
    /// The one of an earlier tangent of the same increment.
    Reuse,
    /// Set up for this tangent.
    Usual,
    /// With better eigenvalue bounds.
    Thorough,
}

/// End of one linear solve inside Newton.
pub(super) enum Direction {
    Found(Vec<f64>),
    Indefinite,
}

impl Run<'_, '_> {
    /// Whether every unknown is prescribed, so that there is nothing to solve for.
    fn nothing_free(&self) -> bool {
        self.system.constrained.len() == 3 * self.system.nodes()
    }

    /// Solves `K d = r - K c` for the free unknowns; `c` moves the constrained ones. Returns `d + c`.
    pub(super) fn direction(
        &mut self,
        at: &Evaluation,
        r: &[f64],
        c: Option<&[f64]>,
        tolerance: f64,
    ) -> Result<Direction> {
        if self.nothing_free() {
            return Ok(Direction::Found(
                c.map_or_else(|| vec![0.0; r.len()], <[f64]>::to_vec),
            ));
        }
        match &mut self.multigrid {
            Some(multigrid) => {
                let operator = LatticeOperator {
                    topology: &self.system.topology,
                    tables: &self.system.tables,
                    moduli_single: at.moduli.iter().map(|&m| m as f32).collect(),
                    moduli: &at.moduli,
                    flow: &at.flow,
                    flow_shape: self.system.flow_shape.as_ref(),
                    dense: &at.dense,
                    constrained: &self.system.constrained,
                    instructions: self.system.instructions,
                };
                let mut rhs = r.to_vec();
                if let Some(c) = c {
                    let mut kc = vec![0.0; c.len()];
                    operator.apply_unmasked(c, &mut kc);
                    for (rhs, kc) in rhs.iter_mut().zip(&kc) {
                        *rhs -= kc;
                    }
                    for &dof in &self.system.constrained {
                        rhs[dof as usize] = 0.0;
                    }
                }
                let mut d = vec![0.0; r.len()];
                let mut end = CgEnd::Preconditioner;
                for care in [Care::Reuse, Care::Usual, Care::Thorough] {
                    let limit = match care {
                        Care::Reuse if !self.reusable => continue,
                        Care::Reuse => REUSE_LIMIT,
                        _ => LINEAR_LIMIT,
                    };
                    if care != Care::Reuse
                        && multigrid.set_up(&operator, care == Care::Thorough).is_err()
                    {
                        return Ok(Direction::Indefinite);
                    }
                    let result = conjugate_gradients(
                        &operator,
                        |r, z| multigrid.precondition(&operator, r, z),
                        &rhs,
                        &mut d,
                        tolerance,
                        limit,
                    );
                    self.linear_iterations += result.iterations;
                    end = result.end;
                    self.reusable = end == CgEnd::Converged && result.iterations <= REUSE_LIMIT / 2;
                    let again = match care {
                        Care::Reuse => matches!(end, CgEnd::Preconditioner | CgEnd::IterationLimit),
                        _ => end == CgEnd::Preconditioner,
                    };
                    if !again {
                        break;
                    }
                }
                if end != CgEnd::Converged {
                    return Ok(Direction::Indefinite);
                }
                if let Some(c) = c {
                    for (d, c) in d.iter_mut().zip(c) {
                        *d += c;
                    }
                }
                Ok(Direction::Found(d))
            }
            None => self.direct(at, r, c),
        }
    }

    /// The same by a sparse factorisation, for meshes that are no lattice.
    fn direct(&mut self, at: &Evaluation, r: &[f64], c: Option<&[f64]>) -> Result<Direction> {
        let nodes = self.system.nodes();
        let mut number = vec![u32::MAX; 3 * nodes];
        for &dof in &self.system.constrained {
            number[dof as usize] = 0;
        }
        let mut free = Vec::new();
        for dof in 0..3 * nodes {
            if number[dof] == u32::MAX {
                number[dof] = free.len() as u32;
                free.push(dof);
            } else {
                number[dof] = u32::MAX;
            }
        }
        let mut rhs: Vec<f64> = free.iter().map(|&dof| r[dof]).collect();
        let mut entries = Vec::with_capacity(576 * at.assembled.len());
        for (corners, matrix) in self.system.topology.elements.iter().zip(&at.assembled) {
            let dof = |local: usize| local / 8 * nodes + corners[local % 8] as usize;
            for row in 0..24 {
                let i = number[dof(row)];
                if i == u32::MAX {
                    continue;
                }
                for column in 0..24 {
                    let value = matrix[24 * row + column];
                    let j = number[dof(column)];
                    if j != u32::MAX {
                        entries.push((i, j, value));
                    } else if let Some(c) = c {
                        rhs[i as usize] -= value * c[dof(column)];
                    }
                }
            }
        }
        let factor = SparseFactor::new(free.len(), &entries)?;
        self.linear_iterations += 1;
        let solution = factor.solve(&rhs);
        let mut d = c.map_or_else(|| vec![0.0; 3 * nodes], <[f64]>::to_vec);
        for (&dof, value) in free.iter().zip(&solution) {
            d[dof] = *value;
        }
        Ok(Direction::Found(d))
    }
}
