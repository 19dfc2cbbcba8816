//! Meshes of bone made from images.
//!
//! Node numbering of every element is VTK's, which for hex8 and tet10 is also that of Abaqus and CalculiX.

pub mod connect;
pub mod error;
pub mod mesh;
pub mod quality;
pub mod voxel;
pub mod vtu;

pub use connect::{Dropped, keep_anchored, keep_largest};
pub use error::{Error, Result};
pub use mesh::{Frame, HexMesh, Lattice, Mesh, NodeSet, Tet10Mesh, VoxelMesh};
pub use quality::MeshStatistics;
pub use voxel::{Outward, Side};
