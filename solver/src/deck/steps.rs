//! From the steps of a deck to load cases and increments.

use std::collections::{BTreeMap, HashSet};

use meshing::NodeSet;

use super::convert::Numbering;
use super::source::At;
use super::{Amplitude, Boundary, Deck, Note, Static, Step, Target};
use crate::error::Result;
use crate::load_case::{LoadCase, NodalForce, Prescribed, Stepping};

/// Planned increments of one step beyond which a deck is refused.
const MOST_INCREMENTS: usize = 1_000_000;

/// A step ready for the solver.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// Number, from 1.
    pub number: usize,
    /// Time at which it begins.
    pub start_time: f64,
    /// Its length in time: load factor 1 is reached at `start_time + period`.
    pub period: f64,
    /// Supports, displacements, forces; the monitors are the node sets whose reactions are written.
    pub load_case: LoadCase,
    /// Increments and tolerances.
    pub stepping: Stepping,
    /// Asked-for displacements and reactions.
    pub prints: Vec<PrintPlan>,
}

/// Output asked for by `*NODE PRINT`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintPlan {
    /// Name of the node set.
    pub set: String,
    /// Nodes of the model in the order of their labels.
    pub nodes: Vec<u32>,
    /// What is asked for.
    pub quantity: Quantity,
    /// Every how many increments; the last is always printed.
    pub frequency: usize,
}

/// What `*NODE PRINT` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Displacements of the nodes.
    Displacement,
    /// Total reaction of the set.
    Reaction,
}

/// Carries supports and forces from step to step.
pub(super) struct StepMaker<'a> {
    deck: &'a Deck,
    numbering: &'a Numbering,
    linear: bool,
    tolerance: f64,
    held: BTreeMap<(u32, u8), f64>,
    forces: BTreeMap<(u32, u8), f64>,
    held_sets: Vec<String>,
    /// Supports on nodes without elements.
    loose: usize,
    pub(super) notes: Vec<Note>,
}

impl<'a> StepMaker<'a> {
    pub(super) fn new(
        deck: &'a Deck,
        numbering: &'a Numbering,
        linear: bool,
        tolerance: f64,
    ) -> Self {
        Self {
            deck,
            numbering,
            linear,
            tolerance,
            held: BTreeMap::new(),
            forces: BTreeMap::new(),
            held_sets: Vec::new(),
            loose: 0,
            notes: deck.notes.clone(),
        }
    }

    pub(super) fn all(&mut self) -> Result<Vec<StepPlan>> {
        let deck = self.deck;
        if deck.steps.is_empty() {
            return Err(deck.error(At { file: 0, line: 1 }, "the deck has no *STEP"));
        }
        if let (false, Some(second)) = (self.linear, deck.steps.get(1)) {
            return Err(deck.error(
                second.at,
                "a second step after plastic deformation is not supported; put the loading into one step",
            ));
        }
        for line in &deck.boundary {
            self.hold(line, 1.0)?;
        }
        let mut start_time = 0.0;
        let mut plans = Vec::new();
        for (index, step) in deck.steps.iter().enumerate() {
            let plan = self.step(index + 1, start_time, step)?;
            start_time += plan.period;
            plans.push(plan);
        }
        if self.loose > 0 {
            self.notes.push(Note {
                at: At { file: 0, line: 1 },
                text: format!(
                    "{} prescribed components on nodes that belong to no element have no effect",
                    self.loose
                ),
            });
        }
        Ok(plans)
    }

    fn step(&mut self, number: usize, start_time: f64, step: &Step) -> Result<StepPlan> {
        let period = step.procedure.period;
        for line in &step.boundary {
            let factor = self.end_factor(line.amplitude.as_deref(), period, line.at)?;
            self.hold(line, factor)?;
        }
        self.push(step)?;
        let prints = self.prints(step);
        let load_case = LoadCase {
            prescribed: self
                .held
                .iter()
                .map(|(&(node, component), &displacement_mm)| Prescribed {
                    node,
                    component,
                    displacement_mm,
                })
                .collect(),
            forces: self
                .forces
                .iter()
                .filter(|(_, force)| **force != 0.0)
                .map(|(&(node, component), &force_n)| NodalForce {
                    node,
                    component,
                    force_n,
                })
                .collect(),
            monitors: self.monitors(&prints),
        };
        let increments = if self.linear {
            Stepping::equal(1)
        } else {
            self.increments(step)?
        };
        let stepping = Stepping {
            tolerance: 100.0 * self.tolerance,
            linear_tolerance: self.tolerance,
            ..increments
        };
        Ok(StepPlan {
            number,
            start_time,
            period,
            load_case,
            stepping,
            prints,
        })
    }

    /// Applies the forces of a step with their end values.
    fn push(&mut self, step: &Step) -> Result<()> {
        let period = step.procedure.period;
        let mut given = HashSet::new();
        for line in &step.forces {
            if line.lifts_earlier {
                self.forces.retain(|component, _| given.contains(component));
            }
            let factor = self.end_factor(line.amplitude.as_deref(), period, line.at)?;
            for node in self.deck.target_nodes(&line.target) {
                let Some(model_node) = self.numbering.numbers[node as usize] else {
                    return Err(self.deck.error(
                        line.at,
                        format!(
                            "the force acts on node {}, which belongs to no element",
                            self.deck.node_labels[node as usize]
                        ),
                    ));
                };
                let component = (model_node, line.component);
                let force = self.forces.entry(component).or_default();
                let before = if given.insert(component) { 0.0 } else { *force };
                *force = before + factor * line.force_n;
            }
        }
        Ok(())
    }

