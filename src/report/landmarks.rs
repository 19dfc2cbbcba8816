//! The landmarks of a bone as `result.json` gives them: points and unit directions in the world frame of the scan (LPS, mm).

use nalgebra::Vector3;
use serde::Serialize;

use crate::anatomy::vertebra::Endplate;
use crate::anatomy::{FemurLandmarks, VertebraLandmarks};

/// Where the parts of the bone are. Keys by the bone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Landmarks {
    /// Of a proximal femur.
    Femur(FemurPoints),
    /// Of a vertebra.
    Vertebra(VertebraPoints),
}

/// Landmarks of a proximal femur; their definitions stand in [`crate::anatomy::femur`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FemurPoints {
    /// Centre of the head.
    pub head_centre_lps_mm: [f64; 3],
    /// Radius of the head, mm.
    pub head_radius_mm: f64,
    /// Unit direction from the neck to the centre of the head.
    pub neck_direction_lps: [f64; 3],
    /// Angle between neck and shaft, degrees.
    pub neck_shaft_angle_deg: f64,
    /// A point on the axis of the shaft, at the level of its distal end.
    pub shaft_distal_lps_mm: [f64; 3],
    /// A point on the axis of the shaft, at the level of the proximal end of the bone.
    pub shaft_proximal_lps_mm: [f64; 3],
    /// The point on the axis of the shaft at the level where the lesser trochanter stands out most; `null` where it was not found.
    pub lesser_trochanter_level_lps_mm: Option<[f64; 3]>,
}

/// Landmarks of a vertebra; their definitions stand in [`crate::anatomy::vertebra`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VertebraPoints {
    /// Upper endplate.
    pub cranial_endplate: PlatePoints,
    /// Lower endplate.
    pub caudal_endplate: PlatePoints,
    /// Unit direction of the body from caudal to cranial.
    pub axis_lps: [f64; 3],
    /// Height of the body along its axis, mm.
    pub height_mm: f64,
    /// Angle between the axis of the body and the axis of the scan, degrees.
    pub tilt_deg: f64,
}

/// The plane of an endplate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlatePoints {
    /// A point of the plane, in the middle of the endplate.
    pub point_lps_mm: [f64; 3],
    /// Unit normal, towards the head.
    pub normal_lps: [f64; 3],
    /// Area of the endplate, mm².
    pub area_mm2: f64,
}

fn three(v: Vector3<f64>) -> [f64; 3] {
    v.into()
}

impl From<&FemurLandmarks> for Landmarks {
    fn from(found: &FemurLandmarks) -> Self {
        let on_shaft = |level: f64| three(found.shaft.point_mm + found.shaft.direction * level);
        Self::Femur(FemurPoints {
            head_centre_lps_mm: three(found.head.centre_mm),
            head_radius_mm: found.head.radius_mm,
            neck_direction_lps: three(found.neck),
            neck_shaft_angle_deg: found.neck_shaft_angle_deg,
            shaft_distal_lps_mm: on_shaft(found.distal_mm),
            shaft_proximal_lps_mm: on_shaft(found.proximal_mm),
            lesser_trochanter_level_lps_mm: found
                .lesser_trochanter
                .as_ref()
                .map(|found| on_shaft(found.tip_mm)),
        })
    }
}

impl From<&VertebraLandmarks> for Landmarks {
    fn from(found: &VertebraLandmarks) -> Self {
        let plate = |plate: &Endplate| PlatePoints {
            point_lps_mm: three(plate.point_mm),
            normal_lps: three(plate.normal),
            area_mm2: plate.area_mm2,
        };
        Self::Vertebra(VertebraPoints {
            cranial_endplate: plate(&found.cranial),
            caudal_endplate: plate(&found.caudal),
            axis_lps: three(found.axis),
            height_mm: found.height_mm,
            tilt_deg: found.tilt_deg,
        })
    }
}
