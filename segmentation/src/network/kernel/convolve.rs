//! Convolution and transposed convolution.

use rayon::prelude::*;

use super::Window;
use super::lanes::{InstructionSet, Lanes};
use super::planes::{Layout, Reach, SLACK};
use super::shared::Shared;

/// Most output planes of a task: enough that laying out the planes around them does not count.
const MOST_PLANES: usize = 8;
/// Tiles computed with one group's weights before the next group's turn: they stay in the cache meanwhile.
const TILES: usize = 4;

/// Convolves one sample. `channels` are the input channels of `shape`; `weight` is (output, input, tap) row by row; `out` takes the
/// output channels of [`Window::outputs`] each.
pub fn convolve(
    set: InstructionSet,
    channels: &[&[f32]],
    shape: [usize; 3],
    weight: &[f32],
    bias: Option<&[f32]>,
    window: &Window,
    out: &mut [f32],
) {
    let outputs = window.outputs(shape);
    let taps: usize = window.kernel.iter().product();
    let count = out.len() / outputs.iter().product::<usize>();
    let reach = Reach {
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding.map(|p| p as isize),
    };
    let place = Place {
        shape: outputs,
        stride: [1; 3],
        first: [0; 3],
    };
    let weights = Weight {
        values: weight,
        output: channels.len() * taps,
        input: taps,
        taps: (0..taps).collect(),
    };
    run(
        set, channels, shape, reach, outputs, count, &weights, bias, &place, out,
    );
}

/// The transpose of [`convolve`], which is its gradient by the input, and the way up in a U-Net: `weight` is (input, output, tap) with
/// the inputs of this function first. `out` takes `count` channels of `outputs`.
pub fn transpose(
    set: InstructionSet,
    channels: &[&[f32]],
    shape: [usize; 3],
    weight: &[f32],
    bias: Option<&[f32]>,
    window: &Window,
    outputs: [usize; 3],
    out: &mut [f32],
) {
    let count = out.len() / outputs.iter().product::<usize>();
    let taps: usize = window.kernel.iter().product();
    // Outputs with the same remainder by the stride see the same taps; for each remainder it is a convolution without a stride.
    for remainder in (Window {
        kernel: window.stride,
        ..*window
    })
    .taps()
    {
        let axes: [Vec<(isize, usize)>; 3] = std::array::from_fn(|axis| {
            let at = remainder[axis] + window.padding[axis];
            let stride = window.stride[axis] as isize;
            let seen = (0..window.kernel[axis]).rev().filter_map(|tap| {
                let distance = at as isize - tap as isize;
                (distance % stride == 0).then_some((distance / stride, tap))
            });
            seen.collect()
        });
        let part: [usize; 3] = std::array::from_fn(|axis| {
            outputs[axis]
                .saturating_sub(remainder[axis])
                .div_ceil(window.stride[axis])
        });
        if part.contains(&0) {
            continue;
        }
        let place = Place {
            shape: outputs,
            stride: window.stride,
            first: remainder,
        };
        if axes.iter().any(Vec::is_empty) {
            place.fill(part, count, bias, out);
            continue;
        }
        let reach = Reach {
            kernel: std::array::from_fn(|axis| axes[axis].len()),
            stride: [1; 3],
            padding: std::array::from_fn(|axis| -axes[axis][0].0),
        };
        let own = reach.taps().map(|tap| {
            let [z, y, x]: [usize; 3] = std::array::from_fn(|axis| axes[axis][tap[axis]].1);
            (z * window.kernel[1] + y) * window.kernel[2] + x
        });
        let weights = Weight {
            values: weight,
            output: taps,
            input: count * taps,
            taps: own.collect(),
        };
        run(
            set, channels, shape, reach, part, count, &weights, bias, &place, out,
        );
    }
}

/// Weights and how they are found: distance of outputs, distance of inputs, place of each tap.
struct Weight<'a> {
    values: &'a [f32],
    output: usize,
    input: usize,
    taps: Vec<usize>,
}

