//! What is written is read again: every format, every axis orientation, every stored type.

use imaging::{
    Grid, Image, Orientation, ScalarType, Volume, Voxels, describe, read_image, read_labels,
    read_volume, write_image, write_volume,
};
use nalgebra::{Matrix3, Rotation3, Vector3};
use proptest::prelude::*;

const ENDINGS: [&str; 6] = ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"];

/// The 48 ways to lay three array axes along the axes of the body.
fn orientations() -> Vec<Matrix3<f64>> {
    let permutations = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let mut all = Vec::new();
    for p in permutations {
        for signs in 0..8 {
            let mut direction = Matrix3::zeros();
            for axis in 0..3 {
                direction[(p[axis], axis)] = if signs >> axis & 1 == 1 { -1.0 } else { 1.0 };
            }
            all.push(direction);
        }
    }
    all
}

fn grid(size: [usize; 3], direction: Matrix3<f64>) -> Grid {
    let steps = Matrix3::from_diagonal(&Vector3::new(0.7, 1.25, 3.1));
    Grid::from_affine(size, direction * steps, Vector3::new(-101.3, 57.9, 1203.77)).unwrap()
}

fn counted(grid: &Grid) -> Voxels {
    Voxels::I16((0..grid.len()).map(|n| n as i16 * 31 - 1024).collect())
}

#[test]
fn all_48_orientations_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let all = orientations();
    assert_eq!(all.len(), 48);
    for (n, &direction) in all.iter().enumerate() {
        let grid = grid([4, 3, 2], direction);
        let image = Image::new(grid.clone(), counted(&grid)).unwrap();
        for ending in ENDINGS {
            let path = folder.path().join(format!("o{n}.{ending}"));
            write_image(&path, &image).unwrap();
            let back = read_image(&path).unwrap();
            assert_eq!(back.voxels, image.voxels, "{}", path.display());
            grid.check_same(&back.grid)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(back.grid.axis_code(), grid.axis_code());
            // The step of every axis, whatever its length in voxels.
            let error = (back.grid.matrix() - grid.matrix()).abs().max();
            assert!(error < 1e-6, "{}: steps differ by {error}", path.display());
            if !ending.starts_with("nii") {
                // Text headers keep every digit; NIfTI-1 has single precision.
                assert!((back.grid.origin_mm - grid.origin_mm).norm() < 1e-12);
            }
            assert!(matches!(
                describe(&path).unwrap().orientation,
                Orientation::Stated(_)
            ));
        }
    }
}

#[test]
fn every_stored_type_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let grid = grid([2, 2, 2], Matrix3::identity());
    // The extremes of each type, and values that a detour over a float would round.
    let types = [
        Voxels::U8(vec![0, 1, 127, 128, 254, 255, 7, 9]),
        Voxels::I8(vec![0, 1, 127, -128, -1, -2, 7, 9]),
        Voxels::U16(vec![0, 1, 32767, 32768, 65535, 2, 7, 9]),
        Voxels::I16(vec![0, 1, 32767, -32768, -1, -1024, 7, 9]),
        Voxels::U32(vec![0, 1, u32::MAX, 1 << 31, 16_777_217, 2, 7, 9]),
        Voxels::I32(vec![0, 1, i32::MAX, i32::MIN, -16_777_217, 2, 7, 9]),
        Voxels::U64(vec![0, 1, u64::MAX, 1 << 63, (1 << 53) + 1, 2, 7, 9]),
        Voxels::I64(vec![0, 1, i64::MAX, i64::MIN, -(1 << 53) - 1, 2, 7, 9]),
        Voxels::F32(vec![
            0.0,
            1.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            f32::INFINITY,
            -0.1,
            7.0,
            9.0,
        ]),
        Voxels::F64(vec![
            0.0,
            1.0,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            -0.1,
            7.0,
            9.0,
        ]),
    ];
    for voxels in types {
        let image = Image::new(grid.clone(), voxels).unwrap();
        for ending in ENDINGS {
            let path = folder.path().join(format!("t.{ending}"));
            write_image(&path, &image).unwrap();
            assert_eq!(read_image(&path).unwrap().voxels, image.voxels, "{ending}");
            let told = describe(&path).unwrap();
            assert_eq!(told.scalar_type, image.voxels.scalar_type());
        }
    }
}

