//! Densities that carry their kind, and the published conversions between kinds.

use std::fmt;
use std::str::FromStr;

use imaging::Volume;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fit::Calibration;
use crate::law::ValidRange;

/// What a density is the density of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DensityKind {
    /// Equivalent density of dipotassium phosphate (Mindways phantoms).
    K2Hpo4,
    /// Equivalent density of calcium hydroxyapatite (QRM, Image Analysis, Siemens phantoms).
    Ha,
    /// Ash mass over bulk volume.
    Ash,
    /// Wet mass over bulk volume.
    Apparent,
}

impl DensityKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::K2Hpo4, Self::Ha, Self::Ash, Self::Apparent];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::K2Hpo4 => "k2hpo4",
            Self::Ha => "ha",
            Self::Ash => "ash",
            Self::Apparent => "apparent",
        }
    }

    /// Whether a calibration phantom gives this kind directly.
    pub fn is_phantom_equivalent(self) -> bool {
        matches!(self, Self::K2Hpo4 | Self::Ha)
    }
}

impl fmt::Display for DensityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DensityKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            Error::Parameter(format!(
                "unknown density basis '{name}'; known are k2hpo4, ha, ash, apparent"
            ))
        })
    }
}

/// One or many densities in mg/cm³, with their kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Density<D> {
    /// What it is the density of.
    pub kind: DensityKind,
    /// The values, mg/cm³.
    pub mg_cm3: D,
}

/// Density of every voxel.
pub type DensityMap = Density<Volume<f32>>;
/// Density of every element.
pub type ElementDensity = Density<Vec<f64>>;

impl<D> Density<D> {
    /// Names the kind of some values.
    pub fn new(kind: DensityKind, mg_cm3: D) -> Self {
        Self { kind, mg_cm3 }
    }

    /// Transforms the values and keeps the kind: for resampling, smoothing and averaging. Whatever
    /// changes the kind is a [`DensityConversion`].
    pub fn map<E>(self, transform: impl FnOnce(D) -> E) -> Density<E> {
        Density {
            kind: self.kind,
            mg_cm3: transform(self.mg_cm3),
        }
    }

    /// The same density, values by reference.
    pub fn as_ref(&self) -> Density<&D> {
        Density {
            kind: self.kind,
            mg_cm3: &self.mg_cm3,
        }
    }

    /// Checks that the density is of the kind that `reader` reads.
    ///
    /// # Errors
    /// [`Error::WrongKind`] naming both kinds and the conversions that would help.
    pub fn check_kind(&self, expected: DensityKind, reader: &str) -> Result<()> {
        if self.kind == expected {
            return Ok(());
        }
        let fitting: Vec<_> = DensityConversion::ALL
            .iter()
            .filter(|c| c.reads == Reads::Kind(self.kind) && c.gives == Some(expected))
            .map(|c| c.name)
            .collect();
        let mut remedy = if fitting.is_empty() {
            format!(
                "no conversion from {} to {expected} is known here",
                self.kind
            )
        } else {
            format!("convert it: density.conversion = {}", fitting.join(" or "))
        };
        if self.kind.is_phantom_equivalent() {
            remedy.push_str(" (or 'identity' to read the numbers as they are)");
        }
        Err(Error::WrongKind {
            reader: reader.to_string(),
            expected,
            found: self.kind,
            remedy,
        })
    }
}

impl<D: DensityValues> Density<D> {
    /// The density with every value below `floor_mg_cm3` raised to it, and how many were raised.
    pub fn clamped_below(self, floor_mg_cm3: f64) -> (Self, usize) {
        let mut clamped = 0;
        let raised = self.mg_cm3.map_values(|value| {
            if value < floor_mg_cm3 {
                clamped += 1;
                floor_mg_cm3
            } else {
                value
            }
        });
        (Self::new(self.kind, raised), clamped)
    }
}

/// A container of densities that can be converted value by value.
pub trait DensityValues: Sized {
    /// The container with every value (mg/cm³) mapped.
    fn map_values(self, transform: impl FnMut(f64) -> f64) -> Self;
}

impl DensityValues for f64 {
    fn map_values(self, mut transform: impl FnMut(f64) -> f64) -> Self {
        transform(self)
    }
}

impl DensityValues for Vec<f64> {
    fn map_values(mut self, mut transform: impl FnMut(f64) -> f64) -> Self {
        for value in &mut self {
            *value = transform(*value);
        }
        self
    }
}

