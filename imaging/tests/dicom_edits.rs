//! What scanners, archives and accidents do to the geometry of a series: the original geometry, or
//! a refusal that names the cause; and what `repair` makes of it.

mod slices;

use std::path::{Path, PathBuf};

use dicom_core::VR;
use dicom_dictionary_std::tags;
use imaging::dicom::{Options, Series, read_series};
use imaging::{Grid, Image, Voxels};
use nalgebra::Vector3;
use slices::{axial, image, move_to, position, put, put_u16, write};

const SIZE: [usize; 3] = [24, 20, 12];
const REPAIR: Options = Options { repair: true };

fn straight(folder: &Path) -> Result<Series, String> {
    read_series(folder, &Options::default()).map_err(|e| e.to_string())
}

fn repaired(folder: &Path) -> Result<Series, String> {
    read_series(folder, &REPAIR).map_err(|e| e.to_string())
}

type Edit = fn(&[PathBuf]);

/// Edits that leave the geometry alone: the volume is as it was.
#[test]
fn harmless_edits_change_nothing() {
    let edits: [(&str, Edit); 7] = [
        ("names swapped", |files| {
            let spare = files[0].with_extension("spare");
            std::fs::rename(&files[3], &spare).unwrap();
            std::fs::rename(&files[8], &files[3]).unwrap();
            std::fs::rename(&spare, &files[8]).unwrap();
        }),
        ("instance numbers backwards", |files| {
            for (n, file) in files.iter().enumerate() {
                put(file, tags::INSTANCE_NUMBER, VR::IS, &(20 - n).to_string());
            }
        }),
        ("another SliceThickness", |files| {
            for file in files {
                put(file, tags::SLICE_THICKNESS, VR::DS, "5");
            }
        }),
        ("a lying SpacingBetweenSlices", |files| {
            for file in files {
                put(file, tags::SPACING_BETWEEN_SLICES, VR::DS, "1.25");
            }
        }),
        ("positions rounded to two decimals", |files| {
            for file in files {
                move_to(file, position(file).map(|v| (v * 100.0).round() / 100.0));
            }
        }),
        ("no series UID", |files| {
            for file in files {
                put(file, tags::SERIES_INSTANCE_UID, VR::UI, "");
            }
        }),
        ("no SOP class", |files| {
            for file in files {
                put(file, tags::SOP_CLASS_UID, VR::UI, "");
            }
        }),
    ];
    for (what, edit) in edits {
        for (name, image) in [("axial", axial(SIZE)), ("oblique", image(SIZE))] {
            let folder = tempfile::tempdir().unwrap();
            edit(&write(folder.path(), &image, 3));
            let read = straight(folder.path()).unwrap_or_else(|e| panic!("{what}, {name}: {e}"));
            assert_eq!(read.image.voxels, image.voxels, "{what}, {name}");
            let off = (0..3)
                .map(|a| (read.image.grid.spacing_mm[a] - image.grid.spacing_mm[a]).abs())
                .chain([(read.image.grid.origin_mm - image.grid.origin_mm).norm()])
                .fold(0.0, f64::max);
            assert!(off < 0.01, "{what}, {name}: {off} mm");
            assert!(read.notes.is_empty());
        }
    }
}

/// Moves a slice along the normal of the axial series.
fn lift(file: &Path, by: f64) {
    move_to(file, position(file) + Vector3::new(0.0, 0.0, by));
}

