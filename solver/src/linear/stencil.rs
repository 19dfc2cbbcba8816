//! The matrix of a coarse level: 3x3 blocks between a point and its 26 neighbours, upper half only.
//!
//! Its product is bound by memory, so the blocks to the neighbours are kept in half precision and those of the points
//! themselves in single: 270 bytes a point, a ninth of the 24x24 element matrices they are summed from. What rounding
//! takes from the blocks to the neighbours goes to those of the points, so that a rigid translation still costs no energy.
//! Without that a uniform bone would stand on springs, of 1e-4 of the diagonal, that its finest coarse level feels.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::rows::{FOLLOWING_ROWS, LANES, Rows, Run};
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
/// Numbers per point, and those of them in half precision.
const NUMBERS: usize = 9 * NEIGHBOURS.len();
const BESIDE: usize = NUMBERS - 9;
/// Half precision reaches from 6e-8 to 65504. The largest diagonal entry of the mesh, quadrupled from level to level (a
/// uniform body doubles it), is put here.
const LARGEST_NUMBER: f64 = 256.0;
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
/// An entry between the points.
const NO_POINT: u32 = u32::MAX;
/// Runs that one task works on at least.
const BLOCK_RUNS: usize = 32;

/// Where the numbers of a stencil matrix stand; depends on the mesh only.
#[derive(Clone, Debug)]
pub(crate) struct StencilLayout {
    /// The points.
    pub rows: Rows,
    /// Points, with the room behind each run, before each run and in all.
    starts: Vec<usize>,
    /// Run of the point at each entry; [`NO_POINT`] = none.
    run_of: Vec<u32>,
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
    fn points(&self, layer: usize) -> Range<usize> {
        let runs = &self.rows.run_layers[layer];
        self.starts[runs.start]..self.starts[runs.end]
    }

    /// Zeros for the numbers of a layer of points.
    fn no_sums(&self, layer: usize) -> Vec<f32> {
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

/// The numbers of a stencil matrix, in units that half precision can hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stencil {
    /// Block of each point with itself: number by number for [`LANES`] points of a run, as the product reads them.
    own: Vec<f32>,
    /// Blocks to the following neighbours, likewise.
    beside: Vec<f16>,
    unit: f32,
    /// All numbers unrounded, of the coarsest level only: what is factorised must be positive definite, and rounding
    /// would bend the modes of the whole body, which have the least energy.
    exact: Vec<f32>,
    /// Numbers of the two layers of points that the elements of a layer add to, with the blocks of the points themselves
    /// first.
    sums: [Vec<f32>; 2],
}

/// Place among the neighbours of each pair of corners; `None` where the first does not come before the second.
fn neighbour_of(first: usize, second: usize) -> Option<usize> {
    let step = |axis: usize| (second >> axis & 1) as i32 - (first >> axis & 1) as i32;
    NEIGHBOURS.iter().position(|&(row, dx)| {
        let [dy, dz] = FOLLOWING_ROWS[row];
        [dx as i32, dy, dz] == [step(0), step(1), step(2)]
    })
}

/// First of so many `numbers` of the point at a place; the others follow [`LANES`] apart.
#[inline(always)]
fn first_number(numbers: usize, place: usize) -> usize {
    numbers * (place - place % LANES) + place % LANES
}

impl Stencil {
    /// Makes room for a matrix. `largest` is about its largest number; `coarsest` keeps what [`Stencil::dense`] needs.
    pub fn clear(&mut self, layout: &StencilLayout, largest: f64, coarsest: bool) {
        let points = layout.starts.last().copied().unwrap_or(0);
        self.own.resize(9 * points, 0.0);
        self.beside.resize(BESIDE * points, f16::ZERO);
        self.exact = vec![0.0; if coarsest { NUMBERS * points } else { 0 }];
        // A power of two, so that scaling does not round.
        self.unit = (largest / LARGEST_NUMBER).log2().ceil().exp2() as f32;
        self.unit = self.unit.max(f32::MIN_POSITIVE);
        self.sums = [layout.no_sums(0), Vec::new()];
    }

