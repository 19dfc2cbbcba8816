//! `--level all`: every vertebra of a label map, each in a folder of its own.

use std::path::PathBuf;

use anyhow::Context as _;

use super::case::Case;
use super::ending::CaseEnding;
use super::scan::Scan;
use super::{RunRequest, provenance, run_into};
use crate::automatic::BUILT_IN;
use crate::exit::{Ending, Failure, Kind};
use crate::interruption::Section;
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE};
use crate::plan::{Level, LevelChoice, Plan};
use crate::progress::Progress;
use crate::report::{Check, RunOutcome, RunResult};

/// One vertebra of a label map, to be computed.
#[derive(Clone, Debug)]
pub struct Vertebra {
    /// Name of its folder: the level, or `label-K` where the level is not known.
    pub name: String,
    /// Its level, where the label names one.
    pub level: Option<Level>,
    /// Its value in the map.
    pub label: u16,
    /// The request that computes it alone.
    pub request: RunRequest,
}

/// A vertebra that was dealt with.
#[derive(Clone, Debug)]
pub struct VertebraRun {
    /// Name of its folder, which is there when the analysis ran.
    pub name: String,
    /// Its level, where the label names one.
    pub level: Option<Level>,
    /// Its value in the map.
    pub label: u16,
    /// How it ended.
    pub ending: CaseEnding,
}

/// What `--level all` left behind.
#[derive(Clone, Debug)]
pub struct LevelsFinished {
    /// The vertebrae from head to foot.
    pub vertebrae: Vec<VertebraRun>,
    /// The output directory.
    pub place: PathBuf,
}

impl LevelsFinished {
    /// Whether at least one vertebra has what was asked for and nobody interrupted.
    ///
    /// # Errors
    /// A [`Failure`] that ends the program as the vertebra with the highest exit status would.
    pub fn answered(&self, plan: &Plan) -> anyhow::Result<()> {
        let endings = || {
            self.vertebrae
                .iter()
                .map(|vertebra| (vertebra, vertebra.ending.ending(plan)))
        };
        let interrupted = Kind::Interrupted.status();
        let status = |ending: &Option<Ending>| ending.as_ref().map_or(0, |ending| ending.status);
        if endings().any(|(_, ending)| status(&ending) == interrupted) {
            return Err(Failure::interrupted(
                "interrupted; the vertebrae done are kept, see results.csv",
            )
            .into());
        }
        if endings().any(|(_, ending)| ending.is_none()) {
            return Ok(());
        }
        // The first of the worst, so that the message does not depend on what follows it.
        let worst = endings()
            .filter_map(|(vertebra, ending)| Some((vertebra, ending?)))
            .reduce(|worst, next| {
                if next.1.status > worst.1.status {
                    next
                } else {
                    worst
                }
            });
        let Some((vertebra, ending)) = worst else {
            return Ok(());
        };
        let message = format!(
            "none of {} vertebrae has an answer, see results.csv; {}: {}",
            self.vertebrae.len(),
            vertebra.name,
            ending.error
        );
        Err(Failure::from(Ending {
            error: message,
            ..ending
        })
        .into())
    }
}

/// The vertebrae of a label map from head to foot, those without a known level at the end.
///
/// # Errors
/// A [`Failure`] of kind input: a map that holds no vertebra in the plan's numbering, or a value which that does not know.
fn vertebrae(request: &RunRequest, scan: &Scan) -> anyhow::Result<Vec<Vertebra>> {
    let map = &scan.labels;
    let subject = &request.plan.subject;
    let names = subject.names();
    let present = map.labels();
    if let Some(label) = names.foreign_label(&present) {
        return Err(Failure::input(format!(
            "the mask holds label {label}, which {} does not know",
            names.statement()
        ))
        .with_help("give --label-names totalsegmentator if that is its numbering, or take one bone with --label and --level")
        .into());
    }
    let mut found: Vec<Vertebra> = present
        .iter()
        .filter(|&&label| names.is_vertebra(label))
        .map(|&label| {
            let level = names.level(label);
            let name = level
                .as_ref()
                .map_or_else(|| format!("label-{label}"), Level::to_string);
            let mut request = request.clone();
            request.plan.subject.level = level.clone().map(LevelChoice::One);
            request.plan.subject.label = vec![label];
            if scan.automatic.is_some() {
                let model = &mut request.plan.subject.model;
                model.get_or_insert_with(|| BUILT_IN.to_owned());
            }
            request.out = request.out.join(&name);
            request.existing = Existing::Refuse;
            Vertebra {
                name,
                level,
                label,
                request,
            }
        })
        .collect();
    if found.is_empty() {
        let list: Vec<String> = present.iter().map(u16::to_string).collect();
        return Err(Failure::input(format!(
            "no label of the mask is a vertebra in {}; it holds {}",
            names.statement(),
            if list.is_empty() {
                "none".into()
            } else {
                list.join(", ")
            }
        ))
        .with_help("choose another numbering with --label-names, or one bone with --label")
        .into());
    }
    found.sort_by_key(|vertebra| {
        let place = vertebra.level.as_ref().map(Level::place_from_head);
        (place.is_none(), place, vertebra.label)
    });
    Ok(found)
}

