//! The matrix of a coarse level: 3x3 blocks between a point and its 26 neighbours, upper half only.
//!
//! Half a stencil is 504 bytes a point in single precision, a fifth of the 24x24 element matrices it is summed from.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{FOLLOWING_ROWS, LANES, Rows};
use crate::operator::{InstructionSet, SharedVector, for_each_set};

/// Neighbours kept: the point itself and the 13 that follow it in the order of the points, each as its place in
/// [`FOLLOWING_ROWS`] and its step along x. Neighbours in one row stand far apart in the list: a load from memory
/// that has just been stored to with another offset would have to wait for it.
const NEIGHBOURS: [(usize, isize); 14] = [
    (0, 0),
    (1, -1),
    (2, -1),
    (3, -1),
    (4, -1),
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (0, 1),
    (1, 1),
    (2, 1),
    (3, 1),
    (4, 1),
];
/// Numbers per point.
const NUMBERS: usize = 9 * NEIGHBOURS.len();
/// Steps along x, y and z to the neighbours kept besides the point itself.
#[cfg(feature = "gpu")]
pub(crate) const FOLLOWING_POINTS: [[i32; 3]; NEIGHBOURS.len() - 1] = {
    let mut steps = [[0; 3]; NEIGHBOURS.len() - 1];
    let mut i = 0;
    while i < steps.len() {
        let (row, dx) = NEIGHBOURS[i + 1];
        let [dy, dz] = FOLLOWING_ROWS[row];
        steps[i] = [dx as i32, dy, dz];
        i += 1;
    }
    steps
};
/// Runs that one task works on at least.
const BLOCK_RUNS: usize = 32;

/// Where the numbers of a stencil matrix stand; depends on the mesh only.
#[derive(Clone, Debug)]
pub(crate) struct StencilLayout {
    /// The points.
    pub rows: Rows,
    /// First number of each run.
    starts: Vec<usize>,
    numbers: usize,
    /// Runs worked on at the same time, by colour.
    colours: [Vec<Range<usize>>; 2],
    /// Run of the low corner's four rows of each element, with the offset of the corner in it.
    elements: Vec<[[u32; 2]; 4]>,
    /// Elements of each row of elements, by layer.
    element_rows: Vec<Vec<Range<usize>>>,
}

impl StencilLayout {
    /// Lays out the matrix of elements at `cells` (sorted by z, y, x) with corners among `points`.
    pub fn new(cells: &[[u32; 3]], points: &[[u32; 3]], size: [usize; 3]) -> Self {
        let rows = Rows::padded(points, size);
        let mut starts = Vec::with_capacity(rows.runs.len());
        let mut numbers = 0;
        for run in &rows.runs {
            starts.push(numbers);
            numbers += NUMBERS * run.padded();
        }
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
        let mut run_of = vec![0u32; rows.length];
        for (number, run) in rows.runs.iter().enumerate() {
            run_of[run.first..run.first + run.length].fill(number as u32);
        }
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
            numbers,
            colours,
            elements,
            element_rows,
        }
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

/// The numbers of a stencil matrix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stencil {
    numbers: Vec<f32>,
}

/// Place among the neighbours of each pair of corners; `None` where the first does not come before the second.
fn neighbour_of(first: usize, second: usize) -> Option<usize> {
    let step = |axis: usize| (second >> axis & 1) as i32 - (first >> axis & 1) as i32;
    NEIGHBOURS.iter().position(|&(row, dx)| {
        let [dy, dz] = FOLLOWING_ROWS[row];
        [dx as i32, dy, dz] == [step(0), step(1), step(2)]
    })
}

impl Stencil {
    /// All numbers zero.
    pub fn clear(&mut self, layout: &StencilLayout) {
        self.numbers.clear();
        self.numbers.resize(layout.numbers, 0.0);
    }

    /// Adds the 24x24 matrices of the elements of a layer.
    pub fn add_layer(&mut self, layout: &StencilLayout, layer: usize, matrices: &[f32]) {
        let neighbours: [[Option<usize>; 8]; 8] =
            std::array::from_fn(|a| std::array::from_fn(|b| neighbour_of(a, b)));
        let first = layout.layer(layer).start;
        let shared = SharedVector::new(&mut self.numbers);
        let add_row = |row: &Range<usize>| {
            // SAFETY: elements of one row touch the numbers of the points of its own two rows of points in two
            // layers; rows of elements that are worked on at the same time are not neighbours.
            let numbers = unsafe { shared.slice() };
            for element in row.clone() {
                let matrix = &matrices[576 * (element - first)..576 * (element - first + 1)];
                for a in 0..8 {
                    let [run, offset] = layout.elements[element][a >> 1];
                    let pitch = layout.rows.runs[run as usize].padded();
                    let at = layout.starts[run as usize] + offset as usize + (a & 1);
                    let numbers = &mut numbers[at..at + pitch * (NUMBERS - 1) + 1];
                    for b in 0..8 {
                        let Some(neighbour) = neighbours[a][b] else {
                            continue;
                        };
                        for ca in 0..3 {
                            for cb in 0..3 {
                                numbers[pitch * (9 * neighbour + 3 * ca + cb)] +=
                                    matrix[24 * (8 * ca + a) + 8 * cb + b];
                            }
                        }
                    }
                }
            }
        };
        let rows = &layout.element_rows[layer];
        // Rows need not be neighbours in the list only because they are in space: a gap only separates them more.
        for colour in 0..2 {
            rows.par_iter()
                .skip(colour)
                .step_by(2)
                .with_min_len(2)
                .for_each(add_row);
        }
    }

