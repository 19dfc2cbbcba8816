//! `result.json`: the answer of a run, key by key.
//!
//! Keys carry their unit. What does not exist is `null`; a number that is not finite is written as
//! `null` too, because JSON has no word for it.

use serde::Serialize;

pub use calibration::fit::{Check, CheckStatus};

use super::landmarks::Landmarks;
use crate::plan::{Basis, Bone, Criterion, Level, MeshKind, Side};
use crate::progress::Timings;
use crate::risk::Risk;

/// The word for the status of a check.
pub fn status_word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Pass => "pass",
        CheckStatus::Review => "review",
        CheckStatus::Refuse => "refuse",
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The force passed a maximum and fell clearly below it.
    PeakPassed,
    /// The planned displacement was reached; a maximum of the force lies before it, or none was looked for.
    TargetReached,
    /// An increment did not converge however small.
    StepTooSmall,
    /// The planned displacement was reached and the force was still rising: there is no failure load.
    StillRising,
    /// A linear analysis.
    Linear,
    /// The user ended it before any of these.
    Interrupted,
}

impl RunOutcome {
    /// The word in `result.json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::PeakPassed => "peak_passed",
            Self::TargetReached => "target_reached",
            Self::StepTooSmall => "step_too_small",
            Self::StillRising => "still_rising",
            Self::Linear => "linear",
            Self::Interrupted => "interrupted",
        }
    }

    /// The outcome of an analysis whose failure load follows `criterion` and whose force (N, positive in the
    /// loading direction) went through `forces_n`.
    pub fn of(outcome: &solver::Outcome, criterion: Criterion, forces_n: &[f64]) -> Self {
        let at_end = forces_n
            .split_last()
            .is_some_and(|(last, before)| before.iter().all(|force| force < last));
        match outcome {
            solver::Outcome::Linear => Self::Linear,
            solver::Outcome::PeakPassed => Self::PeakPassed,
            solver::Outcome::StepTooSmall { .. } => Self::StepTooSmall,
            _ if criterion == Criterion::MaximumForce && at_end => Self::StillRising,
            _ => Self::TargetReached,
        }
    }
}

/// The mesh in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeshStatistics {
    /// Element kind.
    pub kind: MeshKind,
    /// Elements, caps included.
    pub elements: usize,
    /// Nodes.
    pub nodes: usize,
    /// Mean element volume, mm³.
    pub mean_volume_mm3: f64,
    /// Smallest scaled Jacobian of hexahedra, 1 for a cube; smallest radius ratio of tetrahedra, 1 for a regular one.
    pub min_quality: Option<f64>,
}

/// The density of the bone's elements, in the basis of the calibration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DensityStatistics {
    /// What it is equivalent to.
    pub basis: Basis,
    /// Mean over the bone's elements, mg/cm³.
    pub mean_mg_cm3: f64,
    /// Smallest, mg/cm³.
    pub min_mg_cm3: f64,
    /// Largest, mg/cm³.
    pub max_mg_cm3: f64,
    /// Elements whose density or modulus was raised to a floor.
    pub clamped_elements: usize,
}

/// Everything that `result.json` says. Key order is field order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    /// The bone.
    pub bone: Bone,
    /// The patient's side; `null` for a vertebra.
    pub side: Option<Side>,
    /// The vertebral level; `null` for a femur or where it is not known.
    pub level: Option<Level>,
    /// The failure load, N; `null` when there is none.
    pub failure_load_n: Option<f64>,
    /// Displacement of the loading device at the failure load, mm.
    pub failure_displacement_mm: Option<f64>,
    /// The rule, such as `maximum_force`, or with a linear strength the words of that rule.
    pub criterion: String,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// Force over displacement at the start of the curve, N/mm.
    pub stiffness_n_per_mm: Option<f64>,
    /// Force at the planned displacement, N; `null` when it was not reached.
    pub force_at_target_n: Option<f64>,
    /// Strength estimate of a linear compression, N.
    pub linear_strength_n: Option<f64>,
    /// Pistoia's estimate, N.
    pub pistoia_load_n: Option<f64>,
    /// Height of the bone along the load, mm.
    pub bone_height_mm: Option<f64>,
    /// Where the parts of the bone are; `null` where the load needs none.
    pub landmarks: Option<Landmarks>,
    /// Magnitude of the sum of all reactions over the force.
    pub force_balance: Option<f64>,
    /// The mesh.
    pub mesh: MeshStatistics,
    /// The density of the elements.
    pub density: DensityStatistics,
    /// The calibration, its rods and its own checks.
    pub calibration: calibration::Calibration,
    /// The quality gates.
    pub checks: Vec<Check>,
    /// The failure load in proportion.
    pub risk: Risk,
    /// Newton or secant iterations, cut attempts included.
    pub newton_iterations: usize,
    /// Iterations of the linear solver.
    pub linear_iterations: usize,
    /// Seconds per stage.
    pub timings_s: Timings,
    /// Largest resident memory, MiB.
    pub peak_memory_mib: Option<f64>,
}

impl RunResult {
    /// The file.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The bone in words: `left femur`, `L2`.
    pub fn which(&self) -> String {
        match (&self.side, &self.level) {
            (Some(side), _) => format!("{side} {}", self.bone),
            (_, Some(level)) => level.to_string(),
            _ => self.bone.to_string(),
        }
    }

    /// Names of the checks that want a look, separated by blanks.
    pub fn reviewed(&self) -> String {
        let names: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| check.status != CheckStatus::Pass)
            .map(|check| check.name.as_str())
            .collect();
        names.join(" ")
    }

    /// The failure load in words, for the last line of a run.
    pub fn headline(&self) -> String {
        match (self.failure_load_n, self.failure_displacement_mm) {
            (Some(load_n), Some(at_mm)) => {
                format!(
                    "failure load {load_n:.0} N at {at_mm:.3} mm ({})",
                    self.criterion
                )
            }
            (Some(load_n), None) => format!("failure load {load_n:.0} N ({})", self.criterion),
            (None, _) => {
                let mut text = format!("no failure load: {}", self.outcome.word());
                if let Some(stiffness) = self.stiffness_n_per_mm {
                    text += &format!("; stiffness {stiffness:.0} N/mm");
                }
                if let Some(strength_n) = self.linear_strength_n {
                    text += &format!("; linear strength {strength_n:.0} N");
                }
                if let Some(load_n) = self.pistoia_load_n {
                    text += &format!("; Pistoia load {load_n:.0} N");
                }
                text
            }
        }
    }
}
