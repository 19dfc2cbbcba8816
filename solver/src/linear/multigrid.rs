//! Geometric multigrid on the voxel lattice, as a preconditioner.
//!
//! V-cycle in single precision with Chebyshev smoothing. The coarse matrices are the exact Galerkin
//! products `P^T A P`, formed element by element, also of elements with a plastic tangent and at
//! supports: they stay good at the modulus contrasts of bone. The coarsest level is factorised (faer).

use faer::linalg::solvers::{Llt, Solve};
use rayon::prelude::*;

use super::hierarchy::Hierarchy;
use crate::error::{Error, Result};
use crate::operator::vector::{chebyshev_step, norm, update};
use crate::operator::{DenseOperator, LatticeOperator, Operator};

/// Steps of the Chebyshev smoother before and after the coarse correction.
const SMOOTHING_STEPS: usize = 3;
/// The smoother works on eigenvalues from the largest down to this fraction of it.
const SMOOTHED_FRACTION: f64 = 1.0 / 10.0;

type Matrix = [f32; 576];

/// Vectors of one level.
#[derive(Default)]
struct Buffers {
    inverse_diagonal: Vec<f32>,
    /// Largest eigenvalue of the diagonally scaled matrix.
    largest: f64,
    /// Last vector of the power iteration: the next set-up starts there.
    eigenvector: Vec<f32>,
    b: Vec<f32>,
    x: Vec<f32>,
    r: Vec<f32>,
    d: Vec<f32>,
}

/// The preconditioner: coarse matrices and smoother of every level.
pub struct Multigrid<'h> {
    hierarchy: &'h Hierarchy,
    coarse: Vec<DenseOperator>,
    buffers: Vec<Buffers>,
    coarsest: Option<Llt<f64>>,
}

impl<'h> Multigrid<'h> {
    /// An empty preconditioner for a hierarchy; [`Multigrid::set_up`] fills it.
    pub fn new(hierarchy: &'h Hierarchy) -> Self {
        Self {
            hierarchy,
            coarse: Vec::new(),
            buffers: Vec::new(),
            coarsest: None,
        }
    }

    /// Takes over the matrix `fine`; `thorough` spends more on the eigenvalue bounds of the smoother.
    ///
    /// # Errors
    /// [`Error::Singular`] when a coarse matrix is not positive definite.
    pub fn set_up(&mut self, fine: &LatticeOperator, thorough: bool) -> Result<()> {
        let instructions = fine.instructions;
        if self.buffers.is_empty() {
            self.buffers = (0..=self.hierarchy.levels.len())
                .map(|_| Buffers::default())
                .collect();
        }
        if self.coarse.is_empty() {
            self.coarse = self
                .hierarchy
                .levels
                .iter()
                .map(|level| DenseOperator {
                    topology: level.topology.clone(),
                    matrices: vec![0.0; 576 * level.topology.elements.len()],
                    instructions,
                })
                .collect();
        }
        for number in 0..self.coarse.len() {
            let children = &self.hierarchy.levels[number].children;
            if number == 0 {
                let galerkin = FineGalerkin::new(fine);
                fill_matrices(
                    &mut self.coarse[0].matrices,
                    children,
                    |child, octant, sum| galerkin.add(child, octant, sum),
                );
            } else {
                let (finer, coarser) = self.coarse.split_at_mut(number);
                let finer = &finer[number - 1].matrices;
                fill_matrices(&mut coarser[0].matrices, children, |child, octant, sum| {
                    if let Ok(matrix) = <&Matrix>::try_from(&finer[576 * child..576 * (child + 1)])
                    {
                        add_product(matrix, octant, sum);
                    }
                });
            }
        }
        self.set_up_smoothers(fine, thorough)?;
        self.factorise(fine)
    }

