//! Slabs across the body, and circles in them.

use imaging::distance::distance_to_mask_mm;
use imaging::filter::gaussian;
use imaging::{Grid, Mask, Volume};
use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::error::Result;
use crate::find::bilinear;

/// Thickness of a slab and side of its pixels, mm: means over so much have less noise than blood differs from fat.
const SLAB_MM: f64 = 4.0;
const PIXEL_MM: f64 = 1.5;
/// In-plane smoothing, mm; more would close the thin fat round a vessel.
const SIGMA_MM: f64 = 1.2;
/// Values are cut to this range, HU: a little gas or calcium must not pull the pixels round it.
const CUT_HU: [f32; 2] = [-250.0, 1500.0];
/// Rays of a circle, one every 10 degrees, and the step along them, mm.
const RAYS: usize = 36;
const RAY_STEP_MM: f64 = 0.5;
/// Fewest rays that a circle is fitted to.
const LEAST_RAYS: usize = 12;
/// A ray ends on the circle within this share of the radius, or this many mm if that is more.
const ON_CIRCLE: f64 = 0.15;
const ON_CIRCLE_MM: f64 = 1.5;

/// The scan in slabs across its head-foot axis.
pub(super) struct Slabs {
    /// Array axes of the scan: two in the plane of a slab, and the head-foot one.
    pub(super) axes: [usize; 3],
    /// Voxels of the scan in a pixel, along `axes`.
    pub(super) step: [usize; 3],
    /// Spacing of the pixels and of the slabs, mm.
    pub(super) spacing_mm: [f64; 3],
    /// Size along `axes`.
    pub(super) size: [usize; 3],
    image: Vec<f32>,
}

impl Slabs {
    pub(super) fn of(ct: &Volume<f32>, head_foot: usize) -> Result<Self> {
        let fine = &ct.grid;
        let axes = match head_foot {
            0 => [1, 2, 0],
            1 => [0, 2, 1],
            _ => [0, 1, 2],
        };
        let wanted = [PIXEL_MM, PIXEL_MM, SLAB_MM];
        let step: [usize; 3] = std::array::from_fn(|a| {
            let voxels = (wanted[a] / fine.spacing_mm[axes[a]]).round() as usize;
            voxels.clamp(1, fine.size[axes[a]])
        });
        // What is left over at an end is no full pixel.
        let size: [usize; 3] = std::array::from_fn(|a| fine.size[axes[a]] / step[a]);
        let spacing_mm: [f64; 3] =
            std::array::from_fn(|a| fine.spacing_mm[axes[a]] * step[a] as f64);
        let mut stride = [0; 3];
        let strides = [1, fine.size[0], fine.size[0] * fine.size[1]];
        (0..3).for_each(|a| stride[a] = strides[axes[a]]);
        let voxels = (step[0] * step[1] * step[2]) as f64;
        let pixel = |pixel: usize| {
            let [u, v, w] = [
                pixel % size[0],
                pixel / size[0] % size[1],
                pixel / (size[0] * size[1]),
            ];
            let first = u * step[0] * stride[0] + v * step[1] * stride[1] + w * step[2] * stride[2];
            let mut sum = 0f64;
            for c in 0..step[2] {
                for b in 0..step[1] {
                    for a in 0..step[0] {
                        let hu = ct.data[first + a * stride[0] + b * stride[1] + c * stride[2]];
                        // NaN counts as padding.
                        let hu = if hu.is_nan() { CUT_HU[0] } else { hu };
                        sum += f64::from(hu.clamp(CUT_HU[0], CUT_HU[1]));
                    }
                }
            }
            (sum / voxels) as f32
        };
        let data: Vec<f32> = (0..size.iter().product())
            .into_par_iter()
            .map(pixel)
            .collect();
        let coarse = Volume::new(Grid::axis_aligned(size, spacing_mm), data)?;
        let image = gaussian(&coarse, [SIGMA_MM, SIGMA_MM, 0.0], 3.0)?.data;
        Ok(Self {
            axes,
            step,
            spacing_mm,
            size,
            image,
        })
    }

    /// One slab.
    pub(super) fn slab(&self, number: usize) -> Slab<'_> {
        let pixels = self.size[0] * self.size[1];
        Slab {
            size: [self.size[0], self.size[1]],
            spacing_mm: [self.spacing_mm[0], self.spacing_mm[1]],
            image: &self.image[number * pixels..(number + 1) * pixels],
        }
    }
}

