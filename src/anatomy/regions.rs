//! Parts of a proximal femur, as segmentations are judged by them.

use imaging::{LabelMap, Mask};
use nalgebra::Vector3;

use super::{Check, FemurLandmarks, Refused};

/// The head ends this far from its centre towards the neck, in radii: there the sphere is two thirds as wide as at its middle, about as
/// wide as a neck. Judgement.
const HEAD_ENDS_RADII: f64 = 0.75;

/// A part of a proximal femur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FemurRegion {
    /// The head, up to the plane at right angles to the neck where the neck begins.
    Head,
    /// Neck and trochanters.
    Middle,
    /// Below the lower margin of the lesser trochanter.
    Shaft,
}

impl FemurRegion {
    /// The three parts, from the hip down.
    pub const ALL: [Self; 3] = [Self::Head, Self::Middle, Self::Shaft];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Middle => "middle",
            Self::Shaft => "shaft",
        }
    }

    /// The part of the bone's surroundings that a point (LPS mm) lies in.
    fn of(p: Vector3<f64>, femur: &FemurLandmarks, shaft_below_mm: f64) -> Self {
        let from_head = (p - femur.head.centre_mm).dot(&femur.neck);
        if from_head > -HEAD_ENDS_RADII * femur.head.radius_mm {
            return Self::Head;
        }
        match femur.shaft.along(p) < shaft_below_mm {
            true => Self::Shaft,
            false => Self::Middle,
        }
    }
}

/// Every voxel of a femur's grid by the region it lies in: 1 head, 2 middle, 3 shaft. Planes, so that a voxel outside the bone has one
/// too, as a segmentation that is too large needs it.
///
/// Saillard et al. 2024 (Table 2) print results by these three regions and not where they end; the planes are our own.
///
/// # Errors
/// [`Refused`] when the landmarks of the femur cannot be found, or its lesser trochanter is not in sight.
pub fn femur_regions(femur: &Mask) -> Result<LabelMap, Refused> {
    let (found, _) = FemurLandmarks::find(femur)?;
    let Some(trochanter) = found.lesser_trochanter else {
        return Err(Refused(Check::refuse(
            "femur_regions",
            None,
            "the lesser trochanter is not in sight, and nothing else tells where the shaft begins",
        )));
    };
    Ok(LabelMap::from_fn(femur.grid.clone(), |at| {
        let p = femur.grid.to_world(Vector3::from(at.map(|n| n as f64)));
        match FemurRegion::of(p, &found, trochanter.lower_margin_mm) {
            FemurRegion::Head => 1,
            FemurRegion::Middle => 2,
            FemurRegion::Shaft => 3,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::test_shapes::{TestFemur, turned};

    #[test]
    fn regions_lie_along_the_femur() {
        let femur = TestFemur::default();
        let mask = femur.mask(turned(0.0, 0.0, 0.0), [2.0; 3]);
        let regions = femur_regions(&mask).expect("regions");
        let (found, _) = FemurLandmarks::find(&mask).expect("landmarks");
        let share = |label: u16| {
            let own = regions.data.iter().zip(&mask.data);
            own.filter(|(region, inside)| **inside && **region == label)
                .count() as f64
                / mask.count() as f64
        };
        // The head is a sphere less its cap towards the neck: 4/3 π r³ less π h² (r − h/3).
        let r = found.head.radius_mm;
        let h = (1.0 - HEAD_ENDS_RADII) * r;
        let head = 4.0 / 3.0 * std::f64::consts::PI * r.powi(3)
            - std::f64::consts::PI * h * h * (r - h / 3.0);
        let expected = head / (mask.count() as f64 * 8.0);
        assert!((share(1) / expected - 1.0).abs() < 0.06, "{}", share(1));
        assert!((share(1) + share(2) + share(3) - 1.0).abs() < 1e-12);
        let region = |p: Vector3<f64>| {
            let at = mask.grid.to_index(p).map(|x| x.round() as usize);
            regions.at(at.x, at.y, at.z)
        };
        let lower = found
            .lesser_trochanter
            .expect("a trochanter")
            .lower_margin_mm;
        let on_shaft = |along: f64| found.shaft.point_mm + found.shaft.direction * along;
        assert_eq!(region(found.head.centre_mm), 1);
        assert_eq!(region(on_shaft(lower + 6.0)), 2);
        assert_eq!(region(on_shaft(lower - 6.0)), 3);
    }
}
