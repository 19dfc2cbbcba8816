//! Left or right.

use nalgebra::Vector3;
use serde::{Deserialize, Serialize};

use super::Check;

/// Side of the body, the patient's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// What speaks for a side, each answer on its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideEvidence {
    /// From the image's world frame: the head of a left femur points to the patient's right.
    /// `None` when the bone does not stand in the frame as in a patient, so that it cannot tell.
    pub from_affine: Option<Side>,
    /// From the shape alone: the lesser trochanter lies behind and medial, which makes left and right
    /// femora mirror images. Does not need the world frame, but a mirrored file fools it.
    pub from_shape: Option<Side>,
    /// From the label map: which of two femora lies further to the patient's left.
    pub from_pair: Option<Side>,
    /// Why `from_affine` is silent, where it is.
    pub affine_doubt: Option<String>,
}

/// How far an axis may lean from where a patient's would stand before the world frame is no longer
/// believed: cosine of 60 degrees.
const BELIEVED_COSINE: f64 = 0.5;

impl SideEvidence {
    /// What the world frame says of a femur whose shaft points (distal to proximal) along `proximal`
    /// and whose head lies from the shaft along `medial` (unit LPS directions).
    pub fn read_affine(&mut self, proximal: Vector3<f64>, medial: Vector3<f64>) {
        if proximal.z < BELIEVED_COSINE {
            self.affine_doubt = Some(format!(
                "the femur does not stand head up in the image's world frame (shaft direction {:.2}, {:.2}, {:.2} LPS)",
                proximal.x, proximal.y, proximal.z
            ));
        } else if medial.x.abs() < BELIEVED_COSINE {
            self.affine_doubt = Some(format!(
                "the head points neither to the left nor to the right of the image's world frame (direction {:.2}, {:.2}, {:.2} LPS)",
                medial.x, medial.y, medial.z
            ));
        } else {
            self.from_affine = Some(if medial.x < 0.0 {
                Side::Left
            } else {
                Side::Right
            });
        }
    }

    /// The side of a bone whose centroid is `this`, when the other femur of the same patient has its
    /// centroid at `other` (LPS mm).
    pub fn read_pair(&mut self, this: Vector3<f64>, other: Vector3<f64>) {
        let apart = this - other;
        if apart.x.abs() > BELIEVED_COSINE * apart.norm() {
            self.from_pair = Some(if apart.x > 0.0 {
                Side::Left
            } else {
                Side::Right
            });
        }
    }

    /// Settles the side. A side given by the user is believed, and a contradiction is only a
    /// `review` with both answers; without one, any doubt is `refuse`.
    pub fn settle(&self, given: Option<Side>) -> (Option<Side>, Check) {
        let answers = [
            ("the label map", self.from_pair),
            ("the image's affine", self.from_affine),
            ("the shape of the bone", self.from_shape),
        ];
        let said: Vec<String> = answers
            .iter()
            .filter_map(|(who, side)| side.map(|s| format!("{who} says {s}")))
            .chain(self.affine_doubt.clone())
            .collect();
        let said = if said.is_empty() {
            "nothing in the image tells the side".to_owned()
        } else {
            said.join("; ")
        };
        let contradicts = |side| {
            answers
                .iter()
                .any(|(_, answer)| answer.is_some_and(|a| a != side))
        };
        if let Some(side) = given {
            let reason = format!("given as {side}; {said}");
            return if contradicts(side) {
                (Some(side), Check::review("side", None, reason))
            } else {
                (Some(side), Check::pass("side", None, reason))
            };
        }
        match self.from_pair.or(self.from_affine) {
            Some(side) if contradicts(side) => (
                None,
                Check::refuse(
                    "side",
                    None,
                    format!("{said}; the file may be mirrored. Give the side with --side"),
                ),
            ),
            Some(side) => (Some(side), Check::pass("side", None, said)),
            None => (
                None,
                Check::refuse("side", None, format!("{said}. Give the side with --side")),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::Status;

    fn standing(medial_x: f64) -> SideEvidence {
        let mut evidence = SideEvidence::default();
        evidence.read_affine(Vector3::z(), Vector3::new(medial_x, 0.0, 0.0));
        evidence
    }

    #[test]
    fn a_head_pointing_to_the_patients_right_belongs_to_a_left_femur() {
        assert_eq!(standing(-1.0).from_affine, Some(Side::Left));
        assert_eq!(standing(1.0).from_affine, Some(Side::Right));
    }

    #[test]
    fn the_femur_further_left_is_the_left_one() {
        let mut evidence = SideEvidence::default();
        evidence.read_pair(Vector3::new(90.0, 5.0, 0.0), Vector3::new(-80.0, 0.0, 3.0));
        assert_eq!(evidence.from_pair, Some(Side::Left));
    }

    #[test]
    fn a_given_side_is_believed_and_a_contradiction_is_only_reviewed() {
        let (side, check) = standing(-1.0).settle(Some(Side::Right));
        assert_eq!(side, Some(Side::Right));
        assert_eq!(check.status, Status::Review);
        assert!(check.reason.contains("right") && check.reason.contains("left"));
        assert_eq!(
            standing(-1.0).settle(Some(Side::Left)).1.status,
            Status::Pass
        );
    }

    #[test]
    fn doubt_without_a_given_side_refuses() {
        let mut lying = SideEvidence::default();
        lying.read_affine(Vector3::x(), Vector3::z());
        assert_eq!(lying.settle(None).1.status, Status::Refuse);
        let mut mirrored = standing(-1.0);
        mirrored.from_shape = Some(Side::Right);
        assert_eq!(mirrored.settle(None).0, None);
        assert_eq!(mirrored.settle(None).1.status, Status::Refuse);
        assert_eq!(standing(-1.0).settle(None).0, Some(Side::Left));
    }
}
