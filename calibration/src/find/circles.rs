//! Circles in one cross-section, by votes of the gradient (Hough transform for circles of several radii).
//!
//! Every pixel with a clear gradient votes for the centres that lie a radius away along it, on the bright
//! and on the dark side. Votes are counted as the share of the circle's circumference that cast one, so
//! that the measure does not depend on the contrast of the rod.

use super::slabs::PIXEL_MM;

/// Least gradient that votes, HU/mm: in one slab, and in the mean of many.
pub(super) const GRADIENT_OF_SLAB: f32 = 5.0;
pub(super) const GRADIENT_OF_MEAN: f32 = 2.0;
/// CT numbers outside this range are clamped before the gradient is taken.
const CLAMP_HU: [f32; 2] = [-250.0, 1800.0];
/// Least share of the circumference that must vote.
const LEAST_SHARE: f32 = 0.4;
/// Most circles kept in a cross-section, the best.
const MOST: usize = 60;
/// No two circles of one cross-section are closer than this, pixels.
const APART: usize = 4;

/// A circle in one cross-section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle {
    /// Centre, mm.
    pub u: f64,
    pub v: f64,
    pub radius_mm: f64,
    /// Whether it is brighter than what lies round it.
    pub bright: bool,
    /// CT number of its middle.
    pub hu: f64,
}

/// The circles of a plane with a radius in `radii` (pixels), best first.
pub(super) fn circles(
    plane: &[f32],
    [nu, nv]: [usize; 2],
    radii: std::ops::RangeInclusive<usize>,
    least_gradient: f32,
) -> Vec<Circle> {
    if nu < 8 || nv < 8 {
        return Vec::new();
    }
    let voters = voters(plane, [nu, nv], least_gradient);
    let mut best = vec![0f32; nu * nv];
    // Twice the radius, and one more for bright.
    let mut kind = vec![0f32; nu * nv];
    let mut votes = vec![0f32; nu * nv];
    let mut triple = vec![0f32; nu * nv];
    for radius in radii {
        let whole = (2.0 * std::f64::consts::PI * radius as f64) as f32;
        for bright in [true, false] {
            votes.fill(0.0);
            let reach = if bright {
                radius as f32
            } else {
                -(radius as f32)
            };
            for &(i, j, gu, gv) in &voters {
                let (u, v) = (i + reach * gu + 0.5, j + reach * gv + 0.5);
                if u >= 0.0 && v >= 0.0 && (u as usize) < nu && (v as usize) < nv {
                    votes[u as usize + nu * v as usize] += 1.0;
                }
            }
            // Votes of three columns, then of three rows: the neighbourhood of each pixel.
            for (sums, row) in triple.chunks_mut(nu).zip(votes.chunks(nu)) {
                for i in 1..nu - 1 {
                    sums[i] = row[i - 1] + row[i] + row[i + 1];
                }
            }
            let this = (radius as f32).mul_add(2.0, f32::from(u8::from(bright)));
            for j in 1..nv - 1 {
                let row = |j: usize| &triple[nu * j..nu * (j + 1)];
                let (above, here, below) = (row(j - 1), row(j), row(j + 1));
                let best = &mut best[nu * j..nu * (j + 1)];
                let kind = &mut kind[nu * j..nu * (j + 1)];
                for i in 1..nu - 1 {
                    let share = (above[i] + here[i] + below[i]) / whole;
                    let better = share > best[i];
                    best[i] = if better { share } else { best[i] };
                    kind[i] = if better { this } else { kind[i] };
                }
            }
        }
    }
    peaks(&best, [nu, nv])
        .into_iter()
        .map(|at| {
            let kind = kind[at] as u32;
            Circle {
                u: (at % nu) as f64 * PIXEL_MM,
                v: (at / nu) as f64 * PIXEL_MM,
                radius_mm: f64::from(kind / 2) * PIXEL_MM,
                bright: kind % 2 == 1,
                hu: f64::from(middle(plane, nu, at)),
            }
        })
        .collect()
}

/// Pixels that vote, with the unit gradient.
fn voters(plane: &[f32], [nu, nv]: [usize; 2], least_gradient: f32) -> Vec<(f32, f32, f32, f32)> {
    let value = |i: usize, j: usize| plane[i + nu * j].clamp(CLAMP_HU[0], CLAMP_HU[1]);
    let mut voters = Vec::new();
    for j in 1..nv - 1 {
        for i in 1..nu - 1 {
            let gu = 0.5 * (value(i + 1, j) - value(i - 1, j));
            let gv = 0.5 * (value(i, j + 1) - value(i, j - 1));
            let size = gu.hypot(gv);
            if size >= least_gradient {
                voters.push((i as f32, j as f32, gu / size, gv / size));
            }
        }
    }
    voters
}

/// Pixels that are the best of their neighbourhood, best first.
fn peaks(best: &[f32], [nu, nv]: [usize; 2]) -> Vec<usize> {
    let mut found: Vec<usize> = (0..best.len())
        .filter(|&at| {
            let (i, j) = (at % nu, at / nu);
            best[at] >= LEAST_SHARE
                && (j.saturating_sub(APART)..=(j + APART).min(nv - 1)).all(|jj| {
                    (i.saturating_sub(APART)..=(i + APART).min(nu - 1)).all(|ii| {
                        let other = ii + nu * jj;
                        best[other] < best[at] || (best[other] == best[at] && other >= at)
                    })
                })
        })
        .collect();
    found.sort_by(|&a, &b| best[b].total_cmp(&best[a]).then(a.cmp(&b)));
    found.truncate(MOST);
    found
}

/// Mean of the nine pixels round a centre.
fn middle(plane: &[f32], nu: usize, at: usize) -> f32 {
    let row = |at: usize| plane[at - 1] + plane[at] + plane[at + 1];
    (row(at - nu) + row(at) + row(at + nu)) / 9.0
}

impl Circle {
    /// Whether two circles may be cuts of one rod.
    pub fn is_like(&self, other: &Self) -> bool {
        self.bright == other.bright
            && (self.radius_mm - other.radius_mm).abs() <= 2.0
            && (self.hu - other.hu).abs() <= 50.0
    }
}
