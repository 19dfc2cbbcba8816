//! nnU-Net's augmentations, in its order and with its probabilities.
//!
//! Source: nnU-Net v2 2.8.1 `nnUNetTrainer.get_training_transforms`, batchgeneratorsv2 0.3. Numbers are drawn from our own stream, so
//! a training is repeatable but not the same as one of the original.

use super::random::Random;

/// A patch of an image and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Voxels z, y, x; the first is 1 for slices.
    pub shape: [usize; 3],
    /// Channels (channel, z, y, x).
    pub image: Vec<f32>,
    /// Labels; −1 outside the image.
    pub labels: Vec<i16>,
}

/// What is done to the patches of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    /// Voxels of the patch that the network sees.
    pub patch: [usize; 3],
    /// Whether only the last two axes are turned and scaled: slices, and patches more than three times as wide as deep.
    pub in_plane: bool,
    /// Largest turn about an axis, radians.
    pub turn: f64,
    /// Axes along which patches are mirrored.
    pub mirrored: Vec<usize>,
}

/// Widest ratio of a patch that is still turned in space.
const ANISOTROPY: f64 = 3.0;
/// Widest ratio of a slice that is still turned by any angle.
const LONG_SLICE: f64 = 1.5;
/// Factor of the size that is read, so that scaling finds something at the border.
const SMALLEST_SCALE: f64 = 0.85;

impl Augmentation {
    /// The rules for patches of that size.
    pub fn of(patch: [usize; 3]) -> Self {
        let edge = |axes: std::ops::Range<usize>, pick: fn(f64, f64) -> f64| {
            patch[axes]
                .iter()
                .map(|&n| n as f64)
                .reduce(pick)
                .unwrap_or(1.0)
        };
        let slices = patch[0] == 1;
        let flat = edge(0..3, f64::max) / patch[0] as f64 > ANISOTROPY;
        let degrees = match (slices, flat) {
            (true, _) if edge(1..3, f64::max) / edge(1..3, f64::min) > LONG_SLICE => 15.0,
            (true, _) | (_, true) => 180.0,
            (false, false) => 30.0,
        };
        Self {
            patch,
            in_plane: slices || flat,
            turn: f64::to_radians(degrees),
            mirrored: if slices { vec![1, 2] } else { vec![0, 1, 2] },
        }
    }

    /// Voxels to read around the patch: what a turn by the largest angle about one axis at a time needs.
    pub fn read_size(&self) -> [usize; 3] {
        let [a, b, c] = self.patch.map(|n| n as f64);
        let (sine, cosine) = self.turn.min(std::f64::consts::FRAC_PI_2).sin_cos();
        let about = |first: f64, second: f64| {
            [
                first * cosine + second * sine,
                (second * cosine - first * sine).abs(),
            ]
        };
        let [b0, c0] = about(b, c);
        let size = match self.in_plane {
            true => [a * SMALLEST_SCALE, b.max(b0), c.max(c0)],
            false => {
                let [c1, a1] = about(c, a);
                let [a2, b2] = about(a, b);
                [a.max(a1).max(a2), b.max(b0).max(b2), c.max(c0).max(c1)]
            }
        };
        size.map(|n| (n / SMALLEST_SCALE + 1e-9) as usize)
    }

    /// A patch of [`Self::read_size`] changed and cut to the network's size.
    pub fn apply(&self, read: &Patch, random: &mut Random) -> Patch {
        let mut patch = self.turned(read, random);
        let voxels: usize = patch.shape.iter().product();
        let shape = patch.shape;
        let mut each = |part: f64,
                        of_channel: f64,
                        random: &mut Random,
                        change: &mut dyn FnMut(&mut [f32], &mut Random)| {
            if !random.chance(part) {
                return;
            }
            for channel in patch.image.chunks_exact_mut(voxels) {
                if random.chance(of_channel) {
                    change(channel, random);
                }
            }
        };
        each(0.1, 1.0, random, &mut |values, random| {
            let deviation = random.between(0.0, 0.1);
            for value in values {
                *value += (deviation * random.normal()) as f32;
            }
        });
        each(0.2, 0.5, random, &mut |values, random| {
            for axis in (0..3).filter(|&axis| shape[axis] > 1) {
                blur(values, shape, axis, random.between(0.5, 1.0));
            }
        });
        each(0.15, 1.0, random, &mut |values, random| {
            let factor = about_one(random, 0.75, 1.25) as f32;
            values.iter_mut().for_each(|value| *value *= factor);
        });
        each(0.15, 1.0, random, &mut |values, random| {
            let factor = about_one(random, 0.75, 1.25) as f32;
            let Moments {
                mean, low, high, ..
            } = moments(values);
            for value in values {
                *value = ((*value - mean) * factor + mean).clamp(low, high);
            }
        });
        each(0.25, 0.5, random, &mut |values, random| {
            let zoom = random.between(0.5, 1.0);
            let small = std::array::from_fn(|axis| match axis == 0 && self.in_plane {
                true => shape[0],
                false => ((shape[axis] as f64 * zoom).round() as usize).max(1),
            });
            coarsened(values, shape, small);
        });
        each(0.1, 1.0, random, &mut |values, random| {
            values.iter_mut().for_each(|value| *value = -*value);
            gamma(values, about_one(random, 0.7, 1.5));
            values.iter_mut().for_each(|value| *value = -*value);
        });
        each(0.3, 1.0, random, &mut |values, random| {
            gamma(values, about_one(random, 0.7, 1.5));
        });
        for &axis in &self.mirrored {
            if random.chance(0.5) {
                mirror(&mut patch, axis);
            }
        }
        patch
    }

