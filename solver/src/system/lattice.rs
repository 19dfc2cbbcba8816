//! Equal boxes on a lattice, worked on without a matrix.

use meshing::{HexMesh, Lattice};
use rayon::prelude::*;

use super::elements::{
    ElementResponse, ElementTangent, HexContext, LocalVector, box_element, gather,
};
use super::{ElementState, Evaluation, LatticeTangent, Tangent, Want, yielding_elements};
use crate::element::hex8::corners_from_vtk;
use crate::element::{GaussBox, HexElement};
use crate::error::{Error, Result};
use crate::linear::Hierarchy;
use crate::material::j2::Moduli;
use crate::model::{Formulation, MaterialModel, Model};
use crate::operator::{
    Block, DenseElements, ElasticWork, FlowElements, FlowShape, HadamardTable, InstructionSet,
    LatticeOperator, SharedVector, Topology, apply_block, for_each_set,
};

/// Boxes of one size and their states.
pub(crate) struct LatticeBody {
    pub(crate) topology: Topology,
    pub(crate) tables: Vec<HadamardTable>,
    pub(crate) hierarchy: Option<Hierarchy>,
    pub(crate) instructions: InstructionSet,
    /// How flowing elements are applied at their Gauss points; `None` where they need a matrix.
    pub(crate) flow_shape: Option<FlowShape>,
    pub(super) shape: HexElement,
    /// Number in `states` of each element; `u32::MAX` = elastic.
    pub(super) state_of: Vec<u32>,
    pub(super) states: Vec<ElementState>,
    /// Whether each state is that of an element that has flowed. Those of the others need not be read.
    has_flowed: Vec<bool>,
}

impl LatticeBody {
    pub(super) fn new(model: &Model, mesh: &HexMesh, lattice: &Lattice) -> Result<Self> {
        let (class, ratios) = classes(&model.materials.poissons_ratio)?;
        let shape = HexElement::new(
            meshing::mesh::HEX_CORNERS
                .map(|c| std::array::from_fn(|a| c[a] as f64 * lattice.spacing_mm[a])),
            model.formulation,
        )?;
        let tables = ratios
            .iter()
            .map(|&ratio| {
                HadamardTable::new(shape.elastic_stiffness(1.0, ratio))
                    .ok_or_else(|| Error::Model("the lattice elements are no boxes".into()))
            })
            .collect::<Result<Vec<_>>>()?;
        let elements = mesh.elements.iter().map(|&e| corners_from_vtk(e)).collect();
        let topology = Topology::lattice(mesh.nodes_mm.len(), elements, class, |element| {
            lattice.element_cells[element][2]
        });
        let mut flow_shape = None;
        if !shape.modes && model.material_model == MaterialModel::J2 {
            let mean = model.formulation == Formulation::BBar;
            let gauss_box = GaussBox::new(lattice.spacing_mm, mean);
            flow_shape = Some(FlowShape::new(gauss_box, &shape));
        }
        let (state_of, count) = yielding_elements(model);
        Ok(Self {
            topology,
            tables,
            hierarchy: Some(Hierarchy::new(lattice)),
            instructions: InstructionSet::detect(),
            flow_shape,
            shape,
            state_of,
            states: vec![ElementState::default(); count],
            has_flowed: vec![false; count],
        })
    }

