//! How good a found phantom is: rods left out, drift along z, cupping across it.

use super::layout::Placing;
use super::lines::Axis;
use super::section::{Section, profile};
use super::slabs::Slabs;
use super::{RejectedRod, reasons};
use crate::fit::{Check, CheckStatus, MINDWAYS_SLOPE_OFFSET};
use crate::rods::{Rod, RodCentre};

/// A drift along z above this is for review, HU per 100 mm. Our own choice: at 200 HU it is 5 %.
const DRIFT_HU: f64 = 10.0;
/// A difference of the phantom's plastic between its ends and its middle above this is for review, HU. Our
/// own choice: half of what tells two scanners apart.
const CUPPING_HU: f64 = 15.0;

/// A standard error of the slope by noise above this is for review, %. Our own choice.
const NOISE_PERCENT: f64 = 0.7;

pub(super) fn checks(
    slabs: &Slabs<'_>,
    placing: &Placing,
    axes: &[Axis],
    total: usize,
    faint: usize,
    rejected: &[RejectedRod],
) -> Vec<Check> {
    vec![
        found(axes.len(), total, faint, rejected),
        drift(slabs, placing, axes),
        cupping(slabs, placing, axes),
    ]
}

fn found(used: usize, total: usize, faint: usize, rejected: &[RejectedRod]) -> Check {
    let mut reason = format!("{used} of {total} rods were found by their geometry");
    if faint > 0 {
        reason += &format!(", {faint} of them by the layout alone, where the plastic hides them");
    }
    if !rejected.is_empty() {
        reason += &format!("; left out: {}", reasons(rejected));
    }
    Check {
        name: "phantom_found".into(),
        status: if rejected.is_empty() {
            CheckStatus::Pass
        } else {
            CheckStatus::Review
        },
        value: Some(used as f64),
        reason,
    }
}

/// Standard error of the slope, %, that the noise alone leaves: from the scatter of each rod's mean from slab
/// to slab, which knows how the noise is correlated inside a slab.
pub(super) fn noise_percent(
    slabs: &Slabs<'_>,
    placing: &Placing,
    rods: &[(Rod, RodCentre, Axis)],
) -> f64 {
    let count = rods.len() as f64;
    let mean = rods
        .iter()
        .map(|(rod, ..)| rod.reference_mg_cm3)
        .sum::<f64>()
        / count;
    let hu_mean = rods.iter().map(|(rod, ..)| comparable(rod)).sum::<f64>() / count;
    let slabs_used = (1.0 - 2.0 * super::END_SHARE) * placing.extent.len() as f64;
    let (mut rise, mut noise) = (0.0, 0.0);
    for (rod, cylinder, axis) in rods {
        let off = rod.reference_mg_cm3 - mean;
        // The profile's core may be smaller than the cylinder: noise falls with the area's root.
        let core = super::section::core_mm(placing.radius_mm);
        let smaller = (core / cylinder.radius_mm).min(1.0);
        let profile = profile(slabs, axis, placing.radius_mm);
        let scatter = super::section::scatter(slabs, &profile, &placing.extent) * smaller;
        rise += off * (comparable(rod) - hu_mean);
        noise += (off * scatter).powi(2) / slabs_used.max(1.0);
    }
    // Slope rise / Sxx, its error sqrt(noise) / Sxx.
    100.0 * noise.sqrt() / rise.abs()
}

/// CT number less what the rod's own material adds to it: what the slope of the calibration is the rise of (see [`crate::fit`]).
fn comparable(rod: &Rod) -> f64 {
    let material = |water: f64| water + MINDWAYS_SLOPE_OFFSET * rod.reference_mg_cm3;
    rod.hu_mean - rod.water_mg_cm3.map_or(0.0, material)
}

