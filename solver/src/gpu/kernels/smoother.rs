//! One V-cycle in single precision: residuals and Chebyshev steps in one kernel, transfers, the coarsest level.
//!
//! The arithmetic is that of `linear::multigrid`, `linear::stencil` and `linear::transfer`.

use cubecl::prelude::*;

use super::elements::gathered;
use super::vectors::{NORM, tree_sum};
use super::{NONE, ROW_THREADS};

/// Neighbours kept in half a stencil besides the point itself.
pub(in crate::gpu) const FOLLOWING: usize = 13;

/// First Chebyshev step of the finest level from the residual scaled to a unit vector.
#[cube(launch_unchecked)]
pub fn begin_cycle(
    residual: &Array<f64>,
    scalars: &Array<f64>,
    inverse_diagonal: &Array<f32>,
    b: &mut Array<f32>,
    d: &mut Array<f32>,
    x: &mut Array<f32>,
    take: f32,
    size: usize,
) {
    let dof = ABSOLUTE_POS;
    if dof < size {
        let value = f32::cast_from(residual[dof] / scalars[NORM]);
        let step = take * value * inverse_diagonal[dof];
        b[dof] = value;
        d[dof] = step;
        x[dof] = step;
    }
}

/// `b -= A d` on the finest level from the forces of `d`, zero at the constrained unknowns, then a Chebyshev step
/// `d = keep d + take b s`, `x += d` unless it is the last of its kind.
#[cube(launch_unchecked)]
pub fn smooth_fine(
    forces: &Array<f32>,
    adjacent: &Array<u32>,
    free: &Array<u32>,
    inverse_diagonal: &Array<f32>,
    b: &mut Array<f32>,
    d: &mut Array<f32>,
    x: &mut Array<f32>,
    keep: f32,
    take: f32,
    nodes: usize,
    elements: usize,
    #[comptime] step: bool,
) {
    let dof = ABSOLUTE_POS;
    if dof < 3 * nodes {
        let mut value = 0.0f32;
        if free[dof] != 0 {
            value = b[dof] - gathered::<f32>(forces, adjacent, nodes, elements, dof);
        }
        b[dof] = value;
        if comptime!(step) {
            let next = keep * d[dof] + take * value * inverse_diagonal[dof];
            d[dof] = next;
            x[dof] += next;
        }
    }
}

/// The same on a coarse level, a point a thread; the step is written to `next`, because others still read `d`.
/// `neighbours` lists the 13 points that follow each point and the 13 that it follows; `numbers` holds the upper half
/// of the stencils, number by number for all points.
#[cube(launch_unchecked)]
pub fn smooth_coarse(
    numbers: &Array<f32>,
    neighbours: &Array<u32>,
    inverse_diagonal: &Array<f32>,
    b: &mut Array<f32>,
    d: &Array<f32>,
    next: &mut Array<f32>,
    x: &mut Array<f32>,
    keep: f32,
    take: f32,
    points: usize,
    #[comptime] step: bool,
) {
    let point = ABSOLUTE_POS;
    if point < points {
        let d0 = d[point];
        let d1 = d[points + point];
        let d2 = d[2 * points + point];
        let mut sum0 =
            numbers[point] * d0 + numbers[points + point] * d1 + numbers[2 * points + point] * d2;
        let mut sum1 = numbers[3 * points + point] * d0
            + numbers[4 * points + point] * d1
            + numbers[5 * points + point] * d2;
        let mut sum2 = numbers[6 * points + point] * d0
            + numbers[7 * points + point] * d1
            + numbers[8 * points + point] * d2;
        for neighbour in 0..FOLLOWING {
            let block = 9 * (neighbour + 1);
            let following = neighbours[neighbour * points + point];
            if following != NONE {
                let other = following as usize;
                let x0 = d[other];
                let x1 = d[points + other];
                let x2 = d[2 * points + other];
                let at = block * points + point;
                sum0 +=
                    numbers[at] * x0 + numbers[at + points] * x1 + numbers[at + 2 * points] * x2;
                sum1 += numbers[at + 3 * points] * x0
                    + numbers[at + 4 * points] * x1
                    + numbers[at + 5 * points] * x2;
                sum2 += numbers[at + 6 * points] * x0
                    + numbers[at + 7 * points] * x1
                    + numbers[at + 8 * points] * x2;
            }
            // The other half by symmetry: the transposed block of the point that this one follows.
            let preceding = neighbours[(FOLLOWING + neighbour) * points + point];
            if preceding != NONE {
                let other = preceding as usize;
                let x0 = d[other];
                let x1 = d[points + other];
                let x2 = d[2 * points + other];
                let at = block * points + other;
                sum0 += numbers[at] * x0
                    + numbers[at + 3 * points] * x1
                    + numbers[at + 6 * points] * x2;
                sum1 += numbers[at + points] * x0
                    + numbers[at + 4 * points] * x1
                    + numbers[at + 7 * points] * x2;
                sum2 += numbers[at + 2 * points] * x0
                    + numbers[at + 5 * points] * x1
                    + numbers[at + 8 * points] * x2;
            }
        }
        finish_row(
            inverse_diagonal,
            b,
            next,
            x,
            d0,
            sum0,
            keep,
            take,
            point,
            step,
        );
        finish_row(
            inverse_diagonal,
            b,
            next,
            x,
            d1,
            sum1,
            keep,
            take,
            points + point,
            step,
        );
        finish_row(
            inverse_diagonal,
            b,
            next,
            x,
            d2,
            sum2,
            keep,
            take,
            2 * points + point,
            step,
        );
    }
}

