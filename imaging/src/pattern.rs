//! A rough volume for tests, easily written in any language.

use crate::grid::Grid;
use crate::volume::Volume;

/// Voxel `(i, j, k)` is `(7 i + 5 j + 3 k + i j k) mod 11 - 0.25 i`: exact in `f32`. Spacing
/// 0.8 x 0.9 x 1.5 mm.
pub(crate) fn pattern(size: [usize; 3]) -> Volume<f32> {
    Volume::from_fn(Grid::axis_aligned(size, [0.8, 0.9, 1.5]), |[i, j, k]| {
        ((7 * i + 5 * j + 3 * k + i * j * k) % 11) as f32 - 0.25 * i as f32
    })
}