/// The mean image of a slab; places in it are mm from its first pixel.
pub(super) struct Slab<'a> {
    size: [usize; 2],
    spacing_mm: [f64; 2],
    image: &'a [f32],
}

/// A circle in a slab, at which the CT number leaves a band.
#[derive(Clone, Debug)]
pub(super) struct Circle {
    pub(super) centre_mm: [f64; 2],
    pub(super) radius_mm: f64,
    /// Share of its rays that end on it.
    pub(super) share: f64,
    /// Share of its rays that end on it at something below the band, and above it.
    pub(super) below: f64,
    pub(super) above: f64,
    /// Longest arc without a border, degrees.
    pub(super) open_deg: f64,
    /// Sums of CT numbers and pixels within 0.7 of the radius: right, left, down, up, core and rim.
    pub(super) parts: [(f64, f64); 6],
}

impl Circle {
    /// Mean of the disc, HU.
    pub(super) fn mean_hu(&self) -> f64 {
        let [core, rim] = [self.parts[4], self.parts[5]];
        (core.0 + rim.0) / (core.1 + rim.1)
    }
}

/// Distance between two places, mm.
pub(super) fn apart(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

impl Slab<'_> {
    /// CT number at a place; `None` outside the slab.
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> Option<f64> {
        let [u, v] = [x / self.spacing_mm[0], y / self.spacing_mm[1]];
        bilinear(self.image, self.size, u, v)
    }

    /// Circles with radii of `radii_mm` inside which CT numbers stay in `band_hu`, best first; `near` says which middles are looked at,
    /// and `least_above` which share of the first rays must end above the band for a second look.
    pub(super) fn circles(
        &self,
        band_hu: [f64; 2],
        radii_mm: [f64; 2],
        least_above: f64,
        near: impl Fn([f64; 2]) -> bool,
        fits: impl Fn(&Circle) -> bool,
    ) -> Result<Vec<Circle>> {
        let mut circles = Vec::new();
        for (middle, radius) in self.middles(band_hu, radii_mm, near)? {
            let circle = self.fit(middle, radius, band_hu, least_above);
            circles.extend(circle.filter(|circle| {
                (radii_mm[0]..=radii_mm[1]).contains(&circle.radius_mm) && fits(circle)
            }));
        }
        // A stable sort: of equals the first in the image stays first.
        circles.sort_by(|a, b| b.share.total_cmp(&a.share));
        let mut kept: Vec<Circle> = Vec::new();
        for circle in circles {
            let other = |k: &Circle| apart(k.centre_mm, circle.centre_mm) > 0.5 * k.radius_mm;
            if kept.iter().all(other) {
                kept.push(circle);
            }
        }
        Ok(kept)
    }

    /// Pixels that lie further from the border of the band than their neighbours, with that distance.
    fn middles(
        &self,
        band_hu: [f64; 2],
        radii_mm: [f64; 2],
        near: impl Fn([f64; 2]) -> bool,
    ) -> Result<Vec<([f64; 2], f64)>> {
        let [ni, nj] = self.size;
        let [di, dj] = self.spacing_mm;
        let outside: Vec<bool> = self
            .image
            .iter()
            .map(|hu| !(band_hu[0]..=band_hu[1]).contains(&f64::from(*hu)))
            .collect();
        if !outside.contains(&true) {
            return Ok(Vec::new());
        }
        let grid = Grid::axis_aligned([ni, nj, 1], [di, dj, 1.0]);
        let distance = distance_to_mask_mm(&Mask::new(grid, outside)?)?.data;
        let mut middles = Vec::new();
        for j in 0..nj {
            for i in 0..ni {
                let own = distance[i + ni * j];
                let reach = (radii_mm[0] - 1.5)..=(radii_mm[1] + 2.0);
                let place = [i as f64 * di, j as f64 * dj];
                if !reach.contains(&f64::from(own)) || !near(place) {
                    continue;
                }
                let around = |b: usize| {
                    let row = b * ni;
                    distance[row + i.saturating_sub(1)..=row + (i + 1).min(ni - 1)].iter()
                };
                let highest = (j.saturating_sub(1)..=(j + 1).min(nj - 1))
                    .flat_map(around)
                    .all(|other| *other <= own);
                if highest {
                    middles.push((place, f64::from(own)));
                }
            }
        }
        Ok(middles)
    }

    /// Where each ray leaves the band: distance, and whether to something above it.
    fn rays(
        &self,
        middle: [f64; 2],
        radius: f64,
        band_hu: [f64; 2],
    ) -> [Option<(f64, bool)>; RAYS] {
        let steps = ((1.5 * radius + 4.0) / RAY_STEP_MM) as usize;
        std::array::from_fn(|ray| {
            let (sin, cos) = angle(ray).sin_cos();
            for step in 0..steps {
                let t = step as f64 * RAY_STEP_MM;
                // Beyond the image nothing is known: no border.
                let hu = self.at([middle[0] + t * cos, middle[1] + t * sin])?;
                if hu < band_hu[0] || hu > band_hu[1] {
                    return Some((t, hu > band_hu[1]));
                }
            }
            None
        })
    }

    /// The circle nearest to a middle and radius; `None` where there is none.
    fn fit(
        &self,
        mut middle: [f64; 2],
        mut radius: f64,
        band_hu: [f64; 2],
        least_above: f64,
    ) -> Option<Circle> {
        for _ in 0..2 {
            let rays = self.rays(middle, radius, band_hu);
            let above = rays.iter().flatten().filter(|(_, above)| *above).count();
            if (above as f64) < least_above * RAYS as f64 {
                return None;
            }
            let ends = rays.iter().enumerate().filter_map(|(ray, end)| {
                let (t, _) = (*end)?;
                ((t - radius).abs() <= 0.35 * radius).then_some((ray, t))
            });
            let (mut normal, mut right, mut count) = (Matrix3::zeros(), Vector3::zeros(), 0);
            for (ray, t) in ends {
                let (sin, cos) = angle(ray).sin_cos();
                let row = Vector3::new(1.0, cos, sin);
                normal += row * row.transpose();
                right += row * t;
                count += 1;
            }
            if count < LEAST_RAYS {
                return None;
            }
            let fitted = normal.lu().solve(&right)?;
            radius = fitted[0].clamp(3.0, 30.0);
            middle[0] += fitted[1].clamp(-3.0, 3.0);
            middle[1] += fitted[2].clamp(-3.0, 3.0);
        }
        let tolerance = ON_CIRCLE_MM.max(ON_CIRCLE * radius);
        let ends = self
            .rays(middle, radius, band_hu)
            .map(|end| end.filter(|(t, _)| (t - radius).abs() <= tolerance));
        let share = |which: &dyn Fn(bool) -> bool| {
            let on = ends.iter().flatten().filter(|(_, above)| which(*above));
            on.count() as f64 / RAYS as f64
        };
        let (mut open, mut longest) = (0, 0);
        for ray in 0..2 * RAYS {
            open = if ends[ray % RAYS].is_some() {
                0
            } else {
                open + 1
            };
            longest = longest.max(open.min(RAYS));
        }
        Some(Circle {
            centre_mm: middle,
            radius_mm: radius,
            share: share(&|_| true),
            below: share(&|above| !above),
            above: share(&|above| above),
            open_deg: longest as f64 * 360.0 / RAYS as f64,
            parts: self.parts(middle, radius)?,
        })
    }

    /// See [`Circle::parts`]; `None` for fewer than five pixels.
    fn parts(&self, middle: [f64; 2], radius: f64) -> Option<[(f64, f64); 6]> {
        let reach = 0.7 * radius;
        let range = |a: usize| {
            let low = ((middle[a] - reach) / self.spacing_mm[a]).ceil().max(0.0) as usize;
            let high = ((middle[a] + reach) / self.spacing_mm[a]).floor().max(0.0) as usize;
            low..(high + 1).min(self.size[a])
        };
        let mut parts = [(0.0, 0.0); 6];
        for j in range(1) {
            for i in range(0) {
                let x = i as f64 * self.spacing_mm[0] - middle[0];
                let y = j as f64 * self.spacing_mm[1] - middle[1];
                let out = x.hypot(y);
                if out > reach {
                    continue;
                }
                let hu = f64::from(self.image[i + self.size[0] * j]);
                let quarter = match (x.abs() >= y.abs(), x >= 0.0, y >= 0.0) {
                    (true, true, _) => 0,
                    (true, false, _) => 1,
                    (false, _, true) => 2,
                    (false, _, false) => 3,
                };
                let ring = if out < 0.4 * radius { 4 } else { 5 };
                for part in [quarter, ring] {
                    parts[part].0 += hu;
                    parts[part].1 += 1.0;
                }
            }
        }
        (parts[4].1 + parts[5].1 >= 5.0).then_some(parts)
    }
}

fn angle(ray: usize) -> f64 {
    ray as f64 * std::f64::consts::TAU / RAYS as f64
}
