//! The lesser trochanter: its level, and the side it tells.

use super::femur::Line;
use super::head::Sphere;
use super::points::{BonePoints, range, slab_mm};
use super::side::Side;

/// Lesser trochanter, as levels along the shaft axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LesserTrochanter {
    /// Level at which it stands out most, mm along [`super::FemurLandmarks::shaft`].
    pub tip_mm: f64,
    /// Level of its lower margin, where the shaft begins, mm along the shaft.
    pub lower_margin_mm: f64,
    /// How far it stands out over the opposite surface, mm.
    pub prominence_mm: f64,
    /// The side it belongs to: behind is towards proximal x medial on a right femur.
    pub side: Side,
}

/// How far the surface behind medial stands out over the surface in front of it, level by level.
#[derive(Clone, Debug)]
pub(super) struct Protrusion {
    /// Levels along the shaft, mm, ascending.
    levels_mm: Vec<f64>,
    /// Largest distance from the axis 20-80 degrees to one side of medial minus that to the other, mm.
    /// Positive: towards proximal x medial, which is behind on a right femur.
    difference_mm: Vec<f64>,
}

/// Smallest difference taken for a lesser trochanter, mm. It stands out by 8-15 mm.
const SMALLEST_TROCHANTER_MM: f64 = 3.0;

impl Protrusion {
    pub fn of(bone: &BonePoints, shaft: &Line, head: &Sphere) -> Option<Self> {
        let medial = shaft.away(head.centre_mm).try_normalize(1e-6)?;
        let turned = shaft.direction.cross(&medial);
        let centre = shaft.along(head.centre_mm);
        let (end, _) = range(bone.voxels_mm.iter().map(|&p| shaft.along(p)));
        // The tip lies about two and a half head radii (45-60 mm) below the head centre. Higher up
        // the crest between the trochanters and the front of the neck stand out in their own way.
        let low = (centre - 3.7 * head.radius_mm).max(end);
        let high = centre - 1.6 * head.radius_mm;
        let step = slab_mm(bone, shaft.direction);
        if high - low < 2.0 * step {
            return None;
        }
        let count = ((high - low) / step) as usize;
        let mut furthest = vec![[0.0f64; 2]; count];
        for &p in &bone.surface_mm {
            let level = (shaft.along(p) - low) / step;
            if level < 0.0 || level as usize >= count {
                continue;
            }
            let out = shaft.away(p);
            let angle = out.dot(&turned).atan2(out.dot(&medial)).to_degrees();
            if (20.0..80.0).contains(&angle.abs()) {
                let sector = &mut furthest[level as usize][usize::from(angle < 0.0)];
                *sector = sector.max(out.norm());
            }
        }
        let raw: Vec<f64> = furthest
            .iter()
            .map(|[ahead, behind]| ahead - behind)
            .collect();
        let difference_mm = (0..count)
            .map(|n| {
                let window = &raw[n.saturating_sub(1)..(n + 2).min(count)];
                window.iter().sum::<f64>() / window.len() as f64
            })
            .collect();
        Some(Self {
            levels_mm: (0..count).map(|n| low + (n as f64 + 0.5) * step).collect(),
            difference_mm,
        })
    }

    /// Place and size of the largest difference that falls off again above it.
    fn peak(&self) -> Option<(usize, f64)> {
        let d = &self.difference_mm;
        let stands_out = |&n: &usize| {
            d[n].abs() >= SMALLEST_TROCHANTER_MM
                && d[n].abs() > d[n + 1].abs()
                && (n == 0 || d[n].abs() >= d[n - 1].abs())
        };
        (0..d.len().saturating_sub(1))
            .filter(stands_out)
            .max_by(|&a, &b| d[a].abs().total_cmp(&d[b].abs()))
            .map(|n| (n, d[n]))
    }

    /// The lesser trochanter, when the bone goes on below it.
    pub fn lesser_trochanter(&self) -> Option<LesserTrochanter> {
        let (tip, value) = self.peak()?;
        let margin = (0..tip)
            .rev()
            .find(|&n| self.difference_mm[n] * value.signum() < 0.3 * value.abs())?;
        Some(LesserTrochanter {
            tip_mm: self.levels_mm[tip],
            lower_margin_mm: self.levels_mm[margin],
            prominence_mm: value.abs(),
            side: if value > 0.0 { Side::Right } else { Side::Left },
        })
    }
}
