//! `operators.csv`: the masks of several people of one bone, pair by pair.

use std::path::Path;

use anyhow::Context as _;

/// Columns of `operators.csv`.
pub const OPERATORS_HEADER: [&str; 9] = [
    "case",
    "bone",
    "side",
    "level",
    "operator_a",
    "operator_b",
    "dice",
    "hausdorff_mm",
    "hausdorff95_mm",
];

/// Two masks of one bone.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorPair {
    /// Case, bone, side and level.
    pub of: [String; 4],
    /// The operators, in the order of their names.
    pub operators: [String; 2],
    /// Dice coefficient; `None` of two empty masks.
    pub dice: Option<f64>,
    /// Hausdorff distance, mm.
    pub hausdorff_mm: Option<f64>,
    /// Its 95th percentile, mm.
    pub hausdorff95_mm: Option<f64>,
}

/// The table as text, in the order of its cells.
pub(super) fn to_csv(pairs: &[OperatorPair]) -> anyhow::Result<Vec<u8>> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    let mut rows: Vec<Vec<String>> = pairs
        .iter()
        .map(|pair| {
            let names = pair.of.iter().chain(&pair.operators).cloned();
            let figures = [pair.dice, pair.hausdorff_mm, pair.hausdorff95_mm].map(number);
            names.chain(figures).collect()
        })
        .collect();
    rows.sort();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(OPERATORS_HEADER)?;
    for row in &rows {
        table.write_record(row)?;
    }
    table.into_inner().context("operators.csv")
}

/// Reads a table.
///
/// # Errors
/// When it cannot be read or has other columns.
pub fn read_operators(path: &Path) -> anyhow::Result<Vec<OperatorPair>> {
    let mut reader = csv::Reader::from_path(path)?;
    anyhow::ensure!(
        reader.headers()?.iter().eq(OPERATORS_HEADER),
        "its columns are not those of this version's operators.csv"
    );
    reader
        .records()
        .map(|record| {
            let record = record?;
            let text = |place: usize| record.get(place).unwrap_or_default().to_owned();
            let number = |place: usize| -> anyhow::Result<Option<f64>> {
                match text(place).as_str() {
                    "" => Ok(None),
                    figure => Ok(Some(figure.parse().with_context(|| {
                        format!("`{figure}` under {}", OPERATORS_HEADER[place])
                    })?)),
                }
            };
            Ok(OperatorPair {
                of: std::array::from_fn(text),
                operators: [text(4), text(5)],
                dice: number(6)?,
                hausdorff_mm: number(7)?,
                hausdorff95_mm: number(8)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_again() {
        let pair = |case: &str, dice: Option<f64>| OperatorPair {
            of: [case, "femur", "left", ""].map(str::to_owned),
            operators: ["A", "B"].map(str::to_owned),
            dice,
            hausdorff_mm: dice.map(|dice| 10.0 * dice),
            hausdorff95_mm: None,
        };
        let pairs = [pair("p2", Some(0.875)), pair("p1", None)];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("operators.csv");
        std::fs::write(&file, to_csv(&pairs).unwrap()).unwrap();
        let found = read_operators(&file).unwrap();
        assert_eq!(found, [pairs[1].clone(), pairs[0].clone()]);
        std::fs::write(&file, "case\n").unwrap();
        assert!(read_operators(&file).is_err());
    }
}
