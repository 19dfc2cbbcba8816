//! `osteoload cohort`: every case of a study, with every variant of its mask, into one table.
//!
//! A case is one row of COHORT.csv. It is computed into a folder under a temporary name, which gets its place when all its variants
//! are done; whatever ends the program before that costs this case and no other. `--resume` takes the folders that stand, and
//! computes the rest. The table is the rows of all folders, so it does not matter when, or by which process, each was made.

mod collect;
mod operators;
mod place;
mod row;
mod rows;
mod table;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::Context as _;

pub use collect::{Collected, collect};
pub use operators::{OPERATORS_HEADER, OperatorPair, read_operators};
pub use row::{CohortCase, Layout, Reference};
pub use table::{HEADER, ResultRow};

use crate::exit::{Ending, Failure, Kind};
use crate::interruption::Section;
use crate::output_dir::{PROVENANCE_FILE, write_file};
use crate::progress::Progress;
use crate::provenance::{Provenance, available_memory_mib, peak_memory_mib};
use crate::run::beside::thread_pools;
use place::Place;

/// Name of the table of operators, beside `results.csv`.
pub const OPERATORS_FILE: &str = "operators.csv";

/// One of several processes that share a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 1.
    pub number: usize,
    /// Of so many.
    pub of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(format!(
                "`{text}` is not of the form I/N with I from 1 to N"
            )),
        }
    }
}

impl Shard {
    /// Whether the patient at `place` (from 0) is this shard's. Rows of one case stay together: operators are compared.
    pub fn has(self, place: usize) -> bool {
        place % self.of == self.number - 1
    }
}

/// A cohort to be computed.
#[derive(Clone, Debug)]
pub struct CohortRequest {
    /// The table it was read from, for the provenance.
    pub file: PathBuf,
    /// Its cases, in the order of the table.
    pub cases: Vec<CohortCase>,
    /// Where the results go.
    pub out: PathBuf,
    /// Go on with what stands there.
    pub resume: bool,
    /// Replace what stands there.
    pub overwrite: bool,
    /// Cases computed at a time; as many as there are threads and memory when it is not given.
    pub jobs: Option<NonZeroUsize>,
    /// Memory that all cases together may take, MiB; four fifths of what is free when it is not given.
    pub memory_mib: Option<f64>,
    /// The cases of this process.
    pub shard: Option<Shard>,
    /// Names of the folders.
    pub layout: Layout,
    /// Where to compute.
    pub device: solver::Device,
}

/// What a cohort left behind.
#[derive(Clone, Debug)]
pub struct CohortFinished {
    /// Every row of `results.csv`.
    pub rows: Vec<ResultRow>,
    /// Cases that stood there before.
    pub taken: usize,
    /// Whether the user ended it before its end.
    pub interrupted: bool,
    /// The output directory.
    pub place: PathBuf,
}

impl CohortFinished {
    /// Whether at least one row has a failure load, or its table is empty, and nobody interrupted.
    ///
    /// # Errors
    /// A [`Failure`] that ends the program as the row with the highest exit status would.
    pub fn answered(&self) -> anyhow::Result<()> {
        if self.interrupted {
            return Err(Failure::interrupted(
                "interrupted; the cases done are kept, go on with --resume",
            )
            .into());
        }
        let statuses = || self.rows.iter().map(ResultRow::exit_status);
        if statuses().any(|status| status == 0) {
            return Ok(());
        }
        let worst =
            self.rows
                .iter()
                .reduce(|worst, row| match row.exit_status() > worst.exit_status() {
                    true => row,
                    false => worst,
                });
        let Some(worst) = worst else { return Ok(()) };
        Err(Failure::from(Ending {
            // A row that says something wrong is a wrong input, not a wrong command.
            status: match worst.exit_status() {
                2 => Kind::Input.status(),
                status => status,
            },
            error: format!(
                "none of {} rows has a failure load, see results.csv; case {}, {}: {}",
                self.rows.len(),
                worst.case(),
                worst.variant(),
                worst.reason()
            ),
            help: None,
        })
        .into())
    }
}

/// Memory that cases running beside each other share out.
struct Memory {
    budget_mib: f64,
    /// MiB taken, and by how many cases.
    taken: Mutex<(f64, usize)>,
    freed: Condvar,
}

