//! Voxel meshes: one box per voxel inside a mask.
//!
//! The mesh stands in the *model frame*: right-handed coordinates along the array axes of the image, in mm, with the
//! origin at the outer corner of the first voxel of the mask's bounding box. Whatever the direction of the array
//! axes in the patient, even a left-handed set of them, the node order of every element is VTK's in the model
//! frame, so every element has a positive volume there. [`Frame`] leads to the patient's coordinates.

use imaging::grid::SAME_GRID_TOLERANCE_MM;
use imaging::{Mask, Volume};
use nalgebra::Vector3;

use crate::error::{Error, Result};
use crate::mesh::{Frame, HEX_CORNERS, HexMesh, Lattice, NodeSet, VoxelMesh};

/// One end of a model axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end where the coordinate is smallest; outward is against the axis.
    Low,
    /// The end where the coordinate is largest; outward is along the axis.
    High,
}

/// An outward direction along a model axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outward {
    /// 0 = x, 1 = y, 2 = z of the model frame.
    pub axis: usize,
    /// Which end of it.
    pub side: Side,
}

impl VoxelMesh {
    /// Meshes every voxel inside `mask` with one box; the voxels need not be cubes.
    ///
    /// Loose pieces are meshed too: see [`crate::connect`].
    ///
    /// # Errors
    /// [`Error::EmptyMask`]; [`Error::Sheared`] when the image axes are not at right angles;
    /// [`Error::Parameter`] when the lattice has more points than 32 bits can number.
    pub fn from_mask(mask: &Mask) -> Result<Self> {
        let grid = &mask.grid;
        let [low, high] = mask.bounding_box().ok_or(Error::EmptyMask)?;
        if !grid.is_orthogonal() {
            return Err(Error::Sheared(grid.to_string()));
        }
        let cells: [usize; 3] = std::array::from_fn(|axis| high[axis] + 1 - low[axis]);
        let points = cells
            .iter()
            .try_fold(1_usize, |n, &cells| n.checked_mul(cells + 1));
        if points.is_none_or(|n| n >= u32::MAX as usize) {
            return Err(Error::Parameter(format!(
                "the mask spans {}x{}x{} voxels, too many to number; crop or resample the image",
                cells[0], cells[1], cells[2]
            )));
        }
        let (element_cells, element_voxels) = cells_inside(mask, low, high);
        let (node_points, elements) = number_nodes(cells, &element_cells);
        let spacing_mm = grid.spacing_mm;
        let nodes_mm = node_points
            .iter()
            .map(|p| std::array::from_fn(|axis| f64::from(p[axis]) * spacing_mm[axis]))
            .collect();
        let corner = Vector3::from_fn(|axis, _| low[axis] as f64 - 0.5);
        Ok(Self {
            mesh: HexMesh { nodes_mm, elements },
            lattice: Lattice {
                spacing_mm,
                cells,
                element_cells,
                node_points,
            },
            frame: Frame {
                rotation: grid.direction,
                origin_mm: grid.to_world(corner),
            },
            element_voxels,
        })
    }

    /// Volume of one element, mm³.
    pub fn element_volume_mm3(&self) -> f64 {
        self.lattice.spacing_mm.iter().product()
    }

    /// Centre of an element in the model frame, mm.
    pub fn centre_mm(&self, element: usize) -> [f64; 3] {
        let cell = self.lattice.element_cells[element];
        std::array::from_fn(|axis| (f64::from(cell[axis]) + 0.5) * self.lattice.spacing_mm[axis])
    }

    /// Value of the voxel each element was made from, in the order of the elements.
    ///
    /// # Errors
    /// [`imaging::Error::GridMismatch`] (as [`Error::Image`]) when `volume` does not stand on the grid of the mask.
    pub fn sample<T: Copy + Into<f64>>(&self, volume: &Volume<T>) -> Result<Vec<f64>> {
        self.check_grid(volume)?;
        Ok(self
            .element_voxels
            .iter()
            .map(|&voxel| volume.data[voxel].into())
            .collect())
    }

    /// Checks that the voxels of `volume` stand where the elements stand.
    fn check_grid<T>(&self, volume: &Volume<T>) -> Result<()> {
        let grid = &volume.grid;
        let spaced = (0..3).all(|axis| {
            (grid.spacing_mm[axis] - self.lattice.spacing_mm[axis]).abs()
                * self.lattice.cells[axis] as f64
                <= SAME_GRID_TOLERANCE_MM
        });
        let placed = |element: usize| {
            let voxel = self.element_voxels[element];
            voxel < volume.data.len() && {
                let at = Vector3::from(grid.voxel(voxel).map(|index| index as f64));
                let element_at = Vector3::from(self.frame.to_world(self.centre_mm(element)));
                (grid.to_world(at) - element_at).norm() <= 2.0 * SAME_GRID_TOLERANCE_MM
            }
        };
        if spaced && (0..self.element_voxels.len()).all(placed) {
            return Ok(());
        }
        Err(imaging::Error::GridMismatch {
            expected: format!(
                "the grid of the mask the mesh was made from (voxels of {:?} mm)",
                self.lattice.spacing_mm
            ),
            found: grid.to_string(),
        }
        .into())
    }