impl DensityValues for Volume<f32> {
    fn map_values(mut self, mut transform: impl FnMut(f64) -> f64) -> Self {
        for value in &mut self.data {
            *value = transform(f64::from(*value)) as f32;
        }
        self
    }
}

/// What a conversion starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// CT numbers, without a phantom.
    Hounsfield,
    /// Density of one kind.
    Kind(DensityKind),
    /// Density of any kind, taken as it is.
    Anything,
}

/// A published straight line from one kind of density to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DensityConversion {
    /// The name used in plans and on the command line (`density.conversion`).
    pub name: &'static str,
    /// Where it comes from.
    pub citation: &'static str,
    /// The formula as printed, densities in g/cm³.
    pub formula: &'static str,
    /// What it starts from.
    pub reads: Reads,
    /// The kind it gives; `None` = the kind its reader asks for.
    pub gives: Option<DensityKind>,
    /// Result per unit of input: mg/cm³ per mg/cm³, or per HU.
    pub slope: f64,
    /// Result at input zero, mg/cm³.
    pub intercept_mg_cm3: f64,
    /// Inputs for which the source has data.
    pub valid: ValidRange,
}

const fn conversion(
    name: &'static str,
    citation: &'static str,
    formula: &'static str,
    reads: Reads,
    gives: DensityKind,
    slope: f64,
    intercept_mg_cm3: f64,
) -> DensityConversion {
    DensityConversion {
        name,
        citation,
        formula,
        reads,
        gives: Some(gives),
        slope,
        intercept_mg_cm3,
        valid: ValidRange::UNSTATED,
    }
}

/// K2HPO4-equivalent over HA-equivalent density of the same bone. Goodsitt 1992 gives 0.86 at 80 kVp and
/// 0.81 at 140 kVp; 120 kVp is interpolated between them.
const K2HPO4_PER_HA_80: f64 = 0.86;
const K2HPO4_PER_HA_120: f64 = 0.83;
const K2HPO4_PER_HA_140: f64 = 0.81;

const GOODSITT: &str = "Goodsitt MM, Bone Miner 19:145-158, 1992 (liquid against solid standards)";
const GOODSITT_120: &str = "Goodsitt MM, Bone Miner 19:145-158, 1992, interpolated between his 80 and 140 kVp (120 kVp was not measured)";

use DensityKind::{Ash, Ha, K2Hpo4};

