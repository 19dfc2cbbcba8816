//! From a scan to a failure load: the only place in which all stages meet.
//!
//! [`run`] takes a [`RunRequest`] in which nothing is left open, and fills an output directory:
//! read, calibrate, find the bone, build the model, give it materials, load it, read the failure load.

pub(crate) mod beside;
mod case;
mod demo;
pub(crate) mod ending;
mod fields;
mod gates;
mod levels;
mod materials;
mod options;
mod outcome;
mod scan;
mod shape;
mod solve;
mod synthesise;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use solver::{Control, Device, Stepping};

pub use demo::{DemoRequest, demo};
pub use ending::CaseEnding;
pub use levels::{LevelsFinished, Vertebra, VertebraRun, check_levels, run_levels};
pub use materials::{Assigned, assign};
pub use outcome::{answered, failure_load};
pub use solve::{DeckFormulation, SolveFinished, SolveRequest, solve};
pub use synthesise::{SynthFormat, SynthKind, SynthRequest, synth};

use crate::bone_model::BoneMesh;
use crate::exit::Failure;
use crate::interruption::Section;
use crate::output_dir::{Existing, OutputDir};
use crate::plan::{Criterion, MeshKind, Plan};
use crate::progress::Progress;
use crate::provenance::{Provenance, peak_memory_mib};
use crate::report::result_json::{Check, DensityStatistics};
use crate::report::{MeshStatistics, RunOutcome, RunResult};
use crate::risk::Risk;
use case::Case;
use fields::FieldWriter;
pub(crate) use options::plan_side;
pub(crate) use scan::Scan;
pub(crate) use shape::{Shape, nearest_mm};

/// One case to be computed.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The CT scan.
    pub ct: PathBuf,
    /// The bone's mask or label map; a network finds the bone where there is none.
    pub mask: Option<PathBuf>,
    /// The plan file the settings come from, if they do; recorded in the provenance.
    pub plan_file: Option<PathBuf>,
    /// The user's protocol file, if there is one; recorded in the provenance.
    pub protocol_file: Option<PathBuf>,
    /// Every setting.
    pub plan: Plan,
    /// Where the results go.
    pub out: PathBuf,
    /// What to do with an existing result.
    pub existing: Existing,
    /// Where to compute.
    pub device: Device,
}

/// What a request left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// One result per bone.
    pub results: Vec<RunResult>,
    /// The output directory.
    pub place: PathBuf,
}

/// Goes as far as the quality gates and returns them all; solves nothing.
///
/// # Errors
/// A [`Failure`]: usage, or an input that is refused. A gate that refuses is no error here.
pub fn check(request: &RunRequest, progress: &mut Progress) -> anyhow::Result<Vec<Check>> {
    let case = Case::open(request, progress)?;
    Ok(case.checks)
}

/// Computes one case.
///
/// # Errors
/// A [`Failure`] of kind usage, input or gate. That no failure load was found is not an error: see
/// [`RunResult::outcome`].
pub fn run(request: &RunRequest, progress: &mut Progress) -> anyhow::Result<Finished> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    let scan = Scan::open(request, progress)?;
    let result = run_into(&scan, request, &out, "run", progress)?.result;
    let place = out.finish()?;
    Ok(Finished {
        results: vec![result],
        place,
    })
}

/// Meshes one case as [`run`] would.
///
/// # Errors
/// As [`run`].
pub fn mesh(
    request: &RunRequest,
    progress: &mut Progress,
) -> anyhow::Result<(MeshStatistics, PathBuf)> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    let scan = Scan::open(request, progress)?;
    let request = &scan.completed(request)?;
    let mut case = Case::of(&scan, &request.plan, progress)?;
    case.pass_gates(&request.plan)?;
    let model = case.model(&request.plan, progress)?;
    progress.stage("write");
    fields::write_mesh(&out.join("mesh.vtu"), &model)?;
    case.write_images(&scan, &out)?;
    std::fs::write(out.join("plan.toml"), request.plan.to_toml()).context("plan.toml")?;
    let provenance = provenance(&scan, request, "mesh")?;
    std::fs::write(
        out.join(crate::output_dir::PROVENANCE_FILE),
        provenance.to_json()?,
    )
    .context("provenance.json")?;
    progress.finish();
    Ok((statistics(&model), out.finish()?))
}

/// A case that was computed, with what comparing it with others needs beside the result.
pub(crate) struct Ran {
    /// The result.
    pub result: RunResult,
    /// The bone that was meshed.
    pub shape: Shape,
}

