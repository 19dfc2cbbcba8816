//! Pure functions: new shapes, tile starts, importance maps, resampling.

use half::f16;
use segmentation::Channels;
use segmentation::nnunet::resample::{
    logit_taps, new_shape, resample_image, resample_labels, separate_axis,
};
use segmentation::nnunet::sliding_window::{importance, tile_starts};
use serde_json::Value;

use crate::kit;

fn three<T: Copy>(value: &Value, of: impl Fn(&Value) -> T) -> [T; 3] {
    std::array::from_fn(|axis| of(&value[axis]))
}

fn numbers(value: &Value) -> [f64; 3] {
    three(value, |v| v.as_f64().expect("a number"))
}

fn sizes(value: &Value) -> [usize; 3] {
    three(value, |v| v.as_u64().expect("a size") as usize)
}

#[test]
fn new_shapes() {
    let Some(tables) = kit::json("unit/tables.json") else {
        return;
    };
    let cases = tables["new_shape"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let found = new_shape(
            sizes(&case["old_shape"]),
            numbers(&case["old"]),
            numbers(&case["new"]),
        );
        assert_eq!(found, sizes(&case["out"]), "{case}");
    }
}

#[test]
fn starts_of_tiles() {
    let Some(tables) = kit::json("unit/tables.json") else {
        return;
    };
    let cases = tables["sliding_window"].as_array().expect("cases");
    assert!(cases.len() > 3);
    for case in cases {
        let size = |key: &str| case[key].as_u64().expect("a size") as usize;
        let step = case["step"].as_f64().expect("a step");
        let wanted: Vec<usize> = case["starts"]
            .as_array()
            .expect("starts")
            .iter()
            .map(|v| v.as_u64().expect("a start") as usize)
            .collect();
        assert_eq!(
            tile_starts(size("image"), size("tile"), step),
            wanted,
            "{case}"
        );
    }
}

#[test]
fn importance_of_a_tile() {
    let Some(maps) = kit::npz("unit/gaussian.npz") else {
        return;
    };
    for name in ["f16_16x64x64", "f16_48x32x40"] {
        let map = &maps[name];
        let found = importance([map.shape[0], map.shape[1], map.shape[2]], false);
        let found: Vec<f64> = found.iter().map(|v| v.to_f64()).collect();
        assert_eq!(found, map.values, "{name}");
    }
}

/// Applies linear taps along all axes, as the export does row by row.
fn linear(image: &Channels<f32>, shape: [usize; 3], current: [f64; 3], new: [f64; 3]) -> Vec<f64> {
    let taps = logit_taps(image.shape, shape, current, new);
    let [_, rows, columns] = image.shape;
    let mut out = vec![];
    for z in 0..shape[0] {
        for y in 0..shape[1] {
            for x in 0..shape[2] {
                let mut sum = 0.0;
                for (z, wz) in taps[0].of(z, image.shape[0]) {
                    for (y, wy) in taps[1].of(y, rows) {
                        for (x, wx) in taps[2].of(x, columns) {
                            sum +=
                                wz * wy * wx * f64::from(image.data[(z * rows + y) * columns + x]);
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

#[test]
fn resampling_of_images_logits_and_labels() {
    let (Some(tables), Some(arrays)) =
        (kit::json("unit/tables.json"), kit::npz("unit/resample.npz"))
    else {
        return;
    };
    let image = arrays["x"].channels(|v| v as f32);
    let labels = arrays["seg"].channels(|v| v as i16);
    let largest = image.data.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let cases = tables["resample"].as_object().expect("cases");
    assert!(cases.len() >= 7);
    for (name, case) in cases {
        let shape = sizes(&case["new_shape"]);
        let current = numbers(&case["current_spacing"]);
        let new = numbers(&case["new_spacing"]);
        let axis = case["axis"].as_u64().map(|axis| axis as usize);
        assert_eq!(separate_axis(current, new), axis, "{name}");

        let cubic = resample_image(image.clone(), shape, current, new);
        let wanted = &arrays[&format!("{name}_data_o3")];
        let off = kit::largest_difference(&cubic.data, &wanted.values);
        assert!(
            off < 1e-7 * f64::from(largest),
            "{name}: images differ by {off}"
        );

        let wanted = &arrays[&format!("{name}_prob_o1")];
        let found: Vec<f32> = linear(&image, shape, current, new)
            .iter()
            .map(|&v| v as f32)
            .collect();
        let off = kit::largest_difference(&found, &wanted.values);
        assert!(
            off < 1e-4 * f64::from(largest),
            "{name}: logits differ by {off}"
        );

        let halves = Channels {
            shape: image.shape,
            // The kit divides by 500 so that halves do not overflow.
            data: image
                .data
                .iter()
                .map(|&v| f16::from_f32(v / 500.0).to_f32())
                .collect(),
        };
        let wanted = &arrays[&format!("{name}_prob_o1_f16in")];
        for (found, wanted) in linear(&halves, shape, current, new)
            .iter()
            .zip(&wanted.values)
        {
            // One unit in the last place of a half.
            let unit = wanted.abs().max(6e-5) * 2f64.powi(-10);
            let off = (f16::from_f64(*found).to_f64() - wanted).abs();
            assert!(off <= unit, "{name}: {found} instead of {wanted}");
        }

        let resampled = resample_labels(labels.clone(), shape, current, new);
        let wanted = arrays[&format!("{name}_seg_o1")].channels(|v| v as i16);
        let differ = resampled
            .data
            .iter()
            .zip(&wanted.data)
            .filter(|(a, b)| a != b);
        assert_eq!(differ.count(), 0, "{name}: labels");
    }
}
