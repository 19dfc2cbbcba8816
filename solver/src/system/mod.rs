//! Internal forces, tangents and states of a body, element by element.

mod elements;
mod fields;

use rayon::prelude::*;

use crate::element::HexElement;
use crate::element::hex8::ElementMatrix;
use crate::error::{Error, Result};
use crate::linear::Hierarchy;
use crate::load_case::LoadCase;
use crate::material::j2::{Moduli, PlasticState};
use crate::model::{Formulation, MaterialModel, Materials, Model};
use crate::operator::{
    Block, DenseElements, FlowElements, FlowShape, FlowTangent, HadamardTable, InstructionSet, Topology,
};

use elements::multiply;
pub use fields::ElementFields;

/// Displacements of one element, component first.
type LocalVector = [f64; 24];

/// How element shapes are kept.
enum Shapes {
    /// Equal boxes.
    Uniform(Box<HexElement>),
    /// One per element.
    Each(Vec<HexElement>),
}

/// Committed state of an element that can yield.
#[derive(Clone, Debug, Default)]
struct ElementState {
    points: [PlasticState; 8],
    /// Amplitudes of the incompatible modes.
    modes: [f64; 9],
    /// Largest equivalent strain so far at the element centre (secant model).
    largest_strain: f64,
}

/// A body with its state, ready to be deformed.
pub(crate) struct System<'a> {
    pub(crate) model: &'a Model,
    pub(crate) topology: Topology,
    pub(crate) tables: Vec<HadamardTable>,
    pub(crate) hierarchy: Option<Hierarchy>,
    /// Constrained unknowns (component first), ascending, and their displacements at load factor 1.
    pub(crate) constrained: Vec<u32>,
    pub(crate) prescribed_mm: Vec<f64>,
    /// External forces at load factor 1.
    pub(crate) forces: Vec<f64>,
    pub(crate) instructions: InstructionSet,
    /// How flowing elements are applied at their Gauss points; `None` where they need a matrix.
    pub(crate) flow_shape: Option<FlowShape>,
    shapes: Shapes,
    /// Number in `states` of each element; `u32::MAX` = elastic.
    state_of: Vec<u32>,
    states: Vec<ElementState>,
    /// Committed displacements.
    pub(crate) committed: Vec<f64>,
}

/// Internal forces at a displacement and, if asked for, the tangent there.
pub(crate) struct Evaluation {
    pub(crate) force: Vec<f64>,
    pub(crate) moduli: Vec<f64>,
    pub(crate) flow: Vec<FlowElements>,
    pub(crate) dense: Vec<DenseElements>,
    /// Matrices of all elements in double precision, for meshes that are no lattice.
    pub(crate) assembled: Vec<Box<ElementMatrix>>,
    pub(crate) phases: [usize; 4],
    /// An element's own iteration did not converge.
    pub(crate) failed: bool,
}

/// What an element does at a displacement.
struct ElementResponse {
    force: LocalVector,
    /// Tangent, when it differs from `modulus` times the unit matrix.
    tangent: Option<ElementTangent>,
    /// Young's or secant modulus.
    modulus: f64,
    /// 0 elastic, then the segment of the curve.
    phase: usize,
    state: Option<Box<ElementState>>,
    failed: bool,
}

/// The tangent of an element that is no elastic one.
enum ElementTangent {
    Flow(Box<FlowTangent>),
    Matrix(Box<ElementMatrix>),
}

/// What is wanted besides the forces.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Want {
    Forces,
    /// The tangent, with hardening slopes not below this fraction of Young's modulus.
    Tangent {
        lowest_slope: f64,
    },
}

impl Want {
    /// The consistent tangent.
    pub(crate) const TRUE_TANGENT: Self = Self::Tangent {
        lowest_slope: f64::NEG_INFINITY,
    };
    /// A tangent that is positive definite in softening too. The 1 % of Young's modulus is large enough for
    /// a well-conditioned matrix where a mechanism forms and small beside the elastic stiffness.
    pub(crate) const POSITIVE_TANGENT: Self = Self::Tangent { lowest_slope: 0.01 };
}

