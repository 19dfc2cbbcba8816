//! From a [`Deck`] to a model and its load steps.

use std::collections::HashMap;

use meshing::HexMesh;

use super::lattice::{self, Recognised};
use super::source::At;
use super::steps::{StepMaker, StepPlan};
use super::{Deck, ElementType, Material, Note};
use crate::error::{Error, Result};
use crate::material::HardeningCurve;
use crate::model::{Formulation, MaterialModel, Materials, Model};

/// What the command line may say beside the deck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Element formulation in place of the deck's.
    pub formulation: Option<Formulation>,
    /// Relative residual of a linear step; a nonlinear increment is converged at 100 times this value.
    pub tolerance: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            formulation: None,
            tolerance: 1e-8,
        }
    }
}

/// A deck made ready for the solver. Nodes and elements may be renumbered; their labels are kept.
#[derive(Clone, Debug)]
pub struct DeckModel {
    /// The body.
    pub model: Model,
    /// Label of each node of the model in the deck.
    pub node_labels: Vec<u32>,
    /// Label of each element of the model in the deck.
    pub element_labels: Vec<u32>,
    /// The steps in order. Without plasticity each is one increment from the unloaded state to its own end.
    pub steps: Vec<StepPlan>,
    /// What was read but has no effect.
    pub notes: Vec<Note>,
    /// The files of the deck, for the notes.
    pub files: Vec<String>,
}

impl Deck {
    /// Makes the model and the plan of its steps.
    ///
    /// # Errors
    /// [`Error::Deck`] with the line of whatever is missing, contradictory or not supported.
    pub fn into_model(self, options: &Options) -> Result<DeckModel> {
        if !(options.tolerance > 0.0 && options.tolerance < 1.0) {
            return Err(Error::Model(format!(
                "tolerance {}; it must lie between 0 and 1",
                options.tolerance
            )));
        }
        let formulation = self.formulation(options)?;
        let numbering = self.numbering()?;
        let materials = self.materials(&numbering)?;
        let linear = materials.curves.is_empty();
        let mut steps = StepMaker::new(&self, &numbering, linear, options.tolerance);
        let plans = steps.all()?;
        let notes = steps.notes;
        Ok(DeckModel {
            model: Model {
                mesh: numbering.mesh,
                lattice: numbering.lattice,
                materials,
                formulation,
                material_model: if linear {
                    MaterialModel::Linear
                } else {
                    MaterialModel::J2
                },
            },
            node_labels: numbering.node_labels,
            element_labels: numbering.element_labels,
            steps: plans,
            notes,
            files: self.files,
        })
    }

    fn formulation(&self, options: &Options) -> Result<Formulation> {
        for kind in [ElementType::C3D4, ElementType::C3D10] {
            if let Some(&at) = self.element_types.get(&kind) {
                return Err(self.error(
                    at,
                    format!(
                        "{kind:?} elements are read but cannot be solved yet; C3D8 and C3D8I can"
                    ),
                ));
            }
        }
        let full = self.element_types.get(&ElementType::C3D8);
        let incompatible = self.element_types.get(&ElementType::C3D8I);
        match (options.formulation, full, incompatible) {
            (_, None, None) => Err(self.error(At { file: 0, line: 1 }, "the deck has no element")),
            (Some(formulation), _, _) => Ok(formulation),
            (None, Some(_), None) => Ok(Formulation::Full),
            (None, None, Some(_)) => Ok(Formulation::Incompatible),
            (None, Some(&a), Some(&b)) => Err(self.error(
                a.max(b),
                "C3D8 and C3D8I in one deck are not supported; use one type, or override both by --element-formulation",
            )),
        }
    }

    /// Renumbers nodes and elements for the solver.
    fn numbering(&self) -> Result<Numbering> {
        let hexahedra = &self.hexahedra;
        let (lattice, nodes, elements, connectivity) =
            match lattice::recognise(&self.nodes_mm, &hexahedra.nodes) {
                Some(Recognised {
                    lattice,
                    nodes,
                    elements,
                    connectivity,
                }) => (Some(lattice), nodes, elements, connectivity),
                None => {
                    let (nodes, connectivity) = self.attached();
                    let elements = (0..connectivity.len() as u32).collect();
                    (None, nodes, elements, connectivity)
                }
            };
        let mut numbers = vec![None; self.nodes_mm.len()];
        for (number, &node) in nodes.iter().enumerate() {
            numbers[node as usize] = Some(number as u32);
        }
        let mesh = HexMesh {
            nodes_mm: nodes.iter().map(|&n| self.nodes_mm[n as usize]).collect(),
            elements: connectivity,
        };
        if lattice.is_none() {
            for element in 0..mesh.elements.len() {
                let quality = mesh.scaled_jacobian(element);
                if quality.is_nan() || quality <= 1e-9 {
                    return Err(self.error(
                        hexahedra.at[element],
                        format!(
                            "element {} is flat or turned inside out (scaled Jacobian {quality:.3})",
                            hexahedra.labels[element]
                        ),
                    ));
                }
            }
        }
        Ok(Numbering {
            node_labels: nodes
                .iter()
                .map(|&n| self.node_labels[n as usize])
                .collect(),
            element_labels: elements
                .iter()
                .map(|&e| hexahedra.labels[e as usize])
                .collect(),
            element_at: elements.iter().map(|&e| hexahedra.at[e as usize]).collect(),
            mesh,
            lattice,
            numbers,
        })
    }

