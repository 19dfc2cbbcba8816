//! What the failure load means beside the patient's weight and the published cut-offs. Never a verdict.
//!
//! A cut-off belongs to the model that it was fitted with: the same bone gives another load under another
//! law, mesh or load case. None of those below was fitted with this program, so each says which model it
//! comes from, and `applies` is true only where that is the model that was run.

use serde::Serialize;

use crate::plan::{Bone, LoadKind, Plan};

/// Standard gravity, m/s² (3rd CGPM 1901).
pub const STANDARD_GRAVITY: f64 = 9.80665;

/// A published cut-off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// What is compared, with its unit.
    pub name: String,
    /// The cut-off, in the unit the name says.
    pub value: f64,
    /// Where it comes from, and the model it was fitted with.
    pub source: String,
    /// Whether it was calibrated for the model that was run.
    pub applies: bool,
    /// Whether the value found lies below it; `None` where there is no value to compare.
    pub below: Option<bool>,
}

/// The failure load in proportion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Risk {
    /// Body weight, kg, as given.
    pub body_weight_kg: Option<f64>,
    /// Failure load over body weight (mass times standard gravity).
    pub failure_load_body_weights: Option<f64>,
    /// Load the bone is to bear, N, as given.
    pub applied_load_n: Option<f64>,
    /// Applied load over failure load; above 1 the model says that it breaks.
    pub load_to_strength: Option<f64>,
    /// Published cut-offs for this bone and load.
    pub thresholds: Vec<Threshold>,
}

/// A cut-off as it stands in the literature.
struct Published {
    name: &'static str,
    value: f64,
    unit: Unit,
    source: &'static str,
}

enum Unit {
    BodyWeights,
    Newton,
}

/// Stance of the proximal femur.
const FEMUR_STANCE: &[Published] = &[Published {
    name: "failure load in body weights, femur with metastases, stance",
    value: 7.5,
    unit: Unit::BodyWeights,
    source: "Eggermont 2018, 2020: femurs with metastases, nonlinear patient-specific model of the Nijmegen group; not calibrated for this model",
}];

/// Sideways fall of the proximal femur.
const FEMUR_FALL: &[Published] = &[
    Published {
        name: "fragile bone strength of the hip in women, N",
        value: 3000.0,
        unit: Unit::Newton,
        source: "Kopperdahl 2014: women, nonlinear sideways-fall model of a commercial program; not calibrated for this model",
    },
    Published {
        name: "fragile bone strength of the hip in men, N",
        value: 3500.0,
        unit: Unit::Newton,
        source: "Kopperdahl 2014: men, nonlinear sideways-fall model of a commercial program; not calibrated for this model",
    },
];

/// Compression of a vertebra.
const VERTEBRA: &[Published] = &[
    Published {
        name: "fragile bone strength of the spine in women, N",
        value: 4500.0,
        unit: Unit::Newton,
        source: "Kopperdahl 2014: women, nonlinear compression model of a commercial program; not calibrated for this model",
    },
    Published {
        name: "fragile bone strength of the spine in men, N",
        value: 6500.0,
        unit: Unit::Newton,
        source: "Kopperdahl 2014: men, nonlinear compression model of a commercial program; not calibrated for this model",
    },
];

impl Risk {
    /// Compares a failure load (N; `None` when there is none) with what the plan gives and what is published
    /// for its bone and load case.
    pub fn of(failure_load_n: Option<f64>, plan: &Plan) -> Self {
        let subject = &plan.subject;
        let body_weights = failure_load_n
            .zip(subject.body_weight_kg)
            .map(|(load_n, mass_kg)| load_n / (mass_kg * STANDARD_GRAVITY));
        let published = match (subject.bone, plan.settings.load.case) {
            (Bone::Femur, LoadKind::SidewaysFall) => FEMUR_FALL,
            (Bone::Femur, _) => FEMUR_STANCE,
            (Bone::Vertebra, _) => VERTEBRA,
        };
        let thresholds = published
            .iter()
            .map(|cut_off| {
                let found = match cut_off.unit {
                    Unit::BodyWeights => body_weights,
                    Unit::Newton => failure_load_n,
                };
                Threshold {
                    name: cut_off.name.to_owned(),
                    value: cut_off.value,
                    source: cut_off.source.to_owned(),
                    applies: false,
                    below: found.map(|found| found < cut_off.value),
                }
            })
            .collect();
        Self {
            body_weight_kg: subject.body_weight_kg,
            failure_load_body_weights: body_weights,
            applied_load_n: subject.applied_load_n,
            load_to_strength: failure_load_n
                .zip(subject.applied_load_n)
                .map(|(load_n, applied_n)| applied_n / load_n),
            thresholds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Basis, CalibrationSpec, Subject};
    use crate::protocol::Protocol;

    fn plan(protocol: &str, bone: Bone, mass_kg: Option<f64>, applied_n: Option<f64>) -> Plan {
        let calibration = CalibrationSpec::Density {
            basis: Basis::K2hpo4,
        };
        let subject = Subject {
            body_weight_kg: mass_kg,
            applied_load_n: applied_n,
            ..Subject::new(bone, Some(calibration))
        };
        Plan::resolve(&Protocol::built_in(protocol).unwrap(), subject, &[]).unwrap()
    }

    #[test]
    fn ratios_by_hand() {
        // 70 kg weigh 686.4655 N; 5000 N are 7.283687 body weights, below 7.5; 2000 N are 0.4 of 5000 N.
        let risk = Risk::of(
            Some(5000.0),
            &plan("saillard2024-femur", Bone::Femur, Some(70.0), Some(2000.0)),
        );
        assert!((risk.failure_load_body_weights.unwrap() - 7.283687).abs() < 1e-6);
        assert!((risk.load_to_strength.unwrap() - 0.4).abs() < 1e-15);
        assert_eq!(risk.thresholds.len(), 1);
        assert_eq!(risk.thresholds[0].value, 7.5);
        assert_eq!(risk.thresholds[0].below, Some(true));
    }

    #[test]
    fn what_is_not_known_is_null() {
        let risk = Risk::of(
            Some(5000.0),
            &plan("saillard2024-femur", Bone::Femur, None, None),
        );
        assert_eq!(risk.failure_load_body_weights, None);
        assert_eq!(risk.thresholds[0].below, None);
        let risk = Risk::of(
            None,
            &plan("saillard2024-femur", Bone::Femur, Some(70.0), Some(1.0)),
        );
        assert_eq!(
            (risk.failure_load_body_weights, risk.load_to_strength),
            (None, None)
        );
        let json = serde_json::to_value(&risk).unwrap();
        assert!(json["load_to_strength"].is_null());
    }

    #[test]
    fn vertebra_and_hip_have_their_own_cut_offs_and_none_applies() {
        let vertebra = Risk::of(
            Some(5000.0),
            &plan("saillard2024-vertebra", Bone::Vertebra, None, None),
        );
        let below: Vec<_> = vertebra
            .thresholds
            .iter()
            .map(|t| (t.value, t.below))
            .collect();
        assert_eq!(below, [(4500.0, Some(false)), (6500.0, Some(true))]);
        let fall = Risk::of(
            Some(3200.0),
            &plan("linear-sideways-fall", Bone::Femur, None, None),
        );
        let below: Vec<_> = fall.thresholds.iter().map(|t| (t.value, t.below)).collect();
        assert_eq!(below, [(3000.0, Some(false)), (3500.0, Some(true))]);
        for threshold in vertebra.thresholds.iter().chain(&fall.thresholds) {
            assert!(!threshold.applies);
            assert!(threshold.source.contains("not calibrated for this model"));
        }
    }
}
