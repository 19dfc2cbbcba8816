//! Instance norm, its scale and shift and the leaky ReLU behind it, in one pass over the voxels after the one that sums them.

use rayon::prelude::*;

/// Added to the variance.
const EPSILON: f64 = 1e-5;
/// Numbers summed in single precision before the sum is carried on in double.
const PART: usize = 4096;
/// Sums that run side by side, so that they fill a vector register.
const LANES: usize = 16;

/// Sum of `value` over the numbers.
#[inline(always)]
fn sum(count: usize, value: impl Fn(usize) -> f32) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < count {
        let end = (start + PART).min(count);
        let mut lanes = [0.0f32; LANES];
        let mut at = start;
        while at + LANES <= end {
            for (lane, sum) in lanes.iter_mut().enumerate() {
                *sum += value(at + lane);
            }
            at += LANES;
        }
        for rest in at..end {
            lanes[rest - at] += value(rest);
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        start = end;
    }
    total
}

/// Mean and the reciprocal of the standard deviation (population).
fn moments(values: &[f32]) -> (f32, f32) {
    let count = values.len() as f64;
    let mean = (sum(values.len(), |i| values[i]) / count) as f32;
    let variance = sum(values.len(), |i| (values[i] - mean) * (values[i] - mean)) / count;
    (mean, (1.0 / (variance + EPSILON).sqrt()) as f32)
}

/// Normalises every channel of every sample in place; values below zero are multiplied by `slope` afterwards, 1 for a norm alone.
pub fn normalise(
    x: &mut [f32],
    channels: usize,
    scale: &[f32],
    shift: &[f32],
    slope: f32,
    batch: usize,
) {
    let voxels = x.len() / (batch * channels).max(1);
    x.par_chunks_mut(voxels).enumerate().for_each(|(index, x)| {
        let channel = index % channels;
        let (mean, rate) = moments(x);
        let factor = rate * scale[channel];
        let shift = shift[channel];
        for x in x {
            let value = (*x - mean) * factor + shift;
            // Without a branch: the signs are as good as random.
            *x = value.max(0.0) + slope * value.min(0.0);
        }
    });
}

/// Gradients of [`normalise`].
#[derive(Debug)]
pub struct NormGradient {
    /// By the input.
    pub x: Vec<f32>,
    /// By the scale of each channel.
    pub scale: Vec<f32>,
    /// By the shift of each channel.
    pub shift: Vec<f32>,
}

/// Gradients of [`normalise`] by all it was given, from the gradient by its result.
pub fn normalise_gradient(
    x: &[f32],
    gradient: &[f32],
    channels: usize,
    scale: &[f32],
    shift: &[f32],
    slope: f32,
    batch: usize,
) -> NormGradient {
    let voxels = x.len() / (batch * channels).max(1);
    let mut by_x = vec![0.0f32; x.len()];
    let sums: Vec<(f64, f64)> = by_x
        .par_chunks_mut(voxels)
        .zip(x.par_chunks(voxels))
        .zip(gradient.par_chunks(voxels))
        .enumerate()
        .map(|(index, ((out, x), gradient))| {
            let channel = index % channels;
            let (mean, rate) = moments(x);
            let (scale, shift) = (scale[channel], shift[channel]);
            // The gradient in front of the leaky ReLU.
            for ((out, x), g) in out.iter_mut().zip(x).zip(gradient) {
                let value = (x - mean) * rate * scale + shift;
                let factor = if value < 0.0 { slope } else { 1.0 };
                *out = g * factor;
            }
            let total = sum(out.len(), |i| out[i]);
            let product = sum(out.len(), |i| out[i] * ((x[i] - mean) * rate));
            let count = voxels as f64;
            let (level, tilt) = ((total / count) as f32, (product / count) as f32);
            for (out, x) in out.iter_mut().zip(x) {
                *out = scale * rate * (*out - level - (x - mean) * rate * tilt);
            }
            (product, total)
        })
        .collect();
    let over_batch = |pick: fn(&(f64, f64)) -> f64| -> Vec<f32> {
        (0..channels)
            .map(|channel| {
                let own = sums.iter().skip(channel).step_by(channels);
                own.map(pick).sum::<f64>() as f32
            })
            .collect()
    };
    NormGradient {
        scale: over_batch(|s| s.0),
        shift: over_batch(|s| s.1),
        x: by_x,
    }
}
