//! Trilinear interpolation between two levels of the lattice, row by row.
//!
//! Along each axis an even fine point lies on a coarse one and an odd point halfway between two.

use rayon::prelude::*;

use super::rows::{Rows, Run};
use crate::operator::{InstructionSet, for_each_set};

/// Coarse indices on both sides of a fine one, with their common weight.
fn parents(fine: usize) -> (std::ops::RangeInclusive<usize>, f32) {
    let low = fine / 2;
    if fine.is_multiple_of(2) {
        (low..=low, 1.0)
    } else {
        (low..=low + 1, 0.5)
    }
}

/// `fine = interpolation of coarse` at all points, per component.
pub(crate) fn prolongate(coarse_rows: &Rows, fine_rows: &Rows, coarse: &[f32], fine: &mut [f32]) {
    let set = InstructionSet::detect();
    let mut tasks = Vec::new();
    for (component, values) in fine.chunks_exact_mut(fine_rows.length).enumerate() {
        let coarse = &coarse[component * coarse_rows.length..][..coarse_rows.length];
        for (layer, values) in slices(&fine_rows.entry_layers, values)
            .into_iter()
            .enumerate()
        {
            tasks.push((coarse, layer, values));
        }
    }
    let work = |(coarse, layer, values): (&[f32], usize, &mut [f32])| {
        prolongate_layer(set, coarse_rows, fine_rows, coarse, layer, values);
    };
    if fine_rows.length < 4096 {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().for_each(work);
    }
}

#[inline(always)]
fn prolongate_layer_body(
    coarse_rows: &Rows,
    fine_rows: &Rows,
    coarse: &[f32],
    layer: usize,
    values: &mut [f32],
) {
    let start = fine_rows.entry_layers[layer].start;
    let mut mean = Vec::new();
    for run in &fine_rows.runs[fine_rows.run_layers[layer].clone()] {
        let [x, y, z] = run.point.map(|i| i as usize);
        let first = x / 2;
        let count = (x + run.length - 1).div_ceil(2) - first + 1;
        mean.clear();
        mean.resize(count, 0.0f32);
        let ((ys, wy), (zs, wz)) = (parents(y), parents(z));
        for cz in zs {
            for cy in ys.clone() {
                let at = coarse_rows.entry([first, cy, cz]);
                for (mean, value) in mean.iter_mut().zip(&coarse[at..at + count]) {
                    *mean += wy * wz * value;
                }
            }
        }
        let target = &mut values[run.first - start..][..run.length];
        let (odd_first, pairs) = target.split_at_mut((x % 2).min(run.length));
        if let Some(target) = odd_first.first_mut() {
            *target = 0.5 * (mean[0] + mean[1]);
        }
        // From an even point on in pairs, which become vectors.
        let mean = &mean[x % 2..];
        let mut pairs = pairs.chunks_exact_mut(2);
        for (pair, (low, high)) in pairs.by_ref().zip(mean.iter().zip(&mean[1..])) {
            pair[0] = *low;
            pair[1] = 0.5 * (low + high);
        }
        if let (Some(target), Some(last)) = (pairs.into_remainder().first_mut(), mean.last()) {
            *target = *last;
        }
    }
}

for_each_set! {
    /// The values of a layer of fine points, of one component.
    fn prolongate_layer<>(
        coarse_rows: &Rows,
        fine_rows: &Rows,
        coarse: &[f32],
        layer: usize,
        values: &mut [f32],
    ) = prolongate_layer_body(coarse_rows, fine_rows, coarse, layer, values)
}

/// `coarse = transpose of the interpolation times fine`, per component.
pub(crate) fn restrict(coarse_rows: &Rows, fine_rows: &Rows, fine: &[f32], coarse: &mut [f32]) {
    let set = InstructionSet::detect();
    let mut tasks = Vec::new();
    for (component, values) in coarse.chunks_exact_mut(coarse_rows.length).enumerate() {
        let fine = &fine[component * fine_rows.length..][..fine_rows.length];
        for (layer, values) in slices(&coarse_rows.entry_layers, values)
            .into_iter()
            .enumerate()
        {
            tasks.push((fine, layer, values));
        }
    }
    let work = |(fine, layer, values): (&[f32], usize, &mut [f32])| {
        restrict_layer(set, coarse_rows, fine_rows, fine, layer, values);
    };
    if fine_rows.length < 4096 {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().for_each(work);
    }
}

#[inline(always)]
fn restrict_layer_body(
    coarse_rows: &Rows,
    fine_rows: &Rows,
    fine: &[f32],
    layer: usize,
    values: &mut [f32],
) {
    values.fill(0.0);
    let start = coarse_rows.entry_layers[layer].start;
    let mut sums = Vec::new();
    for z in (2 * layer).saturating_sub(1)..(2 * layer + 2).min(fine_rows.run_layers.len()) {
        let wz = if z == 2 * layer { 1.0 } else { 0.5 };
        for run in &fine_rows.runs[fine_rows.run_layers[z].clone()] {
            let first = run.point[0] as usize / 2;
            along_x(run, &fine[run.first..run.first + run.length], &mut sums);
            let (ys, wy) = parents(run.point[1] as usize);
            for cy in ys {
                let at = coarse_rows.entry([first, cy, layer]) - start;
                for (target, sum) in values[at..].iter_mut().zip(&sums) {
                    *target += wy * wz * sum;
                }
            }
        }
    }
}