    /// Turned and scaled about its middle, or cut from the middle.
    fn turned(&self, read: &Patch, random: &mut Random) -> Patch {
        let mut matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let turns = random.chance(0.2);
        if turns {
            let axes = if self.in_plane { 0..1 } else { 0..3 };
            for axis in axes {
                let angle = random.between(-self.turn, self.turn);
                matrix = product(rotation(axis, angle), matrix);
            }
        }
        let scales = random.chance(0.2);
        if scales {
            let factor = about_one(random, 0.7, 1.4);
            for row in &mut matrix {
                for (axis, value) in row.iter_mut().enumerate() {
                    if axis > 0 || !self.in_plane {
                        *value *= factor;
                    }
                }
            }
        }
        if !turns && !scales {
            return middle(read, self.patch);
        }
        sampled(read, self.patch, matrix)
    }
}

/// With equal chance below or above one.
fn about_one(random: &mut Random, low: f64, high: f64) -> f64 {
    match random.chance(0.5) {
        true => random.between(low, 1.0),
        false => random.between(1.0, high),
    }
}

fn rotation(axis: usize, angle: f64) -> [[f64; 3]; 3] {
    let (s, c) = angle.sin_cos();
    match axis {
        0 => [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]],
        1 => [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]],
        _ => [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]],
    }
}

