//! The matrix of a coarse level: 3x3 blocks between a point and its 26 neighbours, upper half only.
//!
//! Its product is bound by memory, so the blocks to the neighbours are kept in half precision and those of the points
//! themselves in single: 270 bytes a point, a ninth of the 24x24 element matrices they are summed from. What rounding
//! takes from the blocks to the neighbours goes to those of the points, so that a rigid translation still costs no energy. On
//! femora of 2 to 0.5 mm the iterations are as many without that.

mod layout;
mod product;
mod summation;

use half::f16;
#[cfg(feature = "gpu")]
use rayon::prelude::*;

use super::rows::{FOLLOWING_ROWS, LANES};
pub(crate) use layout::StencilLayout;

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

/// The numbers of a stencil matrix, in units that half precision can hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stencil {
    /// Block of each point with itself: number by number for [`LANES`] points of a run, as the product reads them.
    own: Vec<f32>,
    /// Blocks to the following neighbours, likewise.
    beside: Vec<f16>,
    /// N/mm that a number of 1 stands for; a power of two.
    unit: f32,
    /// All numbers unrounded, of the coarsest level only: what is factorised must be positive definite, and rounding
    /// would bend the modes of the whole body, which have the least energy.
    exact: Vec<f32>,
    /// Numbers of the two layers of points that the elements of a layer add to, with the blocks of the points themselves
    /// first.
    sums: [Vec<f32>; 2],
}

/// First of so many `numbers` of the point at a place; the others follow [`LANES`] apart.
#[inline(always)]
fn first_number(numbers: usize, place: usize) -> usize {
    numbers * (place - place % LANES) + place % LANES
}

impl Stencil {
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

#[cfg(test)]
mod tests {
    use super::product::widen;
    use super::*;
    use crate::operator::InstructionSet;

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
            assert_eq!(widen::<false>(&[half; LANES], 0), [half.to_f32(); LANES]);
            if InstructionSet::detect() != InstructionSet::Portable {
                assert_eq!(widen::<true>(&[half; LANES], 0), [half.to_f32(); LANES]);
            }
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
