//! The measures of the multi-planar paper, against its published code.

use imaging::Volume;
use imaging::{Grid, LabelMap};
use segmentation::metrics::{collision, gap_dice, swap_components, two_nearest};
use segmentation::recipes::{DistanceWeights, plane_basis, plane_points, sampled};

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

#[test]
fn planes() {
    let (Some(arrays), Some(facts)) = (kit::npz("unit/mpunet.npz"), kit::json("unit/mpunet.json"))
    else {
        return;
    };
    let number = |key: &str| facts[key].as_f64().expect("a number");
    let (dim, span, offset) = (number("dim") as usize, number("span"), number("offset"));
    let volume = &arrays["vol"];
    // Axis by axis as the array stands: its first is the slowest.
    let pixdim = &arrays["pixdim"].values;
    let [nx, ny, nz] = [volume.shape[0], volume.shape[1], volume.shape[2]];
    let grid = Grid::axis_aligned([nx, ny, nz], [pixdim[0], pixdim[1], pixdim[2]]);
    let scan = Volume::from_fn(grid, |[i, j, k]| {
        volume.values[(i * ny + j) * nz + k] as f32
    });
    let mut sampled_planes = 0;
    for (index, normal) in facts["normals"]
        .as_array()
        .expect("normals")
        .iter()
        .enumerate()
    {
        let normal: [f64; 3] = std::array::from_fn(|a| normal[a].as_f64().expect("a number"));
        let basis = plane_basis(normal);
        let wanted = &arrays[&format!("plane{index}_basis")];
        // The basis stands in columns.
        for (axis, vector) in basis.iter().enumerate() {
            for (row, value) in vector.iter().enumerate() {
                let off = value - wanted.values[row * 3 + axis];
                assert!(off.abs() < 1e-6, "plane {index}, axis {axis}: off by {off}");
            }
        }
        let points = plane_points(&basis, dim, span, offset);
        let wanted = &arrays[&format!("plane{index}_grid")].values;
        for (point, wanted) in points.iter().zip(wanted.chunks_exact(3)) {
            for (value, wanted) in point.iter().zip(wanted) {
                let off = value - wanted;
                assert!(off.abs() < 1e-5, "plane {index}: off by {off}");
            }
        }
        let Some(wanted) = arrays.get(&format!("plane{index}_linear_fill-7")) else {
            continue;
        };
        sampled_planes += 1;
        let scale = number("linear_planes_scaled_by");
        for (point, wanted) in points.iter().zip(&wanted.values) {
            let off = f64::from(sampled(&scan, point.map(|v| v * scale), -7.0)) - wanted;
            assert!(off.abs() < 2e-4, "plane {index}: off by {off}");
        }
    }
    assert_eq!(sampled_planes, 3);
}

#[test]
fn distance_weights() {
    let Some(arrays) = kit::npz("unit/mpunet.npz") else {
        return;
    };
    let labels = map(&arrays["labels"]);
    for (key, background_only) in [("w_paper", false), ("w_code_style", true)] {
        let rule = DistanceWeights {
            erosion: 3,
            strength: 20.0,
            width: 5.0,
            background_only,
        };
        let found = rule.of(&labels).expect("weights");
        let off = kit::largest_difference(&found, &arrays[key].values);
        assert!(off < 1e-5, "{key}: off by {off}");
    }
}
