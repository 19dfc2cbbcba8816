//! The official planner's choices for hand-made spacings and sizes.

use segmentation::network::Kind;
use segmentation::nnunet::planner::{Fingerprint, Images, Preset, plan, plan_dataset};
use segmentation::nnunet::plans_json;
use segmentation::training::RawDataset;
use serde_json::Value;

use crate::kit;

#[test]
fn patches_batches_and_networks() {
    let Some(table) = kit::json("unit/planner_table.json") else {
        return;
    };
    let rows = table.as_array().expect("rows");
    assert_eq!(rows.len(), 36);
    for row in rows {
        let numbers = |key: &str| -> Vec<f64> {
            let values = row[key].as_array().expect("numbers");
            values
                .iter()
                .map(|v| v.as_f64().expect("a number"))
                .collect()
        };
        let count = |key: &str| row[key].as_u64().expect("a number");
        let nested = |key: &str| -> Vec<[usize; 3]> {
            let of = |row: &Value| {
                std::array::from_fn(|axis| row[axis].as_u64().expect("a number") as usize)
            };
            row[key].as_array().expect("rows").iter().map(of).collect()
        };
        let preset = match row["planner"].as_str().expect("a planner") {
            "ExperimentPlanner" => Preset::Plain,
            "nnUNetPlannerResEncM" => Preset::ResEncM,
            "nnUNetPlannerResEncL" => Preset::ResEncL,
            other => panic!("{other}"),
        };
        let median_shape = numbers("median_shape");
        let images = Images {
            spacing_mm: numbers("spacing"),
            voxels: count("n_cases") as f64 * median_shape.iter().product::<f64>(),
            median_shape,
            channels: 1,
            outputs: count("n_labels") as usize,
        };
        let found = plan(&images, preset);
        let what = format!("{} {}", row["dataset"], row["planner"]);
        let patch: Vec<f64> = found.patch.iter().map(|&n| n as f64).collect();
        assert_eq!(patch, numbers("patch_size"), "{what}");
        assert_eq!(found.estimate, count("feature_map_estimate"), "{what}");
        assert_eq!(found.batch as u64, count("batch_size"), "{what}");
        assert_eq!(found.architecture.strides, nested("strides"), "{what}");
        assert_eq!(found.architecture.kernels, nested("kernel_sizes"), "{what}");
        let features: Vec<f64> = found
            .architecture
            .features
            .iter()
            .map(|&n| n as f64)
            .collect();
        assert_eq!(features, numbers("features"), "{what}");
    }
}

#[test]
fn fingerprint_and_plans_file_of_a_raw_data_set() {
    let (Some(known), Some(folder)) = (kit::json("raw/dataset_fingerprint.json"), kit::file("raw"))
    else {
        return;
    };
    let known: Fingerprint = serde_json::from_value(known).expect("a fingerprint");
    let data = RawDataset::open(&folder).expect("a data set");
    let found = data.fingerprint(|_| {}).expect("a fingerprint");
    assert_eq!(found.spacings, known.spacings);
    assert_eq!(found.shapes_after_crop, known.shapes_after_crop);
    let off = found.median_relative_size_after_cropping - known.median_relative_size_after_cropping;
    assert!(off.abs() < 1e-12, "{off}");
    // The original draws voxels at random: mean and deviation to its noise, the rest to a CT number.
    let pick = |of: &Fingerprint| of.foreground_intensity_properties_per_channel["0"];
    let (own, other) = (pick(&found), pick(&known));
    for (name, own, other, within) in [
        ("mean", own.mean, other.mean, 0.2),
        ("std", own.std, other.std, 0.2),
        ("median", own.median, other.median, 1.0),
        ("0.5 %", own.percentile_00_5, other.percentile_00_5, 1.0),
        ("99.5 %", own.percentile_99_5, other.percentile_99_5, 1.0),
        ("min", own.min, other.min, 0.0),
        ("max", own.max, other.max, 0.0),
    ] {
        assert!((own - other).abs() <= within, "{name}: {own}, not {other}");
    }
    for (file, preset) in [
        ("raw/nnUNetPlans_as_planned.json", Preset::Plain),
        (
            "raw/nnUNetResEncUNetMPlans_as_planned.json",
            Preset::ResEncM,
        ),
    ] {
        let wanted = kit::json(file).expect("plans");
        let planned = plan_dataset(&known, 1, 3, preset).expect("plans");
        let name = "Dataset901_TinyBone";
        let found = plans_json(&planned, preset, name, &known, &data.channels, data.reader);
        same(&found, &wanted, file);
    }
}

