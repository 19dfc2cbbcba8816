//! One line looked at closely: the mean cross-section along it, its circle, and how it runs along z.
//!
//! Noise falls with the number of cross-sections averaged, so a rod that differs from its surroundings by
//! a few HU is still measured well here, though no single slice shows it.

use std::ops::Range;

use super::lines::{Axis, Line, fitted};
use super::slabs::{Slabs, bilinear};

/// Half width of the mean cross-section, mm (pixels of 1 mm).
const HALF_MM: usize = 22;
/// Directions that a circle is looked at in.
const DIRECTIONS: usize = 32;
/// Distance of the two points that a radial derivative is taken from, mm.
const STEP_MM: f64 = 1.0;
/// The ring of surrounding plastic is read at these distances from the rod's edge, mm.
const RING_MM: [f64; 2] = [2.0, 3.0];
/// How far the radius on a close look may lie from that of the circles, mm.
const RADIUS_SLACK_MM: f64 = 1.5;
/// Part of the rod's edge that stays out of every measurement, mm.
pub(super) const RIM_MM: f64 = 2.5;
/// Largest radius of the core that is measured, mm (Ogo).
pub(super) const CORE_MM: f64 = 5.0;
/// How far a CT number along the rod may lie from its median, HU, or as a share of the rod's contrast.
const ALONG_HU: f64 = 18.0;
const ALONG_SHARE: f64 = 0.08;

/// Mean cross-section along a line.
pub(super) struct Section {
    pixels: Vec<f32>,
    directions: [[f64; 2]; DIRECTIONS],
}

/// A circle in a mean cross-section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    /// Its centre, mm from the line.
    pub du: f64,
    pub dv: f64,
    pub radius_mm: f64,
    /// Fall (of a bright rod) or rise (of a dark one) of the CT number outwards across it, HU/mm, that
    /// three quarters of the directions reach.
    pub edge: f64,
}

/// What lies inside and round a circle, HU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    /// Mean and standard deviation over the core.
    pub inside: f64,
    pub inside_sd: f64,
    /// Median over the ring round it.
    pub around: f64,
    /// Share of the ring near its median.
    pub around_share: f64,
}

/// Radius of the core of a rod that is measured, mm.
pub(super) fn core_mm(radius_mm: f64) -> f64 {
    (radius_mm - RIM_MM).clamp(2.0, CORE_MM)
}

fn directions() -> [[f64; 2]; DIRECTIONS] {
    std::array::from_fn(|d| {
        let angle = 2.0 * std::f64::consts::PI * d as f64 / DIRECTIONS as f64;
        [angle.cos(), angle.sin()]
    })
}

/// Middle value; the mean of the two middle ones for an even number.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    Some(if values.len() % 2 == 1 {
        values[half]
    } else {
        0.5 * (values[half - 1] + values[half])
    })
}

impl Section {
    pub fn along(slabs: &Slabs<'_>, axis: &Axis, over: impl Iterator<Item = usize>) -> Self {
        let width = 2 * HALF_MM + 1;
        let mut sums = vec![0f64; width * width];
        let mut counts = vec![0u32; width * width];
        for s in over {
            let [u, v] = axis.at(slabs.w_mm[s]);
            for (at, (sum, count)) in sums.iter_mut().zip(&mut counts).enumerate() {
                let du = (at % width) as f64 - HALF_MM as f64;
                let dv = (at / width) as f64 - HALF_MM as f64;
                if let Some(hu) = slabs.at(s, u + du, v + dv) {
                    *sum += hu;
                    *count += 1;
                }
            }
        }
        let pixels = sums
            .iter()
            .zip(&counts)
            .map(|(sum, &count)| {
                if count == 0 {
                    f32::NAN
                } else {
                    (sum / f64::from(count)) as f32
                }
            })
            .collect();
        Self {
            pixels,
            directions: directions(),
        }
    }

    fn at(&self, du: f64, dv: f64) -> Option<f64> {
        let width = 2 * HALF_MM + 1;
        bilinear(
            &self.pixels,
            [width, width],
            du + HALF_MM as f64,
            dv + HALF_MM as f64,
        )
    }

