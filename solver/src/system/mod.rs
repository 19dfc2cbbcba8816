//! Internal forces, tangents and states of a body, element by element.

mod dissipation;
mod elements;
mod fields;
mod general;
mod lattice;
mod supports;

use crate::error::{Error, Result};
use crate::linear::{Block3, SplitMatrix};
use crate::load_case::LoadCase;
use crate::material::j2::{Moduli, PlasticState};
use crate::model::{MaterialModel, Materials, Model, SolidMesh};
use crate::operator::{DenseElements, FlowElements};

pub(crate) use dissipation::Dissipation;
pub use fields::ElementFields;
pub(crate) use general::GeneralBody;
pub(crate) use lattice::LatticeBody;

/// A body with its state, ready to be deformed.
pub(crate) struct System<'a> {
    pub(crate) model: &'a Model,
    pub(crate) body: Body,
    /// Constrained unknowns (component first), ascending, and their displacements at load factor 1.
    pub(crate) constrained: Vec<u32>,
    pub(crate) prescribed_mm: Vec<f64>,
    /// External forces at load factor 1, by unknown, ascending.
    pub(crate) forces: Vec<(u32, f64)>,
    /// Committed displacements.
    pub(crate) committed: Vec<f64>,
}

/// Elements and their states, by the way they are worked on.
pub(crate) enum Body {
    /// Equal boxes, matrix-free.
    Lattice(Box<LatticeBody>),
    /// Elements of any shape, with an assembled matrix.
    General(Box<GeneralBody>),
}

/// Committed state of a hexahedron that can yield.
#[derive(Clone, Debug, Default)]
struct ElementState {
    points: [PlasticState; 8],
    /// Amplitudes of the incompatible modes.
    modes: [f64; 9],
    /// Largest equivalent strain so far at the element centre (secant model).
    largest_strain: f64,
}

/// Internal forces at a displacement and, if asked for, the tangent there.
pub(crate) struct Evaluation {
    pub(crate) force: Vec<f64>,
    pub(crate) tangent: Tangent,
    /// Elements by the phase of their most advanced point: elastic, then the segments of the curve.
    pub(crate) phases: [usize; 4],
    /// An element's own iteration did not converge.
    pub(crate) failed: bool,
}

/// The tangent stiffness in the form the body is worked on.
pub(crate) enum Tangent {
    /// Per element of a lattice.
    Lattice(LatticeTangent),
    /// Of a body of any shape: assembled when it is solved with ([`GeneralBody::assemble`]), because half of them are not.
    Unassembled {
        /// The displacements.
        u: Vec<f64>,
        want: Want,
    },
}

/// An assembled tangent; with the matrix of the corners where the elements are 10-node tetrahedra.
#[derive(Default)]
pub(crate) struct Assembled {
    pub(crate) matrix: SplitMatrix,
    pub(crate) corners: Vec<Block3>,
}

/// What the elements of a lattice are made of.
pub(crate) struct LatticeTangent {
    /// Modulus of each element whose tangent is that of a linear element, 0 for the others.
    pub(crate) moduli: Vec<f64>,
    pub(crate) flow: Vec<FlowElements>,
    pub(crate) dense: Vec<DenseElements>,
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
        check_uniqueness(model)?;
        let nodes = model.mesh.nodes_mm().len();
        let (constrained, prescribed_mm) = constraints(case, nodes)?;
        let mut forces = std::collections::BTreeMap::new();
        for force in &case.forces {
            let dof = usize::from(force.component) * nodes + force.node as usize;
            if force.component > 2 || force.node as usize >= nodes {
                return Err(Error::Model(format!(
                    "a force acts on node {}, which does not exist",
                    force.node
                )));
            }
            *forces.entry(dof as u32).or_insert(0.0) += force.force_n;
        }
        let body = match &model.mesh {
            SolidMesh::Voxels { mesh, lattice } => {
                Body::Lattice(Box::new(LatticeBody::new(model, mesh, lattice)?))
            }
            _ => Body::General(Box::new(GeneralBody::new(model, &constrained)?)),
        };
        Ok(Self {
            model,
            body,
            constrained,
            prescribed_mm,
            forces: forces.into_iter().collect(),
            committed: vec![0.0; 3 * nodes],
        })
    }

    /// External force on an unknown at load factor 1, N.
    pub(crate) fn force(&self, dof: usize) -> f64 {
        self.forces
            .binary_search_by_key(&(dof as u32), |entry| entry.0)
            .map_or(0.0, |place| self.forces[place].1)
    }

    /// External forces at a load factor, N.
    pub(crate) fn force_vector(&self, factor: f64) -> Vec<f64> {
        let mut forces = vec![0.0; 3 * self.nodes()];
        for &(dof, force) in &self.forces {
            forces[dof as usize] = factor * force;
        }
        forces
    }

    /// Refuses supports that leave a piece of the body free to move.
    pub(crate) fn check_supports(&self) -> Result<()> {
        supports::check(&self.model.mesh, &self.constrained)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.model.mesh.nodes_mm().len()
    }

    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.model.mesh.element_count()
    }

    /// Internal forces at `u` and, if wanted, the tangent. Does not change any state.
    pub(crate) fn evaluate(&self, u: &[f64], want: Want) -> Evaluation {
        match &self.body {
            Body::Lattice(body) => body.evaluate(self.model, u, &self.committed, want),
            Body::General(body) => body.evaluate(self.model, u, &self.committed, want),
        }
    }

    /// Takes `u` as the new converged state.
    pub(crate) fn commit(&mut self, u: &[f64]) {
        match &mut self.body {
            Body::Lattice(body) => body.commit(self.model, u, &self.committed),
            Body::General(body) => body.commit(self.model, u, &self.committed),
        }
        self.committed.copy_from_slice(u);
    }
}

/// Number of the state of each element; `u32::MAX` for one that stays elastic. Also the number of states.
fn yielding_elements(model: &Model) -> (Vec<u32>, usize) {
    let mut state_of = vec![u32::MAX; model.mesh.element_count()];
    let mut count = 0;
    if model.material_model != MaterialModel::Linear {
        for (element, state) in state_of.iter_mut().enumerate() {
            if model.materials.curve[element] != Materials::ELASTIC {
                *state = count as u32;
                count += 1;
            }
        }
    }
    (state_of, count)
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
