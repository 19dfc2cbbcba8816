//! Landmarks of a proximal femur, from its mask alone.
//!
//! The distal direction is not assumed: each array axis and each principal axis, both ways, is tried
//! as the way down the shaft, the landmarks that follow from it are judged (is there a sphere at the
//! other end, off the axis, with a neck at a plausible angle?), and the best trial wins.
//!
//! Definitions (all world, LPS mm):
//! - **shaft axis**: least-squares line through the centroids of the cross-sections below the lesser
//!   trochanter; on less than 20 mm of shaft through those of the distal third, with a warning.
//! - **head**: sphere fitted to the surface outside the neck (see [`super::head`]).
//! - **neck axis**: from the narrowest cross-section of the neck to the head centre.
//! - **medial**: from the shaft axis to the head centre, across the axis.
//! - **lesser trochanter**: the level at which the surface 20 to 80 degrees behind medial stands out
//!   furthest over its mirror image in front of medial. Which of the two mirror images stands out
//!   also tells left from right.

use imaging::Mask;
use nalgebra::Vector3;

use super::head::{Sphere, fit_head};
use super::points::{BonePoints, Section, mean, median, principal_axes, range, sections, slab_mm};
use super::side::SideEvidence;
use super::trochanter::{LesserTrochanter, Protrusion};
use super::{Check, Refused};

/// A straight line with a direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// A point on the line (LPS mm).
    pub point_mm: Vector3<f64>,
    /// Unit direction (LPS).
    pub direction: Vector3<f64>,
}

impl Line {
    /// Position along the line, mm, counted from its point.
    pub fn along(&self, p: Vector3<f64>) -> f64 {
        (p - self.point_mm).dot(&self.direction)
    }

    /// Vector from the line to `p`, at right angles to the line, mm.
    pub fn away(&self, p: Vector3<f64>) -> Vector3<f64> {
        let from = p - self.point_mm;
        from - self.direction * from.dot(&self.direction)
    }

    /// Least-squares line through some points, pointing along `towards`.
    fn through(points: &[Vector3<f64>], towards: Vector3<f64>) -> Option<Self> {
        if points.len() < 2 {
            return None;
        }
        let mut direction = principal_axes(points)[0];
        if direction.dot(&towards) < 0.0 {
            direction = -direction;
        }
        Some(Self {
            point_mm: mean(points),
            direction,
        })
    }
}

/// What was found on a femur.
#[derive(Clone, Debug, PartialEq)]
pub struct FemurLandmarks {
    /// Shaft axis, from distal to proximal.
    pub shaft: Line,
    /// Whether fewer than 20 mm of shaft are there, so that the axis comes from the distal third.
    pub short_shaft: bool,
    /// Length of the shaft used for the axis, mm.
    pub shaft_length_mm: f64,
    /// Head sphere.
    pub head: Sphere,
    /// Unit direction from the neck to the head centre.
    pub neck: Vector3<f64>,
    /// Angle between the neck axis and the distal direction of the shaft, degrees.
    pub neck_shaft_angle_deg: f64,
    /// Unit direction from the shaft axis to the head centre, at right angles to the axis.
    pub medial: Vector3<f64>,
    /// Distance of the head centre from the shaft axis, mm.
    pub offset_mm: f64,
    /// Lesser trochanter; `None` when the bone is cut at it or above it.
    pub lesser_trochanter: Option<LesserTrochanter>,
    /// Level of the most distal bone, mm along the shaft.
    pub distal_mm: f64,
    /// Level of the most proximal bone, mm along the shaft.
    pub proximal_mm: f64,
    /// What speaks for left and right.
    pub side: SideEvidence,
}

impl FemurLandmarks {
    /// Length of the bone along the shaft axis, mm.
    pub fn length_mm(&self) -> f64 {
        self.proximal_mm - self.distal_mm
    }

    /// Finds the landmarks of the femur in `mask`, and what to think of them.
    ///
    /// The mask must be one piece.
    ///
    /// # Errors
    /// [`Refused`] when no femoral head and shaft can be found in the mask.
    pub fn find(mask: &Mask) -> Result<(Self, Vec<Check>), Refused> {
        let bone = BonePoints::from_mask(mask);
        let landmarks = Self::search(&bone).ok_or_else(|| {
            Refused(Check::refuse(
                "femur_landmarks",
                None,
                "no femoral head on a shaft can be found in the mask; check the label and that the head is in the scan",
            ))
        })?;
        let checks = landmarks.checks(&bone);
        Ok((landmarks, checks))
    }