    /// Nodes that belong to elements, in deck order, and the elements in their new numbers.
    fn attached(&self) -> (Vec<u32>, Vec<[u32; 8]>) {
        let mut numbers = vec![u32::MAX; self.nodes_mm.len()];
        for &node in self.hexahedra.nodes.iter().flatten() {
            numbers[node as usize] = 0;
        }
        let mut nodes = Vec::new();
        for (node, number) in numbers.iter_mut().enumerate() {
            if *number == 0 {
                *number = nodes.len() as u32;
                nodes.push(node as u32);
            }
        }
        let elements = self
            .hexahedra
            .nodes
            .iter()
            .map(|element| element.map(|node| numbers[node as usize]))
            .collect();
        (nodes, elements)
    }

    /// Adds the hardening curve of a material and returns its number.
    fn curve(&self, material: &Material, curves: &mut Vec<HardeningCurve>) -> Result<u32> {
        if material.plastic.is_empty() {
            return Ok(Materials::ELASTIC);
        }
        let curve = HardeningCurve::new(material.plastic.clone())
            .map_err(|reason| self.error(material.plastic_at, reason))?;
        curves.push(curve);
        Ok(curves.len() as u32 - 1)
    }

    fn materials(&self, numbering: &Numbering) -> Result<Materials> {
        let place: HashMap<u32, usize> = numbering
            .element_labels
            .iter()
            .enumerate()
            .map(|(element, &label)| (label, element))
            .collect();
        let count = numbering.element_labels.len();
        let mut materials = Materials {
            youngs_modulus_mpa: vec![0.0; count],
            poissons_ratio: vec![0.0; count],
            curve: vec![Materials::ELASTIC; count],
            curves: Vec::new(),
        };
        let mut assigned: Vec<Option<At>> = vec![None; count];
        let mut curves: HashMap<&str, u32> = HashMap::new();
        for section in &self.sections {
            let material = self
                .materials
                .iter()
                .find(|m| m.name == section.material)
                .ok_or_else(|| {
                    self.error(
                        section.at,
                        format!("material {} is not defined", section.material),
                    )
                })?;
            let [modulus, ratio] = material.elastic.ok_or_else(|| {
                self.error(
                    material.at,
                    format!("material {} has no *ELASTIC", material.name),
                )
            })?;
            let members = self.element_sets.get(&section.element_set);
            let members: Vec<usize> = members
                .into_iter()
                .flatten()
                .filter_map(|label| place.get(label).copied())
                .collect();
            let curve = match (members.is_empty(), curves.get(material.name.as_str())) {
                (true, _) => Materials::ELASTIC,
                (false, Some(&known)) => known,
                (false, None) => self.curve(material, &mut materials.curves)?,
            };
            if curve != Materials::ELASTIC {
                curves.insert(&material.name, curve);
            }
            for element in members {
                if let Some(earlier) = assigned[element].replace(section.at) {
                    return Err(self.error(
                        section.at,
                        format!(
                            "element {} has a *SOLID SECTION already, at line {}",
                            numbering.element_labels[element], earlier.line
                        ),
                    ));
                }
                materials.youngs_modulus_mpa[element] = modulus;
                materials.poissons_ratio[element] = ratio;
                materials.curve[element] = curve;
            }
        }
        match assigned.iter().position(Option::is_none) {
            None => Ok(materials),
            Some(element) => Err(self.error(
                numbering.element_at[element],
                format!(
                    "element {} has no material: no *SOLID SECTION names a set it is in",
                    numbering.element_labels[element]
                ),
            )),
        }
    }
}

/// The mesh in the numbers of the solver.
pub(super) struct Numbering {
    mesh: HexMesh,
    lattice: Option<meshing::Lattice>,
    /// New number of each node of the deck; `None` for one without elements.
    pub(super) numbers: Vec<Option<u32>>,
    pub(super) node_labels: Vec<u32>,
    element_labels: Vec<u32>,
    element_at: Vec<At>,
}