    fn set_up_smoothers(&mut self, fine: &LatticeOperator, thorough: bool) -> Result<()> {
        for (number, buffers) in self.buffers.iter_mut().enumerate() {
            let diagonal = if number == 0 {
                fine.diagonal()
            } else {
                self.coarse[number - 1].diagonal()
            };
            let largest = diagonal.iter().fold(0.0f64, |m, v| m.max(*v));
            if diagonal
                .iter()
                .any(|value| *value < -1e-6 * largest || !value.is_finite())
            {
                return Err(Error::Singular("a diagonal entry is negative".into()));
            }
            // Unknowns without stiffness (supports, and coarse nodes that see nothing else) stay where they are.
            buffers.inverse_diagonal = diagonal
                .iter()
                .map(|&value| {
                    if value > 1e-12 * largest {
                        (1.0 / value) as f32
                    } else {
                        0.0
                    }
                })
                .collect();
            let n = diagonal.len();
            let first = buffers.eigenvector.len() != n;
            if first {
                for vector in [
                    &mut buffers.b,
                    &mut buffers.x,
                    &mut buffers.r,
                    &mut buffers.d,
                ] {
                    *vector = vec![0.0; n];
                }
                buffers.eigenvector = vec![0.0; n];
            }
            // The last vector is a good start, but it has forgotten all others: fresh noise lets a new
            // local eigenvector, at an element that has just begun to flow, be found.
            let length = norm(&buffers.eigenvector);
            let length = if length > 0.0 { length as f32 } else { 1.0 };
            let noise = pseudo_random(n);
            let weight = 1.0 / norm(&noise).max(1.0) as f32;
            update(&mut buffers.eigenvector, &noise, |v, noise| {
                v / length + weight * noise
            });
            let apply = |x: &[f32], y: &mut [f32]| {
                if number == 0 {
                    Operator::<f32>::apply(fine, x, y)
                } else {
                    self.coarse[number - 1].apply(x, y)
                }
            };
            buffers.largest =
                power_iteration(apply, buffers, if first || thorough { 30 } else { 5 })?;
        }
        Ok(())
    }

    fn factorise(&mut self, fine: &LatticeOperator) -> Result<()> {
        let (n, dense) = match self.coarse.last() {
            Some(operator) => (operator.size(), assemble(operator)),
            None => (3 * fine.topology.nodes, assemble_fine(fine)),
        };
        let mut matrix = faer::Mat::<f64>::zeros(n, n);
        for row in 0..n {
            for column in 0..n {
                matrix[(row, column)] = dense[n * row + column];
            }
        }
        let largest = (0..n).map(|i| matrix[(i, i)]).fold(0.0, f64::max);
        for i in 0..n {
            if matrix[(i, i)] <= 1e-12 * largest {
                for j in 0..n {
                    matrix[(i, j)] = 0.0;
                    matrix[(j, i)] = 0.0;
                }
                matrix[(i, i)] = largest;
            }
        }
        // Beside a support two coarse functions can agree on all free nodes: the matrix is then only
        // semi-definite. A shift far below the accuracy that a preconditioner needs makes it definite.
        for shift in [1e-6, 1e-5, 1e-4, 1e-3] {
            let mut shifted = matrix.clone();
            for i in 0..n {
                shifted[(i, i)] *= 1.0 + shift;
            }
            if let Ok(factor) = shifted.llt(faer::Side::Lower) {
                self.coarsest = Some(factor);
                return Ok(());
            }
        }
        Err(Error::Singular(
            "the coarsest level cannot be factorised; check that the supports hold the body".into(),
        ))
    }

    /// `z` = one V-cycle applied to `r`.
    pub fn precondition(&mut self, fine: &LatticeOperator, r: &[f64], z: &mut [f64]) {
        // A unit vector keeps the single-precision cycle clear of overflow and underflow.
        let scale = norm(r);
        if scale == 0.0 {
            z.fill(0.0);
            return;
        }
        update(&mut self.buffers[0].b, r, |_, r| (r / scale) as f32);
        self.cycle(fine, 0);
        update(z, &self.buffers[0].x, |_, x: f32| f64::from(x) * scale);
    }

    fn apply(&self, fine: &LatticeOperator, level: usize, x: &[f32], y: &mut [f32]) {
        if level == 0 {
            Operator::<f32>::apply(fine, x, y)
        } else {
            self.coarse[level - 1].apply(x, y)
        }
    }

    /// `x` of the level = V-cycle applied to its `b`.
    fn cycle(&mut self, fine: &LatticeOperator, level: usize) {
        if level == self.coarse.len() {
            self.solve_coarsest(level);
            return;
        }
        let mut here = std::mem::take(&mut self.buffers[level]);
        let mut product = std::mem::take(&mut here.r);
        self.smooth(fine, level, &mut here, &mut product, true);
        let transfer = &self.hierarchy.levels[level].transfer;
        transfer.restrict(&here.b, &mut self.buffers[level + 1].b);
        self.cycle(fine, level + 1);
        here.d.fill(0.0);
        transfer.prolongate(&self.buffers[level + 1].x, &mut here.d);
        // Supports, and unknowns without stiffness, take no correction.
        update(&mut here.d, &here.inverse_diagonal, |d, s| {
            if s == 0.0 { 0.0 } else { d }
        });
        update(&mut here.x, &here.d, |x, d| x + d);
        self.apply(fine, level, &here.d, &mut product);
        update(&mut here.b, &product, |b, q| b - q);
        self.smooth(fine, level, &mut here, &mut product, false);
        here.r = product;
        self.buffers[level] = here;
    }

