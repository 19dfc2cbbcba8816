//! Gradients by the weights and by the bias.

use rayon::prelude::*;

use super::Window;
use super::lanes::{InstructionSet, Lanes};
use super::planes::{Layout, Reach, SLACK};

/// Positions of a plane that are worked through at a time: their gradients stay in the nearest cache.
const BLOCK: usize = 512;
/// Gradient channels that are summed together.
const CHANNELS: usize = 8;

/// Gradient by the weight of a convolution of one sample, added to `out` (output, input, tap): `gradients` are the channels of the
/// gradient by the output, `channels` those of the input.
///
/// For a transposed convolution the two change places, and `out` is (input, output, tap).
pub fn weight_gradient(
    set: InstructionSet,
    gradients: &[&[f32]],
    channels: &[&[f32]],
    shape: [usize; 3],
    window: &Window,
    outputs: [usize; 3],
    out: &mut [f32],
) {
    let reach = Reach {
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding.map(|p| p as isize),
    };
    let layout = Layout::new(reach, shape, outputs);
    let taps = layout.offsets.len();
    let groups = gradients.len().div_ceil(CHANNELS);
    let line = layout.positions.next_multiple_of(BLOCK);
    // The gradients plane by plane (z, channel, line), zero where the input is padding.
    let mut lines = vec![0.0f32; outputs[0] * groups * CHANNELS * line];
    let [_, rows, columns] = outputs;
    lines
        .par_chunks_mut(groups * CHANNELS * line)
        .enumerate()
        .for_each(|(z, lines)| {
            for (to, from) in lines.chunks_exact_mut(line).zip(gradients) {
                for y in 0..rows {
                    let from = &from[(z * rows + y) * columns..][..columns];
                    to[y * layout.columns..][..columns].copy_from_slice(from);
                }
            }
        });
    let shares = (2 * rayon::current_num_threads())
        .div_ceil(channels.len())
        .min(groups);
    let per_share = groups.div_ceil(shares);
    let sums: Vec<Vec<f32>> = (0..channels.len() * shares)
        .into_par_iter()
        .map(|task| {
            let (input, share) = (task / shares, task % shares);
            let own = share * per_share..groups.min((share + 1) * per_share);
            let mut planes = vec![0.0f32; layout.channel(outputs[0]) + BLOCK + SLACK];
            let whole = layout.channel(outputs[0]);
            layout.fill(channels[input], 0, outputs[0], &mut planes[..whole]);
            let job = Job {
                input: &planes,
                step: layout.step(),
                offsets: &layout.offsets,
                lines: &lines,
                depth: outputs[0],
                per_plane: groups * CHANNELS,
                line,
                positions: layout.positions,
            };
            own.flat_map(|group| job.run(set, group)).collect()
        })
        .collect();
    // Each task's sums are (group, tap, channel of the group).
    for (task, sums) in sums.iter().enumerate() {
        let (input, share) = (task / shares, task % shares);
        for (index, sum) in sums.iter().enumerate() {
            let group = share * per_share + index / (taps * CHANNELS);
            let output = group * CHANNELS + index % CHANNELS;
            if output < gradients.len() {
                let tap = index / CHANNELS % taps;
                out[(output * channels.len() + input) * taps + tap] += sum;
            }
        }
    }
}

/// Gradient by the bias of one sample, added to `out`.
pub fn bias_gradient(gradients: &[&[f32]], out: &mut [f32]) {
    out.par_iter_mut()
        .zip(gradients)
        .for_each(|(out, gradient)| {
            let parts = gradient.chunks(4096).map(|part| part.iter().sum::<f32>());
            *out += parts.map(f64::from).sum::<f64>() as f32;
        });
}

struct Job<'a> {
    input: &'a [f32],
    step: usize,
    offsets: &'a [usize],
    lines: &'a [f32],
    depth: usize,
    per_plane: usize,
    line: usize,
    positions: usize,
}

