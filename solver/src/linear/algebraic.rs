//! Multigrid for meshes that are no lattice, as a preconditioner: from 10-node to 4-node tetrahedra by their
//! interpolation, and from there on by smoothed aggregation with the rigid-body modes. V-cycle in single precision.

use super::aggregation::{
    MODES, NearKernel, Prolongation, aggregates, rigid_body_modes, smoothed, tentative,
};
use super::block_rows::{Block3, BlockOperator, BlockPattern, BlockRows};
use super::chebyshev::Smoother;
use super::coarsest::Coarsest;
use crate::error::{Error, Result};
use crate::operator::vector::{correct, fill, norm};

/// Coarse nodes at which a level is factorised.
const COARSEST_NODES: usize = 60;
/// Coarse nodes up to which a level that does not coarsen any further is factorised.
const LARGEST_COARSEST: usize = 800;
/// Damping of the Jacobi step on the coarse functions, over the largest eigenvalue (Vanek, Mandel, Brezina 1996).
const DAMPING: f64 = 4.0 / 3.0;

/// The corners of a mesh of 10-node tetrahedra as a mesh of 4-node ones.
#[derive(Clone, Debug)]
pub struct Corners {
    /// Position of each corner node, mm.
    pub nodes_mm: Vec<[f64; 3]>,
    /// Corners that each node of the whole mesh lies between; twice the same for a corner itself.
    pub parents: Vec<[u32; 2]>,
    /// Blocks of the matrix of the corners.
    pub pattern: BlockPattern,
}

/// A level whose nodes carry three unknowns, without its matrix.
struct NodeLevel {
    smoother: Smoother,
    down: Prolongation<3>,
}

/// A level of aggregates.
struct AggregateLevel {
    pattern: BlockPattern,
    blocks: Vec<[[f32; MODES]; MODES]>,
    smoother: Smoother,
    down: Prolongation<MODES>,
}

/// The preconditioner.
pub struct AlgebraicMultigrid {
    nodes_mm: Vec<[f64; 3]>,
    corners: Option<Corners>,
    /// Smoother of the whole mesh where `corners` come next.
    quadratic: Smoother,
    corner_blocks: Vec<Block3>,
    /// The level from which aggregates are made: the mesh itself or its corners.
    base: NodeLevel,
    levels: Vec<AggregateLevel>,
    coarsest: Option<Coarsest>,
}

impl AlgebraicMultigrid {
    /// An empty preconditioner; [`AlgebraicMultigrid::set_up`] fills it.
    pub fn new(nodes_mm: &[[f64; 3]], corners: Option<&Corners>) -> Self {
        Self {
            nodes_mm: nodes_mm.to_vec(),
            corners: corners.cloned(),
            quadratic: Smoother::default(),
            corner_blocks: Vec::new(),
            base: NodeLevel {
                smoother: Smoother::default(),
                down: Prolongation::default(),
            },
            levels: Vec::new(),
            coarsest: None,
        }
    }

