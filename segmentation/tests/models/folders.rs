//! Transposed axes, folds, 2D, regions, an ignore label, old plans, a cascade, inheritance.

use imaging::{LabelMap, Volume};
use segmentation::nnunet::{
    Choice, Folds, Labels, Model, Options, Plans, Postprocessing, Precision,
};
use serde_json::json;

use super::made::{configuration, dataset, plans, scan, write};

fn segment(model: &Model, scan: &Volume<f32>, options: &Options) -> LabelMap {
    let found = model.segment(std::slice::from_ref(scan), options, &mut |_, _| ());
    found.expect("labels").labels
}

fn open(folder: &std::path::Path) -> Model {
    Model::open(folder, &Choice::default()).expect("a model")
}

/// All labels occur, or equality would say nothing.
fn varied(map: &LabelMap) {
    assert_eq!(map.labels(), [1, 2], "the labels of the test's network");
}

/// Moves axis `axes[a]` to axis `a`, all in (x, y, z).
fn permuted<T: Copy>(volume: &Volume<T>, axes: [usize; 3]) -> Volume<T> {
    let grid = imaging::Grid::axis_aligned(
        axes.map(|axis| volume.grid.size[axis]),
        axes.map(|axis| volume.grid.spacing_mm[axis]),
    );
    Volume::from_fn(grid, |at| {
        let mut old = [0; 3];
        for (new, &axis) in axes.iter().enumerate() {
            old[axis] = at[new];
        }
        volume.at(old[0], old[1], old[2])
    })
}

#[test]
fn transposed_axes_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let spacing = [1.5, 1.0, 0.8];
    let made = |name: &str, transpose| {
        let plans = plans(
            transpose,
            json!({"3d_fullres": configuration(&[12, 16, 20], &spacing, 3)}),
        );
        let parent = directory.path().join(name);
        write(&parent, "3d_fullres", &plans, &dataset(), &[7])
    };
    let straight = open(&made("straight", [0, 1, 2]));
    // Array axis 0 of the network is axis 2 (x) of the file, then z, then y.
    let turned = open(&made("turned", [2, 0, 1]));
    let scan = scan([23, 19, 15], [0.7, 1.1, 1.3]);
    // The same scan, its z where x was, y where z was, x where y was.
    let other = permuted(&scan, [2, 0, 1]);
    for precision in [Precision::Fast, Precision::Exact] {
        let options = Options {
            precision,
            mirroring: false,
            ..Options::default()
        };
        let found = segment(&straight, &scan, &options);
        varied(&found);
        let turned = segment(&turned, &other, &options);
        assert_eq!(turned.grid, other.grid);
        assert!(
            permuted(&found, [2, 0, 1]).data == turned.data,
            "{precision:?}"
        );
    }
}

#[test]
fn folds_are_averaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let plans = plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[12, 16, 20], &[1.0; 3], 3)}),
    );
    let folder = write(
        directory.path(),
        "3d_fullres",
        &plans,
        &dataset(),
        &[7, 7, 8],
    );
    let scan = scan([22, 18, 14], [1.0; 3]);
    let options = Options::default();
    let of = |folds| {
        let choice = Choice {
            folds,
            ..Choice::default()
        };
        let model = Model::open(&folder, &choice).expect("a model");
        assert_eq!(model.mirror_axes(), [0, 1]);
        segment(&model, &scan, &options)
    };
    let one = of(Folds::These(vec![0]));
    varied(&one);
    assert!(
        of(Folds::These(vec![0, 1])).data == one.data,
        "twice the same"
    );
    let all = of(Folds::All);
    let other = of(Folds::These(vec![2]));
    assert!(all.data != one.data && all.data != other.data && one.data != other.data);
}

