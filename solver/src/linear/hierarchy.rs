//! The lattice coarsened by two, again and again: which coarse element holds which fine ones, and how a
//! fine node is interpolated. Depends on the mesh only.

use meshing::Lattice;

use crate::operator::Topology;

/// Trilinear interpolation between the nodes of two levels. A fine node is the plain mean of its 1, 2, 4
/// or 8 parents.
#[derive(Clone, Debug)]
pub struct Transfer {
    parent_start: Vec<u32>,
    parents: Vec<u32>,
    child_start: Vec<u32>,
    children: Vec<u32>,
}

/// A coarse level.
#[derive(Clone, Debug)]
pub struct CoarseLevel {
    /// Its elements.
    pub topology: Topology,
    /// Finer elements inside each element, by octant; `u32::MAX` = none.
    pub children: Vec<[u32; 8]>,
    /// Interpolation to the next finer level.
    pub transfer: Transfer,
}

/// All coarse levels, finest first.
#[derive(Clone, Debug, Default)]
pub struct Hierarchy {
    /// The levels.
    pub levels: Vec<CoarseLevel>,
}

/// A level with at most this many nodes is solved directly.
const COARSEST_NODES: usize = 220;

impl Hierarchy {
    /// Coarsens a lattice until few enough nodes are left.
    pub fn new(lattice: &Lattice) -> Self {
        let mut cells = lattice.element_cells.clone();
        let mut points = lattice.node_points.clone();
        let mut size = lattice.cells;
        let mut levels = Vec::new();
        while points.len() > COARSEST_NODES && size.iter().any(|&n| n > 1) {
            let (level, coarse_cells, coarse_points, coarse_size) = coarsen(&cells, &points, size);
            levels.push(level);
            (cells, points, size) = (coarse_cells, coarse_points, coarse_size);
        }
        Self { levels }
    }
}

type Coarsened = (CoarseLevel, Vec<[u32; 3]>, Vec<[u32; 3]>, [usize; 3]);

fn coarsen(cells: &[[u32; 3]], points: &[[u32; 3]], size: [usize; 3]) -> Coarsened {
    let coarse_size = size.map(|n| n.div_ceil(2));
    let [nx, ny, nz] = coarse_size;
    let cell_at = |c: [usize; 3]| c[0] + nx * (c[1] + ny * c[2]);
    let point_at = |p: [usize; 3]| p[0] + (nx + 1) * (p[1] + (ny + 1) * p[2]);
    const NONE: u32 = u32::MAX;
    let mut cell_number = vec![NONE; nx * ny * nz];
    for cell in cells {
        cell_number[cell_at(cell.map(|i| i as usize / 2))] = 0;
    }
    let mut coarse_cells = Vec::new();
    let mut point_number = vec![NONE; (nx + 1) * (ny + 1) * (nz + 1)];
    for (at, number) in cell_number.iter_mut().enumerate() {
        if *number == 0 {
            *number = coarse_cells.len() as u32;
            let cell = [at % nx, at / nx % ny, at / (nx * ny)];
            coarse_cells.push(cell.map(|i| i as u32));
            for corner in 0..8 {
                point_number[point_at(std::array::from_fn(|axis| {
                    cell[axis] + (corner >> axis & 1)
                }))] = 0;
            }
        }
    }
    let mut coarse_points = Vec::new();
    for (at, number) in point_number.iter_mut().enumerate() {
        if *number == 0 {
            *number = coarse_points.len() as u32;
            let point = [
                at % (nx + 1),
                at / (nx + 1) % (ny + 1),
                at / ((nx + 1) * (ny + 1)),
            ];
            coarse_points.push(point.map(|i| i as u32));
        }
    }
    let mut children = vec![[NONE; 8]; coarse_cells.len()];
    for (element, cell) in cells.iter().enumerate() {
        let parent = cell_number[cell_at(cell.map(|i| i as usize / 2))] as usize;
        let octant = (0..3)
            .map(|axis| (cell[axis] as usize & 1) << axis)
            .sum::<usize>();
        children[parent][octant] = element as u32;
    }
    let elements = coarse_cells
        .iter()
        .map(|cell| {
            std::array::from_fn(|corner| {
                point_number[point_at(std::array::from_fn(|axis| {
                    cell[axis] as usize + (corner >> axis & 1)
                }))]
            })
        })
        .collect::<Vec<_>>();
    let class = vec![0; elements.len()];
    let topology = Topology::lattice(coarse_points.len(), elements, class, |element| {
        coarse_cells[element][2]
    });
    let transfer = Transfer::new(points, coarse_points.len(), |p| point_number[point_at(p)]);
    (
        CoarseLevel {
            topology,
            children,
            transfer,
        },
        coarse_cells,
        coarse_points,
        coarse_size,
    )
}

