//! The directory of a cohort: what stands in it, what may be trusted, and one case at a time into it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imaging::Mask;
use imaging::orientation::on_grid;
use serde::{Deserialize, Serialize};

use super::operators::OperatorPair;
use super::row::{CohortCase, Layout, Variant};
use super::rows::read_mask;
use super::table::{self, ResultRow};
use super::{CohortRequest, put, read_rows, target_is_closed};
use crate::evaluate::mask_agreement;
use crate::exit::{EndWith as _, Ending, Failure, Kind};
use crate::interruption::Section;
use crate::output_dir::{Existing, OutputDir};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::provenance::sha256_of;
use crate::report::RunResult;
use crate::run::{CaseEnding, Scan, run_into};

/// The file that says that a directory is a cohort's.
const MARK: &str = "cohort.json";
/// The file that says that a case's folder is whole.
const CASE: &str = "case.json";
/// The rows of a case.
const ROWS: &str = "rows.csv";
/// Held while a process computes into the directory.
const LOCK: &str = ".lock";

/// What [`CASE`] says.
#[derive(Serialize, Deserialize)]
struct CaseMark {
    version: String,
    /// SHA-256 of the row's cells and of its inputs, before it was computed.
    row_sha256: String,
}

/// The directory of a cohort.
pub(super) struct Place {
    path: PathBuf,
    layout: Layout,
    /// Freed by the system when the process ends, however it ends.
    _lock: File,
}

impl Place {
    /// Opens the directory: a new one, one that is to be gone on with, or one that is to be replaced.
    pub fn open(request: &CohortRequest) -> anyhow::Result<Self> {
        let path = &request.out;
        let shown = path.display();
        let occupied = path.is_dir()
            && fs::read_dir(path)
                .with_context(|| format!("the output directory {shown}"))
                .kind(Kind::Usage)?
                .any(|entry| {
                    // What a process leaves that is killed before it has left its mark.
                    entry.is_ok_and(|entry| {
                        let name = entry.file_name().to_string_lossy().into_owned();
                        name != LOCK && !name.starts_with(".partial-")
                    })
                });
        let ours = path.join(MARK).is_file();
        if path.exists() && !path.is_dir() {
            return Err(Failure::usage(format!("the output {shown} is a file"))
                .with_help("--out names a directory")
                .into());
        }
        if occupied && !(request.resume || request.overwrite) {
            return Err(Failure::usage(format!(
                "the output directory {shown} exists and is not empty"
            ))
            .with_help(
                "go on with it by --resume, replace it by --overwrite, or choose another --out",
            )
            .into());
        }
        if occupied && !ours {
            return Err(Failure::usage(format!(
                "the output directory {shown} is no cohort's: it holds no {MARK}"
            ))
            .with_help("choose another --out")
            .into());
        }
        fs::create_dir_all(path)
            .with_context(|| format!("the output directory {shown} cannot be made"))
            .kind(Kind::Usage)?;
        let lock = File::create(path.join(LOCK))
            .with_context(|| format!("{shown} cannot be written"))
            .kind(Kind::Usage)?;
        if matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(
                Failure::usage(format!("another process is computing into {shown}"))
                    .with_help("wait for it, or give every --shard a directory of its own and join them with `osteoload collect`")
                    .into(),
            );
        }
        let place = Self {
            path: path.clone(),
            layout: request.layout,
            _lock: lock,
        };
        place.write(
            MARK,
            format!("{}\n", serde_json::json!({"format": 1})).as_bytes(),
        )?;
        if request.overwrite && !request.resume {
            place.empty()?;
        }
        place.remove_half_written()?;
        fs::create_dir_all(place.cases())
            .with_context(|| format!("{shown} cannot be written"))
            .kind(Kind::Usage)?;
        if place.layout == Layout::Bids {
            let description = serde_json::json!({
                "Name": "OsteoLoad failure loads",
                "BIDSVersion": "1.9.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "OsteoLoad", "Version": env!("CARGO_PKG_VERSION")}],
            });
            let text = serde_json::to_string_pretty(&description)? + "\n";
            place.write("dataset_description.json", text.as_bytes())?;
        }
        Ok(place)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the cohort.
    pub fn write(&self, name: &str, contents: &[u8]) -> anyhow::Result<()> {
        put(&self.path, name, contents)
    }

