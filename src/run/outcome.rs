//! From the history of a run to its failure load.

use solver::{Increment, Response, Snapshot};

use super::Assigned;
use crate::bone_model::{BoneModel, ElementKind};
use crate::exit::Failure;
use crate::plan::{ConstitutiveModel, Criterion, LoadKind, Plan};
use crate::report::curve::{force_at_n, maximum};
use crate::report::{CurvePoint, RunOutcome, RunResult};

/// Force on the loaded nodes along the loading direction, N; monitor 0 holds the loaded nodes.
pub fn force_along(increment: &Increment, direction: [f64; 3]) -> f64 {
    increment.reactions_n.first().map_or(0.0, |force| {
        (0..3).map(|axis| force[axis] * direction[axis]).sum()
    })
}

/// The curve of a run.
pub fn curve(response: &Response, direction: [f64; 3], full_mm: f64) -> Vec<CurvePoint> {
    response
        .increments
        .iter()
        .map(|increment| CurvePoint {
            increment: increment.number,
            displacement_mm: increment.factor * full_mm,
            force_n: force_along(increment, direction),
            newton_iterations: increment.iterations,
            plastic_fraction: increment.plastic_fraction,
        })
        .collect()
}

/// Largest sum of all reactions over the force, over the increments.
pub fn worst_balance(response: &Response) -> Option<f64> {
    response
        .increments
        .iter()
        .map(|increment| increment.force_balance)
        .reduce(f64::max)
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The failure load, N.
    pub load_n: Option<f64>,
    /// Where it stands on the curve, mm.
    pub displacement_mm: Option<f64>,
    /// The rule.
    pub criterion: String,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// Strength estimate of a linear compression, N.
    pub linear_strength_n: Option<f64>,
}

/// Applies the plan's criterion to a run.
pub fn failure_load(
    response: &Response,
    curve: &[CurvePoint],
    model: &BoneModel,
    plan: &Plan,
) -> Found {
    let settings = &plan.settings;
    let criterion = settings.failure.criterion;
    let forces: Vec<f64> = curve.iter().map(|point| point.force_n).collect();
    let outcome = RunOutcome::of(&response.outcome, criterion, &forces);
    let mut found = Found {
        load_n: None,
        displacement_mm: None,
        criterion: criterion.word().to_owned(),
        outcome,
        linear_strength_n: None,
    };
    match criterion {
        Criterion::MaximumForce => {
            // A maximum at the very end is no peak: the force may go on rising.
            let peak = maximum(curve).filter(|peak| {
                curve
                    .last()
                    .is_some_and(|last| peak.increment < last.increment)
            });
            if let Some(peak) = peak.filter(|_| outcome != RunOutcome::StillRising) {
                found.load_n = Some(peak.force_n);
                found.displacement_mm = Some(peak.displacement_mm);
            }
        }
        Criterion::HeightReduction => {
            let at_mm = model
                .bone_height_mm
                .map(|height| settings.failure.height_reduction_percent / 100.0 * height);
            found.load_n = at_mm.and_then(|at| force_at_n(curve, at));
            found.displacement_mm = at_mm.filter(|_| found.load_n.is_some());
        }
        Criterion::Pistoia | Criterion::None => {}
    }
    let compression = matches!(
        settings.load.case,
        LoadKind::PlatenCompression | LoadKind::EndplateCompression
    );
    if settings.material.model == ConstitutiveModel::Linear
        && compression
        && let Some(strength_n) = linear_strength_n(curve, model)
    {
        found.linear_strength_n = Some(strength_n);
        if criterion == Criterion::None {
            found.criterion = format!(
                "none; linear strength at {LINEAR_STRENGTH_PERCENT} % of the distance between the loaded faces"
            );
        }
    }
    found
}

/// Whether every result holds the failure load that was asked for.
///
/// # Errors
/// A [`Failure`] of kind no answer when one does not, of kind interrupted when the user ended a run.
pub fn answered(plan: &Plan, results: &[RunResult]) -> anyhow::Result<()> {
    if results
        .iter()
        .any(|result| result.outcome == RunOutcome::Interrupted)
    {
        return Err(Failure::interrupted("interrupted; the increments done are kept").into());
    }
    let failure = &plan.settings.failure;
    let missing = results.iter().find(|result| {
        let asked = match failure.criterion {
            Criterion::None => return result.outcome == RunOutcome::StepTooSmall,
            Criterion::Pistoia => result.pistoia_load_n,
            Criterion::MaximumForce | Criterion::HeightReduction => result.failure_load_n,
        };
        asked.is_none()
    });
    let Some(result) = missing else {
        return Ok(());
    };
    let failure = match result.outcome {
        RunOutcome::StillRising => Failure::no_answer(
            "the force was still rising at the end of the load: there is no failure load",
        )
        .with_help("raise load.displacement_mm or load.extension"),
        RunOutcome::StepTooSmall => Failure::no_answer(
            "an increment did not converge however small: there is no failure load",
        )
        .with_help("raise load.increments or solver.max_iterations; look at fields.pvd"),
        _ => Failure::no_answer("the load ended before a failure load was found"),
    };
    Err(failure.into())
}

/// Reduction at which the linear compression reads its strength, percent (Keaveny line; load-case description 3.5).
const LINEAR_STRENGTH_PERCENT: f64 = 0.68;

/// `F = 0.0068 K L` with `L` the distance of the cap faces, or the bone's height without caps.
fn linear_strength_n(curve: &[CurvePoint], model: &BoneModel) -> Option<f64> {
    let length = model.cap_distance_mm.or(model.bone_height_mm)?;
    let first = curve.first()?;
    Some(LINEAR_STRENGTH_PERCENT / 100.0 * first.force_n / first.displacement_mm * length)
}

/// Pistoia's estimate (2002): the load at which a share of the bone's volume exceeds an effective strain
/// `sqrt(2 U / E)`, by scaling a linear solution.
pub fn pistoia_load_n(
    snapshot: &Snapshot,
    model: &BoneModel,
    assigned: &Assigned,
    plan: &Plan,
    force_n: f64,
) -> Option<f64> {
    let failure = &plan.settings.failure;
    let mut strains: Vec<f64> = (0..snapshot.elements())
        .filter(|&element| model.kinds[element] != ElementKind::Cap)
        .map(|element| {
            let energy = snapshot.element(element).strain_energy_density_mpa;
            (2.0 * energy / assigned.materials.youngs_modulus_mpa[element]).sqrt()
        })
        .collect();
    strains.sort_by(f64::total_cmp);
    let above = (failure.pistoia_volume_percent / 100.0 * strains.len() as f64).round() as usize;
    let critical = *strains.get(strains.len().checked_sub(above.max(1))?)?;
    (critical > 0.0).then(|| force_n * failure.pistoia_strain_percent / 100.0 / critical)
}
