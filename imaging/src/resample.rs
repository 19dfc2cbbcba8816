//! Bringing volumes, masks and label maps onto another grid.
//!
//! A source voxel is a box around its centre, so a point is *inside* the source when its continuous
//! index lies in `[-0.5, n - 0.5]` along each axis (as in ITK). Between the outermost voxel centres
//! and the faces of the outermost voxels, nearest-neighbour and linear interpolation take the border
//! voxel and the cubic spline mirrors. [`Outside`] says what stands beyond.
//!
//! The cubic B-spline interpolates (it passes through the voxel values) and is the one of
//! M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
//! Magazine 16(6), 1999, with whole-sample mirror ends.

use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::error::{Error, Result};
pub use crate::fraction::{mask_fraction, volume_mean};
use crate::grid::Grid;
pub use crate::spline::Spline;
use crate::volume::{LabelMap, Mask, Volume};

/// How a value between voxel centres is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Value of the nearest voxel; a point midway belongs to the voxel of higher index.
    Nearest,
    /// Trilinear.
    Linear,
    /// Interpolating cubic B-spline; may over- and undershoot at edges.
    CubicBSpline,
}

/// What stands outside the source volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outside {
    /// This value.
    Value(f32),
    /// The value at the nearest point of the box spanned by the outermost voxel centres; for every
    /// interpolation, and from the outermost voxel centre on.
    Nearest,
    /// The volume mirrored about its outermost voxel centres (`d c b | a b c d | c b a`).
    Mirror,
}

/// Distance in voxels by which rounding may carry a point over a voxel's face.
const ROUNDING: f64 = 1e-6;

/// Spacing difference up to which an axis counts as having the wanted spacing already, mm.
const SPACING_TOLERANCE_MM: f64 = 1e-3;

/// Largest number of voxels of a grid made here; voxel indices are `u32`.
const MOST_VOXELS: f64 = u32::MAX as f64;

/// Samples a volume at the voxel centres of `target`.
///
/// An empty source gives the outside value, or NaN where none was given. NaN voxels spread: with the
/// cubic spline through the whole line, so replace them first.
pub fn resample(
    volume: &Volume<f32>,
    target: &Grid,
    interpolation: Interpolation,
    outside: Outside,
) -> Volume<f32> {
    let grid = &volume.grid;
    let fallback = match outside {
        Outside::Value(value) => value,
        Outside::Nearest | Outside::Mirror => f32::NAN,
    };
    match interpolation {
        Interpolation::Nearest => sample(grid, target, outside, fallback, |at| {
            volume.data[nearest_voxel(grid, at)]
        }),
        Interpolation::Linear => sample(grid, target, outside, fallback, |at| {
            linear(volume, at) as f32
        }),
        Interpolation::CubicBSpline => {
            let spline = Spline::new(volume);
            sample(grid, target, outside, fallback, |at| {
                spline.value_at(at) as f32
            })
        }
    }
}

/// Brings a label map onto another grid by nearest neighbour; background outside.
///
/// A target centre midway between two voxels (to 1e-6 voxel) takes the one of higher index, on every
/// machine.
pub fn resample_labels(labels: &LabelMap, target: &Grid) -> LabelMap {
    sample(&labels.grid, target, Outside::Value(0.0), 0, |at| {
        labels.data[nearest_voxel(&labels.grid, at)]
    })
}

/// Brings a mask onto another grid by nearest neighbour, as [`resample_labels`]; background outside.
pub fn resample_mask(mask: &Mask, target: &Grid) -> Mask {
    sample(&mask.grid, target, Outside::Value(0.0), false, |at| {
        mask.data[nearest_voxel(&mask.grid, at)]
    })
}

/// The grid of cubes of side `h_mm` in the axes of `grid` that begins at the same outer corner: `round(n * spacing / h)` voxels per
/// axis (at least one, halves up), so that it covers the volume to half a voxel.
///
/// # Errors
/// As [`isotropic_grid`].
pub fn covering_grid(grid: &Grid, h_mm: f64) -> Result<Grid> {
    let mut made = isotropic_grid(grid, h_mm)?;
    let first =
        Vector3::from_fn(|axis, _| 0.5 * (made.spacing_mm[axis] / grid.spacing_mm[axis] - 1.0));
    made.origin_mm = grid.to_world(first);
    Ok(made)
}

