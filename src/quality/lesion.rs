//! Suspicion of a lytic lesion: a pit in the spongy bone. A flag, not a diagnosis.
//!
//! On cells of 2 mm, well inside the bone, every connected region below a density is looked at, for one density after the
//! other. What counts is the step at its border: the mean of the bone 4 to 6 mm outside it less the mean inside. Where density falls
//! off gently, as towards Ward's triangle or the canal, that step is small however deep the region; the border of a lesion is sharp.
//!
//! Not seen: lesions of the cortex alone, of the shaft (whose canal is as dark), of processes, sclerotic ones, and those below 0.4 cm³
//! or larger than 40 % of the spongy bone.

use imaging::Mask;
use imaging::components::{Connectivity, label_components};
use imaging::morphology::{StructuringElement, morph_voxels};
use nalgebra::Vector3;

use super::Near;
use super::cells::Cells;
use crate::anatomy::{Check, FemurLandmarks};

/// Depth from which on a bone is spongy, mm: beyond the cortex of the neck and its blur.
const DEPTH_MM: f64 = 4.0;
/// Densities whose regions are looked at, mg/cm³: first, last and step.
const LEVELS_MG_CM3: [i32; 3] = [-60, 130, 10];
/// Smallest pit, mm³: a ball of 9 mm. Smaller ones are no matter for the load of a whole bone.
const LEAST_MM3: f64 = 400.0;
/// Largest pit: this share of the spongy bone, beyond which it is the bone itself that is thin.
const LARGEST_SHARE: f64 = 0.4;
/// Least step at the border of a pit, mg/cm³: half of what sparse spongy bone (110) stands above the tissue of a lytic lesion (40).
/// Healthy synthetic bones reach 26, the two real vertebrae at hand 22 and 39 (the latter under noise of 70 HU).
const STEP_MG_CM3: f64 = 35.0;
/// Noise makes pits of its own: to the least step comes this share of its standard deviation.
const STEP_PER_NOISE: f64 = 0.4;
/// Least step as a share of the density around.
const STEP_SHARE: f64 = 0.4;
/// Share of a pit's surroundings that must be spongy bone, to compare it with.
const LEAST_SURROUNDED: f64 = 0.25;

/// On larger voxels the surroundings of a region reach too far for its border, mm (a healthy synthetic femur is flagged at 3 mm).
const COARSEST_MM: f64 = 2.5;
/// The canal of the shaft begins below the tip of the lesser trochanter, mm.
const CANAL_BELOW_TIP_MM: f64 = 6.0;
/// Where that is cut off, this far below the centre of the head, mm: the tip of the lesser trochanter lies 45 to 60 mm below it.
const CANAL_BELOW_HEAD_MM: f64 = 40.0;

/// Suspicion of a lytic lesion in a femur or a vertebral body; the value is the volume of the region, mm³.
pub fn lesion(near: &Near, femur: Option<&FemurLandmarks>) -> Check {
    const NAME: &str = "lesion";
    let coarsest = near
        .bone
        .grid
        .spacing_mm
        .iter()
        .copied()
        .fold(0.0, f64::max);
    if coarsest > COARSEST_MM {
        return Check::pass(
            NAME,
            None,
            format!("not looked for on voxels above {COARSEST_MM} mm"),
        );
    }
    let noise_hu = near.noise_hu.unwrap_or(0.0);
    let noise_mg_cm3 = (near.density_of(noise_hu) - near.density_of(0.0)).abs();
    let least = STEP_MG_CM3 + STEP_PER_NOISE * noise_mg_cm3;
    let Some(pit) = pit(&Cells::of(near), femur) else {
        return Check::pass(
            NAME,
            0.0,
            "no region of low density with a border in the spongy bone",
        );
    };
    let around = pit.inside_mg_cm3 + pit.step_mg_cm3;
    let [x, y, z] = pit.place_mm;
    let reason = format!(
        "{:.2} cm³ of {:.0} mg/cm³ in spongy bone of {around:.0} mg/cm³ about ({x:.0}, {y:.0}, {z:.0}) mm LPS",
        pit.volume_mm3 / 1000.0,
        pit.inside_mg_cm3,
    );
    if pit.step_mg_cm3 >= least && pit.step_mg_cm3 >= STEP_SHARE * around {
        Check::review(
            NAME,
            pit.volume_mm3,
            format!("{reason}: as a lytic lesion would look; this is no diagnosis"),
        )
    } else {
        Check::pass(
            NAME,
            0.0,
            format!("the darkest region with a border, {reason}, is none that stands out"),
        )
    }
}

