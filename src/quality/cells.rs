//! The surroundings of a bone on cells of about 2 mm: small enough for a vessel and a lesion, large enough to average the noise out.

use imaging::{Grid, Mask, Volume};
use nalgebra::Vector3;

use super::Near;

/// Edge of a cell, mm; voxels above two thirds of it are cells themselves.
const CELL_MM: f64 = 2.0;

/// Means over blocks of voxels.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub grid: Grid,
    /// Mean density of each cell, mg/cm³.
    pub mean_mg_cm3: Vec<f32>,
    /// Largest density in each cell, mg/cm³.
    pub most_mg_cm3: Vec<f32>,
    /// Whether any voxel of the cell is bone.
    pub touched: Vec<bool>,
    /// Whether all of them are.
    pub whole: Vec<bool>,
}

impl Cells {
    /// Joins the voxels of a window; what does not fill a cell at its far ends is left out.
    pub fn of(near: &Near) -> Self {
        let fine = &near.bone.grid;
        let join = fine
            .spacing_mm
            .map(|s| ((CELL_MM / s).round() as usize).max(1));
        let grid = Grid {
            size: std::array::from_fn(|a| fine.size[a] / join[a]),
            spacing_mm: std::array::from_fn(|a| fine.spacing_mm[a] * join[a] as f64),
            origin_mm: fine.to_world(Vector3::from_fn(|a, _| (join[a] - 1) as f64 / 2.0)),
            direction: fine.direction,
        };
        let count = grid.len();
        let mut cells = Self {
            mean_mg_cm3: vec![0.0; count],
            most_mg_cm3: vec![f32::NEG_INFINITY; count],
            touched: vec![false; count],
            whole: vec![true; count],
            grid,
        };
        let [ni, nj, nk] = cells.grid.size;
        for k in 0..nk * join[2] {
            for j in 0..nj * join[1] {
                let row = fine.index(0, j, k);
                let first = cells.grid.index(0, j / join[1], k / join[2]);
                for i in 0..ni {
                    let cell = first + i;
                    for at in row + i * join[0]..row + (i + 1) * join[0] {
                        let density = near.density_mg_cm3.data[at];
                        cells.mean_mg_cm3[cell] += density;
                        cells.most_mg_cm3[cell] = cells.most_mg_cm3[cell].max(density);
                        cells.touched[cell] |= near.bone.data[at];
                        cells.whole[cell] &= near.bone.data[at];
                    }
                }
            }
        }
        let part = 1.0 / join.iter().product::<usize>() as f32;
        cells.mean_mg_cm3.iter_mut().for_each(|sum| *sum *= part);
        cells
    }

    /// A mask of the cells that `holds` tells.
    pub fn mask(&self, holds: impl FnMut(usize) -> bool) -> Mask {
        Volume {
            grid: self.grid.clone(),
            data: (0..self.grid.len()).map(holds).collect(),
        }
    }

    /// Cells along the finest axis that make up a length.
    pub fn steps(&self, mm: f64) -> i32 {
        let finest = self
            .grid
            .spacing_mm
            .iter()
            .copied()
            .fold(f64::MAX, f64::min);
        (mm / finest).round().max(1.0) as i32
    }

    /// World position of a cell's centre.
    pub fn place(&self, cell: usize) -> Vector3<f64> {
        let at = self.grid.voxel(cell);
        self.grid.to_world(Vector3::from_fn(|a, _| at[a] as f64))
    }

    /// The cells that share a face with this one.
    pub fn beside(&self, cell: usize) -> impl Iterator<Item = usize> + '_ {
        let at = self.grid.voxel(cell);
        let size = self.grid.size;
        let strides = [1, size[0], size[0] * size[1]];
        (0..3).flat_map(move |a| {
            let before = (at[a] > 0).then(|| cell - strides[a]);
            let after = (at[a] + 1 < size[a]).then(|| cell + strides[a]);
            before.into_iter().chain(after)
        })
    }
}