/// Edits that make the geometry wrong: refused, with the cause in these words.
#[test]
fn harmful_edits_are_refused_by_name() {
    let edits: [(&str, Edit); 19] = [
        ("missing slices: 1 of 12", |files| {
            std::fs::remove_file(&files[5]).unwrap()
        }),
        ("missing slices: 3 of 12", |files| {
            for n in [2, 6, 7] {
                std::fs::remove_file(&files[n]).unwrap();
            }
        }),
        ("duplicate positions", |files| {
            std::fs::copy(&files[4], files[4].with_extension("copy")).unwrap();
        }),
        ("duplicate positions", |files| {
            move_to(&files[4], position(&files[7]))
        }),
        ("duplicate positions", |files| {
            put(&files[4], tags::ACQUISITION_NUMBER, VR::IS, "2");
            move_to(&files[4], position(&files[5]));
        }),
        ("uneven slices", |files| lift(&files[4], 0.3)),
        ("uneven slices", |files| lift(&files[11], 0.5)),
        ("uneven slices", |files| lift(&files[0], 0.7)),
        // Sideways.
        ("uneven slices", |files| {
            move_to(&files[4], position(&files[4]) + Vector3::new(0.4, 0.0, 0.0));
        }),
        (
            "mixed kernels: SYNTHETIC (11 slices), B70f (1 slices)",
            |files| {
                put(&files[4], tags::CONVOLUTION_KERNEL, VR::SH, "B70f");
            },
        ),
        ("mixed sizes", |files| put_u16(&files[4], tags::ROWS, 19)),
        ("mixed pixel spacings", |files| {
            put(&files[4], tags::PIXEL_SPACING, VR::DS, "0.8\\0.71");
        }),
        ("mixed orientations", |files| {
            put(
                &files[4],
                tags::IMAGE_ORIENTATION_PATIENT,
                VR::DS,
                "0\\1\\0\\-1\\0\\0",
            );
        }),
        ("mixed tube voltages", |files| {
            put(&files[4], tags::KVP, VR::DS, "80")
        }),
        ("gantry tilt of 12.0°", |files| {
            for file in files {
                let at = position(file);
                let height = at.z - position(&files[0]).z;
                let shift = height * 12_f64.to_radians().tan();
                move_to(file, at + Vector3::new(0.0, shift, 0.0));
            }
        }),
        ("gantry tilt of 12.0° is stated", |files| {
            for file in files {
                put(file, tags::GANTRY_DETECTOR_TILT, VR::DS, "12");
            }
        }),
        ("not stacked along their normal", |files| {
            for file in files {
                let at = position(file);
                let height = at.z - position(&files[0]).z;
                move_to(file, at + Vector3::new(0.0, 2.0 * height, 0.0));
            }
        }),
        ("PixelSpacing holds", |files| {
            put(&files[4], tags::PIXEL_SPACING, VR::DS, "wide")
        }),
        ("ImagePositionPatient holds 2 numbers", |files| {
            put(&files[4], tags::IMAGE_POSITION_PATIENT, VR::DS, "1\\2");
        }),
    ];
    for (words, edit) in edits {
        let folder = tempfile::tempdir().unwrap();
        edit(&write(folder.path(), &axial(SIZE), 3));
        match straight(folder.path()) {
            Ok(read) => panic!("{words}: read as {}", read.image.grid),
            Err(message) => assert!(message.contains(words), "{message:?} lacks {words:?}"),
        }
    }
}

