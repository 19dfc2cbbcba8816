//! Quasi-static analysis in increments: inexact Newton with line search, cut-back and a tangent that is
//! made positive where softening has taken definiteness away.

mod direction;
mod path;

use direction::{Direction, LinearState, Preconditioner};
use rayon::prelude::*;

use crate::device::{Device, LinearDevice, VoxelBody};
use crate::error::{Error, Result};
use crate::linear::{AlgebraicMultigrid, Multigrid};
use crate::load_case::{LoadCase, PathControl, Stepping};
use crate::model::{MaterialModel, Model};
use crate::operator::vector::{dot, norm};
use crate::response::{Increment, Outcome, Response};
use crate::system::{Assembled, Body, ElementFields, Evaluation, System, Want};

/// Forcing term of an increment's first linear solve over what the first iteration of the last increment left of the
/// residual. Half: the part that the linear solve leaves then settles below the part that the tangent does not know.
const FIRST_FORCING: f64 = 0.5;
/// Exponent of the forcing terms after it, `0.9 (r_k / r_k-1)^1.618`: choice 2 of Eisenstat and Walker (1996) with the
/// order that inexact Newton then has. Their safeguard, meant for terms above 0.1, never acts below the bound here.
const FORCING_POWER: f64 = 1.618;
/// Iterations of an increment up to which it was easy; after two such ones the next may be `GROWTH` times as large.
/// The rule is CalculiX's (its I_G and D_D), which counts 4: inexact iterations take one more.
const EASY: usize = 5;
const GROWTH: f64 = 1.5;
/// Largest forcing term.
const LARGEST_FORCING: f64 = 0.2;
/// Most iterations for which the positive tangent is kept. A vain try of the true one costs about what one of them does;
/// without a bound the softening femur of 1 mm takes 308 Newton iterations instead of 281.
const MOST_PATIENCE: usize = 4;
/// Work of the out-of-balance force, over that at its start, at which a line search ends.
const SETTLED: f64 = 0.8;

/// A look at a converged increment.
pub struct Snapshot<'s> {
    /// The increment.
    pub increment: &'s Increment,
    system: &'s System<'s>,
}

impl Snapshot<'_> {
    /// Displacement of every node, mm.
    pub fn displacements_mm(&self) -> Vec<[f64; 3]> {
        let nodes = self.system.nodes();
        let u = &self.system.committed;
        (0..nodes)
            .map(|node| std::array::from_fn(|c| u[c * nodes + node]))
            .collect()
    }

    /// Fields of an element.
    pub fn element(&self, element: usize) -> ElementFields {
        self.system.fields(element)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.system.elements()
    }
}

/// What an observer wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// End the run here.
    Stop,
}

