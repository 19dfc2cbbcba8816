//! Parts of the solver for its benches. No part of the interface.

use crate::error::{Error, Result};
use crate::linear::Multigrid;
use crate::load_case::LoadCase;
use crate::model::Model;
use crate::operator::{LatticeOperator, Operator};
use crate::system::{Body, System, Tangent, Want};

/// Operator and preconditioner of a voxel body at rest.
pub struct LatticeParts<'a, 'h> {
    operator: &'a LatticeOperator<'a>,
    multigrid: Multigrid<'h>,
}

impl LatticeParts<'_, '_> {
    /// Number of unknowns.
    pub fn unknowns(&self) -> usize {
        Operator::<f64>::size(self.operator)
    }

    /// `y = K x` in double precision.
    pub fn apply_double(&self, x: &[f64], y: &mut [f64]) {
        self.operator.apply(x, y);
    }

    /// `y = K x` in single precision.
    pub fn apply_single(&self, x: &[f32], y: &mut [f32]) {
        self.operator.apply(x, y);
    }

    /// Sets the preconditioner up.
    ///
    /// # Errors
    /// [`Error::Singular`].
    pub fn set_up(&mut self) -> Result<()> {
        self.multigrid.set_up(self.operator, false)
    }

    /// One V-cycle.
    pub fn cycle(&mut self, r: &[f64], z: &mut [f64]) {
        self.multigrid.precondition(self.operator, r, z);
    }
}

/// Hands the parts of a voxel body to `work`.
///
/// # Errors
/// [`Error::Model`] for a body that is no lattice, and what the set-up refuses.
pub fn with_lattice_parts<T>(
    model: &Model,
    case: &LoadCase,
    work: impl FnOnce(&mut LatticeParts) -> T,
) -> Result<T> {
    let mut system = System::new(model, case)?;
    let no_lattice = || Error::Model("the body is no lattice".into());
    let Body::Lattice(body) = &mut system.body else {
        return Err(no_lattice());
    };
    let hierarchy = body.hierarchy.take().ok_or_else(no_lattice)?;
    let at = system.evaluate(&system.committed, Want::TRUE_TANGENT);
    let (Body::Lattice(body), Tangent::Lattice(tangent)) = (&system.body, &at.tangent) else {
        return Err(no_lattice());
    };
    let operator = body.operator(tangent, &system.constrained);
    let mut parts = LatticeParts {
        operator: &operator,
        multigrid: Multigrid::new(&hierarchy),
    };
    parts.set_up()?;
    Ok(work(&mut parts))
}