impl Memory {
    /// Waits until `mib` are free. A case that is larger than the budget runs alone.
    fn take(&self, mib: f64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.1 > 0 && taken.0 + mib > self.budget_mib {
            taken = self
                .freed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        taken.0 += mib;
        taken.1 += 1;
    }

    fn give(&self, mib: f64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.0 -= mib;
        taken.1 -= 1;
        self.freed.notify_all();
    }
}

/// Computes a cohort.
///
/// # Errors
/// A [`Failure`]: usage, or a target that cannot be written. What happens to a case is no error here: see
/// [`CohortFinished::answered`].
pub fn cohort(request: &CohortRequest, progress: &mut Progress) -> anyhow::Result<CohortFinished> {
    let place = Place::open(request)?;
    place.check_folders(&request.cases)?;
    let mut patients: Vec<&str> = Vec::new();
    for case in &request.cases {
        if !patients.contains(&case.case.as_str()) {
            patients.push(&case.case);
        }
    }
    let mine = |case: &CohortCase| {
        let number = patients.iter().position(|patient| *patient == case.case);
        request
            .shard
            .is_none_or(|shard| number.is_some_and(|number| shard.has(number)))
    };
    let cases: Vec<&CohortCase> = request.cases.iter().filter(|case| mine(case)).collect();
    let mut left = Vec::new();
    let mut taken = 0;
    for case in &cases {
        match place.standing(case)? {
            true => taken += 1,
            false => left.push(*case),
        }
    }
    if taken > 0 {
        progress.note(&format!("{taken} cases stand already"));
    }
    let section = Section::begin();
    let fatal = compute(request, &place, &left, &section, progress)?;
    // What stands is kept in the table, whatever ended the rest.
    let standing = place.whole(&request.cases);
    let rows = place.table(&standing)?;
    progress.stage("write");
    place.write("results.csv", &table::to_csv(&rows)?)?;
    let pairs = place.operators(&standing)?;
    match pairs.is_empty() {
        true => place.remove_file(OPERATORS_FILE)?,
        false => place.write(OPERATORS_FILE, &operators::to_csv(&pairs)?)?,
    }
    let mut provenance = Provenance::of_this_process("cohort", request.device);
    provenance.add_input("cohort", &request.file)?;
    place.write(PROVENANCE_FILE, provenance.to_json()?.as_bytes())?;
    place.write("plan.toml", place::plan(request)?.as_bytes())?;
    crate::report::html::write(
        place.path(),
        &place.path().join(crate::report::html::REPORT_FILE),
    )?;
    progress.finish();
    if let Some(error) = fatal {
        return Err(error);
    }
    Ok(CohortFinished {
        rows,
        taken,
        interrupted: section.interrupted(),
        place: place.path().to_owned(),
    })
}

/// Computes the cases that are left; gives the error that ended it before its end.
fn compute(
    request: &CohortRequest,
    place: &Place,
    left: &[&CohortCase],
    section: &Section,
    progress: &mut Progress,
) -> anyhow::Result<Option<anyhow::Error>> {
    if left.is_empty() {
        return Ok(None);
    }
    let threads = rayon::current_num_threads();
    let budget_mib = request
        .memory_mib
        .or_else(|| available_memory_mib().map(|free| 0.8 * free))
        .unwrap_or(f64::INFINITY);
    let largest = left.iter().map(|case| case.expected_memory_mib());
    let fitting = (budget_mib / largest.fold(1.0, f64::max)).max(1.0);
    let jobs = request.jobs.map_or(threads, NonZeroUsize::get);
    // Threads of jobs that memory keeps waiting would be lost to the others.
    let jobs = jobs.min(threads).min(left.len()).min(fitting as usize);
    let memory = Memory {
        budget_mib,
        taken: Mutex::new((0.0, 0)),
        freed: Condvar::new(),
    };
    progress.stage("cases");
    progress.increments(left.len());
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let fatal = Mutex::new(None);
    let finished = AtomicUsize::new(0);
    let pools = thread_pools(jobs)?;
    let whole = &*progress;
    let work = || {
        while let Some(case) = left.get(next.fetch_add(1, Ordering::SeqCst)) {
            if section.interrupted() || stopped.load(Ordering::SeqCst) {
                break;
            }
            let mib = case.expected_memory_mib();
            memory.take(mib);
            if section.interrupted() || stopped.load(Ordering::SeqCst) {
                memory.give(mib);
                break;
            }
            let mut part = whole.within(&case.name());
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                place.compute(case, section, &mut part)
            }));
            memory.give(mib);
            let done = done.unwrap_or_else(|_| place.broken(case));
            if let Err(error) = done {
                stopped.store(true, Ordering::SeqCst);
                let mut fatal = fatal.lock().unwrap_or_else(PoisonError::into_inner);
                fatal.get_or_insert(error);
                break;
            }
            let count = finished.fetch_add(1, Ordering::SeqCst) + 1;
            let peak = peak_memory_mib().map_or_else(String::new, |mib| format!(", {mib:.0} MiB"));
            whole.whole_part(count, left.len(), &format!("{}{peak}", case.name()));
        }
    };
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(work));
        }
    });
    Ok(fatal.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Whether an error means that nothing more can be written, for any case.
fn target_is_closed(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind;
    // Figures are drawn through a library that keeps the error's text alone: no space, quota, read-only.
    let texts = ["(os error 28)", "(os error 122)", "(os error 30)"];
    let text = format!("{error:#}");
    texts.iter().any(|code| text.contains(code))
        || error.chain().any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::StorageFull
                        | ErrorKind::QuotaExceeded
                        | ErrorKind::ReadOnlyFilesystem
                )
            })
        })
}

/// Reads and joins rows of a table of results.
///
/// # Errors
/// A [`Failure`] of kind input.
fn read_rows(path: &Path) -> anyhow::Result<Vec<ResultRow>> {
    use crate::exit::EndWith as _;
    table::read(path)
        .with_context(|| path.display().to_string())
        .kind(Kind::Input)
}

/// Puts a small file in its place.
fn put(folder: &Path, name: &str, contents: &[u8]) -> anyhow::Result<()> {
    write_file(&folder.join(name), contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_out_every_case_once() {
        for text in ["0/3", "4/3", "1", "a/b", "1/0", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        for place in 0..10 {
            let owners = shards.iter().filter(|shard| shard.has(place)).count();
            assert_eq!(owners, 1);
        }
    }

    #[test]
    fn a_case_waits_for_memory_unless_it_is_alone() {
        let memory = Memory {
            budget_mib: 10.0,
            taken: Mutex::new((0.0, 0)),
            freed: Condvar::new(),
        };
        memory.take(50.0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.take(6.0));
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!waiting.is_finished());
            memory.give(50.0);
            waiting.join().unwrap();
        });
        memory.take(4.0);
        assert_eq!(*memory.taken.lock().unwrap(), (10.0, 2));
    }

    #[test]
    fn a_full_disk_is_known_by_its_kind() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = anyhow::Error::from(full)
            .context("result.json")
            .context("case 7");
        assert!(target_is_closed(&error));
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(!target_is_closed(&anyhow::Error::from(missing)));
    }
}
