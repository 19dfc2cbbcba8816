//! Internal forces, tangents and states of a body, element by element.

use nalgebra::{SMatrix, SVector};
use rayon::prelude::*;

use crate::element::HexElement;
use crate::element::hex8::{ElementMatrix, elasticity_matrix};
use crate::error::{Error, Result};
use crate::linear::Hierarchy;
use crate::load_case::LoadCase;
use crate::material::HardeningCurve;
use crate::material::j2::{self, Moduli, PlasticState};
use crate::model::{Formulation, MaterialModel, Materials, Model};
use crate::operator::{Block, DenseElements, HadamardTable, InstructionSet, Topology};

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
    tangent: Option<Box<ElementMatrix>>,
    /// Young's or secant modulus.
    modulus: f64,
    /// 0 elastic, then the segment of the curve.
    phase: usize,
    state: Option<Box<ElementState>>,
    failed: bool,
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
            // SAFETY: `detect` found AVX2 and FMA on this machine.
            InstructionSet::Avx2Fma => unsafe { self.evaluate_block_wide(block, u, want) },
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
            if whole_matrices {
                let matrix = response.tangent.unwrap_or_else(|| {
                    let unit = self.unit_matrix(element);
                    Box::new(std::array::from_fn(|i| response.modulus * unit[i]))
                });
                result.assembled.push(matrix);
                result.moduli.push(0.0);
            } else if let Some(matrix) = response.tangent {
                result.dense.elements.push(element as u32);
                result
                    .dense
                    .matrices
                    .extend(matrix.iter().map(|&value| value as f32));
                result.moduli.push(0.0);
            } else {
                result.moduli.push(response.modulus);
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

    #[inline(always)]
    fn j2_element(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        curve: &HardeningCurve,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let shape = self.shape(element);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let moduli = Moduli::new(modulus, self.model.materials.poissons_ratio[element]);
        if old.points.iter().all(|point| point.equivalent == 0.0)
            && let Shapes::Uniform(_) = &self.shapes
            && self.stays_elastic(local, moduli.shear, curve.stress(0.0))
        {
            let force = multiply(&self.unit_matrix(element), local, modulus);
            return ElementResponse {
                force,
                tangent: None,
                modulus,
                phase: 0,
                state: None,
                failed: false,
            };
        }
        let mut modes = old.modes;
        let mut failed = false;
        let mut updates: [j2::J2Update; 8];
        if shape.modes {
            (updates, modes, failed) = self.condensed_updates(element, local, old, moduli, curve);
        } else {
            updates = std::array::from_fn(|point| {
                let strain = strain_at(&shape.points[point].b, local);
                j2::update(&strain, &old.points[point], moduli, curve)
            });
        }
        let mut force = [0.0; 24];
        let mut phase = 0;
        let mut flows = false;
        for (point, update) in shape.points.iter().zip(&mut updates) {
            for row in 0..6 {
                let stress = point.weight * update.stress[row];
                for dof in 0..24 {
                    force[dof] += point.b[row][dof] * stress;
                }
            }
            flows |= update.flow.is_some();
            if update.state.equivalent > 0.0 {
                phase = phase.max(1 + curve.segment(update.state.equivalent));
            }
        }
        let tangent = match want {
            Want::Tangent { lowest_slope } if flows => {
                let tangents = std::array::from_fn(|point| {
                    j2::tangent(updates[point].flow.as_ref(), moduli, lowest_slope * modulus)
                });
                Some(shape.stiffness(&tangents).0)
            }
            _ => None,
        };
        let state = keep_state.then(|| {
            Box::new(ElementState {
                points: std::array::from_fn(|p| updates[p].state),
                modes,
                largest_strain: 0.0,
            })
        });
        ElementResponse {
            force,
            tangent,
            modulus,
            phase,
            state,
            failed,
        }
    }

    /// Whether a box cannot yield from the virgin state: a bound on its von Mises stress that costs little.
    ///
    /// The displacement gradient of a trilinear box is everywhere a weighted mean of the differences along its
    /// edges, so that each strain component is bounded by the largest of them. B-bar changes the dilatation
    /// only; incompatible modes add strain that is not bounded here.
    #[inline(always)]
    fn stays_elastic(&self, local: &LocalVector, shear: f64, yield_stress: f64) -> bool {
        let Some(lattice) = self
            .model
            .lattice
            .as_ref()
            .filter(|_| self.model.formulation != Formulation::Incompatible)
        else {
            return false;
        };
        let mut slope = [[0.0f64; 3]; 3];
        for component in 0..3 {
            for axis in 0..3 {
                let bit = 1 << axis;
                let mut largest = 0.0f64;
                for corner in 0..8 {
                    if corner & bit == 0 {
                        let edge =
                            local[8 * component + corner + bit] - local[8 * component + corner];
                        largest = largest.max(edge.abs());
                    }
                }
                slope[component][axis] = largest / lattice.spacing_mm[axis];
            }
        }
        // |dev e|^2 <= |e|^2 with tensor shear (a + b) / 2 on both sides of the diagonal.
        let mut norm2 = 0.0;
        for i in 0..3 {
            norm2 += slope[i][i] * slope[i][i];
            for j in 0..i {
                let shear_strain = slope[i][j] + slope[j][i];
                norm2 += 0.5 * shear_strain * shear_strain;
            }
        }
        // q = sqrt(3/2) |s| and |s| = 2 G |dev e|.
        6.0 * shear * shear * norm2 < yield_stress * yield_stress
    }

    /// Updates of an element with incompatible modes: the modes are iterated until they are stress-free.
    fn condensed_updates(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        moduli: Moduli,
        curve: &HardeningCurve,
    ) -> ([j2::J2Update; 8], [f64; 9], bool) {
        let shape = self.shape(element);
        let mut modes = SVector::<f64, 9>::from(old.modes);
        let before = self.gather(element, &self.committed);
        let elastic = j2::tangent(None, moduli, 0.0);
        let change: LocalVector = std::array::from_fn(|i| local[i] - before[i]);
        if let (_, Some(condensation)) = shape.mode_matrices(&[elastic; 8]) {
            modes -= *condensation * SVector::<f64, 24>::from(change);
        }
        let plain: [[f64; 6]; 8] =
            std::array::from_fn(|point| strain_at(&shape.points[point].b, local));
        let evaluate = |modes: &SVector<f64, 9>| -> ([j2::J2Update; 8], SVector<f64, 9>, f64) {
            let updates: [j2::J2Update; 8] = std::array::from_fn(|number| {
                let point = &shape.points[number];
                let mut strain = plain[number];
                for row in 0..6 {
                    for mode in 0..9 {
                        strain[row] += point.g[row][mode] * modes[mode];
                    }
                }
                j2::update(&strain, &old.points[number], moduli, curve)
            });
            let mut residual = SVector::<f64, 9>::zeros();
            let mut scale = 0.0f64;
            for (point, update) in shape.points.iter().zip(&updates) {
                for row in 0..6 {
                    for mode in 0..9 {
                        let part = point.weight * point.g[row][mode] * update.stress[row];
                        residual[mode] += part;
                        scale = scale.max(part.abs());
                    }
                }
            }
            (updates, residual, scale)
        };
        let (mut updates, mut residual, mut scale) = evaluate(&modes);
        for _ in 0..40 {
            if residual.norm() <= 1e-11 * scale || scale == 0.0 {
                return (updates, modes.into(), false);
            }
            let tangents: [_; 8] = std::array::from_fn(|point| {
                j2::tangent(updates[point].flow.as_ref(), moduli, f64::NEG_INFINITY)
            });
            let Some(step) = shape
                .mode_matrices(&tangents)
                .0
                .and_then(|k| k.lu().solve(&residual))
            else {
                break;
            };
            let mut length = 1.0;
            loop {
                let trial = modes - step * length;
                let found = evaluate(&trial);
                if found.1.norm() < residual.norm() || length < 0.05 {
                    modes = trial;
                    (updates, residual, scale) = found;
                    break;
                }
                length *= 0.5;
            }
        }
        // Round-off bounds what can be reached; only a residual that matters is a failure.
        let failed = residual.norm() > 1e-7 * scale;
        (updates, modes.into(), failed)
    }

    #[inline(always)]
    fn secant_element(
        &self,
        element: usize,
        local: &LocalVector,
        old: &ElementState,
        curve: &HardeningCurve,
        want: Want,
        keep_state: bool,
    ) -> ElementResponse {
        let shape = self.shape(element);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let ratio = self.model.materials.poissons_ratio[element];
        let strain = strain_at(&shape.centre, local);
        let d = elasticity_matrix(modulus, ratio);
        let stress: [f64; 6] = std::array::from_fn(|i| (0..6).map(|j| d[i][j] * strain[j]).sum());
        let elastic_equivalent = j2::von_mises(&stress);
        let equivalent = elastic_equivalent / modulus;
        let explicit = self.model.material_model == MaterialModel::SecantExplicit;
        let loading = equivalent > old.largest_strain && !explicit;
        let largest = if loading {
            equivalent
        } else {
            old.largest_strain
        };
        let (uniaxial, slope, phase) = curve.total_strain(modulus, largest);
        let secant = if phase == 0 {
            modulus
        } else {
            uniaxial / largest
        };
        let unit = self.unit_matrix(element);
        let force = multiply(&unit, local, secant);
        let tangent = match want {
            Want::Tangent { lowest_slope } if loading && phase > 0 => {
                let slope = slope.max(lowest_slope * modulus);
                let shear = Moduli::new(modulus, ratio).shear;
                let mean = (stress[0] + stress[1] + stress[2]) / 3.0;
                let deviator: [f64; 6] =
                    std::array::from_fn(|i| if i < 3 { stress[i] - mean } else { stress[i] });
                // Gradient of the equivalent strain by the displacements.
                let gradient: LocalVector = std::array::from_fn(|dof| {
                    let work: f64 = (0..6)
                        .map(|row| deviator[row] * shape.centre[row][dof])
                        .sum();
                    3.0 * shear / (elastic_equivalent * modulus) * work
                });
                // Symmetric part of the exact derivative: the pressure that the falling secant modulus
                // releases is left out.
                let release = (secant - slope) * shape.volume * modulus / (3.0 * shear);
                Some(Box::new(std::array::from_fn(|i| {
                    secant * unit[i] - release * gradient[i / 24] * gradient[i % 24]
                })))
            }
            _ => None,
        };
        let state = keep_state.then(|| {
            Box::new(ElementState {
                largest_strain: old.largest_strain.max(equivalent),
                ..Default::default()
            })
        });
        ElementResponse {
            force,
            tangent,
            modulus: secant,
            phase,
            state,
            failed: false,
        }
    }

    /// Volume-averaged fields of an element in the committed state.
    pub(crate) fn fields(&self, element: usize) -> ElementFields {
        let local = self.gather(element, &self.committed);
        let shape = self.shape(element);
        let modulus = self.model.materials.youngs_modulus_mpa[element];
        let ratio = self.model.materials.poissons_ratio[element];
        let strain = strain_at(&shape.centre, &local);
        let state = self.state_of[element];
        let mut plastic_strain = [0.0; 6];
        let mut equivalent_plastic = 0.0;
        let mut secant = modulus;
        if state != u32::MAX {
            let state = &self.states[state as usize];
            if self.model.material_model == MaterialModel::J2 {
                for point in &state.points {
                    equivalent_plastic += point.equivalent / 8.0;
                    for i in 0..6 {
                        plastic_strain[i] += point.plastic_strain[i] / 8.0;
                    }
                }
            } else if state.largest_strain > 0.0 {
                let curve =
                    &self.model.materials.curves[self.model.materials.curve[element] as usize];
                secant = (curve.total_strain(modulus, state.largest_strain).0
                    / state.largest_strain)
                    .min(modulus);
            }
        }
        let d = elasticity_matrix(secant, ratio);
        let stress: [f64; 6] = std::array::from_fn(|i| {
            (0..6)
                .map(|j| d[i][j] * (strain[j] - plastic_strain[j]))
                .sum()
        });
        let energy_density = 0.5
            * (0..6)
                .map(|i| stress[i] * (strain[i] - plastic_strain[i]))
                .sum::<f64>();
        ElementFields {
            strain,
            stress_mpa: stress,
            von_mises_mpa: j2::von_mises(&stress),
            equivalent_plastic_strain: equivalent_plastic,
            secant_modulus_mpa: secant,
            strain_energy_density_mpa: energy_density,
        }
    }
}

