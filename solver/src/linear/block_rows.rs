//! Sparse matrices of 3 x 3 blocks, one block row per node: the assembled stiffness of meshes that are no lattice.
//!
//! Vectors that meet these matrices are ordered by node first (`3 * node + component`), unlike those of the rest of the
//! solver.

use rayon::prelude::*;

use crate::operator::{InstructionSet, Operator, for_each_set};

/// A 3 x 3 block.
pub type Block3 = [[f32; 3]; 3];

/// Block rows that one task works on.
const CHUNK: usize = 512;

/// Which blocks are stored.
#[derive(Clone, Debug, Default)]
pub struct BlockPattern {
    /// First block of each row, and the end of the last.
    pub start: Vec<usize>,
    /// Block column of each block, ascending within a row.
    pub columns: Vec<u32>,
}

impl BlockPattern {
    /// The pattern in which all nodes of an element know each other.
    pub fn of_elements(nodes: usize, per_element: usize, connectivity: &[u32]) -> Self {
        let mut first = vec![0usize; nodes + 1];
        for &node in connectivity {
            first[node as usize + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        let mut members = vec![0u32; connectivity.len()];
        let mut next = first.clone();
        for (element, nodes) in connectivity.chunks_exact(per_element).enumerate() {
            for &node in nodes {
                members[next[node as usize]] = element as u32;
                next[node as usize] += 1;
            }
        }
        let rows: Vec<Vec<u32>> = (0..nodes)
            .into_par_iter()
            .map(|node| {
                let mut row: Vec<u32> = members[first[node]..first[node + 1]]
                    .iter()
                    .flat_map(|&element| {
                        let at = element as usize * per_element;
                        connectivity[at..at + per_element].iter().copied()
                    })
                    .collect();
                row.sort_unstable();
                row.dedup();
                row
            })
            .collect();
        let mut pattern = Self {
            start: Vec::with_capacity(nodes + 1),
            columns: Vec::with_capacity(rows.iter().map(Vec::len).sum()),
        };
        pattern.start.push(0);
        for row in rows {
            pattern.columns.extend(row);
            pattern.start.push(pattern.columns.len());
        }
        pattern
    }

    /// Number of block rows.
    pub fn rows(&self) -> usize {
        self.start.len().saturating_sub(1)
    }

    /// Place of a block that is stored.
    #[inline(always)]
    pub fn place(&self, row: usize, column: u32) -> usize {
        let from = self.start[row];
        let columns = &self.columns[from..self.start[row + 1]];
        let (mut low, mut length) = (0, columns.len());
        while length > 1 {
            let half = length / 2;
            low += usize::from(columns[low + half] <= column) * half;
            length -= half;
        }
        debug_assert_eq!(columns[low], column);
        from + low
    }
}

/// The assembled stiffness. Every entry is the sum of two single-precision numbers, which together carry 48 bits: the
/// first alone serves the preconditioner, so that no second matrix is kept for it.
#[derive(Clone, Debug, Default)]
pub struct SplitMatrix {
    /// Leading part of each block.
    pub high: Vec<Block3>,
    /// Remainder of each block.
    pub low: Vec<Block3>,
}

impl SplitMatrix {
    /// Makes this a matrix of zeros, in the same memory where it has the pattern already.
    pub fn set_to_zero(&mut self, pattern: &BlockPattern) {
        let count = pattern.columns.len();
        for blocks in [&mut self.high, &mut self.low] {
            if blocks.len() == count {
                let parts = blocks.par_chunks_mut(64 * CHUNK);
                parts.for_each(|part| part.fill([[0.0; 3]; 3]));
            } else {
                *blocks = vec![[[0.0; 3]; 3]; count];
            }
        }
    }
}

/// Adds a block to one in two parts, row by row.
#[inline(always)]
pub fn add_split(high: &mut Block3, low: &mut Block3, values: &[f64; 9]) {
    let (high, low) = (high.as_flattened_mut(), low.as_flattened_mut());
    // Three short loops of known length: these become vector instructions.
    let mut sum = *values;
    for k in 0..9 {
        sum[k] += f64::from(high[k]) + f64::from(low[k]);
    }
    for k in 0..9 {
        high[k] = sum[k] as f32;
    }
    for k in 0..9 {
        low[k] = (sum[k] - f64::from(high[k])) as f32;
    }
}

#[inline(always)]
fn subtract_body<const B: usize>(
    pattern: &BlockPattern,
    blocks: &[[[f32; B]; B]],
    x: &[f32],
    first: usize,
    y: &mut [f32],
) {
    for (row, y) in y.chunks_exact_mut(B).enumerate() {
        let range = pattern.start[first + row]..pattern.start[first + row + 1];
        // Two sums, so that a block need not wait for the one before.
        let mut sums = [[0.0f32; B]; 2];
        for (number, (block, column)) in blocks[range.clone()]
            .iter()
            .zip(&pattern.columns[range])
            .enumerate()
        {
            let at = B * *column as usize;
            let v = &x[at..at + B];
            let sum = &mut sums[number & 1];
            for i in 0..B {
                let mut part = 0.0;
                for j in 0..B {
                    part += block[i][j] * v[j];
                }
                sum[i] += part;
            }
        }
        for i in 0..B {
            y[i] -= sums[0][i] + sums[1][i];
        }
    }
}

for_each_set! {
    fn subtract_3<>(pattern: &BlockPattern, blocks: &[Block3], x: &[f32], first: usize, y: &mut [f32])
        = subtract_body(pattern, blocks, x, first, y)
}

for_each_set! {
    fn subtract_6<>(pattern: &BlockPattern, blocks: &[[[f32; 6]; 6]], x: &[f32], first: usize, y: &mut [f32])
        = subtract_body(pattern, blocks, x, first, y)
}

/// Sizes of blocks that a product exists for.
pub trait BlockRows: Sync {
    /// `y -= A x` in single precision.
    fn subtract_product(&self, pattern: &BlockPattern, x: &[f32], y: &mut [f32]);
}

impl BlockRows for [Block3] {
    fn subtract_product(&self, pattern: &BlockPattern, x: &[f32], y: &mut [f32]) {
        let set = InstructionSet::detect();
        y.par_chunks_mut(3 * CHUNK)
            .enumerate()
            .for_each(|(chunk, y)| subtract_3(set, pattern, self, x, chunk * CHUNK, y));
    }
}

impl BlockRows for [[[f32; 6]; 6]] {
    fn subtract_product(&self, pattern: &BlockPattern, x: &[f32], y: &mut [f32]) {
        let set = InstructionSet::detect();
        y.par_chunks_mut(6 * CHUNK)
            .enumerate()
            .for_each(|(chunk, y)| subtract_6(set, pattern, self, x, chunk * CHUNK, y));
    }
}

#[inline(always)]
fn product_body(
    pattern: &BlockPattern,
    matrix: &SplitMatrix,
    x: &[f64],
    first: usize,
    y: &mut [f64],
) {
    for (row, y) in y.chunks_exact_mut(3).enumerate() {
        let mut sums = [[0.0f64; 3]; 2];
        for place in pattern.start[first + row]..pattern.start[first + row + 1] {
            let at = 3 * pattern.columns[place] as usize;
            let v = [x[at], x[at + 1], x[at + 2]];
            let (high, low) = (&matrix.high[place], &matrix.low[place]);
            let sum = &mut sums[place & 1];
            for i in 0..3 {
                for j in 0..3 {
                    sum[i] += (f64::from(high[i][j]) + f64::from(low[i][j])) * v[j];
                }
            }
        }
        for i in 0..3 {
            y[i] = sums[0][i] + sums[1][i];
        }
    }
}

for_each_set! {
    fn product_part<>(pattern: &BlockPattern, matrix: &SplitMatrix, x: &[f64], first: usize, y: &mut [f64])
        = product_body(pattern, matrix, x, first, y)
}

/// The assembled stiffness as an operator on vectors ordered by component first.
#[derive(Clone, Copy, Debug)]
pub struct BlockOperator<'a> {
    /// Which blocks are stored.
    pub pattern: &'a BlockPattern,
    /// The blocks.
    pub matrix: &'a SplitMatrix,
    /// Constrained unknowns (component first), ascending: rows and columns of the operator that are zero.
    pub constrained: &'a [u32],
}

impl BlockOperator<'_> {
    /// `y = K x` with the rows of the constrained unknowns kept.
    pub fn apply_unmasked(&self, x: &[f64], y: &mut [f64]) {
        let nodes = self.pattern.rows();
        let mut by_node = vec![0.0; x.len()];
        for component in 0..3 {
            for node in 0..nodes {
                by_node[3 * node + component] = x[component * nodes + node];
            }
        }
        let mut product = vec![0.0; x.len()];
        let set = InstructionSet::detect();
        product
            .par_chunks_mut(3 * CHUNK)
            .enumerate()
            .for_each(|(chunk, y)| {
                product_part(set, self.pattern, self.matrix, &by_node, chunk * CHUNK, y);
            });
        for component in 0..3 {
            for node in 0..nodes {
                y[component * nodes + node] = product[3 * node + component];
            }
        }
    }