#[test]
fn a_missing_attribute_of_place_is_named() {
    for (tag, name) in [
        (
            tags::IMAGE_POSITION_PATIENT,
            "ImagePositionPatient is missing",
        ),
        (
            tags::IMAGE_ORIENTATION_PATIENT,
            "ImageOrientationPatient is missing",
        ),
        (tags::PIXEL_SPACING, "PixelSpacing is missing"),
        (tags::ROWS, "Rows is missing"),
        (tags::PIXEL_REPRESENTATION, "PixelRepresentation is missing"),
        (tags::PIXEL_DATA, "PixelData is missing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), &axial(SIZE), 3);
        slices::edit(&files[4], |object| {
            object.remove_element(tag);
        });
        let message = straight(folder.path()).unwrap_err();
        assert!(
            message.contains(name) && message.contains("0005.dcm"),
            "{message}"
        );
    }
}

/// A linear field, which linear interpolation reproduces exactly.
fn field(at: Vector3<f64>) -> f64 {
    10.0 * at.x - 20.0 * at.y + 30.0 * at.z
}

/// Slices of the linear field at the given positions of their first voxel.
fn slices_of_field(folder: &Path, corners: &[Vector3<f64>]) -> Vec<PathBuf> {
    let mut grid = Grid::axis_aligned([16, 14, corners.len()], [0.5, 0.75, 1.0]);
    grid.origin_mm = corners[0];
    let mut values = Vec::new();
    for corner in corners {
        for j in 0..14 {
            for i in 0..16 {
                let at = corner + Vector3::new(0.5 * i as f64, 0.75 * j as f64, 0.0);
                values.push(field(at).round() as i16);
            }
        }
    }
    let files = write(folder, &Image::new(grid, Voxels::I16(values)).unwrap(), 3);
    for (file, corner) in files.iter().zip(corners) {
        move_to(file, *corner);
    }
    files
}

/// Every voxel is the field there, or air outside of the slices; returns the share that is field.
fn check_field(series: Series) -> f64 {
    let volume = series.image.into_volume().unwrap();
    assert!(volume.grid.is_orthogonal());
    let mut inside = 0;
    for (n, &value) in volume.data.iter().enumerate() {
        if value == -1024.0 {
            continue;
        }
        inside += 1;
        let voxel = Vector3::from(volume.grid.voxel(n).map(|v| v as f64));
        let expected = field(volume.grid.to_world(voxel));
        // The stored field is rounded to whole numbers.
        assert!(
            (f64::from(value) - expected).abs() < 1.01,
            "{value}, not {expected}"
        );
    }
    inside as f64 / volume.data.len() as f64
}

#[test]
fn repair_straightens_a_tilt_and_says_so() {
    for tilt_deg in [12.0_f64, -20.0] {
        let folder = tempfile::tempdir().unwrap();
        let corners: Vec<_> = (0..10)
            .map(|k| {
                let z = 2.0 * f64::from(k);
                Vector3::new(3.0, -5.0 + z * tilt_deg.to_radians().tan(), z)
            })
            .collect();
        slices_of_field(folder.path(), &corners);
        let message = straight(folder.path()).unwrap_err();
        assert!(
            message.contains("gantry tilt of") && message.contains("--repair"),
            "{message}"
        );
        let series = repaired(folder.path()).unwrap();
        let expected = format!("gantry tilt of {:.1}° resampled", tilt_deg.abs());
        assert!(series.notes[0].contains(&expected), "{:?}", series.notes);
        assert_eq!(series.repairs, series.notes);
        let grid = &series.image.grid;
        assert_eq!([grid.size[0], grid.size[2]], [16, 10]);
        let drift = 18.0 * tilt_deg.to_radians().tan().abs();
        assert_eq!(grid.size[1], 14 + (drift / 0.75).ceil() as usize);
        assert!((grid.spacing_mm[2] - 2.0).abs() < 1e-6);
        let share = check_field(series);
        // Each slice fills its own rows, less the one that a shift by a part of a voxel costs.
        let full = 14.0 / (14.0 + (drift / 0.75).ceil());
        assert!(
            share <= full && share > full * 12.5 / 14.0,
            "{share} of {full}"
        );
    }
}

#[test]
fn repair_fills_small_gaps_and_evens_slices_and_says_so() {
    let heights: [(&[f64], usize, &str); 3] = [
        (
            &[0.0, 2.0, 4.0, 8.0, 10.0, 16.0, 18.0, 20.0, 22.0],
            12,
            "3 missing slices filled",
        ),
        (
            &[0.0, 2.0, 4.0, 6.4, 8.0, 10.0, 12.0],
            7,
            "resampled to 2.000 mm",
        ),
        (
            &[0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 7.5, 8.5],
            9,
            "resampled to 1.000 mm",
        ),
    ];
    for (heights, slices, note) in heights {
        let folder = tempfile::tempdir().unwrap();
        let corners: Vec<_> = heights
            .iter()
            .map(|z| Vector3::new(3.0, -5.0, *z))
            .collect();
        slices_of_field(folder.path(), &corners);
        let message = straight(folder.path()).unwrap_err();
        assert!(
            message.contains("slices") && message.contains("--repair"),
            "{message}"
        );
        let series = repaired(folder.path()).unwrap();
        assert!(series.notes[0].contains(note), "{:?}", series.notes);
        assert_eq!(series.image.grid.size, [16, 14, slices]);
        assert_eq!(check_field(series), 1.0);
    }
}

#[test]
fn repair_bridges_no_wide_gap_and_repairs_nothing_else() {
    let edits: [(&str, Edit); 5] = [
        ("missing slices", |files| {
            for n in 4..7 {
                std::fs::remove_file(&files[n]).unwrap();
            }
        }),
        ("duplicate positions", |files| {
            move_to(&files[4], position(&files[7]))
        }),
        ("mixed kernels", |files| {
            put(&files[4], tags::CONVOLUTION_KERNEL, VR::SH, "B70f")
        }),
        ("not stacked along their normal", |files| {
            for file in files {
                let at = position(file);
                move_to(file, at + Vector3::new(0.0, 2.0 * at.z, 0.0));
            }
        }),
        ("is stated", |files| {
            for file in files {
                put(file, tags::GANTRY_DETECTOR_TILT, VR::DS, "12");
            }
        }),
    ];
    for (words, edit) in edits {
        let folder = tempfile::tempdir().unwrap();
        edit(&write(folder.path(), &axial(SIZE), 3));
        let message = repaired(folder.path()).unwrap_err();
        assert!(message.contains(words), "{message}");
    }
    // A sound series is left as it is.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &axial(SIZE), 3);
    assert_eq!(
        repaired(folder.path()).unwrap(),
        straight(folder.path()).unwrap()
    );
}