/// What an element looks like at its centre in the converged state.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementFields {
    /// Strain.
    pub strain: [f64; 6],
    /// Stress, MPa.
    pub stress_mpa: [f64; 6],
    /// Von Mises stress, MPa.
    pub von_mises_mpa: f64,
    /// Mean equivalent plastic strain of the integration points (J2).
    pub equivalent_plastic_strain: f64,
    /// Secant modulus, MPa (the elastic one for J2).
    pub secant_modulus_mpa: f64,
    /// Elastic strain energy density, MPa (= N mm / mm³).
    pub strain_energy_density_mpa: f64,
}

struct BlockResult {
    forces: Vec<LocalVector>,
    moduli: Vec<f64>,
    dense: DenseElements,
    assembled: Vec<Box<ElementMatrix>>,
    phases: [usize; 4],
    failed: bool,
}

impl HexElement {
    /// Stiffness of the incompatible modes alone and the elastic condensation `inverse(K_mm) K_mu`.
    fn mode_matrices(
        &self,
        tangents: &[[[f64; 6]; 6]; 8],
    ) -> (Option<SMatrix<f64, 9, 9>>, Option<Box<SMatrix<f64, 9, 24>>>) {
        let mut k_modes = SMatrix::<f64, 9, 9>::zeros();
        let mut k_mixed = SMatrix::<f64, 9, 24>::zeros();
        for (point, d) in self.points.iter().zip(tangents) {
            let mut gd = [[0.0; 6]; 9];
            for mode in 0..9 {
                for row in 0..6 {
                    let factor = point.weight * point.g[row][mode];
                    if factor != 0.0 {
                        for inner in 0..6 {
                            gd[mode][inner] += factor * d[row][inner];
                        }
                    }
                }
                for inner in 0..6 {
                    let factor = gd[mode][inner];
                    for other in 0..9 {
                        k_modes[(mode, other)] += factor * point.g[inner][other];
                    }
                    for dof in 0..24 {
                        k_mixed[(mode, dof)] += factor * point.b[inner][dof];
                    }
                }
            }
        }
        let condensation = k_modes.lu().solve(&k_mixed).map(Box::new);
        (Some(k_modes), condensation)
    }
}

