//! Cavities and thin walls of a mask.

use imaging::components::{fill_holes, fill_holes_in_slices};
use imaging::morphology::{StructuringElement, closing};
use imaging::orientation::{crop, pad};
use imaging::{Mask, Volume};

use crate::anatomy::Check;

/// Cavities of more than this share of a bone are no specks of a network, percent: a lytic lesion left out of the mask, a ball of
/// 16 mm, is 2 % of a proximal femur of 110 cm³.
const HOLES_REVIEW_PERCENT: f64 = 1.0;
/// From here on the mask is a shell, percent: without its spongy bone and marrow a femur lacks half of its volume, a vertebral body
/// four fifths. Lesions of several together may reach 10 %.
const HOLES_REFUSE_PERCENT: f64 = 15.0;
/// Gaps of a shell up to twice this many voxels are closed before cavities are looked for: a cortex of 1 mm has pores in a mask.
const PORES_VOXELS: u32 = 2;
/// Bone thinner than two voxels, percent of its volume: the rough surface of an intact mask makes up less than 1 %.
const THIN_REVIEW_PERCENT: f64 = 5.0;
/// One element across a wall has no bending stiffness of its own worth the name: where a quarter of a bone is such, its load is that
/// of the mesh.
const THIN_REFUSE_PERCENT: f64 = 25.0;
/// How the cavities of a bone are told from what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cavities {
    /// Enclosed on every side: the canal of a vertebra is none.
    Enclosed,
    /// Enclosed in the slices across this array axis: the canal of a femur is open at the cut of its shaft.
    AcrossAxis(usize),
}

/// Cavities of a mask; the value is their share of the filled bone, percent.
pub fn holes(bone: &Mask, cavities: Cavities) -> Check {
    const NAME: &str = "holes";
    let Some([low, high]) = bone.bounding_box() else {
        return Check::pass(NAME, None, "no bone");
    };
    let filled = |mask: &Mask| match cavities {
        Cavities::Enclosed => Ok(fill_holes(mask)),
        Cavities::AcrossAxis(axis) => fill_holes_in_slices(mask, axis),
    };
    let found = || {
        // A layer of nothing around, or the border of the box would close what is open there.
        let bone = pad(&crop(bone, low, high)?, [1; 3], false)?;
        let closed = closing(&bone, PORES_VOXELS, StructuringElement::Faces)?;
        let (of_bone, of_closed) = (filled(&bone)?, filled(&closed)?);
        let holes = (0..bone.data.len())
            .filter(|&n| of_bone.data[n] && !bone.data[n] || of_closed.data[n] && !closed.data[n])
            .count();
        Ok::<_, imaging::Error>((holes, bone.count()))
    };
    let Ok((holes, solid)) = found() else {
        return Check::review(NAME, None, "the mask is too large to look for cavities");
    };
    let percent = 100.0 * holes as f64 / (holes + solid) as f64;
    let volume = holes as f64 * bone.grid.voxel_volume_mm3() / 1000.0;
    let reason = format!("cavities of {volume:.2} cm³ in the mask, {percent:.1} % of the bone");
    if percent > HOLES_REFUSE_PERCENT {
        Check::refuse(
            NAME,
            percent,
            format!(
                "{reason}: it holds the shell only, and the model would lack the stiffness of what is inside"
            ),
        )
    } else if percent > HOLES_REVIEW_PERCENT {
        Check::review(
            NAME,
            percent,
            format!("{reason}: what is left out bears no load"),
        )
    } else {
        Check::pass(NAME, percent, reason)
    }
}

/// How much of a bone is thinner than two voxels: in no block of 2x2x2 voxels. The value is its share, percent.
pub fn thickness(bone: &Mask) -> Check {
    const NAME: &str = "thickness";
    let Some([low, high]) = bone.bounding_box() else {
        return Check::pass(NAME, None, "no bone");
    };
    let Ok(bone) = crop(bone, low, high) else {
        return Check::pass(NAME, None, "no bone");
    };
    let all = bone.count();
    let thick = opened_by_blocks(&bone).count();
    let percent = 100.0 * (all - thick) as f64 / all as f64;
    let reason = format!("{percent:.1} % of the bone are thinner than two voxels");
    if percent > THIN_REFUSE_PERCENT {
        Check::refuse(
            NAME,
            percent,
            format!("{reason}: walls of one voxel bend as the grid lets them"),
        )
    } else if percent > THIN_REVIEW_PERCENT {
        Check::review(NAME, percent, reason)
    } else {
        Check::pass(NAME, percent, reason)
    }
}

