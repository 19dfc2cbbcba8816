//! What is refused, and that the reason names the file, the value and the remedy.

use std::io::Write as _;
use std::path::Path;

use imaging::Volume;
use segmentation::nnunet::{Checkpoint, Choice, Model, Options, Plans};
use serde_json::{Value, json};

use super::made::{configuration, dataset, plans, scan, write};

fn good() -> Value {
    plans(
        [0, 1, 2],
        json!({"3d_fullres": configuration(&[12, 16, 20], &[1.0; 3], 3)}),
    )
}

fn opening(folder: &Path) -> String {
    Model::open(folder, &Choice::default())
        .expect_err("a refusal")
        .to_string()
}

fn segmenting(folder: &Path, scan: &[Volume<f32>]) -> String {
    let model = Model::open(folder, &Choice::default()).expect("a model");
    let refused = model.segment(scan, &Options::default(), &mut |_, _| ());
    refused.expect_err("a refusal").to_string()
}

#[test]
fn scans() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = write(directory.path(), "3d_fullres", &good(), &dataset(), &[1]);
    let fine = scan([20, 20, 14], [1.0; 3]);
    let two = segmenting(&folder, &[fine.clone(), fine.clone()]);
    assert!(two.contains("takes 1 channels (CT), 2 given"), "{two}");
    let none = segmenting(&folder, &[]);
    assert!(none.contains("no channel"), "{none}");
    let coarse = segmenting(&folder, &[scan([20, 20, 14], [1.0, 1.0, 10.0])]);
    assert!(
        coarse.contains("10.000 mm apart") && coarse.contains("8.000"),
        "{coarse}"
    );
    let empty = segmenting(&folder, &[Volume::filled(fine.grid.clone(), -1000.0)]);
    assert!(empty.contains("-1000 everywhere"), "{empty}");
    let mut broken = fine.clone();
    broken.data[5] = f32::NAN;
    let broken = segmenting(&folder, &[broken]);
    assert!(broken.contains("1 voxels are not numbers"), "{broken}");
    let other = segmenting(&folder, &[fine.clone(), scan([20, 20, 15], [1.0; 3])]);
    assert!(other.contains("the grids differ"), "{other}");
    let model = Model::open(&folder, &Choice::default()).expect("a model");
    for step in [0.0, 1e-6, 1.5, f64::NAN] {
        let options = Options {
            step,
            ..Options::default()
        };
        let refused = model.segment(std::slice::from_ref(&fine), &options, &mut |_, _| ());
        assert!(refused.expect_err("a refusal").to_string().contains("step"));
    }
}

#[test]
fn plans_and_data_sets() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = write(directory.path(), "3d_fullres", &good(), &dataset(), &[1]);
    let with = |file: &str, value: &Value| {
        std::fs::write(folder.join(file), value.to_string()).expect("a file");
        let reason = opening(&folder);
        std::fs::write(folder.join("plans.json"), good().to_string()).expect("a file");
        std::fs::write(folder.join("dataset.json"), dataset().to_string()).expect("a file");
        assert!(reason.contains(file), "no file in `{reason}`");
        reason
    };
    let change = |place: &str, value: Value| {
        let mut plans = good();
        *plans.pointer_mut(place).expect("an entry") = value;
        with("plans.json", &plans)
    };
    let own = "/configurations/3d_fullres";
    let reason = change(&format!("{own}/patch_size"), json!([16, 20]));
    assert!(reason.contains("for each of 2 axes"), "{reason}");
    let reason = change(&format!("{own}/patch_size"), json!([12, 16, 21]));
    assert!(reason.contains("multiple of 2"), "{reason}");
    let network = format!("{own}/architecture/network_class_name");
    let reason = change(&network, json!("a.b.SwinUNETR"));
    assert!(
        reason.contains("SwinUNETR") && reason.contains("PlainConvUNet"),
        "{reason}"
    );
    let reason = change(
        &format!("{own}/normalization_schemes"),
        json!(["OddNormalization"]),
    );
    assert!(reason.contains("OddNormalization"), "{reason}");
    let reason = change(
        &format!("{own}/architecture/arch_kwargs/strides"),
        json!([]),
    );
    assert!(reason.contains("0 stages"), "{reason}");
    let reason = change(
        &format!("{own}/patch_size"),
        json!([12, 16, 1_000_000_000_000u64]),
    );
    assert!(reason.contains("4096"), "{reason}");
    let reason = change("/transpose_forward", json!([0, 0, 1]));
    assert!(reason.contains("[0, 0, 1]"), "{reason}");
    let reason = change("/configurations", json!({"2d": {}}));
    assert!(
        reason.contains("3d_fullres") && reason.contains("2d"),
        "{reason}"
    );
    let mut gap = dataset();
    gap["labels"] = json!({"background": 0, "femur": 1, "hip": 3});
    let reason = with("dataset.json", &gap);
    assert!(reason.contains("2 is missing"), "{reason}");
    let mut one = dataset();
    one["labels"] = json!({"background": 0, "femur": 1});
    std::fs::write(folder.join("dataset.json"), one.to_string()).expect("a file");
    let reason = opening(&folder);
    assert!(
        reason.contains("decoder.seg_layers.0.weight") && reason.contains("checkpoint_final"),
        "{reason}"
    );
    std::fs::write(folder.join("plans.json"), "{").expect("a file");
    assert!(opening(&folder).contains("not a JSON file"));
    std::fs::remove_file(folder.join("plans.json")).expect("removed");
    assert!(opening(&folder).contains("no plans.json"));
    assert!(Plans::read(&folder, "3d_fullres").is_err());
}