    /// Takes over a matrix, with that of the corners where there are such; `thorough` spends more on the eigenvalue
    /// bounds. The coarse functions are those of the first matrix.
    ///
    /// # Errors
    /// [`Error::Singular`] when a coarse matrix is not positive definite; [`Error::Model`] when the mesh falls into too
    /// many pieces for a coarse level.
    pub fn set_up(
        &mut self,
        fine: &BlockOperator,
        corner_blocks: &[Block3],
        thorough: bool,
    ) -> Result<()> {
        let high = &fine.matrix.high[..];
        let diagonal = fine.diagonal_by_node();
        // A first set-up that failed has left levels without an end; the next one starts anew.
        let first = self.coarsest.is_none();
        let (pattern, blocks, nodes_mm) = match &self.corners {
            None => {
                self.base.smoother.set_up(&diagonal, thorough, |x, y| {
                    product(fine.pattern, high, x, y);
                })?;
                (fine.pattern, high, &self.nodes_mm)
            }
            Some(corners) => {
                self.quadratic.set_up(&diagonal, thorough, |x, y| {
                    product(fine.pattern, high, x, y);
                })?;
                self.corner_blocks = corner_blocks.to_vec();
                let mut diagonal = vec![0.0; 3 * corners.nodes_mm.len()];
                for node in 0..corners.nodes_mm.len() {
                    let place = corners.pattern.place(node, node as u32);
                    for i in 0..3 {
                        diagonal[3 * node + i] = f64::from(corner_blocks[place][i][i]);
                    }
                }
                // A corner that is held as a node of the mesh is held here.
                for (node, &[a, b]) in corners.parents.iter().enumerate() {
                    for i in 0..3 {
                        if a == b && self.quadratic.inverse_diagonal[3 * node + i] == 0.0 {
                            diagonal[3 * a as usize + i] = 0.0;
                        }
                    }
                }
                self.base.smoother.set_up(&diagonal, thorough, |x, y| {
                    product(&corners.pattern, corner_blocks, x, y);
                })?;
                (&corners.pattern, corner_blocks, &corners.nodes_mm)
            }
        };
        if first {
            let kernel = rigid_body_modes(nodes_mm);
            let (down, mut kernel, count) =
                coarse_functions(pattern, blocks, &self.base.smoother, &kernel);
            self.levels = Vec::new();
            let mut level = AggregateLevel {
                pattern: down.coarse_pattern(pattern, count),
                blocks: Vec::new(),
                smoother: Smoother::default(),
                down: Prolongation::default(),
            };
            level.blocks = down.galerkin(pattern, blocks, &level.pattern);
            self.base.down = down;
            loop {
                level.set_up_smoother(true)?;
                let count = level.pattern.rows();
                if count <= COARSEST_NODES {
                    self.levels.push(level);
                    break;
                }
                let (down, coarse_kernel, coarse) =
                    coarse_functions(&level.pattern, &level.blocks, &level.smoother, &kernel);
                if coarse * 4 > count * 3 {
                    if count > LARGEST_COARSEST {
                        return Err(Error::Model(format!(
                            "the mesh falls into too many pieces ({count}) for a coarse level"
                        )));
                    }
                    self.levels.push(level);
                    break;
                }
                let pattern = down.coarse_pattern(&level.pattern, coarse);
                let next = AggregateLevel {
                    blocks: down.galerkin(&level.pattern, &level.blocks, &pattern),
                    pattern,
                    smoother: Smoother::default(),
                    down: Prolongation::default(),
                };
                level.down = down;
                kernel = coarse_kernel;
                self.levels.push(std::mem::replace(&mut level, next));
            }
        } else {
            let mut coarse = self
                .base
                .down
                .galerkin(pattern, blocks, &self.levels[0].pattern);
            for number in 0..self.levels.len() {
                self.levels[number].blocks = coarse;
                self.levels[number].set_up_smoother(thorough)?;
                coarse = match self.levels.get(number + 1) {
                    Some(next) => {
                        let here = &self.levels[number];
                        here.down
                            .galerkin(&here.pattern, &here.blocks, &next.pattern)
                    }
                    None => Vec::new(),
                };
            }
        }
        if let Some(last) = self.levels.last() {
            let size = MODES * last.pattern.rows();
            let mut dense = vec![0.0; size * size];
            for row in 0..last.pattern.rows() {
                for place in last.pattern.start[row]..last.pattern.start[row + 1] {
                    let column = last.pattern.columns[place] as usize;
                    for i in 0..MODES {
                        for j in 0..MODES {
                            dense[(MODES * row + i) * size + MODES * column + j] =
                                f64::from(last.blocks[place][i][j]);
                        }
                    }
                }
            }
            self.coarsest = Some(Coarsest::new(&dense, size)?);
        }
        Ok(())
    }

