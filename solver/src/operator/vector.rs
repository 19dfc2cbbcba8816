//! Vector operations in a fixed order of summation.

use rayon::prelude::*;

use super::{InstructionSet, Real, for_each_set};

/// Entries that one task works on; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 8192;

#[inline(always)]
fn dot_body<T: Real, U: Real>(a: &[T], b: &[U]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (mut ca, mut cb) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in (&mut ca).zip(&mut cb) {
        for lane in 0..8 {
            lanes[lane] += x[lane].to_f64() * y[lane].to_f64();
        }
    }
    let tail: f64 = ca
        .remainder()
        .iter()
        .zip(cb.remainder())
        .map(|(x, y)| x.to_f64() * y.to_f64())
        .sum();
    lanes.iter().sum::<f64>() + tail
}

for_each_set! {
    fn dot_part<T: Real, U: Real>(a: &[T], b: &[U]) -> f64 = dot_body(a, b)
}

/// Dot product: sums of fixed chunks, added in order.
pub(crate) fn dot<T: Real, U: Real>(a: &[T], b: &[U]) -> f64 {
    let set = InstructionSet::detect();
    if a.len() <= CHUNK {
        return dot_part(set, a, b);
    }
    let parts: Vec<f64> = a
        .par_chunks(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .map(|(a, b)| dot_part(set, a, b))
        .collect();
    parts.iter().sum()
}

/// Euclidean norm.
pub(crate) fn norm<T: Real>(a: &[T]) -> f64 {
    dot(a, a).sqrt()
}

/// Sets every entry.
pub(crate) fn fill<T: Real>(y: &mut [T], value: T) {
    if y.len() <= CHUNK {
        y.fill(value);
    } else {
        y.par_chunks_mut(CHUNK).for_each(|y| y.fill(value));
    }
}

#[inline(always)]
fn update_body<T: Real, U: Real, F: Fn(T, U) -> T>(y: &mut [T], x: &[U], f: &F) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*y, *x);
    }
}

for_each_set! {
    fn update_part<T: Real, U: Real, F: Fn(T, U) -> T>(y: &mut [T], x: &[U], f: &F)
        = update_body(y, x, f)
}

/// `y[i] = f(y[i], x[i])`.
pub(crate) fn update<T: Real, U: Real>(y: &mut [T], x: &[U], f: impl Fn(T, U) -> T + Sync) {
    let set = InstructionSet::detect();
    if y.len() <= CHUNK {
        update_part(set, y, x, &f);
    } else {
        y.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(y, x)| update_part(set, y, x, &f));
    }
}

#[inline(always)]
fn advance_body(x: &mut [f64], r: &mut [f64], p: &[f64], q: &[f64], step: f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let whole = x.len() - x.len() % 8;
    let vectors = x[..whole]
        .chunks_exact_mut(8)
        .zip(r[..whole].chunks_exact_mut(8))
        .zip(p[..whole].chunks_exact(8).zip(q[..whole].chunks_exact(8)));
    for ((x, r), (p, q)) in vectors {
        for lane in 0..8 {
            x[lane] += step * p[lane];
            r[lane] -= step * q[lane];
            lanes[lane] += r[lane] * r[lane];
        }
    }
    let mut tail = 0.0;
    for i in whole..x.len() {
        x[i] += step * p[i];
        r[i] -= step * q[i];
        tail += r[i] * r[i];
    }
    lanes.iter().sum::<f64>() + tail
}

for_each_set! {
    fn advance_part<>(x: &mut [f64], r: &mut [f64], p: &[f64], q: &[f64], step: f64) -> f64
        = advance_body(x, r, p, q, step)
}

/// `x += step p`, `r -= step q`; the norm of the new `r`. One pass, where three read twice as much.
pub(crate) fn advance(x: &mut [f64], r: &mut [f64], p: &[f64], q: &[f64], step: f64) -> f64 {
    let set = InstructionSet::detect();
    if x.len() <= CHUNK {
        return advance_part(set, x, r, p, q, step).sqrt();
    }
    let parts: Vec<f64> = x
        .par_chunks_mut(CHUNK)
        .zip(r.par_chunks_mut(CHUNK))
        .zip(p.par_chunks(CHUNK).zip(q.par_chunks(CHUNK)))
        .map(|((x, r), (p, q))| advance_part(set, x, r, p, q, step))
        .collect();
    parts.iter().sum::<f64>().sqrt()
}

