//! From a [`Deck`] to a model and its load steps.

use std::collections::HashMap;

use meshing::{HexMesh, Mesh};

use super::lattice::{self, Recognised};
use super::source::At;
use super::steps::{StepMaker, StepPlan};
use super::{Deck, ElementType, Elements, Material, Note};
use crate::error::{Error, Result};
use crate::material::HardeningCurve;
use crate::model::{Formulation, MaterialModel, Materials, Model, SolidMesh};

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
        let full = self.element_types.get(&ElementType::C3D8);
        let incompatible = self.element_types.get(&ElementType::C3D8I);
        match (options.formulation, full, incompatible) {
            (Some(formulation), _, _) => Ok(formulation),
            (None, _, None) => Ok(Formulation::Full),
            (None, None, Some(_)) => Ok(Formulation::Incompatible),
            (None, Some(&a), Some(&b)) => Err(self.error(
                a.max(b),
                "C3D8 and C3D8I in one deck are not supported; use one type, or override both by --element-formulation",
            )),
        }
    }

    /// Renumbers nodes and elements for the solver.
    fn numbering(&self) -> Result<Numbering> {
        let kinds = [
            (self.hexahedra.at.first(), "hexahedra"),
            (self.tetrahedra.at.first(), "4-node tetrahedra"),
            (self.quadratic_tetrahedra.at.first(), "10-node tetrahedra"),
        ];
        let mut found = kinds.iter().filter_map(|(at, name)| Some((*(*at)?, *name)));
        let Some(first) = found.next() else {
            return Err(self.error(At { file: 0, line: 1 }, "the deck has no element"));
        };
        if let Some(second) = found.next() {
            return Err(self.error(
                first.0.max(second.0),
                format!(
                    "{} and {} in one deck are not supported; use one kind of element",
                    first.1, second.1
                ),
            ));
        }
        if !self.tetrahedra.labels.is_empty() {
            return self.in_deck_order(&self.tetrahedra, SolidMesh::Tet4);
        }
        if !self.quadratic_tetrahedra.labels.is_empty() {
            return self.in_deck_order(&self.quadratic_tetrahedra, SolidMesh::Tet10);
        }
        let hexahedra = &self.hexahedra;
        let Some(Recognised {
            lattice,
            nodes,
            elements,
            connectivity,
        }) = lattice::recognise(&self.nodes_mm, &hexahedra.nodes)
        else {
            return self.in_deck_order(hexahedra, SolidMesh::Hex8);
        };
        let mesh = SolidMesh::Voxels {
            mesh: HexMesh {
                nodes_mm: nodes.iter().map(|&n| self.nodes_mm[n as usize]).collect(),
                elements: connectivity,
            },
            lattice,
        };
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
            numbers: self.new_numbers(&nodes),
        })
    }

    /// New number of each node of the deck from the nodes that are kept.
    fn new_numbers(&self, nodes: &[u32]) -> Vec<Option<u32>> {
        let mut numbers = vec![None; self.nodes_mm.len()];
        for (number, &node) in nodes.iter().enumerate() {
            numbers[node as usize] = Some(number as u32);
        }
        numbers
    }

    /// Elements in deck order, and the nodes that belong to them in deck order.
    fn in_deck_order<const N: usize>(
        &self,
        elements: &Elements<N>,
        kind: impl Fn(Mesh<N>) -> SolidMesh,
    ) -> Result<Numbering> {
        let mut used = vec![false; self.nodes_mm.len()];
        for &node in elements.nodes.iter().flatten() {
            used[node as usize] = true;
        }
        let nodes: Vec<u32> = (0..used.len() as u32)
            .filter(|&node| used[node as usize])
            .collect();
        let numbers = self.new_numbers(&nodes);
        let new = |node: u32| numbers[node as usize].unwrap_or_default();
        let mesh = kind(Mesh {
            nodes_mm: nodes.iter().map(|&n| self.nodes_mm[n as usize]).collect(),
            elements: elements.nodes.iter().map(|e| e.map(new)).collect(),
        });
        if let Some(element) = mesh.first_inverted() {
            return Err(self.error(
                elements.at[element],
                format!(
                    "element {} is flat or turned inside out (its Jacobian is not positive)",
                    elements.labels[element]
                ),
            ));
        }
        Ok(Numbering {
            node_labels: nodes
                .iter()
                .map(|&n| self.node_labels[n as usize])
                .collect(),
            element_labels: elements.labels.clone(),
            element_at: elements.at.clone(),
            mesh,
            numbers,
        })
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
    mesh: SolidMesh,
    /// New number of each node of the deck; `None` for one without elements.
    pub(super) numbers: Vec<Option<u32>>,
    pub(super) node_labels: Vec<u32>,
    element_labels: Vec<u32>,
    element_at: Vec<At>,
}
