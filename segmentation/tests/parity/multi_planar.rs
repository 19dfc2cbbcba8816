//! The measures of the multi-planar paper, against its published code.

use imaging::{Grid, LabelMap};
use segmentation::metrics::{collision, gap_dice, swap_components, two_nearest};

use crate::kit;

fn map(array: &kit::Array) -> LabelMap {
    let [z, y, x] = [array.shape[0], array.shape[1], array.shape[2]];
    let data = array.values.iter().map(|&v| v as u16).collect();
    LabelMap::new(Grid::axis_aligned([x, y, z], [1.0; 3]), data).expect("a map")
}

#[test]
fn gaps_and_collisions() {
    let (Some(arrays), Some(wanted)) = (kit::npz("unit/mpunet.npz"), kit::json("unit/mpunet.json"))
    else {
        return;
    };
    let (labels, prediction) = (map(&arrays["labels"]), map(&arrays["pred"]));
    let (first, second) = two_nearest(&labels).expect("distances");
    let gap = first
        .iter()
        .zip(&second)
        .filter(|(a, b)| **a + **b < 10.0)
        .count();
    assert_eq!(Some(gap as u64), wanted["gap_voxels"].as_u64());
    let found = gap_dice(&labels, &prediction, 10.0).expect("gap Dice");
    for (label, wanted) in (1u16..).zip(wanted["gapdice"].as_array().expect("values")) {
        let off = found[&label] - wanted.as_f64().expect("a value");
        assert!(off.abs() < 1e-12, "label {label}: off by {off}");
    }
    let count = collision(&prediction, 2.0).expect("a count");
    assert_eq!(Some(count as u64), wanted["collision_eps2"].as_u64());
}

#[test]
fn symmetric_components() {
    let Some(arrays) = kit::npz("unit/mpunet.npz") else {
        return;
    };
    let mut found = map(&arrays["pred"]);
    let wanted = map(&arrays["sym12"]);
    assert!(found.data != wanted.data, "nothing to do");
    swap_components(&mut found, [1, 2]);
    assert!(found.data == wanted.data);
}
