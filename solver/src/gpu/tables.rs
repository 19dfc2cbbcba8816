//! What the kernels look up: which element touches which node, and which point stands beside, above or below which.
//! Depends on the mesh only.

use rayon::prelude::*;

use crate::linear::{FOLLOWING_POINTS, Hierarchy, Rows};
use crate::operator::Topology;

use super::kernels::NONE;

/// Numbers the points of a level without gaps, in their order.
pub(super) struct Points<'r> {
    rows: &'r Rows,
    /// Number of the first point of each run.
    firsts: Vec<u32>,
    /// First run of each row (y fastest), and the end of the last.
    row_runs: Vec<u32>,
    size: [usize; 2],
    /// How many they are.
    pub count: usize,
}

impl<'r> Points<'r> {
    pub(super) fn new(rows: &'r Rows) -> Self {
        let mut size = [0, 0];
        let mut firsts = Vec::with_capacity(rows.runs.len());
        let mut count = 0;
        for run in &rows.runs {
            firsts.push(count as u32);
            count += run.length;
            for axis in 0..2 {
                size[axis] = size[axis].max(run.point[axis + 1] as usize + 1);
            }
        }
        let mut row_runs = vec![0u32; size[0] * size[1] + 1];
        for run in &rows.runs {
            row_runs[run.point[1] as usize + size[0] * run.point[2] as usize + 1] += 1;
        }
        for row in 1..row_runs.len() {
            row_runs[row] += row_runs[row - 1];
        }
        Self {
            rows,
            firsts,
            row_runs,
            size,
            count,
        }
    }

    /// Number of the point at a place of the lattice; [`NONE`] where there is none.
    fn at(&self, place: [i64; 3]) -> u32 {
        let [x, y, z] = place;
        if x < 0 || y < 0 || z < 0 || y as usize >= self.size[0] || z as usize >= self.size[1] {
            return NONE;
        }
        let row = y as usize + self.size[0] * z as usize;
        for run in self.row_runs[row] as usize..self.row_runs[row + 1] as usize {
            let offset = x - i64::from(self.rows.runs[run].point[0]);
            if offset >= 0 && (offset as usize) < self.rows.runs[run].length {
                return self.firsts[run] + offset as u32;
            }
        }
        NONE
    }

    /// Places on the lattice, in order.
    fn places(&self) -> impl Iterator<Item = [i64; 3]> + '_ {
        self.rows.runs.iter().flat_map(|run| {
            let [x, y, z] = run.point.map(i64::from);
            (0..run.length as i64).map(move |offset| [x + offset, y, z])
        })
    }
}

/// A vector of a level without the room beside its rows.
pub(super) fn without_room(rows: &Rows, values: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for component in values.chunks_exact(rows.length) {
        for run in &rows.runs {
            out.extend_from_slice(&component[run.first..run.first + run.length]);
        }
    }
    out
}

/// Nodes of each element, corner by corner for all elements.
pub(super) fn corners(topology: &Topology) -> Vec<u32> {
    (0..8)
        .flat_map(|corner| topology.elements.iter().map(move |nodes| nodes[corner]))
        .collect()
}

/// The element of which each node is corner 0, then corner 1, and so on.
pub(super) fn adjacent(topology: &Topology) -> Vec<u32> {
    let mut table = vec![NONE; 8 * topology.nodes];
    for (element, nodes) in topology.elements.iter().enumerate() {
        for (corner, &node) in nodes.iter().enumerate() {
            table[corner * topology.nodes + node as usize] = element as u32;
        }
    }
    table
}

/// The points that follow each point in a stencil, then those that it follows.
pub(super) fn neighbours(points: &Points) -> Vec<u32> {
    let steps = FOLLOWING_POINTS.map(|step| step.map(i64::from));
    let back = steps.map(|step| step.map(|i| -i));
    table(points, points, &[steps, back].concat(), 1)
}

/// The 27 finer points around each point, x fastest.
pub(super) fn children(points: &Points, finer: &Points) -> Vec<u32> {
    let steps: Vec<[i64; 3]> = (0..27)
        .map(|i| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1])
        .collect();
    table(points, finer, &steps, 2)
}

/// For each step, the point of `targets` at `scale` times the place of each point plus the step.
fn table(points: &Points, targets: &Points, steps: &[[i64; 3]], scale: i64) -> Vec<u32> {
    columns(points, steps, |place, step| {
        targets.at(std::array::from_fn(|axis| scale * place[axis] + step[axis]))
    })
}

/// The coarse points around each point; along an axis on which it stands on a coarse point it has only one.
pub(super) fn parents(points: &Points, coarser: &Points) -> Vec<u32> {
    let sides: [[i64; 3]; 8] =
        std::array::from_fn(|corner| std::array::from_fn(|axis| (corner >> axis & 1) as i64));
    columns(points, &sides, |place, side| {
        if (0..3).any(|axis| side[axis] > place[axis] % 2) {
            NONE
        } else {
            coarser.at(std::array::from_fn(|axis| place[axis] / 2 + side[axis]))
        }
    })
}

/// What `find` says of each point, for each of the steps.
fn columns(
    points: &Points,
    steps: &[[i64; 3]],
    find: impl Fn([i64; 3], &[i64; 3]) -> u32 + Sync,
) -> Vec<u32> {
    let columns: Vec<Vec<u32>> = steps
        .par_iter()
        .map(|step| points.places().map(|place| find(place, step)).collect())
        .collect();
    columns.concat()
}

/// The points of every level, the mesh first.
pub(super) fn levels(hierarchy: &Hierarchy) -> Vec<Points<'_>> {
    (0..=hierarchy.levels.len())
        .map(|level| Points::new(hierarchy.rows(level)))
        .collect()
}
