//! The mesh of a bone: voxels or tetrahedra.

use meshing::tetrahedral::TetrahedralMesh;
use meshing::{Frame, VoxelMesh};
use solver::SolidMesh;

/// The mesh of a bone.
#[derive(Clone, Debug, PartialEq)]
pub enum BoneMesh {
    /// 8-node boxes, one a voxel.
    Voxels(VoxelMesh),
    /// 10-node tetrahedra.
    Tetrahedra(TetrahedralMesh),
}

impl BoneMesh {
    /// Node positions in the model frame, mm.
    pub fn nodes_mm(&self) -> &[[f64; 3]] {
        match self {
            Self::Voxels(mesh) => &mesh.mesh.nodes_mm,
            Self::Tetrahedra(mesh) => &mesh.mesh.nodes_mm,
        }
    }

    /// Number of elements.
    pub fn element_count(&self) -> usize {
        match self {
            Self::Voxels(mesh) => mesh.mesh.elements.len(),
            Self::Tetrahedra(mesh) => mesh.mesh.elements.len(),
        }
    }

    /// Where the model frame stands in the patient.
    pub fn frame(&self) -> &Frame {
        match self {
            Self::Voxels(mesh) => &mesh.frame,
            Self::Tetrahedra(mesh) => &mesh.frame,
        }
    }

    /// Volume of an element, mm³.
    pub fn element_volume_mm3(&self, element: usize) -> f64 {
        match self {
            Self::Voxels(mesh) => mesh.element_volume_mm3(),
            Self::Tetrahedra(mesh) => mesh.mesh.volume_mm3(element),
        }
    }

    /// The elements, for the solver.
    pub fn solid(&self) -> SolidMesh {
        match self {
            Self::Voxels(mesh) => SolidMesh::Voxels {
                mesh: mesh.mesh.clone(),
                lattice: mesh.lattice.clone(),
            },
            Self::Tetrahedra(mesh) => SolidMesh::Tet10(mesh.mesh.clone()),
        }
    }

    /// The voxels, where it is made of them.
    pub fn voxels(&self) -> Option<&VoxelMesh> {
        match self {
            Self::Voxels(mesh) => Some(mesh),
            Self::Tetrahedra(_) => None,
        }
    }
}
