//! The linear solve inside a Newton iteration.

use super::Run;
use crate::device::LinearDevice;
use crate::error::{Error, Result};
use crate::linear::{
    AlgebraicMultigrid, Block3, BlockOperator, CgEnd, CgResult, Multigrid, SparseFactor, Written,
    conjugate_gradients,
};
use crate::operator::vector::{dot, norm, update};
use crate::operator::{LatticeOperator, Operator};
use crate::system::{Assembled, Body, Evaluation, System, Tangent};

/// Linear iterations after which a solve is given up. Bodies of bone need about 15; networks of single trabeculae, which no
/// coarse voxel sees, need hundreds.
const LINEAR_LIMIT: usize = 3000;
/// Iterations that a set-up of the preconditioner costs. One is kept for as long as it has cost fewer than this beyond
/// what it needed for its own tangent (then neither keeping nor renewing can be wrong by more than a factor of two).
/// Measured on femora of 2 and 1 mm: 3.4.
const SET_UP_COST: f64 = 4.0;
/// Linear iterations of a solve with the path constraint: beyond, the tangent is taken for one that the constraint does not
/// make positive definite.
const BORDERED_LIMIT: usize = 100;
/// Unknowns up to which an assembled matrix is factorised at once: the factor then costs less than an iteration.
const DIRECT_LIMIT: usize = 1500;
/// Unknowns up to which an assembled matrix is factorised where the iteration fails, as near incompressibility. The
/// factor of a solid body of this size takes about 4 GiB.
const FALLBACK_LIMIT: usize = 150_000;

/// Stiffness of the path constraint over that of the tangent along it.
const CONSTRAINT_STIFFNESS: f64 = 100.0;

/// How much is spent on the preconditioner of a linear solve.
#[derive(Clone, Copy, PartialEq)]
enum Care {
    /// The one of an earlier tangent.
    Reuse,
    /// Set up for this tangent.
    Usual,
    /// With better eigenvalue bounds.
    Thorough,
}

/// End of one linear solve inside Newton.
pub(super) enum Direction {
    /// The answer.
    Found(Vec<f64>),
    /// What had been found of it when a direction of negative curvature was met. Where the tangent belongs to an energy, it leads
    /// downhill.
    Truncated(Vec<f64>),
    /// The tangent is not positive definite, and nothing has been found.
    Indefinite,
    /// The iteration limit was reached.
    Unfinished,
}

impl Direction {
    /// The one found, where the force `r` does positive work along it.
    pub(super) fn along(self, r: &[f64]) -> Option<Vec<f64>> {
        match self {
            Self::Found(d) | Self::Truncated(d) => (dot(&d, r) > 0.0).then_some(d),
            Self::Indefinite | Self::Unfinished => None,
        }
    }
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
trait Precondition<O: Operator<f64>> {
    fn set_up(&mut self, operator: &O, thorough: bool) -> Result<()>;
    fn precondition(&mut self, operator: &O, r: &[f64], z: &mut [f64]);