    /// Tries the possible ways down the shaft on a thinned bone, then refines the best on all points.
    fn search(bone: &BonePoints) -> Option<Self> {
        if bone.voxels_mm.len() < 500 {
            return None;
        }
        let thin = bone.thinned(12_000);
        let axes = bone.array_axes.into_iter().chain(thin.principal_axes());
        let mut best: Option<(f64, Vector3<f64>)> = None;
        for axis in axes {
            for distal in [axis, -axis] {
                let Some(trial) = Self::follow(&thin, distal, 3) else {
                    continue;
                };
                let cost = trial.cost(&thin, distal);
                if best.is_none_or(|(lowest, _)| cost < lowest - 1e-6) {
                    best = Some((cost, distal));
                }
            }
        }
        Self::follow(bone, best?.1, 12)
    }

    /// The landmarks that follow when the shaft runs down along `distal`.
    fn follow(bone: &BonePoints, distal: Vector3<f64>, rounds: usize) -> Option<Self> {
        let start = -distal;
        let mut shaft = distal_axis(bone, start)?;
        let (mut head, _) = fit_head(bone, &shaft)?;
        let mut short = true;
        let mut used_mm = 0.0;
        for _ in 0..rounds {
            let margin = Protrusion::of(bone, &shaft, &head)
                .and_then(|p| p.lesser_trochanter())
                .map_or(shaft.along(head.centre_mm) - 75.0, |l| l.lower_margin_mm);
            let Some((next, length)) = shaft_axis(bone, &shaft, margin) else {
                // Back to the axis of the distal third: never one that mixes both rules.
                shaft = distal_axis(bone, start)?;
                (short, used_mm) = (true, 0.0);
                break;
            };
            let turned =
                (next.direction - shaft.direction).norm() + shaft.away(next.point_mm).norm();
            (shaft, short, used_mm) = (next, false, length);
            if turned < 1e-4 {
                break;
            }
            head = fit_head(bone, &shaft)?.0;
        }
        let (head, neck) = fit_head(bone, &shaft)?;
        let out = shaft.away(head.centre_mm);
        let (distal_mm, proximal_mm) = range(bone.voxels_mm.iter().map(|&p| shaft.along(p)));
        let lesser_trochanter =
            Protrusion::of(bone, &shaft, &head).and_then(|p| p.lesser_trochanter());
        let mut side = SideEvidence::default();
        let medial = out.try_normalize(1e-6)?;
        side.read_affine(shaft.direction, medial);
        side.from_shape = lesser_trochanter.map(|l| l.side);
        Some(Self {
            shaft,
            short_shaft: short,
            shaft_length_mm: used_mm,
            head,
            neck,
            neck_shaft_angle_deg: neck
                .dot(&-shaft.direction)
                .clamp(-1.0, 1.0)
                .acos()
                .to_degrees(),
            medial,
            offset_mm: out.norm(),
            lesser_trochanter,
            distal_mm,
            proximal_mm,
            side,
        })
    }

    /// How unlike a femur a trial is; 0 would be a textbook femur. Used only to rank the trials.
    fn cost(&self, bone: &BonePoints, distal: Vector3<f64>) -> f64 {
        let beyond = |value: f64, low: f64, high: f64| (low - value).max(value - high).max(0.0);
        let depth = self.proximal_mm - self.shaft.along(self.head.centre_mm);
        beyond(self.neck_shaft_angle_deg, 110.0, 150.0) / 10.0
            + beyond(self.head.radius_mm, 17.0, 32.0) / 3.0
            + beyond(self.offset_mm, 25.0, 70.0) / 10.0
            + beyond(depth, 0.0, 2.0 * self.head.radius_mm) / 10.0
            + (1.0 - self.head.coverage) * 5.0
            + self.head.rms_mm
            // A cut shaft ends flat, a head or a trochanter round.
            + (1.0 - end_flatness(bone, distal, 4.0)) * 2.0
            // All else equal, a patient's femur hangs down.
            + 0.5 * (1.0 + distal.z)
    }

