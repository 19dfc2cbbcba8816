//! The published laws, as data.

use super::{Floor, LEAST_STRENGTH_MPA, Power, ValidRange};
use crate::density::DensityKind;

const fn power(coefficient: f64, exponent: f64, constant: f64) -> Power {
    Power {
        coefficient,
        exponent,
        constant,
    }
}

const KEYAK: &str = "Keyak JH et al., Clin Orthop Relat Res 437:219-228, 2005, as coded by Sas et al. 2020; E also Saillard et al. 2024 Eq. 1";
const KOPPERDAHL: &str = "Kopperdahl DL, Morgan EF, Keaveny TM, J Orthop Res 20:801-805, 2002";
const FEMUR: &str = "proximal femur";
pub(super) const VERTEBRA: &str = "vertebral trabecular bone";

const KEYAK_RANGE: ValidRange = ValidRange {
    low: Some(0.0),
    high: Some(1840.0),
    reason: "above 1.84 g/cm3 the cortical plateau of the same law would be negative",
};

const POSITIVE: ValidRange = ValidRange {
    low: Some(0.0),
    high: None,
    reason: "a power law has no value below zero density; the source as quoted states no upper bound",
};

/// One published law.
pub(super) struct Published {
    pub(super) name: &'static str,
    pub(super) citation: &'static str,
    pub(super) site: &'static str,
    pub(super) kind: DensityKind,
    pub(super) power: Power,
    pub(super) valid: ValidRange,
    pub(super) floor: Floor,
}

/// Density to Young's modulus.
pub(super) const ELASTICITY: &[Published] = &[
    Published {
        name: "keyak2005",
        citation: KEYAK,
        site: FEMUR,
        kind: DensityKind::Ash,
        power: power(14900.0, 1.86, 0.0),
        valid: KEYAK_RANGE,
        // rho_min = 0.01 g/cm3, E = 2.8 MPa: our default; other programs use 0.1 or 1e-4 MPa.
        floor: Floor {
            density_mg_cm3: Some(10.0),
            mpa: 0.0,
        },
    },
    Published {
        name: "keller1994",
        citation: "Keller TS, J Biomech 27:1159-1168, 1994, femur and spine pooled; the law of the linear sideways-fall programs",
        site: "femur and vertebra",
        kind: DensityKind::Ash,
        power: power(10500.0, 2.29, 0.0),
        valid: POSITIVE,
        // K2HPO4 below -31 mg/cm3 is raised to -31 there; as ash density 1.06 * -31 + 38.9, E = 0.09 MPa.
        floor: Floor {
            density_mg_cm3: Some(6.04),
            mpa: 0.0,
        },
    },
    Published {
        name: "kopperdahl2002_linear",
        citation: "Kopperdahl DL, Morgan EF, Keaveny TM, J Orthop Res 20:801-805, 2002 (E = -34.7 + 3230 rho); Saillard et al. 2024 Eq. 2; coded elsewhere as Crawford 2003",
        site: VERTEBRA,
        kind: DensityKind::K2Hpo4,
        power: power(3230.0, 1.0, -34.7),
        valid: ValidRange {
            low: Some(34.7 / 3.23),
            high: None,
            reason: "below 0.01074 g/cm3 the modulus would be negative",
        },
        // E_min is not stated by Saillard 2024; 1 MPa is our default, 0.1 and 1e-4 are in use.
        floor: Floor {
            density_mg_cm3: None,
            mpa: 1.0,
        },
    },
    Published {
        name: "kopperdahl2002_power",
        citation: KOPPERDAHL,
        site: VERTEBRA,
        kind: DensityKind::K2Hpo4,
        power: power(2980.0, 1.05, 0.0),
        valid: POSITIVE,
        // As the linear compression programs: density clamped at -31 mg/cm3, E at 1e-4 MPa.
        floor: Floor {
            density_mg_cm3: Some(-31.0),
            mpa: 1e-4,
        },
    },
];

/// Density to yield stress.
pub(super) const STRENGTH: &[Published] = &[
    Published {
        name: "keyak2005",
        citation: KEYAK,
        site: FEMUR,
        kind: DensityKind::Ash,
        power: power(102.0, 1.80, 0.0),
        valid: KEYAK_RANGE,
        floor: Floor {
            density_mg_cm3: Some(10.0),
            mpa: LEAST_STRENGTH_MPA,
        },
    },
    Published {
        name: "kopperdahl2002_power",
        citation: KOPPERDAHL,
        site: VERTEBRA,
        kind: DensityKind::K2Hpo4,
        power: power(37.4, 1.39, 0.0),
        valid: POSITIVE,
        floor: Floor {
            density_mg_cm3: None,
            mpa: LEAST_STRENGTH_MPA,
        },
    },
    Published {
        name: "kopperdahl2002_linear",
        citation: KOPPERDAHL,
        site: VERTEBRA,
        kind: DensityKind::K2Hpo4,
        power: power(24.9, 1.0, -0.75),
        valid: ValidRange {
            low: Some(750.0 / 24.9),
            high: None,
            reason: "below 0.0301 g/cm3 the strength would be negative",
        },
        floor: Floor {
            density_mg_cm3: None,
            mpa: LEAST_STRENGTH_MPA,
        },
    },
];