    /// The clearest circle, bright or dark, with its centre within `search_mm` of `start`.
    pub fn clearest(
        &self,
        start: [f64; 2],
        search_mm: f64,
        radii_mm: [f64; 2],
        bright: bool,
    ) -> Option<Ring> {
        let mut best: Option<Ring> = None;
        let mut around = start;
        let mut reach = search_mm;
        let mut radii = radii_mm;
        for step in [1.0, 0.25] {
            let moves = (reach / step).round() as i64;
            let sizes = ((radii[1] - radii[0]) / step).round() as i64;
            for i in -moves..=moves {
                for j in -moves..=moves {
                    for r in 0..=sizes {
                        let ring = self.ring(
                            around[0] + i as f64 * step,
                            around[1] + j as f64 * step,
                            radii[0] + r as f64 * step,
                            bright,
                        );
                        let Some(ring) = ring else { continue };
                        if best.as_ref().is_none_or(|b| ring.edge > b.edge) {
                            best = Some(ring);
                        }
                    }
                }
            }
            let found = best?;
            around = [found.du, found.dv];
            reach = 1.0;
            radii = [
                (found.radius_mm - 1.0).max(radii_mm[0]),
                (found.radius_mm + 1.0).min(radii_mm[1]),
            ];
        }
        best
    }

    /// The edge along one circle; `None` where a quarter of it is outside the field.
    ///
    /// What three quarters of the directions reach, not the mean: the face of the phantom against air is a
    /// far greater step than the rod's own edge, but never goes round.
    fn ring(&self, du: f64, dv: f64, radius_mm: f64, bright: bool) -> Option<Ring> {
        let mut steps = [0.0; DIRECTIONS];
        let mut count = 0;
        let sign = if bright { -1.0 } else { 1.0 };
        for [cu, cv] in self.directions {
            let at = |r: f64| self.at(du + r * cu, dv + r * cv);
            if let (Some(out), Some(inner)) = (at(radius_mm + STEP_MM), at(radius_mm - STEP_MM)) {
                steps[count] = sign * (out - inner) / (2.0 * STEP_MM);
                count += 1;
            }
        }
        if 4 * count < 3 * DIRECTIONS {
            return None;
        }
        let steps = &mut steps[..count];
        steps.sort_by(f64::total_cmp);
        Some(Ring {
            du,
            dv,
            radius_mm,
            edge: steps[count / 4],
        })
    }

    /// Levels inside and round a circle; `None` where its core leaves the field.
    pub fn levels(&self, [du, dv]: [f64; 2], radius_mm: f64) -> Option<Levels> {
        let core = core_mm(radius_mm);
        let reach = core.floor() as i64;
        let mut inside = Vec::new();
        for i in -reach..=reach {
            for j in -reach..=reach {
                let (i, j) = (i as f64, j as f64);
                if i.hypot(j) <= core {
                    inside.push(self.at(du + i, dv + j)?);
                }
            }
        }
        let count = inside.len() as f64;
        let mean = inside.iter().sum::<f64>() / count;
        let variance = inside.iter().map(|hu| (hu - mean).powi(2)).sum::<f64>() / count;
        let mut ring: Vec<f64> = self
            .directions
            .iter()
            .flat_map(|[cu, cv]| RING_MM.map(|r| (r + radius_mm, cu, cv)))
            .filter_map(|(r, cu, cv)| self.at(du + r * cu, dv + r * cv))
            .collect();
        let around = median(&mut ring)?;
        let near = RING_NEAR_HU.max(RING_NEAR_SHARE * (mean - around).abs());
        let agreeing = ring
            .iter()
            .filter(|hu| (*hu - around).abs() <= near)
            .count();
        Some(Levels {
            inside: mean,
            inside_sd: variance.sqrt(),
            around,
            around_share: agreeing as f64 / ring.len() as f64,
        })
    }
}

/// How near the ring's median a pixel of the ring must be to agree with it, HU, or as a share of the
/// rod's contrast.
const RING_NEAR_HU: f64 = 15.0;
const RING_NEAR_SHARE: f64 = 0.06;

