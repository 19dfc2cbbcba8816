//! The force-displacement curve and `curve.csv`.

use std::io::Write as _;

use anyhow::Context as _;

/// One converged increment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Number, from 1.
    pub increment: usize,
    /// Displacement of the loading device, mm.
    pub displacement_mm: f64,
    /// Force along the load, N, positive in the loading direction.
    pub force_n: f64,
    /// Newton or secant iterations.
    pub newton_iterations: usize,
    /// Part of the elements that has yielded.
    pub plastic_fraction: f64,
}

/// Header of `curve.csv`.
pub const CURVE_HEADER: [&str; 5] = [
    "increment",
    "displacement_mm",
    "force_n",
    "newton_iterations",
    "plastic_fraction",
];

/// `curve.csv`. Numbers are written with every digit that is needed to read them back as they are.
///
/// # Errors
/// When a record cannot be written.
pub fn to_csv(curve: &[CurvePoint]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(CURVE_HEADER)?;
    for point in curve {
        writer.write_record([
            point.increment.to_string(),
            point.displacement_mm.to_string(),
            point.force_n.to_string(),
            point.newton_iterations.to_string(),
            point.plastic_fraction.to_string(),
        ])?;
    }
    writer.flush()?;
    let mut bytes = writer.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}

/// Reads `curve.csv` again.
///
/// # Errors
/// A column is missing or holds no number.
pub fn from_csv(text: &[u8]) -> anyhow::Result<Vec<CurvePoint>> {
    let mut reader = csv::Reader::from_reader(text);
    let head = reader.headers()?.clone();
    let mut columns = [0; 5];
    for (column, name) in columns.iter_mut().zip(CURVE_HEADER) {
        *column = head
            .iter()
            .position(|found| found == name)
            .with_context(|| format!("the column {name} is missing"))?;
    }
    let [increment, displacement, force, iterations, plastic] = columns;
    reader
        .records()
        .map(|record| {
            let record = record?;
            let cell = |column: usize| record.get(column).unwrap_or_default();
            Ok(CurvePoint {
                increment: cell(increment).parse()?,
                displacement_mm: cell(displacement).parse()?,
                force_n: cell(force).parse()?,
                newton_iterations: cell(iterations).parse()?,
                plastic_fraction: cell(plastic).parse()?,
            })
        })
        .collect()
}

/// Initial stiffness, N/mm: force over displacement of the first increment, `None` when nothing moved.
pub fn initial_stiffness_n_per_mm(curve: &[CurvePoint]) -> Option<f64> {
    curve
        .first()
        .filter(|point| point.displacement_mm > 0.0)
        .map(|point| point.force_n / point.displacement_mm)
}

/// Force at a displacement, N, linear between increments from the origin on; `None` beyond the curve.
pub fn force_at_n(curve: &[CurvePoint], displacement_mm: f64) -> Option<f64> {
    let mut before = (0.0, 0.0);
    for point in curve {
        let after = (point.displacement_mm, point.force_n);
        // A target that the last increment misses by rounding is reached.
        if displacement_mm <= after.0 * (1.0 + 1e-12) {
            let part = (displacement_mm - before.0) / (after.0 - before.0);
            return Some(before.1 + part.min(1.0) * (after.1 - before.1));
        }
        before = after;
    }
    None
}

/// The increment of largest force, the first of equals; `None` for an empty curve.
pub fn maximum(curve: &[CurvePoint]) -> Option<&CurvePoint> {
    curve.iter().reduce(|best, point| {
        if point.force_n > best.force_n {
            point
        } else {
            best
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(increment: usize, displacement_mm: f64, force_n: f64) -> CurvePoint {
        CurvePoint {
            increment,
            displacement_mm,
            force_n,
            newton_iterations: 3,
            plastic_fraction: 0.1 + 0.2,
        }
    }

    #[test]
    fn the_csv_is_that_of_the_contract() {
        let text = String::from_utf8(to_csv(&[point(1, 0.05, 100.25)]).unwrap()).unwrap();
        assert_eq!(
            text,
            "increment,displacement_mm,force_n,newton_iterations,plastic_fraction\n\
             1,0.05,100.25,3,0.30000000000000004\n"
        );
        assert_eq!(from_csv(text.as_bytes()).unwrap(), [point(1, 0.05, 100.25)]);
        assert!(from_csv(b"increment\n1\n").is_err());
    }

    #[test]
    fn readings_by_hand() {
        let curve = [
            point(1, 0.5, 1000.0),
            point(2, 1.0, 1600.0),
            point(3, 1.5, 1600.0),
        ];
        assert_eq!(initial_stiffness_n_per_mm(&curve), Some(2000.0));
        assert_eq!(force_at_n(&curve, 0.25), Some(500.0));
        assert_eq!(force_at_n(&curve, 0.75), Some(1300.0));
        assert_eq!(force_at_n(&curve, 1.5), Some(1600.0));
        assert_eq!(force_at_n(&curve, 1.6), None);
        assert_eq!(maximum(&curve).unwrap().increment, 2);
        assert_eq!(initial_stiffness_n_per_mm(&[]), None);
        assert_eq!(maximum(&[]), None);
    }
}