for_each_set! {
    /// The sums at a layer of coarse points, of one component.
    fn restrict_layer<>(
        coarse_rows: &Rows,
        fine_rows: &Rows,
        fine: &[f32],
        layer: usize,
        values: &mut [f32],
    ) = restrict_layer_body(coarse_rows, fine_rows, fine, layer, values)
}

/// Sums of a run of fine points at the coarse points of its row, from the one at or before its start.
#[inline(always)]
fn along_x(run: &Run, values: &[f32], sums: &mut Vec<f32>) {
    let x = run.point[0] as usize;
    let count = (x + run.length - 1).div_ceil(2) - x / 2 + 1;
    sums.clear();
    sums.resize(count, 0.0);
    let (odd_first, pairs) = values.split_at((x % 2).min(run.length));
    if let Some(value) = odd_first.first() {
        sums[0] += 0.5 * value;
        sums[1] += 0.5 * value;
    }
    // From an even point on in pairs, each point's sum in two passes that become vectors.
    let sums = &mut sums[x % 2..];
    let pairs = pairs.chunks_exact(2);
    if let (Some(value), Some(last)) = (pairs.remainder().first(), sums.last_mut()) {
        *last += value;
    }
    for (sum, pair) in sums.iter_mut().zip(pairs.clone()) {
        *sum += pair[0] + 0.5 * pair[1];
    }
    for (sum, pair) in sums.iter_mut().skip(1).zip(pairs) {
        *sum += 0.5 * pair[1];
    }
}

/// The parts of a vector that belong to consecutive ranges.
fn slices<'v>(ranges: &[std::ops::Range<usize>], mut values: &'v mut [f32]) -> Vec<&'v mut [f32]> {
    ranges
        .iter()
        .map(|range| {
            let (part, rest) = std::mem::take(&mut values).split_at_mut(range.len());
            values = rest;
            part
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(radius: i32) -> (Vec<[u32; 3]>, [usize; 3]) {
        let n = 2 * radius + 1;
        let mut points = Vec::new();
        for z in 0..n {
            for y in 0..n {
                for x in 0..n {
                    let d = [x - radius, y - radius, z - radius];
                    if d.iter().map(|d| d * d).sum::<i32>() <= radius * radius {
                        points.push([x as u32, y as u32, z as u32]);
                    }
                }
            }
        }
        (points, [n as usize; 3])
    }

    #[test]
    fn interpolation_is_exact_for_linear_fields_and_restriction_is_its_transpose() {
        let (fine_points, fine_size) = ball(5);
        let mut coarse_points = std::collections::BTreeSet::new();
        for p in &fine_points {
            for corner in 0..8 {
                let at: [u32; 3] =
                    std::array::from_fn(|a| p[a] / 2 + (p[a] % 2) * (corner >> a & 1));
                coarse_points.insert([at[2], at[1], at[0]]);
            }
        }
        let coarse_points: Vec<[u32; 3]> = coarse_points
            .into_iter()
            .map(|[z, y, x]| [x, y, z])
            .collect();
        let coarse_rows = Rows::padded(&coarse_points, [7; 3]);
        for fine_rows in [
            Rows::compact(&fine_points, fine_size),
            Rows::padded(&fine_points, fine_size),
        ] {
            let field = |c: usize, p: [f64; 3]| {
                (1.0 + c as f64 + 0.5 * p[0] - 0.25 * p[1] + 2.0 * p[2]) as f32
            };
            let mut coarse = vec![0.0; 3 * coarse_rows.length];
            for c in 0..3 {
                for p in &coarse_points {
                    let at = coarse_rows.entry(p.map(|i| i as usize));
                    coarse[c * coarse_rows.length + at] = field(c, p.map(|i| 2.0 * f64::from(i)));
                }
            }
            let mut fine = vec![0.0; 3 * fine_rows.length];
            prolongate(&coarse_rows, &fine_rows, &coarse, &mut fine);
            let mut work = 0.0;
            let mut r = vec![0.0f32; fine.len()];
            let mut number = 0u32;
            for c in 0..3 {
                for run in &fine_rows.runs {
                    for offset in 0..run.length {
                        let mut p = run.point.map(f64::from);
                        p[0] += offset as f64;
                        let at = c * fine_rows.length + run.first + offset;
                        assert!((fine[at] - field(c, p)).abs() < 1e-5);
                        number = number.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
                        r[at] = (number >> 8) as f32 / (1 << 24) as f32 - 0.5;
                        work += f64::from(r[at]) * f64::from(fine[at]);
                    }
                }
            }
            let mut restricted = vec![f32::NAN; coarse.len()];
            restrict(&coarse_rows, &fine_rows, &r, &mut restricted);
            let back: f64 = restricted
                .iter()
                .zip(&coarse)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            assert!(
                (work - back).abs() < 1e-3 * work.abs().max(1.0),
                "{work} {back}"
            );
        }
    }
}