impl<'a> System<'a> {
    pub(crate) fn new(model: &'a Model, case: &LoadCase) -> Result<Self> {
        model.check()?;
        let nodes = model.mesh.nodes_mm.len();
        let (class, ratios) = classes(&model.materials.poissons_ratio)?;
        let position = |element: usize| {
            let nodes = model.mesh.elements[element];
            nodes.map(|node| model.mesh.nodes_mm[node as usize])
        };
        let (shapes, topology, tables, hierarchy);
        let mut flow_shape = None;
        if let Some(lattice) = &model.lattice {
            let shape = HexElement::new(
                meshing::mesh::HEX_CORNERS
                    .map(|c| std::array::from_fn(|a| c[a] as f64 * lattice.spacing_mm[a])),
                model.formulation,
            )?;
            tables = ratios
                .iter()
                .map(|&ratio| {
                    HadamardTable::new(shape.elastic_stiffness(1.0, ratio))
                        .ok_or_else(|| Error::Model("the lattice elements are no boxes".into()))
                })
                .collect::<Result<Vec<_>>>()?;
            let elements = model
                .mesh
                .elements
                .iter()
                .map(|&e| crate::element::hex8::corners_from_vtk(e))
                .collect();
            topology = Topology::lattice(nodes, elements, class, |element| {
                lattice.element_cells[element][2]
            });
            hierarchy = Some(Hierarchy::new(lattice));
            if !shape.modes && model.material_model == MaterialModel::J2 {
                let mean = model.formulation == Formulation::BBar;
                flow_shape = Some(FlowShape::new(lattice.spacing_mm, &shape, mean));
            }
            shapes = Shapes::Uniform(Box::new(shape));
        } else {
            let each = (0..model.mesh.elements.len())
                .map(|element| HexElement::new(position(element), model.formulation))
                .collect::<Result<Vec<_>>>()?;
            tables = Vec::new();
            topology = Topology::unordered(nodes, &model.mesh.elements, class);
            hierarchy = None;
            shapes = Shapes::Each(each);
        }
        let mut state_of = vec![u32::MAX; topology.elements.len()];
        let mut states = Vec::new();
        if model.material_model != MaterialModel::Linear {
            for (element, state) in state_of.iter_mut().enumerate() {
                if model.materials.curve[element] != Materials::ELASTIC {
                    *state = states.len() as u32;
                    states.push(ElementState::default());
                }
            }
        }
        check_uniqueness(model)?;
        let (constrained, prescribed_mm) = constraints(case, nodes)?;
        let mut forces = vec![0.0; 3 * nodes];
        for force in &case.forces {
            let dof = usize::from(force.component) * nodes + force.node as usize;
            if force.component > 2 || force.node as usize >= nodes {
                return Err(Error::Model(format!(
                    "a force acts on node {}, which does not exist",
                    force.node
                )));
            }
            forces[dof] += force.force_n;
        }
        Ok(Self {
            model,
            topology,
            tables,
            hierarchy,
            constrained,
            prescribed_mm,
            forces,
            instructions: InstructionSet::detect(),
            flow_shape,
            shapes,
            state_of,
            states,
            committed: vec![0.0; 3 * nodes],
        })
    }

    pub(crate) fn nodes(&self) -> usize {
        self.topology.nodes
    }

    #[inline(always)]
    fn shape(&self, element: usize) -> &HexElement {
        match &self.shapes {
            Shapes::Uniform(shape) => shape,
            Shapes::Each(shapes) => &shapes[element],
        }
    }

