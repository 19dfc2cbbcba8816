//! Resampling as nnU-Net does it, odd semantics included.
//!
//! The sample of output `i` stands at `x = (i + 0.5) n_in / n_out − 0.5` (half-pixel centres). Images are read with cubic
//! B-splines whose coefficients come from the axis lengthened by twelve repeated samples on each side and mirrored there, and the
//! result is clipped to the range of what went in; logits are read linearly. Where one axis is more than three times as coarse as
//! another, every slice across it is resampled by itself, and slices are then taken by nearest neighbour.
//!
//! Source: nnU-Net v2 2.8.1, `resample_data_or_seg_to_shape`, over scikit-image 0.26 `resize` and SciPy 1.17 `zoom`.

use rayon::prelude::*;

use crate::channels::Channels;

/// Above this ratio of spacings the coarse axis is resampled apart.
const ANISOTROPY: f64 = 3.0;
/// Samples by which an axis is lengthened on each side before the spline is fitted.
const PAD: usize = 12;
/// Columns filtered together: enough for vector registers, few enough for the cache.
const BLOCK: usize = 64;

/// Voxels of an image of `shape` and spacing `from` after resampling to spacing `to`.
pub fn new_shape(shape: [usize; 3], from: [f64; 3], to: [f64; 3]) -> [usize; 3] {
    // In this order: the quotient first, or halves fall to the other side.
    std::array::from_fn(|axis| {
        (from[axis] / to[axis] * shape[axis] as f64).round_ties_even() as usize
    })
}

/// The axis that is resampled by itself, slice by nearest slice; `None` where all three go together.
pub fn separate_axis(current: [f64; 3], new: [f64; 3]) -> Option<usize> {
    let anisotropic = |spacing: [f64; 3]| {
        let (low, high) = range(&spacing);
        high / low > ANISOTROPY
    };
    let spacing = match (anisotropic(current), anisotropic(new)) {
        (true, _) => current,
        (false, true) => new,
        (false, false) => return None,
    };
    let (_, coarsest) = range(&spacing);
    let mut coarse = (0..3).filter(|&axis| coarsest / spacing[axis] == 1.0);
    match (coarse.next(), coarse.next()) {
        (Some(axis), None) => Some(axis),
        _ => None,
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        })
}

/// Which samples of an axis make each output sample, and how much of each.
#[derive(Clone, Debug)]
pub struct Taps {
    /// First sample of each output; may lie before the axis, where its samples repeat.
    first: Vec<isize>,
    /// Weights of the samples from the first on, `width` for each output.
    weight: Vec<f64>,
    width: usize,
    /// Whether the samples are the coefficients of a spline.
    spline: bool,
}

impl Taps {
    fn position(output: usize, from: usize, to: usize) -> f64 {
        (output as f64 + 0.5) * from as f64 / to as f64 - 0.5
    }

    /// Linear, samples beyond the ends repeat.
    pub fn linear(from: usize, to: usize) -> Self {
        let mut taps = Self {
            first: Vec::with_capacity(to),
            weight: Vec::with_capacity(2 * to),
            width: 2,
            spline: false,
        };
        for output in 0..to {
            let x = Self::position(output, from, to).clamp(0.0, (from - 1) as f64);
            let below = x.floor();
            taps.first.push(below as isize);
            taps.weight.extend([1.0 - (x - below), x - below]);
        }
        taps
    }

    /// The nearest sample, the upper of two equally near.
    pub fn nearest(from: usize, to: usize) -> Self {
        let nearest = |output| {
            let x = (Self::position(output, from, to) + 0.5).floor();
            x.clamp(0.0, (from - 1) as f64) as isize
        };
        Self {
            first: (0..to).map(nearest).collect(),
            weight: vec![1.0; to],
            width: 1,
            spline: false,
        }
    }

    fn cubic(from: usize, to: usize) -> Self {
        let mut taps = Self {
            first: Vec::with_capacity(to),
            weight: Vec::with_capacity(4 * to),
            width: 4,
            spline: true,
        };
        for output in 0..to {
            let last = (from + 2 * PAD - 1) as f64;
            let x = (Self::position(output, from, to) + PAD as f64).clamp(0.0, last);
            let below = x.floor();
            let t = x - below;
            let u = 1.0 - t;
            taps.first.push(below as isize - 1);
            taps.weight.extend([
                u.powi(3) / 6.0,
                (4.0 - 6.0 * t * t + 3.0 * t.powi(3)) / 6.0,
                (4.0 - 6.0 * u * u + 3.0 * u.powi(3)) / 6.0,
                t.powi(3) / 6.0,
            ]);
        }
        taps
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.first.len()
    }

    /// The samples of one output and their weights, in an axis of `length` samples.
    pub fn of(&self, output: usize, length: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let first = self.first[output];
        let weights = &self.weight[output * self.width..(output + 1) * self.width];
        weights.iter().enumerate().map(move |(tap, &weight)| {
            let sample = (first + tap as isize).clamp(0, length as isize - 1);
            (sample as usize, weight)
        })
    }

