//! The product of a stencil matrix with a vector.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::{BESIDE, NEIGHBOURS, Stencil, StencilLayout};
use crate::linear::rows::LANES;
use crate::operator::{InstructionSet, SharedVector, for_each_set};

impl Stencil {
    /// `y += sign * A x`.
    pub fn add_product(
        &self,
        layout: &StencilLayout,
        instructions: InstructionSet,
        sign: f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        let shared = SharedVector::new(y);
        let work = |runs: &Range<usize>| {
            // SAFETY: a block of runs adds to its own layers of points and to the next one; blocks of one colour
            // are separated by a block of at least one layer.
            let y = unsafe { shared.slice() };
            add_runs(instructions, layout, self, runs, sign, x, y);
        };
        for colour in &layout.colours {
            if layout.rows.length < 4096 {
                colour.iter().for_each(work);
            } else {
                colour.par_iter().for_each(work);
            }
        }
    }
}

type Lane = [f32; LANES];

#[inline(always)]
fn load(values: &[f32], at: usize) -> Lane {
    let mut lane = [0.0; LANES];
    lane.copy_from_slice(&values[at..at + LANES]);
    lane
}

/// Half to single precision by the instruction for it.
///
/// # Safety
/// The machine must have F16C.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn widen_by_f16c(values: &[f16], at: usize) -> Lane {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
    let values = &values[at..at + LANES];
    let mut lane = [0.0; LANES];
    // SAFETY: eight half-precision numbers are the 16 bytes that are loaded, and the lane takes 32.
    unsafe {
        let halves = _mm_loadu_si128(values.as_ptr().cast());
        _mm256_storeu_ps(lane.as_mut_ptr(), _mm256_cvtph_ps(halves));
    }
    lane
}

/// Half to single precision, by its bits: the exponent has another bias. Without branches or a call, so that it is done
/// for all lanes at once; the values are finite.
#[inline(always)]
pub(super) fn widen<const FUSED: bool>(values: &[f16], at: usize) -> Lane {
    #[cfg(target_arch = "x86_64")]
    if FUSED {
        // SAFETY: only machines with F16C run the code with fused multiply-add.
        return unsafe { widen_by_f16c(values, at) };
    }
    const BIAS: f32 = f32::from_bits((127 + 112) << 23);
    let mut lane = [0.0; LANES];
    for (lane, value) in lane.iter_mut().zip(&values[at..at + LANES]) {
        // The sign fills the upper half; of it only the highest bit is kept.
        let bits = (i32::from(value.to_bits() as i16) << 13) as u32 & 0x8fff_e000;
        *lane = f32::from_bits(bits) * BIAS;
    }
    lane
}

#[inline(always)]
fn fused<const FUSED: bool>(sum: &mut Lane, a: &Lane, b: &Lane) {
    for lane in 0..LANES {
        sum[lane] = if FUSED {
            a[lane].mul_add(b[lane], sum[lane])
        } else {
            a[lane] * b[lane] + sum[lane]
        };
    }
}

#[inline(always)]
fn add_lane(y: &mut [f32], at: usize, sign: f32, value: &Lane) {
    for (y, value) in y[at..at + LANES].iter_mut().zip(value) {
        *y += sign * value;
    }
}

for_each_set! {
    fn add_runs<>(
        layout: &StencilLayout,
        stencil: &Stencil,
        runs: &Range<usize>,
        sign: f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        portable: add_runs_body::<false>(layout, stencil, runs, sign, x, y),
        avx2: add_runs_body::<true>(layout, stencil, runs, sign, x, y),
        avx512: add_runs_body::<true>(layout, stencil, runs, sign, x, y),
    }
}

/// Adds the rows of the matrix that belong to some runs, and by symmetry the columns.
#[inline(always)]
fn add_runs_body<const FUSED: bool>(
    layout: &StencilLayout,
    stencil: &Stencil,
    runs: &Range<usize>,
    sign: f32,
    x: &[f32],
    y: &mut [f32],
) {
    let n = layout.rows.length;
    let factor = sign * stencil.unit;
    for (run, &start) in layout.rows.runs[runs.clone()]
        .iter()
        .zip(&layout.starts[runs.clone()])
    {
        for offset in (0..run.padded()).step_by(LANES) {
            let here = run.first + offset;
            let own = [load(x, here), load(x, n + here), load(x, 2 * n + here)];
            let mut sum = [[0.0; LANES]; 3];
            let numbers = &stencil.own[9 * (start + offset)..][..9 * LANES];
            for a in 0..3 {
                for b in 0..3 {
                    let value = load(numbers, LANES * (3 * a + b));
                    fused::<FUSED>(&mut sum[a], &value, &own[b]);
                }
            }
            let numbers = &stencil.beside[BESIDE * (start + offset)..][..BESIDE * LANES];
            for (numbers, &(row, dx)) in numbers.chunks_exact(9 * LANES).zip(&NEIGHBOURS[1..]) {
                let there = (here as isize + run.rows[row] + dx) as usize;
                let other = [load(x, there), load(x, n + there), load(x, 2 * n + there)];
                let mut back = [[0.0; LANES]; 3];
                for a in 0..3 {
                    for b in 0..3 {
                        let value = widen::<FUSED>(numbers, LANES * (3 * a + b));
                        fused::<FUSED>(&mut sum[a], &value, &other[b]);
                        fused::<FUSED>(&mut back[b], &value, &own[a]);
                    }
                }
                for b in 0..3 {
                    add_lane(y, b * n + there, factor, &back[b]);
                }
            }
            for a in 0..3 {
                add_lane(y, a * n + here, factor, &sum[a]);
            }
        }
    }
}