    /// Stiffness for Young's modulus 1 MPa.
    #[inline(always)]
    fn unit_matrix(&self, element: usize) -> std::borrow::Cow<'_, ElementMatrix> {
        match &self.shapes {
            Shapes::Uniform(_) => std::borrow::Cow::Borrowed(
                &self.tables[usize::from(self.topology.class[element])].matrix,
            ),
            Shapes::Each(shapes) => std::borrow::Cow::Owned(
                *shapes[element]
                    .elastic_stiffness(1.0, self.model.materials.poissons_ratio[element]),
            ),
        }
    }

    #[inline(always)]
    fn gather(&self, element: usize, u: &[f64]) -> LocalVector {
        let nodes = self.nodes();
        let corners = &self.topology.elements[element];
        std::array::from_fn(|local| u[local / 8 * nodes + corners[local % 8] as usize])
    }

    /// Internal forces at `u` and, if wanted, the tangent. Does not change any state.
    pub(crate) fn evaluate(&self, u: &[f64], want: Want) -> Evaluation {
        let elements = self.topology.elements.len();
        let mut evaluation = Evaluation {
            force: vec![0.0; u.len()],
            moduli: vec![0.0; elements],
            flow: vec![FlowElements::default(); self.topology.blocks.len()],
            dense: vec![DenseElements::default(); self.topology.blocks.len()],
            assembled: Vec::new(),
            phases: [0; 4],
            failed: false,
        };
        for colour in &self.topology.colours {
            let results: Vec<BlockResult> = colour
                .par_iter()
                .map(|&number| self.evaluate_block(&self.topology.blocks[number], u, want))
                .collect();
            for (&number, result) in colour.iter().zip(results) {
                let block = &self.topology.blocks[number];
                for (element, force) in block.elements.clone().zip(&result.forces) {
                    let corners = &self.topology.elements[element];
                    for local in 0..24 {
                        evaluation.force
                            [local / 8 * self.topology.nodes + corners[local % 8] as usize] +=
                            force[local];
                    }
                }
                evaluation.moduli[block.elements.clone()].copy_from_slice(&result.moduli);
                evaluation.flow[number] = result.flow;
                evaluation.dense[number] = result.dense;
                evaluation.assembled.extend(result.assembled);
                for phase in 0..4 {
                    evaluation.phases[phase] += result.phases[phase];
                }
                evaluation.failed |= result.failed;
            }
        }
        evaluation
    }

    fn evaluate_block(&self, block: &Block, u: &[f64], want: Want) -> BlockResult {
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found AVX2 and FMA on this machine, also where it found AVX-512.
            InstructionSet::Avx512 | InstructionSet::Avx2Fma => unsafe { self.evaluate_block_wide(block, u, want) },
            _ => self.evaluate_block_body(block, u, want),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn evaluate_block_wide(&self, block: &Block, u: &[f64], want: Want) -> BlockResult {
        self.evaluate_block_body(block, u, want)
    }

    #[inline(always)]
    fn evaluate_block_body(&self, block: &Block, u: &[f64], want: Want) -> BlockResult {
        let mut result = BlockResult {
            forces: Vec::with_capacity(block.elements.len()),
            moduli: Vec::with_capacity(block.elements.len()),
            flow: FlowElements::default(),
            dense: DenseElements::default(),
            assembled: Vec::new(),
            phases: [0; 4],
            failed: false,
        };
        let whole_matrices = matches!(self.shapes, Shapes::Each(_)) && want != Want::Forces;
        for element in block.elements.clone() {
            let response = self.element(element, u, want, false);
            result.phases[response.phase.min(3)] += 1;
            result.failed |= response.failed;
            result.forces.push(response.force);
            match response.tangent {
                Some(ElementTangent::Flow(tangent)) => {
                    result.flow.push(element as u32, &tangent);
                    result.moduli.push(0.0);
                }
                Some(ElementTangent::Matrix(matrix)) if !whole_matrices => {
                    result.dense.elements.push(element as u32);
                    let single = matrix.iter().map(|&value| value as f32);
                    result.dense.matrices.extend(single);
                    result.moduli.push(0.0);
                }
                tangent if whole_matrices => {
                    let matrix = match tangent {
                        Some(ElementTangent::Matrix(matrix)) => matrix,
                        _ => {
                            let unit = self.unit_matrix(element);
                            Box::new(std::array::from_fn(|i| response.modulus * unit[i]))
                        }
                    };
                    result.assembled.push(matrix);
                    result.moduli.push(0.0);
                }
                _ => result.moduli.push(response.modulus),
            }
        }
        result
    }

    /// Takes `u` as the new converged state.
    pub(crate) fn commit(&mut self, u: &[f64]) {
        let new: Vec<(u32, ElementState)> = (0..self.topology.elements.len())
            .into_par_iter()
            .filter(|&element| self.state_of[element] != u32::MAX)
            .filter_map(|element| {
                let state = self.element(element, u, Want::Forces, true).state?;
                Some((self.state_of[element], *state))
            })
            .collect();
        for (number, state) in new {
            self.states[number as usize] = state;
        }
        self.committed.copy_from_slice(u);
    }

    #[inline(always)]
    fn element(&self, element: usize, u: &[f64], want: Want, keep_state: bool) -> ElementResponse {
        let local = self.gather(element, u);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let state = self.state_of[element];
        if state == u32::MAX {
            let force = multiply(&self.unit_matrix(element), &local, modulus);
            return ElementResponse {
                force,
                tangent: None,
                modulus,
                phase: 0,
                state: None,
                failed: false,
            };
        }
        let state = &self.states[state as usize];
        let curve = &self.model.materials.curves[self.model.materials.curve[element] as usize];
        match self.model.material_model {
            MaterialModel::J2 => self.j2_element(element, &local, state, curve, want, keep_state),
            _ => self.secant_element(element, &local, state, curve, want, keep_state),
        }
    }
}