#[test]
fn slices_are_tiles_one_voxel_thick() {
    let directory = tempfile::tempdir().expect("a directory");
    // The same weights: a kernel of 3 × 3 is one of 1 × 3 × 3. Tiles one slice thick stand on every slice.
    let flat = plans(
        [0, 1, 2],
        json!({"2d": configuration(&[16, 20], &[1.0, 0.9], 3)}),
    );
    let solid = plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[1, 16, 20], &[3.0, 1.0, 0.9], 1)}),
    );
    let flat = write(
        &directory.path().join("flat"),
        "2d",
        &flat,
        &dataset(),
        &[9],
    );
    let solid = write(
        &directory.path().join("solid"),
        "3d_fullres",
        &solid,
        &dataset(),
        &[9],
    );
    let scan = scan([24, 20, 6], [0.8, 0.8, 3.0]);
    let options = Options {
        mirroring: false,
        ..Options::default()
    };
    let found = segment(&open(&flat), &scan, &options);
    varied(&found);
    assert!(segment(&open(&solid), &scan, &options).data == found.data);
    assert_eq!(open(&flat).mirror_axes(), [1, 2], "axes of the slice");
}

#[test]
fn regions_are_painted_in_the_order_of_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let plans = plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[12, 16, 20], &[1.0; 3], 3)}),
    );
    let dataset = r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2]}"#;
    let parsed: serde_json::Value = serde_json::from_str(dataset).expect("JSON");
    let folder = write(directory.path(), "3d_fullres", &plans, &parsed, &[11]);
    // As text: a table of the JSON crate would sort its keys.
    std::fs::write(folder.join("dataset.json"), dataset).expect("a file");
    let read = Plans::read(&folder, "3d_fullres").expect("plans");
    let wanted = vec![("whole".to_owned(), 1), ("core".to_owned(), 2)];
    assert_eq!(read.labels, Labels::Regions(wanted));
    assert_eq!(read.architecture.outputs, 2);
    let scan = scan([20, 18, 14], [1.0; 3]);
    let options = Options {
        probabilities: true,
        mirroring: false,
        ..Options::default()
    };
    let found = open(&folder)
        .segment(std::slice::from_ref(&scan), &options, &mut |_, _| ())
        .expect("labels");
    varied(&found.labels);
    let likely = found.probabilities.expect("probabilities").values;
    for (index, &label) in found.labels.data.iter().enumerate() {
        let (whole, core) = (likely.channel(0)[index], likely.channel(1)[index]);
        let wanted = match (whole > 0.5, core > 0.5) {
            (_, true) => 2,
            (true, false) => 1,
            _ => 0,
        };
        assert_eq!(label, wanted);
    }
}

#[test]
fn old_plans_say_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let new = plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[12, 16, 20], &[1.0; 3], 3)}),
    );
    let old = plans(
        [0, 1, 2],
        json!({"3d_fullres": {
            "patch_size": [12, 16, 20], "spacing": [1.0, 1.0, 1.0],
            "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false],
            "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 6,
            "n_conv_per_stage_encoder": [1, 2], "n_conv_per_stage_decoder": [1], "num_pool_per_axis": [1, 1, 1],
            "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]], "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        }}),
    );
    let mut modality = dataset();
    let names = modality
        .as_object_mut()
        .expect("a table")
        .remove("channel_names")
        .expect("names");
    modality["modality"] = names;
    let new = write(
        &directory.path().join("new"),
        "3d_fullres",
        &new,
        &dataset(),
        &[1],
    );
    let old = write(
        &directory.path().join("old"),
        "3d_fullres",
        &old,
        &modality,
        &[1],
    );
    let read = |folder| Plans::read(folder, "3d_fullres").expect("plans");
    assert_eq!(read(&new).architecture, read(&old).architecture);
    assert_eq!(read(&old).channel_names, ["CT"]);
}