/// The grid of cubes of side `h_mm` in the axes of `grid`: `round(n * spacing / h)` voxels per axis
/// (at least one, halves up), first voxel centre unchanged. An axis whose spacing differs from `h_mm`
/// by at most 1e-3 mm keeps its size and spacing.
///
/// # Errors
/// [`Error::Parameter`] when `h_mm` is not positive and finite, or so small that the grid would have
/// more voxels than a `u32` can number.
pub fn isotropic_grid(grid: &Grid, h_mm: f64) -> Result<Grid> {
    if !(h_mm.is_finite() && h_mm > 0.0) {
        return Err(Error::Parameter(format!(
            "the voxel size is {h_mm} mm; a positive, finite size is needed"
        )));
    }
    let mut made = grid.clone();
    let mut voxels = 1.0;
    for axis in 0..3 {
        let spacing = grid.spacing_mm[axis];
        if (spacing - h_mm).abs() > SPACING_TOLERANCE_MM && grid.size[axis] > 0 {
            let wanted = (grid.size[axis] as f64 * spacing / h_mm).round().max(1.0);
            made.size[axis] = wanted as usize;
            made.spacing_mm[axis] = h_mm;
        }
        voxels *= made.size[axis] as f64;
    }
    if voxels > MOST_VOXELS {
        return Err(Error::Parameter(format!(
            "voxels of {h_mm} mm would need {voxels:.3e} of them for {grid}; at most {MOST_VOXELS} are possible: choose larger voxels or crop the image"
        )));
    }
    Ok(made)
}

/// The map from voxel indices of `target` to continuous voxel indices of `source`.
pub(crate) fn index_map(source: &Grid, target: &Grid) -> (Matrix3<f64>, Vector3<f64>) {
    // A singular grid maps as Grid::to_index maps it.
    let inverse = source
        .matrix()
        .try_inverse()
        .unwrap_or_else(Matrix3::identity);
    (
        inverse * target.matrix(),
        inverse * (target.origin_mm - source.origin_mm),
    )
}

/// `value(index)` at every voxel of `target`, in parallel over rows.
pub(crate) fn sample_index<T: Copy + Send + Sync>(
    target: &Grid,
    initial: T,
    value: impl Fn(Vector3<f64>) -> T + Sync,
) -> Volume<T> {
    let mut out = Volume::filled(target.clone(), initial);
    let [ni, nj, _] = target.size;
    if !out.data.is_empty() {
        out.data
            .par_chunks_mut(ni)
            .enumerate()
            .for_each(|(row, line)| {
                let (j, k) = ((row % nj) as f64, (row / nj) as f64);
                for (i, slot) in line.iter_mut().enumerate() {
                    *slot = value(Vector3::new(i as f64, j, k));
                }
            });
    }
    out
}

/// Evaluates a source at every voxel centre of `target`. `evaluate` gets a continuous index that
/// `outside` has brought into range, or is not called and `fallback` stands.
fn sample<T: Copy + Send + Sync>(
    source: &Grid,
    target: &Grid,
    outside: Outside,
    fallback: T,
    evaluate: impl Fn(Vector3<f64>) -> T + Sync,
) -> Volume<T> {
    if source.is_empty() {
        return Volume::filled(target.clone(), fallback);
    }
    let (matrix, offset) = index_map(source, target);
    let size = source.size;
    sample_index(target, fallback, |voxel| {
        let mut at = matrix * voxel + offset;
        for axis in 0..3 {
            let n = size[axis];
            match outside {
                Outside::Value(_) if !is_inside(at[axis], n) => return fallback,
                Outside::Value(_) => {}
                Outside::Nearest => at[axis] = at[axis].clamp(0.0, (n - 1) as f64),
                Outside::Mirror => at[axis] = mirrored(at[axis], n),
            }
        }
        evaluate(at)
    })
}

/// Whether a continuous index lies in the box of the `n` voxels of an axis.
pub(crate) fn is_inside(at: f64, n: usize) -> bool {
    at >= -0.5 - ROUNDING && at <= n as f64 - 0.5 + ROUNDING
}

/// Folds a continuous index into `[0, n - 1]` by reflection about the outermost voxel centres.
pub(crate) fn mirrored(at: f64, n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let last = (n - 1) as f64;
    if (0.0..=last).contains(&at) {
        return at;
    }
    let folded = at.rem_euclid(2.0 * last);
    if folded > last {
        2.0 * last - folded
    } else {
        folded
    }
}

/// Data position of the voxel nearest to a continuous index, clamped into the grid.
pub(crate) fn nearest_voxel(grid: &Grid, at: Vector3<f64>) -> usize {
    let nearest = |axis: usize| {
        let index = (at[axis] + 0.5 + ROUNDING).floor().max(0.0) as usize;
        index.min(grid.size[axis] - 1)
    };
    grid.index(nearest(0), nearest(1), nearest(2))
}