    /// `z` = one V-cycle applied to `r`, both ordered by component first.
    pub fn precondition(&mut self, fine: &BlockOperator, r: &[f64], z: &mut [f64]) {
        let scale = norm(r);
        if scale == 0.0 {
            z.fill(0.0);
            return;
        }
        let nodes = fine.pattern.rows();
        let top = match self.corners {
            Some(_) => &mut self.quadratic,
            None => &mut self.base.smoother,
        };
        for component in 0..3 {
            for node in 0..nodes {
                top.b[3 * node + component] = (r[component * nodes + node] / scale) as f32;
            }
        }
        let high = &fine.matrix.high[..];
        let Self {
            corners,
            quadratic,
            corner_blocks,
            base,
            levels,
            coarsest,
            ..
        } = self;
        match corners {
            Some(corners) => {
                let subtract = |d: &[f32], b: &mut [f32]| high.subtract_product(fine.pattern, d, b);
                quadratic.smooth(true, subtract);
                corners.restrict(quadratic, &mut base.smoother.b);
                base.cycle(&corners.pattern, corner_blocks, levels, coarsest.as_ref());
                corners.prolongate(&base.smoother.x, &mut quadratic.d);
                correct(
                    &mut quadratic.d,
                    &mut quadratic.x,
                    &quadratic.inverse_diagonal,
                );
                subtract(&quadratic.d, &mut quadratic.b);
                quadratic.smooth(false, subtract);
            }
            None => base.cycle(fine.pattern, high, levels, coarsest.as_ref()),
        }
        let top = match self.corners {
            Some(_) => &self.quadratic,
            None => &self.base.smoother,
        };
        for component in 0..3 {
            for node in 0..nodes {
                z[component * nodes + node] = f64::from(top.x[3 * node + component]) * scale;
            }
        }
    }
}

/// `y = A x`.
fn product<B: BlockRows + ?Sized>(pattern: &BlockPattern, blocks: &B, x: &[f32], y: &mut [f32]) {
    fill(y, 0.0);
    blocks.subtract_product(pattern, x, y);
    y.iter_mut().for_each(|y| *y = -*y);
}

/// Aggregates of a level, their smoothed functions, the near kernel of the next level and its number of nodes.
fn coarse_functions<const R: usize>(
    pattern: &BlockPattern,
    blocks: &[[[f32; R]; R]],
    smoother: &Smoother,
    kernel: &NearKernel<R>,
) -> (Prolongation<R>, NearKernel<MODES>, usize) {
    let inverse = &smoother.inverse_diagonal;
    let moves = |node: usize| inverse[R * node..R * (node + 1)].iter().any(|v| *v != 0.0);
    let (aggregate, count) = aggregates(pattern, blocks, moves);
    let (functions, coarse) = tentative(&aggregate, count, kernel, |dof| inverse[dof] != 0.0);
    let damping = DAMPING / smoother.eigenvalue_bound();
    let down = smoothed(pattern, blocks, inverse, damping, &aggregate, &functions);
    (down, coarse, count)
}

impl Corners {
    /// Residual of the mesh to its corners.
    fn restrict(&self, fine: &Smoother, coarse: &mut [f32]) {
        fill(coarse, 0.0);
        for (node, &[a, b]) in self.parents.iter().enumerate() {
            for i in 0..3 {
                // The product does not spare the rows of the supports.
                if fine.inverse_diagonal[3 * node + i] != 0.0 {
                    let half = 0.5 * fine.b[3 * node + i];
                    coarse[3 * a as usize + i] += half;
                    coarse[3 * b as usize + i] += half;
                }
            }
        }
    }

    /// Correction of the corners to the mesh.
    fn prolongate(&self, coarse: &[f32], fine: &mut [f32]) {
        for (node, &[a, b]) in self.parents.iter().enumerate() {
            for i in 0..3 {
                fine[3 * node + i] =
                    0.5 * (coarse[3 * a as usize + i] + coarse[3 * b as usize + i]);
            }
        }
    }
}

impl NodeLevel {
    /// V-cycle from `b` to `x` of the smoother.
    fn cycle(
        &mut self,
        pattern: &BlockPattern,
        blocks: &[Block3],
        levels: &mut [AggregateLevel],
        coarsest: Option<&Coarsest>,
    ) {
        let subtract = |d: &[f32], b: &mut [f32]| blocks.subtract_product(pattern, d, b);
        let here = &mut self.smoother;
        here.smooth(true, subtract);
        if let Some(next) = levels.first_mut() {
            // The coarse functions leave the supports out.
            self.down.restrict(&here.b, &mut next.smoother.b);
            cycle(levels, coarsest);
            self.down.prolongate(&levels[0].smoother.x, &mut here.d);
            correct(&mut here.d, &mut here.x, &here.inverse_diagonal);
            subtract(&here.d, &mut here.b);
        }
        here.smooth(false, subtract);
    }
}