    /// Applies a line of `*BOUNDARY` with its end value.
    fn hold(&mut self, line: &Boundary, factor: f64) -> Result<()> {
        if line.lifts_earlier {
            self.held.clear();
            self.held_sets.clear();
        }
        for node in self.deck.target_nodes(&line.target) {
            match self.numbering.numbers[node as usize] {
                Some(model_node) => {
                    for &component in &line.components {
                        self.held
                            .insert((model_node, component), factor * line.displacement_mm);
                    }
                }
                None => self.loose += line.components.len(),
            }
        }
        if let Target::Set(name) = &line.target
            && !line.components.is_empty()
            && !self.held_sets.contains(name)
        {
            self.held_sets.push(name.clone());
        }
        Ok(())
    }

    /// Factor of a load at the end of a step. A nonlinear step is loaded in proportion to time, so that its
    /// amplitude must be a straight ramp.
    fn end_factor(&self, amplitude: Option<&str>, period: f64, at: At) -> Result<f64> {
        let Some(name) = amplitude else {
            return Ok(1.0);
        };
        let amplitude = self.deck.amplitudes.get(name).ok_or_else(|| {
            self.deck
                .error(at, format!("amplitude {name} is not defined"))
        })?;
        if !self.linear && !is_ramp(amplitude, period) {
            return Err(self.deck.error(
                amplitude.at,
                format!(
                    "amplitude {name} is not a straight ramp from 0 over the step; with plastic materials no other is supported"
                ),
            ));
        }
        Ok(amplitude.at_time(period))
    }

    fn prints(&self, step: &Step) -> Vec<PrintPlan> {
        let mut plans = Vec::new();
        for print in step.node_prints.iter().filter(|p| p.frequency > 0) {
            let asked = [
                (print.displacements, Quantity::Displacement),
                (print.reactions, Quantity::Reaction),
            ];
            for (_, quantity) in asked.into_iter().filter(|(wanted, _)| *wanted) {
                let mut nodes = self.set_nodes(&print.node_set);
                nodes.sort_unstable_by_key(|&n| self.numbering.node_labels[n as usize]);
                plans.push(PrintPlan {
                    set: print.node_set.clone(),
                    nodes,
                    quantity,
                    frequency: print.frequency,
                });
            }
        }
        plans
    }

    fn monitors(&self, prints: &[PrintPlan]) -> Vec<NodeSet> {
        let mut names: Vec<&String> = self.held_sets.iter().collect();
        for print in prints.iter().filter(|p| p.quantity == Quantity::Reaction) {
            if !names.contains(&&print.set) {
                names.push(&print.set);
            }
        }
        names
            .into_iter()
            .map(|name| NodeSet::new(name, self.set_nodes(name)))
            .collect()
    }

    /// Nodes of a set that belong to elements, in the numbers of the model.
    fn set_nodes(&self, name: &str) -> Vec<u32> {
        let nodes = self.deck.node_sets.get(name).into_iter().flatten();
        nodes
            .filter_map(|&node| self.numbering.numbers[node as usize])
            .collect()
    }

    /// The increments of a step. Fixed ones are all planned. Automatic ones start at the initial size, are cut where
    /// they do not converge and grow where they converge easily, between the smallest and the largest size: the
    /// planned increments are then of the largest size, and the first is tried at a fraction of it.
    fn increments(&self, step: &Step) -> Result<Stepping> {
        let Static {
            direct,
            initial,
            period,
            smallest,
            largest,
        } = step.procedure;
        let most = step.most_increments.min(MOST_INCREMENTS);
        let size = if direct { initial } else { largest.min(period) };
        let exact = period / size;
        let whole = (exact - 1e-6).ceil().max(1.0);
        if whole > most as f64 {
            return Err(self.deck.error(
                step.at,
                format!(
                    "INC={} increments do not reach the end of the step; raise INC or the increment size",
                    step.most_increments
                ),
            ));
        }
        // Fixed increments that do not divide the step leave a shorter last one.
        let even = (exact - whole).abs() < 1e-6;
        let mut factors: Vec<f64> = (1..=whole as usize)
            .map(|n| n as f64 / if even { whole } else { exact })
            .collect();
        if let Some(last) = factors.last_mut() {
            *last = 1.0;
        }
        let fixed = Stepping::equal(1);
        let (first_fraction, smallest_fraction) = if direct {
            (fixed.first_fraction, fixed.smallest_fraction)
        } else {
            let initial = initial.min(size);
            (initial / size, smallest.min(initial) / size)
        };
        Ok(Stepping {
            factors,
            first_fraction,
            smallest_fraction,
            most_increments: most,
            ..fixed
        })
    }
}

impl Deck {
    /// Nodes of a target, counted from 0 in the order of the deck.
    fn target_nodes(&self, target: &Target) -> Vec<u32> {
        match target {
            Target::Node(node) => vec![*node],
            Target::Set(name) => self.node_sets.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// Whether an amplitude rises in a straight line from 0 at time 0 to its value at the end of the step.
fn is_ramp(amplitude: &Amplitude, period: f64) -> bool {
    let end = amplitude.at_time(period);
    let times = amplitude.points.iter().map(|p| p[0]);
    let within = times.filter(|&t| t > 0.0 && t < period);
    std::iter::once(0.0)
        .chain(within)
        .all(|t| (amplitude.at_time(t) - end * t / period).abs() <= 1e-9 * end.abs())
}
