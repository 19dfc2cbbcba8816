//! Smoothed aggregation with the rigid-body modes (Vanek, Mandel, Brezina 1996, Computing 56:179).
//!
//! Nodes are gathered in aggregates; on each, the coarse functions are the rigid motions, made orthonormal, and then
//! smoothed by one Jacobi step. Every coarse node so carries six unknowns.

use super::block_rows::BlockPattern;

/// Coarse unknowns of an aggregate.
pub(super) const MODES: usize = 6;

/// `R` unknowns of a fine node from the six of coarse nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Prolongation<const R: usize> {
    /// Coarse nodes of each fine node.
    pub(super) pattern: BlockPattern,
    pub(super) blocks: Vec<[[f32; MODES]; R]>,
}

/// Rigid motions (or what stands for them on a coarse level) of every node.
pub(super) type NearKernel<const R: usize> = Vec<[[f64; MODES]; R]>;

/// The rigid-body modes of nodes, about their middle and scaled by their extent.
pub(super) fn rigid_body_modes(nodes_mm: &[[f64; 3]]) -> NearKernel<3> {
    let mut middle = [0.0; 3];
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for p in nodes_mm {
        for axis in 0..3 {
            middle[axis] += p[axis] / nodes_mm.len() as f64;
            low[axis] = low[axis].min(p[axis]);
            high[axis] = high[axis].max(p[axis]);
        }
    }
    let extent = (0..3)
        .map(|axis| high[axis] - low[axis])
        .fold(0.0, f64::max);
    let scale = if extent > 0.0 { 2.0 / extent } else { 1.0 };
    nodes_mm
        .iter()
        .map(|p| {
            let [x, y, z]: [f64; 3] = std::array::from_fn(|a| scale * (p[a] - middle[a]));
            [
                [1.0, 0.0, 0.0, 0.0, z, -y],
                [0.0, 1.0, 0.0, -z, 0.0, x],
                [0.0, 0.0, 1.0, y, -x, 0.0],
            ]
        })
        .collect()
}

/// Aggregate of every node; `u32::MAX` for nodes that do not move. Deterministic: nodes are taken in order.
pub(super) fn aggregates<const R: usize>(
    pattern: &BlockPattern,
    blocks: &[[[f32; R]; R]],
    moves: impl Fn(usize) -> bool,
) -> (Vec<u32>, usize) {
    const NONE: u32 = u32::MAX;
    let rows = pattern.rows();
    let moving: Vec<bool> = (0..rows).map(moves).collect();
    let neighbours = |row: usize| {
        (pattern.start[row]..pattern.start[row + 1])
            .map(|place| (place, pattern.columns[place] as usize))
            .filter(|&(_, column)| moving[column])
    };
    let mut aggregate = vec![NONE; rows];
    let mut count = 0u32;
    for row in 0..rows {
        if moving[row] && neighbours(row).all(|(_, n)| aggregate[n] == NONE) {
            for (_, n) in neighbours(row) {
                aggregate[n] = count;
            }
            count += 1;
        }
    }
    // What is left joins the aggregate it is bound to most.
    let first = aggregate.clone();
    for row in 0..rows {
        if moving[row] && first[row] == NONE {
            let mut best = (0.0f32, NONE);
            for (place, n) in neighbours(row) {
                if first[n] != NONE {
                    let strength: f32 = blocks[place].iter().flatten().map(|v| v * v).sum();
                    if strength > best.0 {
                        best = (strength, first[n]);
                    }
                }
            }
            aggregate[row] = best.1;
        }
    }
    for row in 0..rows {
        if moving[row] && aggregate[row] == NONE {
            for n in neighbours(row).map(|(_, n)| n).chain([row]) {
                if aggregate[n] == NONE {
                    aggregate[n] = count;
                }
            }
            count += 1;
        }
    }
    (aggregate, count as usize)
}