impl Job<'_> {
    /// Sums of one group of gradient channels (tap, channel).
    fn run(&self, set: InstructionSet, group: usize) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512(job: &Job<'_>, group: usize) -> Vec<f32> {
            // SAFETY: the function is only called where AVX-512 was found.
            unsafe { job.group::<std::arch::x86_64::__m512, 8, 3>(group) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2(job: &Job<'_>, group: usize) -> Vec<f32> {
            // SAFETY: the function is only called where AVX2 and FMA were found.
            unsafe { job.group::<std::arch::x86_64::__m256, 4, 3>(group) }
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found the instruction set.
            InstructionSet::Avx512 => unsafe { avx512(self, group) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found the instruction set.
            InstructionSet::Avx2 => unsafe { avx2(self, group) },
            // SAFETY: plain arrays need no instruction set.
            InstructionSet::Portable => unsafe { self.group::<[f32; 8], 2, 3>(group) },
        }
    }

    #[inline(always)]
    unsafe fn group<V: Lanes, const C: usize, const T: usize>(&self, group: usize) -> Vec<f32> {
        let taps = self.offsets.len();
        let mut sums = vec![unsafe { V::splat(0.0) }; taps * CHANNELS];
        for z in 0..self.depth {
            let input = &self.input[z * self.step..];
            let lines = &self.lines[(z * self.per_plane + group * CHANNELS) * self.line..];
            for block in (0..self.positions).step_by(BLOCK) {
                let vectors = BLOCK.min(self.positions - block).div_ceil(V::N);
                for first in (0..CHANNELS).step_by(C) {
                    let lines = &lines[first * self.line + block..];
                    let mut tap = 0;
                    while tap < taps {
                        let sums = &mut sums[tap * CHANNELS..];
                        // SAFETY: lines are whole blocks long, and the input has a block behind its last plane.
                        unsafe {
                            if taps - tap >= T {
                                self.block::<V, C, T>(
                                    input, lines, block, tap, first, vectors, sums,
                                );
                                tap += T;
                            } else {
                                self.block::<V, C, 1>(
                                    input, lines, block, tap, first, vectors, sums,
                                );
                                tap += 1;
                            }
                        }
                    }
                }
            }
        }
        let mut lanes = vec![0.0f32; V::N];
        sums.iter()
            .map(|sum| {
                // SAFETY: `lanes` holds a vector.
                unsafe { sum.store(lanes.as_mut_ptr()) };
                lanes.iter().sum()
            })
            .collect()
    }

    #[inline(always)]
    unsafe fn block<V: Lanes, const C: usize, const T: usize>(
        &self,
        input: &[f32],
        lines: &[f32],
        block: usize,
        tap: usize,
        first: usize,
        vectors: usize,
        sums: &mut [V],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut own = [[V::splat(0.0); C]; T];
            let mut from = [input.as_ptr(); T];
            for (t, from) in from.iter_mut().enumerate() {
                *from = from.add(self.offsets[tap + t] + block);
            }
            let mut gradients = [lines.as_ptr(); C];
            for (c, gradient) in gradients.iter_mut().enumerate() {
                *gradient = gradient.add(c * self.line);
            }
            for vector in 0..vectors {
                let at = vector * V::N;
                let mut values = [V::splat(0.0); C];
                for (value, gradient) in values.iter_mut().zip(&gradients) {
                    *value = V::load(gradient.add(at));
                }
                for (own, from) in own.iter_mut().zip(&from) {
                    let input = V::load(from.add(at));
                    for (own, &value) in own.iter_mut().zip(&values) {
                        *own = own.plus_product(input, value);
                    }
                }
            }
            for (t, own) in own.iter().enumerate() {
                for (c, &own) in own.iter().enumerate() {
                    let sum = &mut sums[t * CHANNELS + first + c];
                    *sum = sum.plus_product(V::splat(1.0), own);
                }
            }
        }
    }
}