#[cube]
fn finish_row(
    inverse_diagonal: &Array<f32>,
    b: &mut Array<f32>,
    next: &mut Array<f32>,
    x: &mut Array<f32>,
    d: f32,
    product: f32,
    keep: f32,
    take: f32,
    dof: usize,
    #[comptime] step: bool,
) {
    let value = b[dof] - product;
    b[dof] = value;
    if comptime!(step) {
        let change = keep * d + take * value * inverse_diagonal[dof];
        next[dof] = change;
        x[dof] += change;
    }
}

/// `b` of a coarse level = the transposed interpolation of the finer residual, and its first Chebyshev step.
/// `children` lists the 27 finer points around each point.
#[cube(launch_unchecked)]
pub fn restrict_residual(
    fine: &Array<f32>,
    children: &Array<u32>,
    inverse_diagonal: &Array<f32>,
    b: &mut Array<f32>,
    d: &mut Array<f32>,
    x: &mut Array<f32>,
    take: f32,
    fine_points: usize,
    points: usize,
) {
    let dof = ABSOLUTE_POS;
    if dof < 3 * points {
        let component = dof / points;
        let point = dof % points;
        let mut sum = 0.0f32;
        #[unroll]
        for k in 0..3usize {
            #[unroll]
            for j in 0..3usize {
                #[unroll]
                for i in 0..3usize {
                    // 1 in the middle, 1/2 beside it, along each axis.
                    let eighths = (i * (2 - i) + 1) * (j * (2 - j) + 1) * (k * (2 - k) + 1);
                    let weight = 0.125f32 * f32::cast_from(eighths as u32);
                    let child = children[(9 * k + 3 * j + i) * points + point];
                    if child != NONE {
                        sum += weight * fine[component * fine_points + child as usize];
                    }
                }
            }
        }
        let step = take * sum * inverse_diagonal[dof];
        b[dof] = sum;
        d[dof] = step;
        x[dof] = step;
    }
}

/// `d` = the interpolated correction where the unknown has stiffness, `x += d`. `parents` lists the up to eight
/// coarse points around each point; they weigh the same.
#[cube(launch_unchecked)]
pub fn prolongate(
    coarse: &Array<f32>,
    parents: &Array<u32>,
    inverse_diagonal: &Array<f32>,
    d: &mut Array<f32>,
    x: &mut Array<f32>,
    coarse_points: usize,
    points: usize,
) {
    let dof = ABSOLUTE_POS;
    if dof < 3 * points {
        let mut change = 0.0f32;
        if inverse_diagonal[dof] != 0.0f32 {
            let component = dof / points;
            let point = dof % points;
            let mut sum = 0.0f32;
            let mut count = 0.0f32;
            #[unroll]
            for corner in 0..8usize {
                let parent = parents[corner * points + point];
                if parent != NONE {
                    sum += coarse[component * coarse_points + parent as usize];
                    count += 1.0f32;
                }
            }
            change = sum / count;
        }
        d[dof] = change;
        x[dof] += change;
    }
}

/// `x = inverse b` where the unknown has stiffness: the coarsest level, a row a cube. In double precision: where two
/// coarse functions nearly agree the inverse has large entries that must cancel.
#[cube(launch_unchecked)]
pub fn solve_coarsest(
    inverse: &Array<f64>,
    inverse_diagonal: &Array<f32>,
    b: &Array<f32>,
    x: &mut Array<f32>,
    size: usize,
) {
    let mut shared = SharedMemory::<f64>::new(ROW_THREADS);
    let row = CUBE_POS_X as usize;
    let unit = UNIT_POS as usize;
    let mut sum = 0.0f64;
    let mut column = unit;
    while column < size {
        sum += inverse[row * size + column] * f64::cast_from(b[column]);
        column += ROW_THREADS;
    }
    shared[unit] = sum;
    tree_sum::<f64>(&mut shared, unit, ROW_THREADS);
    if unit == 0 {
        let mut value = 0.0f32;
        if inverse_diagonal[row] != 0.0f32 {
            value = f32::cast_from(shared[0]);
        }
        x[row] = value;
    }
}
