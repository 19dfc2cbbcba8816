//! Linear solvers.

mod aggregation;
mod algebraic;
mod block_rows;
mod cg;
mod chebyshev;
mod coarsest;
mod direct;
mod dissection;
mod galerkin;
mod hierarchy;
mod multigrid;
mod rows;
mod stencil;
mod transfer;

pub use algebraic::{AlgebraicMultigrid, Corners};
pub use block_rows::{Block3, BlockOperator, BlockPattern, SplitMatrix, add_split};
pub use cg::{CgEnd, CgResult, Written, conjugate_gradients};
pub use direct::SparseFactor;
pub use hierarchy::Hierarchy;
pub use multigrid::Multigrid;
#[cfg(feature = "gpu")]
pub(crate) use {
    chebyshev::{SMOOTHING_STEPS, shares},
    rows::Rows,
    stencil::FOLLOWING_POINTS,
};
