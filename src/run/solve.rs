//! `osteoload solve`: a deck in the Abaqus/CalculiX keyword format.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use meshing::Mesh;
use meshing::vtu::{Field, Values, Vtu, write_pvd};
use serde::Serialize;
use solver::deck::output::{
    DISPLACEMENTS_HEADER, REACTIONS_HEADER, displacement_rows, reaction_rows,
};
use solver::deck::{Deck, DeckModel, Options};
use solver::{Control, Device, Formulation, Outcome, SolidMesh};

use crate::exit::{EndWith as _, Kind};
use crate::interruption::Section;
use crate::output_dir::{Existing, OutputDir, PROVENANCE_FILE};
use crate::progress::Progress;
use crate::provenance::{Provenance, peak_memory_mib};

/// Formulation of the 8-node hexahedra of a deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeckFormulation {
    /// What the element names say.
    AsDeck,
    /// Mean dilatation for all.
    BBar,
}

/// A deck to be solved.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveRequest {
    /// The deck.
    pub deck: PathBuf,
    /// Directory of the result.
    pub out: PathBuf,
    /// What to do when it is there.
    pub existing: Existing,
    /// Formulation of the hexahedra.
    pub formulation: DeckFormulation,
    /// Relative residual of a linear step; a nonlinear increment converges at 100 times this.
    pub tolerance: f64,
    /// Whether to write `fields.pvd`.
    pub fields: bool,
    /// Where to compute.
    pub device: Device,
}

/// What a deck left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveFinished {
    /// The directory.
    pub place: PathBuf,
    /// Whether every step converged.
    pub converged: bool,
    /// Whether the user interrupted it; the increments done are in the directory.
    pub interrupted: bool,
    /// One line for the user.
    pub headline: String,
}

/// `result.json` of a deck.
#[derive(Serialize)]
struct SolveResult {
    converged: bool,
    outcome: &'static str,
    increments: usize,
    newton_iterations: usize,
    linear_iterations: usize,
    elements: usize,
    nodes: usize,
    notes: Vec<String>,
    timings_s: SolveTimings,
    peak_memory_mib: Option<f64>,
}

#[derive(Default, Serialize)]
struct SolveTimings {
    read: f64,
    setup: f64,
    solve: f64,
    write: f64,
}

/// Solves a deck.
///
/// # Errors
/// A [`crate::exit::Failure`] of kind input for a deck that is refused.
pub fn solve(request: &SolveRequest, progress: &mut Progress) -> anyhow::Result<SolveFinished> {
    let out = OutputDir::begin(&request.out, request.existing)?;
    let mut timings = SolveTimings::default();
    let mut clock = Instant::now();
    let mut lap = || clock_lap(&mut clock);
    progress.stage("read");
    let deck = Deck::read(&request.deck).kind(Kind::Input)?;
    timings.read = lap();
    progress.stage("set up");
    let options = Options {
        formulation: match request.formulation {
            DeckFormulation::AsDeck => None,
            DeckFormulation::BBar => Some(Formulation::BBar),
        },
        tolerance: request.tolerance,
    };
    let mut deck = deck.into_model(&options).kind(Kind::Input)?;
    for plan in &mut deck.steps {
        plan.stepping.device = request.device;
    }
    timings.setup = lap();
    progress.stage("solve");
    let mut reactions = REACTIONS_HEADER.to_owned();
    let mut displacements = DISPLACEMENTS_HEADER.to_owned();
    let mut steps = Vec::new();
    let (mut increments, mut newton, mut linear) = (0, 0, 0);
    let mut outcome = Outcome::TargetReached;
    let mut writing = 0.0;
    let section = Section::begin();
    for plan in &deck.steps {
        progress.increments(plan.stepping.factors.len());
        let mut written = Ok(());
        let response = solver::analyse(
            &deck.model,
            &plan.load_case,
            &plan.stepping,
            &mut |snapshot| {
                let increment = snapshot.increment;
                let time = plan.start_time + plan.period * increment.factor;
                let force = increment
                    .reactions_n
                    .first()
                    .map_or(0.0, |f| f.iter().map(|v| v * v).sum::<f64>().sqrt());
                progress.increment(increment.number, time, force, increment.iterations);
                reactions += &reaction_rows(plan, increment);
                let u: Vec<f64> = snapshot.displacements_mm().into_flattened();
                let last = (increment.factor - 1.0).abs() < 1e-12;
                displacements += &displacement_rows(plan, &deck.node_labels, increment, &u, last);
                if request.fields {
                    let name = format!("fields_{:04}.vtu", steps.len() + 1);
                    let begun = Instant::now();
                    written = write_fields(&out.join(&name), &deck, snapshot, &u);
                    writing += begun.elapsed().as_secs_f64();
                    steps.push((time, name));
                }
                if written.is_ok() && !section.interrupted() {
                    Control::Continue
                } else {
                    Control::Stop
                }
            },
        )
        .map_err(|error| with_labels(error, &deck))
        .kind(Kind::Input)?;
        written?;
        increments += response.increments.len();
        newton += response.iterations;
        linear += response.linear_iterations;
        outcome = response.outcome;
        if unfinished(&outcome) || section.interrupted() {
            break;
        }
    }
    let interrupted = section.interrupted();
    timings.solve = lap() - writing;
    progress.stage("write");
    let converged = !unfinished(&outcome) && !interrupted;
    let ending = if interrupted {
        "interrupted"
    } else {
        word(&outcome)
    };
    let write = |name: &str, text: &str| {
        std::fs::write(out.join(name), text).with_context(|| name.to_owned())
    };
    write("reactions.csv", &reactions)?;
    write("displacements.csv", &displacements)?;
    if request.fields {
        write_pvd(&out.join("fields.pvd"), &steps)?;
    }
    let mut provenance = Provenance::of_this_process("solve", request.device);
    provenance.add_input("deck", &request.deck)?;
    write(PROVENANCE_FILE, &provenance.to_json()?)?;
    write("plan.toml", &plan_text(request))?;
    timings.write = writing + lap();
    let mut notes = Vec::new();
    for note in &deck.notes {
        notes.push(note.text.clone());
    }
    let result = SolveResult {
        converged,
        outcome: ending,
        increments,
        newton_iterations: newton,
        linear_iterations: linear,
        elements: deck.model.mesh.element_count(),
        nodes: deck.model.mesh.nodes_mm().len(),
        notes,
        timings_s: timings,
        peak_memory_mib: peak_memory_mib(),
    };
    write(
        "result.json",
        &(serde_json::to_string_pretty(&result)? + "\n"),
    )?;
    progress.finish();
    let mut headline = format!("{ending}: {increments} increments");
    let _ = write!(headline, ", {newton} Newton and {linear} linear iterations");
    Ok(SolveFinished {
        place: out.finish()?,
        converged,
        interrupted,
        headline,
    })
}