/// Loads a body. `observer` sees every converged increment and may end the run.
///
/// # Errors
/// [`Error::Model`], [`Error::Material`] for a contradictory model; [`Error::FreeToMove`] when the supports
/// leave it free to move; [`Error::Singular`] when its stiffness has no inverse; [`Error::Device`] when the device
/// cannot do the work. Losing convergence is an [`Outcome`], not an error.
pub fn analyse(
    model: &Model,
    case: &LoadCase,
    stepping: &Stepping,
    observer: &mut dyn FnMut(&Snapshot) -> Control,
) -> Result<Response> {
    let mut system = System::new(model, case)?;
    system.check_supports()?;
    let hierarchy = match &mut system.body {
        Body::Lattice(body) => body.hierarchy.take(),
        Body::General(_) => None,
    };
    let preconditioner = match (&system.body, &hierarchy) {
        (Body::General(body), _) => Preconditioner::Algebraic(Box::new(AlgebraicMultigrid::new(
            model.mesh.nodes_mm(),
            body.corners.as_ref(),
        ))),
        (Body::Lattice(_), Some(hierarchy)) => Preconditioner::Lattice(Multigrid::new(hierarchy)),
        (Body::Lattice(_), None) => {
            return Err(Error::Model("the lattice has no hierarchy".into()));
        }
    };
    let voxels = match (&system.body, &hierarchy) {
        (Body::Lattice(body), Some(hierarchy)) => Some(VoxelBody {
            topology: &body.topology,
            tables: &body.tables,
            flow_shape: body.flow_shape.as_ref(),
            constrained: &system.constrained,
            hierarchy,
        }),
        _ => None,
    };
    if stepping.path == PathControl::Dissipation && stepping.device != Device::Cpu {
        return Err(Error::Device {
            device: stepping.device,
            reason: "path-following by dissipation is the processor's work".into(),
            remedy: "solve it on the CPU".into(),
        });
    }
    let device = stepping.device.open(voxels)?;
    if device.is_some() && stepping.path != PathControl::LoadFactor {
        return Err(Error::Device {
            device: stepping.device,
            reason: "a path is followed on the CPU only".into(),
            remedy: "prescribe the load factor, or compute on the CPU".into(),
        });
    }
    let mut run = Run {
        system,
        case,
        stepping,
        preconditioner,
        device,
        time: 0.0,
        previous: None,
        increments: Vec::new(),
        iterations: 0,
        assembled: Assembled::default(),
        linear: LinearState::default(),
        linear_before: 0,
        evaluations: 0,
        first_reduction: 0.1,
        history: Vec::new(),
        cutbacks: 0,
    };
    let outcome = match model.material_model {
        MaterialModel::Linear => run.linear(observer)?,
        MaterialModel::SecantExplicit => run.explicit(observer)?,
        _ => match stepping.path {
            PathControl::LoadFactor => run.nonlinear(observer)?,
            PathControl::Dissipation => run.follow(observer)?,
        },
    };
    let nodes = run.system.nodes();
    let u = &run.system.committed;
    Ok(Response {
        displacements_mm: (0..3 * nodes).map(|i| u[i % 3 * nodes + i / 3]).collect(),
        increments: run.increments,
        outcome,
        iterations: run.iterations,
        linear_iterations: run.linear.iterations,
        set_ups: run.linear.set_ups,
        evaluations: run.evaluations,
        cutbacks: run.cutbacks,
    })
}

struct Run<'a, 'h> {
    system: System<'a>,
    case: &'a LoadCase,
    stepping: &'a Stepping,
    preconditioner: Preconditioner<'h>,
    /// Solves with that preconditioner; `None` = the processor.
    device: Option<Box<dyn LinearDevice>>,
    /// Load factor of the committed state.
    time: f64,
    /// Displacements and load factor of the state before the committed one.
    previous: Option<(Vec<f64>, f64)>,
    increments: Vec<Increment>,
    iterations: usize,
    /// The last tangent of a body that is no lattice; the next one takes its memory.
    assembled: Assembled,
    linear: LinearState,
    /// Linear iterations when the last increment was accepted.
    linear_before: usize,
    evaluations: usize,
    /// What the first iteration of the last increment left of the residual.
    first_reduction: f64,
    /// Relative residuals of the increment under way.
    history: Vec<f64>,
    cutbacks: usize,
}

/// Why an increment did not converge; carries the last relative residual.
struct NotConverged(f64);

impl Run<'_, '_> {
    fn evaluate(&mut self, u: &[f64], want: Want) -> Evaluation {
        self.evaluations += 1;
        self.system.evaluate(u, want)
    }

    /// Out-of-balance forces at the free unknowns (external minus internal) and their norm over that of the reactions.
    fn residual(&self, evaluation: &Evaluation, time: f64) -> (Vec<f64>, f64) {
        let mut r: Vec<f64> = evaluation.force.par_iter().map(|f| -f).collect();
        for &(dof, force) in &self.system.forces {
            r[dof as usize] += time * force;
        }
        let mut reactions = 0.0;
        for &dof in &self.system.constrained {
            reactions += r[dof as usize] * r[dof as usize];
            r[dof as usize] = 0.0;
        }
        let external: f64 = self.system.forces.iter().map(|(_, f)| f * f).sum();
        let reference = reactions.sqrt().max(time.abs() * external.sqrt());
        let size = norm(&r);
        (
            r,
            if size == 0.0 {
                0.0
            } else {
                size / reference.max(f64::MIN_POSITIVE)
            },
        )
    }

