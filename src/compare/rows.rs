//! The rows of `results.csv`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use csv::StringRecord;

use super::variant::Variant;
use crate::exit::{EndWith as _, Failure, Kind};

/// Columns that must be there.
const REQUIRED: [&str; 4] = ["case", "variant", "status", "failure_load_n"];
/// Columns that may be there.
const OPTIONAL: [&str; 7] = [
    "group",
    "operator",
    "bone",
    "side",
    "level",
    "dice",
    "hausdorff_mm",
];
/// The status of a row with a failure load, or of a linear analysis without one.
const DONE: &str = "done";
/// What is shown of a row that is done and has no failure load: its criterion gives none.
const DONE_WITHOUT_LOAD: &str = "done without a failure load";
/// The bones that there are.
pub const BONES: [&str; 2] = ["femur", "vertebra"];

/// One analysis: a case with one of its masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u64,
    /// Case.
    pub case: String,
    /// Mask.
    pub variant: Variant,
    /// Group such as `healthy`; empty when not given.
    pub group: String,
    /// Who drew the mask; empty when not given.
    pub operator: String,
    /// One of [`BONES`]; empty when not given, and any word in a row without a load.
    pub bone: String,
    /// Side of a femur; empty when not given.
    pub side: String,
    /// Level of a vertebra; empty when not given.
    pub level: String,
    /// `done`, or why there is no load.
    pub status: String,
    /// Failure load, N, of a row that is done.
    pub failure_load_n: Option<f64>,
    /// Dice of the mask against the case's manual mask.
    pub dice: Option<f64>,
    /// Hausdorff distance of the mask from the case's manual mask, mm.
    pub hausdorff_mm: Option<f64>,
}

/// Reads the table of a cohort.
///
/// # Errors
/// A [`Failure`] of kind input naming file, line and column: a missing or doubled column, a value that is not a number of its range, a
/// row with a load of no known bone, or no row at all.
pub fn read(path: &Path) -> anyhow::Result<Vec<Row>> {
    let name = path.display();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("{name} cannot be read"))
        .kind(Kind::Input)?;
    let header = reader
        .headers()
        .with_context(|| format!("{name}: the header"))
        .kind(Kind::Input)?;
    let columns = Columns::of(header).with_context(|| format!("{name}"))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record
            .with_context(|| format!("{name}"))
            .kind(Kind::Input)
            .help("every line needs as many fields as the header")?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = columns
            .row(&record, line)
            .with_context(|| format!("{name}, line {line}"))?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Failure::input(format!("{name} holds no rows"))
            .with_help("give the results.csv of a cohort: one row per case and mask variant")
            .into());
    }
    Ok(rows)
}

