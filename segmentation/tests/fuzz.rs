//! Damaged model folders and checkpoints are read or refused; nothing panics, runs or asks for absurd memory.
//!
//! How the attack works is told in the engine; `docs/robustness.md` has the figures.

#[path = "../../tests/fuzz/engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use engine::{Target, alone, of_file, peak, targets};
use segmentation::network::Stored;
use segmentation::nnunet::{Checkpoint, Plans, Postprocessing};

targets!(
    plans: 6,
    dataset: 2,
    postprocessing: 2,
    checkpoint: 7,
    pickle: 7,
    safetensors: 6
);

fn target(
    name: &'static str,
    file: &str,
    words: &'static [&'static str],
    read: impl Fn(&Path) -> segmentation::Result<String> + 'static,
) -> Target {
    Target {
        name,
        corpora: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"),
        seeds: Vec::new(),
        words,
        tries: 5000,
        memory: (16 << 20, 1100),
        read: of_file(file, read),
    }
}

/// Words of the JSON files.
const JSON: &[&str] = &[
    "null",
    "[]",
    "{}",
    "true",
    "[[[[[[[[",
    "1e999",
    "-1",
    "\"inherits_from\":\"2d\",",
    "\"3d_fullres\":{},",
    "\"0\":",
    "\"regions_class_order\":[1,2],",
    "[1,2]",
    "\"ignore\":3,",
    "\"previous_stage\":\"2d\",",
    "4294967296",
    "\"n_stages\":1,",
    "\"strides\":[[1,1,1]],",
    "\"RGBTo01Normalization\"",
    "\\u0000",
];

const PLANS: &str = include_str!("corpus/plans/plain.json");
const DATASET: &str = include_str!("corpus/dataset/labels.json");

/// What was read of a folder's plans.
fn summary(plans: &Plans) -> String {
    // The patch is bounded, and so is what a network of it would hold.
    assert!(plans.patch.iter().all(|&edge| (1..=4096).contains(&edge)));
    format!(
        "{:?} {} stages {:?} 2d {}",
        plans.reader,
        plans.architecture.strides.len(),
        plans.normalisation.first(),
        plans.is_2d()
    )
}

fn plans() -> Target {
    target("plans", "plans.json", JSON, |path| {
        let folder = path.parent().unwrap();
        std::fs::write(folder.join("dataset.json"), DATASET).unwrap();
        for name in Plans::configurations(folder)? {
            let _ = Plans::read(folder, &name);
        }
        Plans::read(folder, "3d_fullres").map(|plans| summary(&plans))
    })
}

fn dataset() -> Target {
    target("dataset", "dataset.json", JSON, |path| {
        let folder = path.parent().unwrap();
        std::fs::write(folder.join("plans.json"), PLANS).unwrap();
        let plans = Plans::read(folder, "3d_fullres")?;
        let labels = &plans.labels;
        assert_eq!(
            labels.names().keys().max().copied().unwrap_or(0),
            labels.largest()
        );
        Ok(format!(
            "{} outputs {} channels",
            labels.outputs().min(4),
            plans.channel_names.len().min(4)
        ))
    })
}

fn postprocessing() -> Target {
    target("postprocessing", "postprocessing.json", JSON, |path| {
        Postprocessing::read(path).map(|steps| format!("{} steps", steps.0.len().min(4)))
    })
}

/// What was read of a checkpoint.
fn weights(path: &Path) -> segmentation::Result<String> {
    let checkpoint = Checkpoint::read(path)?;
    let (axes, count) = (checkpoint.mirror_axes.len(), checkpoint.weights.len());
    for (name, (shape, values)) in checkpoint.weights.into_all() {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
    }
    Ok(format!(
        "{axes} axes {} parameters configuration {} trainer {}",
        count.min(3),
        checkpoint.configuration.is_some(),
        checkpoint.trainer.is_some()
    ))
}

/// Words of pickles.
const PICKLE: &[&str] = &[
    "cposix\nsystem\n",
    "ctorch._utils\n_rebuild_tensor_v2\n",
    "ccollections\nOrderedDict\n",
    "ctorch\nFloatStorage\n",
    "cnumpy.core.multiarray\nscalar\n",
    "(",
    "R",
    "b",
    "s",
    "u",
    "}",
    "]",
    "t",
    ")",
    "2",
    "0",
    "N",
    ".",
    "q\u{1}",
    "h\u{1}",
    "Q",
    "X\u{7f}\0\0\0",
    "K\u{7f}",
];

/// An archive as PyTorch writes it; its members are not packed, so damage reaches the pickle but for the checksum.
fn checkpoint() -> Target {
    let mut target = target("checkpoint", "checkpoint_final.pth", PICKLE, weights);
    target.seeds = vec![archive(&[
        ("a/data.pkl", &pickled(4, 1)),
        ("a/version", b"3\n"),
        ("a/data/0", &[0; 16]),
    ])];
    target
}

