//! Sums element matrices into a stencil matrix, layer by layer, and rounds it.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::layout::{NO_POINT, StencilLayout};
use super::product::widen;
use super::{BESIDE, FOLLOWING_ROWS, LARGEST_NUMBER, NEIGHBOURS, NUMBERS, Stencil, first_number};
use crate::linear::rows::{LANES, Run};
use crate::operator::SharedVector;

/// Place among the neighbours of each pair of corners; `None` where the first does not come before the second.
fn neighbour_of(first: usize, second: usize) -> Option<usize> {
    let step = |axis: usize| (second >> axis & 1) as i32 - (first >> axis & 1) as i32;
    NEIGHBOURS.iter().position(|&(row, dx)| {
        let [dy, dz] = FOLLOWING_ROWS[row];
        [dx as i32, dy, dz] == [step(0), step(1), step(2)]
    })
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
                        let rounded = widen::<false>(rounded, LANES * i);
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
}
