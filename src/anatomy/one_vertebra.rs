//! Two vertebrae under one label: two bodies apart, or one body higher than any vertebra's.

use imaging::Mask;
use imaging::components::{Connectivity, label_components};

use super::Check;
use super::vertebra::HIGHEST_BODY_MM as HIGHEST_MM;

/// A second piece of the body with more than this share of the first is another body. What the plane in front of the canal
/// leaves of processes beside the body is far smaller.
const SECOND_BODY_SHARE: f64 = 0.25;

/// Whether a body (without arch, arrays running as RAS+) is that of one vertebra; `height_mm` is the distance of its
/// endplates. The check `one_vertebra` has that height as its value and names the two pieces of a refused body.
pub fn one_vertebra(body: &Mask, height_mm: Option<f64>) -> Check {
    const NAME: &str = "one_vertebra";
    let voxel_cm3 = body.grid.voxel_volume_mm3() / 1000.0;
    let pieces = label_components(body, Connectivity::Faces).sizes;
    if let [first, second, ..] = pieces[..]
        && second as f64 > SECOND_BODY_SHARE * first as f64
    {
        return Check::refuse(
            NAME,
            height_mm,
            format!(
                "the body is in two pieces of {:.1} and {:.1} cm³: two vertebrae under one label",
                first as f64 * voxel_cm3,
                second as f64 * voxel_cm3
            ),
        );
    }
    match height_mm {
        Some(height) if height > HIGHEST_MM => {
            let [below, above] = cut_at_the_waist(body).map(|count| count as f64 * voxel_cm3);
            Check::refuse(
                NAME,
                height,
                format!(
                    "the body is {height:.0} mm high, and no vertebra's is more than {HIGHEST_MM}: two vertebrae under one label, of {below:.1} cm³ below and {above:.1} cm³ above the waist"
                ),
            )
        }
        _ => Check::pass(NAME, height_mm, "one vertebral body"),
    }
}

/// Voxels below and above the slice with the smallest section in the middle half of the body's extent.
fn cut_at_the_waist(body: &Mask) -> [usize; 2] {
    let Some([low, high]) = body.bounding_box() else {
        return [0, 0];
    };
    let mut sections = vec![0usize; high[2] - low[2] + 1];
    for (index, _) in body.data.iter().enumerate().filter(|(_, inside)| **inside) {
        sections[body.grid.voxel(index)[2] - low[2]] += 1;
    }
    let quarter = sections.len() / 4;
    let middle = quarter..sections.len() - quarter;
    let waist = middle.min_by_key(|&slice| sections[slice]).unwrap_or(0);
    [
        sections[..waist].iter().sum(),
        sections[waist..].iter().sum(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;
    use imaging::{Grid, Volume};

    /// Bodies of 30 x 30 mm in boxes of 1 mm, each from and to a level of the scan, joined in the middle or not.
    fn bodies(spans: &[[usize; 2]], joined: bool) -> Mask {
        let spans = spans.to_vec();
        Volume::from_fn(
            Grid::axis_aligned([40, 40, 80], [1.0; 3]),
            move |[i, j, k]| {
                let inside = |low, high| (low..high).contains(&i) && (low..high).contains(&j);
                spans
                    .iter()
                    .any(|&[from, to]| inside(5, 35) && (from..to).contains(&k))
                    || joined
                        && inside(15, 25)
                        && (spans[0][0]..spans[spans.len() - 1][1]).contains(&k)
            },
        )
    }

    #[test]
    fn two_bodies_are_refused_with_their_sizes() {
        let apart = one_vertebra(&bodies(&[[5, 35], [40, 60]], false), Some(55.0));
        assert_eq!(apart.status, Status::Refuse);
        // 30 x 30 x 30 and 30 x 30 x 20 mm.
        assert!(
            apart.reason.contains("27.0 and 18.0 cm³"),
            "{}",
            apart.reason
        );
        let joined = one_vertebra(&bodies(&[[5, 35], [40, 60]], true), Some(55.0));
        assert_eq!((joined.status, joined.value), (Status::Refuse, Some(55.0)));
        // The bridge of 10 x 10 x 5 mm goes to the upper one.
        assert!(
            joined.reason.contains("27.0 cm³ below and 18.5 cm³"),
            "{}",
            joined.reason
        );
    }

    #[test]
    fn one_body_passes_with_a_loose_bit() {
        let one = one_vertebra(&bodies(&[[5, 35]], false), Some(30.0));
        assert_eq!((one.status, one.value), (Status::Pass, Some(30.0)));
        let bit = one_vertebra(&bodies(&[[5, 35], [40, 47]], false), Some(30.0));
        assert_eq!(bit.status, Status::Pass);
        let more = one_vertebra(&bodies(&[[5, 35], [40, 48]], false), Some(30.0));
        assert_eq!(more.status, Status::Refuse);
    }
}