    /// Chebyshev steps on `x`. `b` holds the residual and is kept up to date; with `from_zero` it starts as the
    /// right-hand side and `x` as zero. After the post-smoothing the residual is not needed and not computed.
    fn smooth(
        &self,
        fine: &LatticeOperator,
        level: usize,
        here: &mut Buffers,
        product: &mut [f32],
        from_zero: bool,
    ) {
        let upper = 1.15 * here.largest;
        let lower = here.largest * SMOOTHED_FRACTION;
        let (theta, delta) = (0.5 * (upper + lower), 0.5 * (upper - lower));
        let sigma = theta / delta;
        let mut rho = 1.0 / sigma;
        for step in 0..SMOOTHING_STEPS {
            let first = step == 0;
            let (keep, take) = if first {
                here.d.fill(0.0);
                (0.0, 1.0 / theta)
            } else {
                let next = 1.0 / (2.0 * sigma - rho);
                let pair = (next * rho, 2.0 * next / delta);
                rho = next;
                pair
            };
            chebyshev_step(
                &mut here.d,
                &mut here.x,
                &here.b,
                &here.inverse_diagonal,
                keep as f32,
                take as f32,
                first && from_zero,
            );
            if from_zero || step + 1 < SMOOTHING_STEPS {
                self.apply(fine, level, &here.d, product);
                update(&mut here.b, product, |b, q| b - q);
            }
        }
    }

    fn solve_coarsest(&mut self, level: usize) {
        let here = &mut self.buffers[level];
        let n = here.b.len();
        let mut x = faer::Mat::from_fn(n, 1, |row, _| f64::from(here.b[row]));
        if let Some(factor) = &self.coarsest {
            factor.solve_in_place(x.as_mut());
        }
        for row in 0..n {
            here.x[row] = if here.inverse_diagonal[row] == 0.0 {
                0.0
            } else {
                x[(row, 0)] as f32
            };
        }
    }
}

/// Adds the Galerkin products of all children to every coarse element.
fn fill_matrices(
    matrices: &mut [f32],
    children: &[[u32; 8]],
    add: impl Fn(usize, usize, &mut Matrix) + Sync,
) {
    matrices
        .par_chunks_mut(576)
        .zip(children)
        .with_min_len(64)
        .for_each(|(target, children)| {
            let mut sum = [0.0; 576];
            for (octant, &child) in children.iter().enumerate() {
                if child != u32::MAX {
                    add(child as usize, octant, &mut sum);
                }
            }
            target.copy_from_slice(&sum);
        });
}

/// Galerkin products of the finest level.
struct FineGalerkin<'a, 'b> {
    fine: &'a LatticeOperator<'b>,
    /// `P^T K P` of each class and octant for a Young's modulus of 1 MPa.
    products: Vec<[Box<Matrix>; 8]>,
    constrained: Vec<bool>,
    /// Place of each element among the dense elements of its block; `u32::MAX` = elastic.
    slot: Vec<u32>,
}

impl<'a, 'b> FineGalerkin<'a, 'b> {
    fn new(fine: &'a LatticeOperator<'b>) -> Self {
        let products = fine
            .tables
            .iter()
            .map(|table| {
                let matrix: Matrix = std::array::from_fn(|i| table.matrix[i] as f32);
                std::array::from_fn(|octant| {
                    let mut sum = Box::new([0.0; 576]);
                    add_product(&matrix, octant, &mut sum);
                    sum
                })
            })
            .collect();
        let mut constrained = vec![false; 3 * fine.topology.nodes];
        for &dof in fine.constrained {
            constrained[dof as usize] = true;
        }
        let mut slot = vec![u32::MAX; fine.topology.elements.len()];
        for dense in fine.dense {
            for (number, &element) in dense.elements.iter().enumerate() {
                slot[element as usize] = number as u32;
            }
        }
        Self {
            fine,
            products,
            constrained,
            slot,
        }
    }

