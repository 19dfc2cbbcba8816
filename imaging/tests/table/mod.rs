//! Tables of expected readings, as written by `tests/interop/reader_table.py`.

use std::path::Path;

use imaging::{Volume, read_volume};
use nalgebra::Vector3;

/// Checks every file of a table; returns the number of files read and refused as expected.
pub fn check(table: &str, folder: &Path) -> (usize, usize) {
    let (mut read, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 20, "{line}");
        let (name, refusal) = (cells[0], cells[19]);
        match read_volume(&folder.join(name)) {
            Ok(volume) if refusal.is_empty() => {
                read += 1;
                let numbers: Vec<f64> = cells[1..19].iter().map(|c| c.parse().unwrap()).collect();
                wrong.extend(differences(&volume, &numbers).map(|d| format!("{name}: {d}")));
            }
            Ok(_) => wrong.push(format!("{name}: read, but must be refused: {refusal}")),
            Err(e) if !refusal.is_empty() && e.to_string().contains(refusal) => refused += 1,
            Err(e) => wrong.push(format!("{name}: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    (read, refused)
}

fn differences(volume: &Volume<f32>, numbers: &[f64]) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    let size: Vec<f64> = volume.grid.size.iter().map(|&n| n as f64).collect();
    if size != numbers[..3] {
        wrong.push(format!("size {size:?}, expected {:?}", &numbers[..3]));
    }
    let matrix = volume.grid.matrix();
    let affine = &numbers[3..15];
    for row in 0..3 {
        // The table is RAS, the grid LPS.
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for column in 0..4 {
            let found = sign
                * if column < 3 {
                    matrix[(row, column)]
                } else {
                    volume.grid.to_world(Vector3::zeros())[row]
                };
            let expected = affine[4 * row + column];
            if differ(found, expected, 2e-5) {
                wrong.push(format!(
                    "affine[{row}][{column}] {found}, expected {expected}"
                ));
            }
        }
    }
    let mut sums = [0.0_f64; 3];
    let mut magnitude = 0.0_f64;
    for (n, v) in volume.data.iter().map(|&v| f64::from(v)).enumerate() {
        let weight = (n % 1009 + 1) as f64;
        sums[0] += v;
        sums[1] += v * v;
        sums[2] += v * weight;
        magnitude += v.abs() * weight;
    }
    for ((name, sum), expected) in ["sum", "sum_squares", "sum_weighted"]
        .iter()
        .zip(sums)
        .zip(&numbers[15..])
    {
        // Only the order of summation differs.
        if differ(sum, *expected, 1e-11 * magnitude.max(sums[1])) {
            wrong.push(format!("{name} {sum}, expected {expected}"));
        }
    }
    wrong.into_iter()
}

fn differ(found: f64, expected: f64, tolerance: f64) -> bool {
    let error = (found - expected).abs();
    error.is_nan() || error > tolerance
}
