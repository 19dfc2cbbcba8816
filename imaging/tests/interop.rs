//! Files written here are read by nibabel and SimpleITK, and theirs are read here.

mod table;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use imaging::{Grid, Image, Voxels, write_image};
use nalgebra::{Matrix3, Rotation3, Vector3};

/// The comparison script, or `None` (said on the output) where Python or its libraries are missing.
fn script(arguments: &[&Path], verb: &str) -> Option<std::process::Output> {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "tests",
        "interop",
        "check.py",
    ]
    .iter()
    .collect();
    let run = |words: &[&std::ffi::OsStr]| {
        Command::new("python3")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(&path)
            .args(words)
            .output()
    };
    match run(&["probe".as_ref()]) {
        Ok(output) if output.status.success() => {}
        Ok(_) => {
            println!("skipped: python3 has no nibabel or no SimpleITK");
            return None;
        }
        Err(e) => {
            println!("skipped: python3 cannot be started ({e})");
            return None;
        }
    }
    let mut words: Vec<&std::ffi::OsStr> = vec![verb.as_ref()];
    words.extend(arguments.iter().map(|a| a.as_os_str()));
    Some(run(&words).unwrap())
}

/// Writes one image in every format and notes it in the list of cases.
fn write_case(folder: &Path, cases: &mut String, name: &str, image: &Image) {
    let grid = &image.grid;
    let (kind, values) = match &image.voxels {
        Voxels::U8(v) => ("uint8", format!("{v:?}")),
        Voxels::I8(v) => ("int8", format!("{v:?}")),
        Voxels::U16(v) => ("uint16", format!("{v:?}")),
        Voxels::I16(v) => ("int16", format!("{v:?}")),
        Voxels::U32(v) => ("uint32", format!("{v:?}")),
        Voxels::I32(v) => ("int32", format!("{v:?}")),
        Voxels::U64(v) => ("uint64", format!("{v:?}")),
        Voxels::I64(v) => ("int64", format!("{v:?}")),
        Voxels::F32(v) => ("float32", format!("{v:?}")),
        Voxels::F64(v) => ("float64", format!("{v:?}")),
    };
    let matrix: Vec<f64> = grid.matrix().transpose().iter().copied().collect();
    for ending in ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"] {
        let file = format!("{name}.{ending}");
        write_image(&folder.join(&file), image).unwrap();
        let nifti_2 = grid.size.iter().any(|&n| n > 32767) && ending.starts_with("nii");
        // SimpleITK refuses NIfTI-2 and sheared grids.
        let itk = !nifti_2 && grid.is_orthogonal();
        let comma = if cases.is_empty() { "" } else { "," };
        write!(
            cases,
            "{comma}\n{{\"file\": \"{file}\", \"size\": {:?}, \"matrix\": {matrix:?}, \"origin\": {:?}, \"type\": \"{kind}\", \"values\": {values}, \"itk\": {itk}}}",
            grid.size,
            grid.origin_mm.as_slice(),
        )
        .unwrap();
    }
}

fn grid(size: [usize; 3], direction: Matrix3<f64>) -> Grid {
    let steps = Matrix3::from_diagonal(&Vector3::new(0.7, 1.25, 3.1));
    Grid::from_affine(size, direction * steps, Vector3::new(-101.3, 57.9, 203.77)).unwrap()
}

fn numbered(grid: &Grid) -> Voxels {
    Voxels::I16((0..grid.len()).map(|n| n as i16 * 31 - 1024).collect())
}

#[test]
fn other_programs_read_what_is_written_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = String::new();
    let mut number = 0;
    for p in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for signs in 0..8 {
            let mut direction = Matrix3::zeros();
            for axis in 0..3 {
                direction[(p[axis], axis)] = if signs >> axis & 1 == 1 { -1.0 } else { 1.0 };
            }
            let grid = grid([4, 3, 2], direction);
            let image = Image::new(grid.clone(), numbered(&grid)).unwrap();
            write_case(folder.path(), &mut cases, &format!("axes{number}"), &image);
            number += 1;
        }
    }
    let oblique = Rotation3::from_euler_angles(0.3, -0.7, 2.1).into_inner();
    let mut mirrored = oblique;
    mirrored.column_mut(0).neg_mut();
    let sheared = Matrix3::new(1.0, 0.2, 0.0, 0.0, 1.0, 0.1, 0.0, 0.0, 1.0);
    for (name, size, direction) in [
        ("oblique", [5, 4, 3], oblique),
        ("mirrored", [5, 4, 3], mirrored),
        ("sheared", [5, 4, 3], sheared),
        ("slice", [5, 4, 1], oblique),
    ] {
        let grid = grid(size, direction);
        let image = Image::new(grid.clone(), numbered(&grid)).unwrap();
        write_case(folder.path(), &mut cases, name, &image);
    }
    let long = grid([2, 32768, 1], oblique);
    let voxels = Voxels::U8((0..long.len()).map(|n| (n * 7 % 251) as u8).collect());
    write_case(
        folder.path(),
        &mut cases,
        "long",
        &Image::new(long, voxels).unwrap(),
    );
    for (name, voxels) in [
        ("u8", Voxels::U8(vec![0, 127, 128, 255])),
        ("i8", Voxels::I8(vec![0, 127, -128, -1])),
        ("u16", Voxels::U16(vec![0, 32767, 32768, 65535])),
        ("i16", Voxels::I16(vec![0, 32767, -32768, -1])),
        ("u32", Voxels::U32(vec![0, 1, u32::MAX, 16_777_217])),
        ("i32", Voxels::I32(vec![0, i32::MAX, i32::MIN, -16_777_217])),
        (
            "u64",
            Voxels::U64(vec![0, u64::MAX, 1 << 63, (1 << 53) + 1]),
        ),
        (
            "i64",
            Voxels::I64(vec![0, i64::MAX, i64::MIN, (1 << 53) + 1]),
        ),
        ("f32", Voxels::F32(vec![0.0, 0.1, -1e30, 1e-30])),
        ("f64", Voxels::F64(vec![0.0, 0.1, -1e300, 1e-300])),
    ] {
        let image = Image::new(grid([2, 2, 1], oblique), voxels).unwrap();
        write_case(folder.path(), &mut cases, name, &image);
    }
    std::fs::write(folder.path().join("cases.json"), format!("[{cases}]")).unwrap();
    if let Some(output) = script(&[folder.path()], "read") {
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_other_programs_write_is_read_here() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(output) = script(&[folder.path()], "write") {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let expected = std::fs::read_to_string(folder.path().join("expected.csv")).unwrap();
        // Ten types: four NIfTI and ten ITK files each; and one scaled pair by either name.
        assert_eq!(table::check(&expected, folder.path()), (142, 0));
    }
}