    /// `y += sign * A x`.
    pub fn add_product(
        &self,
        layout: &StencilLayout,
        instructions: InstructionSet,
        sign: f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        let shared = SharedVector::new(y);
        let work = |runs: &Range<usize>| {
            // SAFETY: a block of runs adds to its own layers of points and to the next one; blocks of one colour
            // are separated by a block of at least one layer.
            let y = unsafe { shared.slice() };
            add_runs(instructions, layout, &self.numbers, runs, sign, x, y);
        };
        for colour in &layout.colours {
            if layout.rows.length < 4096 {
                colour.iter().for_each(work);
            } else {
                colour.par_iter().for_each(work);
            }
        }
    }

    /// The diagonal.
    pub fn diagonal(&self, layout: &StencilLayout) -> Vec<f64> {
        let n = layout.rows.length;
        let mut diagonal = vec![0.0; 3 * n];
        for (run, &start) in layout.rows.runs.iter().zip(&layout.starts) {
            for component in 0..3 {
                for offset in 0..run.length {
                    diagonal[component * n + run.first + offset] =
                        f64::from(self.numbers[start + run.padded() * 4 * component + offset]);
                }
            }
        }
        diagonal
    }

    /// Number by number for all points, without the room behind the runs.
    #[cfg(feature = "gpu")]
    pub fn by_number(&self, layout: &StencilLayout) -> Vec<f32> {
        let points: usize = layout.rows.runs.iter().map(|run| run.length).sum();
        let mut numbers = vec![0.0; NUMBERS * points];
        numbers
            .par_chunks_exact_mut(points.max(1))
            .enumerate()
            .for_each(|(number, values)| {
                let mut at = 0;
                for (run, &start) in layout.rows.runs.iter().zip(&layout.starts) {
                    let from = start + run.padded() * number;
                    values[at..at + run.length]
                        .copy_from_slice(&self.numbers[from..from + run.length]);
                    at += run.length;
                }
            });
        numbers
    }

    /// The whole matrix over the points only (component first), row by row, and the entry of each point.
    pub fn dense(&self, layout: &StencilLayout) -> (Vec<f64>, Vec<usize>) {
        let rows = &layout.rows;
        let mut entries = Vec::new();
        let mut number = vec![usize::MAX; rows.length];
        for run in &rows.runs {
            for entry in run.first..run.first + run.length {
                number[entry] = entries.len();
                entries.push(entry);
            }
        }
        let points = entries.len();
        let n = 3 * points;
        let mut dense = vec![0.0; n * n];
        for (run, &start) in rows.runs.iter().zip(&layout.starts) {
            for offset in 0..run.length {
                let i = number[run.first + offset];
                for (neighbour, &(row, dx)) in NEIGHBOURS.iter().enumerate() {
                    let at = start + run.padded() * 9 * neighbour + offset;
                    let other = (run.first + offset) as isize + run.rows[row] + dx;
                    let Some(&j) = usize::try_from(other).ok().and_then(|o| number.get(o)) else {
                        continue;
                    };
                    if j == usize::MAX {
                        continue;
                    }
                    for a in 0..3 {
                        for b in 0..3 {
                            let value = f64::from(self.numbers[at + run.padded() * (3 * a + b)]);
                            if value != 0.0 {
                                dense[n * (a * points + i) + b * points + j] = value;
                                dense[n * (b * points + j) + a * points + i] = value;
                            }
                        }
                    }
                }
            }
        }
        (dense, entries)
    }
}

type Lane = [f32; LANES];

#[inline(always)]
fn load(values: &[f32], at: usize) -> Lane {
    let mut lane = [0.0; LANES];
    lane.copy_from_slice(&values[at..at + LANES]);
    lane
}

#[inline(always)]
fn fused<const FUSED: bool>(sum: &mut Lane, a: &Lane, b: &Lane) {
    for lane in 0..LANES {
        sum[lane] = if FUSED {
            a[lane].mul_add(b[lane], sum[lane])
        } else {
            a[lane] * b[lane] + sum[lane]
        };
    }
}

#[inline(always)]
fn add_lane(y: &mut [f32], at: usize, sign: f32, value: &Lane) {
    for (y, value) in y[at..at + LANES].iter_mut().zip(value) {
        *y += sign * value;
    }
}

for_each_set! {
    fn add_runs<>(
        layout: &StencilLayout,
        numbers: &[f32],
        runs: &Range<usize>,
        sign: f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        portable: add_runs_body::<false>(layout, numbers, runs, sign, x, y),
        avx2: add_runs_body::<true>(layout, numbers, runs, sign, x, y),
        avx512: add_runs_body::<true>(layout, numbers, runs, sign, x, y),
    }
}

