//! Linear solvers.

mod cg;
mod direct;
mod galerkin;
mod hierarchy;
mod multigrid;
mod rows;
mod stencil;
mod transfer;

pub use cg::{CgEnd, conjugate_gradients};
pub use direct::SparseFactor;
pub use hierarchy::Hierarchy;
pub use multigrid::Multigrid;
