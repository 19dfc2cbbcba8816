//! Tiles over an image, weighted by a Gaussian, mirrored where the network may see mirrors.

use half::f16;

use crate::channels::Channels;
use crate::error::{Error, Result};
use crate::network::Network;

/// Where the tiles of an image stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    /// Voxels of a tile.
    pub patch: [usize; 3],
    /// Voxels put before and behind each axis, so that a tile fits.
    pub padding: [[usize; 3]; 2],
    /// First voxel of the tiles along each axis of the padded image.
    pub starts: [Vec<usize>; 3],
}

/// Starts of tiles of `patch` voxels along an axis of `image` voxels, at most `step` of a tile apart.
pub fn tile_starts(image: usize, patch: usize, step: f64) -> Vec<usize> {
    let room = image.saturating_sub(patch);
    let count = (room as f64 / (patch as f64 * step)).ceil() as usize + 1;
    let apart = match count {
        1 => 0.0,
        count => room as f64 / (count - 1) as f64,
    };
    (0..count)
        .map(|tile| (apart * tile as f64).round_ties_even() as usize)
        .collect()
}

impl Tiling {
    /// The tiles of an image; a patch of one voxel along z takes every slice.
    pub fn new(shape: [usize; 3], patch: [usize; 3], step: f64, slices: bool) -> Self {
        let missing: [usize; 3] =
            std::array::from_fn(|axis| patch[axis].saturating_sub(shape[axis]));
        let before = missing.map(|missing| missing / 2);
        let after = std::array::from_fn(|axis| missing[axis] - before[axis]);
        Self {
            patch,
            padding: [before, after],
            starts: std::array::from_fn(|axis| match (axis, slices) {
                (0, true) => (0..shape[0]).collect(),
                _ => tile_starts(shape[axis].max(patch[axis]), patch[axis], step),
            }),
        }
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        self.starts.iter().map(Vec::len).product()
    }

    /// Whether there is no tile.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tiles(&self) -> impl Iterator<Item = [usize; 3]> + '_ {
        let [zs, ys, xs] = &self.starts;
        zs.iter().flat_map(move |&z| {
            ys.iter()
                .flat_map(move |&y| xs.iter().map(move |&x| [z, y, x]))
        })
    }
}

/// Weight of each voxel of a tile in half precision: a Gaussian of an eighth of the tile, ten at its peak, never zero.
pub fn importance(patch: [usize; 3], slices: bool) -> Vec<f16> {
    let axes: [Vec<f64>; 3] = std::array::from_fn(|axis| match (axis, slices) {
        (0, true) => vec![1.0],
        _ => impulse_response(patch[axis]),
    });
    let mut weights = Vec::with_capacity(patch.iter().product());
    for z in &axes[0] {
        for y in &axes[1] {
            weights.extend(axes[2].iter().map(|x| z * y * x));
        }
    }
    let peak = weights.iter().copied().fold(0.0, f64::max);
    let halves = weights.iter().map(|w| f16::from_f64(w / peak * 10.0));
    let halves: Vec<f16> = halves.collect();
    let zero = f16::from_f32(0.0);
    let smallest = halves.iter().copied().filter(|&w| w > zero);
    let smallest = smallest.fold(f16::from_f32(10.0), |a, b| if b < a { b } else { a });
    halves
        .into_iter()
        .map(|w| if w == zero { smallest } else { w })
        .collect()
}

/// A Gaussian about the middle of an axis, cut off at four standard deviations; its whole kernel sums to one.
fn impulse_response(length: usize) -> Vec<f64> {
    let sigma = length as f64 / 8.0;
    let reach = (4.0 * sigma + 0.5) as i64;
    let bell = |offset: i64| (-0.5 * (offset as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-reach..=reach).map(bell).sum();
    let middle = (length / 2) as i64;
    (0..length as i64)
        .map(|at| match at - middle {
            offset if offset.abs() <= reach => bell(offset) / sum,
            _ => 0.0,
        })
        .collect()
}

/// What is run on every tile.
#[derive(Debug)]
pub struct Ensemble<'a> {
    /// The networks of the folds.
    pub networks: &'a [Network],
    /// Spatial axes (0 z, 1 y, 2 x) along which tiles are mirrored as well.
    pub mirror_axes: Vec<usize>,
    /// Output channels.
    pub classes: usize,
}