/// Adds the rows of the matrix that belong to some runs, and by symmetry the columns.
#[inline(always)]
fn add_runs_body<const FUSED: bool>(
    layout: &StencilLayout,
    numbers: &[f32],
    runs: &Range<usize>,
    sign: f32,
    x: &[f32],
    y: &mut [f32],
) {
    let n = layout.rows.length;
    for (run, &start) in layout.rows.runs[runs.clone()]
        .iter()
        .zip(&layout.starts[runs.clone()])
    {
        let pitch = run.padded();
        for offset in (0..pitch).step_by(LANES) {
            let here = run.first + offset;
            let own = [load(x, here), load(x, n + here), load(x, 2 * n + here)];
            let mut sum = [[0.0; LANES]; 3];
            let mut at = start + offset;
            for (number, &(row, dx)) in NEIGHBOURS.iter().enumerate() {
                let there = (here as isize + run.rows[row] + dx) as usize;
                let other = [load(x, there), load(x, n + there), load(x, 2 * n + there)];
                let mut back = [[0.0; LANES]; 3];
                for a in 0..3 {
                    for b in 0..3 {
                        let value = load(numbers, at + pitch * (3 * a + b));
                        fused::<FUSED>(&mut sum[a], &value, &other[b]);
                        fused::<FUSED>(&mut back[b], &value, &own[a]);
                    }
                }
                at += 9 * pitch;
                // The block of the point itself has no mirror image.
                if number > 0 {
                    for b in 0..3 {
                        add_lane(y, b * n + there, sign, &back[b]);
                    }
                }
            }
            for a in 0..3 {
                add_lane(y, a * n + here, sign, &sum[a]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_that_of_the_element_matrices() {
        // A ragged body with rows of many lengths.
        let size = [21usize, 7, 5];
        let mut cells = Vec::new();
        for z in 0..size[2] as u32 {
            for y in 0..size[1] as u32 {
                for x in 0..size[0] as u32 {
                    if (x + 3 * y + 5 * z) % 11 > 1 + z % 2 && x > y / 2 {
                        cells.push([x, y, z]);
                    }
                }
            }
        }
        let mut points = std::collections::BTreeSet::new();
        for c in &cells {
            for corner in 0..8 {
                let p: [u32; 3] = std::array::from_fn(|a| c[a] + (corner >> a & 1));
                points.insert([p[2], p[1], p[0]]);
            }
        }
        let points: Vec<[u32; 3]> = points.into_iter().map(|[z, y, x]| [x, y, z]).collect();
        let layout = StencilLayout::new(&cells, &points, size.map(|n| n + 1));
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let mut matrices = vec![0.0f32; 576 * cells.len()];
        for matrix in matrices.chunks_exact_mut(576) {
            for i in 0..24 {
                for j in 0..=i {
                    let value = random();
                    matrix[24 * i + j] = value;
                    matrix[24 * j + i] = value;
                }
            }
        }
        let mut stencil = Stencil::default();
        stencil.clear(&layout);
        for layer in 0..layout.layers() {
            let range = layout.layer(layer);
            stencil.add_layer(
                &layout,
                layer,
                &matrices[576 * range.start..576 * range.end],
            );
        }
        let n = layout.rows.length;
        let entry = |p: [u32; 3]| layout.rows.entry(p.map(|i| i as usize));
        let mut x = vec![0.0f32; 3 * n];
        for &p in &points {
            for c in 0..3 {
                x[c * n + entry(p)] = random();
            }
        }
        let mut expected = vec![0.0f64; 3 * n];
        for (cell, matrix) in cells.iter().zip(matrices.chunks_exact(576)) {
            let at = |local: usize| {
                let corner = local % 8;
                let p = std::array::from_fn(|a| cell[a] + (corner as u32 >> a & 1));
                local / 8 * n + entry(p)
            };
            for i in 0..24 {
                for j in 0..24 {
                    expected[at(i)] += f64::from(matrix[24 * i + j]) * f64::from(x[at(j)]);
                }
            }
        }
        for instructions in [InstructionSet::Portable, InstructionSet::detect()] {
            let mut y = vec![0.0f32; 3 * n];
            stencil.add_product(&layout, instructions, -1.0, &x, &mut y);
            for i in 0..3 * n {
                assert!(
                    (f64::from(y[i]) + expected[i]).abs() < 1e-4,
                    "{instructions:?} {i}"
                );
            }
        }
        let (dense, entries) = stencil.dense(&layout);
        let count = entries.len();
        let diagonal = stencil.diagonal(&layout);
        for i in 0..3 * count {
            let value: f64 = (0..3 * count)
                .map(|j| {
                    let (c, j_) = (j / count, j % count);
                    dense[3 * count * i + j] * f64::from(x[c * n + entries[j_]])
                })
                .sum();
            let at = i / count * n + entries[i % count];
            assert!((value - expected[at]).abs() < 1e-4, "row {i}");
            assert_eq!(dense[3 * count * i + i], diagonal[at]);
        }
    }
}