#[test]
fn volumes_masks_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let grid = grid([3, 1, 2], Matrix3::identity());
    let path = folder.path().join("v.nii.gz");
    let mask = Volume::new(grid.clone(), vec![true, false, true, true, false, false]).unwrap();
    write_volume(&path, &mask).unwrap();
    assert_eq!(describe(&path).unwrap().scalar_type, ScalarType::U8);
    assert_eq!(read_labels(&path).unwrap().data, [1, 0, 1, 1, 0, 0]);
    let values = vec![0.5_f32, -1024.0, f32::NAN, f32::INFINITY, 3.25, 0.0];
    write_volume(&path, &Volume::new(grid.clone(), values).unwrap()).unwrap();
    let back = read_volume(&path).unwrap();
    assert_eq!(back.count_non_finite(), 2);
    assert_eq!(
        (back.data[0], back.data[1], back.data[4]),
        (0.5, -1024.0, 3.25)
    );
    let wrong = Volume {
        grid,
        data: vec![1_u8; 5],
    };
    assert!(write_volume(&path, &wrong).is_err());
}

#[test]
fn scaling_is_kept_by_nifti_and_applied_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image {
        grid: grid([3, 1, 1], Matrix3::identity()),
        voxels: Voxels::I16(vec![0, 3, -7]),
        slope: 0.5,
        intercept: -1000.0,
    };
    for ending in ENDINGS {
        let path = folder.path().join(format!("s.{ending}"));
        write_image(&path, &image).unwrap();
        let stored = describe(&path).unwrap().scalar_type;
        let nifti = ending.starts_with("nii");
        assert_eq!(
            stored,
            if nifti {
                ScalarType::I16
            } else {
                ScalarType::F32
            }
        );
        assert_eq!(read_volume(&path).unwrap().data, [-1000.0, -998.5, -1003.5]);
    }
}

#[test]
fn labels_are_whole_numbers_up_to_65535() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.mha");
    let refused = |voxels: Voxels| {
        let grid = Grid::axis_aligned([2, 2, 1], [1.0; 3]);
        write_image(&path, &Image::new(grid, voxels).unwrap()).unwrap();
        read_labels(&path)
            .map(|map| map.data)
            .map_err(|e| e.to_string())
    };
    let message = refused(Voxels::F32(vec![1.0, 2.0, 0.5, 0.25])).unwrap_err();
    assert!(
        message.contains("l.mha") && message.contains("voxel (0, 1, 0) holds 0.5"),
        "{message}"
    );
    let message = refused(Voxels::I16(vec![1, -3, 0, 0])).unwrap_err();
    assert!(message.contains("voxel (1, 0, 0) holds -3"), "{message}");
    let message = refused(Voxels::F64(vec![1.0, 0.0, 0.0, f64::NAN])).unwrap_err();
    assert!(message.contains("voxel (1, 1, 0) holds NaN"), "{message}");
    let message = refused(Voxels::U32(vec![65_536, 0, 0, 0])).unwrap_err();
    assert!(message.contains("holds 65536"), "{message}");
    assert_eq!(
        refused(Voxels::F64(vec![65535.0, 0.0, 3.0, -0.0])).unwrap(),
        [65535, 0, 3, 0]
    );
    assert!(refused(Voxels::F64(vec![0.9999, 0.0, 0.0, 0.0])).is_err());
}

#[test]
fn the_same_image_gives_the_same_bytes_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let grid = grid([4, 3, 2], orientations()[13]);
    let image = Image::new(grid.clone(), counted(&grid)).unwrap();
    let files = [
        "a.nii", "b.nii.gz", "c.nrrd", "d.nhdr", "d.raw.gz", "e.mha", "f.mhd", "f.zraw",
    ];
    let write_all = || -> Vec<Vec<u8>> {
        for name in files.iter().filter(|n| !n.contains("raw")) {
            write_image(&folder.path().join(name), &image).unwrap();
        }
        files
            .iter()
            .map(|name| std::fs::read(folder.path().join(name)).unwrap())
            .collect()
    };
    let first = write_all();
    assert_eq!(first, write_all());
    // RFC 1952: bytes 4 to 7 of a gzip member are its time.
    assert_eq!(first[1][4..8], [0; 4]);
    assert_eq!(first[4][4..8], [0; 4]);
    let mut there: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, files);
    assert!(write_image(&folder.path().join("none/x.nii"), &image).is_err());
}

