//! Decks in the Abaqus/CalculiX keyword format: the subset that small-strain solid statics needs.
//!
//! | keyword | what is read |
//! |---|---|
//! | `*HEADING`, `*INCLUDE` (`INPUT`) | text; another file, looked for beside the including one |
//! | `*NODE` (`NSET`) | number and coordinates, mm |
//! | `*ELEMENT` (`TYPE`, `ELSET`) | `C3D8`, `C3D8I`, `C3D4`, `C3D10`; one shape per deck |
//! | `*NSET`, `*ELSET` (`GENERATE`) | numbers, ranges, names of sets defined above |
//! | `*MATERIAL`, `*ELASTIC` (`TYPE=ISO`), `*PLASTIC` (`HARDENING=ISOTROPIC`), `*SOLID SECTION` | one temperature only; falling branches allowed |
//! | `*DENSITY` | read and noted: there is no body force |
//! | `*BOUNDARY` (`OP`, `AMPLITUDE`, `TYPE=DISPLACEMENT`), `*CLOAD` (`OP`, `AMPLITUDE`), `*AMPLITUDE` | components 1 to 3 |
//! | `*STEP` (`INC`), `*STATIC` (`DIRECT`, `SOLVER`), `*END STEP` | planned increments; `NLGEOM` is refused |
//! | `*CONTROLS` | read and noted: the convergence criterion of this program stands |
//! | `*NODE PRINT` (`NSET`, `TOTALS`, `FREQUENCY`) | `U` and `RF` |
//! | `*EL PRINT`, `*NODE FILE`, `*EL FILE`, `*OUTPUT`, `*NODE OUTPUT`, `*ELEMENT OUTPUT` | noted and passed over: fields are always written |
//!
//! Names and keywords ignore case and blanks. Any other keyword, and any other parameter of these, is refused with
//! its line: a word that is passed over in silence may change the answer. What is passed over is listed in [`Deck::notes`].
//!
//! Where the two programs differ, CalculiX is followed: nodes and sets must be defined above their use in a set,
//! a force given twice in one step adds up, and a displacement given twice is the last one.

mod convert;
mod lattice;
pub mod output;
mod parse;
mod source;
mod steps;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub use convert::{DeckModel, Options};
pub use source::At;
pub use steps::{PrintPlan, Quantity, StepPlan};

use crate::error::{Error, Result};
use source::Sources;

/// A deck as it stands in its files. Node and element numbers of the deck are called *labels*.
#[derive(Clone, Debug, Default)]
pub struct Deck {
    /// The files read, the deck itself first.
    pub files: Vec<String>,
    /// Text under `*HEADING`.
    pub heading: String,
    /// Label of each node, in the order of the deck.
    pub node_labels: Vec<u32>,
    /// Position of each node, mm.
    pub nodes_mm: Vec<[f64; 3]>,
    /// Elements `C3D8` and `C3D8I`.
    pub hexahedra: Elements<8>,
    /// Elements `C3D4`.
    pub tetrahedra: Elements<4>,
    /// Elements `C3D10`.
    pub quadratic_tetrahedra: Elements<10>,
    /// Where each element type is used first.
    pub element_types: BTreeMap<ElementType, At>,
    /// Node sets: node numbers counted from 0 in the order of [`Deck::node_labels`], ascending.
    pub node_sets: BTreeMap<String, Vec<u32>>,
    /// Element sets: labels, ascending.
    pub element_sets: BTreeMap<String, Vec<u32>>,
    /// Materials in the order of the deck.
    pub materials: Vec<Material>,
    /// Which elements are made of which material.
    pub sections: Vec<Section>,
    /// Amplitudes by name.
    pub amplitudes: BTreeMap<String, Amplitude>,
    /// Supports given before the first step.
    pub boundary: Vec<Boundary>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// What was read but has no effect.
    pub notes: Vec<Note>,
    node_numbers: HashMap<u32, u32>,
    element_places: HashMap<u32, At>,
}

/// An element type of the deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ElementType {
    C3D4,
    C3D8,
    C3D8I,
    C3D10,
}

/// Elements with `N` nodes.
#[derive(Clone, Debug)]
pub struct Elements<const N: usize> {
    /// Label of each element.
    pub labels: Vec<u32>,
    /// Nodes of each element, counted from 0 in the order of [`Deck::node_labels`].
    pub nodes: Vec<[u32; N]>,
    /// Where each element stands in the deck.
    pub at: Vec<At>,
}

impl<const N: usize> Default for Elements<N> {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            nodes: Vec::new(),
            at: Vec::new(),
        }
    }
}