/// The voxels of a mask that lie in a block of 2x2x2 of its voxels.
fn opened_by_blocks(mask: &Mask) -> Mask {
    let [ni, nj, nk] = mask.grid.size;
    let mut kept = Volume::filled(mask.grid.clone(), false);
    let strides = [1, ni, ni * nj];
    let block: [usize; 8] =
        std::array::from_fn(|c| (0..3).map(|a| (c >> a & 1) * strides[a]).sum());
    for k in 0..nk.saturating_sub(1) {
        for j in 0..nj.saturating_sub(1) {
            for i in 0..ni.saturating_sub(1) {
                let at = mask.grid.index(i, j, k);
                if mask.data[at] && block.iter().all(|step| mask.data[at + step]) {
                    block.iter().for_each(|step| kept.data[at + step] = true);
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use imaging::Grid;

    /// A box of 20 voxels without an inner box of `hollow` voxels.
    fn hollow_box(hollow: usize) -> Mask {
        let inner = |v: &usize| (15 - hollow / 2..15 + hollow.div_ceil(2)).contains(v);
        Mask::from_fn(Grid::axis_aligned([30; 3], [1.0; 3]), |at| {
            at.iter().all(|v| (5..25).contains(v)) && !at.iter().all(&inner)
        })
    }

    #[test]
    fn cavities_go_to_review_and_a_shell_is_refused() {
        for (hollow, status, percent) in [
            (0, Status::Pass, 0.0),
            (4, Status::Pass, 0.8),
            (6, Status::Review, 2.7),
            (16, Status::Refuse, 51.2),
        ] {
            for cavities in [Cavities::Enclosed, Cavities::AcrossAxis(2)] {
                let found = holes(&hollow_box(hollow), cavities);
                assert_eq!(found.status, status, "{hollow}: {found:?}");
                assert!((found.value.unwrap() - percent).abs() < 1e-9, "{found:?}");
            }
        }
    }

    /// A tube is a hollow shaft, and no more than a canal to a vertebra; pores do not open it.
    #[test]
    fn a_tube_is_hollow_in_its_slices_only() {
        let tube = Mask::from_fn(Grid::axis_aligned([30, 30, 20], [1.0; 3]), |[i, j, k]| {
            let r = (i as f64 - 14.5).hypot(j as f64 - 14.5);
            let pore = k == 10 && i < 14 && j.abs_diff(15) < 2;
            (8.0..12.0).contains(&r) && !pore
        });
        let found = holes(&tube, Cavities::AcrossAxis(2));
        assert_eq!(found.status, Status::Refuse, "{found:?}");
        assert!((found.value.unwrap() - 46.0).abs() < 1.5, "{found:?}");
        assert_eq!(holes(&tube, Cavities::Enclosed).value, Some(0.0));
    }

    #[test]
    fn a_plate_of_one_voxel_is_thin_and_one_of_two_is_not() {
        let plate = |thick: usize| {
            Mask::from_fn(Grid::axis_aligned([20; 3], [1.0; 3]), |[i, j, k]| {
                (4..16).contains(&i) && (4..16).contains(&j) && (8..8 + thick).contains(&k)
            })
        };
        let found = thickness(&plate(1));
        assert_eq!((found.status, found.value), (Status::Refuse, Some(100.0)));
        let found = thickness(&plate(2));
        assert_eq!((found.status, found.value), (Status::Pass, Some(0.0)));
        // A plate of one voxel that is a tenth of a block.
        let mut block = plate(10);
        for j in 4..16 {
            for i in 0..4 {
                for k in [10, 13, 16] {
                    let at = block.grid.index(i, j, k);
                    block.data[at] = true;
                }
            }
        }
        let found = thickness(&block);
        assert_eq!(found.status, Status::Review, "{found:?}");
        assert!(
            (found.value.unwrap() - 100.0 * 144.0 / 1584.0).abs() < 0.01,
            "{found:?}"
        );
    }

    #[test]
    fn an_empty_mask_is_no_matter_of_these_gates() {
        let empty = Mask::filled(Grid::axis_aligned([3; 3], [1.0; 3]), false);
        assert_eq!(holes(&empty, Cavities::Enclosed).status, Status::Pass);
        assert_eq!(thickness(&empty).status, Status::Pass);
    }
}