/// What one Chebyshev step reads.
#[derive(Clone, Copy)]
pub(crate) struct ChebyshevStep {
    /// Share of the last step that is kept.
    pub keep: f32,
    /// Factor on the scaled residual.
    pub take: f32,
    /// Whether the solution starts as zero.
    pub first: bool,
}

#[inline(always)]
fn chebyshev_body(step: ChebyshevStep, d: &mut [f32], x: &mut [f32], r: &[f32], s: &[f32]) {
    let ChebyshevStep { keep, take, first } = step;
    let entries = d.iter_mut().zip(x).zip(r.iter().zip(s));
    if first {
        for ((d, x), (r, s)) in entries {
            *d = take * r * s;
            *x = *d;
        }
    } else {
        for ((d, x), (r, s)) in entries {
            *d = keep * *d + take * r * s;
            *x += *d;
        }
    }
}

for_each_set! {
    fn chebyshev_part<>(step: ChebyshevStep, d: &mut [f32], x: &mut [f32], r: &[f32], s: &[f32])
        = chebyshev_body(step, d, x, r, s)
}

/// `d = keep d + take r s`, `x += d`: one Chebyshev step.
pub(crate) fn chebyshev_step(
    step: ChebyshevStep,
    d: &mut [f32],
    x: &mut [f32],
    r: &[f32],
    inverse_diagonal: &[f32],
) {
    let set = InstructionSet::detect();
    if d.len() <= CHUNK {
        chebyshev_part(set, step, d, x, r, inverse_diagonal);
    } else {
        d.par_chunks_mut(CHUNK)
            .zip(x.par_chunks_mut(CHUNK))
            .zip(r.par_chunks(CHUNK).zip(inverse_diagonal.par_chunks(CHUNK)))
            .for_each(|((d, x), (r, s))| chebyshev_part(set, step, d, x, r, s));
    }
}

#[inline(always)]
fn correct_body(d: &mut [f32], x: &mut [f32], s: &[f32]) {
    for ((d, x), s) in d.iter_mut().zip(x).zip(s) {
        *d = if *s == 0.0 { 0.0 } else { *d };
        *x += *d;
    }
}

for_each_set! {
    fn correct_part<>(d: &mut [f32], x: &mut [f32], s: &[f32]) = correct_body(d, x, s)
}

/// `x += d` where `inverse_diagonal` is not zero; `d` becomes zero elsewhere: supports, and unknowns without
/// stiffness, take no correction.
pub(crate) fn correct(d: &mut [f32], x: &mut [f32], inverse_diagonal: &[f32]) {
    let set = InstructionSet::detect();
    if d.len() <= CHUNK {
        correct_part(set, d, x, inverse_diagonal);
    } else {
        d.par_chunks_mut(CHUNK)
            .zip(x.par_chunks_mut(CHUNK))
            .zip(inverse_diagonal.par_chunks(CHUNK))
            .for_each(|((d, x), s)| correct_part(set, d, x, s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_does_what_three_do() {
        // Several chunks, the last with a tail; whole numbers, so that no sum is rounded.
        let n = 2 * CHUNK + 13;
        let whole = |factor: usize| -> Vec<f64> {
            (0..n).map(|i| (factor * i % 17) as f64 - 8.0).collect()
        };
        let (mut x, mut r, p, q) = (whole(3), whole(5), whole(7), whole(11));
        let (mut x3, mut r3) = (x.clone(), r.clone());
        let size = advance(&mut x, &mut r, &p, &q, 2.0);
        update(&mut x3, &p, |x, p| x + 2.0 * p);
        update(&mut r3, &q, |r, q| r - 2.0 * q);
        assert_eq!(x, x3);
        assert_eq!(r, r3);
        assert_eq!(size, norm(&r3));
        assert!(size > 0.0);
    }
}
