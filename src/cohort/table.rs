//! `results.csv`: a row per case and mask variant.

use std::path::Path;

use anyhow::Context as _;

/// Columns of `results.csv`.
pub const HEADER: [&str; 29] = [
    "case",
    "variant",
    "group",
    "operator",
    "bone",
    "side",
    "level",
    "sex",
    "body_weight_kg",
    "status",
    "reason",
    "failure_load_n",
    "outcome",
    "stiffness_n_per_mm",
    "dice",
    "hausdorff_mm",
    "hausdorff95_mm",
    "volume_mm3",
    "morph",
    "morph_unit",
    "change_percent",
    "failure_load_body_weights",
    "load_to_strength",
    "pistoia_load_n",
    "linear_strength_n",
    "elements",
    "checks",
    "exit_status",
    "folder",
];

/// One row, its cells in the order of [`HEADER`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResultRow(pub(super) Vec<String>);

impl ResultRow {
    /// A row with these cells; the others are empty.
    pub(super) fn of(cells: &[(&str, String)]) -> Self {
        let mut row = Self(vec![String::new(); HEADER.len()]);
        for (name, text) in cells {
            row.set(name, text.clone());
        }
        row
    }

    /// Fills a cell.
    pub(super) fn set(&mut self, name: &str, text: String) {
        if let Some(place) = HEADER.iter().position(|column| *column == name) {
            self.0[place] = text;
        }
    }

    /// A cell by its column; empty where there is no such column.
    pub fn cell(&self, name: &str) -> &str {
        let place = HEADER.iter().position(|column| *column == name);
        place
            .and_then(|place| self.0.get(place))
            .map_or("", String::as_str)
    }

    /// The case.
    pub fn case(&self) -> &str {
        self.cell("case")
    }

    /// The mask variant.
    pub fn variant(&self) -> &str {
        self.cell("variant")
    }

    /// Why there is no failure load.
    pub fn reason(&self) -> &str {
        self.cell("reason")
    }

    /// How a program would end that computes this row alone.
    pub fn exit_status(&self) -> u8 {
        self.cell("exit_status").parse().unwrap_or(3)
    }
}

/// The table as text, sorted by case, variant and the rest.
pub(super) fn to_csv(rows: &[ResultRow]) -> anyhow::Result<Vec<u8>> {
    let mut rows = rows.to_vec();
    rows.sort();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(HEADER)?;
    for row in &rows {
        table.write_record(&row.0)?;
    }
    table.into_inner().context("results.csv")
}

/// Reads a table.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<ResultRow>> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?;
    anyhow::ensure!(
        header.iter().eq(HEADER),
        "its columns are not those of this version's results.csv"
    );
    reader
        .records()
        .map(|record| Ok(ResultRow(record?.iter().map(str::to_owned).collect())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_sorted_and_read_again() {
        let row = |case: &str, variant: &str| {
            ResultRow::of(&[
                ("case", case.into()),
                ("variant", variant.into()),
                ("reason", "a \"quoted\", long\nreason".into()),
                ("exit_status", "4".into()),
            ])
        };
        let rows = [row("b", "manual"), row("a", "manual+1"), row("a", "manual")];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.csv");
        std::fs::write(&file, to_csv(&rows).unwrap()).unwrap();
        let found = read(&file).unwrap();
        assert_eq!(found, [rows[2].clone(), rows[1].clone(), rows[0].clone()]);
        assert_eq!((found[0].exit_status(), found[0].cell("nonsense")), (4, ""));
        std::fs::write(&file, "case,variant\na,b\n").unwrap();
        assert!(read(&file).is_err());
    }
}