impl Weight<'_> {
    /// The weights in the order in which tiles read them: group, input, tap, output of the group.
    fn packed(&self, inputs: usize, outputs: usize, size: usize) -> Vec<f32> {
        let taps = self.taps.len();
        let length = inputs * taps * size;
        let mut packed = vec![0.0; outputs.div_ceil(size) * length];
        packed
            .par_chunks_mut(length)
            .enumerate()
            .for_each(|(group, packed)| {
                let own = size.min(outputs - group * size);
                let from = &self.values[group * size * self.output..];
                for (input, packed) in packed.chunks_exact_mut(taps * size).enumerate() {
                    for (packed, tap) in packed.chunks_exact_mut(size).zip(&self.taps) {
                        let from = from[input * self.input + tap..].iter().step_by(self.output);
                        for (packed, from) in packed[..own].iter_mut().zip(from) {
                            *packed = *from;
                        }
                    }
                }
            });
        packed
    }
}

/// Where outputs stand in the array they are written to.
struct Place {
    shape: [usize; 3],
    stride: [usize; 3],
    first: [usize; 3],
}

impl Place {
    fn row(&self, channel: usize, z: usize, y: usize) -> usize {
        let z = z * self.stride[0] + self.first[0];
        let y = y * self.stride[1] + self.first[1];
        ((channel * self.shape[0] + z) * self.shape[1] + y) * self.shape[2] + self.first[2]
    }

    fn fill(&self, part: [usize; 3], count: usize, bias: Option<&[f32]>, out: &mut [f32]) {
        for channel in 0..count {
            let value = bias.map_or(0.0, |bias| bias[channel]);
            for z in 0..part[0] {
                for y in 0..part[1] {
                    let row = self.row(channel, z, y);
                    for x in 0..part[2] {
                        out[row + x * self.stride[2]] = value;
                    }
                }
            }
        }
    }
}

/// Output channels that a tile holds.
fn group_size(set: InstructionSet) -> usize {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => 8,
        _ => 4,
    }
}

fn run(
    set: InstructionSet,
    channels: &[&[f32]],
    shape: [usize; 3],
    reach: Reach,
    outputs: [usize; 3],
    count: usize,
    weight: &Weight<'_>,
    bias: Option<&[f32]>,
    place: &Place,
    out: &mut [f32],
) {
    let layout = Layout::new(reach, shape, outputs);
    let size = group_size(set);
    let groups = count.div_ceil(size);
    let packed = weight.packed(channels.len(), count, size);
    let threads = rayon::current_num_threads();
    let planes = (outputs[0] / (4 * threads)).clamp(1, MOST_PLANES);
    let tasks = outputs[0].div_ceil(planes);
    // Few planes: the channels are shared out as well.
    let shares = (2 * threads).div_ceil(tasks).min(groups);
    let per_share = groups.div_ceil(shares);
    let shared = Shared::new(out);
    (0..tasks * shares).into_par_iter().for_each_init(
        || (Vec::new(), Vec::new()),
        |(input, result): &mut (Vec<f32>, Vec<f32>), task| {
            let (task, share) = (task / shares, task % shares);
            let own = share * per_share..groups.min((share + 1) * per_share);
            if own.is_empty() {
                return;
            }
            let first = task * planes;
            let planes = planes.min(outputs[0] - first);
            let channel = layout.channel(planes);
            input.resize(channels.len() * channel + SLACK, 0.0);
            for (to, from) in input.chunks_exact_mut(channel).zip(channels) {
                layout.fill(from, first, planes, to);
            }
            let line = layout.positions + SLACK;
            result.resize(own.len() * size * line, 0.0);
            for z in 0..planes {
                let job = Job {
                    input: &input[z * layout.step()..],
                    channels: channels.len(),
                    channel,
                    offsets: &layout.offsets,
                    weights: &packed,
                    groups: own.clone(),
                    positions: layout.positions,
                    line,
                };
                job.run(set, result);
                for output in own.start * size..count.min(own.end * size) {
                    let line = &result[(output - own.start * size) * line..];
                    let bias = bias.map_or(0.0, |bias| bias[output]);
                    for y in 0..outputs[1] {
                        let from = &line[y * layout.columns..][..outputs[2]];
                        let start = place.row(output, first + z, y);
                        let length = (outputs[2] - 1) * place.stride[2] + 1;
                        // SAFETY: no other task writes this row.
                        let to = unsafe { shared.slice(start, length) };
                        if place.stride[2] == 1 {
                            for (to, from) in to.iter_mut().zip(from) {
                                *to = from + bias;
                            }
                        } else {
                            for (to, from) in to.iter_mut().step_by(place.stride[2]).zip(from) {
                                *to = from + bias;
                            }
                        }
                    }
                }
            }
        },
    );
}