/// An error of the analysis in the numbers of the deck.
fn with_labels(error: solver::Error, deck: &DeckModel) -> anyhow::Error {
    match error {
        solver::Error::FreeToMove { node, motion } => anyhow::anyhow!(
            "node {} is free to {motion}: no *BOUNDARY holds the part of the body it belongs to",
            deck.node_labels[node]
        ),
        solver::Error::Material { element, reason } => {
            anyhow::anyhow!("element {}: {reason}", deck.element_labels[element])
        }
        other => super::analysis_failed(other),
    }
}

fn clock_lap(clock: &mut Instant) -> f64 {
    let seconds = clock.elapsed().as_secs_f64();
    *clock = Instant::now();
    seconds
}

/// Whether the load was not applied in full.
fn unfinished(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::StepTooSmall { .. } | Outcome::IncrementLimit
    )
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Linear => "linear",
        Outcome::PeakPassed => "peak_passed",
        Outcome::StepTooSmall { .. } => "step_too_small",
        Outcome::IncrementLimit => "increment_limit",
        _ => "target_reached",
    }
}

/// Every setting of the solution, for `plan.toml`.
fn plan_text(request: &SolveRequest) -> String {
    let formulation = match request.formulation {
        DeckFormulation::AsDeck => "as-deck",
        DeckFormulation::BBar => "bbar",
    };
    format!(
        "# osteoload solve\nelement_formulation = \"{formulation}\"\ntolerance = {:e}\nfields = {}\n",
        request.tolerance, request.fields
    )
}

fn write_fields(
    path: &std::path::Path,
    deck: &DeckModel,
    snapshot: &solver::Snapshot,
    displacements: &[f64],
) -> anyhow::Result<()> {
    let (von_mises, plastic): (Vec<f32>, Vec<f32>) = (0..snapshot.elements())
        .map(|element| {
            let fields = snapshot.element(element);
            let plastic = fields.equivalent_plastic_strain as f32;
            (fields.von_mises_mpa as f32, plastic)
        })
        .unzip();
    let point_data = vec![Field::vector("displacement_mm", displacements)];
    let cell_data = vec![
        Field::scalar("von_mises_mpa", Values::F32(&von_mises)),
        Field::scalar("equivalent_plastic_strain", Values::F32(&plastic)),
    ];
    match &deck.model.mesh {
        SolidMesh::Voxels { mesh, .. } | SolidMesh::Hex8(mesh) => {
            write_vtu(path, mesh, point_data, cell_data)
        }
        SolidMesh::Tet4(mesh) => write_vtu(path, mesh, point_data, cell_data),
        SolidMesh::Tet10(mesh) => write_vtu(path, mesh, point_data, cell_data),
    }
}

fn write_vtu<const N: usize>(
    path: &std::path::Path,
    mesh: &Mesh<N>,
    point_data: Vec<Field>,
    cell_data: Vec<Field>,
) -> anyhow::Result<()> {
    Vtu {
        mesh,
        frame: None,
        point_data,
        cell_data,
    }
    .write(path)?;
    Ok(())
}
