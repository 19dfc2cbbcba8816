//! `report.html`: a run on one page, which opens without a network.
//!
//! The page is made from the files of a directory and nothing else, so that `osteoload report` makes the same one
//! again. A section is a function that takes what it shows and returns HTML; `sections` puts them in order. Only
//! `result.json` is needed. Any other part whose files cannot be read says so in its place: a report must not cost the
//! result that it describes.

mod cohort;
mod literature;
mod marks;
mod markup;
mod model;
mod packing;
mod page;
mod scene;
mod slices;
mod sweep;
mod tables;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::CurvePoint;
use super::curve::from_csv;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{PROVENANCE_FILE, check_file, write_file};
use markup::{escape, picture, section};
use model::Model;

/// Name of the report in a directory.
pub const REPORT_FILE: &str = "report.html";

/// A table of a directory that is shown as it is.
struct ShownTable {
    file: &'static str,
    heading: &'static str,
    figure: &'static str,
    /// The columns that fit on paper, where the table has more.
    columns: &'static [&'static str],
}

const TABLES: [ShownTable; 3] = [
    ShownTable {
        file: "sweep.csv",
        heading: "Mask grown and shrunk",
        figure: "sweep.svg",
        columns: &[
            "morph",
            "unit",
            "dice",
            "volume_mm3",
            "failure_load_n",
            "change_percent",
            "stiffness_n_per_mm",
            "outcome",
            "loaded_moved_mm",
            "held_moved_mm",
            "reason",
        ],
    },
    ShownTable {
        file: "budget.csv",
        heading: "What moves the failure load",
        figure: "tornado.svg",
        columns: &[
            "factor",
            "base",
            "low",
            "high",
            "change_low_percent",
            "change_high_percent",
            "reason",
        ],
    },
    ShownTable {
        file: "results.csv",
        heading: "Cases",
        figure: "",
        columns: &[
            "case",
            "variant",
            "group",
            "operator",
            "bone",
            "side",
            "level",
            "label",
            "status",
            "failure_load_n",
            "dice",
            "outcome",
            "reason",
        ],
    },
];

/// A report to be made.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    /// The directory that a run has filled.
    pub directory: PathBuf,
    /// File to write; [`REPORT_FILE`] in the directory where there is none, which may be there already.
    pub out: Option<PathBuf>,
    /// Whether an existing `out` may be replaced.
    pub overwrite: bool,
}

/// Makes the report of a directory again, and returns where it is.
///
/// # Errors
/// A [`Failure`]: of kind usage when the file is there already or cannot be written, of kind input when the directory
/// is none that this program has filled.
pub fn report(request: &ReportRequest) -> anyhow::Result<PathBuf> {
    let in_directory = || request.directory.join(REPORT_FILE);
    let place = request.out.clone().unwrap_or_else(in_directory);
    // The report beside the files it is made of is theirs: making it again loses nothing.
    check_file(&place, request.overwrite || request.out.is_none())?;
    write(&request.directory, &place)?;
    Ok(place)
}

/// Writes the report of `directory` to `place`.
///
/// # Errors
/// As [`report`].
pub(crate) fn write(directory: &Path, place: &Path) -> anyhow::Result<()> {
    write_file(place, page_of(directory)?.as_bytes())
}

/// The report of a directory as HTML.
///
/// # Errors
/// A [`Failure`] of kind input when the directory holds neither `result.json` nor a table of many runs, or a
/// `result.json` that cannot be read.
pub fn page_of(directory: &Path) -> anyhow::Result<String> {
    let mut parts = Vec::new();
    let (mut title, mut head) = ("OsteoLoad report".to_owned(), String::new());
    // Of a sweep, the unmorphed mask is shown.
    let swept = directory.join("sweep.csv").is_file();
    let of_run = if directory.join("result.json").is_file() {
        Some(directory.to_owned())
    } else {
        sweep::base(directory).filter(|_| swept)
    };
    if let Some(of_run) = of_run {
        let run = Run::read(&of_run)
            .kind(Kind::Input)
            .help("repeat the run, or restore the file")?;
        let what = if swept { "sweep" } else { "report" };
        title = format!("OsteoLoad {what}: {}", page::bone(&run.result));
        let no_plan = toml::Table::new();
        let plan = run.plan.as_ref().map_or(&no_plan, |(_, plan)| plan);
        head = page::answer(&run.result, plan);
        if swept {
            head += &or_reason(directory, sweep::band(directory));
        }
        parts.extend(sections(run));
    }
    let mut shown = Vec::new();
    if let Some(html) = cohort::comparison(directory).transpose() {
        shown.push(section(
            "comparison",
            "Masks compared",
            &or_reason(directory, html),
        ));
    }
    for table in &TABLES {
        if let Some(html) = tables::file(directory, table).transpose() {
            let id = table.file.trim_end_matches(".csv");
            shown.push(section(id, table.heading, &or_reason(directory, html)));
        }
    }
    // The band comes before what is known of its middle.
    parts.splice(0..0, shown);
    if parts.is_empty() {
        return Err(Failure::input(format!(
            "{} holds no result.json: nothing to report",
            directory.display()
        ))
        .with_help("name the directory of a finished `osteoload run`")
        .into());
    }
    Ok(page::page(&title, &head, &parts))
}

