//! What `osteoload verify` runs, as a test.

use osteoload::progress::Progress;
use osteoload::verification::{Criterion, VerificationRow, markdown, verify};

#[test]
fn every_row_of_the_verify_command_passes() {
    let rows = verify(&mut Progress::silent()).expect("the problems are solved");
    let failed: Vec<&VerificationRow> = rows.iter().filter(|row| !row.passes()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(rows.len() >= 200, "{} rows", rows.len());
    for problem in [
        "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "P1", "P2", "P3", "P4", "P5",
        "P6", "P7", "P8", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9",
    ] {
        let prefix = format!("{problem} ");
        assert!(
            rows.iter().any(|row| row.problem.starts_with(&prefix)),
            "{problem} is not verified"
        );
    }
    // Every row can fail: with the result moved by twice what is allowed, or below its bound, it does.
    for row in &rows {
        let wrong = |result: f64| VerificationRow {
            result,
            ..row.clone()
        };
        let (low, high) = match row.criterion {
            Criterion::Relative(allowed) => {
                let off = 2.0 * allowed * row.reference.abs();
                (row.reference - off, Some(row.reference + off))
            }
            Criterion::Absolute(allowed) => {
                let off = f64::max(2.0 * allowed, 1e-9);
                (row.reference - off, Some(row.reference + off))
            }
            Criterion::AtLeast => (row.reference - 0.01 * row.reference.abs(), None),
        };
        for result in std::iter::once(low).chain(high) {
            assert!(!wrong(result).passes(), "{row:?} passes with {result}");
        }
        assert!(!wrong(f64::NAN).passes(), "{row:?}");
    }
    let table = markdown(&rows);
    assert!(table.contains(&format!("{} quantities, 0 failed", rows.len())));
}