    /// Where the folders of the cases are.
    fn cases(&self) -> PathBuf {
        match self.layout {
            Layout::Plain => self.path.join("cases"),
            Layout::Bids => self.path.clone(),
        }
    }

    /// Folder of a case, from the cohort's directory.
    pub(super) fn folder(&self, case: &CohortCase) -> PathBuf {
        match self.layout {
            Layout::Plain => Path::new("cases").join(case.name()),
            Layout::Bids => PathBuf::from(format!("sub-{}", alphanumeric(&case.name()))),
        }
    }

    /// Name of a variant's folder in its case's.
    pub(super) fn variant_folder(&self, variant: &Variant) -> String {
        match self.layout {
            Layout::Plain => variant.name.clone(),
            Layout::Bids => format!("desc-{}", alphanumeric(&variant.name)),
        }
    }

    /// Removes everything but the lock and the mark: the user asked for it, and the mark says that it is ours.
    fn empty(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != LOCK && entry.file_name() != MARK {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what a process that was killed has left: nothing under a temporary name is ever trusted.
    fn remove_half_written(&self) -> anyhow::Result<()> {
        for folder in [self.path.clone(), self.cases()] {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') && name.contains("partial-") {
                    let path = entry.path();
                    let removed = match path.is_dir() {
                        true => fs::remove_dir_all(&path),
                        false => fs::remove_file(&path),
                    };
                    removed
                        .with_context(|| format!("{} cannot be removed", path.display()))
                        .kind(Kind::Usage)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the case stands there, whole and as its row says now.
    fn is_whole(&self, case: &CohortCase) -> bool {
        let folder = self.path.join(self.folder(case));
        let mark = fs::read_to_string(folder.join(CASE)).ok();
        let mark = mark.and_then(|text| serde_json::from_str::<CaseMark>(&text).ok());
        mark.is_some_and(|mark| {
            mark.version == env!("CARGO_PKG_VERSION") && mark.row_sha256 == fingerprint(case)
        }) && read_rows(&folder.join(ROWS)).is_ok()
    }

    /// Whether the case stands there. What stands in its place and is of another row, or of another version, is removed.
    pub fn standing(&self, case: &CohortCase) -> anyhow::Result<bool> {
        let folder = self.path.join(self.folder(case));
        if !folder.exists() {
            return Ok(false);
        }
        let whole = self.is_whole(case);
        if !whole {
            self.remove(&folder)?;
        }
        Ok(whole)
    }

    /// Removes an entry, under a temporary name first: a half removed one is never trusted.
    fn remove(&self, path: &Path) -> anyhow::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = path.with_file_name(format!(".{name}.partial-removed"));
        let removed = fs::rename(path, &doomed).and_then(|()| match doomed.is_dir() {
            true => fs::remove_dir_all(&doomed),
            false => fs::remove_file(&doomed),
        });
        removed
            .with_context(|| format!("{} cannot be replaced", path.display()))
            .kind(Kind::Usage)
    }

    /// Of all cases, those that stand: those of another shard too, where it was computed into this directory.
    pub fn whole<'c>(&self, cases: &'c [CohortCase]) -> Vec<&'c CohortCase> {
        cases.iter().filter(|case| self.is_whole(case)).collect()
    }

    /// The rows of cases that stand.
    pub fn table(&self, cases: &[&CohortCase]) -> anyhow::Result<Vec<ResultRow>> {
        let mut rows = Vec::new();
        for case in cases {
            rows.extend(read_rows(&self.path.join(self.folder(case)).join(ROWS))?);
        }
        Ok(rows)
    }

    /// Removes a file of the cohort that there is no reason for any more.
    pub fn remove_file(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        match path.is_file() {
            true => self.remove(&path),
            false => Ok(()),
        }
    }

    /// Refuses cases whose folders would be one.
    pub fn check_folders(&self, cases: &[CohortCase]) -> anyhow::Result<()> {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for case in cases {
            let folder = self.folder(case).to_string_lossy().to_lowercase();
            if let Some(before) = seen.insert(folder.clone(), case.name()) {
                return Err(Failure::usage(format!(
                    "the cases {before} and {} would share the folder {folder}",
                    case.name()
                ))
                .with_help("rename one of them, or leave --bids out")
                .into());
            }
        }
        Ok(())
    }

    /// The manual masks of several operators of one bone, pair by pair.
    pub fn operators(&self, cases: &[&CohortCase]) -> anyhow::Result<Vec<OperatorPair>> {
        let mut pairs = Vec::new();
        for (number, a) in cases.iter().enumerate() {
            for b in &cases[number + 1..] {
                let of = |case: &CohortCase| {
                    let [bone, side, level, _] = case.said_as_words();
                    [case.case.clone(), bone, side, level]
                };
                if a.operator.is_empty() || b.operator.is_empty() || of(a) != of(b) {
                    continue;
                }
                let [mut a, mut b] = [*a, *b];
                if a.operator > b.operator {
                    (a, b) = (b, a);
                }
                let mask = |case: &CohortCase| -> anyhow::Result<Option<Mask>> {
                    let manual = case
                        .variants()
                        .into_iter()
                        .find(|variant| variant.name == "manual");
                    let Some(manual) = manual else {
                        return Ok(None);
                    };
                    let folder = self.path.join(self.folder(case));
                    let folder = folder.join(self.variant_folder(&manual));
                    match folder.join("mask.nii.gz").is_file() {
                        true => read_mask(&folder, case.cap_labels()).map(Some),
                        false => Ok(None),
                    }
                };
                let (Some(first), Some(second)) = (mask(a)?, mask(b)?) else {
                    continue;
                };
                // Masks on different scans of a patient are not compared.
                let Ok(second) = on_grid(second, &first.grid) else {
                    continue;
                };
                let found = mask_agreement(&first, &second)?;
                let [bone, side, level, _] = &a.said;
                pairs.push(OperatorPair {
                    of: [a.case.clone(), bone.clone(), side.clone(), level.clone()],
                    operators: [a.operator.clone(), b.operator.clone()],
                    dice: found.dice,
                    hausdorff_mm: found.surface.as_ref().map(|s| s.hausdorff_mm),
                    hausdorff95_mm: found.surface.as_ref().map(|s| s.hausdorff95_mm),
                });
            }
        }
        Ok(pairs)
    }

    /// Computes a case and puts it in its place. What happens to it is in its rows; one that is interrupted leaves nothing.
    ///
    /// # Errors
    /// When nothing more can be written, for any case.
    pub fn compute(
        &self,
        case: &CohortCase,
        section: &Section,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let folder = OutputDir::begin(&self.path.join(self.folder(case)), Existing::Refuse)?;
        let row_sha256 = fingerprint(case);
        let mut runs = Vec::new();
        let mut opened: Option<(bool, Result<Scan, Ending>)> = None;
        for variant in case.variants() {
            let ran = self.run(case, &variant, &folder, &mut opened, progress);
            progress.finish();
            if section.interrupted() {
                return Ok(());
            }
            let (ending, plan) = match ran {
                Ok((result, plan)) => (CaseEnding::Ran(Box::new(result)), Some(plan)),
                Err(error) if target_is_closed(&error) => {
                    return Err(error)
                        .with_context(|| format!("case {}", case.name()))
                        .kind(Kind::Usage)
                        .help("free the target, then go on with --resume");
                }
                Err(error) => (CaseEnding::Failed(Ending::of(&error)), None),
            };
            runs.push((variant, ending, plan));
        }
        let rows = self.rows(case, &runs, folder.path())?;
        self.finish(row_sha256, &rows, folder)
    }

    /// A case whose computation broke off in a way that must not be: it is kept as failed.
    pub fn broken(&self, case: &CohortCase) -> anyhow::Result<()> {
        let folder = OutputDir::begin(&self.path.join(self.folder(case)), Existing::Refuse)?;
        let ending = Ending {
            status: Kind::Input.status(),
            error: "an internal error, which is a defect of this program".into(),
            help: None,
        };
        let runs: Vec<_> = case
            .variants()
            .into_iter()
            .map(|variant| (variant, CaseEnding::Failed(ending.clone()), None))
            .collect();
        let rows = self.rows(case, &runs, folder.path())?;
        self.finish(fingerprint(case), &rows, folder)
    }

    fn finish(
        &self,
        row_sha256: String,
        rows: &[ResultRow],
        folder: OutputDir,
    ) -> anyhow::Result<()> {
        let mark = CaseMark {
            version: env!("CARGO_PKG_VERSION").into(),
            row_sha256,
        };
        let write = |name: &str, contents: &[u8]| {
            fs::write(folder.join(name), contents).with_context(|| name.to_owned())
        };
        write(ROWS, &table::to_csv(rows)?)?;
        write(
            CASE,
            (serde_json::to_string_pretty(&mark)? + "\n").as_bytes(),
        )?;
        folder.finish()?;
        Ok(())
    }

    /// Runs a variant into the folder of its case. The scan is kept for the next one with the same mask.
    fn run(
        &self,
        case: &CohortCase,
        variant: &Variant,
        folder: &OutputDir,
        opened: &mut Option<(bool, Result<Scan, Ending>)>,
        progress: &mut Progress,
    ) -> anyhow::Result<(RunResult, Plan)> {
        let mut request = case.variant_request(variant)?;
        // A network that fails is not asked again for every variant.
        if opened
            .as_ref()
            .is_none_or(|(of, _)| *of != variant.of_reference)
        {
            let scan = match Scan::open(&request, progress) {
                Ok(mut scan) => {
                    // The density is that of every variant of the case.
                    let density = folder.join("density.nii.gz");
                    if !density.exists() {
                        scan.write_density(&density)?;
                    }
                    scan.density_file = Some(density);
                    Ok(scan)
                }
                Err(error) if target_is_closed(&error) => return Err(error),
                Err(error) => Err(Ending::of(&error)),
            };
            *opened = Some((variant.of_reference, scan));
        }
        let Some((_, scan)) = opened else {
            return Err(Failure::input("no scan was opened").into());
        };
        let scan = scan
            .as_ref()
            .map_err(|ending| Failure::from(ending.clone()))?;
        request.out = folder.join(&self.variant_folder(variant));
        let out = OutputDir::begin(&request.out, Existing::Refuse)?;
        let ran = run_into(scan, &request, &out, "cohort", progress)?;
        out.finish()?;
        Ok((ran.result, request.plan))
    }
}

/// Letters and digits of a name, as BIDS takes them; signs become letters. Names that are the same then are refused before any work.
fn alphanumeric(name: &str) -> String {
    name.chars()
        .filter_map(|character| match character {
            '-' => Some('m'),
            '+' => Some('p'),
            '.' => Some('d'),
            character if character.is_ascii_alphanumeric() => Some(character),
            _ => None,
        })
        .collect()
}

/// SHA-256 of a row's cells and of the files that it names. A file that is not there counts as such: once it is, the case is another.
fn fingerprint(case: &CohortCase) -> String {
    let mut text = case.cells.clone();
    for path in case.inputs() {
        let found = crate::provenance::fingerprint("input", &path);
        text += &format!("\n{:?}", found.ok().map(|file| file.sha256));
    }
    sha256_of(text.as_bytes())
}

/// `plan.toml` of the cohort: its cases, each with the plan of its own folder.
pub(super) fn plan(request: &CohortRequest) -> anyhow::Result<String> {
    let mut text = String::from(
        "# OsteoLoad cohort. The plan of every run stands in its own folder; repeat the cohort with\n\
         # `osteoload cohort COHORT.csv --out DIR`.\n\nformat = 1\n",
    );
    let layout = match request.layout {
        Layout::Plain => "plain",
        Layout::Bids => "bids",
    };
    text += &format!("layout = \"{layout}\"\n");
    let names: Vec<toml::Value> = request
        .cases
        .iter()
        .map(|case| case.name().into())
        .collect();
    text += &format!("cases = {}\n", toml::Value::Array(names));
    Ok(text)
}