/// Mean over the core of a rod in every slab; `None` where the core leaves the field.
pub(super) fn profile(slabs: &Slabs<'_>, axis: &Axis, radius_mm: f64) -> Vec<Option<f64>> {
    let core = core_mm(radius_mm);
    let reach = core.floor() as i64;
    (0..slabs.planes.len())
        .map(|s| {
            let [u, v] = axis.at(slabs.w_mm[s]);
            let (mut sum, mut count) = (0.0, 0);
            for i in -reach..=reach {
                for j in -reach..=reach {
                    let (i, j) = (i as f64, j as f64);
                    if i.hypot(j) <= core {
                        sum += slabs.at(s, u + i, v + j)?;
                        count += 1;
                    }
                }
            }
            Some(sum / f64::from(count))
        })
        .collect()
}

/// The slabs round `seen` in which the rod goes on as it is there.
pub(super) fn extent(
    profile: &[Option<f64>],
    seen: &[usize],
    contrast_hu: f64,
) -> Option<Range<usize>> {
    let mut values: Vec<f64> = seen.iter().filter_map(|&s| profile[s]).collect();
    let middle = median(&mut values)?;
    let reach = ALONG_HU.max(ALONG_SHARE * contrast_hu.abs());
    let goes_on = |s: usize| profile[s].is_some_and(|hu| (hu - middle).abs() <= reach);
    let mut best = 0..0;
    let mut s = 0;
    while s < profile.len() {
        let start = s;
        while s < profile.len() && goes_on(s) {
            s += 1;
        }
        if s - start > best.len() {
            best = start..s;
        }
        s += 1;
    }
    (!best.is_empty()).then_some(best)
}

/// Standard deviation of a profile over a range of slabs, HU, its straight trend taken out; infinite where fewer than three slabs
/// leave nothing to tell it from.
pub(super) fn scatter(slabs: &Slabs<'_>, profile: &[Option<f64>], over: &Range<usize>) -> f64 {
    let points: Vec<[f64; 3]> = over
        .clone()
        .filter_map(|s| profile[s].map(|hu| [slabs.w_mm[s], hu, 0.0]))
        .collect();
    if points.len() < 3 {
        return f64::INFINITY;
    }
    let trend = fitted(&points);
    let square: f64 = points
        .iter()
        .map(|p| (p[1] - trend.at(p[0])[0]).powi(2))
        .sum();
    (square / (points.len() - 2) as f64).sqrt()
}

/// The line moved onto the circle it surrounds: the centre and tilt from the lower and the upper half.
pub(super) fn centred(slabs: &Slabs<'_>, line: &Line, radii_mm: [f64; 2]) -> Option<(Axis, Ring)> {
    let (axis, over) = (&line.axis, &line.slabs);
    let radii_mm = [
        (line.radius_mm - RADIUS_SLACK_MM).max(radii_mm[0]),
        (line.radius_mm + RADIUS_SLACK_MM).min(radii_mm[1]),
    ];
    let whole = Section::along(slabs, axis, over.iter().copied()).clearest(
        [0.0; 2],
        3.0,
        radii_mm,
        line.bright,
    )?;
    let near = [
        (whole.radius_mm - 1.0).max(radii_mm[0]),
        (whole.radius_mm + 1.0).min(radii_mm[1]),
    ];
    let (low, high) = over.split_at(over.len() / 2);
    let points: Option<Vec<[f64; 3]>> = [low, high]
        .iter()
        .map(|half| {
            let section = Section::along(slabs, axis, half.iter().copied());
            let ring = section.clearest([whole.du, whole.dv], 1.0, near, line.bright)?;
            let w = half.iter().map(|&s| slabs.w_mm[s]).sum::<f64>() / half.len() as f64;
            let [u, v] = axis.at(w);
            Some([w, u + ring.du, v + ring.dv])
        })
        .collect();
    let axis = fitted(&points?);
    let section = Section::along(slabs, &axis, over.iter().copied());
    let ring = section.clearest([0.0; 2], 1.0, near, line.bright)?;
    let w = over.iter().map(|&s| slabs.w_mm[s]).sum::<f64>() / over.len() as f64;
    let [u, v] = axis.at(w);
    Some((
        axis.moved_to([u + ring.du, v + ring.dv], w),
        Ring {
            du: 0.0,
            dv: 0.0,
            ..ring
        },
    ))
}
