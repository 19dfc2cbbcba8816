//! Nodes, elements, node sets.

use nalgebra::{Matrix3, Vector3};

/// Nodes and the elements that join them; `N` nodes per element, VTK order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh<const N: usize> {
    /// Node positions in the model frame, mm.
    pub nodes_mm: Vec<[f64; 3]>,
    /// Node numbers of each element, counted from 0.
    pub elements: Vec<[u32; N]>,
}

/// Mesh of 8-node hexahedra.
///
/// ```text
///        7--------6          z
///       /|       /|          |  y
///      4--------5 |          | /
///      | 3------|-2          |/
///      |/       |/           +---- x
///      0--------1
/// ```
pub type HexMesh = Mesh<8>;

/// Mesh of 10-node tetrahedra: corners 0..3, then the middles of edges (0,1) (1,2) (0,2) (0,3) (1,3) (2,3).
pub type Tet10Mesh = Mesh<10>;

/// Corner `n` of a hexahedron as offsets 0 or 1 along x, y, z, in VTK order.
pub const HEX_CORNERS: [[usize; 3]; 8] = [
    [0, 0, 0],
    [1, 0, 0],
    [1, 1, 0],
    [0, 1, 0],
    [0, 0, 1],
    [1, 0, 1],
    [1, 1, 1],
    [0, 1, 1],
];

/// Where the model frame stands in the patient: `world = origin_mm + rotation * model` (LPS mm).
///
/// `rotation` may be a reflection when the array axes of the image are left-handed; isotropic
/// mechanics does not mind, and nothing in the model frame depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// World direction (LPS) of each model axis, one per column.
    pub rotation: Matrix3<f64>,
    /// World position (LPS mm) of the model origin.
    pub origin_mm: Vector3<f64>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            rotation: Matrix3::identity(),
            origin_mm: Vector3::zeros(),
        }
    }
}

impl Frame {
    /// World position (LPS mm) of a model position (mm).
    pub fn to_world(&self, model_mm: [f64; 3]) -> [f64; 3] {
        (self.origin_mm + self.rotation * Vector3::from(model_mm)).into()
    }

    /// Model position (mm) of a world position (LPS mm).
    pub fn to_model(&self, world_mm: [f64; 3]) -> [f64; 3] {
        (self.rotation.transpose() * (Vector3::from(world_mm) - self.origin_mm)).into()
    }

    /// World direction of a model direction.
    pub fn direction_to_world(&self, model: [f64; 3]) -> [f64; 3] {
        (self.rotation * Vector3::from(model)).into()
    }

    /// Model direction of a world direction.
    pub fn direction_to_model(&self, world: [f64; 3]) -> [f64; 3] {
        (self.rotation.transpose() * Vector3::from(world)).into()
    }
}

/// The regular lattice a voxel mesh is cut from. All elements are equal boxes along the model axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lattice {
    /// Edge lengths of an element, mm.
    pub spacing_mm: [f64; 3],
    /// Number of cells along each axis.
    pub cells: [usize; 3],
    /// Lattice cell of each element, in the order of the elements.
    pub element_cells: Vec<[u32; 3]>,
    /// Lattice point of each node (a cell `(i,j,k)` has corners `i..=i+1`, ...), in the order of the nodes.
    pub node_points: Vec<[u32; 3]>,
}

/// A hexahedral mesh whose elements are cells of a regular lattice.
///
/// Elements and nodes are sorted with x fastest, then y, then z.
#[derive(Clone, Debug, PartialEq)]
pub struct VoxelMesh {
    /// Nodes (model frame: lattice point times spacing) and elements.
    pub mesh: HexMesh,
    /// The lattice.
    pub lattice: Lattice,
    /// Where the model frame stands in the patient; model origin = corner (0,0,0) of cell (0,0,0).
    pub frame: Frame,
    /// Index of each element's voxel in the data of the image the mesh was made from.
    pub element_voxels: Vec<usize>,
}

/// A named list of nodes, ascending and without repeats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSet {
    /// What the set is for, such as `head_cap`.
    pub name: String,
    /// Node numbers, counted from 0, ascending.
    pub nodes: Vec<u32>,
}

impl NodeSet {
    /// Names a list of nodes, sorted here and freed of repeats.
    pub fn new(name: &str, mut nodes: Vec<u32>) -> Self {
        nodes.sort_unstable();
        nodes.dedup();
        Self {
            name: name.into(),
            nodes,
        }
    }
}

impl<const N: usize> Mesh<N> {
    /// Elements with those of the nodes that they use, which keep their order.
    pub(crate) fn renumbered(nodes_mm: &[[f64; 3]], mut elements: Vec<[u32; N]>) -> Self {
        let mut number = vec![u32::MAX; nodes_mm.len()];
        for &node in elements.iter().flatten() {
            number[node as usize] = 0;
        }
        let mut kept = Vec::new();
        for (number, position) in number.iter_mut().zip(nodes_mm) {
            if *number == 0 {
                *number = kept.len() as u32;
                kept.push(*position);
            }
        }
        for node in elements.iter_mut().flatten() {
            *node = number[*node as usize];
        }
        Self {
            nodes_mm: kept,
            elements,
        }
    }

    /// The nodes of the selected elements.
    pub fn nodes_of_elements(&self, name: &str, select: impl Fn(usize) -> bool) -> NodeSet {
        let nodes = self
            .elements
            .iter()
            .enumerate()
            .filter(|&(element, _)| select(element))
            .flat_map(|(_, nodes)| nodes.iter().copied())
            .collect();
        NodeSet::new(name, nodes)
    }

    /// The nodes of the slab `from_mm <= direction . x <= to_mm`, with `direction` a unit vector of the model frame.
    pub fn nodes_in_slab(
        &self,
        name: &str,
        direction: [f64; 3],
        from_mm: f64,
        to_mm: f64,
    ) -> NodeSet {
        let nodes = (0..self.nodes_mm.len() as u32)
            .filter(|&node| {
                let x = self.nodes_mm[node as usize];
                let along: f64 = (0..3).map(|axis| direction[axis] * x[axis]).sum();
                (from_mm..=to_mm).contains(&along)
            })
            .collect();
        NodeSet::new(name, nodes)
    }
}