    fn linear(&mut self, observer: &mut dyn FnMut(&Snapshot) -> Control) -> Result<Outcome> {
        let zero = vec![0.0; 3 * self.system.nodes()];
        let mut at = self.evaluate(&zero, Want::TRUE_TANGENT);
        drop(zero);
        let (r, _) = self.residual(&at, 1.0);
        // Nothing has moved yet: vectors less while the equations are solved.
        at.force = Vec::new();
        self.system.committed = Vec::new();
        let moved = Some([0.0, 1.0]);
        let tolerance = self.stepping.linear_tolerance;
        let u = match self.direction(&at, r, moved, tolerance)? {
            Direction::Found(u) => u,
            Direction::Indefinite | Direction::Truncated(_) => {
                return Err(Error::Singular(
                    "a direction without stiffness was met".into(),
                ));
            }
            Direction::Unfinished => return Err(Error::Unfinished { tolerance }),
        };
        drop(at);
        self.assembled = Assembled::default();
        self.system.committed = vec![0.0; u.len()];
        let at = self.evaluate(&u, Want::Forces);
        let (_, relative) = self.residual(&at, 1.0);
        self.accept(&u, &at, 1.0, 1, relative);
        drop((u, at));
        self.show(observer);
        Ok(Outcome::Linear)
    }

    /// One linear solve per increment with moduli that lag one increment behind (Sas 2020, as published).
    fn explicit(&mut self, observer: &mut dyn FnMut(&Snapshot) -> Control) -> Result<Outcome> {
        for &time in &self.stepping.factors.clone() {
            let from = self.system.committed.clone();
            let at = self.evaluate(&from, Want::TRUE_TANGENT);
            let (r, _) = self.residual(&at, time);
            let moved = Some([self.time, time]);
            let Direction::Found(d) =
                self.direction(&at, r, moved, self.stepping.linear_tolerance)?
            else {
                return Err(Error::Singular("a secant stiffness is not positive".into()));
            };
            let u: Vec<f64> = from.iter().zip(&d).map(|(u, d)| u + d).collect();
            let at = self.evaluate(&u, Want::Forces);
            let (_, relative) = self.residual(&at, time);
            self.accept(&u, &at, time, 1, relative);
            if self.show(observer) == Control::Stop || self.peak_passed() {
                break;
            }
        }
        Ok(if self.peak_passed() {
            Outcome::PeakPassed
        } else {
            self.end_of_load()
        })
    }

    fn nonlinear(&mut self, observer: &mut dyn FnMut(&Snapshot) -> Control) -> Result<Outcome> {
        let mut fraction = self.stepping.first_fraction;
        let (mut easy, mut cut) = (0, false);
        let mut start = 0.0;
        let last = self.stepping.factors.last().copied().unwrap_or(0.0);
        for target in self.stepping.factors.clone() {
            let planned = target - start;
            while self.time < target - 1e-12 * planned.abs().max(1.0) {
                let step = (fraction * planned).min(target - self.time);
                let time = if self.time + step > target - 1e-9 * planned {
                    target
                } else {
                    self.time + step
                };
                match self.increment(time, cut)? {
                    Ok(iterations) => {
                        cut = false;
                        easy = if iterations <= EASY { easy + 1 } else { 0 };
                        if easy >= 2 && fraction < 1.0 {
                            fraction = (fraction * GROWTH).min(1.0);
                            easy = 0;
                        }
                        if self.show(observer) == Control::Stop {
                            return Ok(Outcome::TargetReached);
                        }
                        if self.peak_passed() {
                            return Ok(Outcome::PeakPassed);
                        }
                        let at_end = self.time >= last;
                        if self.increments.len() >= self.stepping.most_increments && !at_end {
                            return Ok(Outcome::IncrementLimit);
                        }
                    }
                    Err(NotConverged(residual)) => {
                        fraction *= 0.5;
                        (easy, cut) = (0, true);
                        self.cutbacks += 1;
                        if fraction < self.stepping.smallest_fraction {
                            return Ok(Outcome::StepTooSmall {
                                factor: time,
                                residual,
                            });
                        }
                    }
                }
            }
            start = target;
        }
        Ok(self.end_of_load())
    }