    /// Checks of everything found.
    fn checks(&self, bone: &BonePoints) -> Vec<Check> {
        let mut checks = vec![self.head_cut(bone), self.head_shape(), self.neck_angle()];
        let length = self.shaft_length_mm;
        checks.push(if self.short_shaft {
            Check::review(
                "femur_shaft_length",
                None,
                "less than 20 mm of shaft below the lesser trochanter: the shaft axis comes from the distal third of the bone and may lean by ten degrees and more",
            )
        } else {
            Check::pass(
                "femur_shaft_length",
                length,
                format!("shaft axis from {length:.0} mm of shaft"),
            )
        });
        checks.push(if self.shaft.direction.z > 0.5 {
            Check::pass("femur_upright", self.shaft.direction.z, "the head is up in the scan")
        } else {
            Check::review(
                "femur_upright",
                self.shaft.direction.z,
                "the femur does not stand head up in the image's world frame; this is taken for a specimen's scan",
            )
        });
        checks
    }

    /// Whether the image ends inside the head or the proximal femur.
    fn head_cut(&self, bone: &BonePoints) -> Check {
        let near = self.head.radius_mm + 4.0 + bone.coarsest_mm;
        let at_head = bone
            .border_mm
            .iter()
            .filter(|p| (*p - self.head.centre_mm).norm() < near)
            .count();
        let floor = self
            .lesser_trochanter
            .map_or(self.shaft.along(self.head.centre_mm) - 30.0, |l| l.tip_mm);
        let above = bone
            .border_mm
            .iter()
            .filter(|&&p| self.shaft.along(p) > floor + 2.0 * bone.coarsest_mm)
            .count();
        if at_head > 0 {
            Check::refuse(
                "femur_head_cut",
                at_head as f64,
                format!(
                    "{at_head} voxels of the femoral head lie on the border of the image: the head is cut off"
                ),
            )
        } else if above > 0 {
            Check::review(
                "femur_head_cut",
                above as f64,
                format!(
                    "{above} voxels above the lesser trochanter lie on the border of the image, the head is whole"
                ),
            )
        } else {
            Check::pass("femur_head_cut", 0.0, "the image holds the whole head")
        }
    }

    fn head_shape(&self) -> Check {
        let Sphere {
            radius_mm,
            rms_mm,
            coverage,
            ..
        } = self.head;
        let reason = format!(
            "sphere of radius {radius_mm:.1} mm, residual {rms_mm:.2} mm, bone on {:.0} % of the half sphere away from the neck, centre {:.0} mm from the shaft axis",
            coverage * 100.0,
            self.offset_mm
        );
        // No femoral head sits on its shaft axis, and none 90 mm away from it.
        if coverage < 0.6
            || !(14.0..=36.0).contains(&radius_mm)
            || !(15.0..=90.0).contains(&self.offset_mm)
        {
            Check::refuse("femur_head_shape", radius_mm, reason)
        } else if coverage < 0.85 || rms_mm > 1.5 || !(18.0..=30.0).contains(&radius_mm) {
            Check::review("femur_head_shape", radius_mm, reason)
        } else {
            Check::pass("femur_head_shape", radius_mm, reason)
        }
    }

    fn neck_angle(&self) -> Check {
        let angle = self.neck_shaft_angle_deg;
        let reason = format!("neck-shaft angle {angle:.0} degrees");
        // Coxa vara and valga: outside about 120-140; a landmark error is likelier beyond these.
        if (110.0..=150.0).contains(&angle) {
            Check::pass("femur_neck_shaft_angle", angle, reason)
        } else {
            Check::review("femur_neck_shaft_angle", angle, reason)
        }
    }
}

/// Drops the sections at the distal end that the cut passes through obliquely: they hold part of the
/// cross-section only and their centroids stand aside. `ascending` runs from distal to proximal.
fn whole_sections(ascending: &[Section], slab_mm: f64) -> &[Section] {
    let ahead = (16.0 / slab_mm).ceil() as usize;
    let first = (0..ascending.len()).find(|&n| {
        let coming = &ascending[n + 1..(n + 1 + ahead).min(ascending.len())];
        let most = coming.iter().map(|s| s.area_mm2).fold(0.0, f64::max);
        ascending[n].area_mm2 >= 0.92 * most
    });
    &ascending[first.unwrap_or(ascending.len())..]
}