/// A region of low density in spongy bone.
#[derive(Clone, Copy, Debug)]
struct Pit {
    /// Mean density 4 to 6 mm outside less that inside, mg/cm³.
    step_mg_cm3: f64,
    /// Mean density inside, mg/cm³.
    inside_mg_cm3: f64,
    volume_mm3: f64,
    place_mm: [f64; 3],
}

/// The pit with the highest step.
fn pit(cells: &Cells, femur: Option<&FemurLandmarks>) -> Option<Pit> {
    let smooth = smoothed(cells);
    let mut domain = morph_voxels(
        &cells.mask(|cell| cells.whole[cell]),
        -cells.steps(DEPTH_MM),
        StructuringElement::Faces,
    );
    // The canal of the shaft is a pit in every femur; a region that reaches down to it may be its upper end.
    let mut floor = vec![false; domain.data.len()];
    if let Some(femur) = femur {
        let level = femur.lesser_trochanter.map_or_else(
            || femur.shaft.along(femur.head.centre_mm) - CANAL_BELOW_HEAD_MM,
            |lesser| lesser.tip_mm - CANAL_BELOW_TIP_MM,
        );
        for cell in 0..domain.data.len() {
            let above = femur.shaft.along(cells.place(cell)) - level;
            domain.data[cell] &= above > 0.0;
            floor[cell] = above < 3.0;
        }
    }
    let spongy = domain.count();
    let cell_mm3 = cells.grid.voxel_volume_mm3();
    let (least, largest) = (LEAST_MM3 / cell_mm3, LARGEST_SHARE * spongy as f64);
    let mut best: Option<Pit> = None;
    let [first, last, step] = LEVELS_MG_CM3;
    for level in (first..last).step_by(step as usize) {
        let dark = cells.mask(|cell| domain.data[cell] && smooth[cell] < level as f32);
        let components = label_components(&dark, Connectivity::Faces);
        for (n, &size) in components.sizes.iter().enumerate() {
            if (size as f64) < least {
                break;
            }
            if size as f64 > largest {
                continue;
            }
            let members: Vec<usize> = (0..dark.data.len())
                .filter(|&cell| components.labels.data[cell] == n as u32 + 1)
                .collect();
            if members.iter().any(|&cell| floor[cell]) {
                continue;
            }
            let Some(found) = measured(cells, &smooth, &domain, &members) else {
                continue;
            };
            if best.is_none_or(|best| found.step_mg_cm3 > best.step_mg_cm3) {
                best = Some(found);
            }
        }
    }
    best
}

fn measured(cells: &Cells, smooth: &[f32], domain: &Mask, members: &[usize]) -> Option<Pit> {
    // Steps over faces from the region: 2 and 3 are its surroundings, past the blur of its border.
    let mut steps = std::collections::BTreeMap::new();
    let mut front = members.to_vec();
    for &cell in members {
        steps.insert(cell, 0);
    }
    let (mut all, mut inside, mut sum) = (0usize, 0usize, 0.0);
    for step in 1..=3 {
        let mut next = Vec::new();
        for &cell in &front {
            for beside in cells.beside(cell) {
                if let std::collections::btree_map::Entry::Vacant(entry) = steps.entry(beside) {
                    entry.insert(step);
                    next.push(beside);
                    if step > 1 {
                        all += 1;
                        if domain.data[beside] {
                            inside += 1;
                            sum += f64::from(smooth[beside]);
                        }
                    }
                }
            }
        }
        front = next;
    }
    if (inside as f64) < LEAST_SURROUNDED * all as f64 {
        return None;
    }
    let count = members.len() as f64;
    let within = members.iter().map(|&c| f64::from(smooth[c])).sum::<f64>() / count;
    let place = members
        .iter()
        .map(|&c| cells.place(c))
        .sum::<Vector3<f64>>()
        / count;
    Some(Pit {
        step_mg_cm3: sum / inside as f64 - within,
        inside_mg_cm3: within,
        volume_mm3: count * cells.grid.voxel_volume_mm3(),
        place_mm: place.into(),
    })
}

