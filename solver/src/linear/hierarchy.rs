//! The lattice coarsened by two, again and again: which coarse element holds which fine ones, and where
//! their points stand. Depends on the mesh only.

use meshing::Lattice;

use super::rows::Rows;
use super::stencil::StencilLayout;

/// A coarse level.
#[derive(Clone, Debug)]
pub(crate) struct CoarseLevel {
    /// Finer elements inside each element, by octant; `u32::MAX` = none.
    pub children: Vec<[u32; 8]>,
    /// Its points and its matrix.
    pub layout: StencilLayout,
}

/// All levels.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// The nodes of the mesh.
    pub(crate) nodes: Rows,
    /// The coarse levels, finest first.
    pub(crate) levels: Vec<CoarseLevel>,
}

/// A level with at most this many points is solved directly.
const COARSEST_POINTS: usize = 220;

impl Hierarchy {
    /// Coarsens a lattice until few enough points are left.
    pub fn new(lattice: &Lattice) -> Self {
        let mut size = lattice.cells;
        let nodes = Rows::compact(&lattice.node_points, size.map(|n| n + 1));
        let mut cells = lattice.element_cells.clone();
        let mut points = lattice.node_points.len();
        let mut levels = Vec::new();
        while points > COARSEST_POINTS && size.iter().any(|&n| n > 1) {
            let (level, coarse_cells, coarse_points) = coarsen(&cells, size);
            levels.push(level);
            (cells, points) = (coarse_cells, coarse_points);
            size = size.map(|n| n.div_ceil(2));
        }
        Self { nodes, levels }
    }

    /// Points of a level; 0 is the mesh.
    pub(crate) fn rows(&self, level: usize) -> &Rows {
        match level {
            0 => &self.nodes,
            _ => &self.levels[level - 1].layout.rows,
        }
    }
}

/// The next coarser level of `cells` in a box of `size` cells, its cells and its number of points.
fn coarsen(cells: &[[u32; 3]], size: [usize; 3]) -> (CoarseLevel, Vec<[u32; 3]>, usize) {
    let [nx, ny, nz] = size.map(|n| n.div_ceil(2));
    let cell_at = |c: [usize; 3]| c[0] + nx * (c[1] + ny * c[2]);
    let point_at = |p: [usize; 3]| p[0] + (nx + 1) * (p[1] + (ny + 1) * p[2]);
    const NONE: u32 = u32::MAX;
    let mut cell_number = vec![NONE; nx * ny * nz];
    for cell in cells {
        cell_number[cell_at(cell.map(|i| i as usize / 2))] = 0;
    }
    let mut coarse_cells = Vec::new();
    let mut is_point = vec![false; (nx + 1) * (ny + 1) * (nz + 1)];
    for (at, number) in cell_number.iter_mut().enumerate() {
        if *number == 0 {
            *number = coarse_cells.len() as u32;
            let cell = [at % nx, at / nx % ny, at / (nx * ny)];
            coarse_cells.push(cell.map(|i| i as u32));
            for corner in 0..8 {
                is_point[point_at(std::array::from_fn(|axis| {
                    cell[axis] + (corner >> axis & 1)
                }))] = true;
            }
        }
    }
    let points: Vec<[u32; 3]> = (0..is_point.len())
        .filter(|&at| is_point[at])
        .map(|at| {
            [
                at % (nx + 1),
                at / (nx + 1) % (ny + 1),
                at / ((nx + 1) * (ny + 1)),
            ]
            .map(|i| i as u32)
        })
        .collect();
    let mut children = vec![[NONE; 8]; coarse_cells.len()];
    for (element, cell) in cells.iter().enumerate() {
        let parent = cell_number[cell_at(cell.map(|i| i as usize / 2))] as usize;
        let octant = (0..3)
            .map(|axis| (cell[axis] as usize & 1) << axis)
            .sum::<usize>();
        children[parent][octant] = element as u32;
    }
    let level = CoarseLevel {
        children,
        layout: StencilLayout::new(&coarse_cells, &points, [nx + 1, ny + 1, nz + 1]),
    };
    (level, coarse_cells, points.len())
}