#[test]
fn a_side_beyond_32767_makes_nifti_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.nii.gz");
    for (length, format) in [(32767, "NIfTI-1"), (32768, "NIfTI-2")] {
        let grid = grid([1, length, 2], orientations()[30]);
        let voxels = Voxels::U16((0..grid.len()).map(|n| n as u16).collect());
        let image = Image::new(grid, voxels).unwrap();
        write_image(&path, &image).unwrap();
        assert_eq!(describe(&path).unwrap().format, format);
        let back = read_image(&path).unwrap();
        assert_eq!(back.voxels, image.voxels);
        let error = (back.grid.matrix() - image.grid.matrix()).abs().max();
        // Single precision, and double through the sform.
        assert!(
            error < if length == 32767 { 1e-6 } else { 1e-15 },
            "{error}"
        );
    }
}

#[test]
fn a_sheared_grid_has_no_qform() {
    let folder = tempfile::tempdir().unwrap();
    let shear = Matrix3::new(1.0, 0.2, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0);
    let sheared = grid([5, 4, 3], shear);
    assert!(!sheared.is_orthogonal());
    let image = Image::new(sheared.clone(), counted(&sheared)).unwrap();
    for ending in ENDINGS {
        let path = folder.path().join(format!("sheared.{ending}"));
        write_image(&path, &image).unwrap();
        sheared
            .check_same(&read_image(&path).unwrap().grid)
            .unwrap();
    }
    let codes = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        [252, 254].map(|at| i16::from_le_bytes([bytes[at], bytes[at + 1]]))
    };
    assert_eq!(codes("sheared.nii"), [0, 1]);
    let right = grid([5, 4, 3], Matrix3::identity());
    let image = Image::new(right.clone(), counted(&right)).unwrap();
    write_image(&folder.path().join("right.nii"), &image).unwrap();
    assert_eq!(codes("right.nii"), [1, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Oblique grids, left- and right-handed, through the sform and through the qform.
    #[test]
    fn oblique_grids(
        angles in prop::array::uniform3(-3.2_f64..3.2),
        spacing in prop::array::uniform3(0.05_f64..5.0),
        origin in prop::array::uniform3(-1500.0_f64..1500.0),
        size in prop::array::uniform3(1_usize..6),
        mirrored: bool,
        ending in 0_usize..ENDINGS.len(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut direction = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]).into_inner();
        if mirrored {
            direction.column_mut(1).neg_mut();
        }
        let steps = Matrix3::from_diagonal(&Vector3::from(spacing));
        let grid = Grid::from_affine(size, direction * steps, Vector3::from(origin)).unwrap();
        let image = Image::new(grid.clone(), counted(&grid)).unwrap();
        let path = folder.path().join(format!("x.{}", ENDINGS[ending]));
        write_image(&path, &image).unwrap();
        let back = read_image(&path).unwrap();
        prop_assert_eq!(&back.voxels, &image.voxels);
        prop_assert!(grid.check_same(&back.grid).is_ok());
        prop_assert!((back.grid.matrix() - grid.matrix()).abs().max() < 1e-6);
        if ENDINGS[ending] == "nii" {
            let mut bytes = std::fs::read(&path).unwrap();
            prop_assert_eq!(bytes[252], 1, "qform code");
            bytes[254] = 0;
            std::fs::write(&path, bytes).unwrap();
            let by_qform = read_image(&path).unwrap();
            prop_assert!(grid.check_same(&by_qform.grid).is_ok());
            prop_assert_eq!(describe(&path).unwrap().orientation, Orientation::Stated("qform"));
        }
    }
}