#[test]
fn damaged_and_foreign_checkpoints() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = write(directory.path(), "3d_fullres", &good(), &dataset(), &[1]);
    let file = folder.join("fold_0/checkpoint_final.safetensors");
    let whole = std::fs::read(&file).expect("weights");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("a file");
    let reason = opening(&folder);
    assert!(
        reason.contains("checkpoint_final") && reason.contains("safetensors"),
        "{reason}"
    );
    std::fs::remove_file(&file).expect("removed");
    assert!(opening(&folder).contains("no folder fold_N"));
    // Weights of another network: a name too many, a name too few.
    let mut deeper = configuration(&[12, 16, 20], &[1.0; 3], 3);
    deeper["architecture"]["arch_kwargs"]["n_conv_per_stage"] = json!([2, 2]);
    let deeper = plans([0, 1, 2], json!({"3d_fullres": deeper}));
    let other = write(
        &directory.path().join("other"),
        "3d_fullres",
        &deeper,
        &dataset(),
        &[1],
    );
    std::fs::copy(other.join("fold_0/checkpoint_final.safetensors"), &file).expect("copied");
    let reason = opening(&folder);
    assert!(
        reason.contains("no place in the network") && reason.contains("convs.1"),
        "{reason}"
    );
    std::fs::write(other.join("fold_0/checkpoint_final.safetensors"), &whole).expect("a file");
    let reason = opening(&other);
    assert!(
        reason.contains("missing") && reason.contains("convs.1"),
        "{reason}"
    );
}

/// A pickle that is a table with one entry.
fn table(key: &str, value: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X".to_vec();
    pickle.extend((key.len() as u32).to_le_bytes());
    pickle.extend(key.as_bytes());
    pickle.extend(value);
    pickle.extend(b"s.");
    pickle
}

#[test]
fn checkpoints_that_would_run_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let proof = directory.path().join("proof");
    let command = format!("touch {}", proof.display());
    let mut call = b"cposix\nsystem\nX".to_vec();
    call.extend((command.len() as u32).to_le_bytes());
    call.extend(command.as_bytes());
    call.extend(b"\x85R");
    let alone = [b"\x80\x02".as_slice(), &call, b"."].concat();
    for (name, pickle) in [
        ("alone.pth", alone),
        ("inside.pth", table("network_weights", &call)),
    ] {
        let plain = directory.path().join(name);
        std::fs::write(&plain, &pickle).expect("a file");
        let zipped = directory.path().join(format!("zipped_{name}"));
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&zipped).expect("a file"));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (entry, bytes) in [("a/data.pkl", pickle.as_slice()), ("a/version", b"3\n")] {
            archive.start_file(entry, options).expect("an entry");
            archive.write_all(bytes).expect("written");
        }
        archive.finish().expect("an archive");
        for file in [plain, zipped] {
            let reason = Checkpoint::read(&file).expect_err("a refusal").to_string();
            assert!(
                reason.contains("posix.system") && reason.contains(name),
                "{reason}"
            );
        }
    }
    assert!(!proof.exists());
    // A call inside a module that also holds harmless types is a call all the same.
    for call in ["torch.hub\nload", "numpy\nload", "torch\nload"] {
        let mut pickle = format!("c{call}\nX").into_bytes();
        pickle.extend(1u32.to_le_bytes());
        pickle.extend(b"a\x85R");
        let file = directory.path().join("call.pth");
        std::fs::write(&file, table("network_weights", &pickle)).expect("a file");
        let reason = Checkpoint::read(&file).expect_err("a refusal").to_string();
        assert!(
            reason.contains("asks to run") && reason.contains("load"),
            "{reason}"
        );
    }
    let other = directory.path().join("other.pth");
    std::fs::write(&other, table("model", b"K\x01")).expect("a file");
    let reason = Checkpoint::read(&other).expect_err("a refusal").to_string();
    assert!(
        reason.contains("network_weights") && reason.contains("model"),
        "{reason}"
    );
    std::fs::write(&other, b"not a checkpoint at all").expect("a file");
    assert!(Checkpoint::read(&other).is_err());
}
