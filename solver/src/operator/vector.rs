//! Vector operations in a fixed order of summation.

use rayon::prelude::*;

use super::Real;

/// Entries that one task works on; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 8192;

/// Dot product: sums of fixed chunks, added in order.
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let part = |a: &[T], b: &[T]| {
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
    };
    if a.len() <= CHUNK {
        return part(a, b);
    }
    let parts: Vec<f64> = a
        .par_chunks(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .map(|(a, b)| part(a, b))
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

/// `y[i] = f(y[i], x[i])`.
pub(crate) fn update<T: Real, U: Real>(y: &mut [T], x: &[U], f: impl Fn(T, U) -> T + Sync) {
    let part = |y: &mut [T], x: &[U]| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*y, *x);
        }
    };
    if y.len() <= CHUNK {
        part(y, x);
    } else {
        y.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(y, x)| part(y, x));
    }
}

/// `(d[i], x[i]) = (d, x + d)` with `d = f(d[i], r[i] * s[i])`: one Chebyshev step.
pub(crate) fn chebyshev_step(
    d: &mut [f32],
    x: &mut [f32],
    r: &[f32],
    inverse_diagonal: &[f32],
    keep: f32,
    take: f32,
    first: bool,
) {
    let part = |d: &mut [f32], x: &mut [f32], r: &[f32], s: &[f32]| {
        for i in 0..d.len() {
            let step = keep * d[i] + take * r[i] * s[i];
            d[i] = step;
            x[i] = if first { step } else { x[i] + step };
        }
    };
    if d.len() <= CHUNK {
        part(d, x, r, inverse_diagonal);
    } else {
        d.par_chunks_mut(CHUNK)
            .zip(x.par_chunks_mut(CHUNK))
            .zip(r.par_chunks(CHUNK).zip(inverse_diagonal.par_chunks(CHUNK)))
            .for_each(|((d, x), (r, s))| part(d, x, r, s));
    }
}

/// `x += d` where `inverse_diagonal` is not zero; `d` becomes zero elsewhere: supports, and unknowns without
/// stiffness, take no correction.
pub(crate) fn correct(d: &mut [f32], x: &mut [f32], inverse_diagonal: &[f32]) {
    let part = |d: &mut [f32], x: &mut [f32], s: &[f32]| {
        for i in 0..d.len() {
            d[i] = if s[i] == 0.0 { 0.0 } else { d[i] };
            x[i] += d[i];
        }
    };
    if d.len() <= CHUNK {
        part(d, x, inverse_diagonal);
    } else {
        d.par_chunks_mut(CHUNK)
            .zip(x.par_chunks_mut(CHUNK))
            .zip(inverse_diagonal.par_chunks(CHUNK))
            .for_each(|((d, x), s)| part(d, x, s));
    }
}
