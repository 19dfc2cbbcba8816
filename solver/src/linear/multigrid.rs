//! Geometric multigrid on the voxel lattice, as a preconditioner.
//!
//! V-cycle in single precision with Chebyshev smoothing of the fourth kind (Lottes 2023). The coarse
//! matrices are the exact Galerkin products `P^T A P`, formed element by element, also of elements with a
//! plastic tangent and at supports: they stay good at the modulus contrasts of bone. Element matrices live
//! for one layer of elements only; what is kept are stencils. The coarsest level is factorised (faer).

use super::cg::Preconditioned;
use super::chebyshev::Smoother;
use super::coarsest::Coarsest;
use super::galerkin::{FineGalerkin, fill_layer};
use super::hierarchy::Hierarchy;
use super::stencil::Stencil;
use super::transfer::{prolongate, restrict};
use crate::error::Result;
use crate::operator::vector::{correct, dot, fill, norm, update};
use crate::operator::{LatticeOperator, Operator};

/// The preconditioner: coarse matrices and smoother of every level.
pub struct Multigrid<'h> {
    hierarchy: &'h Hierarchy,
    stencils: Vec<Stencil>,
    smoothers: Vec<Smoother>,
    coarsest: Option<Coarsest>,
    /// Entry in the coarsest level's vectors of each of its unknowns.
    coarsest_entries: Vec<usize>,
}

/// A V-cycle for conjugate gradients: eight bytes an unknown less than one that writes its result out.
pub struct Cycle<'m, 'h, 'o> {
    multigrid: &'m mut Multigrid<'h>,
    fine: &'m LatticeOperator<'o>,
    scale: f64,
}

impl Preconditioned for Cycle<'_, '_, '_> {
    fn apply(&mut self, r: &[f64], size: f64) {
        self.scale = size;
        self.multigrid.scaled_cycle(self.fine, r, size);
    }

    fn dot(&self, v: &[f64]) -> f64 {
        self.scale * dot(v, &self.multigrid.smoothers[0].x)
    }

    fn turn(&self, p: &mut [f64], beta: f64) {
        let scale = self.scale;
        let x = &self.multigrid.smoothers[0].x;
        update(p, x, |p, x: f32| f64::from(x) * scale + beta * p);
    }
}

impl<'h> Multigrid<'h> {
    /// An empty preconditioner for a hierarchy; [`Multigrid::set_up`] fills it.
    pub fn new(hierarchy: &'h Hierarchy) -> Self {
        Self {
            hierarchy,
            stencils: vec![Stencil::default(); hierarchy.levels.len()],
            smoothers: (0..=hierarchy.levels.len())
                .map(|_| Smoother::default())
                .collect(),
            coarsest: None,
            coarsest_entries: Vec::new(),
        }
    }

    /// Takes over the matrix `fine`; `thorough` spends more on the eigenvalue bounds of the smoother.
    ///
    /// # Errors
    /// [`crate::Error::Singular`] when a coarse matrix is not positive definite.
    pub fn set_up(&mut self, fine: &LatticeOperator, thorough: bool) -> Result<()> {
        let levels = &self.hierarchy.levels;
        let diagonal = fine.diagonal();
        if let Some(last) = levels.last() {
            let mut largest = diagonal.iter().copied().fold(0.0, f64::max);
            for (number, (stencil, level)) in self.stencils.iter_mut().zip(levels).enumerate() {
                largest *= 4.0;
                stencil.clear(&level.layout, largest, number + 1 == levels.len());
            }
            let galerkin = FineGalerkin::new(fine);
            let mut spare = Vec::new();
            for layer in 0..last.layout.layers() {
                let used = fill_layer(levels, &mut self.stencils, &galerkin, layer, &mut spare);
                spare.push(used);
            }
        }
        self.set_up_smoothers(fine, diagonal, thorough)?;
        self.factorise(fine)
    }

