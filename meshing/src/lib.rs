//! Meshes of bone made from images.
//!
//! Node numbering of every element is VTK's, which for hex8 and tet10 is also that of Abaqus and CalculiX.

pub mod error;
pub mod mesh;
pub mod voxel;
pub mod vtu;

pub use error::{Error, Result};
pub use mesh::{Frame, HexMesh, Lattice, Mesh, NodeSet, Tet10Mesh, VoxelMesh};
