//! The scan's voxels, and whether the scan holds the whole bone.

use imaging::{Grid, Mask};

use crate::anatomy::{Check, FemurLandmarks};

/// Above this the voxels do not resolve a cortex, mm: the thinnest wall that carries a femoral neck, the lower one, is 2 to 3 mm
/// thick, and only with voxels of at most half of that is one of them bone throughout wherever the grid falls. Slices of 1.5 mm
/// are also the coarsest that the failure loads of docs/reproduction.md rest on.
const REVIEW_MM: f64 = 1.5;
/// Above this no load can be believed, mm: a voxel is as thick as the cortex of the shaft (5 to 6 mm), twice that of the neck, and a
/// vertebral body has five of them between its endplates. Published CT protocols for bone strength end at slices of 3 mm (ACR
/// practice parameter for quantitative CT); one in a series of 5 mm is still seen to be drawn.
const REFUSE_MM: f64 = 5.0;
/// Spacings in files are rounded, mm.
const ROUNDING_MM: f64 = 1e-3;
/// A femur cut on a side or at its top over more than this is no whole bone, mm²: the area of a disc 12 mm wide. Less may be the
/// outermost layer of the trochanter in a tight crop.
const CUT_MM2: f64 = 100.0;

/// Whether the voxels are fine enough; the value is the largest spacing, mm.
pub fn grid(grid: &Grid) -> Check {
    const NAME: &str = "grid";
    let [x, y, z] = grid.spacing_mm;
    let largest = x.max(y).max(z);
    let [ni, nj, nk] = grid.size;
    let found = format!("{ni}x{nj}x{nk} voxels of {x:.2}x{y:.2}x{z:.2} mm");
    if largest > REFUSE_MM + ROUNDING_MM {
        Check::refuse(
            NAME,
            largest,
            format!(
                "{found}: voxels above {REFUSE_MM} mm are thicker than any cortex, and no load can be believed"
            ),
        )
    } else if largest > REVIEW_MM + ROUNDING_MM {
        Check::review(
            NAME,
            largest,
            format!(
                "{found}: above {REVIEW_MM} mm no voxel need lie whole in a cortex as thin as that of a femoral neck, and the load depends on where the grid falls"
            ),
        )
    } else {
        Check::pass(NAME, largest, found)
    }
}

/// The array axis closest to the shaft.
pub fn along_shaft(grid: &Grid, landmarks: &FemurLandmarks) -> usize {
    let along = |axis: usize| {
        grid.direction
            .column(axis)
            .dot(&landmarks.shaft.direction)
            .abs()
    };
    (0..3).fold(0, |best, axis| {
        if along(axis) > along(best) {
            axis
        } else {
            best
        }
    })
}

/// Whether the femur ends inside the scan everywhere but at the distal end of its shaft; the value is the number of voxels in the
/// outermost layer of the scan that are no part of the distal cut.
pub fn femur_field_of_view(bone: &Mask, landmarks: &FemurLandmarks) -> Check {
    const NAME: &str = "femur_field_of_view";
    let grid = &bone.grid;
    let shaft = &landmarks.shaft;
    // The face of the scan that the shaft runs into.
    let axis = along_shaft(grid, landmarks);
    let face = if grid.direction.column(axis).dot(&shaft.direction) < 0.0 {
        grid.size[axis] - 1
    } else {
        0
    };
    // The load cases need the bone above its lesser trochanter and a shaft to hold; where the side of the scan cuts the shaft
    // further down, that is where the shaft ends.
    let level = landmarks.lesser_trochanter.map_or_else(
        || shaft.along(landmarks.head.centre_mm) - 75.0,
        |lesser| lesser.lower_margin_mm,
    );
    let (mut above, mut area, mut below) = (0usize, 0.0, 0usize);
    let face_mm2 = |axis: usize| grid.voxel_volume_mm3() / grid.spacing_mm[axis];
    for (index, _) in bone.data.iter().enumerate().filter(|(_, inside)| **inside) {
        let at = grid.voxel(index);
        if at[axis] == face {
            continue;
        }
        let Some(cut) = (0..3).find(|&a| at[a] == 0 || at[a] + 1 == grid.size[a]) else {
            continue;
        };
        let place = grid.to_world(nalgebra::Vector3::from_fn(|a, _| at[a] as f64));
        if shaft.along(place) < level {
            below += 1;
        } else {
            above += 1;
            area += face_mm2(cut);
        }
    }
    let voxels = (above + below) as f64;
    if area > CUT_MM2 {
        Check::refuse(
            NAME,
            voxels,
            format!(
                "the femur reaches the top or a side of the scan with {above} voxels ({area:.0} mm²) above its shaft: it is cut"
            ),
        )
    } else if above + below > 0 {
        Check::review(
            NAME,
            voxels,
            format!(
                "the femur reaches the top or a side of the scan with {above} voxels ({area:.0} mm²) above its shaft and {below} of its shaft: it may be cut"
            ),
        )
    } else {
        Check::pass(
            NAME,
            voxels,
            "the femur meets the border of the scan at its distal end only, if at all",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_scans::FemurScan;
    use super::*;
    use crate::anatomy::Status;
    use imaging::orientation::crop;

    #[test]
    fn coarse_voxels_go_to_review_and_slices_of_six_millimetres_are_refused() {
        for (spacing, status) in [
            ([0.8, 0.8, 1.5], Status::Pass),
            ([0.8, 0.8, 1.5004], Status::Pass),
            ([0.8, 0.8, 1.6], Status::Review),
            ([3.0, 3.0, 3.0], Status::Review),
            ([0.8, 0.8, 6.0], Status::Refuse),
        ] {
            let found = grid(&Grid::axis_aligned([9; 3], spacing));
            assert_eq!(found.status, status, "{found:?}");
            assert_eq!(found.value, Some(spacing[2]));
        }
    }

    #[test]
    fn a_femur_cut_at_its_head_or_side_is_refused_and_a_cut_shaft_is_not() {
        let FemurScan {
            bone, landmarks, ..
        } = FemurScan::new(|_, hu| hu);
        let whole = femur_field_of_view(&bone, &landmarks);
        assert_eq!((whole.status, whole.value), (Status::Pass, Some(0.0)));
        let [low, high] = bone.bounding_box().unwrap();
        assert_eq!(low[2], 0, "the shaft leaves the scan");
        let cut = |axis: usize, off: usize, top: bool| {
            let (mut from, mut to) = ([0; 3], bone.grid.size.map(|n| n - 1));
            if top {
                to[axis] = high[axis] - off;
            } else {
                from[axis] = low[axis] + off;
            }
            femur_field_of_view(&crop(&bone, from, to).unwrap(), &landmarks)
        };
        // The medial side is towards -x: the head; the lateral one the trochanter.
        for (axis, off, top) in [(0, 8, false), (0, 8, true), (2, 8, true)] {
            let found = cut(axis, off, top);
            assert_eq!(found.status, Status::Refuse, "{found:?}");
        }
        // One voxel at the top of the scan.
        let mut spike = bone.clone();
        let last = spike.data.len() - 1;
        spike.data[last] = true;
        let found = femur_field_of_view(&spike, &landmarks);
        assert_eq!(
            (found.status, found.value),
            (Status::Review, Some(1.0)),
            "{found:?}"
        );
    }
}