/// A material.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Material {
    /// Name, upper case.
    pub name: String,
    /// Where it is defined.
    pub at: At,
    /// Young's modulus (MPa) and Poisson's ratio.
    pub elastic: Option<[f64; 2]>,
    /// Plastic strain and yield stress (MPa), and where the table stands; empty when it never yields.
    pub plastic: Vec<[f64; 2]>,
    /// Where the plastic table begins.
    pub plastic_at: At,
}

/// A `*SOLID SECTION`.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Name of the element set.
    pub element_set: String,
    /// Name of the material.
    pub material: String,
    /// Where it stands.
    pub at: At,
}

/// A table of factors over time, straight between its points and constant outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Amplitude {
    /// Time and factor.
    pub points: Vec<[f64; 2]>,
    /// Where it stands.
    pub at: At,
}

impl Amplitude {
    /// The factor at a time.
    pub fn at_time(&self, time: f64) -> f64 {
        let after = self.points.partition_point(|p| p[0] <= time);
        match (
            after.checked_sub(1).map(|n| self.points[n]),
            self.points.get(after),
        ) {
            (None, None) => 0.0,
            (None, Some(first)) => first[1],
            (Some(last), None) => last[1],
            (Some(a), Some(b)) => a[1] + (b[1] - a[1]) * (time - a[0]) / (b[0] - a[0]),
        }
    }
}

/// A node set or a single node.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A set, by name.
    Set(String),
    /// A node, counted from 0 in the order of [`Deck::node_labels`].
    Node(u32),
}

/// A line of `*BOUNDARY`.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// Where it acts.
    pub target: Target,
    /// Held components: 0 = x, 1 = y, 2 = z.
    pub components: Vec<u8>,
    /// Displacement, mm.
    pub displacement_mm: f64,
    /// Amplitude, by name.
    pub amplitude: Option<String>,
    /// Whether the conditions given so far are lifted before this one (first line of a card with `OP=NEW`).
    pub lifts_earlier: bool,
    /// Where it stands.
    pub at: At,
}

/// A line of `*CLOAD`.
#[derive(Clone, Debug, PartialEq)]
pub struct Force {
    /// Where it acts; every node of a set carries the whole force.
    pub target: Target,
    /// 0 = x, 1 = y, 2 = z.
    pub component: u8,
    /// Force, N.
    pub force_n: f64,
    /// Amplitude, by name.
    pub amplitude: Option<String>,
    /// Whether the forces of earlier steps are lifted (first line of a card with `OP=NEW`).
    pub lifts_earlier: bool,
    /// Where it stands.
    pub at: At,
}

/// The time control of a `*STATIC` step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Static {
    /// Whether all increments have the same size.
    pub direct: bool,
    /// Size of the first increment, in units of time.
    pub initial: f64,
    /// Length of the step, in units of time.
    pub period: f64,
    /// Smallest increment.
    pub smallest: f64,
    /// Largest increment.
    pub largest: f64,
}

/// A `*NODE PRINT` card.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePrint {
    /// Name of the node set.
    pub node_set: String,
    /// Displacements are asked for.
    pub displacements: bool,
    /// Reactions are asked for.
    pub reactions: bool,
    /// Every how many increments; the last is always printed.
    pub frequency: usize,
    /// Where it stands.
    pub at: At,
}

/// A `*STEP`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where it begins.
    pub at: At,
    /// Largest number of increments (`INC`, 100 when not given).
    pub most_increments: usize,
    /// Time control.
    pub procedure: Static,
    /// Prescribed displacements.
    pub boundary: Vec<Boundary>,
    /// Forces.
    pub forces: Vec<Force>,
    /// Asked-for output.
    pub node_prints: Vec<NodePrint>,
}

/// Something that was read but has no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Where it stands.
    pub at: At,
    /// What has no effect, and why.
    pub text: String,
}

impl Deck {
    /// Reads a deck and the files it includes.
    ///
    /// # Errors
    /// [`Error::Io`] when the deck cannot be read; [`Error::Deck`] with file and line for everything else.
    pub fn read(path: &Path) -> Result<Self> {
        parse::parse(Sources::read(path)?)
    }

    /// Reads a deck from memory; `path` names it in messages, and included files are looked for beside it.
    ///
    /// # Errors
    /// [`Error::Deck`] with file and line.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        parse::parse(Sources::with_text(path, text.to_string())?)
    }

    /// Number of elements of all types.
    pub fn element_count(&self) -> usize {
        self.hexahedra.labels.len()
            + self.tetrahedra.labels.len()
            + self.quadratic_tetrahedra.labels.len()
    }

    /// An error at a place of the deck.
    fn error(&self, at: At, reason: impl Into<String>) -> Error {
        source::deck_error(&self.files, at, reason)
    }
}

#[cfg(test)]
mod tests;
