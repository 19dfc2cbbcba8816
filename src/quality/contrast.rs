//! Contrast agent in the vessels beside a bone.
//!
//! Contrast agent raises the CT numbers of marrow too, by tens of HU, and with them density and load. A filled vessel is a bright,
//! even body in soft tissue. It has no shell: other bones, as bright inside, are brighter at their surface. The rods of a phantom are
//! known from the calibration, or lie next to air.

use imaging::components::{Connectivity, fill_holes, label_components};
use imaging::morphology::{StructuringElement, morph_voxels};

use super::Near;
use super::cells::Cells;
use crate::anatomy::Check;

/// Blood without contrast agent has 35 to 55 HU, muscle up to 70; with it 120 (late veins) to 500. A mean of a vessel from here on,
/// HU, and its rim, blurred with what is around, from 100 on.
const VESSEL_HU: f64 = 130.0;
/// Brighter is no vessel, HU.
const BRIGHTEST_HU: f64 = 700.0;
/// Rim of a vessel, HU.
const RIM_HU: f64 = 100.0;
/// How far from the bone's box vessels are looked for, mm.
const NEAR_MM: f64 = 20.0;
/// Air this near makes it a rod of a phantom, skin or bowel, mm.
const AIR_NEAR_MM: f64 = 9.0;
/// CT numbers below are air or partly air, HU.
const AIR_HU: f64 = -400.0;
/// A rod of a phantom reaches this far from its axis, mm.
const ROD_MM: f64 = 12.0;
/// What stands out of a body of contrast agent is cortical bone, HU, beside noise.
const SHELL_HU: f64 = 150.0;
/// Share of cells that stand out which makes it a bone.
const SHELL_SHARE: f64 = 0.03;
/// Less is no vessel, mm³: 20 mm of a femoral artery of 8 mm.
const LEAST_MM3: f64 = 1000.0;

/// Vessels with contrast agent near a bone; the value is their volume, cm³. `stated` is what the scan's header says of an agent
/// (ContrastBolusAgent): one that was swallowed, or has left the vessels, is seen by nothing else.
pub fn contrast_agent(near: &Near, stated: Option<&str>) -> Check {
    const NAME: &str = "contrast_agent";
    let cells = Cells::of(near);
    let noise_hu = near.noise_hu.unwrap_or(0.0);
    let bodies = bodies(near, &cells, noise_hu);
    let volume: f64 = bodies.iter().map(|body| body.volume_mm3).sum::<f64>() / 1000.0;
    let stated = stated.filter(|agent| is_agent(agent));
    match (bodies.first(), stated) {
        (Some(body), _) => {
            let [x, y, z] = body.place_mm;
            Check::review(
                NAME,
                volume,
                format!(
                    "{volume:.1} cm³ of even {:.0} HU in soft tissue near the bone, the largest part about ({x:.0}, {y:.0}, {z:.0}) mm LPS{}: vessels with contrast agent? It raises the density of marrow too",
                    body.hu,
                    near.how_hu()
                ),
            )
        }
        (None, Some(agent)) => Check::review(
            NAME,
            0.0,
            format!(
                "the scan's header states the contrast agent {agent:?}; no vessel with it is near the bone, but it raises the density of marrow too"
            ),
        ),
        (None, None) => Check::pass(
            NAME,
            0.0,
            format!("no bright, even body in the soft tissue within {NEAR_MM} mm of the bone"),
        ),
    }
}

/// Whether a header's text names an agent: some scanners write a word for none.
fn is_agent(stated: &str) -> bool {
    let word = stated.trim().to_ascii_lowercase();
    !matches!(
        word.as_str(),
        "" | "0"
            | "-"
            | "n"
            | "no"
            | "none"
            | "without"
            | "no contrast"
            | "without contrast"
            | "non contrast"
            | "n/a"
    )
}

/// A bright, even body without a shell.
struct Body {
    volume_mm3: f64,
    hu: f64,
    place_mm: [f64; 3],
}