    /// Conjugate gradients for `A x = r`; `r` becomes what is left.
    fn solve(
        &mut self,
        operator: &O,
        r: &mut [f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult> {
        let cycle = |r: &[f64], z: &mut [f64]| self.precondition(operator, r, z);
        let cycle = Written::new(cycle);
        Ok(conjugate_gradients(operator, cycle, r, x, tolerance, limit))
    }
}

impl<'a> Precondition<LatticeOperator<'a>> for Multigrid<'_> {
    fn set_up(&mut self, operator: &LatticeOperator<'a>, thorough: bool) -> Result<()> {
        Multigrid::set_up(self, operator, thorough)
    }

    fn precondition(&mut self, operator: &LatticeOperator<'a>, r: &[f64], z: &mut [f64]) {
        Multigrid::precondition(self, operator, r, z);
    }

    fn solve(
        &mut self,
        operator: &LatticeOperator<'a>,
        r: &mut [f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult> {
        let cycle = self.cycle_of(operator);
        Ok(conjugate_gradients(operator, cycle, r, x, tolerance, limit))
    }
}

/// Set up here, used on a device.
struct OnDevice<'m, 'h> {
    multigrid: &'m mut Multigrid<'h>,
    device: &'m mut dyn LinearDevice,
}

impl<'a> Precondition<LatticeOperator<'a>> for OnDevice<'_, '_> {
    fn set_up(&mut self, operator: &LatticeOperator<'a>, thorough: bool) -> Result<()> {
        self.multigrid.set_up(operator, thorough)?;
        self.device.load_preconditioner(self.multigrid)
    }

    fn precondition(&mut self, operator: &LatticeOperator<'a>, r: &[f64], z: &mut [f64]) {
        self.multigrid.precondition(operator, r, z);
    }

    fn solve(
        &mut self,
        operator: &LatticeOperator<'a>,
        r: &mut [f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult> {
        let result = self.device.conjugate_gradients(r, x, tolerance, limit)?;
        if result.end != CgEnd::Converged {
            let mut solved = vec![0.0; x.len()];
            operator.apply(x, &mut solved);
            update(r, &solved, |r, solved| r - solved);
        }
        Ok(result)
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

/// A tangent stiffened along one direction, `K + stiffness c c^T`, where `c` is zero at the held unknowns.
struct Stiffened<'o, O> {
    operator: &'o O,
    c: &'o [f64],
    stiffness: f64,
}

impl<O: Operator<f64>> Operator<f64> for Stiffened<'_, O> {
    fn size(&self) -> usize {
        self.operator.size()
    }

    fn apply(&self, x: &[f64], y: &mut [f64]) {
        self.operator.apply(x, y);
        let along = self.stiffness * dot(self.c, x);
        update(y, self.c, |y, c| y + along * c);
    }
}

/// The preconditioner of the tangent, changed by the stiffened direction as its inverse is (Sherman and Morrison 1950).
struct StiffenedPreconditioner<'p, P> {
    inner: &'p mut P,
    /// The preconditioner applied to `c`.
    along: Vec<f64>,
}

impl<'o, O: Operator<f64>, P: Precondition<O>> Precondition<Stiffened<'o, O>>
    for StiffenedPreconditioner<'_, P>
{
    fn set_up(&mut self, operator: &Stiffened<'o, O>, thorough: bool) -> Result<()> {
        self.along.clear();
        self.inner.set_up(operator.operator, thorough)
    }

    fn precondition(&mut self, operator: &Stiffened<'o, O>, r: &[f64], z: &mut [f64]) {
        let c = operator.c;
        if self.along.is_empty() {
            self.along = vec![0.0; c.len()];
            self.inner
                .precondition(operator.operator, c, &mut self.along);
        }
        self.inner.precondition(operator.operator, r, z);
        let share =
            operator.stiffness * dot(c, z) / (1.0 + operator.stiffness * dot(c, &self.along));
        update(z, &self.along, |z, along| z - share * along);
    }
}

/// What earlier solves know of the next one, and what they cost.
#[derive(Default)]
pub(super) struct LinearState {
    /// Iterations per decade of residual that the preconditioner needed for its own tangent; `None` when there is none
    /// or it is not to be used again.
    rate: Option<f64>,
    /// Iterations that it has cost beyond that.
    excess: f64,
    /// Iterations so far.
    pub(super) iterations: usize,
    /// Set-ups so far.
    pub(super) set_ups: usize,
}

impl LinearState {
    /// Solves `A d = r`, with the preconditioner at hand and else with a new one. `r` becomes what is left.
    fn iterate<O: Operator<f64>>(
        &mut self,
        operator: &O,
        preconditioner: &mut impl Precondition<O>,
        r: &mut [f64],
        d: &mut [f64],
        (tolerance, most): (f64, usize),
    ) -> Result<CgEnd> {
        // The first iterations gain little: a decade is the least that is reckoned with.
        let decades = (-tolerance.log10()).max(1.0);
        let mut end = CgEnd::Preconditioner;
        let mut tried = false;
        for care in [Care::Reuse, Care::Usual, Care::Thorough] {
            let limit = match (care, self.rate) {
                (Care::Reuse, None) => continue,
                (Care::Reuse, Some(rate)) => (rate * decades + 3.0 * SET_UP_COST) as usize,
                _ => most,
            };
            if care != Care::Reuse {
                self.rate = None;
                self.set_ups += 1;
                let thorough = care == Care::Thorough;
                match preconditioner.set_up(operator, thorough) {
                    Ok(()) => (),
                    Err(error @ Error::Device { .. }) => return Err(error),
                    Err(_) => return Ok(CgEnd::Preconditioner),
                }
            }
            if tried {
                // What an earlier attempt has solved goes back to the right-hand side.
                let mut solved = vec![0.0; d.len()];
                operator.apply(d, &mut solved);
                update(r, &solved, |r, solved| r + solved);
            }
            tried = true;
            let result = preconditioner.solve(operator, r, d, tolerance, limit)?;
            self.iterations += result.iterations;
            end = result.end;
            let iterations = result.iterations as f64;
            match (end, self.rate) {
                (CgEnd::Converged, Some(rate)) => self.excess += iterations - rate * decades,
                (CgEnd::Converged, None) => {
                    (self.rate, self.excess) = (Some(iterations / decades), 0.0);
                }
                (CgEnd::NegativeCurvature, _) => {}
                _ => self.rate = None,
            }
            if self.excess > SET_UP_COST {
                self.rate = None;
            }
            let again = match care {
                Care::Reuse => matches!(end, CgEnd::Preconditioner | CgEnd::IterationLimit),
                _ => end == CgEnd::Preconditioner,
            };
            if !again {
                break;
            }
        }
        Ok(end)
    }
}

impl Run<'_, '_> {
    /// Whether every unknown is prescribed, so that there is nothing to solve for.
    fn nothing_free(&self) -> bool {
        self.system.constrained.len() == 3 * self.system.nodes()
    }

    /// Solves `K d = r - K c` for the free unknowns, where `c` moves the supports between two load factors, if any.
    /// Returns `d + c`.
    pub(super) fn direction(
        &mut self,
        at: &Evaluation,
        r: Vec<f64>,
        moved: Option<[f64; 2]>,
        tolerance: f64,
    ) -> Result<Direction> {
        let mut d = vec![0.0; r.len()];
        if self.nothing_free() {
            self.move_supports(&mut d, moved);
            return Ok(Direction::Found(d));
        }
        let c = moved.map(|[from, to]| self.support_motion(from, to));
        let end = match (&self.system.body, &at.tangent, &mut self.preconditioner) {
            (
                Body::Lattice(body),
                Tangent::Lattice(tangent),
                Preconditioner::Lattice(multigrid),
            ) => {
                let operator = body.operator(tangent, &self.system.constrained);
                let mut rhs = right_hand_side(&operator, &self.system, r, c);
                let end = (tolerance, LINEAR_LIMIT);
                match self.device.as_deref_mut() {
                    Some(device) => {
                        device.load_operator(&operator)?;
                        let mut there = OnDevice { multigrid, device };
                        self.linear
                            .iterate(&operator, &mut there, &mut rhs, &mut d, end)?
                    }
                    None => self
                        .linear
                        .iterate(&operator, multigrid, &mut rhs, &mut d, end)?,
                }
            }
            (
                Body::General(body),
                Tangent::Unassembled { u, want },
                Preconditioner::Algebraic(multigrid),
            ) => {
                let system = &self.system;
                body.assemble(
                    system.model,
                    u,
                    &system.committed,
                    *want,
                    &mut self.assembled,
                );
                let Assembled { matrix, corners } = &self.assembled;
                let operator = BlockOperator {
                    pattern: &body.pattern,
                    matrix,
                    constrained: &self.system.constrained,
                };
                let unknowns = r.len() - self.system.constrained.len();
                let mut rhs = right_hand_side(&operator, &self.system, r, c);
                let mut end = CgEnd::IterationLimit;
                if unknowns > DIRECT_LIMIT {
                    let mut preconditioner = WithCorners { multigrid, corners };
                    end = self.linear.iterate(
                        &operator,
                        &mut preconditioner,
                        &mut rhs,
                        &mut d,
                        (tolerance, LINEAR_LIMIT),
                    )?;
                }
                let factorise = matches!(end, CgEnd::IterationLimit | CgEnd::Preconditioner);
                if factorise && unknowns <= FALLBACK_LIMIT {
                    let mut solved = vec![0.0; d.len()];
                    operator.apply(&d, &mut solved);
                    update(&mut rhs, &solved, |rhs, solved| rhs + solved);
                    let nodes_mm = self.system.model.mesh.nodes_mm();
                    let small = unknowns <= DIRECT_LIMIT;
                    self.linear.set_ups += 1;
                    if let Some(factor) = SparseFactor::new(&operator, nodes_mm, small)? {
                        factor.solve(&rhs, &mut d);
                        self.linear.iterations += 1;
                        end = CgEnd::Converged;
                    }
                }
                end
            }
            _ => CgEnd::Preconditioner,
        };
        match end {
            CgEnd::Converged => {}
            CgEnd::IterationLimit => return Ok(Direction::Unfinished),
            CgEnd::NegativeCurvature if moved.is_none() && norm(&d) > 0.0 => {
                return Ok(Direction::Truncated(d));
            }
            CgEnd::NegativeCurvature | CgEnd::Preconditioner => return Ok(Direction::Indefinite),
        }
        self.move_supports(&mut d, moved);
        Ok(Direction::Found(d))
    }

    /// Adds the motion of the supports between two load factors.
    fn move_supports(&self, d: &mut [f64], moved: Option<[f64; 2]>) {
        let Some([from, to]) = moved else { return };
        for (&dof, &full) in self
            .system
            .constrained
            .iter()
            .zip(&self.system.prescribed_mm)
        {
            d[dof as usize] += to * full - from * full;
        }
    }

    /// Movement of the constrained unknowns between two load factors.
    fn support_motion(&self, from: f64, to: f64) -> Vec<f64> {
        let mut c = vec![0.0; 3 * self.system.nodes()];
        self.move_supports(&mut c, Some([from, to]));
        c
    }
}

impl Run<'_, '_> {
    /// Changes of displacements and load factor that meet
    /// `K du + k dl = r` and `c . du + slope dl = gap`, where `k` is the out-of-balance force that a unit of load
    /// factor brings; `left` is the share of `r` that may be left. `None` when the tangent is not positive definite even with the constraint as a stiffness.
    ///
    /// Past a snap-back the tangent has one negative eigenvalue, in the direction in which the failing zone opens. `c`
    /// has a part along it, so that `K + s c c^T` is positive definite for a large `s` when the equilibrium is a
    /// stable one for a prescribed `c . u`; and the constraint says what that adds to the right-hand side.
    pub(super) fn bordered(
        &mut self,
        at: &Evaluation,
        r: &[f64],
        c: &[f64],
        slope: f64,
        gap: f64,
        left: f64,
    ) -> Result<Option<(Vec<f64>, f64)>> {
        let (
            Body::Lattice(body),
            Tangent::Lattice(tangent),
            Preconditioner::Lattice(preconditioner),
        ) = (&self.system.body, &at.tangent, &mut self.preconditioner)
        else {
            return Ok(None);
        };
        let operator = body.operator(tangent, &self.system.constrained);
        let mut motion = vec![0.0; r.len()];
        for (&dof, &full) in self
            .system
            .constrained
            .iter()
            .zip(&self.system.prescribed_mm)
        {
            motion[dof as usize] = full;
        }
        let forces = self.system.force_vector(1.0);
        let push = right_hand_side(&operator, &self.system, forces, Some(motion.clone()));
        let mut along = vec![0.0; r.len()];
        operator.apply(c, &mut along);
        let square = dot(c, c);
        let stiffness = CONSTRAINT_STIFFNESS * dot(c, &along).abs() / (square * square);
        let stiffened = Stiffened {
            operator: &operator,
            c,
            stiffness,
        };
        let mut preconditioner = StiffenedPreconditioner {
            inner: preconditioner,
            along: Vec::new(),
        };
        let mut solutions = [vec![0.0; r.len()], vec![0.0; r.len()]];
        // K du - push dl = r, each side with `stiffness c` times that of the constraint.
        for (solution, (from, times)) in solutions.iter_mut().zip([(r, gap), (&push, -slope)]) {
            let mut rhs = from.to_vec();
            update(&mut rhs, c, |rhs, c| rhs + stiffness * times * c);
            let tolerance = (left * norm(from) / norm(&rhs)).clamp(1e-9, 0.1);
            let end = self.linear.iterate(
                &stiffened,
                &mut preconditioner,
                &mut rhs,
                solution,
                (tolerance, BORDERED_LIMIT),
            )?;
            if end != CgEnd::Converged {
                return Ok(None);
            }
        }
        let [by_residual, by_load] = solutions;
        let factor = (gap - dot(c, &by_residual)) / (dot(c, &by_load) + slope);
        if !factor.is_finite() {
            return Ok(None);
        }
        let mut d = by_residual;
        update(&mut d, &by_load, |d, by_load| d + factor * by_load);
        for (d, motion) in d.iter_mut().zip(&motion) {
            *d += factor * motion;
        }
        Ok(Some((d, factor)))
    }
}

/// `r - K c` at the free unknowns.
fn right_hand_side(
    operator: &impl WholeOperator,
    system: &System,
    r: Vec<f64>,
    c: Option<Vec<f64>>,
) -> Vec<f64> {
    let mut rhs = r;
    if let Some(c) = c {
        let mut kc = vec![0.0; c.len()];
        operator.apply_whole(&c, &mut kc);
        for (rhs, kc) in rhs.iter_mut().zip(&kc) {
            *rhs -= kc;
        }
        for &dof in &system.constrained {
            rhs[dof as usize] = 0.0;
        }
    }
    rhs
}