/// Coarse functions before smoothing, one block per fine node, and the near kernel of the coarse level.
pub(super) fn tentative<const R: usize>(
    aggregate: &[u32],
    count: usize,
    kernel: &NearKernel<R>,
    moves: impl Fn(usize) -> bool,
) -> (NearKernel<R>, NearKernel<MODES>) {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (node, &at) in aggregate.iter().enumerate() {
        if at != u32::MAX {
            members[at as usize].push(node as u32);
        }
    }
    let mut functions = vec![[[0.0; MODES]; R]; aggregate.len()];
    let mut coarse = vec![[[0.0; MODES]; MODES]; count];
    for (members, coarse) in members.iter().zip(&mut coarse) {
        // Columns of the local matrix, unknowns that do not move left out.
        let rows: Vec<(usize, usize)> = members
            .iter()
            .flat_map(|&node| (0..R).map(move |i| (node as usize, i)))
            .filter(|&(node, i)| moves(R * node + i))
            .collect();
        let mut columns: [Vec<f64>; MODES] =
            std::array::from_fn(|mode| rows.iter().map(|&(n, i)| kernel[n][i][mode]).collect());
        for mode in 0..MODES {
            let before = length(&columns[mode]);
            // Gram-Schmidt, twice for accuracy.
            for _ in 0..2 {
                for other in 0..mode {
                    let (done, rest) = columns.split_at_mut(mode);
                    let share: f64 = done[other].iter().zip(&rest[0]).map(|(a, b)| a * b).sum();
                    coarse[other][mode] += share;
                    for (value, a) in rest[0].iter_mut().zip(&done[other]) {
                        *value -= share * a;
                    }
                }
            }
            let after = length(&columns[mode]);
            // A motion that the others make up on this aggregate (a single node cannot turn) has no function.
            if after <= 1e-6 * before || after == 0.0 {
                columns[mode].fill(0.0);
            } else {
                coarse[mode][mode] = after;
                columns[mode].iter_mut().for_each(|value| *value /= after);
            }
        }
        for (row, &(node, i)) in rows.iter().enumerate() {
            for mode in 0..MODES {
                functions[node][i][mode] = columns[mode][row];
            }
        }
    }
    (functions, coarse)
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// One Jacobi step of `damping` on the tentative functions.
pub(super) fn smoothed<const R: usize>(
    pattern: &BlockPattern,
    blocks: &[[[f32; R]; R]],
    inverse_diagonal: &[f32],
    damping: f64,
    aggregate: &[u32],
    functions: &NearKernel<R>,
) -> Prolongation<R> {
    let mut prolongation = Prolongation::default();
    prolongation.pattern.start.push(0);
    let mut row_blocks: Vec<(u32, [[f64; MODES]; R])> = Vec::new();
    for row in 0..pattern.rows() {
        row_blocks.clear();
        if aggregate[row] != u32::MAX {
            row_blocks.push((aggregate[row], functions[row]));
        }
        for place in pattern.start[row]..pattern.start[row + 1] {
            let column = pattern.columns[place] as usize;
            let at = aggregate[column];
            if at == u32::MAX {
                continue;
            }
            let number = row_blocks
                .iter()
                .position(|entry| entry.0 == at)
                .unwrap_or_else(|| {
                    row_blocks.push((at, [[0.0; MODES]; R]));
                    row_blocks.len() - 1
                });
            let target = &mut row_blocks[number].1;
            for i in 0..R {
                let factor = damping * f64::from(inverse_diagonal[R * row + i]);
                for j in 0..R {
                    let value = factor * f64::from(blocks[place][i][j]);
                    for mode in 0..MODES {
                        target[i][mode] -= value * functions[column][j][mode];
                    }
                }
            }
        }
        row_blocks.sort_unstable_by_key(|entry| entry.0);
        for (column, block) in &row_blocks {
            prolongation.pattern.columns.push(*column);
            prolongation
                .blocks
                .push(block.map(|line| line.map(|v| v as f32)));
        }
        prolongation
            .pattern
            .start
            .push(prolongation.pattern.columns.len());
    }
    // Supports take no part in a coarse function.
    for row in 0..pattern.rows() {
        for place in prolongation.pattern.start[row]..prolongation.pattern.start[row + 1] {
            for i in 0..R {
                if inverse_diagonal[R * row + i] == 0.0 {
                    prolongation.blocks[place][i] = [0.0; MODES];
                }
            }
        }
    }
    prolongation
}

impl<const R: usize> Prolongation<R> {
    /// Pattern of the coarse matrix `P^T A P`.
    pub(super) fn coarse_pattern(&self, fine: &BlockPattern, count: usize) -> BlockPattern {
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); count];
        for row in 0..fine.rows() {
            for &column in self.coarse(row) {
                users[column as usize].push(row as u32);
            }
        }
        let mut pattern = BlockPattern::default();
        pattern.start.push(0);
        let mut last = vec![u32::MAX; count];
        for (node, users) in users.iter().enumerate() {
            let from = pattern.columns.len();
            for &row in users {
                for &column in &fine.columns[fine.start[row as usize]..fine.start[row as usize + 1]]
                {
                    for &coarse in self.coarse(column as usize) {
                        if last[coarse as usize] != node as u32 {
                            last[coarse as usize] = node as u32;
                            pattern.columns.push(coarse);
                        }
                    }
                }
            }
            pattern.columns[from..].sort_unstable();
            pattern.start.push(pattern.columns.len());
        }
        pattern
    }

    fn coarse(&self, row: usize) -> &[u32] {
        &self.pattern.columns[self.pattern.start[row]..self.pattern.start[row + 1]]
    }

    /// The coarse matrix `P^T A P` on its pattern. Unknowns of the fine matrix that do not move must have been left out
    /// of `P`.
    pub(super) fn galerkin(
        &self,
        fine: &BlockPattern,
        blocks: &[[[f32; R]; R]],
        coarse: &BlockPattern,
    ) -> Vec<[[f32; MODES]; MODES]> {
        let mut sums = vec![[[0.0f32; MODES]; MODES]; coarse.columns.len()];
        // Product of a row with `P`: coarse node and block.
        let mut place_of = vec![u32::MAX; coarse.rows()];
        let mut product: Vec<(u32, [[f32; MODES]; R])> = Vec::new();
        for row in 0..fine.rows() {
            if self.coarse(row).is_empty() {
                continue;
            }
            for place in fine.start[row]..fine.start[row + 1] {
                let column = fine.columns[place] as usize;
                for at in self.pattern.start[column]..self.pattern.start[column + 1] {
                    let node = self.pattern.columns[at];
                    let slot = &mut place_of[node as usize];
                    if *slot == u32::MAX {
                        *slot = product.len() as u32;
                        product.push((node, [[0.0; MODES]; R]));
                    }
                    let target = &mut product[*slot as usize].1;
                    for i in 0..R {
                        for j in 0..R {
                            let value = blocks[place][i][j];
                            for mode in 0..MODES {
                                target[i][mode] += value * self.blocks[at][j][mode];
                            }
                        }
                    }
                }
            }
            for at in self.pattern.start[row]..self.pattern.start[row + 1] {
                let node = self.pattern.columns[at] as usize;
                for (other, block) in &product {
                    let target = &mut sums[coarse.place(node, *other)];
                    for i in 0..R {
                        for mode in 0..MODES {
                            let value = self.blocks[at][i][mode];
                            for m in 0..MODES {
                                target[mode][m] += value * block[i][m];
                            }
                        }
                    }
                }
            }
            for (node, _) in product.drain(..) {
                place_of[node as usize] = u32::MAX;
            }
        }
        sums
    }

    /// `coarse = P^T fine`.
    pub(super) fn restrict(&self, fine: &[f32], coarse: &mut [f32]) {
        coarse.fill(0.0);
        for (row, values) in fine.chunks_exact(R).enumerate() {
            for place in self.pattern.start[row]..self.pattern.start[row + 1] {
                let at = MODES * self.pattern.columns[place] as usize;
                let target = &mut coarse[at..at + MODES];
                for i in 0..R {
                    for mode in 0..MODES {
                        target[mode] += self.blocks[place][i][mode] * values[i];
                    }
                }
            }
        }
    }

    /// `fine = P coarse`.
    pub(super) fn prolongate(&self, coarse: &[f32], fine: &mut [f32]) {
        for (row, values) in fine.chunks_exact_mut(R).enumerate() {
            values.fill(0.0);
            for place in self.pattern.start[row]..self.pattern.start[row + 1] {
                let at = MODES * self.pattern.columns[place] as usize;
                let source = &coarse[at..at + MODES];
                for i in 0..R {
                    for mode in 0..MODES {
                        values[i] += self.blocks[place][i][mode] * source[mode];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Chain = (Vec<[f64; 3]>, BlockPattern, Vec<[[f32; 3]; 3]>);

    /// A chain of nodes along a bent line, each bound to its neighbours.
    fn chain(nodes: usize) -> Chain {
        let positions: Vec<[f64; 3]> = (0..nodes)
            .map(|i| [i as f64, (i % 3) as f64 * 0.5, (i % 2) as f64])
            .collect();
        let connectivity: Vec<u32> = (0..nodes as u32 - 1).flat_map(|i| [i, i + 1]).collect();
        let pattern = BlockPattern::of_elements(nodes, 2, &connectivity);
        let mut blocks = vec![[[0.0f32; 3]; 3]; pattern.columns.len()];
        for row in 0..nodes {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let own = pattern.columns[place] as usize == row;
                for i in 0..3 {
                    blocks[place][i][i] = if own { 2.0 } else { -1.0 };
                }
            }
        }
        (positions, pattern, blocks)
    }

    #[test]
    fn every_moving_node_is_in_an_aggregate() {
        let (_, pattern, blocks) = chain(20);
        let (aggregate, count) = aggregates(&pattern, &blocks, |node| node != 0);
        assert_eq!(aggregate[0], u32::MAX);
        assert!(aggregate[1..].iter().all(|&a| (a as usize) < count));
        assert!((4..10).contains(&count), "{count}");
    }

    #[test]
    fn rigid_motions_are_coarse_functions() {
        let (positions, pattern, blocks) = chain(20);
        let kernel = rigid_body_modes(&positions);
        let (aggregate, count) = aggregates(&pattern, &blocks, |_| true);
        let (functions, coarse) = tentative(&aggregate, count, &kernel, |_| true);
        for node in 0..20 {
            for i in 0..3 {
                for mode in 0..MODES {
                    let found: f64 = (0..MODES)
                        .map(|m| functions[node][i][m] * coarse[aggregate[node] as usize][m][mode])
                        .sum();
                    assert!((found - kernel[node][i][mode]).abs() < 1e-12);
                }
            }
        }
        // Orthonormal: the squares of every non-zero function sum to 1 on its aggregate.
        for mode in 0..3 {
            let sum: f64 = (0..20)
                .filter(|&n| aggregate[n] == 1)
                .flat_map(|n| (0..3).map(move |i| (n, i)))
                .map(|(n, i)| functions[n][i][mode].powi(2))
                .sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn the_coarse_matrix_is_the_triple_product() {
        let (positions, pattern, blocks) = chain(12);
        let kernel = rigid_body_modes(&positions);
        let inverse = [vec![0.0f32; 3], vec![0.5f32; 33]].concat();
        let (aggregate, count) = aggregates(&pattern, &blocks, |node| node != 0);
        let (functions, _) = tentative(&aggregate, count, &kernel, |dof| dof >= 3);
        let p = smoothed(&pattern, &blocks, &inverse, 0.6, &aggregate, &functions);
        let coarse = p.coarse_pattern(&pattern, count);
        let sums = p.galerkin(&pattern, &blocks, &coarse);
        let n = MODES * count;
        for column in 0..n {
            let mut unit = vec![0.0f32; n];
            unit[column] = 1.0;
            let mut fine = vec![0.0f32; 36];
            p.prolongate(&unit, &mut fine);
            assert_eq!(fine[..3], [0.0; 3]);
            let mut product = vec![0.0f32; 36];
            for row in 0..12 {
                for place in pattern.start[row]..pattern.start[row + 1] {
                    for i in 0..3 {
                        for j in 0..3 {
                            product[3 * row + i] +=
                                blocks[place][i][j] * fine[3 * pattern.columns[place] as usize + j];
                        }
                    }
                }
            }
            let mut expected = vec![0.0f32; n];
            p.restrict(&product, &mut expected);
            for row in 0..count {
                for i in 0..MODES {
                    let place = (coarse.start[row]..coarse.start[row + 1])
                        .find(|&p| coarse.columns[p] as usize == column / MODES);
                    let found = place.map_or(0.0, |p| sums[p][i][column % MODES]);
                    assert!((found - expected[MODES * row + i]).abs() < 1e-5);
                }
            }
        }
    }
}