pub(super) fn noise(percent: f64) -> Check {
    Check {
        name: "phantom_noise_percent".into(),
        status: if percent > NOISE_PERCENT {
            CheckStatus::Review
        } else {
            CheckStatus::Pass
        },
        value: Some(percent),
        reason: format!(
            "the noise of the image leaves the slope uncertain by {percent:.2} %; above {NOISE_PERCENT} % it is for review"
        ),
    }
}

/// Mean slope of the rods' CT numbers along z.
fn drift(slabs: &Slabs<'_>, placing: &Placing, axes: &[Axis]) -> Check {
    let over = placing.extent.clone();
    let slopes: Vec<f64> = axes
        .iter()
        .filter_map(|axis| {
            let profile = profile(slabs, axis, placing.radius_mm);
            let points: Option<Vec<[f64; 3]>> = over
                .clone()
                .map(|s| profile[s].map(|hu| [slabs.w_mm[s], hu, 0.0]))
                .collect();
            Some(100.0 * super::lines::fitted(&points?).du)
        })
        .collect();
    if slopes.is_empty() {
        return Check {
            name: "phantom_drift_hu_per_100_mm".into(),
            status: CheckStatus::Review,
            value: None,
            reason: "no rod is seen over the whole phantom: drift along it is not measured".into(),
        };
    }
    let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
    let length = over.len() as f64 * slabs.thickness_mm;
    // A slope over a short phantom is mostly noise: what counts is the change over its length.
    let large = mean.abs() > DRIFT_HU && mean.abs() * length / 100.0 > DRIFT_HU / 2.0;
    Check {
        name: "phantom_drift_hu_per_100_mm".into(),
        status: if large {
            CheckStatus::Review
        } else {
            CheckStatus::Pass
        },
        value: Some(mean),
        reason: format!(
            "the rods change by {mean:.1} HU per 100 mm along {length:.0} mm; above {DRIFT_HU} it is for review, if they change by more than {} HU in all",
            DRIFT_HU / 2.0
        ),
    }
}

/// The phantom's plastic round the outer rods less that round the inner ones: the same material, so a
/// difference is beam hardening or scatter. With two rods there is no middle.
fn cupping(slabs: &Slabs<'_>, placing: &Placing, axes: &[Axis]) -> Check {
    let w = 0.5 * (slabs.w_mm[placing.extent.start] + slabs.w_mm[placing.extent.end - 1]);
    let places: Vec<[f64; 2]> = axes.iter().map(|axis| axis.at(w)).collect();
    let count = places.len().max(1) as f64;
    let middle = [0, 1].map(|k| places.iter().map(|p| p[k]).sum::<f64>() / count);
    let mut around: Vec<(f64, f64)> = axes
        .iter()
        .zip(&places)
        .filter_map(|(axis, at)| {
            let section = Section::along(slabs, axis, placing.extent.clone());
            let levels = section.levels([0.0; 2], placing.radius_mm)?;
            let distance = (at[0] - middle[0]).hypot(at[1] - middle[1]);
            Some((distance, levels.around))
        })
        .collect();
    around.sort_by(|a, b| a.0.total_cmp(&b.0));
    let value = (around.len() >= 3).then(|| {
        let inner = &around[..around.len() - 2];
        let outer = &around[around.len() - 2..];
        let mean = |part: &[(f64, f64)]| part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64;
        mean(outer) - mean(inner)
    });
    let (status, reason) = match value {
        Some(hu) if hu.abs() > CUPPING_HU => (
            CheckStatus::Review,
            format!(
                "the phantom's plastic reads {hu:+.1} HU at its ends against its middle: beam hardening reaches the rods unevenly"
            ),
        ),
        Some(hu) => (
            CheckStatus::Pass,
            format!(
                "the phantom's plastic reads {hu:+.1} HU at its ends against its middle; beyond {CUPPING_HU} it is for review"
            ),
        ),
        None => (
            CheckStatus::Pass,
            "two rods have no middle to compare their ends with: cupping is not measured".into(),
        ),
    };
    Check {
        name: "phantom_cupping_hu".into(),
        status,
        value,
        reason,
    }
}