    /// Adds the 24x24 matrices of the elements of a layer. Layers come in order, and each once.
    pub fn add_layer(&mut self, layout: &StencilLayout, layer: usize, matrices: &[f32]) {
        self.sums[1] = layout.no_sums(layer + 1);
        let neighbours: [[Option<usize>; 8]; 8] =
            std::array::from_fn(|a| std::array::from_fn(|b| neighbour_of(a, b)));
        let first = layout.layer(layer).start;
        let origins = [layer, layer + 1].map(|layer| layout.points(layer).start);
        let shared = self.sums.each_mut().map(|sums| SharedVector::new(sums));
        let add_row = |row: &Range<usize>| {
            // SAFETY: elements of one row touch the numbers of the points of its own two rows of points in two
            // layers; rows of elements that are worked on at the same time are not neighbours.
            let sums = shared.each_ref().map(|sums| unsafe { sums.slice() });
            for element in row.clone() {
                let matrix = &matrices[576 * (element - first)..576 * (element - first + 1)];
                for a in 0..8 {
                    let [run, offset] = layout.elements[element][a >> 1];
                    let place =
                        layout.starts[run as usize] - origins[a >> 2] + (offset as usize + (a & 1));
                    let at = first_number(NUMBERS, place);
                    let numbers = &mut sums[a >> 2][at..at + LANES * (NUMBERS - 1) + 1];
                    for b in 0..8 {
                        let Some(neighbour) = neighbours[a][b] else {
                            continue;
                        };
                        for ca in 0..3 {
                            for cb in 0..3 {
                                numbers[LANES * (9 * neighbour + 3 * ca + cb)] +=
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
        self.round(layout, layer);
        self.sums.swap(0, 1);
        if layer + 1 == layout.layers() {
            self.sums[1] = Vec::new();
            self.round(layout, layer + 1);
            self.sums = Default::default();
        }
    }

    /// Rounds the summed numbers of a layer of points.
    fn round(&mut self, layout: &StencilLayout, layer: usize) {
        let origin = layout.points(layer).start;
        let next = layout.points(layer).end;
        if let Some(exact) = self.exact.get_mut(NUMBERS * origin..NUMBERS * next) {
            exact.copy_from_slice(&self.sums[0]);
        }
        let (unit, compensate) = (self.unit, self.exact.is_empty());
        let shared = self.sums.each_mut().map(|sums| SharedVector::new(sums));
        let shared_beside = SharedVector::new(&mut self.beside);
        let round_run = |run: &Run, start: usize| {
            // SAFETY: a run writes its own numbers, and adds to those of the points of its row and the next in its layer
            // and of three rows in the next layer; runs that are worked on at the same time are three rows apart.
            let sums = shared.each_ref().map(|sums| unsafe { sums.slice() });
            let beside = unsafe { shared_beside.slice() };
            let [sums, next_sums] = sums;
            let mut lost = [0.0; 9 * LANES];
            for offset in (0..run.padded()).step_by(LANES) {
                let from = NUMBERS * (start + offset - origin);
                for (number, &(row, dx)) in NEIGHBOURS.iter().enumerate().skip(1) {
                    let exact = &sums[from + 9 * LANES * number..][..9 * LANES];
                    for (lost, exact) in lost.iter_mut().zip(exact) {
                        // Saturated, so that what does not fit is only a worse preconditioner.
                        *lost = (exact / unit).clamp(f16::MIN.to_f32(), f16::MAX.to_f32());
                    }
                    let rounded = BESIDE * (start + offset) + 9 * LANES * (number - 1);
                    let rounded = &mut beside[rounded..][..9 * LANES];
                    rounded.convert_from_f32_slice(&lost);
                    if !compensate {
                        continue;
                    }
                    for i in 0..9 {
                        let rounded = widen(rounded, LANES * i);
                        for lane in 0..LANES {
                            let lost = &mut lost[LANES * i + lane];
                            *lost = (*lost - rounded[lane]) * unit;
                        }
                    }
                    // The matrix stays symmetric. A neighbour that is no point has lost nothing.
                    let mean = |i: usize, lane: usize| {
                        0.5 * (lost[LANES * i + lane] + lost[LANES * (i % 3 * 3 + i / 3) + lane])
                    };
                    for i in 0..9 {
                        for lane in 0..LANES {
                            sums[from + LANES * i + lane] += mean(i, lane);
                        }
                    }
                    for lane in 0..LANES.min(run.length - offset) {
                        let there = (run.first + offset + lane) as isize + run.rows[row] + dx;
                        let Some(&other) = usize::try_from(there)
                            .ok()
                            .and_then(|there| layout.run_of.get(there))
                            .filter(|other| **other != NO_POINT)
                        else {
                            continue;
                        };
                        let place = layout.starts[other as usize] + there as usize
                            - layout.rows.runs[other as usize].first;
                        let sums = if place < next {
                            &mut sums[first_number(NUMBERS, place - origin)..]
                        } else {
                            &mut next_sums[first_number(NUMBERS, place - next)..]
                        };
                        for i in 0..9 {
                            sums[LANES * i] += mean(i, lane);
                        }
                    }
                }
            }
        };
        let runs = layout.rows.run_layers[layer].clone();
        let runs = || {
            runs.clone()
                .map(|run| (&layout.rows.runs[run], layout.starts[run]))
        };
        let rows: Vec<Vec<(&Run, usize)>> = (0..3)
            .map(|colour| {
                runs()
                    .filter(|(run, _)| run.point[1] % 3 == colour)
                    .collect()
            })
            .collect();
        for rows in rows {
            // Runs of one row in a row, as a run may add to the next one of its row.
            rows.par_chunk_by(|(a, _), (b, _)| a.point[1] == b.point[1])
                .for_each(|row| row.iter().for_each(|(run, start)| round_run(run, *start)));
        }
        for (group, own) in self.own[9 * origin..9 * next]
            .chunks_exact_mut(9 * LANES)
            .enumerate()
        {
            for (own, sum) in own.iter_mut().zip(&self.sums[0][NUMBERS * LANES * group..]) {
                *own = sum / unit;
            }
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
            add_runs(instructions, layout, self, runs, sign, x, y);
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
        for (number, run) in layout.rows.runs.iter().enumerate() {
            for component in 0..3 {
                for offset in 0..run.length {
                    diagonal[component * n + run.first + offset] =
                        f64::from(self.value(layout, number, 4 * component, offset));
                }
            }
        }
        diagonal
    }

    /// A number of a point of a run.
    fn value(&self, layout: &StencilLayout, run: usize, number: usize, offset: usize) -> f32 {
        let place = layout.starts[run] + offset;
        let value = match number.checked_sub(9) {
            None => self.own[first_number(9, place) + LANES * number],
            Some(number) => self.beside[first_number(BESIDE, place) + LANES * number].to_f32(),
        };
        self.unit * value
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
                let mut values = values.iter_mut();
                for (run, length) in layout.rows.runs.iter().map(|run| run.length).enumerate() {
                    for (offset, value) in values.by_ref().take(length).enumerate() {
                        *value = self.value(layout, run, number, offset);
                    }
                }
            });
        numbers
    }

    /// The whole matrix of the coarsest level over the points only (component first), row by row, and the entry of each
    /// point.
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
                    let at = first_number(NUMBERS, start + offset) + 9 * LANES * neighbour;
                    let other = (run.first + offset) as isize + run.rows[row] + dx;
                    let Some(&j) = usize::try_from(other).ok().and_then(|o| number.get(o)) else {
                        continue;
                    };
                    if j == usize::MAX {
                        continue;
                    }
                    for a in 0..3 {
                        for b in 0..3 {
                            let value = f64::from(self.exact[at + LANES * (3 * a + b)]);
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

/// Half to single precision, by its bits: the exponent has another bias. Without branches or a call, so that it is done
/// for all lanes at once; the values are finite.
#[inline(always)]
fn widen(values: &[f16], at: usize) -> Lane {
    const BIAS: f32 = f32::from_bits((127 + 112) << 23);
    let mut lane = [0.0; LANES];
    for (lane, value) in lane.iter_mut().zip(&values[at..at + LANES]) {
        // The sign fills the upper half; of it only the highest bit is kept.
        let bits = (i32::from(value.to_bits() as i16) << 13) as u32 & 0x8fff_e000;
        *lane = f32::from_bits(bits) * BIAS;
    }
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
        stencil: &Stencil,
        runs: &Range<usize>,
        sign: f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        portable: add_runs_body::<false>(layout, stencil, runs, sign, x, y),
        avx2: add_runs_body::<true>(layout, stencil, runs, sign, x, y),
        avx512: add_runs_body::<true>(layout, stencil, runs, sign, x, y),
    }
}

/// Adds the rows of the matrix that belong to some runs, and by symmetry the columns.
#[inline(always)]
fn add_runs_body<const FUSED: bool>(
    layout: &StencilLayout,
    stencil: &Stencil,
    runs: &Range<usize>,
    sign: f32,
    x: &[f32],
    y: &mut [f32],
) {
    let n = layout.rows.length;
    let factor = sign * stencil.unit;
    for (run, &start) in layout.rows.runs[runs.clone()]
        .iter()
        .zip(&layout.starts[runs.clone()])
    {
        for offset in (0..run.padded()).step_by(LANES) {
            let here = run.first + offset;
            let own = [load(x, here), load(x, n + here), load(x, 2 * n + here)];
            let mut sum = [[0.0; LANES]; 3];
            let numbers = &stencil.own[9 * (start + offset)..][..9 * LANES];
            for a in 0..3 {
                for b in 0..3 {
                    let value = load(numbers, LANES * (3 * a + b));
                    fused::<FUSED>(&mut sum[a], &value, &own[b]);
                }
            }
            let numbers = &stencil.beside[BESIDE * (start + offset)..][..BESIDE * LANES];
            for (numbers, &(row, dx)) in numbers.chunks_exact(9 * LANES).zip(&NEIGHBOURS[1..]) {
                let there = (here as isize + run.rows[row] + dx) as usize;
                let other = [load(x, there), load(x, n + there), load(x, 2 * n + there)];
                let mut back = [[0.0; LANES]; 3];
                for a in 0..3 {
                    for b in 0..3 {
                        let value = widen(numbers, LANES * (3 * a + b));
                        fused::<FUSED>(&mut sum[a], &value, &other[b]);
                        fused::<FUSED>(&mut back[b], &value, &own[a]);
                    }
                }
                for b in 0..3 {
                    add_lane(y, b * n + there, factor, &back[b]);
                }
            }
            for a in 0..3 {
                add_lane(y, a * n + here, factor, &sum[a]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ragged body with rows of many lengths: cells and points.
    fn ragged_body() -> (Vec<[u32; 3]>, Vec<[u32; 3]>, StencilLayout) {
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
        (cells, points, layout)
    }

    /// Numbers between -0.5 and 0.5.
    fn noise() -> impl FnMut() -> f32 {
        let mut state = 1u32;
        move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        }
    }

    fn stencil_of(layout: &StencilLayout, matrices: &[f32], coarsest: bool) -> Stencil {
        let mut stencil = Stencil::default();
        stencil.clear(layout, 4.0, coarsest);
        for layer in 0..layout.layers() {
            let range = layout.layer(layer);
            stencil.add_layer(layout, layer, &matrices[576 * range.start..576 * range.end]);
        }
        stencil
    }

    #[test]
    fn rounding_leaves_translations_free() {
        let (cells, points, layout) = ragged_body();
        let mut random = noise();
        // Each node pulls at each other with a symmetric block, and no force is left over: a body on no support.
        let mut matrices = vec![0.0f32; 576 * cells.len()];
        for matrix in matrices.chunks_exact_mut(576) {
            for first in 0..8 {
                for second in 0..first {
                    let pull = [[0; 3]; 3].map(|row| row.map(|_| random()));
                    for a in 0..3 {
                        for b in 0..3 {
                            let value = pull[a.max(b)][a.min(b)];
                            let at = |p: usize, q: usize| 24 * (8 * a + p) + 8 * b + q;
                            matrix[at(first, second)] = value;
                            matrix[at(second, first)] = value;
                            matrix[at(first, first)] -= value;
                            matrix[at(second, second)] -= value;
                        }
                    }
                }
            }
        }
        let stencil = stencil_of(&layout, &matrices, false);
        let n = layout.rows.length;
        for component in 0..3 {
            let mut x = vec![0.0f32; 3 * n];
            for p in &points {
                x[component * n + layout.rows.entry(p.map(|i| i as usize))] = 1.0;
            }
            let mut y = vec![0.0f32; 3 * n];
            stencil.add_product(&layout, InstructionSet::detect(), 1.0, &x, &mut y);
            let largest = y.iter().fold(0.0f32, |m, y| m.max(y.abs()));
            // The numbers are rounded to 2.4e-4 of their size, single precision to 1e-7.
            assert!(largest < 1e-5, "{component}: {largest}");
        }
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        for value in [0.0f32, 1.0, -1.5, 6.1e-5, -5.96e-8, 3e-7, 65504.0, -1234.0] {
            let half = f16::from_f32(value);
            assert_eq!(widen(&[half; LANES], 0), [half.to_f32(); LANES]);
        }
    }

    #[test]
    fn the_product_is_that_of_the_element_matrices() {
        let (cells, points, layout) = ragged_body();
        let mut random = noise();
        // Multiples of 1/32 up to 4 are exact in half precision.
        let mut matrices = vec![0.0f32; 576 * cells.len()];
        for matrix in matrices.chunks_exact_mut(576) {
            for i in 0..24 {
                for j in 0..=i {
                    let value = (32.0 * random()).round() / 32.0;
                    matrix[24 * i + j] = value;
                    matrix[24 * j + i] = value;
                }
            }
        }
        let stencil = stencil_of(&layout, &matrices, true);
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
