//! Densities that no bone has.

use super::Near;
use crate::anatomy::Check;

/// No tissue of a bone is lighter, mg/cm³: fatty marrow reads -100 HU, -80 mg/cm³, and noise of 50 HU takes one voxel in a thousand
/// below -200. What is lighter is gas, or the line is wrong.
const LIGHTEST_MG_CM3: f32 = -200.0;
/// No bone is denser, mg/cm³: compact bone is 1000 to 1200 throughout, and a sharp kernel overshoots to 1900 (seen in a real lumbar
/// vertebra, with 1894). What is denser is metal, enamel, or the line is wrong.
const DENSEST_MG_CM3: f32 = 2000.0;
/// Voxels outside those limits that need no look, percent: gas in a cleft, a calcified disc's edge.
const SHARE_REVIEW_PERCENT: f64 = 1.0;
/// So many are no bone's, percent.
const SHARE_REFUSE_PERCENT: f64 = 20.0;
/// Mean density of a whole bone that a reader would believe, mg/cm³. Synthetic femora have 300 to 600, vertebrae 150 to 350, both
/// drawn after published densities; osteoporosis halves these and sclerosis doubles them.
const MEAN_REVIEW_MG_CM3: [f64; 2] = [75.0, 900.0];
/// Mean density that no whole bone has, mg/cm³: that of muscle (40 HU), and that of compact bone throughout.
const MEAN_REFUSE_MG_CM3: [f64; 2] = [30.0, 1200.0];
/// In a density map air is at -600 to -900 mg/cm³, -1000 HU by slopes of 0.6 to 0.9; at -1000 ± 50 the numbers are CT numbers.
const AIR_HU: [f32; 2] = [-1050.0, -950.0];
/// Share of such voxels around the bone that says so, percent.
const AIR_PERCENT: f64 = 0.1;

/// Whether the densities of a bone can be those of a bone: a wrong slope, a wrong unit, or CT numbers given as densities. The value
/// is the share of voxels that no bone has, percent.
pub fn impossible_densities(near: &Near) -> Check {
    const NAME: &str = "impossible_densities";
    let (mut count, mut odd, mut sum) = (0usize, 0usize, 0.0);
    let inside = near.density_mg_cm3.data.iter().zip(&near.bone.data);
    for (&density, _) in inside.filter(|(_, inside)| **inside) {
        count += 1;
        sum += f64::from(density);
        odd += usize::from(!(LIGHTEST_MG_CM3..=DENSEST_MG_CM3).contains(&density));
    }
    if count == 0 {
        return Check::pass(NAME, None, "no voxel to look at");
    }
    let mean = sum / count as f64;
    let percent = 100.0 * odd as f64 / count as f64;
    let found = format!(
        "{percent:.2} % of the bone outside {LIGHTEST_MG_CM3} to {DENSEST_MG_CM3} mg/cm³, mean {mean:.0} mg/cm³"
    );
    let [low, high] = MEAN_REFUSE_MG_CM3;
    if percent > SHARE_REFUSE_PERCENT {
        return Check::refuse(
            NAME,
            percent,
            format!("{found}: no bone is so; check the calibration and the mask"),
        );
    }
    if !(low..=high).contains(&mean) {
        return Check::refuse(
            NAME,
            percent,
            format!(
                "{found}: the mean of a whole bone lies between {low} and {high}; check slope and unit of the calibration and the mask"
            ),
        );
    }
    let [low, high] = MEAN_REVIEW_MG_CM3;
    if percent > SHARE_REVIEW_PERCENT || !(low..=high).contains(&mean) {
        return Check::review(
            NAME,
            percent,
            format!(
                "{found}; at most {SHARE_REVIEW_PERCENT} % and a mean of {low} to {high} expected"
            ),
        );
    }
    if near.densities_only {
        let [low, high] = AIR_HU;
        let around = &near.density_mg_cm3.data;
        let air = around.iter().filter(|d| (low..=high).contains(*d)).count();
        let percent_air = 100.0 * air as f64 / around.len() as f64;
        if percent_air > AIR_PERCENT {
            return Check::review(
                NAME,
                percent,
                format!(
                    "{found}; {percent_air:.1} % of the voxels around are air at -1000, as in CT numbers: are these densities?"
                ),
            );
        }
    }
    Check::pass(NAME, percent, found)
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::{block, near_block};
    use super::*;
    use crate::anatomy::Status;
    use calibration::{Calibration, DensityKind};

    #[test]
    fn wrong_slopes_are_found_at_the_mean() {
        for (factor, status) in [
            (1.0, Status::Pass),
            // Twice the density: a slope for another voltage does not do that.
            (2.0, Status::Review),
            // g/cm³ and a slope with its point shifted.
            (0.001, Status::Refuse),
            (10.0, Status::Refuse),
        ] {
            let found = impossible_densities(&near_block(|_, hu| hu * factor));
            assert_eq!(found.status, status, "{factor}: {found:?}");
        }
    }

    #[test]
    fn gas_in_a_part_of_the_bone_goes_to_review_and_in_much_of_it_is_refused() {
        let gas = |layers: usize| {
            impossible_densities(&near_block(|at, hu| {
                if (20..20 + layers).contains(&at[2]) {
                    -900.0
                } else {
                    hu
                }
            }))
        };
        assert_eq!(gas(0).value, Some(0.0));
        let found = gas(1);
        assert_eq!(found.status, Status::Review, "{found:?}");
        assert!(
            (found.value.unwrap() - 100.0 / 30.0).abs() < 0.1,
            "{found:?}"
        );
        assert_eq!(gas(8).status, Status::Refuse);
    }

    #[test]
    fn air_at_minus_thousand_gives_ct_numbers_away() {
        let density = Calibration::identity(DensityKind::K2Hpo4);
        let with_air = |air: f32| {
            let (scan, bone) = block(|at, hu| if at[1] < 5 { air } else { hu });
            impossible_densities(&Near::of(&scan, &density, &bone).unwrap())
        };
        assert_eq!(with_air(-1000.0).status, Status::Review);
        assert_eq!(with_air(-800.0).status, Status::Pass);
    }
}
