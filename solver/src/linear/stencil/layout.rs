//! Where the numbers of a stencil matrix stand.

use std::ops::Range;

use super::NUMBERS;
use crate::linear::rows::Rows;

/// An entry between the points.
pub(super) const NO_POINT: u32 = u32::MAX;
/// Runs that one task works on at least.
const BLOCK_RUNS: usize = 32;

/// Where the numbers of a stencil matrix stand; depends on the mesh only.
#[derive(Clone, Debug)]
pub(crate) struct StencilLayout {
    /// The points.
    pub rows: Rows,
    /// Points, with the room behind each run, before each run and in all.
    pub(super) starts: Vec<usize>,
    /// Run of the point at each entry; [`NO_POINT`] = none.
    pub(super) run_of: Vec<u32>,
    /// Runs worked on at the same time, by colour.
    pub(super) colours: [Vec<Range<usize>>; 2],
    /// Run of the low corner's four rows of each element, with the offset of the corner in it.
    pub(super) elements: Vec<[[u32; 2]; 4]>,
    /// Elements of each row of elements, by layer.
    pub(super) element_rows: Vec<Vec<Range<usize>>>,
}

impl StencilLayout {
    /// Lays out the matrix of elements at `cells` (sorted by z, y, x) with corners among `points`.
    pub fn new(cells: &[[u32; 3]], points: &[[u32; 3]], size: [usize; 3]) -> Self {
        let rows = Rows::padded(points, size);
        let mut starts = Vec::with_capacity(rows.runs.len() + 1);
        let mut run_of = vec![NO_POINT; rows.length];
        let mut start = 0;
        for (number, run) in rows.runs.iter().enumerate() {
            starts.push(start);
            start += run.padded();
            run_of[run.first..run.first + run.length].fill(number as u32);
        }
        starts.push(start);
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for layer in &rows.run_layers {
            match blocks.last_mut() {
                Some(block) if block.len() < BLOCK_RUNS => block.end = layer.end,
                _ => blocks.push(layer.clone()),
            }
        }
        let colour = |colour: usize| {
            blocks
                .iter()
                .skip(colour)
                .step_by(2)
                .cloned()
                .collect::<Vec<_>>()
        };
        let colours = [colour(0), colour(1)];
        let elements = cells
            .iter()
            .map(|cell| {
                std::array::from_fn(|row| {
                    let [x, y, z] = cell.map(|i| i as usize);
                    let entry = rows.entry([x, y + (row & 1), z + (row >> 1)]);
                    let run = run_of[entry];
                    [run, (entry - rows.runs[run as usize].first) as u32]
                })
            })
            .collect();
        let mut element_rows: Vec<Vec<Range<usize>>> = vec![Vec::new(); size[2].saturating_sub(1)];
        for (element, cell) in cells.iter().enumerate() {
            let layer = &mut element_rows[cell[2] as usize];
            match layer.last_mut() {
                Some(row) if cells[row.start][1] == cell[1] => row.end = element + 1,
                _ => layer.push(element..element + 1),
            }
        }
        Self {
            rows,
            starts,
            run_of,
            colours,
            elements,
            element_rows,
        }
    }

    /// Places of the points of a layer, with the room behind the runs.
    pub(super) fn points(&self, layer: usize) -> Range<usize> {
        let runs = &self.rows.run_layers[layer];
        self.starts[runs.start]..self.starts[runs.end]
    }

    /// Zeros for the numbers of a layer of points.
    pub(super) fn no_sums(&self, layer: usize) -> Vec<f32> {
        vec![0.0; NUMBERS * self.points(layer).len()]
    }

    /// Layers of cells.
    pub fn layers(&self) -> usize {
        self.element_rows.len()
    }

    /// Elements of a layer of cells.
    pub fn layer(&self, layer: usize) -> Range<usize> {
        match (
            self.element_rows[layer].first(),
            self.element_rows[layer].last(),
        ) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }
}
