//! Elements of any shape: their forces and the assembled tangent.
//!
//! Elements are sorted along a space-filling curve and worked on in blocks; blocks of one colour share no node, so that
//! they run in parallel and every node and matrix entry still receives its contributions in one fixed order.

use std::cell::OnceCell;

use rayon::prelude::*;

use super::elements::{ElementResponse, ElementTangent, HexContext, LocalVector, gather, multiply};
use super::{Assembled, ElementFields, ElementState, Evaluation, Tangent, Want, yielding_elements};
use crate::element::hex8::{corners_from_vtk, elasticity_matrix};
use crate::element::tetrahedron::{EDGES, PointTangent, stiffness};
use crate::element::{HexElement, TetrahedronPoint, TetrahedronRule};
use crate::error::{Error, Result};
use crate::linear::{Block3, BlockPattern, Corners, add_split};
use crate::material::j2::{self, Moduli, PlasticState};
use crate::model::{MaterialModel, Model, SolidMesh};
use crate::operator::{InstructionSet, SharedVector, for_each_set};

/// Elements that a block holds at most.
const BLOCK_ELEMENTS: usize = 32;

/// Elements of one kind and their states.
pub(crate) struct GeneralBody {
    rule: Rule,
    /// Nodes of each element, one after the other (hexahedra by corner bits).
    connectivity: Vec<u32>,
    /// Elements of each block.
    blocks: Vec<Vec<u32>>,
    /// Blocks by colour.
    colours: Vec<Vec<u32>>,
    pub(crate) pattern: BlockPattern,
    /// Place of every block of an element's matrix within its block row, element by element.
    offsets: Vec<u16>,
    /// The corners, where the elements are 10-node tetrahedra.
    pub(crate) corners: Option<Corners>,
    /// Per unknown (component first): whether it is held.
    held: Vec<bool>,
    instructions: InstructionSet,
    /// Number in `states` of each element; `u32::MAX` = elastic.
    state_of: Vec<u32>,
    states: States,
}

/// How an element is integrated.
enum Rule {
    Hex8,
    Tet4(Box<TetrahedronRule<4, 1>>),
    Tet10(Box<TetrahedronRule<10, 4>>),
}

/// Committed states of the elements that can yield.
enum States {
    Hexahedra(Vec<ElementState>),
    /// One per integration point, `points` of them per element.
    Points {
        points: usize,
        states: Vec<PlasticState>,
    },
}

impl GeneralBody {
    pub(super) fn new(model: &Model, constrained: &[u32]) -> Result<Self> {
        let nodes = model.mesh.nodes_mm().len();
        if let Some(element) = model.mesh.first_inverted() {
            return Err(Error::Singular(format!(
                "element {element} is flat or inverted (its Jacobian is not positive)"
            )));
        }
        let secant = matches!(
            model.material_model,
            MaterialModel::Secant | MaterialModel::SecantExplicit
        );
        let (state_of, count) = yielding_elements(model);
        let points = |points: usize| States::Points {
            points,
            states: vec![PlasticState::default(); points * count],
        };
        let (rule, per_element, states) = match &model.mesh {
            SolidMesh::Tet4(_) | SolidMesh::Tet10(_) if secant => {
                return Err(Error::Model(
                    "the secant model is defined for hexahedra only".into(),
                ));
            }
            SolidMesh::Tet4(_) => (
                Rule::Tet4(Box::new(TetrahedronRule::linear())),
                4,
                points(1),
            ),
            SolidMesh::Tet10(_) => (
                Rule::Tet10(Box::new(TetrahedronRule::quadratic())),
                10,
                points(4),
            ),
            SolidMesh::Hex8(_) | SolidMesh::Voxels { .. } => (
                Rule::Hex8,
                8,
                States::Hexahedra(vec![ElementState::default(); count]),
            ),
        };
        let mut connectivity = Vec::with_capacity(per_element * model.mesh.element_count());
        for element in 0..model.mesh.element_count() {
            match <[u32; 8]>::try_from(model.mesh.element(element)) {
                Ok(hexahedron) => connectivity.extend(corners_from_vtk(hexahedron)),
                Err(_) => connectivity.extend(model.mesh.element(element)),
            }
        }
        let (blocks, colours) = coloured_blocks(model.mesh.nodes_mm(), per_element, &connectivity);
        let corners = match &model.mesh {
            SolidMesh::Tet10(mesh) => Some(corners_of(&mesh.nodes_mm, &mesh.elements)?),
            _ => None,
        };
        let mut held = vec![false; 3 * nodes];
        for &dof in constrained {
            held[dof as usize] = true;
        }
        let pattern = BlockPattern::of_elements(nodes, per_element, &connectivity);
        Ok(Self {
            rule,
            blocks,
            colours,
            offsets: offsets(&pattern, per_element, &connectivity)?,
            pattern,
            connectivity,
            corners,
            held,
            instructions: InstructionSet::detect(),
            state_of,
            states,
        })
    }