/// The same keys, texts and numbers (to 1e-12).
fn same(found: &Value, wanted: &Value, place: &str) {
    match (found, wanted) {
        (Value::Object(own), Value::Object(other)) => {
            let keys = |map: &serde_json::Map<String, Value>| {
                map.keys()
                    .cloned()
                    .collect::<std::collections::BTreeSet<String>>()
            };
            assert_eq!(keys(own), keys(other), "{place}");
            for (key, value) in own {
                same(value, &other[key], &format!("{place} {key}"));
            }
        }
        (Value::Array(own), Value::Array(other)) => {
            assert_eq!(own.len(), other.len(), "{place}");
            for (own, other) in own.iter().zip(other) {
                same(own, other, place);
            }
        }
        (Value::Number(own), Value::Number(other)) => {
            let (own, other) = (own.as_f64().expect("one"), other.as_f64().expect("one"));
            assert!(
                (own - other).abs() <= 1e-12 * other.abs().max(1.0),
                "{place}: {own}, not {other}"
            );
        }
        (own, other) => assert_eq!(own, other, "{place}"),
    }
}

#[test]
fn plans_of_a_data_set() {
    let Some(fingerprint) = kit::json("raw/dataset_fingerprint.json") else {
        return;
    };
    let fingerprint: Fingerprint = serde_json::from_value(fingerprint).expect("a fingerprint");
    for (file, preset) in [
        ("raw/nnUNetPlans_as_planned.json", Preset::Plain),
        (
            "raw/nnUNetResEncUNetMPlans_as_planned.json",
            Preset::ResEncM,
        ),
    ] {
        let wanted = kit::json(file).expect("plans");
        let found = plan_dataset(&fingerprint, 1, 3, preset).expect("plans");
        let numbers = |value: &Value| -> Vec<f64> {
            let values = value.as_array().expect("numbers").iter();
            values.map(|v| v.as_f64().expect("a number")).collect()
        };
        let sizes = |values: &[usize]| -> Vec<f64> { values.iter().map(|&n| n as f64).collect() };
        let key = |key: &str| numbers(&wanted[key]);
        assert_eq!(sizes(&found.transpose_forward), key("transpose_forward"));
        assert_eq!(
            found.median_spacing_mm.to_vec(),
            key("original_median_spacing_after_transp")
        );
        // The file holds whole numbers.
        let shape: Vec<f64> = found
            .median_shape
            .iter()
            .map(|n| n.round_ties_even())
            .collect();
        assert_eq!(shape, key("original_median_shape_after_transp"));
        let names: Vec<&str> = found.configurations.iter().map(|c| c.name).collect();
        let known = wanted["configurations"]
            .as_object()
            .expect("configurations");
        assert_eq!(names, known.keys().map(String::as_str).collect::<Vec<_>>());
        for planned in &found.configurations {
            let wanted = &known[planned.name];
            let key = |key: &str| numbers(&wanted[key]);
            let what = format!("{file} {}", planned.name);
            for (found, wanted) in planned.spacing_mm.iter().zip(key("spacing")) {
                assert!(
                    (found - wanted).abs() < 1e-12,
                    "{what}: spacing {found}, not {wanted}"
                );
            }
            assert_eq!(
                planned.median_shape,
                key("median_image_size_in_voxels"),
                "{what}"
            );
            let configuration = &planned.configuration;
            assert_eq!(sizes(&configuration.patch), key("patch_size"), "{what}");
            assert_eq!(
                Some(configuration.batch as u64),
                wanted["batch_size"].as_u64(),
                "{what}"
            );
            assert_eq!(
                Some(planned.batch_dice),
                wanted["batch_dice"].as_bool(),
                "{what}"
            );
            let network = &wanted["architecture"]["arch_kwargs"];
            let own = &configuration.architecture;
            assert_eq!(
                sizes(&own.features),
                numbers(&network["features_per_stage"]),
                "{what}"
            );
            let encoder = match own.kind {
                Kind::Plain => "n_conv_per_stage",
                Kind::ResidualEncoder => "n_blocks_per_stage",
            };
            assert_eq!(sizes(&own.encoder), numbers(&network[encoder]), "{what}");
            assert_eq!(
                sizes(&own.decoder),
                numbers(&network["n_conv_per_stage_decoder"]),
                "{what}"
            );
            for (found, key) in [(&own.strides, "strides"), (&own.kernels, "kernel_sizes")] {
                let found: Vec<Vec<f64>> = found
                    .iter()
                    .map(|axes| sizes(&axes[3 - own.dimensions..]))
                    .collect();
                let rows = network[key].as_array().expect("rows").iter();
                assert_eq!(found, rows.map(numbers).collect::<Vec<_>>(), "{what} {key}");
            }
        }
    }
}