/// Computes one case into a directory that is being filled.
pub(crate) fn run_into(
    scan: &Scan,
    request: &RunRequest,
    out: &OutputDir,
    command: &str,
    progress: &mut Progress,
) -> anyhow::Result<Ran> {
    let request = &scan.completed(request)?;
    let plan = &request.plan;
    let mut case = Case::of(scan, plan, progress)?;
    case.pass_gates(plan)?;
    let mut model = case.model(plan, progress)?;
    case.pass_gates(plan)?;
    progress.stage("materials");
    let assigned = materials::assign(&mut model, case.density.kind, plan)?;
    case.checks.extend(assigned.checks.iter().cloned());
    let densest = density_statistics(&model, scan, &assigned).max_mg_cm3;
    case.checks.extend(scan.calibration.extrapolation(densest));
    progress.stage("solve");
    let stepping = stepping(plan, &model, request.device);
    progress.increments(stepping.factors.len());
    let mut writer = FieldWriter::new(&model, &assigned, out.path(), stepping.factors.len());
    let direction = model.direction;
    let full_mm = model.displacement_mm;
    let body = assigned.body(&model, plan);
    let load = model.load_case();
    let (frame, increments) = (model.mesh.frame(), plan.settings.load.increments.max(1));
    crate::export::store(
        out.path(),
        &body,
        frame,
        &model.kinds,
        &model.density_mg_cm3,
        &load,
        increments,
    )?;
    let wants_pistoia = plan.settings.failure.criterion == Criterion::Pistoia;
    let mut pistoia_load_n = None;
    let mut written = Ok(());
    let section = Section::begin();
    let response = solver::analyse(&body, &load, &stepping, &mut |snapshot| {
        let increment = snapshot.increment;
        let force_n = outcome::force_along(increment, direction);
        progress.increment(
            increment.number,
            increment.factor * full_mm,
            force_n,
            increment.iterations,
        );
        if wants_pistoia {
            pistoia_load_n = outcome::pistoia_load_n(snapshot, &model, &assigned, plan, force_n);
        }
        written = writer.see(snapshot, increment.factor * full_mm, force_n);
        if written.is_ok() && !section.interrupted() {
            Control::Continue
        } else {
            Control::Stop
        }
    })
    .map_err(analysis_failed)?;
    written?;
    progress.stage("write");
    writer.finish()?;
    case.write_images(scan, out)?;
    let curve = outcome::curve(&response, direction, full_mm);
    let mut found = failure_load(&response, &curve, &model, plan);
    if section.interrupted() {
        // A maximum so far is no failure load: the force might have risen above it.
        (found.load_n, found.displacement_mm) = (None, None);
        found.outcome = RunOutcome::Interrupted;
    }
    let statistics = statistics(&model);
    let density = density_statistics(&model, scan, &assigned);
    let result = RunResult {
        bone: plan.subject.bone,
        side: case.side,
        level: case.level.clone(),
        failure_load_n: found.load_n,
        failure_displacement_mm: found.displacement_mm,
        criterion: found.criterion,
        outcome: found.outcome,
        stiffness_n_per_mm: crate::report::curve::initial_stiffness_n_per_mm(&curve),
        force_at_target_n: crate::report::curve::force_at_n(&curve, full_mm),
        linear_strength_n: found.linear_strength_n,
        pistoia_load_n,
        bone_height_mm: model.bone_height_mm,
        landmarks: case.landmarks(),
        force_balance: outcome::worst_balance(&response),
        mesh: statistics,
        density,
        calibration: case.calibration.clone(),
        checks: std::mem::take(&mut case.checks),
        risk: Risk::of(found.load_n, plan),
        newton_iterations: response.iterations,
        linear_iterations: response.linear_iterations,
        timings_s: progress.finish(),
        peak_memory_mib: peak_memory_mib(),
    };
    let provenance = provenance(scan, request, command)?;
    crate::report::write_run(out, &result, &curve, plan, &provenance)?;
    crate::report::html::write(out.path(), &out.join(crate::report::html::REPORT_FILE))?;
    Ok(Ran {
        result,
        shape: Shape::of(&case.bone(plan), &model),
    })
}

