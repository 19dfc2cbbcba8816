//! The scan as a stack of thick, smoothed cross-sections on 1 mm pixels.

use imaging::{Grid, Volume};
use nalgebra::Vector3;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Pixel of the cross-sections, mm.
pub(super) const PIXEL_MM: f64 = 1.0;
/// Thickest slab, mm: a rod tilted by 10 degrees moves 1 mm in it.
const THICKEST_MM: f64 = 6.0;
/// Slabs that a scan is cut into where its slices are thin enough.
const MOST_SLABS: f64 = 16.0;
/// Width of the smoothing inside a cross-section, mm.
const SIGMA_MM: f64 = 1.0;
/// CT numbers are clamped to this range: padding and metal carry nothing here.
const CLAMP_HU: [f32; 2] = [-1100.0, 2500.0];

/// Cross-sections of the scan, each the mean of a few slices. `u` and `v` run along the two array axes
/// across the body, `w` along the one nearest to head-foot; all in mm from the first voxel centre.
pub(super) struct Slabs<'a> {
    pub size: [usize; 2],
    /// Extent of the voxel centres along `u` and `v`, mm.
    pub extent_mm: [f64; 2],
    pub planes: Vec<Vec<f32>>,
    pub w_mm: Vec<f64>,
    pub thickness_mm: f64,
    axes: [usize; 3],
    grid: &'a Grid,
}

impl<'a> Slabs<'a> {
    pub fn of(ct: &'a Volume<f32>) -> Result<Self> {
        let grid = &ct.grid;
        if !grid.is_orthogonal() {
            return Err(Error::Parameter(
                "rods are found on grids with right angles only: resample the scan, or give the rods".into(),
            ));
        }
        let closest = grid.closest_axes();
        let along = (0..3).find(|&a| closest[a].0 == 2).unwrap_or(2);
        let axes = match along {
            0 => [1, 2, 0],
            1 => [0, 2, 1],
            _ => [0, 1, 2],
        };
        let count = axes.map(|a| grid.size[a]);
        let step = axes.map(|a| grid.spacing_mm[a]);
        let length = count[2] as f64 * step[2];
        let wanted = (length / MOST_SLABS).min(THICKEST_MM);
        let slices = ((wanted / step[2]).round() as usize).max(1);
        let strides = [1, grid.size[0], grid.size[0] * grid.size[1]];
        let stride = axes.map(|a| strides[a]);
        let starts: Vec<usize> = (0..count[2] / slices).map(|s| s * slices).collect();
        let extent_mm = [0, 1].map(|a| (count[a].max(1) - 1) as f64 * step[a]);
        let size = extent_mm.map(|mm| (mm / PIXEL_MM).floor() as usize + 1);
        let planes = starts
            .par_iter()
            .map(|&start| {
                let mut mean = vec![0f32; count[0] * count[1]];
                for k in start..start + slices {
                    for (j, row) in mean.chunks_mut(count[0]).enumerate() {
                        let base = k * stride[2] + j * stride[1];
                        for (i, sum) in row.iter_mut().enumerate() {
                            let hu = ct.data[base + i * stride[0]];
                            // NaN counts as padding.
                            let hu = if hu.is_nan() { CLAMP_HU[0] } else { hu };
                            *sum += hu.clamp(CLAMP_HU[0], CLAMP_HU[1]);
                        }
                    }
                }
                let share = 1.0 / slices as f32;
                mean.iter_mut().for_each(|sum| *sum *= share);
                let smooth = smoothed(mean, [count[0], count[1]], [step[0], step[1]]);
                resampled(&smooth, [count[0], count[1]], [step[0], step[1]], size)
            })
            .collect();
        let half = (slices - 1) as f64 / 2.0;
        Ok(Self {
            size,
            extent_mm,
            planes,
            w_mm: starts
                .iter()
                .map(|&start| (start as f64 + half) * step[2])
                .collect(),
            thickness_mm: slices as f64 * step[2],
            axes,
            grid,
        })
    }

    /// World position (LPS mm) of a place in the stack.
    pub fn world(&self, u: f64, v: f64, w: f64) -> Vector3<f64> {
        let mut index = Vector3::zeros();
        for (axis, mm) in self.axes.into_iter().zip([u, v, w]) {
            index[axis] = mm / self.grid.spacing_mm[axis];
        }
        self.grid.to_world(index)
    }