    /// First guess of an increment: the last one continued, or the tangent's answer. Where the tangent has none, the run
    /// keeps the increments it has; without any, it is refused.
    fn predict(&mut self, time: f64, by_tangent: bool) -> Result<Result<Vec<f64>, NotConverged>> {
        let u = &self.system.committed;
        if let (Some((before, from)), false) = (&self.previous, by_tangent) {
            let factor = (time - self.time) / (self.time - from);
            let mut guess: Vec<f64> = u
                .par_iter()
                .zip(before)
                .map(|(u, b)| u + factor * (u - b))
                .collect();
            for (&dof, &full) in self
                .system
                .constrained
                .iter()
                .zip(&self.system.prescribed_mm)
            {
                guess[dof as usize] = time * full;
            }
            return Ok(Ok(guess));
        }
        let u = u.clone();
        let at = self.evaluate(&u, Want::POSITIVE_TANGENT);
        let (r, relative) = self.residual(&at, time);
        let moved = Some([self.time, time]);
        match self.direction(&at, r, moved, 1e-3)? {
            Direction::Found(d) => Ok(Ok(u.iter().zip(&d).map(|(u, d)| u + d).collect())),
            _ if !self.increments.is_empty() => Ok(Err(NotConverged(relative))),
            Direction::Unfinished => Err(Error::Unfinished { tolerance: 1e-3 }),
            Direction::Indefinite | Direction::Truncated(_) => Err(Error::Singular(
                "the tangent is not positive at the start of an increment; check that the supports hold the body".into(),
            )),
        }
    }

    /// Newton iterations to load factor `time`; the number of them, or why it did not converge.
    ///
    /// J2 plasticity has an incremental potential whose gradient is the out-of-balance force, also in
    /// softening; an equilibrium is a minimum of it. So a direction must point downhill. The one of the true tangent does, and where
    /// that is not positive definite, what conjugate gradients had found when they met negative curvature (Dembo and Steihaug
    /// 1983); where they had found nothing, that of a tangent whose slopes are kept positive. The directions of negative
    /// curvature themselves (Steihaug 1983) lead to other minima: failure loads on a femur moved by 0.05 %, against none by
    /// these.
    fn increment(&mut self, time: f64, by_tangent: bool) -> Result<Result<usize, NotConverged>> {
        let mut u = match self.predict(time, by_tangent)? {
            Ok(guess) => guess,
            Err(failed) => return Ok(Err(failed)),
        };
        let mut want = Want::TRUE_TANGENT;
        let mut at = self.evaluate(&u, want);
        let (mut r, mut relative) = self.residual(&at, time);
        let mut forcing = (FIRST_FORCING * self.first_reduction).clamp(0.01, LARGEST_FORCING);
        // Iterations for which the positive tangent is kept before the true one is tried again.
        let (mut keep, mut patience) = (0usize, 2usize);
        self.history.clear();
        for iteration in 0..self.stepping.max_iterations {
            self.history.push(relative);
            if relative <= self.stepping.tolerance && !at.failed {
                self.accept(&u, &at, time, iteration, relative);
                return Ok(Ok(iteration));
            }
            if !relative.is_finite() {
                break;
            }
            self.iterations += 1;
            // Half the tolerance: the other half is left to what the tangent does not know.
            let enough = 0.5 * self.stepping.tolerance / relative;
            let tolerance = forcing.max(enough).min(LARGEST_FORCING);
            let mut d = self.direction(&at, r.clone(), None, tolerance)?.along(&r);
            if d.is_none() && want == Want::TRUE_TANGENT {
                (keep, patience) = (patience, (2 * patience).min(MOST_PATIENCE));
                at = self.evaluate(&u, Want::POSITIVE_TANGENT);
                d = self.direction(&at, r.clone(), None, tolerance)?.along(&r);
            }
            let Some(d) = d else { break };
            want = if keep > 0 {
                Want::POSITIVE_TANGENT
            } else {
                Want::TRUE_TANGENT
            };
            keep = keep.saturating_sub(1);
            let before = relative;
            (u, at, r, relative) = self.line_search(&u, &d, time, want, dot(&d, &r));
            let reduction = relative / before;
            if iteration == 0 {
                self.first_reduction = reduction;
            }
            forcing = (0.9 * reduction.powf(FORCING_POWER)).clamp(1e-4, LARGEST_FORCING);
        }
        Ok(Err(NotConverged(relative)))
    }