    fn add(&self, element: usize, octant: usize, sum: &mut Matrix) {
        let topology = self.fine.topology;
        let class = usize::from(topology.class[element]);
        let held: [bool; 24] = std::array::from_fn(|local| {
            self.constrained
                [local / 8 * topology.nodes + topology.elements[element][local % 8] as usize]
        });
        let any_held = held.iter().any(|&held| held);
        let slot = self.slot[element];
        if slot == u32::MAX && !any_held {
            let modulus = self.fine.moduli_single[element];
            for (sum, value) in sum.iter_mut().zip(self.products[class][octant].iter()) {
                *sum += modulus * value;
            }
            return;
        }
        let mut matrix: Matrix = if slot == u32::MAX {
            let modulus = self.fine.moduli[element];
            std::array::from_fn(|i| (modulus * self.fine.tables[class].matrix[i]) as f32)
        } else {
            let dense = &self.fine.dense[topology.block_of[element] as usize];
            let start = 576 * slot as usize;
            std::array::from_fn(|i| dense.matrices[start + i])
        };
        if any_held {
            for row in 0..24 {
                for column in 0..24 {
                    if held[row] || held[column] {
                        matrix[24 * row + column] = 0.0;
                    }
                }
            }
        }
        add_product(&matrix, octant, sum);
    }
}

/// `rows <- P^T rows`: interpolation of the corners of one octant from the corners of the parent, transposed.
#[inline(always)]
fn transposed_interpolation(rows: &mut Matrix, octant: usize) {
    for component in 0..3 {
        for axis in 0..3 {
            let bit = 1 << axis;
            for corner in (0..8).filter(|corner| corner & bit == 0) {
                let low = 24 * (8 * component + corner);
                let high = 24 * (8 * component + (corner | bit));
                // Child corners on this axis stand at 0 and 1/2 (low octant) or 1/2 and 1 of the parent.
                for column in 0..24 {
                    let (a, b) = (rows[low + column], rows[high + column]);
                    if octant & bit == 0 {
                        rows[low + column] = a + 0.5 * b;
                        rows[high + column] = 0.5 * b;
                    } else {
                        rows[low + column] = 0.5 * a;
                        rows[high + column] = 0.5 * a + b;
                    }
                }
            }
        }
    }
}

/// `sum += P^T matrix P` for a symmetric matrix of the child in `octant`.
fn add_product(matrix: &Matrix, octant: usize, sum: &mut Matrix) {
    let mut left = *matrix;
    transposed_interpolation(&mut left, octant);
    let mut both: Matrix = std::array::from_fn(|i| left[24 * (i % 24) + i / 24]);
    transposed_interpolation(&mut both, octant);
    for (sum, value) in sum.iter_mut().zip(&both) {
        *sum += value;
    }
}

/// The whole matrix of a small level, row by row.
fn assemble(operator: &DenseOperator) -> Vec<f64> {
    let (n, nodes) = (operator.size(), operator.topology.nodes);
    let mut dense = vec![0.0; n * n];
    for (corners, matrix) in operator
        .topology
        .elements
        .iter()
        .zip(operator.matrices.chunks_exact(576))
    {
        let dof = |local: usize| local / 8 * nodes + corners[local % 8] as usize;
        for row in 0..24 {
            for column in 0..24 {
                dense[n * dof(row) + dof(column)] += f64::from(matrix[24 * row + column]);
            }
        }
    }
    dense
}

/// The whole matrix of a mesh too small to be coarsened, column by column of the operator.
fn assemble_fine(fine: &LatticeOperator) -> Vec<f64> {
    let n = Operator::<f64>::size(fine);
    let mut dense = vec![0.0; n * n];
    let mut unit = vec![0.0f64; n];
    for column in 0..n {
        if fine.constrained.binary_search(&(column as u32)).is_err() {
            unit[column] = 1.0;
            fine.apply(&unit, &mut dense[n * column..n * (column + 1)]);
            unit[column] = 0.0;
        }
    }
    dense
}

/// Numbers between -1 and 1, always the same.
fn pseudo_random(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

/// Largest eigenvalue of the diagonally scaled matrix.
fn power_iteration(
    apply: impl Fn(&[f32], &mut [f32]),
    buffers: &mut Buffers,
    steps: usize,
) -> Result<f64> {
    let mut value = 0.0;
    update(
        &mut buffers.eigenvector,
        &buffers.inverse_diagonal,
        |v, s| if s == 0.0 { 0.0 } else { v },
    );
    for _ in 0..steps {
        let length = norm(&buffers.eigenvector);
        if !(length > 0.0 && length.is_finite()) {
            break;
        }
        update(&mut buffers.x, &buffers.eigenvector, |_, v| {
            v / length as f32
        });
        apply(&buffers.x, &mut buffers.r);
        update(&mut buffers.eigenvector, &buffers.r, |_, r| r);
        update(
            &mut buffers.eigenvector,
            &buffers.inverse_diagonal,
            |v, s| v * s,
        );
        value = norm(&buffers.eigenvector);
    }
    if value.is_finite() {
        Ok(value.max(1.0))
    } else {
        Err(Error::Singular("the stiffness is not finite".into()))
    }
}