/// Trilinear value at a continuous index, clamped into the box of voxel centres.
pub fn linear(volume: &Volume<f32>, at: Vector3<f64>) -> f64 {
    let size = volume.grid.size;
    let mut low = [0; 3];
    let mut high = [0; 3];
    let mut part = [0.0; 3];
    for axis in 0..3 {
        let last = size[axis] - 1;
        let clamped = at[axis].clamp(0.0, last as f64);
        low[axis] = (clamped.floor() as usize).min(last);
        high[axis] = (low[axis] + 1).min(last);
        part[axis] = clamped - low[axis] as f64;
    }
    let value = |i, j, k| f64::from(volume.at(i, j, k));
    let mix = |a: f64, b: f64, t: f64| a + t * (b - a);
    let along_i = |j, k| mix(value(low[0], j, k), value(high[0], j, k), part[0]);
    let along_j = |k| mix(along_i(low[1], k), along_i(high[1], k), part[1]);
    mix(along_j(low[2]), along_j(high[2]), part[2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::pattern;

    const ALL: [Interpolation; 3] = [
        Interpolation::Nearest,
        Interpolation::Linear,
        Interpolation::CubicBSpline,
    ];

    /// A one-voxel grid whose centre stands at a continuous index of `source`.
    fn point(source: &Grid, at: [f64; 3]) -> Grid {
        Grid {
            size: [1; 3],
            origin_mm: source.to_world(Vector3::from(at)),
            ..source.clone()
        }
    }

    fn value(
        volume: &Volume<f32>,
        at: [f64; 3],
        interpolation: Interpolation,
        outside: Outside,
    ) -> f32 {
        resample(volume, &point(&volume.grid, at), interpolation, outside).data[0]
    }

    /// scipy.ndimage.map_coordinates with order 1 and 3, mode="mirror" (scipy 1.17.1).
    #[test]
    fn equals_scipy() {
        let volume = pattern([6, 5, 4]);
        for (at, linear, cubic) in [
            ([0.3, 1.7, 2.2], 4.739, 4.306504809178949),
            ([2.5, 2.5, 1.5], 4.75, 6.266357421875003),
        ] {
            let found = value(&volume, at, Interpolation::Linear, Outside::Mirror);
            assert!((f64::from(found) - linear).abs() < 1e-5, "{at:?}: {found}");
            let found = value(&volume, at, Interpolation::CubicBSpline, Outside::Mirror);
            assert!((f64::from(found) - cubic).abs() < 1e-5, "{at:?}: {found}");
        }
        let far = [7.3, -2.6, 9.9];
        let found = value(&volume, far, Interpolation::CubicBSpline, Outside::Mirror);
        assert!((found - 4.214669).abs() < 1e-5, "{found}");
    }

    /// A plane in world coordinates survives linear resampling to an oblique, rotated grid.
    #[test]
    fn linear_keeps_a_linear_field_on_an_oblique_grid() {
        let turn = nalgebra::Rotation3::from_euler_angles(0.4, -0.7, 1.1);
        let field = |p: Vector3<f64>| 3.0 * p.x - 2.0 * p.y + 0.5 * p.z + 7.0;
        let source = Grid {
            size: [30, 28, 26],
            spacing_mm: [1.0, 1.2, 0.9],
            origin_mm: Vector3::new(-15.0, -16.0, -12.0),
            direction: *turn.matrix(),
        };
        let volume = Volume::from_fn(source.clone(), |[i, j, k]| {
            field(source.to_world(Vector3::new(i as f64, j as f64, k as f64))) as f32
        });
        let centre = source.to_world(Vector3::new(14.5, 13.5, 12.5));
        let target = Grid {
            size: [5, 6, 7],
            spacing_mm: [0.7, 1.3, 1.1],
            origin_mm: centre - Vector3::new(2.0, 3.0, 3.0),
            direction: Matrix3::identity(),
        };
        let found = resample(
            &volume,
            &target,
            Interpolation::Linear,
            Outside::Value(f32::NAN),
        );
        for (index, &v) in found.data.iter().enumerate() {
            let at = target.voxel(index).map(|n| n as f64);
            let expected = field(target.to_world(Vector3::from(at)));
            assert!((f64::from(v) - expected).abs() < 1e-4, "{v} {expected}");
        }
    }

    #[test]
    fn the_same_grid_gives_the_same_volume() {
        let volume = pattern([6, 5, 4]);
        for interpolation in ALL {
            let same = resample(&volume, &volume.grid, interpolation, Outside::Value(9.0));
            for (a, b) in same.data.iter().zip(&volume.data) {
                assert!((a - b).abs() < 1e-6, "{interpolation:?}: {a} {b}");
            }
        }
    }

    #[test]
    fn outside_begins_half_a_voxel_beyond_the_outermost_centres() {
        let volume = pattern([6, 5, 4]);
        let border = volume.at(0, 2, 2);
        for interpolation in ALL {
            let get = |x, outside| value(&volume, [x, 2.0, 2.0], interpolation, outside);
            assert_eq!(get(-0.51, Outside::Value(-77.0)), -77.0);
            assert_eq!(get(5.51, Outside::Value(-77.0)), -77.0);
            assert_ne!(get(-0.5, Outside::Value(-77.0)), -77.0);
            assert_ne!(get(5.5, Outside::Value(-77.0)), -77.0);
            assert!((get(-30.0, Outside::Nearest) - border).abs() < 1e-6);
            assert!((get(-0.3, Outside::Nearest) - border).abs() < 1e-6);
            assert!((get(-3.0, Outside::Mirror) - volume.at(3, 2, 2)).abs() < 1e-5);
        }
        let linear = value(
            &volume,
            [-0.4, 2.0, 2.0],
            Interpolation::Linear,
            Outside::Value(0.0),
        );
        assert_eq!(linear, border);
    }

    #[test]
    fn a_tie_goes_to_the_higher_index_whatever_the_rounding() {
        let grid = Grid::axis_aligned([4, 1, 1], [0.3, 1.0, 1.0]);
        let labels = Volume::new(grid.clone(), vec![1u16, 2, 3, 4]).unwrap();
        for (x, expected) in [
            (0.5, 2),
            (1.5 - 1e-9, 3),
            (1.5 + 1e-9, 3),
            (3.5, 4),
            (-0.5, 1),
        ] {
            let found = resample_labels(&labels, &point(&grid, [x, 0.0, 0.0]));
            assert_eq!(found.data, [expected], "{x}");
        }
        for x in [-0.6, 3.6] {
            assert_eq!(
                resample_labels(&labels, &point(&grid, [x, 0.0, 0.0])).data,
                [0]
            );
        }
        let mask = labels.select(&[2, 3]);
        let finer = Grid::axis_aligned([8, 1, 1], [0.15, 1.0, 1.0]);
        let expected = [false, true, true, true, true, false, false, false];
        assert_eq!(resample_mask(&mask, &finer).data, expected);
    }

    #[test]
    fn a_covering_grid_begins_at_the_same_corner() {
        let mut grid = Grid::axis_aligned([10, 7, 4], [0.8, 1.0, 5.0]);
        grid.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, -1.0));
        grid.origin_mm = Vector3::new(3.0, -2.0, 40.0);
        let made = covering_grid(&grid, 2.0).unwrap();
        assert_eq!(made.size, [4, 4, 10]);
        let corner = |grid: &Grid| grid.to_world(Vector3::repeat(-0.5));
        assert!((corner(&made) - corner(&grid)).norm() < 1e-12);
    }

    #[test]
    fn an_isotropic_grid_follows_the_written_rule() {
        let grid = Grid {
            origin_mm: Vector3::new(3.0, -4.0, 5.0),
            ..Grid::axis_aligned([100, 61, 40], [0.82, 1.0009, 2.5])
        };
        let made = isotropic_grid(&grid, 1.0).unwrap();
        assert_eq!(made.size, [82, 61, 100]);
        assert_eq!(made.spacing_mm, [1.0, 1.0009, 1.0]);
        assert_eq!(made.origin_mm, grid.origin_mm);
        // 5 voxels of 0.5 mm are 2.5 cubes: rounded up; one thin voxel stays one.
        let grid = Grid::axis_aligned([5, 1, 0], [0.5, 0.3, 2.0]);
        assert_eq!(isotropic_grid(&grid, 1.0).unwrap().size, [3, 1, 0]);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9] {
            let grid = Grid::axis_aligned([100; 3], [1.0; 3]);
            assert!(isotropic_grid(&grid, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_volumes_give_what_stands_outside() {
        let empty = Volume::filled(Grid::axis_aligned([0, 3, 3], [1.0; 3]), 0.0);
        let target = Grid::axis_aligned([2, 1, 1], [1.0; 3]);
        for interpolation in ALL {
            let found = resample(&empty, &target, interpolation, Outside::Value(-5.0));
            assert_eq!(found.data, [-5.0, -5.0]);
            let found = resample(&empty, &target, interpolation, Outside::Nearest);
            assert!(found.data.iter().all(|v| v.is_nan()));
            let none = resample(
                &pattern([2, 2, 2]),
                &empty.grid,
                interpolation,
                Outside::Mirror,
            );
            assert!(none.data.is_empty());
        }
    }
}