    /// Nodes of the outer face of the outermost *selected* element of each column of elements along `outward.axis`.
    ///
    /// Elements that are not selected do not hide those that are.
    pub fn outer_face_nodes(
        &self,
        name: &str,
        outward: Outward,
        select: impl Fn(usize) -> bool,
    ) -> NodeSet {
        let faces = self.outermost(outward, &select);
        self.face_nodes(name, outward, faces)
    }

    /// Nodes of the outer face of the outermost element of each column along `outward.axis`, of those columns
    /// whose outermost element is selected: the part of the surface one sees from outside.
    pub fn visible_face_nodes(
        &self,
        name: &str,
        outward: Outward,
        select: impl Fn(usize) -> bool,
    ) -> NodeSet {
        let faces = self
            .outermost(outward, |_| true)
            .into_iter()
            .filter(|&element| select(element))
            .collect();
        self.face_nodes(name, outward, faces)
    }

    /// Lattice layer (cell number along `outward.axis`) of the outermost selected element; `None` when nothing is selected.
    pub fn outermost_layer(
        &self,
        outward: Outward,
        select: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let layers = (0..self.lattice.element_cells.len())
            .filter(|&element| select(element))
            .map(|element| self.lattice.element_cells[element][outward.axis] as usize);
        match outward.side {
            Side::Low => layers.min(),
            Side::High => layers.max(),
        }
    }

    /// The outermost selected element of each column, in column order.
    pub fn outermost(&self, outward: Outward, select: impl Fn(usize) -> bool) -> Vec<usize> {
        let [u, v] = across(outward.axis);
        let width = self.lattice.cells[u];
        let mut outermost = vec![usize::MAX; width * self.lattice.cells[v]];
        for (element, cell) in self.lattice.element_cells.iter().enumerate() {
            if !select(element) {
                continue;
            }
            let column = &mut outermost[cell[u] as usize + width * cell[v] as usize];
            // Within a column the elements ascend along the axis.
            if *column == usize::MAX || outward.side == Side::High {
                *column = element;
            }
        }
        outermost.retain(|&element| element != usize::MAX);
        outermost
    }

    fn face_nodes(&self, name: &str, outward: Outward, elements: Vec<usize>) -> NodeSet {
        let end = usize::from(outward.side == Side::High);
        let nodes = elements
            .into_iter()
            .flat_map(|element| {
                let nodes = &self.mesh.elements[element];
                HEX_CORNERS
                    .iter()
                    .zip(nodes)
                    .filter(|(corner, _)| corner[outward.axis] == end)
                    .map(|(_, &node)| node)
                    .collect::<Vec<_>>()
            })
            .collect();
        NodeSet::new(name, nodes)
    }
}

/// The two axes across `axis`, ascending.
fn across(axis: usize) -> [usize; 2] {
    match axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// Lattice cell and image voxel of every voxel inside, x fastest.
fn cells_inside(mask: &Mask, low: [usize; 3], high: [usize; 3]) -> (Vec<[u32; 3]>, Vec<usize>) {
    let mut cells = Vec::new();
    let mut voxels = Vec::new();
    for k in low[2]..=high[2] {
        for j in low[1]..=high[1] {
            for i in low[0]..=high[0] {
                let voxel = mask.grid.index(i, j, k);
                if mask.data[voxel] {
                    cells.push([
                        (i - low[0]) as u32,
                        (j - low[1]) as u32,
                        (k - low[2]) as u32,
                    ]);
                    voxels.push(voxel);
                }
            }
        }
    }
    (cells, voxels)
}

/// Numbers the lattice points that are corners of a cell, x fastest, and joins the cells' corners to elements.
fn number_nodes(cells: [usize; 3], element_cells: &[[u32; 3]]) -> (Vec<[u32; 3]>, Vec<[u32; 8]>) {
    const UNUSED: u32 = u32::MAX;
    let [px, py, pz] = cells.map(|n| n + 1);
    let point = |cell: &[u32; 3], corner: &[usize; 3]| {
        cell[0] as usize
            + corner[0]
            + px * (cell[1] as usize + corner[1] + py * (cell[2] as usize + corner[2]))
    };
    let mut numbers = vec![UNUSED; px * py * pz];
    for cell in element_cells {
        for corner in &HEX_CORNERS {
            numbers[point(cell, corner)] = 0;
        }
    }
    let mut node_points = Vec::new();
    for (at, number) in numbers.iter_mut().enumerate() {
        if *number != UNUSED {
            *number = node_points.len() as u32;
            node_points.push([
                (at % px) as u32,
                (at / px % py) as u32,
                (at / (px * py)) as u32,
            ]);
        }
    }
    let elements = element_cells
        .iter()
        .map(|cell| HEX_CORNERS.map(|corner| numbers[point(cell, &corner)]))
        .collect();
    (node_points, elements)
}

#[cfg(test)]
mod tests;
