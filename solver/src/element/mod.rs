//! Finite elements.

pub mod gauss_box;
pub mod hex8;
pub mod tetrahedron;

pub use gauss_box::GaussBox;
pub use hex8::{HexElement, LOCAL_DOFS};
pub use tetrahedron::{TetrahedronPoint, TetrahedronRule};