fn product(a: [[f64; 3]; 3], b: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// The middle of a patch.
pub(super) fn middle(read: &Patch, to: [usize; 3]) -> Patch {
    let low: [usize; 3] = std::array::from_fn(|axis| read.shape[axis].saturating_sub(to[axis]) / 2);
    let voxels: usize = read.shape.iter().product();
    let row =
        |z: usize, y: usize| ((z + low[0]) * read.shape[1] + y + low[1]) * read.shape[2] + low[2];
    let rows = || (0..to[0]).flat_map(|z| (0..to[1]).map(move |y| (z, y)));
    let mut image =
        Vec::with_capacity(read.image.len() / voxels.max(1) * to.iter().product::<usize>());
    for channel in read.image.chunks_exact(voxels) {
        for (z, y) in rows() {
            image.extend_from_slice(&channel[row(z, y)..row(z, y) + to[2]]);
        }
    }
    let labels =
        rows().flat_map(|(z, y)| read.labels[row(z, y)..row(z, y) + to[2]].iter().copied());
    Patch {
        shape: to,
        labels: labels.collect(),
        image,
    }
}

/// Linear between voxels for the image (0 outside), by the largest share for labels (−1 outside).
fn sampled(read: &Patch, to: [usize; 3], matrix: [[f64; 3]; 3]) -> Patch {
    let from = read.shape;
    let (voxels, count): (usize, usize) = (from.iter().product(), to.iter().product());
    let channels = read.image.len() / voxels.max(1);
    let mut image = vec![0.0f32; channels * count];
    let mut labels = vec![-1i16; count];
    for index in 0..count {
        let at = [
            index / (to[1] * to[2]),
            index / to[2] % to[1],
            index % to[2],
        ];
        let offset: [f64; 3] =
            std::array::from_fn(|axis| at[axis] as f64 - 0.5 * (to[axis] as f64 - 1.0));
        let place: [f64; 3] = std::array::from_fn(|axis| {
            let moved: f64 = (0..3).map(|k| matrix[axis][k] * offset[k]).sum();
            moved + 0.5 * (from[axis] as f64 - 1.0)
        });
        let low = place.map(f64::floor);
        let mut share: [(i16, f64); 8] = [(-1, 0.0); 8];
        let mut known = 0;
        for corner in 0..8usize {
            let mut weight = 1.0;
            let mut voxel = Some(0usize);
            for axis in 0..3 {
                let up = corner >> axis & 1;
                let part = place[axis] - low[axis];
                weight *= if up == 1 { part } else { 1.0 - part };
                let own = low[axis] as isize + up as isize;
                voxel = voxel
                    .filter(|_| (0..from[axis] as isize).contains(&own))
                    .map(|voxel| voxel * from[axis] + own as usize);
            }
            if weight == 0.0 {
                continue;
            }
            let label = voxel.map_or(-1, |voxel| read.labels[voxel]);
            match share[..known].iter_mut().find(|(own, _)| *own == label) {
                Some((_, sum)) => *sum += weight,
                None => {
                    share[known] = (label, weight);
                    known += 1;
                }
            }
            if let Some(voxel) = voxel {
                for channel in 0..channels {
                    image[channel * count + index] +=
                        weight as f32 * read.image[channel * voxels + voxel];
                }
            }
        }
        let largest =
            |best: (i16, f64), next: &(i16, f64)| if next.1 > best.1 { *next } else { best };
        labels[index] = share[..known].iter().fold((-1, 0.0), largest).0;
    }
    Patch {
        shape: to,
        image,
        labels,
    }
}

struct Moments {
    mean: f32,
    /// Standard deviation of a sample.
    deviation: f32,
    low: f32,
    high: f32,
}

fn moments(values: &[f32]) -> Moments {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let square = values
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>();
    Moments {
        mean: mean as f32,
        deviation: (square / (count - 1.0).max(1.0)).sqrt() as f32,
        low: values.iter().copied().fold(f32::INFINITY, f32::min),
        high: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
    }
}

/// A power of the values between their smallest and largest; mean and deviation are put back.
fn gamma(values: &mut [f32], power: f64) {
    let before = moments(values);
    let range = (before.high - before.low).max(1e-7);
    for value in values.iter_mut() {
        *value = ((*value - before.low) / range).powf(power as f32) * range + before.low;
    }
    let after = moments(values);
    let scale = before.deviation / after.deviation.max(1e-7);
    for value in values {
        *value = (*value - after.mean) * scale + before.mean;
    }
}

/// Calls `change` with every line along an axis.
fn lines(values: &mut [f32], shape: [usize; 3], axis: usize, mut change: impl FnMut(&mut [f32])) {
    let stride = [shape[1] * shape[2], shape[2], 1][axis];
    let mut line = vec![0.0; shape[axis]];
    for start in (0..values.len()).filter(|i| (i / stride).is_multiple_of(shape[axis])) {
        for (i, value) in line.iter_mut().enumerate() {
            *value = values[start + i * stride];
        }
        change(&mut line);
        for (i, value) in line.iter().enumerate() {
            values[start + i * stride] = *value;
        }
    }
}

/// Gaussian of `sigma` voxels, the line reflected without its end.
fn blur(values: &mut [f32], shape: [usize; 3], axis: usize, sigma: f64) {
    // The nearest odd length to six deviations and a half.
    let reach = ((6.0 * sigma + 0.5 - 1.0) / 2.0).round().max(1.0) as isize;
    let bell: Vec<f64> = (-reach..=reach)
        .map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = bell.iter().sum();
    let length = shape[axis] as isize;
    let period = (2 * (length - 1)).max(1);
    lines(values, shape, axis, |line| {
        let own = line.to_vec();
        for (i, value) in line.iter_mut().enumerate() {
            let total: f64 = bell
                .iter()
                .enumerate()
                .map(|(tap, weight)| {
                    let at = (i as isize + tap as isize - reach).rem_euclid(period);
                    weight * f64::from(own[at.min(period - at) as usize % length as usize])
                })
                .sum();
            *value = (total / sum) as f32;
        }
    });
}

/// To a smaller size by the nearest voxel and back linearly.
fn coarsened(values: &mut [f32], shape: [usize; 3], small: [usize; 3]) {
    for axis in (0..3).filter(|&axis| small[axis] < shape[axis]) {
        let (long, short) = (shape[axis], small[axis]);
        lines(values, shape, axis, |line| {
            let kept: Vec<f32> = (0..short)
                .map(|i| {
                    line[(((i as f64 + 0.5) * long as f64 / short as f64) as usize).min(long - 1)]
                })
                .collect();
            for (i, value) in line.iter_mut().enumerate() {
                let at = ((i as f64 + 0.5) * short as f64 / long as f64 - 0.5)
                    .clamp(0.0, short as f64 - 1.0);
                let low = (at as usize).min(short.saturating_sub(2));
                let part = (at - low as f64) as f32;
                let next = kept[(low + 1).min(short - 1)];
                *value = kept[low] + part * (next - kept[low]);
            }
        });
    }
}

fn mirror(patch: &mut Patch, axis: usize) {
    let shape = patch.shape;
    let voxels: usize = shape.iter().product();
    for channel in patch.image.chunks_exact_mut(voxels) {
        flip(channel, shape, axis);
    }
    flip(&mut patch.labels, shape, axis);
}

fn flip<T: Copy>(values: &mut [T], shape: [usize; 3], axis: usize) {
    let stride = [shape[1] * shape[2], shape[2], 1][axis];
    let length = shape[axis];
    for start in (0..values.len()).filter(|i| (i / stride).is_multiple_of(length)) {
        for i in 0..length / 2 {
            values.swap(start + i * stride, start + (length - 1 - i) * stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(shape: [usize; 3]) -> Patch {
        let count = shape.iter().product::<usize>();
        Patch {
            shape,
            image: (0..count).map(|i| i as f32).collect(),
            labels: (0..count).map(|i| (i % shape[2]) as i16 / 4).collect(),
        }
    }

    #[test]
    fn the_size_to_read_is_that_of_the_original() {
        // nnU-Net's own numbers: 205 for 128³; 280 × 200 × 200 → in-plane patches keep their first axis.
        assert_eq!(Augmentation::of([128; 3]).read_size(), [205; 3]);
        let flat = Augmentation::of([32, 224, 224]);
        assert!(flat.in_plane);
        assert_eq!(flat.read_size(), [32, 263, 263]);
        assert_eq!(Augmentation::of([1, 512, 512]).read_size(), [1, 602, 602]);
    }

    #[test]
    fn a_quarter_turn_moves_voxels_to_voxels() {
        let read = ramp([5, 6, 6]);
        let turned = sampled(&read, [5, 6, 6], rotation(0, std::f64::consts::FRAC_PI_2));
        for (z, y, x) in [(0, 0, 0), (2, 1, 4), (4, 5, 3)] {
            // Row y, column x comes from row 5 − x, column y.
            let (to, from) = ((z * 6 + y) * 6 + x, (z * 6 + (5 - x)) * 6 + y);
            assert!((turned.image[to] - read.image[from]).abs() < 1e-3);
            assert_eq!(turned.labels[to], read.labels[from]);
        }
    }

    #[test]
    fn what_lies_outside_is_zero_and_minus_one() {
        let read = ramp([4, 4, 4]);
        let wide = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]];
        let shrunk = sampled(&read, [4, 4, 4], wide);
        assert_eq!((shrunk.image[0], shrunk.labels[0]), (0.0, -1));
    }

    #[test]
    fn gamma_keeps_mean_and_deviation() {
        let mut values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32).collect();
        let before = moments(&values);
        let own = values.clone();
        gamma(&mut values, 1.4);
        let after = moments(&values);
        assert!(
            (before.mean - after.mean).abs() < 1e-3
                && (before.deviation - after.deviation).abs() < 1e-3
        );
        let moved = own
            .iter()
            .zip(&values)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(moved > 1.0, "{moved}");
    }

    #[test]
    fn blurring_keeps_a_constant_and_spreads_a_point() {
        let mut flat = vec![3.0; 7 * 7 * 7];
        blur(&mut flat, [7; 3], 1, 0.9);
        assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-6));
        let mut point = vec![0.0; 7];
        point[3] = 1.0;
        blur(&mut point, [1, 1, 7], 2, 0.8);
        // A sampled Gaussian of deviation 0.8 cut at two voxels (length 5), by hand.
        let side = (-0.5f64 / 0.64).exp();
        let far = (-2.0f64 / 0.64).exp();
        let middle = 1.0 / (1.0 + 2.0 * side + 2.0 * far);
        assert!(
            (f64::from(point[3]) - middle).abs() < 1e-6,
            "{point:?} {middle}"
        );
        assert!((f64::from(point[2]) - middle * side).abs() < 1e-6);
    }

    #[test]
    fn a_coarse_image_of_a_line_stays_a_line_inside() {
        let mut values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        coarsened(&mut values, [1, 1, 16], [1, 1, 8]);
        // Every other voxel is kept (1, 3, 5 …), which stand at the middles of pairs (0.5, 2.5 …).
        for (i, value) in values.iter().enumerate().take(15).skip(1) {
            assert!((value - (i as f32 + 0.5)).abs() < 1e-5, "{i} {value}");
        }
    }

    #[test]
    fn mirroring_twice_changes_nothing() {
        let own = ramp([3, 4, 5]);
        for axis in 0..3 {
            let mut patch = own.clone();
            mirror(&mut patch, axis);
            assert_ne!(patch, own);
            mirror(&mut patch, axis);
            assert_eq!(patch, own);
        }
    }

    #[test]
    fn a_sample_follows_from_seed_and_number() {
        let rules = Augmentation::of([8, 8, 8]);
        let read = ramp(rules.read_size());
        let apply = |stream| rules.apply(&read, &mut Random::new(5, stream));
        assert_eq!(apply(3), apply(3));
        assert_ne!(apply(3), apply(4));
        assert_eq!(apply(3).shape, [8; 3]);
    }
}
