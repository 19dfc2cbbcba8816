//! The landmarks of `result.json` as lines and circles to be drawn over a slice.

use nalgebra::Vector3;
use serde_json::Value;

/// Half the length at which an endplate is drawn, mm.
const HALF_PLATE_MM: f64 = 22.0;
/// An endplate that a slice cuts at less than this (sine of the angle) shows as no line in it.
const LEAST_CUT: f64 = 0.5;

/// What is drawn of a landmark, in the world (LPS mm).
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    /// A sphere, drawn as its outline.
    Sphere {
        centre_mm: Vector3<f64>,
        radius_mm: f64,
    },
    /// A straight line from end to end.
    Line([Vector3<f64>; 2]),
    /// A plane through a point, drawn where a slice cuts it.
    Plate {
        point_mm: Vector3<f64>,
        normal: Vector3<f64>,
    },
}

impl Mark {
    /// The ends of the line that the mark shows as in a slice with the normal `across`; `None` for a sphere and for a plane that
    /// lies along the slice.
    pub(super) fn ends(&self, across: Vector3<f64>) -> Option<[Vector3<f64>; 2]> {
        match self {
            Self::Sphere { .. } => None,
            Self::Line(ends) => Some(*ends),
            Self::Plate { point_mm, normal } => {
                let along = normal.cross(&across);
                (along.norm() >= LEAST_CUT).then(|| {
                    let half = along.normalize() * HALF_PLATE_MM;
                    [point_mm - half, point_mm + half]
                })
            }
        }
    }
}

/// The marks of a result; none where it holds no landmarks.
pub(super) fn marks(result: &Value) -> Vec<Mark> {
    let found = &result["landmarks"];
    let vector = |value: &Value| -> Option<Vector3<f64>> {
        let numbers: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
        <[f64; 3]>::try_from(numbers).ok().map(Vector3::from)
    };
    let mut marks = Vec::new();
    let head = vector(&found["head_centre_lps_mm"]);
    if let (Some(centre_mm), Some(radius_mm)) = (head, found["head_radius_mm"].as_f64()) {
        marks.push(Mark::Sphere {
            centre_mm,
            radius_mm,
        });
        if let Some(neck) = vector(&found["neck_direction_lps"]) {
            marks.push(Mark::Line([centre_mm - neck * 2.2 * radius_mm, centre_mm]));
        }
    }
    let ends = ["shaft_distal_lps_mm", "shaft_proximal_lps_mm"].map(|key| vector(&found[key]));
    if let [Some(distal), Some(proximal)] = ends {
        marks.push(Mark::Line([distal, proximal]));
    }
    for plate in ["cranial_endplate", "caudal_endplate"] {
        let plate = &found[plate];
        let place = [vector(&plate["point_lps_mm"]), vector(&plate["normal_lps"])];
        if let [Some(point_mm), Some(normal)] = place {
            marks.push(Mark::Plate { point_mm, normal });
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_femur_has_a_head_and_two_axes() {
        let result = json!({"landmarks": {
            "head_centre_lps_mm": [10.0, 0.0, 50.0], "head_radius_mm": 20.0,
            "neck_direction_lps": [0.6, 0.0, 0.8],
            "shaft_distal_lps_mm": [0.0, 0.0, -60.0], "shaft_proximal_lps_mm": [0.0, 0.0, 40.0],
        }});
        let found = marks(&result);
        assert_eq!(found.len(), 3);
        let across = Vector3::y();
        assert_eq!(found[0].ends(across), None);
        let [from, to] = found[1].ends(across).unwrap();
        assert_eq!(to, Vector3::new(10.0, 0.0, 50.0));
        assert!(
            (from - Vector3::new(-16.4, 0.0, 14.8)).norm() < 1e-12,
            "{from}"
        );
        assert!(marks(&json!({"landmarks": null})).is_empty());
        assert!(marks(&json!({})).is_empty());
    }

    #[test]
    fn an_endplate_shows_where_a_slice_cuts_it() {
        let result = json!({"landmarks": {
            "cranial_endplate": {"point_lps_mm": [1.0, 2.0, 3.0], "normal_lps": [0.0, 0.6, 0.8]},
        }});
        let [plate] = &marks(&result)[..] else {
            panic!("one endplate")
        };
        // Sagittal: the plane's own slope of 0.6 to -0.8 on both sides of its point.
        let [from, to] = plate.ends(Vector3::x()).unwrap();
        let along = (to - from) / (2.0 * HALF_PLATE_MM);
        assert!(
            (along - Vector3::new(0.0, 0.8, -0.6)).norm() < 1e-12,
            "{along}"
        );
        assert_eq!((from + to) / 2.0, Vector3::new(1.0, 2.0, 3.0));
        // Coronal: level. Axial: cut at 37 degrees, drawn; nearly along a slice: not drawn.
        let [from, to] = plate.ends(Vector3::y()).unwrap();
        assert_eq!(from.z, to.z);
        assert!(plate.ends(Vector3::z()).is_some());
        assert_eq!(plate.ends(Vector3::new(0.0, 0.6, 0.8)), None);
    }
}