impl DensityConversion {
    /// Every conversion this crate knows.
    pub const ALL: &'static [Self] = &[
        // Saillard 2024 Eq. 1 as printed writes E = 14900 rhoQCT^1.86: the phantom-equivalent density
        // goes into a law for ash density unchanged. Deliberate, and to be chosen by name.
        Self {
            name: "identity",
            citation: "Saillard et al., Sci Rep 14:16576, 2024, Eq. 1 as printed",
            formula: "rho = rho_QCT",
            reads: Reads::Anything,
            gives: None,
            slope: 1.0,
            intercept_mg_cm3: 0.0,
            valid: ValidRange::UNSTATED,
        },
        conversion(
            "keyak1994",
            "Keyak JH et al., J Biomed Mater Res 28:1329-1336, 1994",
            "rho_ash = 1.06 rho_K2HPO4 + 0.0389",
            Reads::Kind(K2Hpo4),
            Ash,
            1.06,
            38.9,
        ),
        conversion(
            "trabelsi2011",
            "Trabelsi N et al., J Biomech 44:1666-1672, 2011, as tabulated by Knowles et al. 2016 (PMC5234499, Table 1)",
            "rho_ash = 1.22 rho_K2HPO4 + 0.0523",
            Reads::Kind(K2Hpo4),
            Ash,
            1.22,
            52.3,
        ),
        conversion(
            "ha_identity",
            "Tarala et al. 2011, as tabulated by Knowles et al. 2016 (PMC5234499, Table 1)",
            "rho_ash = rho_HA",
            Reads::Kind(Ha),
            Ash,
            1.0,
            0.0,
        ),
        conversion(
            "schileo2008",
            "Schileo et al., J Biomech 41, 2008 (rho_HA = -0.09 + 1.14 rho_ash, inverted)",
            "rho_ash = 0.877 rho_HA + 0.079",
            Reads::Kind(Ha),
            Ash,
            0.877,
            79.0,
        ),
        conversion(
            "keyak2005_ha",
            "Keyak JH et al., Clin Orthop Relat Res 437:219-228, 2005 and the studies that follow it (Image Analysis phantom)",
            "rho_ash = 0.0633 + 0.887 rho_HA",
            Reads::Kind(Ha),
            Ash,
            0.887,
            63.3,
        ),
        conversion(
            "mayo2011",
            "as tabulated by Knowles et al. 2016 (PMC5234499, Table 1); Mindways phantom, 120 kVp",
            "rho_ash = -0.009 + 0.0007 HU",
            Reads::Hounsfield,
            Ash,
            0.7,
            -9.0,
        ),
        conversion(
            "ha_to_k2hpo4_80kvp",
            GOODSITT,
            "rho_K2HPO4 = 0.86 rho_HA",
            Reads::Kind(Ha),
            K2Hpo4,
            K2HPO4_PER_HA_80,
            0.0,
        ),
        conversion(
            "ha_to_k2hpo4_120kvp",
            GOODSITT_120,
            "rho_K2HPO4 = 0.83 rho_HA",
            Reads::Kind(Ha),
            K2Hpo4,
            K2HPO4_PER_HA_120,
            0.0,
        ),
        conversion(
            "ha_to_k2hpo4_140kvp",
            GOODSITT,
            "rho_K2HPO4 = 0.81 rho_HA",
            Reads::Kind(Ha),
            K2Hpo4,
            K2HPO4_PER_HA_140,
            0.0,
        ),
        conversion(
            "k2hpo4_to_ha_80kvp",
            GOODSITT,
            "rho_HA = rho_K2HPO4 / 0.86",
            Reads::Kind(K2Hpo4),
            Ha,
            1.0 / K2HPO4_PER_HA_80,
            0.0,
        ),
        conversion(
            "k2hpo4_to_ha_120kvp",
            GOODSITT_120,
            "rho_HA = rho_K2HPO4 / 0.83",
            Reads::Kind(K2Hpo4),
            Ha,
            1.0 / K2HPO4_PER_HA_120,
            0.0,
        ),
        conversion(
            "k2hpo4_to_ha_140kvp",
            GOODSITT,
            "rho_HA = rho_K2HPO4 / 0.81",
            Reads::Kind(K2Hpo4),
            Ha,
            1.0 / K2HPO4_PER_HA_140,
            0.0,
        ),
    ];

    /// The conversion of this name.
    ///
    /// # Errors
    /// [`Error::Parameter`] listing the known names.
    pub fn named(name: &str) -> Result<&'static Self> {
        Self::ALL.iter().find(|c| c.name == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|c| c.name).collect();
            Error::Parameter(format!(
                "unknown density conversion '{name}'; known are {}",
                known.join(", ")
            ))
        })
    }

    /// Converts a density for a reader (a law) that asks for `target`.
    ///
    /// `identity` gives the numbers the reader's kind unchanged; every other conversion gives its own
    /// kind, which must be the target.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when the density is not of the kind that the conversion reads or the
    /// conversion does not give the target; [`Error::Parameter`] for a conversion that starts from CT
    /// numbers (use [`DensityConversion::calibration`]).
    pub fn convert<D: DensityValues>(
        &self,
        density: Density<D>,
        target: DensityKind,
    ) -> Result<Density<D>> {
        let reader = format!("the conversion '{}' ({})", self.name, self.formula);
        match self.reads {
            Reads::Anything => {}
            Reads::Kind(kind) => density.check_kind(kind, &reader)?,
            Reads::Hounsfield => {
                return Err(Error::Parameter(format!(
                    "{reader} starts from CT numbers, not from a calibrated density: it replaces the calibration"
                )));
            }
        }
        let gives = self.gives.unwrap_or(target);
        if gives != target {
            return Err(Error::WrongKind {
                reader: "the law".into(),
                expected: target,
                found: gives,
                remedy: format!(
                    "the conversion '{}' gives {gives}: choose one that gives {target}",
                    self.name
                ),
            });
        }
        let converted = if self.reads == Reads::Anything {
            density.mg_cm3
        } else {
            density.mg_cm3.map_values(|value| self.at_mg_cm3(value))
        };
        Ok(Density::new(gives, converted))
    }

    /// The result for one input, mg/cm³.
    pub fn at_mg_cm3(&self, input: f64) -> f64 {
        self.slope * input + self.intercept_mg_cm3
    }

    /// For a conversion that starts from CT numbers: the calibration that it is. `None` for the others.
    pub fn calibration(&self) -> Option<Calibration> {
        match (self.reads, self.gives) {
            (Reads::Hounsfield, Some(kind)) => {
                Calibration::line(self.slope, self.intercept_mg_cm3, kind).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