pub(crate) fn provenance(
    scan: &Scan,
    request: &RunRequest,
    command: &str,
) -> anyhow::Result<Provenance> {
    let mut provenance = Provenance::of_this_process(command, request.device);
    if let Some(found) = &scan.automatic {
        provenance.weights.clone_from(&found.weights);
    }
    provenance.add_acquisition("ct", scan.acquisition.as_ref(), &scan.notes);
    provenance.add_input("ct", &request.ct)?;
    if let Some(path) = &request.mask {
        provenance.add_input("mask", path)?;
    }
    if let Some(path) = &request.plan_file {
        provenance.add_input("plan", path)?;
    }
    if let Some(path) = &request.protocol_file {
        provenance.add_input("protocol", path)?;
    }
    let subject = &request.plan.subject;
    if let Some(rods) = &subject.rods {
        provenance.add_input("rods", rods.path())?;
    }
    if let Some(path) = &subject.tissues {
        provenance.add_input("tissues", Path::new(path))?;
    }
    if let Some(path) = &subject.uncertainty {
        provenance.add_input("uncertainty", Path::new(path))?;
    }
    if let Some(path) = &subject.phantom_ct {
        provenance.add_input("phantom_ct", Path::new(path))?;
        // Another voltage or kernel than the patient's scan shows here.
        let acquisition = imaging::dicom::acquisition(Path::new(path))?;
        provenance.add_acquisition("phantom_ct", acquisition.as_ref(), &[]);
    }
    if let Some(crate::plan::CalibrationSpec::File(path)) = &subject.calibration {
        provenance.add_input("calibration", path)?;
    }
    Ok(provenance)
}

/// How an analysis that was refused ends the program.
fn analysis_failed(error: solver::Error) -> anyhow::Error {
    let remedy = match &error {
        solver::Error::Device { remedy, .. } => Some(remedy.clone()),
        _ => None,
    };
    let failure = Failure::input("the finite-element analysis").because(error);
    match remedy {
        Some(remedy) => failure.with_help(remedy),
        None => failure,
    }
    .into()
}

/// Increments that a plan leads to at most.
pub(crate) fn planned_increments(plan: &Plan) -> usize {
    let (load, failure) = (&plan.settings.load, &plan.settings.failure);
    let peak = failure.criterion == Criterion::MaximumForce;
    let reach = if peak { load.extension } else { 1.0 };
    (load.increments.max(1) as f64 * reach).round() as usize
}

/// Increments of a plan: equal ones to the displacement, and on while no peak is confirmed.
fn stepping(plan: &Plan, model: &crate::bone_model::BoneModel, device: Device) -> Stepping {
    let (load, failure, settings) = (
        &plan.settings.load,
        &plan.settings.failure,
        &plan.settings.solver,
    );
    let count = load.increments.max(1);
    let peak = failure.criterion == Criterion::MaximumForce;
    let total = planned_increments(plan);
    Stepping {
        factors: (1..=total).map(|n| n as f64 / count as f64).collect(),
        smallest_fraction: settings.smallest_fraction,
        tolerance: settings.tolerance,
        linear_tolerance: settings.linear_tolerance,
        max_iterations: settings.max_iterations,
        watch: Some((0, model.direction)),
        stop_below: peak.then_some(failure.drop_fraction),
        peak_increments: failure.drop_increments,
        device,
        ..Stepping::equal(count)
    }
}

fn statistics(model: &crate::bone_model::BoneModel) -> MeshStatistics {
    let (kind, mean_volume_mm3, min_quality) = match &model.mesh {
        // Every element is a box.
        BoneMesh::Voxels(mesh) => (MeshKind::Hex, mesh.element_volume_mm3(), 1.0),
        BoneMesh::Tetrahedra(mesh) => {
            let found = mesh.mesh.statistics();
            (
                MeshKind::Tet10,
                found.mean_volume_mm3,
                found.min_radius_ratio,
            )
        }
    };
    MeshStatistics {
        kind,
        elements: model.mesh.element_count(),
        nodes: model.mesh.nodes_mm().len(),
        mean_volume_mm3,
        min_quality: Some(min_quality),
    }
}

fn density_statistics(
    model: &crate::bone_model::BoneModel,
    scan: &Scan,
    assigned: &Assigned,
) -> DensityStatistics {
    let elements = || {
        (0..model.kinds.len())
            .filter(|&element| model.kinds[element] != crate::bone_model::ElementKind::Cap)
    };
    let bone = || elements().map(|element| model.density_mg_cm3[element]);
    let volume = |element| model.mesh.element_volume_mm3(element);
    let whole: f64 = elements().map(volume).sum();
    let mass: f64 = elements()
        .map(|element| model.density_mg_cm3[element] * volume(element))
        .sum();
    DensityStatistics {
        basis: scan.basis(),
        mean_mg_cm3: mass / whole,
        min_mg_cm3: bone().fold(f64::INFINITY, f64::min),
        max_mg_cm3: bone().fold(f64::NEG_INFINITY, f64::max),
        clamped_elements: assigned.clamped_elements,
    }
}
