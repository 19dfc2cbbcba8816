//! Finite elements.

pub mod hex8;

pub use hex8::{HexElement, LOCAL_DOFS};
