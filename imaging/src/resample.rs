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
use crate::grid::Grid;
use crate::orientation::{permutation_between, permuted};
use crate::spline::Spline;
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
        Interpolation::Linear => sample(grid, target, outside, fallback, |at| linear(volume, at)),
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

/// The part of each target voxel's volume that lies in the mask, 0 to 1; outside the source is
/// background.
///
/// Exact (a separable box filter) where the array axes of both grids are parallel, in any order and
/// direction. Otherwise the mean of 4 x 4 x 4 nearest-neighbour samples spread evenly in the target
/// voxel.
pub fn mask_fraction(mask: &Mask, target: &Grid) -> Volume<f32> {
    if mask.grid.is_empty() || target.is_empty() {
        return Volume::filled(target.clone(), 0.0);
    }
    let (from, flip) = permutation_between(&mask.grid, target);
    let turned = permuted(mask, from, flip);
    let (matrix, offset) = index_map(&turned.grid, target);
    let parallel = (0..3).all(|row| {
        let drift: f64 = (0..3)
            .filter(|&column| column != row)
            .map(|column| matrix[(row, column)].abs() * target.size[column] as f64)
            .sum();
        matrix[(row, row)] > 0.0 && drift < 1e-3
    });
    if !parallel {
        return supersampled_fraction(mask, target);
    }
    let mut data: Vec<f32> = turned
        .data
        .iter()
        .map(|&v| f32::from(u8::from(v)))
        .collect();
    let mut size = turned.grid.size;
    // The axis that shrinks most goes first: least work for the others.
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| matrix[(b, b)].total_cmp(&matrix[(a, a)]));
    for axis in order {
        let overlaps = overlaps(
            size[axis],
            target.size[axis],
            matrix[(axis, axis)],
            offset[axis],
        );
        data = average_axis(&data, size, axis, &overlaps);
        size[axis] = target.size[axis];
    }
    Volume {
        grid: target.clone(),
        data,
    }
}

/// First source voxel and weights of the source voxels that one target voxel covers along an axis.
type Overlap = (usize, Vec<f64>);

/// Overlap of each of `count` target voxels (centre `offset + step * t`, width `step`, in source
/// voxels) with the `n` source voxels, as a part of the target voxel's width.
fn overlaps(n: usize, count: usize, step: f64, offset: f64) -> Vec<Overlap> {
    (0..count)
        .map(|t| {
            let centre = offset + step * t as f64;
            let low = (centre - 0.5 * step).max(-0.5);
            let high = (centre + 0.5 * step).min(n as f64 - 0.5);
            if high <= low {
                return (0, Vec::new());
            }
            let first = ((low + 0.5).floor() as usize).min(n - 1);
            let last = ((high + 0.5).floor() as usize).min(n - 1);
            let weights = (first..=last)
                .map(|s| {
                    let s = s as f64;
                    ((s + 0.5).min(high) - (s - 0.5).max(low)).max(0.0) / step
                })
                .collect();
            (first, weights)
        })
        .collect()
}

/// Applies the overlaps along one axis.
fn average_axis(data: &[f32], size: [usize; 3], axis: usize, overlaps: &[Overlap]) -> Vec<f32> {
    let mut out_size = size;
    out_size[axis] = overlaps.len();
    let stride = match axis {
        0 => 1,
        1 => size[0],
        _ => size[0] * size[1],
    };
    let mut out = vec![0.0; out_size.iter().product()];
    out.par_chunks_mut(out_size[0])
        .enumerate()
        .for_each(|(row, line)| {
            let (j, k) = (row % out_size[1], row / out_size[1]);
            for (i, value) in line.iter_mut().enumerate() {
                let at = [i, j, k];
                let (first, weights) = &overlaps[at[axis]];
                let mut from = at;
                from[axis] = *first;
                let start = from[0] + size[0] * (from[1] + size[1] * from[2]);
                *value = weights
                    .iter()
                    .enumerate()
                    .map(|(s, weight)| weight * f64::from(data[start + s * stride]))
                    .sum::<f64>() as f32;
            }
        });
    out
}

/// [`mask_fraction`] for grids at an angle.
fn supersampled_fraction(mask: &Mask, target: &Grid) -> Volume<f32> {
    const STEPS: usize = 4;
    let (matrix, offset) = index_map(&mask.grid, target);
    let shifts: Vec<Vector3<f64>> = (0..STEPS.pow(3))
        .map(|n| {
            let part = |m: usize| (m % STEPS) as f64 / STEPS as f64 + 0.5 / STEPS as f64 - 0.5;
            matrix * Vector3::new(part(n), part(n / STEPS), part(n / STEPS / STEPS))
        })
        .collect();
    let size = mask.grid.size;
    sample_index(target, 0.0, |voxel| {
        let centre = matrix * voxel + offset;
        let inside = shifts
            .iter()
            .filter(|&shift| {
                let at = centre + shift;
                (0..3).all(|axis| is_inside(at[axis], size[axis]))
                    && mask.data[nearest_voxel(&mask.grid, at)]
            })
            .count();
        inside as f32 / shifts.len() as f32
    })
}

/// The map from voxel indices of `target` to continuous voxel indices of `source`.
fn index_map(source: &Grid, target: &Grid) -> (Matrix3<f64>, Vector3<f64>) {
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
fn sample_index<T: Copy + Send + Sync>(
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
fn is_inside(at: f64, n: usize) -> bool {
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
fn nearest_voxel(grid: &Grid, at: Vector3<f64>) -> usize {
    let nearest = |axis: usize| {
        let index = (at[axis] + 0.5 + ROUNDING).floor().max(0.0) as usize;
        index.min(grid.size[axis] - 1)
    };
    grid.index(nearest(0), nearest(1), nearest(2))
}

/// Trilinear value at a continuous index, clamped into the box of voxel centres.
fn linear(volume: &Volume<f32>, at: Vector3<f64>) -> f32 {
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
    mix(along_j(low[2]), along_j(high[2]), part[2]) as f32
}