    fn set_up_smoothers(
        &mut self,
        fine: &LatticeOperator,
        mut diagonal: Vec<f64>,
        thorough: bool,
    ) -> Result<()> {
        for (number, smoother) in self.smoothers.iter_mut().enumerate() {
            if let Some(coarse) = number.checked_sub(1) {
                diagonal = self.stencils[coarse].diagonal(&self.hierarchy.levels[coarse].layout);
            }
            smoother.set_up(&diagonal, thorough, |x, y| {
                fill(y, 0.0);
                add_product(self.hierarchy, &self.stencils, fine, number, 1.0, x, y);
            })?;
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
        self.coarsest = Some(Coarsest::new(&dense, entries.len())?);
        self.coarsest_entries = entries;
        Ok(())
    }

    /// `z` = one V-cycle applied to `r`.
    pub fn precondition(&mut self, fine: &LatticeOperator, r: &[f64], z: &mut [f64]) {
        let scale = norm(r);
        self.scaled_cycle(fine, r, scale);
        update(z, &self.smoothers[0].x, |_, x: f32| f64::from(x) * scale);
    }

    /// The preconditioner of an operator, its result left in single precision where the V-cycle has it.
    pub fn cycle_of<'m, 'o>(&'m mut self, fine: &'m LatticeOperator<'o>) -> Cycle<'m, 'h, 'o> {
        Cycle {
            multigrid: self,
            fine,
            scale: 0.0,
        }
    }

    /// One V-cycle applied to `r`, whose norm is `size`: its result is the solution of the finest level times `size`.
    fn scaled_cycle(&mut self, fine: &LatticeOperator, r: &[f64], size: f64) {
        if size == 0.0 {
            fill(&mut self.smoothers[0].x, 0.0);
            return;
        }
        // A unit vector keeps the single-precision cycle clear of overflow and underflow.
        update(&mut self.smoothers[0].b, r, |_, r| (r / size) as f32);
        self.cycle(fine, 0);
    }

    /// `x` of the level = V-cycle applied to its `b`.
    fn cycle(&mut self, fine: &LatticeOperator, level: usize) {
        if level == self.hierarchy.levels.len() {
            self.solve_coarsest(level);
            return;
        }
        let mut here = std::mem::take(&mut self.smoothers[level]);
        let (rows, coarse_rows) = (self.hierarchy.rows(level), self.hierarchy.rows(level + 1));
        let (hierarchy, stencils) = (self.hierarchy, &self.stencils);
        let subtract =
            |d: &[f32], b: &mut [f32]| add_product(hierarchy, stencils, fine, level, -1.0, d, b);
        here.smooth(true, subtract);
        if level == 0 {
            // The product does not spare the rows of the supports.
            for &dof in fine.constrained {
                here.b[dof as usize] = 0.0;
            }
        }
        restrict(coarse_rows, rows, &here.b, &mut self.smoothers[level + 1].b);
        self.cycle(fine, level + 1);
        prolongate(coarse_rows, rows, &self.smoothers[level + 1].x, &mut here.d);
        correct(&mut here.d, &mut here.x, &here.inverse_diagonal);
        let (hierarchy, stencils) = (self.hierarchy, &self.stencils);
        let subtract =
            |d: &[f32], b: &mut [f32]| add_product(hierarchy, stencils, fine, level, -1.0, d, b);
        subtract(&here.d, &mut here.b);
        here.smooth(false, subtract);
        self.smoothers[level] = here;
    }

    fn solve_coarsest(&mut self, level: usize) {
        let Smoother {
            b,
            x,
            inverse_diagonal,
            ..
        } = &mut self.smoothers[level];
        let Some(coarsest) = &self.coarsest else {
            x.fill(0.0);
            return;
        };
        let entries = &self.coarsest_entries;
        coarsest.solve(
            |row| b[entries[row]],
            |row, value| {
                let entry = entries[row];
                x[entry] = if inverse_diagonal[entry] == 0.0 {
                    0.0
                } else {
                    value
                };
            },
        );
    }
}

/// What a device takes over of a preconditioner that was set up here.
#[cfg(feature = "gpu")]
impl Multigrid<'_> {
    /// Its levels.
    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        self.hierarchy
    }

    /// Inverse diagonal of a level and bound of the eigenvalues of its scaled matrix; 0 is the mesh.
    pub(crate) fn smoother(&self, level: usize) -> (&[f32], f64) {
        let smoother = &self.smoothers[level];
        (&smoother.inverse_diagonal, smoother.eigenvalue_bound())
    }

    /// Numbers of a coarse level's stencils, number by number for all points; 0 is the finest coarse level.
    pub(crate) fn numbers(&self, coarse: usize) -> Vec<f32> {
        self.stencils[coarse].by_number(&self.hierarchy.levels[coarse].layout)
    }

    /// Inverse of the coarsest matrix, row by row.
    pub(crate) fn coarsest_inverse(&self) -> Vec<f64> {
        self.coarsest
            .as_ref()
            .map_or_else(Vec::new, Coarsest::inverse)
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