    /// The diagonal, ordered by node first; 0 at constrained unknowns.
    pub fn diagonal_by_node(&self) -> Vec<f64> {
        let nodes = self.pattern.rows();
        let mut diagonal = vec![0.0; 3 * nodes];
        for node in 0..nodes {
            let place = self.pattern.place(node, node as u32);
            for i in 0..3 {
                diagonal[3 * node + i] = f64::from(self.matrix.high[place][i][i]);
            }
        }
        for &dof in self.constrained {
            diagonal[3 * (dof as usize % nodes) + dof as usize / nodes] = 0.0;
        }
        diagonal
    }
}

impl Operator<f64> for BlockOperator<'_> {
    fn size(&self) -> usize {
        3 * self.pattern.rows()
    }

    /// `y = A x` for an `x` that is zero at the constrained unknowns.
    fn apply(&self, x: &[f64], y: &mut [f64]) {
        self.apply_unmasked(x, y);
        for &dof in self.constrained {
            y[dof as usize] = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_entry_keeps_48_bits() {
        let (mut high, mut low) = ([[0.0f32; 3]; 3], [[0.0f32; 3]; 3]);
        for value in [1.0 / 3.0, 1e4 / 7.0, -2.0 / 11.0] {
            add_split(&mut high, &mut low, &[value; 9]);
        }
        let exact = 1.0 / 3.0 + 1e4 / 7.0 - 2.0 / 11.0;
        for i in 0..9 {
            let (high, low) = (high[i / 3][i % 3], low[i / 3][i % 3]);
            assert!((f64::from(high) + f64::from(low) - exact).abs() < 1e-14 * exact);
        }
    }

    #[test]
    fn the_product_is_that_of_the_whole_matrix() {
        // Two elements of three nodes that share one.
        let pattern = BlockPattern::of_elements(5, 3, &[0, 1, 2, 4, 2, 3]);
        assert_eq!(pattern.start, [0, 3, 6, 11, 14, 17]);
        assert_eq!(pattern.columns[6..11], [0, 1, 2, 3, 4]);
        assert_eq!(pattern.place(2, 3), 9);
        let mut matrix = SplitMatrix::default();
        matrix.set_to_zero(&pattern);
        let entry = |row: usize, column: usize| {
            1.0 / (1.0 + row as f64 + column as f64) + if row == column { 2.0 } else { 0.0 }
        };
        let mut dense = [[0.0; 15]; 15];
        for row in 0..5 {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let column = pattern.columns[place] as usize;
                let mut block = [0.0; 9];
                for i in 0..3 {
                    for j in 0..3 {
                        block[3 * i + j] = entry(3 * row + i, 3 * column + j);
                        // Component first.
                        dense[5 * i + row][5 * j + column] = block[3 * i + j];
                    }
                }
                add_split(&mut matrix.high[place], &mut matrix.low[place], &block);
            }
        }
        let operator = BlockOperator {
            pattern: &pattern,
            matrix: &matrix,
            constrained: &[3],
        };
        let x: Vec<f64> = (0..15).map(|i| f64::from(i * i % 7) - 3.0).collect();
        let mut y = vec![0.0; 15];
        operator.apply_unmasked(&x, &mut y);
        for row in 0..15 {
            let expected: f64 = (0..15).map(|column| dense[row][column] * x[column]).sum();
            assert!((y[row] - expected).abs() < 1e-12, "{row}");
        }
        assert_eq!(operator.diagonal_by_node()[9], 0.0);
        assert!(operator.diagonal_by_node()[10] > 2.0);
    }
}