impl Ensemble<'_> {
    /// The non-empty sets of mirrored axes, small sets first.
    fn mirrors(&self) -> Vec<Vec<usize>> {
        let axes = &self.mirror_axes;
        let mut sets: Vec<Vec<usize>> = (1..1usize << axes.len())
            .map(|bits| {
                let of = axes.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
                of.map(|(_, &axis)| axis).collect()
            })
            .collect();
        sets.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        sets
    }

    /// How often a network runs for one tile.
    pub fn passes(&self) -> usize {
        (1 << self.mirror_axes.len()) * self.networks.len()
    }

    /// Logits of a tile, averaged over mirrors.
    fn run(&self, network: &Network, tile: &Channels<f32>) -> Result<Vec<f32>> {
        let [z, y, x] = tile.shape;
        let shape = [1, tile.channels(), z, y, x];
        let mut sum = network.forward(tile.data.clone(), shape)?;
        if sum.len() != self.classes * tile.voxels() {
            return Err(Error::Weights(format!(
                "the network gave {} values for {} classes of {} voxels",
                sum.len(),
                self.classes,
                tile.voxels()
            )));
        }
        let mirrors = self.mirrors();
        for axes in &mirrors {
            let mut mirrored = tile.data.clone();
            mirror(&mut mirrored, tile.shape, axes);
            let mut logits = network.forward(mirrored, shape)?;
            mirror(&mut logits, tile.shape, axes);
            for (sum, logit) in sum.iter_mut().zip(&logits) {
                *sum += logit;
            }
        }
        let count = (mirrors.len() + 1) as f32;
        for sum in &mut sum {
            *sum /= count;
        }
        if sum.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite(
                "the network gave values that are not numbers: its weights are damaged or the scan is far outside what it was trained on".into(),
            ));
        }
        Ok(sum)
    }
}

/// Flips channels of `shape` in place.
fn mirror(values: &mut [f32], shape: [usize; 3], axes: &[usize]) {
    let [nz, ny, nx] = shape;
    for channel in values.chunks_exact_mut(nz * ny * nx) {
        for &axis in axes {
            match axis {
                0 => swap_ends(channel, nz, ny * nx),
                1 => channel
                    .chunks_exact_mut(ny * nx)
                    .for_each(|slice| swap_ends(slice, ny, nx)),
                _ => channel.chunks_exact_mut(nx).for_each(<[f32]>::reverse),
            }
        }
    }
}

/// Reverses the order of `count` parts of `length` values.
fn swap_ends(values: &mut [f32], count: usize, length: usize) {
    for part in 0..count / 2 {
        let (front, back) = values.split_at_mut((count - 1 - part) * length);
        front[part * length..(part + 1) * length].swap_with_slice(&mut back[..length]);
    }
}

/// Logits of a whole image in half precision throughout, as the original accumulates them on the CPU.
///
/// # Errors
/// Those of the network.
pub fn logits_in_half(
    image: Channels<f32>,
    tiling: &Tiling,
    weights: &[f16],
    ensemble: &Ensemble<'_>,
    mut tile_done: impl FnMut(),
) -> Result<Channels<f16>> {
    let [before, after] = tiling.padding;
    let shape = image.shape;
    let padded = image.padded(before, after, 0.0);
    let zero = f16::from_f32(0.0);
    let mut folds: Option<Channels<f16>> = None;
    for network in ensemble.networks {
        let mut sum = Channels::filled(ensemble.classes, padded.shape, zero);
        let mut count = Channels::filled(1, padded.shape, zero);
        for start in tiling.tiles() {
            let end = std::array::from_fn(|axis| start[axis] + tiling.patch[axis]);
            let tile = padded.cropped(start, end);
            let logits = ensemble.run(network, &tile)?;
            for (to, from, length) in rows(padded.shape, tiling.patch, start) {
                let weight = &weights[from..from + length];
                for (count, &w) in count.data[to..to + length].iter_mut().zip(weight) {
                    *count = f16::from_f32(count.to_f32() + w.to_f32());
                }
                for class in 0..ensemble.classes {
                    let at = class * padded.voxels() + to;
                    let logits = &logits[class * tile.voxels() + from..][..length];
                    let sums = &mut sum.data[at..at + length];
                    for ((sum, &logit), &w) in sums.iter_mut().zip(logits).zip(weight) {
                        *sum = f16::from_f32(sum.to_f32() + logit * w.to_f32());
                    }
                }
            }
            tile_done();
        }
        let voxels = padded.voxels();
        for class in sum.data.chunks_exact_mut(voxels) {
            for (sum, count) in class.iter_mut().zip(&count.data) {
                *sum = f16::from_f32(sum.to_f32() / count.to_f32());
            }
        }
        folds = Some(match folds {
            None => sum,
            Some(mut folds) => {
                for (folds, fold) in folds.data.iter_mut().zip(&sum.data) {
                    *folds = f16::from_f32(folds.to_f32() + fold.to_f32());
                }
                folds
            }
        });
    }
    let mut logits = folds.ok_or_else(|| Error::Parameter("no fold to run".into()))?;
    if ensemble.networks.len() > 1 {
        let count = ensemble.networks.len() as f32;
        for logit in &mut logits.data {
            *logit = f16::from_f32(logit.to_f32() / count);
        }
    }
    if logits.data.iter().any(|v| !v.is_finite()) {
        return Err(Error::NotFinite(
            "logits are too large for half precision; use --precision fast".into(),
        ));
    }
    let high = std::array::from_fn(|axis| before[axis] + shape[axis]);
    Ok(logits.into_cropped(before, high))
}