impl Transfer {
    fn new(points: &[[u32; 3]], coarse_nodes: usize, number: impl Fn([usize; 3]) -> u32) -> Self {
        let mut parent_start = vec![0u32];
        let mut parents: Vec<u32> = Vec::new();
        for point in points {
            let odd: [usize; 3] = point.map(|i| i as usize & 1);
            for corner in 0..8 {
                let offset: [usize; 3] = std::array::from_fn(|axis| corner >> axis & 1);
                if (0..3).all(|axis| offset[axis] <= odd[axis]) {
                    parents.push(number(std::array::from_fn(|axis| {
                        point[axis] as usize / 2 + offset[axis]
                    })));
                }
            }
            parent_start.push(parents.len() as u32);
        }
        let mut child_start = vec![0u32; coarse_nodes + 1];
        for &parent in &parents {
            child_start[parent as usize + 1] += 1;
        }
        for node in 0..coarse_nodes {
            child_start[node + 1] += child_start[node];
        }
        let mut next = child_start.clone();
        let mut children = vec![0; parents.len()];
        for fine in 0..points.len() {
            for &parent in &parents[parent_start[fine] as usize..parent_start[fine + 1] as usize] {
                children[next[parent as usize] as usize] = fine as u32;
                next[parent as usize] += 1;
            }
        }
        Self {
            parent_start,
            parents,
            child_start,
            children,
        }
    }

    fn parents(&self, fine: usize) -> &[u32] {
        &self.parents[self.parent_start[fine] as usize..self.parent_start[fine + 1] as usize]
    }

    /// `fine[i] += mean of coarse over the parents of i`, per component.
    pub fn prolongate(&self, coarse: &[f32], fine: &mut [f32]) {
        let (nf, nc) = (fine.len() / 3, coarse.len() / 3);
        for (fine, coarse) in fine.chunks_exact_mut(nf).zip(coarse.chunks_exact(nc)) {
            for_each_chunk(fine, |start, chunk| {
                for (offset, value) in chunk.iter_mut().enumerate() {
                    let parents = self.parents(start + offset);
                    let sum: f32 = parents.iter().map(|&parent| coarse[parent as usize]).sum();
                    *value += sum / parents.len() as f32;
                }
            });
        }
    }

    /// `coarse = transpose of the interpolation times fine`, per component.
    pub fn restrict(&self, fine: &[f32], coarse: &mut [f32]) {
        let (nf, nc) = (fine.len() / 3, coarse.len() / 3);
        for (coarse, fine) in coarse.chunks_exact_mut(nc).zip(fine.chunks_exact(nf)) {
            for_each_chunk(coarse, |start, chunk| {
                for (offset, value) in chunk.iter_mut().enumerate() {
                    let node = start + offset;
                    let children = &self.children
                        [self.child_start[node] as usize..self.child_start[node + 1] as usize];
                    *value = children
                        .iter()
                        .map(|&child| {
                            fine[child as usize] / self.parents(child as usize).len() as f32
                        })
                        .sum();
                }
            });
        }
    }
}

/// Works on fixed chunks, in parallel when there are many.
fn for_each_chunk(values: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    const CHUNK: usize = 4096;
    if values.len() <= CHUNK {
        work(0, values);
    } else {
        values
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(number, chunk)| work(number * CHUNK, chunk));
    }
}
