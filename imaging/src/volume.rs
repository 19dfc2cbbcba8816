//! A grid with one value per voxel.

use crate::error::{Error, Result};
use crate::grid::Grid;

/// One value per voxel of a [`Grid`], first index fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume<T> {
    /// Where the voxels stand.
    pub grid: Grid,
    /// The values, `grid.len()` of them.
    pub data: Vec<T>,
}

/// A binary mask.
pub type Mask = Volume<bool>;
/// A label map; 0 is background.
pub type LabelMap = Volume<u16>;

impl<T> Volume<T> {
    /// Joins a grid and its values.
    ///
    /// # Errors
    /// [`Error::Length`] when the number of values is not the number of voxels.
    pub fn new(grid: Grid, data: Vec<T>) -> Result<Self> {
        if data.len() != grid.len() {
            return Err(Error::Length {
                expected: grid.len(),
                found: data.len(),
            });
        }
        Ok(Self { grid, data })
    }

    /// A volume whose voxel `(i, j, k)` is `value([i, j, k])`.
    pub fn from_fn(grid: Grid, mut value: impl FnMut([usize; 3]) -> T) -> Self {
        let data = (0..grid.len())
            .map(|index| value(grid.voxel(index)))
            .collect();
        Self { grid, data }
    }

    /// The same grid with every value mapped.
    pub fn map<U>(&self, value: impl FnMut(&T) -> U) -> Volume<U> {
        Volume {
            grid: self.grid.clone(),
            data: self.data.iter().map(value).collect(),
        }
    }
}

impl<T: Clone> Volume<T> {
    /// A volume of one value.
    pub fn filled(grid: Grid, value: T) -> Self {
        let data = vec![value; grid.len()];
        Self { grid, data }
    }
}

impl<T: Copy> Volume<T> {
    /// Value of voxel `(i, j, k)`.
    #[inline]
    pub fn at(&self, i: usize, j: usize, k: usize) -> T {
        self.data[self.grid.index(i, j, k)]
    }
}

impl Mask {
    /// Number of voxels inside.
    pub fn count(&self) -> usize {
        self.data.iter().filter(|&&inside| inside).count()
    }

    /// First and last voxel index inside, per axis; `None` for an empty mask.
    pub fn bounding_box(&self) -> Option<[[usize; 3]; 2]> {
        let mut low = [usize::MAX; 3];
        let mut high = [0; 3];
        for (index, _) in self.data.iter().enumerate().filter(|(_, inside)| **inside) {
            let voxel = self.grid.voxel(index);
            for axis in 0..3 {
                low[axis] = low[axis].min(voxel[axis]);
                high[axis] = high[axis].max(voxel[axis]);
            }
        }
        (low[0] != usize::MAX).then_some([low, high])
    }
}

impl LabelMap {
    /// The voxels that carry one of `labels`.
    pub fn select(&self, labels: &[u16]) -> Mask {
        self.map(|label| labels.contains(label))
    }

    /// The label values present, ascending, without background.
    pub fn labels(&self) -> Vec<u16> {
        let mut present = vec![false; usize::from(u16::MAX) + 1];
        for &label in &self.data {
            present[usize::from(label)] = true;
        }
        (1..=u16::MAX)
            .filter(|&label| present[usize::from(label)])
            .collect()
    }
}