/// Means of the bone's cells with their neighbours inside the bone, weights 1 2 1 along each axis.
fn smoothed(cells: &Cells) -> Vec<f32> {
    let size = cells.grid.size;
    let strides = [1, size[0], size[0] * size[1]];
    let mut value: Vec<f32> = cells.mean_mg_cm3.clone();
    for axis in 0..3 {
        let old = value.clone();
        for cell in (0..old.len()).filter(|&cell| cells.whole[cell]) {
            let at = cells.grid.voxel(cell)[axis];
            let (mut sum, mut weight) = (2.0 * old[cell], 2.0);
            let before = (at > 0).then(|| cell - strides[axis]);
            let after = (at + 1 < size[axis]).then(|| cell + strides[axis]);
            for beside in before.into_iter().chain(after).filter(|&b| cells.whole[b]) {
                sum += old[beside];
                weight += 1.0;
            }
            value[cell] = sum / weight;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::{FemurScan, near_block};
    use super::*;
    use crate::anatomy::Status;

    /// A ball of soft tissue in the block, which is a vertebral body.
    fn ball(radius: f64, inside: f32) -> Check {
        let near = near_block(|at, hu| {
            let r2: f64 = at.iter().map(|&v| (v as f64 - 35.0).powi(2)).sum();
            if r2 < radius * radius { inside } else { hu }
        });
        lesion(&near, None)
    }

    #[test]
    fn a_ball_of_soft_tissue_in_spongy_bone_is_suspicious() {
        assert_eq!(ball(0.0, 40.0).status, Status::Pass);
        let found = ball(7.0, 40.0);
        assert_eq!(found.status, Status::Review, "{found:?}");
        assert!((found.value.unwrap() - 1437.0).abs() < 500.0, "{found:?}");
        assert!(
            found.reason.contains("(35, 35, 35)") || found.reason.contains("(34, 34, 34)"),
            "{}",
            found.reason
        );
        // Too small, and too faint.
        assert_eq!(ball(3.0, 40.0).status, Status::Pass);
        assert_eq!(ball(7.0, 120.0).status, Status::Pass);
    }

    /// Deeper than Ward's triangle is in a synthetic femur (50 mg/cm³), and without a border.
    #[test]
    fn a_gentle_hollow_is_none() {
        let near = near_block(|at, hu| {
            let r2: f64 = at.iter().map(|&v| (v as f64 - 35.0).powi(2)).sum();
            if hu == 150.0 {
                150.0 - 60.0 * (-r2 / 200.0).exp() as f32
            } else {
                hu
            }
        });
        let found = lesion(&near, None);
        assert_eq!(found.status, Status::Pass, "{found:?}");
    }

    #[test]
    fn the_canal_of_a_shaft_is_none_and_a_pit_in_the_head_is_one() {
        let plain = FemurScan::new(|_, hu| hu);
        let (shaft, head) = (plain.landmarks.shaft, plain.landmarks.head.centre_mm);
        let canal = move |place: Vector3<f64>, hu: f32| {
            if hu == 150.0 && shaft.along(place) < shaft.along(head) - 62.0 {
                -40.0
            } else {
                hu
            }
        };
        let scan = FemurScan::new(canal);
        assert_eq!(
            lesion(&scan.near(), Some(&scan.landmarks)).status,
            Status::Pass
        );
        let scan = FemurScan::new(|place, hu| {
            if (place - head).norm() < 8.0 {
                40.0
            } else {
                canal(place, hu)
            }
        });
        let found = lesion(&scan.near(), Some(&scan.landmarks));
        assert_eq!(found.status, Status::Review, "{found:?}");
    }
}
