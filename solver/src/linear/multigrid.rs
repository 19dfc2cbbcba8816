//! Geometric multigrid on the voxel lattice, as a preconditioner.
//!
//! V-cycle in single precision with Chebyshev smoothing of the fourth kind (Lottes 2023). The coarse
//! matrices are the exact Galerkin products `P^T A P`, formed element by element, also of elements with a
//! plastic tangent and at supports: they stay good at the modulus contrasts of bone. Element matrices live
//! for one layer of elements only; what is kept are stencils. The coarsest level is factorised (faer).

use faer::linalg::solvers::{Llt, Solve};

use super::galerkin::{FineGalerkin, fill_layer};
use super::hierarchy::Hierarchy;
use super::stencil::Stencil;
use super::transfer::{prolongate, restrict};
use crate::error::{Error, Result};
use crate::operator::vector::{ChebyshevStep, chebyshev_step, correct, fill, norm, update};
use crate::operator::{LatticeOperator, Operator};

/// Steps of the Chebyshev smoother before and after the coarse correction.
const SMOOTHING_STEPS: usize = 3;
/// The power iteration finds the largest eigenvalue from below; the smoother needs it from above.
const EIGENVALUE_MARGIN: f64 = 1.15;

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
    stencils: Vec<Stencil>,
    buffers: Vec<Buffers>,
    coarsest: Option<Coarsest>,
}

/// The factorised matrix of the coarsest level.
struct Coarsest {
    factor: Llt<f64>,
    /// Entry in the level's vectors of each unknown.
    entries: Vec<usize>,
}

impl<'h> Multigrid<'h> {
    /// An empty preconditioner for a hierarchy; [`Multigrid::set_up`] fills it.
    pub fn new(hierarchy: &'h Hierarchy) -> Self {
        Self {
            hierarchy,
            stencils: vec![Stencil::default(); hierarchy.levels.len()],
            buffers: (0..=hierarchy.levels.len())
                .map(|_| Buffers::default())
                .collect(),
            coarsest: None,
        }
    }

    /// Takes over the matrix `fine`; `thorough` spends more on the eigenvalue bounds of the smoother.
    ///
    /// # Errors
    /// [`Error::Singular`] when a coarse matrix is not positive definite.
    pub fn set_up(&mut self, fine: &LatticeOperator, thorough: bool) -> Result<()> {
        let levels = &self.hierarchy.levels;
        if let Some(last) = levels.last() {
            for (stencil, level) in self.stencils.iter_mut().zip(levels) {
                stencil.clear(&level.layout);
            }
            let galerkin = FineGalerkin::new(fine);
            for layer in 0..last.layout.layers() {
                fill_layer(levels, &mut self.stencils, &galerkin, layer);
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
                self.stencils[number - 1].diagonal(&self.hierarchy.levels[number - 1].layout)
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
                fill(y, 0.0);
                add_product(self.hierarchy, &self.stencils, fine, number, 1.0, x, y);
            };
            buffers.largest =
                power_iteration(apply, buffers, if first || thorough { 30 } else { 5 })?;
        }
        Ok(())
    }

    fn factorise(&mut self, fine: &LatticeOperator) -> Result<()> {
        let (dense, entries) = match (self.hierarchy.levels.last(), self.stencils.last()) {
            (Some(level), Some(stencil)) => {
                let (dense, points) = stencil.dense(&level.layout);
                let length = level.layout.rows.length;
                let entries = (0..3)
                    .flat_map(|component| {
                        points.iter().map(move |point| component * length + point)
                    })
                    .collect();
                (dense, entries)
            }
            _ => (
                assemble_fine(fine),
                (0..3 * fine.topology.nodes).collect::<Vec<_>>(),
            ),
        };
        let n = entries.len();
        let mut matrix = faer::Mat::<f64>::from_fn(n, n, |row, column| dense[n * row + column]);
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
                self.coarsest = Some(Coarsest { factor, entries });
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

    /// `b -= A d` on a level.
    fn subtract(&self, fine: &LatticeOperator, level: usize, d: &[f32], b: &mut [f32]) {
        add_product(self.hierarchy, &self.stencils, fine, level, -1.0, d, b);
    }

    /// `x` of the level = V-cycle applied to its `b`.
    fn cycle(&mut self, fine: &LatticeOperator, level: usize) {
        if level == self.hierarchy.levels.len() {
            self.solve_coarsest(level);
            return;
        }
        let mut here = std::mem::take(&mut self.buffers[level]);
        let (rows, coarse_rows) = (self.hierarchy.rows(level), self.hierarchy.rows(level + 1));
        self.smooth(fine, level, &mut here, true);
        if level == 0 {
            // The product does not spare the rows of the supports.
            for &dof in fine.constrained {
                here.b[dof as usize] = 0.0;
            }
        }
        restrict(coarse_rows, rows, &here.b, &mut self.buffers[level + 1].b);
        self.cycle(fine, level + 1);
        prolongate(coarse_rows, rows, &self.buffers[level + 1].x, &mut here.d);
        correct(&mut here.d, &mut here.x, &here.inverse_diagonal);
        self.subtract(fine, level, &here.d, &mut here.b);
        self.smooth(fine, level, &mut here, false);
        self.buffers[level] = here;
    }

    /// Chebyshev steps of the fourth kind on `x` (Lottes 2023, Numer Linear Algebra Appl). `b` holds the residual and is
    /// kept up to date; with `from_zero` it starts as the right-hand side and `x` as zero. After the
    /// post-smoothing the residual is not needed and not computed.
    fn smooth(&self, fine: &LatticeOperator, level: usize, here: &mut Buffers, from_zero: bool) {
        let largest = EIGENVALUE_MARGIN * here.largest;
        for step in 0..SMOOTHING_STEPS {
            let i = step as f64;
            let (keep, take) = (
                (2.0 * i - 1.0) / (2.0 * i + 3.0),
                (8.0 * i + 4.0) / (2.0 * i + 3.0) / largest,
            );
            chebyshev_step(
                ChebyshevStep {
                    keep: if step == 0 { 0.0 } else { keep as f32 },
                    take: take as f32,
                    first: step == 0 && from_zero,
                },
                &mut here.d,
                &mut here.x,
                &here.b,
                &here.inverse_diagonal,
            );
            if from_zero || step + 1 < SMOOTHING_STEPS {
                self.subtract(fine, level, &here.d, &mut here.b);
            }
        }
    }

    fn solve_coarsest(&mut self, level: usize) {
        let here = &mut self.buffers[level];
        let Some(coarsest) = &self.coarsest else {
            here.x.fill(0.0);
            return;
        };
        let mut x = faer::Mat::from_fn(coarsest.entries.len(), 1, |row, _| {
            f64::from(here.b[coarsest.entries[row]])
        });
        coarsest.factor.solve_in_place(x.as_mut());
        for (row, &entry) in coarsest.entries.iter().enumerate() {
            here.x[entry] = if here.inverse_diagonal[entry] == 0.0 {
                0.0
            } else {
                x[(row, 0)] as f32
            };
        }
    }
}

/// `y += sign * A x` on a level. On the finest the rows of the supports are not spared.
fn add_product(
    hierarchy: &Hierarchy,
    stencils: &[Stencil],
    fine: &LatticeOperator,
    level: usize,
    sign: f32,
    x: &[f32],
    y: &mut [f32],
) {
    if level == 0 {
        fine.add_product(sign, x, y);
    } else {
        let layout = &hierarchy.levels[level - 1].layout;
        stencils[level - 1].add_product(layout, fine.instructions, sign, x, y);
    }
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