#[test]
fn a_cascade_refines_what_the_coarse_model_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut fine = configuration(&[12, 16, 20], &[1.0; 3], 3);
    fine["previous_stage"] = json!("3d_lowres");
    let mut child = json!({"inherits_from": "3d_fine"});
    child["patch_size"] = json!([12, 16, 20]);
    let configurations = json!({
        "3d_lowres": configuration(&[8, 12, 12], &[2.0; 3], 3),
        "3d_fine": fine,
        "3d_cascade_fullres": child,
    });
    let plans = plans([0, 1, 2], configurations);
    let coarse = write(directory.path(), "3d_lowres", &plans, &dataset(), &[7]);
    let cascade = write(
        directory.path(),
        "3d_cascade_fullres",
        &plans,
        &dataset(),
        &[14],
    );
    let read = Plans::read(&cascade, "3d_cascade_fullres").expect("plans");
    assert_eq!(
        read.architecture.inputs, 3,
        "the scan and one channel per label"
    );
    let scan = scan([22, 18, 14], [1.0; 3]);
    let found = segment(&open(&cascade), &scan, &Options::default());
    varied(&found);
    // Other coarse weights, another result: the first stage is really seen.
    write(directory.path(), "3d_lowres", &plans, &dataset(), &[8]);
    assert!(segment(&open(&cascade), &scan, &Options::default()).data != found.data);
    std::fs::remove_dir_all(&coarse).expect("removed");
    let error = Model::open(&cascade, &Choice::default()).expect_err("no first stage");
    assert!(error.to_string().contains("3d_lowres"), "{error}");
}

#[test]
fn only_the_largest_component_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("postprocessing.json");
    let text = json!({
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}],
    });
    std::fs::write(&file, text.to_string()).expect("a file");
    let steps = Postprocessing::read(&file).expect("steps");
    let grid = imaging::Grid::axis_aligned([9, 1, 1], [1.0; 3]);
    let mut map = LabelMap::new(grid, vec![1, 2, 0, 1, 1, 0, 3, 0, 2]).expect("a map");
    steps.apply(&mut map);
    // Two components of two voxels are equally large; both stay, the single voxel goes, label 3 is none of its business.
    assert_eq!(map.data, [1, 2, 0, 1, 1, 0, 3, 0, 0]);
}

#[test]
fn a_task_of_total_segmentator_runs_the_parts_it_needs() {
    use segmentation::total_segmentator::{Task, segment};
    let directory = tempfile::tempdir().expect("a directory");
    let mut dataset = dataset();
    let labels = (1..=23).map(|label| (format!("class_{label:02}"), json!(label)));
    let background = ("background".to_owned(), json!(0));
    dataset["labels"] = serde_json::Value::Object(labels.chain([background]).collect());
    let plans = plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[12, 16, 20], &[1.5; 3], 3)}),
    );
    let folder = directory
        .path()
        .join("Dataset294_TotalSegmentator_part4_muscles_1559subj");
    write(&folder, "3d_fullres", &plans, &dataset, &[21]);
    let task = Task::named("total").expect("a task");
    let scan = scan([24, 21, 16], [1.2, 1.3, 2.0]);
    let run = |only: &[&str]| {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let options = Options::default();
        let choice = Choice::default();
        segment(
            &task,
            directory.path(),
            &scan,
            &only,
            &choice,
            &options,
            &mut |_, _| (),
        )
    };
    let bones = [
        "humerus_left",
        "humerus_right",
        "scapula_left",
        "scapula_right",
        "clavicula_left",
        "clavicula_right",
        "femur_left",
        "femur_right",
        "hip_left",
        "hip_right",
        "spinal_cord",
    ];
    let (found, names) = run(&bones).expect("labels");
    assert_eq!(names, task.names);
    assert_eq!(found.grid, scan.grid);
    let labels = found.labels();
    assert!(
        labels.len() >= 2 && labels.iter().all(|l| (69..=79).contains(l)),
        "{labels:?}"
    );
    // The part itself, on the scan as the task resamples it, has the same labels less 68; one class alone is that class.
    let one = task.names[&labels[0]].clone();
    let (alone, _) = run(&[&one]).expect("labels");
    for (all, alone) in found.data.iter().zip(&alone.data) {
        assert_eq!(*alone, if *all == labels[0] { labels[0] } else { 0 });
    }
    let error = run(&[])
        .expect_err("the other models are missing")
        .to_string();
    assert!(error.contains("Dataset291_"), "{error}");
    let error = run(&["femur"]).expect_err("no such class").to_string();
    assert!(error.contains("femur"), "{error}");
}