/// Where the columns are.
struct Columns(BTreeMap<&'static str, usize>);

impl Columns {
    fn of(header: &StringRecord) -> anyhow::Result<Self> {
        let mut places = BTreeMap::new();
        for name in REQUIRED.into_iter().chain(OPTIONAL) {
            let mut found = (0..header.len()).filter(|&at| &header[at] == name);
            match (found.next(), found.next()) {
                (Some(at), None) => {
                    places.insert(name, at);
                }
                (Some(_), Some(_)) => {
                    return Err(Failure::input(format!("the column `{name}` stands twice"))
                        .with_help("leave one of the two")
                        .into());
                }
                (None, _) if REQUIRED.contains(&name) => {
                    return Err(Failure::input(format!("the column `{name}` is missing"))
                        .with_help(format!(
                            "the header must name the columns {}",
                            REQUIRED.join(", ")
                        ))
                        .into());
                }
                (None, _) => {}
            }
        }
        Ok(Self(places))
    }

    fn row(&self, record: &StringRecord, line: u64) -> anyhow::Result<Row> {
        let field = |name: &str| {
            let place = self.0.get(name).copied();
            place.and_then(|at| record.get(at)).unwrap_or("")
        };
        let needed = |name: &str| match field(name) {
            "" => Err(Failure::input(format!("the column `{name}` is empty"))
                .with_help("every row needs a case, a variant and a status")),
            word => Ok(word.to_owned()),
        };
        let number = |name: &str, least: f64, most: f64, range: &str| {
            let word = field(name);
            if word.is_empty() {
                return Ok(None);
            }
            let value = word.parse::<f64>().ok();
            match value.filter(|value| (least..=most).contains(value)) {
                Some(value) => Ok(Some(value)),
                None => Err(
                    Failure::input(format!("column `{name}`: `{word}` is not {range}"))
                        .with_help("correct the value, or leave it empty where it is not known"),
                ),
            }
        };
        let status = needed("status")?;
        let load = number(
            "failure_load_n",
            f64::MIN_POSITIVE,
            f64::MAX,
            "a positive load in N",
        )?;
        let done = status == DONE;
        let load = load.filter(|_| done);
        let bone = field("bone");
        // A case that failed may have failed for this very word; it costs the others nothing.
        if load.is_some() && !bone.is_empty() && !BONES.contains(&bone) {
            return Err(
                Failure::input(format!("column `bone`: `{bone}` is no bone"))
                    .with_help(format!("bones are {}", BONES.join(" and ")))
                    .into(),
            );
        }
        Ok(Row {
            line,
            case: needed("case")?,
            variant: Variant::of(&needed("variant")?),
            group: field("group").to_owned(),
            operator: field("operator").to_owned(),
            bone: bone.to_owned(),
            side: field("side").to_owned(),
            level: field("level").to_owned(),
            status: match done && load.is_none() {
                true => DONE_WITHOUT_LOAD.to_owned(),
                false => status,
            },
            failure_load_n: load,
            dice: number("dice", 0.0, 1.0, "a Dice coefficient from 0 to 1")?,
            hausdorff_mm: number("hausdorff_mm", 0.0, f64::MAX, "a distance in mm")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Ending;

    fn read_text(text: &str) -> anyhow::Result<Vec<Row>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.csv");
        std::fs::write(&file, text).unwrap();
        read(&file)
    }

    #[test]
    fn columns_are_found_by_name_and_others_left_alone() {
        let rows = read_text(
            "status,failure_load_n,colour,variant,case,dice\n\
             done, 5000.5 ,red,automatic-1,P1,0.93\n\
             no_answer,,,manual,P1,\n\
             failed,17,,manual,P2,\n",
        )
        .unwrap();
        assert_eq!(rows[0].failure_load_n, Some(5000.5));
        assert_eq!(rows[0].dice, Some(0.93));
        assert_eq!(rows[0].variant.offset(), -1.0);
        assert_eq!((rows[1].failure_load_n, rows[1].line), (None, 3));
        assert_eq!(rows[1].group, "");
        // A load beside a status that says there is none is not one.
        assert_eq!(rows[2].failure_load_n, None);
    }

    #[test]
    fn rows_without_a_load_are_read_whatever_they_hold() {
        let rows = read_text(
            "case,variant,status,failure_load_n,bone\nA,manual,done,,femur\nB,manual,failed,,tibia\nC,manual,failed,,\n",
        )
        .unwrap();
        assert_eq!(
            (rows[0].failure_load_n, rows[0].status.as_str()),
            (None, "done without a failure load")
        );
        assert_eq!(rows[1].bone, "tibia");
        assert_eq!(rows[2].bone, "");
    }

    #[test]
    fn a_bad_table_is_refused_with_line_column_and_remedy() {
        let header = "case,variant,status,failure_load_n,dice,bone\n";
        let with = |row: &str| format!("{header}{row}\n");
        for (text, named) in [
            (
                "case,status,failure_load_n\nA,done,1\n".to_owned(),
                "`variant` is missing",
            ),
            (
                "case,case,variant,status,failure_load_n\n".to_owned(),
                "`case` stands twice",
            ),
            (header.to_owned(), "no rows"),
            (
                with("A,manual,done,many,,"),
                "line 2: column `failure_load_n`: `many`",
            ),
            (with("A,manual,done,-5,,"), "`-5`"),
            (with("A,manual,done,NaN,,"), "`NaN`"),
            (with("A,manual,done,inf,,"), "`inf`"),
            (with("A,manual,done,5,1.5,"), "column `dice`: `1.5`"),
            (with("A,manual,done,5,1,tibia"), "column `bone`: `tibia`"),
            (with(",manual,done,5,1,"), "`case` is empty"),
            (with("A,manual,done"), "line: 2"),
        ] {
            let ending = Ending::of(&read_text(&text).unwrap_err());
            assert_eq!(ending.status, 3, "{text}");
            assert!(ending.error.contains(named), "{}", ending.error);
            assert!(ending.error.contains("results.csv"), "{}", ending.error);
            assert!(ending.help.is_some(), "{text}");
        }
        let nowhere = Ending::of(&read(Path::new("no/results.csv")).unwrap_err());
        assert_eq!(nowhere.status, 3);
    }
}
