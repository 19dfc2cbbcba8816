//! Metal in or on a bone.

use imaging::distance::distance_to_mask_mm;
use imaging::orientation::crop;
use imaging::{Mask, Volume};

use super::Near;
use crate::anatomy::Check;

/// CT numbers from here on are metal, HU: cortical bone stays below 2400 whatever the kernel, and scanners of twelve bits end at 3071.
const METAL_HU: f64 = 2800.0;
/// Metal up to this far from a bone is in it or on it, mm.
const METAL_NEAR_MM: f64 = 10.0;
/// Less is a speck of noise or a clip, mm³.
const METAL_LEAST_MM3: f64 = 200.0;

/// Whether a bone carries metal: an implant bears load that no density tells of, and its streaks spoil the density around it.
pub fn metal(near: &Near) -> Check {
    // Rounding on the way from CT number to density and back may take a stored 2800 below it.
    let limit = near.density_of(METAL_HU - 0.5) as f32;
    within(&near.density_mg_cm3, &near.bone, limit, near.how_hu())
}

/// [`metal`] in a scan in HU.
pub fn metal_in_hu(scan: &Volume<f32>, bone: &Mask) -> Check {
    within(scan, bone, METAL_HU as f32, "")
}

fn within(scan: &Volume<f32>, bone: &Mask, limit: f32, how: &str) -> Check {
    const NAME: &str = "metal";
    let grid = &bone.grid;
    let Some([low, high]) = bone.bounding_box() else {
        return Check::pass(NAME, 0.0, "no bone");
    };
    let margin: [usize; 3] =
        std::array::from_fn(|axis| (METAL_NEAR_MM / grid.spacing_mm[axis]).ceil() as usize);
    let low = std::array::from_fn(|axis| low[axis].saturating_sub(margin[axis]));
    let high = std::array::from_fn(|axis| (high[axis] + margin[axis]).min(grid.size[axis] - 1));
    let dense_in_box = || {
        (low[2]..=high[2]).any(|k| {
            (low[1]..=high[1]).any(|j| {
                let row = grid.index(low[0], j, k)..=grid.index(high[0], j, k);
                scan.data[row].iter().any(|&value| value >= limit)
            })
        })
    };
    if !dense_in_box() {
        return Check::pass(
            NAME,
            0.0,
            format!("no voxel near the bone reaches {METAL_HU} HU{how}"),
        );
    }
    let cut = crop(scan, low, high).and_then(|scan| Ok((scan, crop(bone, low, high)?)));
    let Ok((scan, distance)) = cut.and_then(|(scan, bone)| Ok((scan, distance_to_mask_mm(&bone)?)))
    else {
        return Check::review(
            NAME,
            None,
            "metal cannot be looked for on a grid that is not at right angles",
        );
    };
    let voxels = scan
        .data
        .iter()
        .zip(&distance.data)
        .filter(|(value, distance)| **value >= limit && f64::from(**distance) <= METAL_NEAR_MM)
        .count();
    let volume = voxels as f64 * grid.voxel_volume_mm3();
    let reason = format!(
        "{:.2} cm3 within {METAL_NEAR_MM} mm of the bone reach {METAL_HU} HU{how}",
        volume / 1000.0
    );
    if volume > METAL_LEAST_MM3 {
        Check::refuse(
            NAME,
            volume,
            format!(
                "{reason}: metal, which no density law knows and which spoils the CT numbers around it"
            ),
        )
    } else {
        Check::pass(NAME, volume, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::{block, near_block};
    use super::*;
    use crate::anatomy::Status;
    use calibration::{Calibration, DensityKind};

    /// A nail of 6 x 6 x 30 voxels in the block, or 20 mm beside it.
    fn nail(first: usize) -> impl Fn([usize; 3], f32) -> f32 {
        move |[i, j, k], hu| {
            let inside =
                (first..first + 6).contains(&i) && (32..38).contains(&j) && (20..50).contains(&k);
            if inside { 3071.0 } else { hu }
        }
    }

    #[test]
    fn a_nail_is_refused_and_one_far_off_is_not() {
        let found = metal(&near_block(nail(32)));
        assert_eq!(found.status, Status::Refuse);
        assert_eq!(found.value, Some(1080.0));
        assert_eq!(metal(&near_block(nail(0))).value, Some(0.0));
        assert_eq!(metal(&near_block(|_, hu| hu)).status, Status::Pass);
        let (scan, bone) = block(nail(32));
        assert_eq!(metal_in_hu(&scan, &bone), found);
    }

    #[test]
    fn a_density_map_says_how_its_metal_was_told() {
        let (scan, bone) = block(|at, hu| nail(32)(at, hu) * 0.8);
        let density = Calibration::identity(DensityKind::K2Hpo4);
        let near = Near::of(&scan, &density, &bone).unwrap();
        let found = metal(&near);
        assert_eq!(found.status, Status::Refuse);
        assert!(found.reason.contains("holds densities"), "{}", found.reason);
    }
}
