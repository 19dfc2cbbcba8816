//! One bone out of a mask: the largest piece, and what else was there.

use imaging::Mask;
use imaging::components::{Connectivity, label_components};

use super::Check;

/// A second piece of more than this share of the first is another bone, not a loose bit.
pub const SECOND_BONE_SHARE: f64 = 0.05;

/// Keeps the largest piece of a mask (voxels joined through faces) and says what was dropped.
///
/// The check `pieces` refuses a mask whose second piece has more than 5 % of the voxels of the first:
/// two bones under one label. Its value is the share of the second piece.
pub fn single_bone(mask: &Mask) -> (Mask, Check) {
    let components = label_components(mask, Connectivity::Faces);
    let largest = components.sizes.first().copied().unwrap_or(0);
    let second = components.sizes.get(1).copied().unwrap_or(0);
    let share = second as f64 / largest.max(1) as f64;
    let dropped: usize = components.sizes.iter().skip(1).sum();
    let check = if largest == 0 {
        Check::refuse("pieces", None, "the mask is empty")
    } else if share > SECOND_BONE_SHARE {
        Check::refuse(
            "pieces",
            share,
            format!(
                "two pieces of {largest} and {second} voxels, the second {:.0} % of the first: two bones under one label",
                share * 100.0
            ),
        )
    } else if dropped > 0 {
        Check::pass(
            "pieces",
            share,
            format!(
                "{} loose pieces with {dropped} voxels together are dropped",
                components.sizes.len() - 1
            ),
        )
    } else {
        Check::pass("pieces", 0.0, "one piece")
    };
    (components.labels.map(|&label| label == 1), check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use imaging::{Grid, Volume};

    fn boxes(second: usize) -> Mask {
        Volume::from_fn(Grid::axis_aligned([30, 10, 10], [1.0; 3]), |[i, j, k]| {
            (i >= 20) || (i < 10 && j * 10 + k < second && i == 0)
        })
    }

    #[test]
    fn a_small_second_piece_is_dropped_and_a_large_one_refused() {
        let (kept, check) = single_bone(&boxes(10));
        assert_eq!(kept.count(), 1000);
        assert_eq!(check.status, Status::Pass);
        assert_eq!(check.value, Some(0.01));
        let (_, check) = single_bone(&boxes(60));
        assert_eq!(check.status, Status::Refuse);
        assert_eq!(check.value, Some(0.06));
        assert_eq!(single_bone(&boxes(0)).1.value, Some(0.0));
    }
}