/// The bodies that may be vessels, largest first.
fn bodies(near: &Near, cells: &Cells, noise_hu: f64) -> Vec<Body> {
    let hu = |cell: usize| near.hu(cells.mean_mg_cm3[cell]);
    let Some([low, high]) = near.bone.bounding_box() else {
        return Vec::new();
    };
    let fine = &near.bone.grid;
    let reach = |a: usize| NEAR_MM / fine.spacing_mm[a];
    let in_reach = |cell: usize| {
        let at = cells.grid.voxel(cell);
        (0..3).all(|a| {
            let join = cells.grid.spacing_mm[a] / fine.spacing_mm[a];
            let middle = (at[a] as f64 + 0.5) * join - 0.5;
            middle >= low[a] as f64 - reach(a) && middle <= high[a] as f64 + reach(a)
        })
    };
    // What is left of the bone beyond its mask, and its blur, stay out.
    // So does what a mask of the shell alone leaves out.
    let bone = fill_holes(&morph_voxels(
        &cells.mask(|cell| cells.touched[cell]),
        1,
        StructuringElement::Corners,
    ));
    let bright = cells.mask(|cell| !bone.data[cell] && hu(cell) >= RIM_HU && in_reach(cell));
    let core = morph_voxels(&bright, -1, StructuringElement::Faces);
    let air = morph_voxels(
        &cells.mask(|cell| hu(cell) < AIR_HU),
        cells.steps(AIR_NEAR_MM),
        StructuringElement::Corners,
    );
    let components = label_components(&core, Connectivity::Faces);
    let cell_mm3 = cells.grid.voxel_volume_mm3();
    let mut members: Vec<Vec<usize>> = components.sizes.iter().map(|_| Vec::new()).collect();
    for (cell, &label) in components.labels.data.iter().enumerate() {
        if label > 0 {
            members[label as usize - 1].push(cell);
        }
    }
    let mut found: Vec<Body> = members
        .iter()
        .filter_map(|core| {
            let mut rim: Vec<usize> = core
                .iter()
                .flat_map(|&cell| cells.beside(cell))
                .filter(|&cell| bright.data[cell] && components.labels.data[cell] == 0)
                .collect();
            rim.sort_unstable();
            rim.dedup();
            let volume_mm3 = (core.len() + rim.len()) as f64 * cell_mm3;
            if volume_mm3 < LEAST_MM3 {
                return None;
            }
            let mean =
                |of: &[usize]| of.iter().map(|&c| hu(c)).sum::<f64>() / of.len().max(1) as f64;
            let inner = mean(core);
            let spread = (core.iter().map(|&c| (hu(c) - inner).powi(2)).sum::<f64>()
                / core.len() as f64)
                .sqrt();
            let all = || core.iter().chain(&rim).copied();
            let share = |of: &dyn Fn(usize) -> bool| {
                all().filter(|&cell| of(cell)).count() as f64 / (core.len() + rim.len()) as f64
            };
            let top = inner + SHELL_HU + 3.0 * noise_hu;
            let shell = share(&|cell| near.hu(cells.most_mg_cm3[cell]) > top);
            let rod = share(&|cell| {
                let place = cells.place(cell);
                near.rods_mm
                    .iter()
                    .any(|rod| (rod.x - place.x).hypot(rod.y - place.y) < ROD_MM)
            });
            let is_vessel = (VESSEL_HU..=BRIGHTEST_HU).contains(&inner)
                && spread <= 0.15 * inner + 10.0
                && mean(&rim) <= inner
                && shell <= SHELL_SHARE
                && rod < 0.2
                && share(&|cell| air.data[cell]) < 0.2;
            let place = core
                .iter()
                .map(|&c| cells.place(c))
                .sum::<nalgebra::Vector3<f64>>()
                / core.len() as f64;
            is_vessel.then(|| Body {
                volume_mm3,
                hu: inner,
                place_mm: place.into(),
            })
        })
        .collect();
    found.sort_by(|a, b| b.volume_mm3.total_cmp(&a.volume_mm3));
    found
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::near_block;
    use super::*;
    use crate::anatomy::Status;

    /// A tube along z beside the block, 12 mm from its face.
    fn tube(radius: f64, hu: f32, shell_hu: f32) -> impl Fn([usize; 3], f32) -> f32 {
        move |at, other| {
            let r = (at[0] as f64 - 35.0).hypot(at[1] as f64 - 9.0);
            match r {
                r if r < radius - 1.5 => hu,
                r if r < radius => shell_hu,
                _ => other,
            }
        }
    }

    #[test]
    fn a_filled_vessel_is_found_with_its_volume() {
        let found = contrast_agent(&near_block(tube(5.0, 300.0, 300.0)), None);
        assert_eq!(found.status, Status::Review);
        // 70 mm of the tube; its rim counts by cells of 2 mm.
        let volume = std::f64::consts::PI * 25.0 * 70.0 / 1000.0;
        assert!(
            (found.value.unwrap() - volume).abs() < 0.4 * volume,
            "{found:?}"
        );
    }

    #[test]
    fn an_agent_that_the_header_states_is_for_review() {
        let near = near_block(|_, hu| hu);
        for (stated, status) in [
            ("Omnipaque 350", Status::Review),
            ("IV", Status::Review),
            ("NO ", Status::Pass),
            ("", Status::Pass),
        ] {
            let found = contrast_agent(&near, Some(stated));
            assert_eq!(
                (found.status, found.value),
                (status, Some(0.0)),
                "{found:?}"
            );
        }
        let vessel = near_block(tube(5.0, 300.0, 300.0));
        assert!(contrast_agent(&vessel, Some("NO")).value > Some(3.0));
    }

    #[test]
    fn blood_bones_thin_vessels_and_rods_are_none() {
        let passes = |near: &Near, what: &str| {
            let found = contrast_agent(near, None);
            assert_eq!(found.status, Status::Pass, "{what}: {found:?}");
        };
        passes(&near_block(|_, hu| hu), "nothing");
        passes(&near_block(tube(5.0, 60.0, 60.0)), "blood");
        passes(&near_block(tube(6.0, 200.0, 700.0)), "a bone");
        passes(&near_block(tube(1.5, 300.0, 300.0)), "a small vessel");
        let in_air = |at: [usize; 3], hu: f32| {
            let hu = if at[1] < 17 && hu < 100.0 {
                -1000.0
            } else {
                hu
            };
            tube(5.0, 300.0, 300.0)(at, hu)
        };
        passes(&near_block(in_air), "a rod next to air");
        let mut near = near_block(tube(5.0, 300.0, 300.0));
        near.rods_mm = vec![nalgebra::Vector3::new(35.0, 9.0, 30.0)];
        passes(&near, "a rod of the calibration");
    }
}