/// The tiles of one output plane.
struct Job<'a> {
    input: &'a [f32],
    channels: usize,
    channel: usize,
    offsets: &'a [usize],
    weights: &'a [f32],
    groups: std::ops::Range<usize>,
    positions: usize,
    line: usize,
}

impl Job<'_> {
    fn run(&self, set: InstructionSet, result: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512(job: &Job<'_>, result: &mut [f32]) {
            // SAFETY: the function is only called where AVX-512 was found.
            unsafe { job.plane::<std::arch::x86_64::__m512, 8, 3>(result) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2(job: &Job<'_>, result: &mut [f32]) {
            // SAFETY: the function is only called where AVX2 and FMA were found.
            unsafe { job.plane::<std::arch::x86_64::__m256, 4, 3>(result) }
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found the instruction set.
            InstructionSet::Avx512 => unsafe { avx512(self, result) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found the instruction set.
            InstructionSet::Avx2 => unsafe { avx2(self, result) },
            // SAFETY: plain arrays need no instruction set.
            InstructionSet::Portable => unsafe { self.plane::<[f32; 8], 4, 1>(result) },
        }
    }

    #[inline(always)]
    unsafe fn plane<V: Lanes, const C: usize, const X: usize>(&self, result: &mut [f32]) {
        let weights = self.channels * self.offsets.len() * C;
        let tile = X * V::N;
        let mut block = 0;
        while block < self.positions {
            let end = (block + TILES * tile).min(self.positions);
            for (own, group) in self.groups.clone().enumerate() {
                let weights = &self.weights[group * weights..(group + 1) * weights];
                let result = &mut result[own * C * self.line..(own + 1) * C * self.line];
                let mut at = block;
                while at < end {
                    let vectors = (end - at).div_ceil(V::N);
                    // SAFETY: planes and lines have `SLACK` numbers behind them, more than a tile reaches past `positions`.
                    unsafe {
                        if vectors >= X {
                            self.tile::<V, C, X>(at, weights, result);
                            at += tile;
                        } else if vectors == 2 {
                            self.tile::<V, C, 2>(at, weights, result);
                            at += 2 * V::N;
                        } else {
                            self.tile::<V, C, 1>(at, weights, result);
                            at += V::N;
                        }
                    }
                }
            }
            block = end;
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Lanes, const C: usize, const X: usize>(
        &self,
        at: usize,
        weights: &[f32],
        result: &mut [f32],
    ) {
        debug_assert!(at + X * V::N <= self.line);
        // SAFETY: the caller's contract; every address stays within `input`, `weights` and `result`.
        unsafe {
            let mut sums = [[V::splat(0.0); X]; C];
            let mut input = self.input.as_ptr().add(at);
            let mut weight = weights.as_ptr();
            for _ in 0..self.channels {
                for &offset in self.offsets {
                    let from = input.add(offset);
                    let mut values = [V::splat(0.0); X];
                    for (x, value) in values.iter_mut().enumerate() {
                        *value = V::load(from.add(x * V::N));
                    }
                    for (c, sums) in sums.iter_mut().enumerate() {
                        let weight = V::splat(*weight.add(c));
                        for (sum, &value) in sums.iter_mut().zip(&values) {
                            *sum = sum.plus_product(weight, value);
                        }
                    }
                    weight = weight.add(C);
                }
                input = input.wrapping_add(self.channel);
            }
            for (c, sums) in sums.iter().enumerate() {
                let to = result.as_mut_ptr().add(c * self.line + at);
                for (x, &sum) in sums.iter().enumerate() {
                    sum.store(to.add(x * V::N));
                }
            }
        }
    }
}