    pub(super) fn evaluate(
        &self,
        model: &Model,
        u: &[f64],
        committed: &[f64],
        want: Want,
    ) -> Evaluation {
        let mut force = vec![0.0; u.len()];
        let loaded = Loaded {
            body: self,
            model,
            u,
            committed,
            want: Want::Forces,
        };
        let (phases, failed) = loaded.add(&mut force, &mut Assembled::default());
        let u = match want {
            Want::Forces => Vec::new(),
            Want::Tangent { .. } => u.to_vec(),
        };
        Evaluation {
            force,
            tangent: Tangent::Unassembled { u, want },
            phases,
            failed,
        }
    }

    /// Assembles the tangent at `u`, in the place of another.
    pub(crate) fn assemble(
        &self,
        model: &Model,
        u: &[f64],
        committed: &[f64],
        want: Want,
        into: &mut Assembled,
    ) {
        into.matrix.set_to_zero(&self.pattern);
        let corners = self.corners.as_ref();
        let blocks = corners.map_or(0, |mesh| mesh.pattern.columns.len());
        into.corners.clear();
        into.corners.resize(blocks, [[0.0; 3]; 3]);
        let loaded = Loaded {
            body: self,
            model,
            u,
            committed,
            want,
        };
        loaded.add(&mut [], into);
    }

    /// Takes over the states that `u` gives.
    pub(super) fn commit(&mut self, model: &Model, u: &[f64], committed: &[f64]) {
        let loaded = Loaded {
            body: self,
            model,
            u,
            committed,
            want: Want::Forces,
        };
        let new: Vec<(u32, NewState)> = self
            .blocks
            .par_iter()
            .flat_map_iter(|block| new_states(self.instructions, &loaded, block))
            .collect();
        for (number, state) in new {
            match (&mut self.states, state) {
                (States::Hexahedra(states), NewState::Hexahedron(state)) => {
                    states[number as usize] = *state;
                }
                (States::Points { points, states }, NewState::Points(new)) => {
                    let at = *points * number as usize;
                    states[at..at + *points].copy_from_slice(&new[..*points]);
                }
                _ => {}
            }
        }
    }

    /// Shape and state of a hexahedron in the form of a lattice element, for its fields.
    pub(super) fn hexahedron(
        &self,
        model: &Model,
        element: usize,
    ) -> Option<(HexElement, [u32; 8], Option<&ElementState>)> {
        let States::Hexahedra(states) = &self.states else {
            return None;
        };
        let corners = hexahedron_nodes(&self.connectivity, element);
        let shape = hexahedron_shape(model, element)?;
        let state = states.get(self.state_of[element] as usize);
        Some((shape, corners, state))
    }

    /// Volume-averaged fields of a tetrahedron.
    pub(super) fn tetrahedron_fields(
        &self,
        model: &Model,
        element: usize,
        u: &[f64],
    ) -> Option<ElementFields> {
        match &self.rule {
            Rule::Hex8 => None,
            Rule::Tet4(rule) => self.point_fields(rule, model, element, u),
            Rule::Tet10(rule) => self.point_fields(rule, model, element, u),
        }
    }

