//! Calibration phantoms: what their rods are equivalent to.
//!
//! The definitions are TOML files under `phantoms/`, and a user's own phantom is a file of the same form:
//!
//! ```toml
//! name = "my-phantom"
//! basis = "k2hpo4"                  # k2hpo4 or ha
//! source = "certificate 1234 of 2024-05-06"
//!
//! [[rod]]
//! name = "A"
//! equivalent_mg_cm3 = -51.83
//! water_mg_cm3 = 1012.25            # for every rod of a phantom, or for none
//! diameter_mm = 14.0                # optional; measured where it is not given
//! position_mm = [0.0, 0.0, 0.0]     # for every rod or for none; across the phantom (x, y) and along it
//! ```
//!
//! Rods with water-equivalent densities make it a Mindways-type phantom, which is fitted by the
//! two-equation regression (see [`crate::fit`]). Without `position_mm` the rods are taken to lie side by side
//! at equal distance, in the order of the file, when they are looked for in a scan ([`crate::find`]). Reference values belong to one serial number: the
//! shipped ones are starting points, the certificate decides.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::density::DensityKind;
use crate::error::{Error, Result};

/// Least difference of reference densities, mg/cm³, that two rods need to carry a line.
pub const LEAST_SPREAD_MG_CM3: f64 = 10.0;

/// One rod of a phantom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhantomRod {
    /// Its name on the certificate.
    pub name: String,
    /// The density it is equivalent to, of the phantom's basis, mg/cm³.
    pub equivalent_mg_cm3: f64,
    /// Its water-equivalent density (Mindways phantoms), mg/cm³.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub water_mg_cm3: Option<f64>,
    /// Its diameter, mm, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diameter_mm: Option<f64>,
    /// Where its centre stands in the phantom's own frame, mm, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_mm: Option<[f64; 3]>,
}

/// A calibration phantom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phantom {
    /// Its name, as given on the command line.
    pub name: String,
    /// What its rods are equivalent to.
    pub basis: DensityKind,
    /// Where the values come from.
    pub source: String,
    /// Whether the values come from a certificate, data sheet or released program. `false` puts a
    /// calibration with this phantom under review.
    #[serde(default = "verified", skip_serializing_if = "Clone::clone")]
    pub verified: bool,
    /// The rods, in the order of their labels (label 1 is the first).
    #[serde(rename = "rod")]
    pub rods: Vec<PhantomRod>,
}

fn verified() -> bool {
    true
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../phantoms/", $name, ".toml")))),*]
    };
}

/// Name and definition of every phantom that comes with the program.
const SHIPPED: &[(&str, &str)] = shipped![
    "mindways-model3-ct",
    "mindways-model3-qa",
    "qrm-bdc3",
    "qrm-bdc5",
    "qrm-bdc6",
    "image-analysis-qct3d-plus",
    "image-analysis-intable",
    "b-mas-200",
    "siemens-osteo",
    "european-spine-phantom",
];

impl Phantom {
    /// The names of the phantoms that come with the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// A phantom that comes with the program.
    ///
    /// # Errors
    /// [`Error::Parameter`] listing the known names.
    pub fn named(name: &str) -> Result<Self> {
        let found = SHIPPED.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| {
            let known: Vec<_> = Self::names().collect();
            Error::Parameter(format!(
                "unknown phantom '{name}'; known are {}, or the path of a phantom definition ending in .toml",
                known.join(", ")
            ))
        })?;
        Self::parse(text).map_err(|reason| Error::Phantom {
            phantom: name.to_string(),
            reason,
        })
    }

    /// Reads a phantom definition.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text).map_err(|reason| Error::Format {
            path: path.to_path_buf(),
            reason,
        })
    }

    /// A phantom by name, or by the path of its definition when `model` ends in `.toml`.
    ///
    /// # Errors
    /// As [`Phantom::named`] and [`Phantom::read`].
    pub fn find(model: &str) -> Result<Self> {
        let path = Path::new(model);
        let is_file = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if is_file {
            Self::read(path)
        } else {
            Self::named(model)
        }
    }

    /// The definition as TOML text, in the form that [`Phantom::read`] takes.
    ///
    /// # Errors
    /// [`Error::Phantom`] when a value cannot be written.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Phantom {
            phantom: self.name.clone(),
            reason: error.to_string(),
        })
    }

    /// Whether the rods carry water-equivalent densities, that is, whether the two-equation regression
    /// applies.
    pub fn has_water(&self) -> bool {
        self.rods.iter().all(|rod| rod.water_mg_cm3.is_some())
    }

    /// Whether nothing is said against all rods being equally thick.
    pub(crate) fn is_of_one_size(&self) -> bool {
        let same = |pair: &[PhantomRod]| pair[0].diameter_mm == pair[1].diameter_mm;
        self.rods.windows(2).all(same)
    }

    /// Checks what the form alone does not: names, spread of the densities, all or no water values.
    ///
    /// # Errors
    /// [`Error::Phantom`] saying what is wrong and how to mend it.
    pub fn check(&self) -> Result<()> {
        self.fault().map_or(Ok(()), |reason| {
            Err(Error::Phantom {
                phantom: self.name.clone(),
                reason,
            })
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let phantom: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        phantom.fault().map_or(Ok(phantom), Err)
    }

    fn fault(&self) -> Option<String> {
        if self.name.trim().is_empty() {
            return Some("name is empty".into());
        }
        if !self.basis.is_phantom_equivalent() {
            return Some(format!(
                "basis is {}; the rods of a phantom are equivalent to k2hpo4 or ha",
                self.basis
            ));
        }
        if self.rods.len() < 2 {
            return Some(format!(
                "{} rod; a line needs at least two rods of different density",
                self.rods.len()
            ));
        }
        for (number, rod) in self.rods.iter().enumerate() {
            if let Some(reason) = rod.fault() {
                return Some(format!("rod {} '{}': {reason}", number + 1, rod.name));
            }
            if self.rods[..number]
                .iter()
                .any(|other| other.name == rod.name)
            {
                return Some(format!("two rods are named '{}'", rod.name));
            }
        }
        let with_water = self
            .rods
            .iter()
            .filter(|r| r.water_mg_cm3.is_some())
            .count();
        if with_water != 0 && with_water != self.rods.len() {
            return Some(format!(
                "{with_water} of {} rods have water_mg_cm3; give it for all of them or for none",
                self.rods.len()
            ));
        }
        let spread = spread(self.rods.iter().map(|rod| rod.equivalent_mg_cm3));
        (spread < LEAST_SPREAD_MG_CM3).then(|| {
            format!(
                "the rods' densities span {spread} mg/cm3; a line needs at least {LEAST_SPREAD_MG_CM3}"
            )
        })
    }
}

/// Largest minus smallest value.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    high - low
}

impl PhantomRod {
    fn fault(&self) -> Option<String> {
        if self.name.trim().is_empty() {
            return Some("its name is empty".into());
        }
        if !self.equivalent_mg_cm3.is_finite() {
            return Some(format!(
                "equivalent_mg_cm3 is {}; it must be a number",
                self.equivalent_mg_cm3
            ));
        }
        if let Some(water) = self.water_mg_cm3.filter(|w| !(w.is_finite() && *w > 0.0)) {
            return Some(format!("water_mg_cm3 is {water}; it must be positive"));
        }
        if let Some(diameter) = self.diameter_mm.filter(|d| !(d.is_finite() && *d > 0.0)) {
            return Some(format!("diameter_mm is {diameter}; it must be positive"));
        }
        match self.position_mm {
            Some(p) if !p.iter().all(|v| v.is_finite()) => Some("position_mm is not finite".into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
