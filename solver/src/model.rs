//! The body: mesh, materials, element formulation.

use meshing::{HexMesh, Lattice, Mesh, Tet10Mesh};

use crate::element::{HexElement, TetrahedronRule};
use crate::error::{Error, Result};
use crate::material::HardeningCurve;

/// How the 8-node hexahedron interpolates strain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formulation {
    /// Mean dilatation over 2x2x2 points (Hughes 1980): no volumetric locking in plastic flow.
    #[default]
    BBar,
    /// Plain full integration, 2x2x2 points; CalculiX C3D8.
    Full,
    /// Incompatible modes (Wilson 1973, Taylor, Beresford, Wilson 1976), 9 modes condensed; CalculiX C3D8I.
    Incompatible,
}

/// Constitutive model of the elements that carry a hardening curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaterialModel {
    /// Von Mises plasticity with isotropic piecewise-linear hardening or softening.
    #[default]
    J2,
    /// Total-strain secant model of Sas 2020, iterated to equilibrium in each increment.
    Secant,
    /// The same with the original explicit stepping: moduli lag one increment behind.
    SecantExplicit,
    /// Linear elastic; curves are ignored.
    Linear,
}

/// Material of every element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Materials {
    /// Young's modulus of each element, MPa.
    pub youngs_modulus_mpa: Vec<f64>,
    /// Poisson's ratio of each element.
    pub poissons_ratio: Vec<f64>,
    /// Number in `curves` of each element's hardening curve; [`Materials::ELASTIC`] = stays elastic.
    pub curve: Vec<u32>,
    /// The hardening curves.
    pub curves: Vec<HardeningCurve>,
}

impl Materials {
    /// Marks an element that never yields.
    pub const ELASTIC: u32 = u32::MAX;
}

/// The elements of a body, all of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum SolidMesh {
    /// Equal boxes cut from a regular lattice: solved matrix-free.
    Voxels {
        /// Nodes and elements.
        mesh: HexMesh,
        /// The lattice.
        lattice: Lattice,
    },
    /// 8-node hexahedra of any shape.
    Hex8(HexMesh),
    /// 4-node tetrahedra, one integration point.
    Tet4(Mesh<4>),
    /// 10-node tetrahedra, four integration points.
    Tet10(Tet10Mesh),
}

impl SolidMesh {
    /// Node positions, mm.
    pub fn nodes_mm(&self) -> &[[f64; 3]] {
        match self {
            Self::Voxels { mesh, .. } | Self::Hex8(mesh) => &mesh.nodes_mm,
            Self::Tet4(mesh) => &mesh.nodes_mm,
            Self::Tet10(mesh) => &mesh.nodes_mm,
        }
    }

    /// Number of elements.
    pub fn element_count(&self) -> usize {
        match self {
            Self::Voxels { mesh, .. } | Self::Hex8(mesh) => mesh.elements.len(),
            Self::Tet4(mesh) => mesh.elements.len(),
            Self::Tet10(mesh) => mesh.elements.len(),
        }
    }

    /// The lattice, where the mesh is cut from one.
    pub fn lattice(&self) -> Option<&Lattice> {
        match self {
            Self::Voxels { lattice, .. } => Some(lattice),
            _ => None,
        }
    }

    /// The same elements without their lattice, so that the general path is taken.
    pub fn without_lattice(self) -> Self {
        match self {
            Self::Voxels { mesh, .. } => Self::Hex8(mesh),
            other => other,
        }
    }

    /// The first element whose Jacobian is not positive at every integration point.
    pub fn first_inverted(&self) -> Option<usize> {
        fn positions<const N: usize>(mesh: &Mesh<N>, element: usize) -> [[f64; 3]; N] {
            mesh.elements[element].map(|node| mesh.nodes_mm[node as usize])
        }
        (0..self.element_count()).find(|&element| match self {
            Self::Voxels { .. } => false,
            Self::Hex8(mesh) => {
                HexElement::new(positions(mesh, element), Formulation::Full).is_err()
            }
            Self::Tet4(mesh) => TetrahedronRule::linear()
                .points(&positions(mesh, element))
                .is_none(),
            Self::Tet10(mesh) => TetrahedronRule::quadratic()
                .points(&positions(mesh, element))
                .is_none(),
        })
    }

    /// Nodes of an element, VTK order.
    pub fn element(&self, number: usize) -> &[u32] {
        match self {
            Self::Voxels { mesh, .. } | Self::Hex8(mesh) => &mesh.elements[number],
            Self::Tet4(mesh) => &mesh.elements[number],
            Self::Tet10(mesh) => &mesh.elements[number],
        }
    }
}

/// A body to be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Nodes and elements.
    pub mesh: SolidMesh,
    /// Materials of the elements.
    pub materials: Materials,
    /// Formulation of hexahedra.
    pub formulation: Formulation,
    /// Constitutive model.
    pub material_model: MaterialModel,
}

impl Model {
    /// Checks that the parts fit together and every parameter is in its range.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Material`].
    pub fn check(&self) -> Result<()> {
        let elements = self.mesh.element_count();
        let m = &self.materials;
        if elements == 0 {
            return Err(Error::Model("it has no element".into()));
        }
        for (what, length) in [
            ("Young's moduli", m.youngs_modulus_mpa.len()),
            ("Poisson's ratios", m.poissons_ratio.len()),
            ("curve numbers", m.curve.len()),
        ] {
            if length != elements {
                return Err(Error::Model(format!(
                    "{length} {what} for {elements} elements"
                )));
            }
        }
        if let SolidMesh::Voxels { lattice, .. } = &self.mesh
            && (lattice.element_cells.len() != elements
                || lattice.node_points.len() != self.mesh.nodes_mm().len())
        {
            return Err(Error::Model(
                "the lattice does not describe this mesh".into(),
            ));
        }
        let nodes = self.mesh.nodes_mm().len();
        for element in 0..elements {
            let bad = |reason: String| Err(Error::Material { element, reason });
            if self
                .mesh
                .element(element)
                .iter()
                .any(|&node| node as usize >= nodes)
            {
                return bad("it names a node that does not exist".into());
            }
            let (e, nu) = (m.youngs_modulus_mpa[element], m.poissons_ratio[element]);
            if !(e.is_finite() && e > 0.0) {
                return bad(format!("Young's modulus {e} MPa; it must be positive"));
            }
            if !(nu > -1.0 && nu < 0.5) {
                return bad(format!(
                    "Poisson's ratio {nu}; it must lie between -1 and 0.5"
                ));
            }
            let curve = m.curve[element];
            if curve != Materials::ELASTIC && curve as usize >= m.curves.len() {
                return bad(format!("hardening curve {curve} does not exist"));
            }
        }
        Ok(())
    }
}
