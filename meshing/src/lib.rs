//! Meshes of bone made from images.
//!
//! Node numbering of every element is VTK's, which for hex8 and tet10 is also that of Abaqus and CalculiX.

pub mod connect;
pub mod error;
pub mod level_set;
pub mod mesh;
mod pieces;
pub mod quality;
pub mod sampling;
pub mod stuffing;
pub mod surface;
#[cfg(feature = "tetgen")]
mod tetgen;
pub mod tetrahedral;
pub mod tetrahedron;
pub mod voxel;
pub mod vtu;

pub use connect::{Dropped, keep_anchored, keep_largest};
pub use error::{Error, Result};
pub use level_set::LevelSet;
pub use mesh::{Frame, HexMesh, Lattice, Mesh, NodeSet, Tet10Mesh, VoxelMesh};
pub use quality::MeshStatistics;
pub use surface::SurfaceMesh;
pub use tetrahedron::TetrahedraStatistics;
pub use voxel::{Outward, Side};