    /// Applies the taps to `rows` of `width` values each, one row per sample.
    fn apply(&self, rows: &[f64], width: usize) -> Vec<f64> {
        let length = rows.len() / width;
        let fitted;
        let (samples, length) = if self.spline {
            fitted = spline_coefficients(rows, width);
            (fitted.as_slice(), length + 2 * PAD)
        } else {
            (rows, length)
        };
        let mut out = vec![0.0; self.outputs() * width];
        for (output, row) in out.chunks_exact_mut(width).enumerate() {
            for (sample, weight) in self.of(output, length) {
                let from = &samples[sample * width..(sample + 1) * width];
                for (value, &from) in row.iter_mut().zip(from) {
                    *value += weight * from;
                }
            }
        }
        out
    }
}

/// Coefficients of the cubic B-spline through `rows`, lengthened at both ends and mirrored about the outer faces of its end samples.
fn spline_coefficients(rows: &[f64], width: usize) -> Vec<f64> {
    let n = rows.len() / width + 2 * PAD;
    let mut c = Vec::with_capacity(n * width);
    for row in 0..n {
        let from = row.saturating_sub(PAD).min(rows.len() / width - 1);
        c.extend(
            rows[from * width..(from + 1) * width]
                .iter()
                .map(|v| 6.0 * v),
        );
    }
    let pole = 3f64.sqrt() - 2.0;
    let end = pole.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum: Vec<f64> = (0..width)
        .map(|i| c[i] + end * c[(n - 1) * width + i])
        .collect();
    let mut power = pole;
    for row in 1..n {
        // What follows is too small to be seen in a double.
        if power.abs() < 1e-60 {
            break;
        }
        let mirrored = n - 1 - row;
        for (i, sum) in sum.iter_mut().enumerate() {
            *sum += power * (c[row * width + i] + end * c[mirrored * width + i]);
        }
        power *= pole;
    }
    for (first, sum) in c[..width].iter_mut().zip(&sum) {
        *first += sum * pole / (1.0 - end * end);
    }
    for row in 1..n {
        let (before, here) = c.split_at_mut(row * width);
        for (value, previous) in here[..width].iter_mut().zip(&before[(row - 1) * width..]) {
            *value += pole * previous;
        }
    }
    for value in &mut c[(n - 1) * width..] {
        *value *= pole / (pole - 1.0);
    }
    for row in (0..n - 1).rev() {
        let (here, after) = c.split_at_mut((row + 1) * width);
        for (value, next) in here[row * width..].iter_mut().zip(&after[..width]) {
            *value = pole * (next - *value);
        }
    }
    c
}

/// Resamples images to `shape` with cubic splines.
pub fn resample_image(
    image: Channels<f32>,
    shape: [usize; 3],
    current: [f64; 3],
    new: [f64; 3],
) -> Channels<f32> {
    if image.shape == shape {
        return image;
    }
    let data: Vec<f32> = (0..image.channels())
        .flat_map(|channel| {
            let values = image.channel(channel);
            match separate_axis(current, new) {
                Some(axis) => slice_by_slice(values, image.shape, shape, axis),
                None => together(values, image.shape, shape),
            }
        })
        .collect();
    Channels { shape, data }
}

/// A slice of `rows` × `columns`, resampled along both.
fn plane(values: &[f32], columns: usize, along_rows: &Taps, along_columns: &Taps) -> Vec<f64> {
    let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    let down = along_rows.apply(&values, columns);
    let rows = along_rows.outputs();
    let across = along_columns.apply(&flipped(&down, rows, columns), rows);
    flipped(&across, along_columns.outputs(), rows)
}

/// The transpose of `rows` × `columns` values.
fn flipped(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(columns).enumerate() {
        for (column, &value) in values.iter().enumerate() {
            out[column * rows + row] = value;
        }
    }
    out
}

fn bounds(values: &[f32]) -> (f64, f64) {
    let (low, high) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        });
    (f64::from(low), f64::from(high))
}

/// Slices first, then along z: so the whole is never held in double precision at both sizes.
fn together(values: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let (low, high) = bounds(values);
    let axes: [Taps; 3] = std::array::from_fn(|axis| Taps::cubic(from[axis], to[axis]));
    let slice = to[1] * to[2];
    let mut slices = vec![0.0; from[0] * slice];
    slices
        .par_chunks_mut(slice)
        .zip(values.par_chunks(from[1] * from[2]))
        .for_each(|(out, values)| {
            out.copy_from_slice(&plane(values, from[2], &axes[1], &axes[2]));
        });
    let blocks: Vec<(usize, Vec<f32>)> = (0..slice)
        .into_par_iter()
        .step_by(BLOCK)
        .map(|start| {
            let width = BLOCK.min(slice - start);
            let mut columns = Vec::with_capacity(from[0] * width);
            for z in 0..from[0] {
                columns.extend_from_slice(&slices[z * slice + start..][..width]);
            }
            let resampled = axes[0].apply(&columns, width);
            let clipped = resampled.iter().map(|&v| v.clamp(low, high) as f32);
            (start, clipped.collect())
        })
        .collect();
    let mut out = vec![0.0f32; to[0] * slice];
    out.par_chunks_mut(slice).enumerate().for_each(|(z, out)| {
        for (start, block) in &blocks {
            let width = block.len() / to[0];
            out[*start..start + width].copy_from_slice(&block[z * width..(z + 1) * width]);
        }
    });
    out
}