struct BlockResult {
    forces: Vec<LocalVector>,
    moduli: Vec<f64>,
    flow: FlowElements,
    dense: DenseElements,
    assembled: Vec<Box<ElementMatrix>>,
    phases: [usize; 4],
    failed: bool,
}

/// Numbers the distinct Poisson's ratios.
fn classes(ratios: &[f64]) -> Result<(Vec<u16>, Vec<f64>)> {
    let mut distinct: Vec<f64> = Vec::new();
    let mut class = Vec::with_capacity(ratios.len());
    for ratio in ratios {
        let found = distinct
            .iter()
            .position(|known| known == ratio)
            .unwrap_or_else(|| {
                distinct.push(*ratio);
                distinct.len() - 1
            });
        if found > 1000 {
            return Err(Error::Model(
                "more than 1000 different Poisson's ratios; group them".into(),
            ));
        }
        class.push(found as u16);
    }
    Ok((class, distinct))
}

/// The radial return has one solution only if `3 G + H > 0`.
fn check_uniqueness(model: &Model) -> Result<()> {
    if model.material_model != MaterialModel::J2 {
        return Ok(());
    }
    let m = &model.materials;
    for element in 0..m.curve.len() {
        if m.curve[element] != Materials::ELASTIC {
            let shear = Moduli::new(m.youngs_modulus_mpa[element], m.poissons_ratio[element]).shear;
            let fall = m.curves[m.curve[element] as usize].steepest_fall();
            if 3.0 * shear + fall <= 0.0 {
                let reason = format!(
                    "the curve falls by {} MPa, steeper than three shear moduli ({})",
                    -fall,
                    3.0 * shear
                );
                return Err(Error::Material { element, reason });
            }
        }
    }
    Ok(())
}

/// Constrained unknowns, ascending, with their displacements.
fn constraints(case: &LoadCase, nodes: usize) -> Result<(Vec<u32>, Vec<f64>)> {
    let mut list = Vec::with_capacity(case.prescribed.len());
    for p in &case.prescribed {
        if p.component > 2 || p.node as usize >= nodes {
            return Err(Error::Model(format!(
                "node {} component {} does not exist",
                p.node, p.component
            )));
        }
        if !p.displacement_mm.is_finite() {
            return Err(Error::Model(format!(
                "node {} is moved by {} mm",
                p.node, p.displacement_mm
            )));
        }
        list.push((
            u32::from(p.component) * nodes as u32 + p.node,
            p.displacement_mm,
        ));
    }
    list.sort_by_key(|entry| entry.0);
    for pair in list.windows(2) {
        if pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1 {
            let node = pair[0].0 as usize % nodes;
            return Err(Error::Model(format!(
                "node {node} is given two different displacements along one axis"
            )));
        }
    }
    list.dedup_by_key(|entry| entry.0);
    Ok(list.into_iter().unzip())
}

#[cfg(test)]
mod tests;