/// The files of a run's directory that are small.
struct Run {
    directory: PathBuf,
    result: Value,
    /// `plan.toml` as text and read.
    plan: anyhow::Result<(String, toml::Table)>,
    provenance: anyhow::Result<Value>,
    curve: anyhow::Result<Vec<CurvePoint>>,
}

impl Run {
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let json = |name: &str| -> anyhow::Result<Value> {
            serde_json::from_str(&text(name)?).with_context(|| name.to_owned())
        };
        Ok(Self {
            directory: directory.to_owned(),
            result: json("result.json")?,
            plan: text("plan.toml").and_then(|text| {
                let plan = text.parse().context("plan.toml")?;
                Ok((text, plan))
            }),
            provenance: json(PROVENANCE_FILE),
            curve: text("curve.csv")
                .and_then(|text| from_csv(text.as_bytes()).context("curve.csv")),
        })
    }
}

/// The sections of a run in order.
fn sections(run: Run) -> Vec<String> {
    let (result, directory) = (&run.result, &run.directory);
    let or_reason = |part| or_reason(directory, part);
    let bone = page::bone(result);
    let model = Model::read(&directory.join(crate::export::MODEL_FILE));
    let load = model.as_ref().ok().and_then(|model| model.load);
    let view = model.and_then(|model| {
        scene::view(
            directory,
            &model,
            run.curve.as_deref().unwrap_or_default(),
            page::number(result, "/failure_displacement_mm"),
            page::number(result, "/mesh/mean_volume_mm3").unwrap_or(1.0),
        )
    });
    let mut view = or_reason(view);
    if let Err(error) = run.curve {
        view += &or_reason(Err(error.context("the forces of the increments")));
    }
    let mut found = or_reason(slices::slices(
        directory,
        &bone,
        load.as_ref(),
        &marks::marks(result),
    ));
    if let Ok(bytes) = std::fs::read(directory.join("endplates.png")) {
        found += &picture(
            "image/png",
            &bytes,
            "endplates found in the mask and in the image",
        );
    }
    vec![
        section(
            "curve",
            "Force over displacement",
            &or_reason(curve(directory)),
        ),
        section("checks", "Checks", &page::check_table(result)),
        section("scan", "Found in the scan", &found),
        section("view", "Under load", &view),
        section("risk", "In proportion", &page::risk(result)),
        section(
            "calibration",
            "Calibration",
            &or_reason(tables::calibration(result)),
        ),
        section("mesh", "Mesh, density, solution", &tables::mesh(result)),
        section(
            "settings",
            "Every setting",
            &or_reason(run.plan.map(|(text, plan)| tables::settings(&text, &plan))),
        ),
        section(
            "provenance",
            "Provenance",
            &or_reason(run.provenance.map(|found| tables::provenance(&found))),
        ),
    ]
}

fn curve(directory: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(directory.join("curve.svg")).context("curve.svg")?;
    let image = picture(
        "image/svg+xml",
        &bytes,
        "force over displacement, the failure load marked",
    );
    Ok(format!("<div class=\"curve\">{image}</div>\n"))
}

/// HTML, or why there is none. The page says nothing of where the directory is: directories are often named after
/// patients, and the same files give the same page.
fn or_reason(directory: &Path, part: anyhow::Result<String>) -> String {
    part.unwrap_or_else(|error| {
        // The path of a file in it is its own up to the file's name.
        let inside = directory.join("").display().to_string();
        let mut reason = format!("{error:#}");
        if !inside.is_empty() {
            reason = reason.replace(&inside, "");
        }
        format!("<p class=\"look\">Not shown: {}</p>\n", escape(&reason))
    })
}
