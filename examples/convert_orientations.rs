//! One scan, stored in all 48 ways an array can lie in a patient, in three formats: the patient stays put.
//!
//! ```text
//!          head                       array axes (i, j, k) may run towards
//!           |  front                  R or L, A or P, S or I, in any order:
//!           | /                       6 orders x 8 directions = 48 axis codes
//!  left ----+---- right
//!          /|                         a dot is painted near the patient's left hip;
//!      back |                         whatever the file, it must be found there again
//!          feet
//! ```
//!
//! Run with `cargo run --example convert_orientations`. Expected output:
//!
//! ```text
//! dot at (left 42.0, back 13.0, up -38.0) mm
//! 48 axis codes x 3 formats: 144 files, farthest dot 0.0000 mm away
//! ```

use imaging::orientation::{parse_axis_code, reorient};
use imaging::{Grid, Volume, read_volume, write_volume};
use nalgebra::{Matrix3, Vector3};

fn main() -> anyhow::Result<()> {
    let grid = Grid {
        size: [7, 6, 5],
        spacing_mm: [8.0, 9.0, 11.0],
        origin_mm: Vector3::new(10.0, 4.0, -60.0),
        direction: Matrix3::identity(),
    };
    let scan = Volume::from_fn(
        grid,
        |voxel| if voxel == [4, 1, 2] { 500.0_f32 } else { 0.0 },
    );
    let dot = dot_mm(&scan);
    println!(
        "dot at (left {:.1}, back {:.1}, up {:.1}) mm",
        dot.x, dot.y, dot.z
    );

    let folder = tempfile::tempdir()?;
    let (mut files, mut farthest_mm) = (0, 0.0_f64);
    for code in axis_codes() {
        let turned = reorient(&scan, parse_axis_code(&code)?)?;
        for ending in ["nii.gz", "nrrd", "mha"] {
            let path = folder.path().join(format!("{code}.{ending}"));
            write_volume(&path, &turned)?;
            let back = read_volume(&path)?;
            assert_eq!(back.grid.axis_code(), code, "{}", path.display());
            farthest_mm = farthest_mm.max((dot_mm(&back) - dot).norm());
            files += 1;
        }
    }
    println!("48 axis codes x 3 formats: {files} files, farthest dot {farthest_mm:.4} mm away");
    assert!(files == 144 && farthest_mm < 1e-4);
    Ok(())
}

/// World position (LPS mm) of the brightest voxel.
fn dot_mm(scan: &Volume<f32>) -> Vector3<f64> {
    let brightest = (0..scan.data.len()).fold(0, |best, voxel| {
        if scan.data[voxel] > scan.data[best] {
            voxel
        } else {
            best
        }
    });
    let [i, j, k] = scan.grid.voxel(brightest).map(|index| index as f64);
    scan.grid.to_world(Vector3::new(i, j, k))
}

/// Every axis code: one letter of each pair, in every order.
fn axis_codes() -> Vec<String> {
    let pairs = [['R', 'L'], ['A', 'P'], ['S', 'I']];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let letters = |order: [usize; 3], signs: usize| -> String {
        order
            .map(|axis| pairs[axis][signs >> axis & 1])
            .iter()
            .collect()
    };
    orders
        .into_iter()
        .flat_map(|order| (0..8).map(move |signs| (order, signs)))
        .map(|(order, signs)| letters(order, signs))
        .collect()
}