    fn point_fields<const N: usize, const P: usize>(
        &self,
        rule: &TetrahedronRule<N, P>,
        model: &Model,
        element: usize,
        u: &[f64],
    ) -> Option<ElementFields> {
        let nodes = &self.connectivity[N * element..N * (element + 1)];
        let points = rule.points(&positions(model, nodes))?;
        let local = displacements::<N>(nodes, u);
        let modulus = model.materials.youngs_modulus_mpa[element];
        let d = elasticity_matrix(modulus, model.materials.poissons_ratio[element]);
        let states = self.point_states::<P>(element).unwrap_or_default();
        let volume: f64 = points.iter().map(|point| point.weight).sum();
        let mut fields = ElementFields {
            strain: [0.0; 6],
            stress_mpa: [0.0; 6],
            von_mises_mpa: 0.0,
            equivalent_plastic_strain: 0.0,
            secant_modulus_mpa: modulus,
            strain_energy_density_mpa: 0.0,
        };
        for (number, point) in points.iter().enumerate() {
            let share = point.weight / volume;
            let strain = point.strain(&local);
            let state = states.get(number).copied().unwrap_or_default();
            let elastic: [f64; 6] = std::array::from_fn(|i| strain[i] - state.plastic_strain[i]);
            for i in 0..6 {
                let stress: f64 = (0..6).map(|j| d[i][j] * elastic[j]).sum();
                fields.strain[i] += share * strain[i];
                fields.stress_mpa[i] += share * stress;
                fields.strain_energy_density_mpa += 0.5 * share * stress * elastic[i];
            }
            fields.equivalent_plastic_strain += share * state.equivalent;
        }
        fields.von_mises_mpa = j2::von_mises(&fields.stress_mpa);
        Some(fields)
    }

    /// States of the integration points of a tetrahedron that can yield.
    #[inline(always)]
    fn point_states<const P: usize>(&self, element: usize) -> Option<&[PlasticState]> {
        match (&self.states, self.state_of[element]) {
            (_, u32::MAX) | (States::Hexahedra(_), _) => None,
            (States::Points { states, .. }, number) => {
                let at = P * number as usize;
                Some(&states[at..at + P])
            }
        }
    }
}

/// State of an element after a converged increment.
enum NewState {
    Hexahedron(Box<ElementState>),
    Points(Box<[PlasticState; 4]>),
}

/// A body at a displacement.
struct Loaded<'a> {
    body: &'a GeneralBody,
    model: &'a Model,
    u: &'a [f64],
    committed: &'a [f64],
    want: Want,
}

/// What the elements add to.
struct Sums<'a> {
    force: SharedVector<'a, f64>,
    high: SharedVector<'a, Block3>,
    low: SharedVector<'a, Block3>,
    corners: SharedVector<'a, Block3>,
}

for_each_set! {
    /// Adds the elements of a block; phases, and whether an element's own iteration failed.
    fn evaluate_block<>(loaded: &Loaded, block: &[u32], sums: &Sums) -> ([usize; 4], bool)
        = loaded.block(block, sums)
}

for_each_set! {
    /// The states that the displacement gives the elements of a block, with their numbers.
    fn new_states<>(loaded: &Loaded, block: &[u32]) -> Vec<(u32, NewState)>
        = block
            .iter()
            .filter(|&&element| loaded.body.state_of[element as usize] != u32::MAX)
            .filter_map(|&element| {
                let state = loaded.new_state(element as usize)?;
                Some((loaded.body.state_of[element as usize], state))
            })
            .collect()
}

#[inline(always)]
fn positions<const N: usize>(model: &Model, nodes: &[u32]) -> [[f64; 3]; N] {
    let all = model.mesh.nodes_mm();
    let mut positions = [[0.0; 3]; N];
    for node in 0..N {
        positions[node] = all[nodes[node] as usize];
    }
    positions
}

#[inline(always)]
fn displacements<const N: usize>(nodes: &[u32], u: &[f64]) -> [[f64; N]; 3] {
    let count = u.len() / 3;
    let mut local = [[0.0; N]; 3];
    for component in 0..3 {
        for node in 0..N {
            local[component][node] = u[component * count + nodes[node] as usize];
        }
    }
    local
}

#[inline(always)]
fn hexahedron_nodes(connectivity: &[u32], element: usize) -> [u32; 8] {
    let mut corners = [0; 8];
    corners.copy_from_slice(&connectivity[8 * element..8 * (element + 1)]);
    corners
}

fn hexahedron_shape(model: &Model, element: usize) -> Option<HexElement> {
    HexElement::new(
        positions::<8>(model, model.mesh.element(element)),
        model.formulation,
    )
    .ok()
}

/// Stress and what the tangent needs at the points of a tetrahedron.
type PointUpdates<const P: usize> = [j2::J2Update; P];