/// The pickle alone, put into a sound archive.
fn pickle() -> Target {
    let mut target = target("pickle", "checkpoint_final.pth", PICKLE, |path| {
        let pickle = std::fs::read(path).unwrap();
        std::fs::write(
            path,
            archive(&[
                ("a/data.pkl", &pickle),
                ("a/version", b"3\n"),
                ("a/data/0", &[0; 16]),
            ]),
        )
        .unwrap();
        weights(path)
    });
    target.seeds = vec![pickled(4, 1), pickled(2, 2)];
    target
}

fn safetensors() -> Target {
    let words = &[
        "\"dtype\":\"F64\"",
        "\"shape\":[]",
        "\"data_offsets\":[0,0]",
        "__metadata__",
        "18446744073709551615",
        "\"BF16\"",
    ];
    let mut target = target(
        "safetensors",
        "checkpoint_final.safetensors",
        words,
        weights,
    );
    let folder = tempfile::tempdir().unwrap();
    for half in [false, true] {
        let mut stored = Stored::default();
        stored.insert("a.weight".into(), vec![2, 1, 3], vec![0.5; 6]);
        stored.insert("a.bias".into(), vec![2], vec![1.0, -1.0]);
        let facts = BTreeMap::from([
            (
                "inference_allowed_mirroring_axes".to_owned(),
                "[0, 2]".to_owned(),
            ),
            ("configuration".to_owned(), "3d_fullres".to_owned()),
        ]);
        let path = folder.path().join("a.safetensors");
        stored.write_safetensors(&path, &facts, half).unwrap();
        target.seeds.push(std::fs::read(path).unwrap());
    }
    target
}

/// A checkpoint's pickle: one parameter of `count` numbers, `stride` apart, in a storage of four.
fn pickled(count: u32, stride: u32) -> Vec<u8> {
    let mut p = b"\x80\x02}(".to_vec();
    let text = |p: &mut Vec<u8>, text: &str| {
        p.push(b'X');
        p.extend((text.len() as u32).to_le_bytes());
        p.extend(text.as_bytes());
    };
    let number = |p: &mut Vec<u8>, number: u32| {
        p.push(b'J');
        p.extend(number.to_le_bytes());
    };
    text(&mut p, "network_weights");
    p.extend(b"}");
    text(&mut p, "a.weight");
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(&mut p, "storage");
    p.extend(b"ctorch\nFloatStorage\n");
    text(&mut p, "0");
    text(&mut p, "cpu");
    number(&mut p, 4);
    p.extend(b"tQ");
    number(&mut p, 0);
    p.push(b'(');
    number(&mut p, count);
    p.extend(b"t(");
    number(&mut p, stride);
    p.extend(b"t\x89ccollections\nOrderedDict\n)RtRs");
    text(&mut p, "trainer_name");
    text(&mut p, "nnUNetTrainer");
    text(&mut p, "inference_allowed_mirroring_axes");
    p.extend(b"K\0K\x01\x86");
    p.extend(b"u.");
    p
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    packed(members, zip::CompressionMethod::Stored)
}

fn packed(members: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn refusal(path: &Path) -> (usize, String) {
    let (bytes, answer) = peak(|| Checkpoint::read(path));
    (bytes, answer.map(|_| ()).unwrap_err().to_string())
}

fn put(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("checkpoint_final.pth");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// One stored number that stands for a thousand millions, by a stride of 0.
#[test]
fn a_parameter_larger_than_its_file_is_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let members = |pickle: &[u8]| {
        archive(&[
            ("a/data.pkl", pickle),
            ("a/version", b"3\n"),
            ("a/data/0", &[0; 16]),
        ])
    };
    assert!(Checkpoint::read(&put(&folder, &members(&pickled(4, 1)))).is_ok());
    let (bytes, text) = refusal(&put(&folder, &members(&pickled(1 << 30, 0))));
    assert!(text.contains("more than its file can hold"), "{text}");
    assert!(bytes < 4 << 20, "{bytes} bytes");
}

/// A packed pickle of 256 MiB of zeros in an archive of 256 KiB.
#[test]
fn a_packed_pickle_is_unpacked_to_its_limit_only() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![0; 256 << 20];
    let bomb = packed(
        &[("a/data.pkl", &zeros), ("a/version", b"3\n")],
        zip::CompressionMethod::Deflated,
    );
    drop(zeros);
    assert!(bomb.len() < 1 << 20);
    let (bytes, text) = refusal(&put(&folder, &bomb));
    assert!(bytes < 210 << 20, "{bytes} bytes: {text}");
}

/// Members are looked up by name and never written: a name that leads out of the archive leads nowhere.
#[test]
fn names_that_lead_out_of_an_archive_write_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let absolute = folder.path().join("absolute").display().to_string();
    let path = inside.join("checkpoint_final.pth");
    for name in [
        "../out",
        "a/../../out",
        absolute.as_str(),
        "a/data/../../../out",
    ] {
        let bytes = archive(&[
            ("a/data.pkl", &pickled(4, 1)),
            ("a/version", b"3\n"),
            ("a/data/0", &[0; 16]),
            (name, b"out"),
        ]);
        std::fs::write(&path, bytes).unwrap();
        let _ = Checkpoint::read(&path);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["inside"]);
    assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 1);
}
