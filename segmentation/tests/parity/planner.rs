//! The official planner's choices for hand-made spacings and sizes.

use segmentation::nnunet::planner::{Images, Preset, plan};
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
