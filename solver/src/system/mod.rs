//! Internal forces, tangents and states of a body, element by element.

mod elements;
mod fields;

use rayon::prelude::*;

use crate::element::hex8::ElementMatrix;
use crate::element::{GaussBox, HexElement};
use crate::error::{Error, Result};
use crate::linear::Hierarchy;
use crate::load_case::LoadCase;
use crate::material::j2::{Moduli, PlasticState};
use crate::model::{Formulation, MaterialModel, Materials, Model, SolidMesh};
use crate::operator::{
    Block, DenseElements, ElasticWork, FlowElements, FlowShape, FlowTangent, HadamardTable,
    InstructionSet, SharedVector, Topology, apply_block, for_each_set,
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
    /// Its forces; `None` where they are those of a linear element with `modulus`.
    force: Option<LocalVector>,
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
        let nodes = model.mesh.nodes_mm().len();
        let (class, ratios) = classes(&model.materials.poissons_ratio)?;
        let (shapes, topology, tables, hierarchy);
        let mut flow_shape = None;
        let mesh = match &model.mesh {
            SolidMesh::Voxels { mesh, .. } | SolidMesh::Hex8(mesh) => mesh,
            _ => return Err(Error::Model("tetrahedra cannot be solved yet".into())),
        };
        let position =
            |element: usize| mesh.elements[element].map(|node| mesh.nodes_mm[node as usize]);
        if let Some(lattice) = model.mesh.lattice() {
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
            let elements = mesh
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
                let gauss_box = GaussBox::new(lattice.spacing_mm, mean);
                flow_shape = Some(FlowShape::new(gauss_box, &shape));
            }
            shapes = Shapes::Uniform(Box::new(shape));
        } else {
            let each = (0..mesh.elements.len())
                .map(|element| HexElement::new(position(element), model.formulation))
                .collect::<Result<Vec<_>>>()?;
            tables = Vec::new();
            topology = Topology::unordered(nodes, &mesh.elements, class);
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

    /// An element whose forces are those of a linear one.
    #[inline(always)]
    fn linear_response(
        &self,
        element: usize,
        local: &LocalVector,
        modulus: f64,
    ) -> ElementResponse {
        let force = match self.shapes {
            Shapes::Uniform(_) => None,
            Shapes::Each(_) => Some(multiply(&self.unit_matrix(element), local, modulus)),
        };
        ElementResponse {
            force,
            tangent: None,
            modulus,
            phase: 0,
            state: None,
            failed: false,
        }
    }

    #[inline(always)]
    fn gather(&self, element: usize, u: &[f64]) -> LocalVector {
        let nodes = self.nodes();
        let corners = &self.topology.elements[element];
        let mut local = [0.0; 24];
        for component in 0..3 {
            for corner in 0..8 {
                local[8 * component + corner] = u[component * nodes + corners[corner] as usize];
            }
        }
        local
    }

    /// Internal forces at `u` and, if wanted, the tangent. Does not change any state.
    pub(crate) fn evaluate(&self, u: &[f64], want: Want) -> Evaluation {
        let elements = self.topology.elements.len();
        let mut evaluation = Evaluation {
            force: vec![0.0; u.len()],
            moduli: vec![0.0; elements],
            flow: Vec::with_capacity(self.topology.blocks.len()),
            dense: Vec::with_capacity(self.topology.blocks.len()),
            assembled: Vec::new(),
            phases: [0; 4],
            failed: false,
        };
        let mut results: Vec<BlockResult> = self
            .topology
            .blocks
            .par_iter()
            .map(|block| evaluate_block(self.instructions, self, block, u, want))
            .collect();
        // What behaves as a linear element with some modulus is summed by the operator's own kernel.
        let mut linear = vec![0.0; elements];
        for (block, result) in self.topology.blocks.iter().zip(&results) {
            linear[block.elements.clone()].copy_from_slice(&result.linear);
        }
        let work = ElasticWork {
            nodes: self.nodes(),
            tables: &self.tables,
            moduli: &linear,
            sign: 1.0,
            x: u,
        };
        let shared = SharedVector::new(&mut evaluation.force);
        self.topology.for_each_block(|number, block| {
            // SAFETY: blocks that run at the same time have no node in common (Topology::new).
            let force = unsafe { shared.slice() };
            apply_block(self.instructions, &work, block, force);
            for (element, local) in &results[number].forces {
                let corners = &self.topology.elements[*element as usize];
                for i in 0..24 {
                    force[i / 8 * self.topology.nodes + corners[i % 8] as usize] += local[i];
                }
            }
        });
        for (block, result) in self.topology.blocks.iter().zip(&mut results) {
            evaluation.moduli[block.elements.clone()].copy_from_slice(&result.moduli);
            evaluation.flow.push(std::mem::take(&mut result.flow));
            evaluation.dense.push(std::mem::take(&mut result.dense));
            evaluation.assembled.append(&mut result.assembled);
            for phase in 0..4 {
                evaluation.phases[phase] += result.phases[phase];
            }
            evaluation.failed |= result.failed;
        }
        evaluation
    }

    #[inline(always)]
    fn evaluate_block_body(&self, block: &Block, u: &[f64], want: Want) -> BlockResult {
        let count = block.elements.len();
        let mut result = BlockResult {
            forces: Vec::new(),
            linear: Vec::with_capacity(count),
            moduli: Vec::with_capacity(count),
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
            match response.force {
                Some(force) => {
                    result.forces.push((element as u32, force));
                    result.linear.push(0.0);
                }
                None => result.linear.push(response.modulus),
            }
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
        let system = &*self;
        let new: Vec<Vec<(u32, Box<ElementState>)>> = system
            .topology
            .blocks
            .par_iter()
            .map(|block| new_states(system.instructions, system, block, u))
            .collect();
        for (number, state) in new.into_iter().flatten() {
            self.states[number as usize] = *state;
        }
        self.committed.copy_from_slice(u);
    }

    #[inline(always)]
    fn element(&self, element: usize, u: &[f64], want: Want, keep_state: bool) -> ElementResponse {
        let local = self.gather(element, u);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let state = self.state_of[element];
        if state == u32::MAX {
            return self.linear_response(element, &local, modulus);
        }
        let state = &self.states[state as usize];
        let curve = &self.model.materials.curves[self.model.materials.curve[element] as usize];
        match self.model.material_model {
            MaterialModel::J2 => self.j2_element(element, &local, state, curve, want, keep_state),
            _ => self.secant_element(element, &local, state, curve, want, keep_state),
        }
    }
}

for_each_set! {
    /// What the elements of a block do at a displacement.
    fn evaluate_block<>(system: &System, block: &Block, u: &[f64], want: Want) -> BlockResult
        = system.evaluate_block_body(block, u, want)
}

for_each_set! {
    /// The states that `u` gives the elements of a block, with their numbers; what stays virgin is left out.
    fn new_states<>(system: &System, block: &Block, u: &[f64]) -> Vec<(u32, Box<ElementState>)>
        = block
            .elements
            .clone()
            .filter(|&element| system.state_of[element] != u32::MAX)
            .filter_map(|element| {
                let state = system.element(element, u, Want::Forces, true).state?;
                Some((system.state_of[element], state))
            })
            .collect()
}

struct BlockResult {
    /// Forces of the elements that are not linear.
    forces: Vec<(u32, LocalVector)>,
    /// Modulus of each linear element, 0 for the others.
    linear: Vec<f64>,
    /// Modulus of each element whose tangent is that of a linear element, 0 for the others.
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