    /// The operator of a tangent; `constrained` are its held unknowns.
    pub(crate) fn operator<'o>(
        &'o self,
        tangent: &'o LatticeTangent,
        constrained: &'o [u32],
    ) -> LatticeOperator<'o> {
        LatticeOperator {
            topology: &self.topology,
            tables: &self.tables,
            moduli_single: tangent.moduli.iter().map(|&m| m as f32).collect(),
            moduli: &tangent.moduli,
            flow: &tangent.flow,
            flow_shape: self.flow_shape.as_ref(),
            dense: &tangent.dense,
            constrained,
            instructions: self.instructions,
        }
    }

    /// Internal forces at `u` and, if wanted, the tangent. Does not change any state.
    pub(super) fn evaluate(
        &self,
        model: &Model,
        u: &[f64],
        committed: &[f64],
        want: Want,
    ) -> Evaluation {
        let loaded = Loaded {
            body: self,
            model,
            u,
            committed,
        };
        let elements = self.topology.elements.len();
        let mut force = vec![0.0; u.len()];
        let mut tangent = LatticeTangent {
            moduli: vec![0.0; elements],
            flow: Vec::with_capacity(self.topology.blocks.len()),
            dense: Vec::with_capacity(self.topology.blocks.len()),
        };
        let mut phases = [0; 4];
        let mut failed = false;
        let mut results: Vec<BlockResult> = self
            .topology
            .blocks
            .par_iter()
            .map(|block| evaluate_block(self.instructions, &loaded, block, want))
            .collect();
        // What behaves as a linear element with some modulus is summed by the operator's own kernel.
        let mut linear = vec![0.0; elements];
        for (block, result) in self.topology.blocks.iter().zip(&results) {
            linear[block.elements.clone()].copy_from_slice(&result.linear);
        }
        let work = ElasticWork {
            nodes: self.topology.nodes,
            tables: &self.tables,
            moduli: &linear,
            sign: 1.0,
            x: u,
        };
        let shared = SharedVector::new(&mut force);
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
            tangent.moduli[block.elements.clone()].copy_from_slice(&result.moduli);
            tangent.flow.push(std::mem::take(&mut result.flow));
            tangent.dense.push(std::mem::take(&mut result.dense));
            for phase in 0..4 {
                phases[phase] += result.phases[phase];
            }
            failed |= result.failed;
        }
        Evaluation {
            force,
            tangent: Tangent::Lattice(tangent),
            phases,
            failed,
        }
    }

    /// Takes over the states that `u` gives.
    pub(super) fn commit(&mut self, model: &Model, u: &[f64], committed: &[f64]) {
        let loaded = Loaded {
            body: self,
            model,
            u,
            committed,
        };
        let new: Vec<Vec<(u32, Box<ElementState>)>> = self
            .topology
            .blocks
            .par_iter()
            .map(|block| new_states(self.instructions, &loaded, block))
            .collect();
        for (number, state) in new.into_iter().flatten() {
            let number = number as usize;
            self.has_flowed[number] = state.points.iter().any(|point| point.equivalent > 0.0);
            self.states[number] = *state;
        }
    }
}

/// A lattice at a displacement.
struct Loaded<'a> {
    body: &'a LatticeBody,
    model: &'a Model,
    u: &'a [f64],
    committed: &'a [f64],
}

impl Loaded<'_> {
    #[inline(always)]
    fn block(&self, block: &Block, want: Want) -> BlockResult {
        let count = block.elements.len();
        let mut result = BlockResult {
            forces: Vec::new(),
            linear: Vec::with_capacity(count),
            moduli: Vec::with_capacity(count),
            flow: FlowElements::default(),
            dense: DenseElements::default(),
            phases: [0; 4],
            failed: false,
        };
        for element in block.elements.clone() {
            let response = self.element(element, want, false);
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
                Some(ElementTangent::Matrix(matrix)) => {
                    result.dense.elements.push(element as u32);
                    let single = matrix.iter().map(|&value| value as f32);
                    result.dense.matrices.extend(single);
                    result.moduli.push(0.0);
                }
                None => result.moduli.push(response.modulus),
            }
        }
        result
    }

    #[inline(always)]
    fn element(&self, element: usize, want: Want, keep_state: bool) -> ElementResponse {
        let Self {
            body,
            model,
            u,
            committed,
        } = *self;
        let corners = &body.topology.elements[element];
        let local = gather(corners, u);
        let modulus = model.materials.youngs_modulus_mpa[element];
        let state = body.state_of[element];
        if state == u32::MAX {
            return ElementResponse::linear(modulus);
        }
        let has_flowed = body.has_flowed[state as usize];
        let state = &body.states[state as usize];
        let context = HexContext {
            shape: &body.shape,
            modulus,
            ratio: model.materials.poissons_ratio[element],
            curve: &model.materials.curves[model.materials.curve[element] as usize],
            local: &local,
        };
        if model.material_model != MaterialModel::J2 {
            let unit = &body.tables[usize::from(body.topology.class[element])].matrix;
            return context.secant(unit, model.material_model, state, want, keep_state);
        }
        let moduli = Moduli::new(modulus, context.ratio);
        match &body.flow_shape {
            Some(flow_shape) => box_element(
                &flow_shape.gauss_box,
                &local,
                has_flowed.then_some(&state.points),
                modulus,
                moduli,
                context.curve,
                want,
                keep_state,
            ),
            None => context.j2(|| gather(corners, committed), state, want, keep_state),
        }
    }
}

for_each_set! {
    /// What the elements of a block do at a displacement.
    fn evaluate_block<>(loaded: &Loaded, block: &Block, want: Want) -> BlockResult
        = loaded.block(block, want)
}

for_each_set! {
    /// The states that the displacement gives the elements of a block, with their numbers; what stays virgin is left out.
    fn new_states<>(loaded: &Loaded, block: &Block) -> Vec<(u32, Box<ElementState>)>
        = block
            .elements
            .clone()
            .filter(|&element| loaded.body.state_of[element] != u32::MAX)
            .filter_map(|element| {
                let state = loaded.element(element, Want::Forces, true).state?;
                Some((loaded.body.state_of[element], state))
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