fn slice_by_slice(values: &[f32], from: [usize; 3], to: [usize; 3], axis: usize) -> Vec<f32> {
    let (order, back) = axis_first(axis);
    let turned = Channels {
        shape: from,
        data: values.to_vec(),
    }
    .transposed(order);
    let [slices, rows, columns] = turned.shape;
    let shape = order.map(|axis| to[axis]);
    let along_rows = Taps::cubic(rows, shape[1]);
    let along_columns = Taps::cubic(columns, shape[2]);
    let resampled: Vec<Vec<f32>> = (0..slices)
        .into_par_iter()
        .map(|slice| {
            let values = &turned.data[slice * rows * columns..(slice + 1) * rows * columns];
            let (low, high) = bounds(values);
            let out = plane(values, columns, &along_rows, &along_columns);
            out.iter().map(|&v| v.clamp(low, high) as f32).collect()
        })
        .collect();
    let nearest = Taps::nearest(slices, shape[0]);
    let data = (0..shape[0])
        .flat_map(|slice| nearest.of(slice, slices))
        .flat_map(|(slice, _)| resampled[slice].iter().copied())
        .collect();
    Channels { shape, data }.transposed(back).data
}

/// The order of axes with one of them first, and the order that undoes it.
fn axis_first(axis: usize) -> ([usize; 3], [usize; 3]) {
    match axis {
        0 => ([0, 1, 2], [0, 1, 2]),
        1 => ([1, 0, 2], [1, 0, 2]),
        _ => ([2, 0, 1], [1, 2, 0]),
    }
}

/// How logits are read along each axis on their way to `to` voxels: linear, and the nearest slice along a coarse axis.
pub fn logit_taps(from: [usize; 3], to: [usize; 3], current: [f64; 3], new: [f64; 3]) -> [Taps; 3] {
    let apart = separate_axis(current, new);
    std::array::from_fn(|axis| {
        if from == to || apart == Some(axis) {
            Taps::nearest(from[axis], to[axis])
        } else {
            Taps::linear(from[axis], to[axis])
        }
    })
}

/// Resamples a label map to `shape`: the label of the largest linear share; of equal shares the nearest voxel's, if it is among
/// them, else the smallest.
pub fn resample_labels(
    labels: Channels<i16>,
    shape: [usize; 3],
    current: [f64; 3],
    new: [f64; 3],
) -> Channels<i16> {
    if labels.shape == shape {
        return labels;
    }
    let from = labels.shape;
    let taps = logit_taps(from, shape, current, new);
    let nearest: [Taps; 3] = std::array::from_fn(|axis| Taps::nearest(from[axis], shape[axis]));
    let slice = shape[1] * shape[2];
    let mut data = vec![0i16; labels.channels() * shape[0] * slice];
    for (channel, out) in data.chunks_exact_mut(shape[0] * slice).enumerate() {
        let values = labels.channel(channel);
        let at = |z: usize, y: usize, x: usize| values[(z * from[1] + y) * from[2] + x];
        let one = |taps: &Taps, output: usize, axis: usize| {
            taps.of(output, from[axis]).next().map_or(0, |(at, _)| at)
        };
        out.par_chunks_mut(slice).enumerate().for_each(|(z, out)| {
            for (index, out) in out.iter_mut().enumerate() {
                let (y, x) = (index / shape[2], index % shape[2]);
                let mut share: Vec<(i16, f64)> = Vec::with_capacity(8);
                for (z, wz) in taps[0].of(z, from[0]) {
                    for (y, wy) in taps[1].of(y, from[1]) {
                        for (x, wx) in taps[2].of(x, from[2]) {
                            let label = at(z, y, x);
                            let weight = wz * wy * wx;
                            match share.iter_mut().find(|(known, _)| *known == label) {
                                Some((_, sum)) => *sum += weight,
                                None => share.push((label, weight)),
                            }
                        }
                    }
                }
                let most = share.iter().fold(0.0, |most: f64, &(_, w)| most.max(w));
                let next = at(
                    one(&nearest[0], z, 0),
                    one(&nearest[1], y, 1),
                    one(&nearest[2], x, 2),
                );
                let tied = share
                    .iter()
                    .filter(|(_, w)| *w == most)
                    .map(|&(label, _)| label);
                *out = if tied.clone().any(|label| label == next) {
                    next
                } else {
                    tied.min().unwrap_or(0)
                };
            }
        });
    }
    Channels { shape, data }
}