impl Loaded<'_> {
    /// Adds the forces of all elements, or their tangents where these are wanted; phases, and whether an element's own iteration
    /// failed.
    fn add(&self, force: &mut [f64], tangent: &mut Assembled) -> ([usize; 4], bool) {
        let sums = Sums {
            force: SharedVector::new(force),
            high: SharedVector::new(&mut tangent.matrix.high),
            low: SharedVector::new(&mut tangent.matrix.low),
            corners: SharedVector::new(&mut tangent.corners),
        };
        let body = self.body;
        let (mut phases, mut failed) = ([0; 4], false);
        for colour in &body.colours {
            let counts: Vec<([usize; 4], bool)> = colour
                .par_iter()
                .map(|&block| {
                    evaluate_block(body.instructions, self, &body.blocks[block as usize], &sums)
                })
                .collect();
            for (block_phases, block_failed) in counts {
                for phase in 0..4 {
                    phases[phase] += block_phases[phase];
                }
                failed |= block_failed;
            }
        }
        (phases, failed)
    }

    #[inline(always)]
    fn block(&self, block: &[u32], sums: &Sums) -> ([usize; 4], bool) {
        let mut phases = [0; 4];
        let mut any_failed = false;
        for &element in block {
            let element = element as usize;
            let (phase, failed) = match &self.body.rule {
                Rule::Hex8 => self.hexahedron(element, sums),
                Rule::Tet4(rule) => (self.tetrahedron(rule, element, sums), false),
                Rule::Tet10(rule) => (self.tetrahedron(rule, element, sums), false),
            };
            phases[phase.min(3)] += 1;
            any_failed |= failed;
        }
        (phases, any_failed)
    }

    /// Stress at the points of a tetrahedron.
    #[inline(always)]
    fn updates<const N: usize, const P: usize>(
        &self,
        points: &[TetrahedronPoint<N>; P],
        element: usize,
    ) -> PointUpdates<P> {
        let nodes = &self.body.connectivity[N * element..N * (element + 1)];
        let local = displacements::<N>(nodes, self.u);
        let materials = &self.model.materials;
        let modulus = materials.youngs_modulus_mpa[element];
        let moduli = Moduli::new(modulus, materials.poissons_ratio[element]);
        let states = self.body.point_states::<P>(element);
        // A loop, not a closure: see `for_each_set`.
        let mut updates = [j2::elastic(&[0.0; 6], moduli); P];
        for number in 0..P {
            let strain = points[number].strain(&local);
            updates[number] = match states {
                Some(states) => j2::update(
                    &strain,
                    &states[number],
                    moduli,
                    &materials.curves[materials.curve[element] as usize],
                ),
                None => j2::elastic(&strain, moduli),
            };
        }
        updates
    }

    /// Adds a tetrahedron; its phase.
    #[inline(always)]
    fn tetrahedron<const N: usize, const P: usize>(
        &self,
        rule: &TetrahedronRule<N, P>,
        element: usize,
        sums: &Sums,
    ) -> usize {
        let nodes = &self.body.connectivity[N * element..N * (element + 1)];
        let Some(points) = rule.points(&positions::<N>(self.model, nodes)) else {
            return 0;
        };
        let materials = &self.model.materials;
        if let Want::Tangent { lowest_slope } = self.want {
            self.fetch(element, nodes, sums);
            let updates = self.updates(&points, element);
            let modulus = materials.youngs_modulus_mpa[element];
            let moduli = Moduli::new(modulus, materials.poissons_ratio[element]);
            let tangents = std::array::from_fn(|number| {
                PointTangent::of(
                    updates[number].flow.as_ref(),
                    moduli,
                    lowest_slope * modulus,
                )
            });
            let matrix = stiffness(&points, &tangents);
            self.add_matrix(element, nodes, |i, a, j, b| matrix[i][a][j][b], sums);
            if N == 10 {
                self.add_corners(nodes, &matrix, sums);
            }
            return 0;
        }
        let updates = self.updates(&points, element);
        let mut force = [[0.0; N]; 3];
        let mut phase = 0;
        for (point, update) in points.iter().zip(&updates) {
            point.add_forces(&update.stress, &mut force);
            if update.state.equivalent > 0.0 {
                let curve = &materials.curves[materials.curve[element] as usize];
                phase = phase.max(1 + curve.segment(update.state.equivalent));
            }
        }
        self.add_force(nodes, |component, node| force[component][node], sums);
        phase
    }

    /// Asks for the blocks of a matrix that an element adds to: they come from memory while its own matrix is computed.
    #[inline(always)]
    fn fetch(&self, element: usize, nodes: &[u32], sums: &Sums) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let (high, low) = (sums.high.start(), sums.low.start());
            let count = nodes.len();
            let offsets =
                &self.body.offsets[count * count * element..count * count * (element + 1)];
            for (&row, offsets) in nodes.iter().zip(offsets.chunks_exact(count)) {
                let start = self.body.pattern.start[row as usize];
                for &offset in offsets {
                    let place = start + usize::from(offset);
                    // SAFETY: an address that is only asked for need not be valid.
                    unsafe {
                        _mm_prefetch::<_MM_HINT_T0>(high.wrapping_add(place).cast::<i8>());
                        _mm_prefetch::<_MM_HINT_T0>(low.wrapping_add(place).cast::<i8>());
                    }
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (element, nodes, sums);
    }

    /// What a hexahedron does.
    fn hexahedron_response(
        &self,
        element: usize,
        shape: &HexElement,
        local: &LocalVector,
        keep_state: bool,
    ) -> ElementResponse {
        let Self {
            body, model, want, ..
        } = self;
        let modulus = model.materials.youngs_modulus_mpa[element];
        let state = match (&body.states, body.state_of[element]) {
            (_, u32::MAX) | (States::Points { .. }, _) => {
                return ElementResponse::linear(modulus);
            }
            (States::Hexahedra(states), number) => &states[number as usize],
        };
        let context = HexContext {
            shape,
            modulus,
            ratio: model.materials.poissons_ratio[element],
            curve: &model.materials.curves[model.materials.curve[element] as usize],
            local,
        };
        if model.material_model == MaterialModel::J2 {
            let corners = hexahedron_nodes(&body.connectivity, element);
            let before = || gather(&corners, self.committed);
            context.j2(before, state, *want, keep_state)
        } else {
            let unit = shape.elastic_stiffness(1.0, context.ratio);
            context.secant(&unit, model.material_model, state, *want, keep_state)
        }
    }

    /// Adds a hexahedron; its phase, and whether its own iteration failed.
    fn hexahedron(&self, element: usize, sums: &Sums) -> (usize, bool) {
        let corners = hexahedron_nodes(&self.body.connectivity, element);
        let local = gather(&corners, self.u);
        let Some(shape) = hexahedron_shape(self.model, element) else {
            return (0, true);
        };
        let response = self.hexahedron_response(element, &shape, &local, false);
        let ratio = self.model.materials.poissons_ratio[element];
        let unit = OnceCell::new();
        let unit = || unit.get_or_init(|| shape.elastic_stiffness(1.0, ratio));
        if self.want == Want::Forces {
            let force = match response.force {
                Some(force) => force,
                None => multiply(unit(), &local, response.modulus),
            };
            self.add_force(
                &corners,
                |component, node| force[8 * component + node],
                sums,
            );
        } else {
            let (matrix, factor) = match &response.tangent {
                Some(ElementTangent::Matrix(matrix)) => (matrix, 1.0),
                _ => (unit(), response.modulus),
            };
            let entry = |i: usize, a: usize, j: usize, b: usize| {
                factor * matrix[24 * (8 * i + a) + 8 * j + b]
            };
            self.add_matrix(element, &corners, entry, sums);
        }
        (response.phase, response.failed)
    }

    /// The state that the displacement gives an element; `None` for one that stays virgin.
    fn new_state(&self, element: usize) -> Option<NewState> {
        match &self.body.rule {
            Rule::Hex8 => {
                let corners = hexahedron_nodes(&self.body.connectivity, element);
                let local = gather(&corners, self.u);
                let shape = hexahedron_shape(self.model, element)?;
                self.hexahedron_response(element, &shape, &local, true)
                    .state
                    .map(NewState::Hexahedron)
            }
            Rule::Tet4(rule) => self.new_points(rule, element),
            Rule::Tet10(rule) => self.new_points(rule, element),
        }
    }

    fn new_points<const N: usize, const P: usize>(
        &self,
        rule: &TetrahedronRule<N, P>,
        element: usize,
    ) -> Option<NewState> {
        let nodes = &self.body.connectivity[N * element..N * (element + 1)];
        let points = rule.points(&positions::<N>(self.model, nodes))?;
        let updates = self.updates(&points, element);
        updates.iter().any(|update| update.flow.is_some()).then(|| {
            NewState::Points(Box::new(std::array::from_fn(|p| {
                updates.get(p).map_or_else(Default::default, |u| u.state)
            })))
        })
    }

    #[inline(always)]
    fn add_force(&self, nodes: &[u32], value: impl Fn(usize, usize) -> f64, sums: &Sums) {
        let count = self.u.len() / 3;
        // SAFETY: blocks that run at the same time have no node in common (coloured_blocks).
        let force = unsafe { sums.force.slice() };
        for component in 0..3 {
            for (local, &node) in nodes.iter().enumerate() {
                force[component * count + node as usize] += value(component, local);
            }
        }
    }

    #[inline(always)]
    fn add_matrix(
        &self,
        element: usize,
        nodes: &[u32],
        entry: impl Fn(usize, usize, usize, usize) -> f64,
        sums: &Sums,
    ) {
        // SAFETY: a block row belongs to a node, and blocks that run at the same time have none in common.
        let (high, low) = unsafe { (sums.high.slice(), sums.low.slice()) };
        let count = nodes.len();
        let offsets = &self.body.offsets[count * count * element..count * count * (element + 1)];
        for (a, &row) in nodes.iter().enumerate() {
            let start = self.body.pattern.start[row as usize];
            for b in 0..count {
                let place = start + usize::from(offsets[count * a + b]);
                let mut block = [0.0; 9];
                for i in 0..3 {
                    for j in 0..3 {
                        block[3 * i + j] = entry(i, a, j, b);
                    }
                }
                add_split(&mut high[place], &mut low[place], &block);
            }
        }
    }

    /// Adds what a 10-node tetrahedron gives the matrix of the corners, held unknowns left out.
    #[inline(always)]
    fn add_corners<const N: usize>(
        &self,
        nodes: &[u32],
        matrix: &[[[[f64; N]; 3]; N]; 3],
        sums: &Sums,
    ) {
        let Some(mesh) = &self.body.corners else {
            return;
        };
        let count = self.u.len() / 3;
        // SAFETY: as in `add_matrix`.
        let blocks = unsafe { sums.corners.slice() };
        let mut free = [[1.0; N]; 3];
        for component in 0..3 {
            for node in 0..N {
                if self.body.held[component * count + nodes[node] as usize] {
                    free[component][node] = 0.0;
                }
            }
        }
        let mut small = [[[[0.0; 3]; 3]; 4]; 4];
        for i in 0..3 {
            for j in 0..3 {
                // Columns of the ten nodes summed to those of the four corners, by the symmetry of the matrix.
                let mut half = [[0.0; N]; 4];
                for b in 0..4 {
                    for a in 0..N {
                        half[b][a] = free[j][b] * matrix[j][b][i][a];
                    }
                }
                for (edge, [c, d]) in EDGES.into_iter().enumerate() {
                    let factor = 0.5 * free[j][4 + edge];
                    for a in 0..N {
                        let value = factor * matrix[j][4 + edge][i][a];
                        half[c][a] += value;
                        half[d][a] += value;
                    }
                }
                for b in 0..4 {
                    for a in 0..4 {
                        small[a][b][i][j] += free[i][a] * half[b][a];
                    }
                    for (edge, [c, d]) in EDGES.into_iter().enumerate() {
                        let value = 0.5 * free[i][4 + edge] * half[b][4 + edge];
                        small[c][b][i][j] += value;
                        small[d][b][i][j] += value;
                    }
                }
            }
        }
        for a in 0..4 {
            let row = mesh.parents[nodes[a] as usize][0];
            for b in 0..4 {
                let column = mesh.parents[nodes[b] as usize][0];
                let block = &mut blocks[mesh.pattern.place(row as usize, column)];
                for i in 0..3 {
                    for j in 0..3 {
                        block[i][j] += small[a][b][i][j] as f32;
                    }
                }
            }
        }
    }
}

