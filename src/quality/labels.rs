//! Labels of other structures within a bone.

use imaging::morphology::morph_mm;
use imaging::orientation::{crop, pad};
use imaging::{LabelMap, Mask};

use crate::anatomy::Check;

/// Gaps of a body up to twice this wide are filled before other labels are looked for in them, mm: a piece of a vertebral body that
/// carries its neighbour's label is a gap in its own.
const GAP_MM: f64 = 5.0;
/// More of the filled body under other labels is for review, percent. What lies in its hollows rightly (cord, vessels, ribs) takes
/// less than 1.
const REVIEW_PERCENT: f64 = 2.0;

/// Whether voxels within a vertebral body carry the label of something else, as networks that number vertebrae wrongly leave them;
/// the value is their share of the filled body, percent. `own` are the labels of the bone and of its discs.
pub fn other_labels(map: &LabelMap, own: &[u16], body: &Mask) -> Check {
    const NAME: &str = "other_labels";
    let looked = || -> imaging::Result<Option<(u16, f64)>> {
        let Some([low, high]) = body.bounding_box() else {
            return Ok(None);
        };
        let layers = map
            .grid
            .spacing_mm
            .map(|spacing| (GAP_MM / spacing).ceil() as usize + 1);
        let near = pad(&crop(body, low, high)?, layers, false)?;
        let filled = morph_mm(&morph_mm(&near, GAP_MM)?, -GAP_MM)?;
        let map = pad(&crop(map, low, high)?, layers, 0)?;
        let mut counts = std::collections::BTreeMap::<u16, usize>::new();
        for (&label, _) in map.data.iter().zip(&filled.data).filter(|(_, f)| **f) {
            if label != 0 && !own.contains(&label) {
                *counts.entry(label).or_default() += 1;
            }
        }
        let percent = |count: usize| 100.0 * count as f64 / filled.count() as f64;
        let all = percent(counts.values().sum());
        let most = counts.into_iter().max_by_key(|&(_, count)| count);
        Ok(most.map(|(label, _)| (label, all)))
    };
    match looked() {
        Err(error) => Check::review(NAME, None, format!("not looked for: {error}")),
        Ok(None) => Check::pass(NAME, 0.0, "no other label within the body"),
        Ok(Some((label, percent))) => {
            let reason =
                format!("other labels, most of all {label}, take {percent:.1} % of the body");
            if percent > REVIEW_PERCENT {
                Check::review(
                    NAME,
                    percent,
                    format!("{reason}: its voxels are missing in the model; correct the label map"),
                )
            } else {
                Check::pass(NAME, percent, reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use imaging::{Grid, Volume};

    /// A body of 40 x 30 x 24 mm under label 20, another one 6 mm above it under 19, a cord behind it, and a slot in the first, open to
    /// the side, under the label of the second.
    fn map(bite_mm: usize) -> LabelMap {
        let grid = Grid::axis_aligned([60, 60, 70], [1.0; 3]);
        Volume::from_fn(grid, move |[i, j, k]| {
            let body = (10..50).contains(&i) && (10..40).contains(&j);
            let bite = i >= 50 - bite_mm && (20..20 + bite_mm).contains(&k);
            match k {
                10..34 if body && bite => 19,
                10..34 if body => 20,
                40..64 if body => 19,
                _ if (20..40).contains(&i) && (40..50).contains(&j) => 79,
                _ => 0,
            }
        })
    }

    #[test]
    fn a_piece_under_the_neighbours_label_is_for_review() {
        let look = |map: &LabelMap| other_labels(map, &[20], &map.select(&[20]));
        let whole = look(&map(0));
        assert_eq!((whole.status, whole.value), (Status::Pass, Some(0.0)));
        // A slot of 6 x 30 x 6 mm: closing by 5 mm fills all but its mouth.
        let bitten = look(&map(6));
        assert_eq!(bitten.status, Status::Review, "{bitten:?}");
        assert!(
            bitten.reason.contains("most of all 19"),
            "{}",
            bitten.reason
        );
        let full = 100.0 * (6.0 * 30.0 * 6.0) / (40.0 * 30.0 * 24.0);
        let value = bitten.value.unwrap();
        assert!(value > 0.7 * full && value <= full, "{value} of {full}");
        // Discs belong to the model.
        let disc = map(6);
        let own = other_labels(&disc, &[20, 19], &disc.select(&[20]));
        assert_eq!((own.status, own.value), (Status::Pass, Some(0.0)));
    }
}
