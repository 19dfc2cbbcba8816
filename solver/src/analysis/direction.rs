//! The linear solve inside a Newton iteration.

use super::Run;
use crate::error::Result;
use crate::linear::{
    AlgebraicMultigrid, Block3, BlockOperator, CgEnd, Multigrid, SparseFactor, conjugate_gradients,
};
use crate::operator::{LatticeOperator, Operator};
use crate::system::{Body, Evaluation, System, Tangent};

/// Linear iterations after which a solve is given up.
const LINEAR_LIMIT: usize = 500;
/// The same with the preconditioner of another tangent; one that needed more than half as many is not used again. Ours:
/// a fresh one needs 5 to 10 iterations for the tolerances of Newton's method.
const REUSE_LIMIT: usize = 24;
/// Unknowns up to which an assembled matrix is factorised at once: the factor then costs less than an iteration.
const DIRECT_LIMIT: usize = 1500;
/// Unknowns up to which an assembled matrix is factorised where the iteration fails, as near incompressibility. The
/// factor of a solid body of this size takes about 4 GiB.
const FALLBACK_LIMIT: usize = 150_000;

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

/// What the conjugate gradients are preconditioned by.
pub(super) enum Preconditioner<'h> {
    Lattice(Multigrid<'h>),
    Algebraic(Box<AlgebraicMultigrid>),
}

/// A tangent whose rows of held unknowns can be had too.
trait WholeOperator: Operator<f64> {
    /// `y = K x` with the rows of the constrained unknowns kept.
    fn apply_whole(&self, x: &[f64], y: &mut [f64]);
}

impl WholeOperator for LatticeOperator<'_> {
    fn apply_whole(&self, x: &[f64], y: &mut [f64]) {
        self.apply_unmasked(x, y);
    }
}

impl WholeOperator for BlockOperator<'_> {
    fn apply_whole(&self, x: &[f64], y: &mut [f64]) {
        self.apply_unmasked(x, y);
    }
}

/// A preconditioner of operators of one kind.
trait Precondition<O> {
    fn set_up(&mut self, operator: &O, thorough: bool) -> Result<()>;
    fn precondition(&mut self, operator: &O, r: &[f64], z: &mut [f64]);
}

impl<'a> Precondition<LatticeOperator<'a>> for Multigrid<'_> {
    fn set_up(&mut self, operator: &LatticeOperator<'a>, thorough: bool) -> Result<()> {
        Multigrid::set_up(self, operator, thorough)
    }

    fn precondition(&mut self, operator: &LatticeOperator<'a>, r: &[f64], z: &mut [f64]) {
        Multigrid::precondition(self, operator, r, z);
    }
}

/// With the matrix of the corners beside that of the body.
struct WithCorners<'m> {
    multigrid: &'m mut AlgebraicMultigrid,
    corners: &'m [Block3],
}

impl<'a> Precondition<BlockOperator<'a>> for WithCorners<'_> {
    fn set_up(&mut self, operator: &BlockOperator<'a>, thorough: bool) -> Result<()> {
        self.multigrid.set_up(operator, self.corners, thorough)
    }

    fn precondition(&mut self, operator: &BlockOperator<'a>, r: &[f64], z: &mut [f64]) {
        self.multigrid.precondition(operator, r, z);
    }
}

/// What earlier solves know of the next one, and what they cost.
#[derive(Default)]
pub(super) struct LinearState {
    /// Whether the preconditioner was set up for a tangent much like the next one.
    pub(super) reusable: bool,
    /// Iterations so far.
    pub(super) iterations: usize,
}

impl LinearState {
    /// Solves `A d = rhs`, with the preconditioner at hand and else with a new one.
    fn iterate<O: Operator<f64>>(
        &mut self,
        operator: &O,
        preconditioner: &mut impl Precondition<O>,
        rhs: &[f64],
        d: &mut [f64],
        tolerance: f64,
    ) -> CgEnd {
        let mut end = CgEnd::Preconditioner;
        for care in [Care::Reuse, Care::Usual, Care::Thorough] {
            let limit = match care {
                Care::Reuse if !self.reusable => continue,
                Care::Reuse => REUSE_LIMIT,
                _ => LINEAR_LIMIT,
            };
            if care != Care::Reuse
                && preconditioner
                    .set_up(operator, care == Care::Thorough)
                    .is_err()
            {
                return CgEnd::Preconditioner;
            }
            let result = conjugate_gradients(
                operator,
                |r, z| preconditioner.precondition(operator, r, z),
                rhs,
                d,
                tolerance,
                limit,
            );
            self.iterations += result.iterations;
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
        end
    }
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
        let mut d = vec![0.0; r.len()];
        let end = match (&self.system.body, &at.tangent, &mut self.preconditioner) {
            (
                Body::Lattice(body),
                Tangent::Lattice(tangent),
                Preconditioner::Lattice(multigrid),
            ) => {
                let operator = LatticeOperator {
                    topology: &body.topology,
                    tables: &body.tables,
                    moduli_single: tangent.moduli.iter().map(|&m| m as f32).collect(),
                    moduli: &tangent.moduli,
                    flow: &tangent.flow,
                    flow_shape: body.flow_shape.as_ref(),
                    dense: &tangent.dense,
                    constrained: &self.system.constrained,
                    instructions: body.instructions,
                };
                let rhs = right_hand_side(&operator, &self.system, r, c);
                self.linear
                    .iterate(&operator, multigrid, &rhs, &mut d, tolerance)
            }
            (
                Body::General(body),
                Tangent::Assembled { matrix, corners },
                Preconditioner::Algebraic(multigrid),
            ) => {
                let operator = BlockOperator {
                    pattern: &body.pattern,
                    matrix,
                    constrained: &self.system.constrained,
                };
                let rhs = right_hand_side(&operator, &self.system, r, c);
                let unknowns = r.len() - self.system.constrained.len();
                let mut end = CgEnd::IterationLimit;
                if unknowns > DIRECT_LIMIT {
                    let mut preconditioner = WithCorners { multigrid, corners };
                    end = self.linear.iterate(
                        &operator,
                        &mut preconditioner,
                        &rhs,
                        &mut d,
                        tolerance,
                    );
                }
                let factorise = matches!(end, CgEnd::IterationLimit | CgEnd::Preconditioner);
                if factorise && unknowns <= FALLBACK_LIMIT {
                    SparseFactor::new(&operator, self.system.model.mesh.nodes_mm())?
                        .solve(&rhs, &mut d);
                    self.linear.iterations += 1;
                    end = CgEnd::Converged;
                }
                end
            }
            _ => CgEnd::Preconditioner,
        };
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
}

/// `r - K c` at the free unknowns.
fn right_hand_side(
    operator: &impl WholeOperator,
    system: &System,
    r: &[f64],
    c: Option<&[f64]>,
) -> Vec<f64> {
    let mut rhs = r.to_vec();
    if let Some(c) = c {
        let mut kc = vec![0.0; c.len()];
        operator.apply_whole(c, &mut kc);
        for (rhs, kc) in rhs.iter_mut().zip(&kc) {
            *rhs -= kc;
        }
        for &dof in &system.constrained {
            rhs[dof as usize] = 0.0;
        }
    }
    rhs
}
