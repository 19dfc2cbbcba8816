//! Path-following: the plastic work of an increment is prescribed and the load factor is found.

use super::{Control, NotConverged, Run, Snapshot};
use crate::error::{Error, Result};
use crate::operator::vector::norm;
use crate::response::Outcome;
use crate::system::{Dissipation, Want};

/// Newton iterations of an increment at which its plastic work is neither raised nor lowered (Ramm 1981).
const WANTED_ITERATIONS: f64 = 5.0;
/// Newton iterations after which an increment is cut.
const MOST_ITERATIONS: usize = 25;
/// Relative tolerance of the prescribed plastic work. It moves the point along the path, not off it.
const WORK_TOLERANCE: f64 = 1e-3;
/// Largest share of the residual that a linear solve leaves.
const FORCING: f64 = 1e-2;
/// Plastic work of the first increment over that of the elastic answer at the next planned load factor.
const FIRST_SHARE: f64 = 0.25;

/// A guess at the next point of the path.
struct Guess {
    u: Vec<f64>,
    factor: f64,
}

impl Run<'_, '_> {
    /// Load control until something yields, then increments of plastic work.
    pub(super) fn follow(
        &mut self,
        observer: &mut dyn FnMut(&Snapshot) -> Control,
    ) -> Result<Outcome> {
        let factors = self.stepping.factors.clone();
        let Some(&last) = factors.last() else {
            return Ok(self.end_of_load());
        };
        let largest_step = last / factors.len() as f64;
        let mut work = 0.0;
        let mut smallest_work = 0.0;
        while self.increments.len() < self.stepping.most_increments {
            let step = match factors.get(self.increments.len()) {
                Some(&next) if work == 0.0 => next - self.time,
                _ => largest_step,
            };
            if work == 0.0 {
                let next = (self.time + step).min(last);
                let beyond = match self.predict(next, false)? {
                    Ok(beyond) => beyond,
                    Err(NotConverged(residual)) => {
                        let factor = next;
                        return Ok(Outcome::StepTooSmall { factor, residual });
                    }
                };
                let planned = self.dissipation(&beyond)?.work;
                if self.previous.is_none() || planned == 0.0 {
                    if let Err(NotConverged(residual)) = self.increment(next, true)? {
                        let factor = next;
                        return Ok(Outcome::StepTooSmall { factor, residual });
                    }
                    if self.show(observer) == Control::Stop {
                        return Ok(Outcome::TargetReached);
                    }
                    if next == last {
                        return Ok(self.end_of_load());
                    }
                    continue;
                }
                work = FIRST_SHARE * planned;
                smallest_work = self.stepping.smallest_fraction * work;
            }
            let guess = self.guess(work, step)?;
            let before = self.time;
            match self.work_increment(guess, work, last)? {
                Ok(Reached::Point(iterations)) => {
                    let easy = (WANTED_ITERATIONS / iterations.max(1) as f64).sqrt();
                    let mut scale = easy.clamp(0.5, 1.5);
                    let moved = (self.time - before).abs();
                    if moved * scale > step {
                        scale = (step / moved).max(0.25);
                    }
                    work *= scale;
                    if self.show(observer) == Control::Stop {
                        return Ok(Outcome::TargetReached);
                    }
                    // A body without strength left is past its peak, whatever is watched.
                    if self.peak_passed() || self.time <= 0.0 {
                        return Ok(Outcome::PeakPassed);
                    }
                }
                Ok(Reached::End) => {
                    if let Err(NotConverged(residual)) = self.increment(last, true)? {
                        return Ok(Outcome::StepTooSmall {
                            factor: last,
                            residual,
                        });
                    }
                    self.show(observer);
                    return Ok(self.end_of_load());
                }
                Err(NotConverged(residual)) => {
                    work *= 0.5;
                    self.cutbacks += 1;
                    if work < smallest_work {
                        return Ok(Outcome::StepTooSmall {
                            factor: self.time,
                            residual,
                        });
                    }
                }
            }
        }
        Ok(Outcome::IncrementLimit)
    }

    fn dissipation(&self, u: &[f64]) -> Result<Dissipation> {
        self.system.dissipation(u).ok_or_else(|| {
            Error::Model(
                "path-following by dissipation is for von Mises material on voxels without incompatible modes".into(),
            )
        })
    }

    /// The last increment continued to the wanted plastic work. Where it turns out elastic when continued, the load
    /// factor is raised, as at the very start.
    fn guess(&self, work: f64, step: f64) -> Result<Guess> {
        let Some((before, from)) = &self.previous else {
            return Ok(Guess {
                u: self.system.committed.clone(),
                factor: self.time,
            });
        };
        let u = &self.system.committed;
        let along = |share: f64| -> Vec<f64> {
            u.iter()
                .zip(before)
                .map(|(u, b)| u + share * (u - b))
                .collect()
        };
        let moved = self.time - from;
        let (mut low, mut high) = (0.0, step / moved.abs().max(f64::MIN_POSITIVE));
        let mut tries = 0;
        while self.dissipation(&along(high))?.work < work && tries < 6 {
            (low, high) = (high, 2.0 * high);
            tries += 1;
        }
        for _ in 0..12 {
            let middle = 0.5 * (low + high);
            if self.dissipation(&along(middle))?.work < work {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(Guess {
            u: along(high),
            factor: self.time + high * moved,
        })
    }

    /// Newton iterations to the point of the path with plastic work `work` beyond the last.
    fn work_increment(
        &mut self,
        guess: Guess,
        work: f64,
        last: f64,
    ) -> Result<Result<Reached, NotConverged>> {
        let Guess { mut u, mut factor } = guess;
        self.history.clear();
        let mut relative = f64::INFINITY;
        for iteration in 0..MOST_ITERATIONS {
            let mut at = self.evaluate(&u, Want::TRUE_TANGENT);
            let r;
            (r, relative) = self.residual(&at, factor);
            let Dissipation {
                work: done,
                gradient,
            } = self.dissipation(&u)?;
            self.history.push(relative);
            let gap = work - done;
            if relative <= self.stepping.tolerance && gap.abs() <= WORK_TOLERANCE * work {
                if factor >= last {
                    return Ok(Ok(Reached::End));
                }
                self.accept(&u, &at, factor, iteration, relative);
                return Ok(Ok(Reached::Point(iteration)));
            }
            if !relative.is_finite() || norm(&gradient) == 0.0 {
                break;
            }
            self.iterations += 1;
            let slope = self
                .system
                .constrained
                .iter()
                .zip(&self.system.prescribed_mm)
                .map(|(&dof, &full)| gradient[dof as usize] * full)
                .sum();
            let mut c = gradient;
            for &dof in &self.system.constrained {
                c[dof as usize] = 0.0;
            }
            let left = (0.3 * self.stepping.tolerance / relative).clamp(1e-4, FORCING);
            let mut found = self.bordered(&at, &r, &c, slope, gap, left)?;
            if found.is_none() {
                at = self.evaluate(&u, Want::POSITIVE_TANGENT);
                found = self.bordered(&at, &r, &c, slope, gap, left)?;
            }
            let Some((d, change)) = found else { break };
            for (u, d) in u.iter_mut().zip(&d) {
                *u += d;
            }
            factor += change;
        }
        Ok(Err(NotConverged(relative)))
    }
}

/// Where an increment came to.
enum Reached {
    /// A point of the path, after so many iterations.
    Point(usize),
    /// The last load factor lies before it.
    End,
}