impl AggregateLevel {
    fn set_up_smoother(&mut self, thorough: bool) -> Result<()> {
        let mut diagonal = vec![0.0; MODES * self.pattern.rows()];
        for row in 0..self.pattern.rows() {
            let place = self.pattern.place(row, row as u32);
            for i in 0..MODES {
                diagonal[MODES * row + i] = f64::from(self.blocks[place][i][i]);
            }
        }
        let (pattern, blocks) = (&self.pattern, &self.blocks[..]);
        self.smoother
            .set_up(&diagonal, thorough, |x, y| product(pattern, blocks, x, y))
    }
}

/// V-cycle on the levels of aggregates, the first from its `b` to its `x`.
fn cycle(levels: &mut [AggregateLevel], coarsest: Option<&Coarsest>) {
    let Some((here, rest)) = levels.split_first_mut() else {
        return;
    };
    if rest.is_empty() {
        let Smoother {
            b,
            x,
            inverse_diagonal,
            ..
        } = &mut here.smoother;
        match coarsest {
            Some(coarsest) => coarsest.solve(
                |row| b[row],
                |row, value| {
                    x[row] = if inverse_diagonal[row] == 0.0 {
                        0.0
                    } else {
                        value
                    }
                },
            ),
            None => x.fill(0.0),
        }
        return;
    }
    let (pattern, blocks) = (&here.pattern, &here.blocks[..]);
    let subtract = |d: &[f32], b: &mut [f32]| blocks.subtract_product(pattern, d, b);
    here.smoother.smooth(true, subtract);
    here.down
        .restrict(&here.smoother.b, &mut rest[0].smoother.b);
    cycle(rest, coarsest);
    let smoother = &mut here.smoother;
    here.down.prolongate(&rest[0].smoother.x, &mut smoother.d);
    correct(&mut smoother.d, &mut smoother.x, &smoother.inverse_diagonal);
    subtract(&smoother.d, &mut smoother.b);
    smoother.smooth(false, subtract);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{CgEnd, SplitMatrix, Written, add_split, conjugate_gradients};
    use crate::operator::Operator;

    /// A bar of nodes bound to their neighbours by `bond`.
    fn bar(pattern: &BlockPattern, bond: f64) -> SplitMatrix {
        let mut matrix = SplitMatrix::default();
        matrix.set_to_zero(pattern);
        for row in 0..pattern.rows() {
            for place in pattern.start[row]..pattern.start[row + 1] {
                let own = pattern.columns[place] as usize == row;
                let mut block = [0.0; 9];
                for i in 0..3 {
                    block[4 * i] = if own { 2.0 } else { bond };
                }
                add_split(&mut matrix.high[place], &mut matrix.low[place], &block);
            }
        }
        matrix
    }

    #[test]
    fn a_set_up_that_failed_can_be_made_again() {
        let nodes = 900u32;
        let nodes_mm: Vec<[f64; 3]> = (0..nodes)
            .map(|i| [f64::from(i), f64::from(i % 2), f64::from(i % 3)])
            .collect();
        let connectivity: Vec<u32> = (0..nodes - 1).flat_map(|i| [i, i + 1]).collect();
        let pattern = BlockPattern::of_elements(nodes as usize, 2, &connectivity);
        // Its diagonal is positive, but a translation of many nodes has negative energy.
        let indefinite = bar(&pattern, -5.0);
        let definite = bar(&pattern, -0.95);
        let mut multigrid = AlgebraicMultigrid::new(&nodes_mm, None);
        let operator = |matrix| BlockOperator {
            pattern: &pattern,
            matrix,
            constrained: &[0],
        };
        assert!(
            multigrid
                .set_up(&operator(&indefinite), &[], false)
                .is_err()
        );
        let operator = operator(&definite);
        multigrid.set_up(&operator, &[], false).unwrap();
        let mut r: Vec<f64> = (0..operator.size()).map(|i| (i % 5) as f64).collect();
        let mut x = vec![0.0; r.len()];
        let result = conjugate_gradients(
            &operator,
            Written::new(|r: &[f64], z: &mut [f64]| multigrid.precondition(&operator, r, z)),
            &mut r,
            &mut x,
            1e-8,
            60,
        );
        assert_eq!(result.end, CgEnd::Converged, "{result:?}");
    }
}
