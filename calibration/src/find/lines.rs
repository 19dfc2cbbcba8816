//! Circles of neighbouring cross-sections linked into straight lines.

use super::circles::Circle;
use super::section::median;
use super::slabs::Slabs;

/// Steepest line, as the tangent of its angle with the head-foot axis of the scan (10.2 degrees).
pub(super) const STEEPEST: f64 = 0.18;
/// How far a circle may lie from its line, mm.
const REACH_MM: f64 = 1.6;
/// Distance of the two circles that propose a line, mm.
const BASE_MM: [f64; 2] = [10.0, 30.0];
/// Fewest cross-sections of a line.
const LEAST_SLABS: usize = 4;
/// Shortest line, mm.
pub(super) const LEAST_LENGTH_MM: f64 = 14.0;
/// Most lines kept, the longest.
const MOST: usize = 60;

/// A straight line through the stack: `(u, v) = (u0, v0) + (du, dv) w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub u0: f64,
    pub v0: f64,
    pub du: f64,
    pub dv: f64,
}

impl Axis {
    pub fn at(&self, w: f64) -> [f64; 2] {
        [self.u0 + self.du * w, self.v0 + self.dv * w]
    }

    /// The line through `(u, v)` at `w`, parallel to this one.
    pub fn moved_to(&self, [u, v]: [f64; 2], w: f64) -> Self {
        Self {
            u0: u - self.du * w,
            v0: v - self.dv * w,
            ..*self
        }
    }
}

/// A line and the cross-sections in which it was seen.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub axis: Axis,
    pub slabs: Vec<usize>,
    pub bright: bool,
    /// Median radius of its circles, mm.
    pub radius_mm: f64,
}

/// The lines through the circles of every cross-section, longest first.
pub(super) fn lines(slabs: &Slabs<'_>, circles: &[Vec<Circle>]) -> Vec<Line> {
    let mut free: Vec<Vec<bool>> = circles.iter().map(|c| vec![true; c.len()]).collect();
    let mut proposed: Vec<(usize, Axis, Circle)> = Vec::new();
    for (s, here) in circles.iter().enumerate() {
        for (t, there) in circles.iter().enumerate().skip(s + 1) {
            let apart = slabs.w_mm[t] - slabs.w_mm[s];
            if apart < BASE_MM[0] {
                continue;
            }
            if apart > BASE_MM[1] {
                break;
            }
            for a in here {
                for b in there.iter().filter(|b| a.is_like(b)) {
                    let (du, dv) = ((b.u - a.u) / apart, (b.v - a.v) / apart);
                    if du.hypot(dv) > STEEPEST {
                        continue;
                    }
                    let w = slabs.w_mm[s];
                    let axis = Axis {
                        u0: a.u - du * w,
                        v0: a.v - dv * w,
                        du,
                        dv,
                    };
                    let count = on_line(slabs, circles, &free, &axis, a).len();
                    if count >= LEAST_SLABS {
                        proposed.push((count, axis, *a));
                    }
                }
            }
        }
    }
    // A stable sort: lines of equal length stay in the order of their proposal.
    proposed.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    let mut found = Vec::new();
    for (_, axis, like) in proposed {
        if found.len() == MOST {
            break;
        }
        let on = on_line(slabs, circles, &free, &axis, &like);
        let Some((axis, on)) = settled(slabs, circles, &free, on, &like) else {
            continue;
        };
        for &(s, c) in &on {
            free[s][c] = false;
        }
        let mut radii: Vec<f64> = on.iter().map(|&(s, c)| circles[s][c].radius_mm).collect();
        found.push(Line {
            axis,
            slabs: on.iter().map(|&(s, _)| s).collect(),
            bright: like.bright,
            radius_mm: median(&mut radii).unwrap_or(like.radius_mm),
        });
    }
    found
}

/// The free circles on a line, the nearest of each cross-section.
fn on_line(
    slabs: &Slabs<'_>,
    circles: &[Vec<Circle>],
    free: &[Vec<bool>],
    axis: &Axis,
    like: &Circle,
) -> Vec<(usize, usize)> {
    let mut on = Vec::new();
    for (s, here) in circles.iter().enumerate() {
        let [u, v] = axis.at(slabs.w_mm[s]);
        let mut nearest: Option<(f64, usize)> = None;
        for (c, circle) in here.iter().enumerate() {
            let apart = (circle.u - u).hypot(circle.v - v);
            if apart <= REACH_MM
                && free[s][c]
                && like.is_like(circle)
                && nearest.is_none_or(|(least, _)| apart < least)
            {
                nearest = Some((apart, c));
            }
        }
        if let Some((_, c)) = nearest {
            on.push((s, c));
        }
    }
    on
}

/// Fits the line to its circles and collects them again, twice.
fn settled(
    slabs: &Slabs<'_>,
    circles: &[Vec<Circle>],
    free: &[Vec<bool>],
    mut on: Vec<(usize, usize)>,
    like: &Circle,
) -> Option<(Axis, Vec<(usize, usize)>)> {
    let mut axis = None;
    for _ in 0..2 {
        if on.len() < LEAST_SLABS {
            return None;
        }
        let points: Vec<[f64; 3]> = on
            .iter()
            .map(|&(s, c)| [slabs.w_mm[s], circles[s][c].u, circles[s][c].v])
            .collect();
        let fitted = fitted(&points);
        on = on_line(slabs, circles, free, &fitted, like);
        axis = Some(fitted);
    }
    let (first, last) = (on.first()?.0, on.last()?.0);
    let length = slabs.w_mm[last] - slabs.w_mm[first] + slabs.thickness_mm;
    let axis = axis.filter(|axis| axis.du.hypot(axis.dv) <= STEEPEST)?;
    (on.len() >= LEAST_SLABS && length >= LEAST_LENGTH_MM).then_some((axis, on))
}

/// Least squares through points `[w, u, v]`; the caller sees to two different `w`.
pub(super) fn fitted(points: &[[f64; 3]]) -> Axis {
    let count = points.len() as f64;
    let mean = |k: usize| points.iter().map(|p| p[k]).sum::<f64>() / count;
    let [w, u, v] = [0, 1, 2].map(mean);
    let sum =
        |k: usize, mean: f64| -> f64 { points.iter().map(|p| (p[0] - w) * (p[k] - mean)).sum() };
    let sum_ww = sum(0, w);
    let (du, dv) = if sum_ww > 0.0 {
        (sum(1, u) / sum_ww, sum(2, v) / sum_ww)
    } else {
        (0.0, 0.0)
    };
    Axis {
        u0: u - du * w,
        v0: v - dv * w,
        du,
        dv,
    }
}
