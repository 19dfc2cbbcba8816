//! Several cases of one program run side by side, each on threads of its own.
//!
//! A solve on one thread wastes none of them waiting for others, so the work of several cases costs less processor time beside
//! each other than one after another. What comes out is the same bit by bit, whatever the number of threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use imaging::Grid;

use super::ending::CaseEnding;
use super::{Ran, RunRequest, Scan, Shape, planned_increments, run_into};
use crate::exit::Ending;
use crate::interruption::Section;
use crate::output_dir::{Existing, OutputDir};
use crate::plan::{MeshKind, Plan};
use crate::progress::Progress;
use crate::provenance::available_memory_mib;

/// Stack of a worker thread, as a main thread usually has.
pub(crate) const WORKER_STACK_BYTES: usize = 8 << 20;

/// A case to be computed.
pub(crate) struct Task {
    /// What it is called in messages.
    pub name: String,
    /// The scan it belongs to.
    pub scan: Arc<Scan>,
    /// The case; its results go to [`RunRequest::out`], as they stand.
    pub request: RunRequest,
}

/// A case that was dealt with.
pub(crate) struct Done {
    /// How it ended.
    pub ending: CaseEnding,
    /// Its shape, where the analysis ran.
    pub shape: Option<Shape>,
}

/// Computes all cases, `jobs` at a time and beginning with the first of `order`, and gives their endings in the order of the cases.
/// One that fails stops none.
///
/// # Errors
/// When threads cannot be started.
pub(crate) fn run_beside(
    tasks: &[Task],
    order: &[usize],
    jobs: NonZeroUsize,
    command: &str,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Done>> {
    let threads = rayon::current_num_threads();
    let jobs = jobs.get().min(tasks.len().max(1)).min(threads);
    progress.stage("solve");
    progress.increments(
        tasks
            .iter()
            .map(|task| planned_increments(&task.request.plan))
            .sum(),
    );
    // Open to the end: an interruption keeps the cases that are done.
    let section = Section::begin();
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Done>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    let pools = thread_pools(jobs)?;
    let progress = &*progress;
    std::thread::scope(|scope| {
        for pool in &pools {
            let (next, done, section) = (&next, &done, &section);
            scope.spawn(move || {
                pool.install(|| {
                    let take = || order.get(next.fetch_add(1, Ordering::SeqCst));
                    while let Some(&number) = take() {
                        let (Some(task), Some(place)) = (tasks.get(number), done.get(number))
                        else {
                            continue;
                        };
                        let ended = run_one(task, command, section, progress);
                        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
                    }
                });
            });
        }
    });
    Ok(done
        .into_iter()
        .map(|place| {
            let ended = place.into_inner().unwrap_or_else(PoisonError::into_inner);
            ended.unwrap_or(Done {
                ending: CaseEnding::NotRun,
                shape: None,
            })
        })
        .collect())
}

/// The threads of the program shared out to so many jobs.
///
/// # Errors
/// When threads cannot be started.
pub(crate) fn thread_pools(jobs: usize) -> anyhow::Result<Vec<rayon::ThreadPool>> {
    let threads = rayon::current_num_threads();
    (0..jobs)
        .map(|job| {
            rayon::ThreadPoolBuilder::new()
                .stack_size(WORKER_STACK_BYTES)
                // What does not divide evenly goes to the first.
                .num_threads((threads / jobs + usize::from(job < threads % jobs)).max(1))
                .build()
                .context("the threads cannot be started")
        })
        .collect()
}

fn run_one(task: &Task, command: &str, section: &Section, whole: &Progress) -> Done {
    let mut done = Done {
        ending: CaseEnding::NotRun,
        shape: None,
    };
    if section.interrupted() {
        return done;
    }
    let mut progress = whole.beside(&task.name);
    let ran = OutputDir::begin(&task.request.out, Existing::Refuse).and_then(|folder| {
        let ran = run_into(&task.scan, &task.request, &folder, command, &mut progress)?;
        folder.finish()?;
        Ok(ran)
    });
    let planned = planned_increments(&task.request.plan);
    whole.skip(planned.saturating_sub(progress.increments_seen()));
    done.ending = match ran {
        Ok(Ran { result, shape }) => {
            done.shape = Some(shape);
            CaseEnding::Ran(Box::new(result))
        }
        Err(error) => CaseEnding::Failed(Ending::of(&error)),
    };
    done
}

/// Bytes that a case takes for each voxel of its scan: copies of density and labels, masks and distances.
const BYTES_PER_VOXEL: f64 = 24.0;
/// Bytes for each hexahedron and for each quadratic tetrahedron, solver and fields together. Judged with room to spare: the demo's 208 000
/// hexahedra take 610 MiB with everything, and 60 000 tetrahedra are to take less than 2 GB.
const BYTES_PER_HEXAHEDRON: f64 = 3500.0;
const BYTES_PER_TETRAHEDRON: f64 = 40_000.0;

/// Memory that a case is expected to take beside its scan, MiB, from its scan's voxels and its bone's volume.
pub(crate) fn expected_memory_mib(scan: &Scan, plan: &Plan, bone_mm3: f64) -> f64 {
    expected_memory_of_grid_mib(&scan.grid, plan, bone_mm3)
}

/// The same from the grid of a scan.
pub(crate) fn expected_memory_of_grid_mib(grid: &Grid, plan: &Plan, bone_mm3: f64) -> f64 {
    let mesh = &plan.settings.mesh;
    let voxels = grid.size.iter().product::<usize>() as f64;
    let own = grid.voxel_volume_mm3();
    let elements = match mesh.kind {
        MeshKind::Hex if mesh.voxel_mm > 0.0 => {
            bone_mm3 / mesh.voxel_mm.powi(3) * BYTES_PER_HEXAHEDRON
        }
        MeshKind::Hex => bone_mm3 / own * BYTES_PER_HEXAHEDRON,
        MeshKind::Tet10 => bone_mm3 / mesh.tet_volume_mm3 * BYTES_PER_TETRAHEDRON,
    };
    (voxels * BYTES_PER_VOXEL + elements) / f64::from(1 << 20)
}

/// How many cases to compute at a time: what was asked for, else one per thread, and no more than fit into the memory that is
/// free.
pub(crate) fn jobs(
    asked: Option<NonZeroUsize>,
    cases: usize,
    memory_mib: f64,
) -> (NonZeroUsize, Option<String>) {
    let wanted = asked.map_or_else(rayon::current_num_threads, NonZeroUsize::get);
    let wanted = wanted.min(cases).max(1);
    let fitting = available_memory_mib().map_or(wanted, |free| {
        (0.8 * free / memory_mib.max(1.0)).floor() as usize
    });
    let jobs = wanted.min(fitting.max(1));
    let note = (jobs < wanted).then(|| {
        format!(
            "{jobs} at a time instead of {wanted}: each is expected to take {memory_mib:.0} MiB"
        )
    });
    (NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN), note)
}
