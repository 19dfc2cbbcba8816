//! Conjugate gradients in double precision. Sums go chunk by chunk and then in one cube, always in the same tree.
//! Scalars stay on the device; the host reads them once an iteration.

use cubecl::prelude::*;

use super::THREADS;

/// Places in the array of scalars: `r.z`.
pub(in crate::gpu) const RZ: usize = 0;
/// Share of the last direction in the next.
pub(in crate::gpu) const BETA: usize = 1;
/// `p.A p`.
pub(in crate::gpu) const CURVATURE: usize = 2;
/// Step along the direction.
pub(in crate::gpu) const STEP: usize = 3;
/// Norm of the residual.
pub(in crate::gpu) const NORM: usize = 4;
/// How many they are.
pub(in crate::gpu) const SCALARS: usize = 5;

/// Entries that a cube sums.
pub(in crate::gpu) const CHUNK: usize = 16 * THREADS;

/// Sum of a shared array, left in its first entry.
#[cube]
pub fn tree_sum<F: Float>(shared: &mut SharedMemory<F>, unit: usize, #[comptime] size: usize) {
    let mut half = comptime!(size / 2).runtime();
    while half > 0 {
        sync_cube();
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        half /= 2;
    }
    sync_cube();
}

/// Solution and direction at the start.
#[cube(launch_unchecked)]
pub fn clear(x: &mut Array<f64>, p: &mut Array<f64>, size: usize) {
    let at = ABSOLUTE_POS;
    if at < size {
        x[at] = 0.0f64;
        p[at] = 0.0f64;
    }
}

/// Sums of chunks of `r.z` and `previous.z`; `z` is the result of the V-cycle, scaled back.
#[cube(launch_unchecked)]
pub fn direction_products(
    r: &Array<f64>,
    previous: &Array<f64>,
    cycle: &Array<f32>,
    scalars: &Array<f64>,
    sums: &mut Array<f64>,
    size: usize,
) {
    let unit = UNIT_POS as usize;
    let cube = CUBE_POS_X as usize;
    let norm = scalars[NORM];
    let mut product = 0.0f64;
    let mut old = 0.0f64;
    for part in 0..16usize {
        let at = cube * CHUNK + part * THREADS + unit;
        if at < size {
            let z = f64::cast_from(cycle[at]) * norm;
            product += r[at] * z;
            old += previous[at] * z;
        }
    }
    let mut shared = SharedMemory::<f64>::new(THREADS);
    shared[unit] = product;
    tree_sum::<f64>(&mut shared, unit, THREADS);
    if unit == 0 {
        sums[2 * cube] = shared[0];
    }
    sync_cube();
    shared[unit] = old;
    tree_sum::<f64>(&mut shared, unit, THREADS);
    if unit == 0 {
        sums[2 * cube + 1] = shared[0];
    }
}

/// `p = z + beta p`.
#[cube(launch_unchecked)]
pub fn next_direction(cycle: &Array<f32>, scalars: &Array<f64>, p: &mut Array<f64>, size: usize) {
    let at = ABSOLUTE_POS;
    if at < size {
        p[at] = f64::cast_from(cycle[at]) * scalars[NORM] + scalars[BETA] * p[at];
    }
}

/// Sums of chunks of `p.q`.
#[cube(launch_unchecked)]
pub fn curvature_products(p: &Array<f64>, q: &Array<f64>, sums: &mut Array<f64>, size: usize) {
    let unit = UNIT_POS as usize;
    let cube = CUBE_POS_X as usize;
    let mut product = 0.0f64;
    for part in 0..16usize {
        let at = cube * CHUNK + part * THREADS + unit;
        if at < size {
            product += p[at] * q[at];
        }
    }
    let mut shared = SharedMemory::<f64>::new(THREADS);
    shared[unit] = product;
    tree_sum::<f64>(&mut shared, unit, THREADS);
    if unit == 0 {
        sums[cube] = shared[0];
    }
}

/// `x += step p`, `previous = r`, `r -= step q`, and sums of chunks of `r.r`.
#[cube(launch_unchecked)]
pub fn advance(
    p: &Array<f64>,
    q: &Array<f64>,
    scalars: &Array<f64>,
    x: &mut Array<f64>,
    r: &mut Array<f64>,
    previous: &mut Array<f64>,
    sums: &mut Array<f64>,
    size: usize,
) {
    let unit = UNIT_POS as usize;
    let cube = CUBE_POS_X as usize;
    let step = scalars[STEP];
    let mut product = 0.0f64;
    for part in 0..16usize {
        let at = cube * CHUNK + part * THREADS + unit;
        if at < size {
            let old = r[at];
            let new = old - step * q[at];
            x[at] += step * p[at];
            previous[at] = old;
            r[at] = new;
            product += new * new;
        }
    }
    let mut shared = SharedMemory::<f64>::new(THREADS);
    shared[unit] = product;
    tree_sum::<f64>(&mut shared, unit, THREADS);
    if unit == 0 {
        sums[cube] = shared[0];
    }
}

/// Sum over the chunks, left in the first entry of the shared array.
#[cube]
fn total(
    shared: &mut SharedMemory<f64>,
    sums: &Array<f64>,
    unit: usize,
    chunks: usize,
    #[comptime] stride: usize,
    #[comptime] offset: usize,
) {
    let mut sum = 0.0f64;
    let mut chunk = unit;
    while chunk < chunks {
        sum += sums[stride * chunk + offset];
        chunk += THREADS;
    }
    shared[unit] = sum;
    tree_sum::<f64>(shared, unit, THREADS);
}

/// `r.z` and, from the second iteration on, `beta` in the form of Polak and Ribiere; one cube.
#[cube(launch_unchecked)]
pub fn finish_direction(
    sums: &Array<f64>,
    scalars: &mut Array<f64>,
    chunks: usize,
    #[comptime] first: bool,
) {
    let unit = UNIT_POS as usize;
    let mut shared = SharedMemory::<f64>::new(THREADS);
    total(&mut shared, sums, unit, chunks, 2usize, 0usize);
    let rz = shared[0];
    sync_cube();
    total(&mut shared, sums, unit, chunks, 2usize, 1usize);
    if unit == 0 {
        let mut beta = 0.0f64;
        if comptime!(!first) {
            beta = (rz - shared[0]) / scalars[RZ];
        }
        scalars[BETA] = beta;
        scalars[RZ] = rz;
    }
}

/// `p.A p` and the step; one cube.
#[cube(launch_unchecked)]
pub fn finish_curvature(sums: &Array<f64>, scalars: &mut Array<f64>, chunks: usize) {
    let unit = UNIT_POS as usize;
    let mut shared = SharedMemory::<f64>::new(THREADS);
    total(&mut shared, sums, unit, chunks, 1usize, 0usize);
    if unit == 0 {
        let curvature = shared[0];
        scalars[CURVATURE] = curvature;
        scalars[STEP] = scalars[RZ] / curvature;
    }
}

/// Norm of the residual; one cube.
#[cube(launch_unchecked)]
pub fn finish_residual(sums: &Array<f64>, scalars: &mut Array<f64>, chunks: usize) {
    let unit = UNIT_POS as usize;
    let mut shared = SharedMemory::<f64>::new(THREADS);
    total(&mut shared, sums, unit, chunks, 1usize, 0usize);
    if unit == 0 {
        scalars[NORM] = shared[0].sqrt();
    }
}