/// Place of every block of an element's matrix within its block row.
fn offsets(pattern: &BlockPattern, per_element: usize, connectivity: &[u32]) -> Result<Vec<u16>> {
    let longest = pattern.start.windows(2).map(|row| row[1] - row[0]).max();
    if longest > Some(usize::from(u16::MAX)) {
        return Err(Error::Model("a node touches more than 65535 others".into()));
    }
    Ok(connectivity
        .par_chunks_exact(per_element)
        .flat_map_iter(|nodes| {
            nodes.iter().flat_map(move |&row| {
                let start = pattern.start[row as usize];
                nodes
                    .iter()
                    .map(move |&column| (pattern.place(row as usize, column) - start) as u16)
            })
        })
        .collect())
}

/// Sorts elements along a space-filling curve (Morton 1966) into blocks, and the blocks into colours.
fn coloured_blocks(
    nodes_mm: &[[f64; 3]],
    per_element: usize,
    connectivity: &[u32],
) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for p in nodes_mm {
        for axis in 0..3 {
            low[axis] = low[axis].min(p[axis]);
            high[axis] = high[axis].max(p[axis]);
        }
    }
    let extent = (0..3)
        .map(|axis| high[axis] - low[axis])
        .fold(f64::MIN_POSITIVE, f64::max);
    let code = |nodes: &[u32]| {
        let mut code = 0u64;
        for axis in 0..3 {
            let middle = nodes
                .iter()
                .map(|&node| nodes_mm[node as usize][axis])
                .sum::<f64>()
                / nodes.len() as f64;
            let cell = ((middle - low[axis]) / extent * 1023.0) as u64;
            for bit in 0..10 {
                code |= (cell >> bit & 1) << (3 * bit + axis);
            }
        }
        code
    };
    let mut order: Vec<(u64, u32)> = connectivity
        .chunks_exact(per_element)
        .enumerate()
        .map(|(element, nodes)| (code(nodes), element as u32))
        .collect();
    order.sort_unstable();
    let blocks: Vec<Vec<u32>> = order
        .chunks(BLOCK_ELEMENTS)
        .map(|chunk| chunk.iter().map(|entry| entry.1).collect())
        .collect();
    // Colours already at each node, as bits.
    let mut taken = vec![0u128; nodes_mm.len()];
    let mut colours: Vec<Vec<u32>> = Vec::new();
    let mut alone = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        let nodes = || {
            block.iter().flat_map(|&element| {
                let at = per_element * element as usize;
                &connectivity[at..at + per_element]
            })
        };
        let others = nodes().fold(0, |bits, &node| bits | taken[node as usize]);
        let colour = others.trailing_ones() as usize;
        if colour == 128 {
            alone.push(vec![number as u32]);
            continue;
        }
        for &node in nodes() {
            taken[node as usize] |= 1 << colour;
        }
        if colour == colours.len() {
            colours.push(Vec::new());
        }
        colours[colour].push(number as u32);
    }
    colours.extend(alone);
    (blocks, colours)
}