/// Line through the centroids of the distal third, cut across `proximal`.
fn distal_axis(bone: &BonePoints, proximal: Vector3<f64>) -> Option<Line> {
    let slab = slab_mm(bone, proximal);
    let all = sections(bone, bone.centroid_mm(), proximal, slab);
    let (low, high) = (all.first()?.at_mm, all.last()?.at_mm);
    let end = low + (high - low) / 3.0;
    let third: Vec<Section> = all.into_iter().filter(|s| s.at_mm <= end).collect();
    let whole = whole_sections(&third, slab);
    let flat = end_flatness(bone, -proximal, 0.0) > FLAT_END;
    let kept = if !flat && whole.len() * 2 >= third.len() {
        whole
    } else {
        &third
    };
    let centroids: Vec<_> = kept.iter().map(|s| s.centroid_mm).collect();
    let line = Line::through(&centroids, proximal)?;
    // A line that lies across the slices means that there is no tube here.
    (line.direction.dot(&proximal) > 0.5).then_some(line)
}

/// The direction across which the shaft is cut into sections. A section need not be at right angles
/// to a tube for its centroid to lie on the tube's axis, so where the scan ends flat across an array
/// axis, sections parallel to that end are taken: none of them is partial, however the shaft leans.
fn flat_end(bone: &BonePoints, proximal: Vector3<f64>) -> Option<Vector3<f64>> {
    bone.array_axes
        .into_iter()
        .flat_map(|axis| [axis, -axis])
        .find(|axis| axis.dot(&proximal) > 0.8 && end_flatness(bone, -axis, 0.0) > FLAT_END)
}

/// [`end_flatness`] of an end that the scan cut across. A rounded end of a bone stays below 0.5.
const FLAT_END: f64 = 0.85;

/// Shortest shaft an axis is taken from, mm (load-case rule).
const SHORTEST_SHAFT_MM: f64 = 20.0;

/// Line through the centroids of the sections below `margin_mm`, and the length they cover; `None`
/// on less than 20 mm of shaft.
fn shaft_axis(bone: &BonePoints, shaft: &Line, margin_mm: f64) -> Option<(Line, f64)> {
    let flat = flat_end(bone, shaft.direction);
    let across = flat.unwrap_or(shaft.direction);
    let slab = slab_mm(bone, across);
    let below: Vec<Section> = sections(bone, shaft.point_mm, across, slab)
        .into_iter()
        .filter(|s| shaft.along(s.centroid_mm) < margin_mm)
        .collect();
    let typical = median(below.iter().map(|s| s.area_mm2).collect());
    // From the margin down to where the bone flares out to the knee, if the scan reaches that far. The
    // flare below the lesser trochanter is none: only the distal half is asked.
    let knee = below[..below.len() / 2]
        .iter()
        .rposition(|s| s.area_mm2 > 1.6 * typical)
        .map_or(0, |n| n + 1);
    let tube = &below[knee..];
    let tube = if knee == 0 && flat.is_none() {
        whole_sections(tube, slab)
    } else {
        tube
    };
    let (Some(first), Some(last)) = (tube.first(), tube.last()) else {
        return None;
    };
    let length = shaft.along(last.centroid_mm) - shaft.along(first.centroid_mm) + slab;
    if length < SHORTEST_SHAFT_MM {
        return None;
    }
    let centroids: Vec<_> = tube.iter().map(|s| s.centroid_mm).collect();
    Some((Line::through(&centroids, shaft.direction)?, length))
}

/// Area `depth_mm` inside the distal end over that 12 mm inside, 0 (round) to 1 (flat).
fn end_flatness(bone: &BonePoints, distal: Vector3<f64>, depth_mm: f64) -> f64 {
    let slab = slab_mm(bone, distal);
    let all = sections(bone, bone.centroid_mm(), -distal, slab);
    let at = |depth_mm: f64| {
        all.get((depth_mm / slab) as usize)
            .map_or(0.0, |s| s.area_mm2)
    };
    let inside = at(12.0);
    if inside > 0.0 {
        (at(depth_mm) / inside).min(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
#[path = "femur_tests.rs"]
mod tests;