    /// Walks along `d` to where the out-of-balance force does little work any more (`|r.d|` at most 0.8
    /// of its start `work`), by doubling while it still pushes on, and by regula falsi once it pushes back.
    fn line_search(
        &mut self,
        u: &[f64],
        d: &[f64],
        time: f64,
        want: Want,
        work: f64,
    ) -> (Vec<f64>, Evaluation, Vec<f64>, f64) {
        let mut probe = |length: f64| {
            let trial: Vec<f64> = u.par_iter().zip(d).map(|(u, d)| u + length * d).collect();
            let at = self.evaluate(&trial, want);
            let (r, relative) = self.residual(&at, time);
            let push = dot(d, &r) / work;
            ((trial, at, r, relative), push)
        };
        let (mut low, mut low_push) = (0.0, 1.0);
        let mut length = 1.0;
        let mut high: Option<(f64, f64)> = None;
        let mut tries = 0;
        loop {
            let (found, push) = probe(length);
            tries += 1;
            let stop = push.abs() <= SETTLED || tries == 6;
            if stop && push.is_finite() || tries > 12 {
                return found;
            }
            if push > 0.0 {
                (low, low_push) = (length, push);
                length = match high {
                    None => 2.0 * length,
                    Some((high, _)) => 0.5 * (low + high),
                };
            } else {
                high = Some((length, push));
                // Regula falsi, kept away from the ends; a push that is no number only halves.
                let share = if push.is_finite() {
                    low_push / (low_push - push)
                } else {
                    0.5
                };
                length = low + (length - low) * share.clamp(0.1, 0.9);
            }
        }
    }

    /// Commits a converged state and records the increment.
    fn accept(&mut self, u: &[f64], at: &Evaluation, time: f64, iterations: usize, residual: f64) {
        let nodes = self.system.nodes();
        self.previous = Some((self.system.committed.clone(), self.time));
        self.system.commit(u);
        let nodal = |dof: usize| at.force[dof] - time * self.system.force(dof);
        let reactions_n: Vec<[f64; 3]> = self
            .case
            .monitors
            .iter()
            .map(|set| {
                std::array::from_fn(|c| {
                    set.nodes
                        .iter()
                        .map(|&node| nodal(c * nodes + node as usize))
                        .sum()
                })
            })
            .collect();
        let mut total = [0.0; 3];
        for &(dof, force) in &self.system.forces {
            total[dof as usize / nodes] += time * force;
        }
        for &dof in &self.system.constrained {
            total[dof as usize / nodes] += nodal(dof as usize);
        }
        let length = |v: &[f64; 3]| (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
        let largest = reactions_n.iter().map(length).fold(0.0, f64::max);
        let elements = self.system.elements();
        self.increments.push(Increment {
            number: self.increments.len() + 1,
            factor: time,
            reactions_n,
            force_balance: if largest > 0.0 {
                length(&total) / largest
            } else {
                0.0
            },
            iterations,
            linear_iterations: self.linear.iterations - self.linear_before,
            residual,
            residual_history: std::mem::take(&mut self.history),
            plastic_fraction: 1.0 - at.phases[0] as f64 / elements as f64,
            phases: at.phases,
        });
        self.linear_before = self.linear.iterations;
        self.time = time;
    }

    fn show(&self, observer: &mut dyn FnMut(&Snapshot) -> Control) -> Control {
        match self.increments.last() {
            Some(increment) => observer(&Snapshot {
                increment,
                system: &self.system,
            }),
            None => Control::Continue,
        }
    }

    /// Watched force of every increment.
    fn watched(&self) -> Option<Vec<f64>> {
        let (monitor, direction) = self.stepping.watch?;
        let force = |increment: &Increment| {
            increment
                .reactions_n
                .get(monitor)
                .map_or(0.0, |f| (0..3).map(|c| f[c] * direction[c]).sum::<f64>())
        };
        Some(self.increments.iter().map(force).collect())
    }

    /// How a run ends that reached its last load factor: still rising when the last increment set a new maximum, by
    /// more than the error to which equilibrium is met.
    fn end_of_load(&self) -> Outcome {
        let rising = self.watched().is_some_and(|forces| {
            forces.split_last().is_some_and(|(last, before)| {
                let peak = before.iter().copied().fold(0.0, f64::max);
                *last > peak * (1.0 + 2.0 * self.stepping.tolerance)
            })
        });
        if rising {
            Outcome::StillRising
        } else {
            Outcome::TargetReached
        }
    }

    /// Whether the watched force has stayed below its maximum long enough.
    fn peak_passed(&self) -> bool {
        let (Some(forces), Some(below)) = (self.watched(), self.stepping.stop_below) else {
            return false;
        };
        let peak = forces.iter().copied().fold(0.0, f64::max);
        let count = self.stepping.peak_increments;
        forces.len() > count
            && forces
                .iter()
                .rev()
                .take(count)
                .all(|&force| force < below * peak)
    }
}