/// The corners of 10-node tetrahedra as a mesh of their own.
fn corners_of(nodes_mm: &[[f64; 3]], elements: &[[u32; 10]]) -> Result<Corners> {
    const NONE: u32 = u32::MAX;
    let mut number = vec![NONE; nodes_mm.len()];
    for element in elements {
        for &node in &element[..4] {
            number[node as usize] = 0;
        }
    }
    let mut corner_nodes_mm = Vec::new();
    for (node, number) in number.iter_mut().enumerate() {
        if *number == 0 {
            *number = corner_nodes_mm.len() as u32;
            corner_nodes_mm.push(nodes_mm[node]);
        }
    }
    let mut parents: Vec<[u32; 2]> = number.iter().map(|&n| [n, n]).collect();
    for (place, element) in elements.iter().enumerate() {
        for (edge, [a, b]) in EDGES.into_iter().enumerate() {
            let middle = element[4 + edge] as usize;
            let mut ends = [a, b].map(|corner| number[element[corner] as usize]);
            ends.sort_unstable();
            if number[middle] != NONE || (parents[middle][0] != NONE && parents[middle] != ends) {
                return Err(Error::Model(format!(
                    "node {middle} is the middle of an edge of element {place} and something else in another element"
                )));
            }
            parents[middle] = ends;
        }
    }
    if let Some(node) = parents.iter().position(|p| p[0] == NONE) {
        return Err(Error::Model(format!("node {node} belongs to no element")));
    }
    let connectivity: Vec<u32> = elements
        .iter()
        .flat_map(|element| element[..4].iter().map(|&node| number[node as usize]))
        .collect();
    Ok(Corners {
        pattern: BlockPattern::of_elements(corner_nodes_mm.len(), 4, &connectivity),
        nodes_mm: corner_nodes_mm,
        parents,
    })
}