/// Goes with every vertebra of the label map as far as its quality gates; one that cannot be looked at stops none.
///
/// # Errors
/// A [`Failure`] of kind input: scan or mask, or a map without a vertebra.
pub fn check_levels(
    request: &RunRequest,
    progress: &mut Progress,
) -> anyhow::Result<Vec<(Vertebra, anyhow::Result<Vec<Check>>)>> {
    let scan = Scan::open(request, progress)?;
    let looked_at = vertebrae(request, &scan)?
        .into_iter()
        .map(|vertebra| {
            let case = Case::of(&scan, &vertebra.request.plan, progress);
            (vertebra, case.map(|case| case.checks))
        })
        .collect();
    Ok(looked_at)
}

/// Computes every vertebra of the label map. One that is refused or fails does not stop the rest.
///
/// The directory holds a folder per vertebra whose analysis ran, each as [`super::run`] writes it, and `results.csv`.
///
/// # Errors
/// A [`Failure`]: the output directory cannot be made, the scan or the mask is refused, or the map holds no vertebra. What happens to a single vertebra is no
/// error here: see [`LevelsFinished::answered`].
pub fn run_levels(request: &RunRequest, progress: &mut Progress) -> anyhow::Result<LevelsFinished> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    // Open to the end: an interruption keeps the vertebrae that are done.
    let section = Section::begin();
    let scan = Scan::open(request, progress)?;
    let mut done = Vec::new();
    for vertebra in vertebrae(request, &scan)? {
        let ending = if section.interrupted() {
            CaseEnding::NotRun
        } else {
            progress.note(&format!("{} (label {})", vertebra.name, vertebra.label));
            let ran = run_one(&scan, &vertebra, &out, progress);
            // A refused vertebra must not leave its times to the next.
            progress.finish();
            match ran {
                Ok(result) => CaseEnding::Ran(Box::new(result)),
                Err(error) => CaseEnding::Failed(Ending::of(&error)),
            }
        };
        done.push(VertebraRun {
            name: vertebra.name,
            level: vertebra.level,
            label: vertebra.label,
            ending,
        });
    }
    std::fs::write(out.join("results.csv"), table(&done, &request.plan)?).context("results.csv")?;
    std::fs::write(out.join("plan.toml"), request.plan.to_toml()).context("plan.toml")?;
    let provenance = provenance(&scan, request, "run")?;
    std::fs::write(out.join(PROVENANCE_FILE), provenance.to_json()?).context(PROVENANCE_FILE)?;
    progress.finish();
    Ok(LevelsFinished {
        vertebrae: done,
        place: out.finish()?,
    })
}

fn run_one(
    scan: &Scan,
    vertebra: &Vertebra,
    out: &OutputDir,
    progress: &mut Progress,
) -> anyhow::Result<RunResult> {
    let folder = OutputDir::begin(&out.join(&vertebra.name), Existing::Refuse)?;
    let ran = run_into(scan, &vertebra.request, &folder, "run", progress)?;
    folder.finish()?;
    Ok(ran.result)
}

/// `results.csv`: one row per vertebra.
fn table(vertebrae: &[VertebraRun], plan: &Plan) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let head = "level,label,status,failure_load_n,outcome,reason";
    table.write_record(head.split(','))?;
    for vertebra in vertebrae {
        let result = match &vertebra.ending {
            CaseEnding::Ran(result) => Some(result),
            _ => None,
        };
        let load = result.and_then(|result| result.failure_load_n);
        table.write_record([
            vertebra.level.as_ref().map_or("", Level::name),
            &vertebra.label.to_string(),
            vertebra.ending.status(plan),
            &load.map_or_else(String::new, |load| load.to_string()),
            result.map_or("", |result| RunOutcome::word(result.outcome)),
            &vertebra.ending.reason(plan),
        ])?;
    }
    table.into_inner().context("results.csv")
}