    /// Mean of the slabs `over`, each shifted along a line's direction to where slab `over.start` has it.
    /// What runs along the line is sharp in it, the rest blurs. NaN where a slab has no value.
    pub fn mean_along(&self, [du, dv]: [f64; 2], over: std::ops::Range<usize>) -> Vec<f32> {
        let start = self.w_mm[over.start];
        let share = 1.0 / over.len() as f32;
        let mut mean = vec![0f32; self.size[0] * self.size[1]];
        mean.par_chunks_mut(self.size[0])
            .enumerate()
            .for_each(|(j, row)| {
                for s in over.clone() {
                    let along = self.w_mm[s] - start;
                    let v = j as f64 * PIXEL_MM + along * dv;
                    for (i, sum) in row.iter_mut().enumerate() {
                        let u = i as f64 * PIXEL_MM + along * du;
                        *sum += self.at(s, u, v).map_or(f32::NAN, |hu| share * hu as f32);
                    }
                }
            });
        mean
    }

    /// CT number of slab `s` at `(u, v)`, linear between pixels; `None` outside the field.
    pub fn at(&self, s: usize, u: f64, v: f64) -> Option<f64> {
        bilinear(&self.planes[s], self.size, u / PIXEL_MM, v / PIXEL_MM)
    }
}

/// Linear value between the pixels of a plane; `None` outside the pixel centres or next to NaN.
pub(crate) fn bilinear(plane: &[f32], [nu, nv]: [usize; 2], u: f64, v: f64) -> Option<f64> {
    let inside = u >= 0.0 && v >= 0.0 && u <= (nu - 1) as f64 && v <= (nv - 1) as f64;
    if !inside {
        return None;
    }
    let (i, j) = (
        (u as usize).min(nu.saturating_sub(2)),
        (v as usize).min(nv.saturating_sub(2)),
    );
    let (fu, fv) = (u - i as f64, v - j as f64);
    let at = |i: usize, j: usize| f64::from(plane[i.min(nu - 1) + nu * j.min(nv - 1)]);
    let value = (1.0 - fv) * ((1.0 - fu) * at(i, j) + fu * at(i + 1, j))
        + fv * ((1.0 - fu) * at(i, j + 1) + fu * at(i + 1, j + 1));
    value.is_finite().then_some(value)
}

/// Gaussian smoothing; values beyond the edge are those of the edge.
fn smoothed(plane: Vec<f32>, [nu, nv]: [usize; 2], step: [f64; 2]) -> Vec<f32> {
    let kernel = |step: f64| -> Vec<f32> {
        let sigma = SIGMA_MM / step;
        let reach = (3.0 * sigma).ceil() as i64;
        let weights: Vec<f64> = (-reach..=reach)
            .map(|at| (-0.5 * (at as f64 / sigma).powi(2)).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| (w / sum) as f32).collect()
    };
    let [along_u, along_v] = step.map(kernel);
    let reach = along_u.len() / 2;
    let mut rows = plane.clone();
    let mut line = vec![0f32; nu + 2 * reach];
    for (row, source) in rows.chunks_mut(nu).zip(plane.chunks(nu)) {
        line[..reach].fill(source[0]);
        line[reach..reach + nu].copy_from_slice(source);
        line[reach + nu..].fill(source[nu - 1]);
        row.fill(0.0);
        for (tap, weight) in along_u.iter().enumerate() {
            for (value, near) in row.iter_mut().zip(&line[tap..]) {
                *value += weight * near;
            }
        }
    }
    let reach = along_v.len() / 2;
    let mut out = vec![0f32; plane.len()];
    for (j, row) in out.chunks_mut(nu).enumerate() {
        for (tap, weight) in along_v.iter().enumerate() {
            let from = (j + tap).saturating_sub(reach).min(nv - 1);
            for (value, near) in row.iter_mut().zip(&rows[from * nu..]) {
                *value += weight * near;
            }
        }
    }
    out
}

fn resampled(plane: &[f32], count: [usize; 2], step: [f64; 2], size: [usize; 2]) -> Vec<f32> {
    let mut out = Vec::with_capacity(size[0] * size[1]);
    for j in 0..size[1] {
        for i in 0..size[0] {
            let (u, v) = (i as f64 * PIXEL_MM / step[0], j as f64 * PIXEL_MM / step[1]);
            let last = [(count[0] - 1) as f64, (count[1] - 1) as f64];
            let value = bilinear(plane, count, u.min(last[0]), v.min(last[1]));
            out.push(value.map_or(f32::NAN, |value| value as f32));
        }
    }
    out
}
