//! Noise of the scan around a bone.
//!
//! The global noise level of Christianson et al. 2015 (AJR 205, W93-W99): standard deviations in small patches of soft tissue, and
//! of these the commonest. Patches across a border have more and do not count; neither does how the noise is correlated between
//! neighbours, which would mislead differences of neighbours.

use super::Near;
use crate::anatomy::Check;

/// Soft tissue, from fat to enhanced muscle: mean CT number of a patch, HU.
const SOFT_HU: [f64; 2] = [-150.0, 150.0];
/// Edge of a patch in the slice, mm.
const PATCH_MM: f64 = 6.0;
/// Fewest voxels along a patch's edge.
const PATCH_VOXELS: usize = 4;
/// Fewer patches say nothing.
const LEAST_PATCHES: usize = 100;
/// Width of a class of standard deviations, HU.
const CLASS_HU: f64 = 1.0;
/// A stiffness of E ~ rho^1.86 (Keyak 1994) rises by a share of 0.8 (s / rho)² under noise of standard deviation s, because the law
/// is curved: at 50 HU, 40 mg/cm³, by 3 % in spongy bone of 200 mg/cm³. Soft kernels have 10 to 25 HU.
const REVIEW_HU: f64 = 50.0;
/// At 150 HU by 29 %, and the noise is as large as the CT number of the spongy bone: the scan does not show it.
const REFUSE_HU: f64 = 150.0;

/// Noise in the soft tissue around a bone; the value is its standard deviation, HU.
pub fn noise(near: &Near) -> Check {
    const NAME: &str = "noise";
    let Some(hu) = near.noise_hu else {
        return Check::pass(
            NAME,
            None,
            "no soft tissue around the bone to tell the noise from",
        );
    };
    let reason = format!(
        "noise of {hu:.0} HU in the soft tissue around the bone{}",
        near.how_hu()
    );
    if hu > REFUSE_HU {
        Check::refuse(NAME, hu, format!("{reason}: it covers the spongy bone"))
    } else if hu > REVIEW_HU {
        Check::review(
            NAME,
            hu,
            format!("{reason}: it raises the stiffness of spongy bone"),
        )
    } else {
        Check::pass(NAME, hu, reason)
    }
}

/// The commonest standard deviation of patches of soft tissue, HU; `None` where there are too few.
pub(super) fn level_hu(near: &Near) -> Option<f64> {
    let grid = &near.bone.grid;
    let [ni, nj, nk] = grid.size;
    let edge = [0, 1].map(|a| ((PATCH_MM / grid.spacing_mm[a]).round() as usize).max(PATCH_VOXELS));
    let mut classes: Vec<usize> = vec![0; (4.0 * REFUSE_HU / CLASS_HU) as usize];
    let mut patches = 0;
    for k in 0..nk {
        for j0 in (0..(nj + 1).saturating_sub(edge[1])).step_by(edge[1]) {
            for i0 in (0..(ni + 1).saturating_sub(edge[0])).step_by(edge[0]) {
                let Some((mean, deviation)) = patch(near, [i0, j0, k], edge) else {
                    continue;
                };
                // A patch without any noise is a filling.
                if (SOFT_HU[0]..=SOFT_HU[1]).contains(&mean) && deviation > 1e-3 {
                    let class = ((deviation / CLASS_HU) as usize).min(classes.len() - 1);
                    classes[class] += 1;
                    patches += 1;
                }
            }
        }
    }
    if patches < LEAST_PATCHES {
        return None;
    }
    // Neighbouring classes together: a tenth of the deviation is the error of one patch.
    let around = |class: usize| {
        let reach = 1 + class / 10;
        let (from, to) = (
            class.saturating_sub(reach),
            (class + reach).min(classes.len() - 1),
        );
        classes[from..=to].iter().sum::<usize>() as f64 / (to - from + 1) as f64
    };
    let commonest = (0..classes.len()).fold(0, |best, class| {
        if around(class) > around(best) {
            class
        } else {
            best
        }
    });
    Some((commonest as f64 + 0.5) * CLASS_HU)
}

/// Mean and standard deviation of a patch without bone, HU.
fn patch(near: &Near, [i0, j0, k]: [usize; 3], edge: [usize; 2]) -> Option<(f64, f64)> {
    let (mut sum, mut squares) = (0.0, 0.0);
    for j in j0..j0 + edge[1] {
        let row = near.bone.grid.index(i0, j, k);
        for at in row..row + edge[0] {
            if near.bone.data[at] {
                return None;
            }
            let hu = near.hu(near.density_mg_cm3.data[at]);
            sum += hu;
            squares += hu * hu;
        }
    }
    let count = (edge[0] * edge[1]) as f64;
    let mean = sum / count;
    let variance = (squares - count * mean * mean).max(0.0) / (count - 1.0);
    Some((mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::{near_block, normal};
    use super::*;
    use crate::anatomy::Status;

    fn with_noise(hu: f32) -> Near {
        let mut draw = normal(11);
        let mut near = near_block(|_, hu| hu);
        // 15 HU are there already.
        let more = (hu * hu - 225.0).max(0.0).sqrt();
        near.density_mg_cm3
            .data
            .iter_mut()
            .for_each(|d| *d += more * draw());
        near.noise_hu = level_hu(&near);
        near
    }

    #[test]
    fn noise_is_measured_and_judged() {
        for (hu, status) in [
            (15.0, Status::Pass),
            (40.0, Status::Pass),
            (80.0, Status::Review),
            (200.0, Status::Refuse),
        ] {
            let found = noise(&with_noise(hu));
            assert_eq!(found.status, status, "{found:?}");
            let measured = found.value.unwrap();
            assert!(
                (measured - f64::from(hu)).abs() < 0.08 * f64::from(hu),
                "{hu}: {measured}"
            );
        }
    }

    /// Borders between fat and muscle do not count as noise; a scan that is masked has none.
    #[test]
    fn texture_is_no_noise() {
        let near = near_block(|at, hu| {
            if hu < 100.0 && at[0] % 18 < 9 {
                -100.0
            } else {
                hu
            }
        });
        assert!((level_hu(&near).unwrap() - 15.0).abs() < 3.0);
        let mut masked = near_block(|_, hu| hu);
        for (density, inside) in masked.density_mg_cm3.data.iter_mut().zip(&masked.bone.data) {
            if !inside {
                *density = 0.0;
            }
        }
        masked.noise_hu = level_hu(&masked);
        let found = noise(&masked);
        assert_eq!((found.status, found.value), (Status::Pass, None));
    }
}