#[inline(always)]
fn strain_at(b: &[[f64; 24]; 6], local: &LocalVector) -> [f64; 6] {
    std::array::from_fn(|row| {
        let mut lanes = [0.0; 4];
        for chunk in 0..6 {
            for lane in 0..4 {
                lanes[lane] += b[row][4 * chunk + lane] * local[4 * chunk + lane];
            }
        }
        lanes[0] + lanes[1] + lanes[2] + lanes[3]
    })
}

/// `factor * matrix * vector` for a symmetric matrix.
#[inline(always)]
fn multiply(matrix: &ElementMatrix, vector: &LocalVector, factor: f64) -> LocalVector {
    let mut sum = [0.0; 24];
    for column in 0..24 {
        let value = factor * vector[column];
        let line = &matrix[24 * column..24 * (column + 1)];
        for row in 0..24 {
            sum[row] += line[row] * value;
        }
    }
    sum
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
mod tests {
    use super::*;
    use crate::model::Formulation;
    use meshing::mesh::HEX_CORNERS;
    use meshing::{HexMesh, Lattice};

    fn one_element(formulation: Formulation, material_model: MaterialModel) -> Model {
        let spacing = [1.0, 1.2, 0.8];
        Model {
            mesh: HexMesh {
                nodes_mm: HEX_CORNERS
                    .map(|c| std::array::from_fn(|a| c[a] as f64 * spacing[a]))
                    .to_vec(),
                elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
            },
            lattice: Some(Lattice {
                spacing_mm: spacing,
                cells: [1; 3],
                element_cells: vec![[0; 3]],
                node_points: HEX_CORNERS.map(|c| c.map(|i| i as u32)).to_vec(),
            }),
            materials: Materials {
                youngs_modulus_mpa: vec![1500.0],
                poissons_ratio: vec![0.3],
                curve: vec![0],
                // Plateau, softening, residual.
                curves: vec![
                    HardeningCurve::new(vec![[0.0, 9.0], [0.01, 9.0], [0.1, 4.0]]).unwrap(),
                ],
            },
            formulation,
            material_model,
        }
    }

    /// A displacement without symmetry.
    fn displacement(size: f64) -> Vec<f64> {
        (0..24)
            .map(|i| size * ((i * i + 3 * i) % 17) as f64 / 17.0)
            .collect()
    }

    /// Largest difference of the element tangent and central differences of the force, over the largest entry.
    fn tangent_error(system: &System, u: &[f64]) -> f64 {
        let at = system.evaluate(u, Want::TRUE_TANGENT);
        let step = 1e-7;
        let (mut error, mut largest) = (0.0f64, 0.0f64);
        for column in 0..24 {
            let moved = |sign: f64| {
                let mut v = u.to_vec();
                v[column] += sign * step;
                system.evaluate(&v, Want::Forces).force
            };
            let (up, down) = (moved(1.0), moved(-1.0));
            // The matrix counts corners by their bits; nodes of this mesh are in VTK order.
            let local =
                |dof: usize| 8 * (dof / 8) + crate::element::hex8::CORNER_OF_VTK_NODE[dof % 8];
            for row in 0..24 {
                let slope = (up[row] - down[row]) / (2.0 * step);
                let entry = f64::from(at.dense[0].matrices[24 * local(row) + local(column)]);
                error = error.max((slope - entry).abs());
                largest = largest.max(slope.abs());
            }
        }
        error / largest
    }

    #[test]
    fn element_tangent_is_the_derivative_of_the_force() {
        for formulation in [
            Formulation::Full,
            Formulation::BBar,
            Formulation::Incompatible,
        ] {
            let model = one_element(formulation, MaterialModel::J2);
            let mut system = System::new(&model, &LoadCase::default()).unwrap();
            // Plateau from the virgin state, then softening from a committed one.
            for size in [0.03, 0.12] {
                let u = displacement(size);
                let error = tangent_error(&system, &u);
                assert!(error < 1e-5, "{formulation:?} size {size}: {error}");
                system.commit(&u);
            }
        }
    }

    #[test]
    fn secant_tangent_is_exact_for_a_deviatoric_uniform_strain() {
        // The symmetric tangent leaves the released pressure out; in simple shear there is none.
        let model = one_element(Formulation::Full, MaterialModel::Secant);
        let system = System::new(&model, &LoadCase::default()).unwrap();
        let mut u = vec![0.0; 24];
        for node in 0..8 {
            u[node] = 0.05 * model.mesh.nodes_mm[node][2];
        }
        let at = system.evaluate(&u, Want::TRUE_TANGENT);
        assert_eq!(at.phases, [0, 0, 1, 0]);
        let shear = |size: f64| {
            let mut v = vec![0.0; 24];
            for node in 0..8 {
                v[node] = size * model.mesh.nodes_mm[node][2];
            }
            v
        };
        let difference = |sign: f64| {
            system
                .evaluate(&shear(0.05 + sign * 1e-7), Want::Forces)
                .force
        };
        let (up, down) = (difference(1.0), difference(-1.0));
        let direction = shear(1.0);
        let corner = |dof: usize| 8 * (dof / 8) + crate::element::hex8::CORNER_OF_VTK_NODE[dof % 8];
        for row in 0..24 {
            let slope = (up[row] - down[row]) / 2e-7;
            let found: f64 = (0..24)
                .map(|column| {
                    f64::from(at.dense[0].matrices[24 * corner(row) + corner(column)])
                        * direction[column]
                })
                .sum();
            assert!(
                (slope - found).abs() < 1e-4 * 600.0,
                "{row}: {slope} {found}"
            );
        }
    }
}