/// Rows of a tile: their place in the image, in the tile, and their length.
fn rows(
    image: [usize; 3],
    patch: [usize; 3],
    start: [usize; 3],
) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..patch[0]).flat_map(move |z| {
        (0..patch[1]).map(move |y| {
            let to = ((start[0] + z) * image[1] + start[1] + y) * image[2] + start[2];
            (to, (z * patch[1] + y) * patch[2], patch[2])
        })
    })
}

/// Logits of a whole image in single precision, handed on slice by slice (class, y, x) as soon as no tile will touch them again.
///
/// # Errors
/// Those of the network and of `slice`.
pub fn logits_by_slice(
    image: Channels<f32>,
    tiling: &Tiling,
    weights: &[f16],
    ensemble: &Ensemble<'_>,
    mut tile_done: impl FnMut(),
    mut slice: impl FnMut(Vec<f32>) -> Result<()>,
) -> Result<()> {
    let [before, after] = tiling.padding;
    let shape = image.shape;
    let padded = image.padded(before, after, 0.0);
    let [depth, rows, columns] = padded.shape;
    let area = rows * columns;
    let classes = ensemble.classes;
    let weights: Vec<f32> = weights.iter().map(|w| w.to_f32()).collect();
    // One sum per class and the sum of weights for each slice that tiles still touch, the first of them slice `first`.
    let mut open: std::collections::VecDeque<Vec<f32>> = std::collections::VecDeque::new();
    let mut first = 0;
    let [zs, ys, xs] = &tiling.starts;
    for (index, &z) in zs.iter().enumerate() {
        while first + open.len() < z + tiling.patch[0] {
            open.push_back(vec![0.0; (classes + 1) * area]);
        }
        for &y in ys {
            for &x in xs {
                let start = [z, y, x];
                let end = std::array::from_fn(|axis| start[axis] + tiling.patch[axis]);
                let tile = padded.cropped(start, end);
                let mut logits = vec![0.0f32; classes * tile.voxels()];
                for network in ensemble.networks {
                    let fold = ensemble.run(network, &tile)?;
                    for (sum, fold) in logits.iter_mut().zip(&fold) {
                        *sum += fold;
                    }
                }
                let folds = ensemble.networks.len() as f32;
                for dz in 0..tiling.patch[0] {
                    let sums = &mut open[z + dz - first];
                    for dy in 0..tiling.patch[1] {
                        let from = (dz * tiling.patch[1] + dy) * tiling.patch[2];
                        let to = (y + dy) * columns + x;
                        let weight = &weights[from..from + tiling.patch[2]];
                        for class in 0..classes {
                            let logits = &logits[class * tile.voxels() + from..][..weight.len()];
                            let sums = &mut sums[class * area + to..][..weight.len()];
                            for ((sum, logit), w) in sums.iter_mut().zip(logits).zip(weight) {
                                *sum += logit / folds * w;
                            }
                        }
                        let counts = &mut sums[classes * area + to..][..weight.len()];
                        for (count, w) in counts.iter_mut().zip(weight) {
                            *count += w;
                        }
                    }
                }
                tile_done();
            }
        }
        let done = zs.get(index + 1).copied().unwrap_or(depth);
        while first < done {
            let Some(sums) = open.pop_front() else { break };
            if (before[0]..before[0] + shape[0]).contains(&first) {
                slice(mean(&sums, classes, [rows, columns], before, shape))?;
            }
            first += 1;
        }
    }
    Ok(())
}

/// Weighted mean of a slice, without the padding.
fn mean(
    sums: &[f32],
    classes: usize,
    [rows, columns]: [usize; 2],
    before: [usize; 3],
    shape: [usize; 3],
) -> Vec<f32> {
    let area = rows * columns;
    let mut out = Vec::with_capacity(classes * shape[1] * shape[2]);
    for class in 0..classes {
        for y in before[1]..before[1] + shape[1] {
            let at = y * columns + before[2];
            let sums_of = &sums[class * area + at..][..shape[2]];
            let counts = &sums[classes * area + at..][..shape[2]];
            out.extend(sums_of.iter().zip(counts).map(|(sum, count)| sum / count));
        }
    }
    out
}
