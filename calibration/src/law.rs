//! Density to Young's modulus and to strength, by published laws.
//!
//! Every law is `a rho^b + c` in MPa with rho in g/cm³, or (for strength) a fixed yield strain. A law
//! states the kind of density it reads and refuses others; its floors are applied in the order density,
//! law, result, and every value they touch is counted.

mod published;

use std::borrow::Cow;

use crate::density::{DensityKind, ElementDensity};
use crate::error::{Error, Result};
use published::{ELASTICITY, STRENGTH, VERTEBRA};

/// The densities for which a source vouches, mg/cm³; `None` = no bound stated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidRange {
    /// Smallest density, mg/cm³.
    pub low: Option<f64>,
    /// Largest density, mg/cm³.
    pub high: Option<f64>,
    /// Why these bounds.
    pub reason: &'static str,
}

impl ValidRange {
    /// No bound.
    pub const UNSTATED: Self = Self {
        low: None,
        high: None,
        reason: "the source as quoted states no range",
    };

    /// Whether a density (mg/cm³) lies inside the bounds.
    pub fn contains(&self, mg_cm3: f64) -> bool {
        self.low.is_none_or(|low| mg_cm3 >= low) && self.high.is_none_or(|high| mg_cm3 <= high)
    }
}

/// `coefficient * rho^exponent + constant`, MPa for rho in g/cm³.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Power {
    /// MPa at 1 g/cm³, without the constant.
    pub coefficient: f64,
    /// Power of the density.
    pub exponent: f64,
    /// Added, MPa.
    pub constant: f64,
}

impl Power {
    /// The value (MPa) at a density in mg/cm³; negative densities count as 0.
    pub fn at(&self, mg_cm3: f64) -> f64 {
        // The laws are printed for g/cm³.
        let rho = mg_cm3.max(0.0) / 1000.0;
        self.coefficient * rho.powf(self.exponent) + self.constant
    }

    /// From `[a, b]` or `[a, b, c]` of `a rho^b + c`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another count, a value that is not finite, `a <= 0` or `b <= 0`.
    pub fn from_coefficients(coefficients: &[f64]) -> Result<Self> {
        let (coefficient, exponent, constant) = match *coefficients {
            [a, b] => (a, b, 0.0),
            [a, b, c] => (a, b, c),
            _ => {
                return Err(Error::Parameter(format!(
                    "{} coefficients; a law a rho^b + c (MPa, rho in g/cm3) takes [a, b] or [a, b, c]",
                    coefficients.len()
                )));
            }
        };
        let fine =
            coefficients.iter().all(|c| c.is_finite()) && coefficient > 0.0 && exponent > 0.0;
        if !fine {
            return Err(Error::Parameter(format!(
                "coefficients {coefficients:?}; a and b of a rho^b + c must be positive, c finite"
            )));
        }
        Ok(Self {
            coefficient,
            exponent,
            constant,
        })
    }
}

/// Lower bounds of a law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Densities below this are raised to it before the law, mg/cm³.
    pub density_mg_cm3: Option<f64>,
    /// Results below this are raised to it, MPa.
    pub mpa: f64,
}

/// The values of a law over many elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Value of each element, MPa; positive where the floor is.
    pub mpa: Vec<f64>,
    /// Elements that a floor touched.
    pub clamped: usize,
    /// Elements whose density lies outside the law's valid range.
    pub outside_range: usize,
}

/// Young's modulus from density.
#[derive(Clone, Debug, PartialEq)]
pub struct ElasticityLaw {
    /// The name used in plans and on the command line (`material.law`).
    pub name: Cow<'static, str>,
    /// Where it comes from.
    pub citation: Cow<'static, str>,
    /// The bone it was measured on.
    pub site: Cow<'static, str>,
    /// The kind of density it reads.
    pub kind: DensityKind,
    /// The law.
    pub power: Power,
    /// Densities for which the source vouches.
    pub valid: ValidRange,
    /// Its lower bounds.
    pub floor: Floor,
}

impl ElasticityLaw {
    /// The names of the published laws.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ELASTICITY.iter().map(|law| law.name)
    }

    /// A published law.
    ///
    /// # Errors
    /// [`Error::Parameter`] listing the known names.
    pub fn named(name: &str) -> Result<Self> {
        let law = ELASTICITY
            .iter()
            .find(|law| law.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::names().collect();
                Error::Parameter(format!(
                    "unknown elasticity law '{name}'; known are {}, or 'user' with coefficients",
                    known.join(", ")
                ))
            })?;
        Ok(Self {
            name: law.name.into(),
            citation: law.citation.into(),
            site: law.site.into(),
            kind: law.kind,
            power: law.power,
            valid: law.valid,
            floor: law.floor,
        })
    }

    /// A law of the user's own, `E = a rho^b + c` in MPa with rho in g/cm³ of the given kind; floor
    /// 1e-4 MPa until set.
    ///
    /// # Errors
    /// As [`Power::from_coefficients`].
    pub fn user(coefficients: &[f64], kind: DensityKind) -> Result<Self> {
        Ok(Self {
            name: "user".into(),
            citation: "given by the user".into(),
            site: "given by the user".into(),
            kind,
            power: Power::from_coefficients(coefficients)?,
            valid: ValidRange::UNSTATED,
            floor: Floor {
                density_mg_cm3: None,
                mpa: 1e-4,
            },
        })
    }

    /// The same law with other coefficients; its citation says so.
    ///
    /// # Errors
    /// As [`Power::from_coefficients`].
    pub fn with_coefficients(mut self, coefficients: &[f64]) -> Result<Self> {
        self.power = Power::from_coefficients(coefficients)?;
        self.citation = format!("{}, coefficients changed by the user", self.citation).into();
        Ok(self)
    }

    /// Young's modulus at one density of the law's kind, MPa, floors applied.
    pub fn at_mpa(&self, mg_cm3: f64) -> f64 {
        floored(mg_cm3, self.floor, |raised| self.power.at(raised)).0
    }

    /// Young's modulus of every element.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a density of another kind, [`Error::NonFinite`] for NaN densities,
    /// [`Error::Parameter`] when the floors leave a modulus that is not positive.
    pub fn modulus(&self, density: &ElementDensity) -> Result<Evaluated> {
        density.check_kind(self.kind, &format!("the elasticity law '{}'", self.name))?;
        evaluate(
            &density.mg_cm3,
            &self.valid,
            &format!("elasticity law '{}'", self.name),
            |_, mg_cm3| floored(mg_cm3, self.floor, |raised| self.power.at(raised)),
        )
    }
}

/// What a strength is computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StrengthForm {
    /// From density.
    Power(Power),
    /// This strain times the element's Young's modulus.
    YieldStrain(f64),
}

/// Yield stress from density, or from the modulus by a yield strain.
#[derive(Clone, Debug, PartialEq)]
pub struct StrengthLaw {
    /// The name used in plans and on the command line (`material.strength_law`).
    pub name: Cow<'static, str>,
    /// Where it comes from.
    pub citation: Cow<'static, str>,
    /// The bone it was measured on.
    pub site: Cow<'static, str>,
    /// The kind of density it reads; `None` when it needs no density.
    pub kind: Option<DensityKind>,
    /// The law.
    pub form: StrengthForm,
    /// Densities for which the source vouches.
    pub valid: ValidRange,
    /// Its lower bounds.
    pub floor: Floor,
}

/// Yield stress below which no law goes, MPa. Our own choice: small against any bone (0.03 MPa at
/// 0.01 g/cm³), and positive, as plasticity needs.
pub const LEAST_STRENGTH_MPA: f64 = 1e-4;

/// Yield strain of Saillard et al. 2024 for vertebrae.
pub const SAILLARD_YIELD_STRAIN: f64 = 0.015;

impl StrengthLaw {
    /// The names of the published laws.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STRENGTH.iter().map(|law| law.name).chain(["yield_strain"])
    }

    /// A published law. `yield_strain` is the 1.5 % of Saillard 2024.
    ///
    /// # Errors
    /// [`Error::Parameter`] listing the known names.
    pub fn named(name: &str) -> Result<Self> {
        if name == "yield_strain" {
            return Self::yield_strain(SAILLARD_YIELD_STRAIN).map(|law| Self {
                citation: "Saillard et al., Sci Rep 14:16576, 2024 (yield strain 1.5 %); von Mises is inferred".into(),
                ..law
            });
        }
        let law = STRENGTH
            .iter()
            .find(|law| law.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::names().collect();
                Error::Parameter(format!(
                    "unknown strength law '{name}'; known are {}, or 'user' with coefficients",
                    known.join(", ")
                ))
            })?;
        Ok(Self {
            name: law.name.into(),
            citation: law.citation.into(),
            site: law.site.into(),
            kind: Some(law.kind),
            form: StrengthForm::Power(law.power),
            valid: law.valid,
            floor: law.floor,
        })
    }

    /// Yield at a fixed strain: stress = strain times modulus, whatever the density.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the strain is positive and below 1.
    pub fn yield_strain(strain: f64) -> Result<Self> {
        if !(strain > 0.0 && strain < 1.0) {
            return Err(Error::Parameter(format!(
                "yield strain {strain}; it must lie between 0 and 1 (1.5 % is 0.015)"
            )));
        }
        Ok(Self {
            name: "yield_strain".into(),
            citation: "given by the user".into(),
            site: VERTEBRA.into(),
            kind: None,
            form: StrengthForm::YieldStrain(strain),
            valid: ValidRange::UNSTATED,
            floor: Floor {
                density_mg_cm3: None,
                mpa: 0.0,
            },
        })
    }

    /// A law of the user's own, `S = a rho^b + c` in MPa with rho in g/cm³ of the given kind.
    ///
    /// # Errors
    /// As [`Power::from_coefficients`].
    pub fn user(coefficients: &[f64], kind: DensityKind) -> Result<Self> {
        Ok(Self {
            name: "user".into(),
            citation: "given by the user".into(),
            site: "given by the user".into(),
            kind: Some(kind),
            form: StrengthForm::Power(Power::from_coefficients(coefficients)?),
            valid: ValidRange::UNSTATED,
            floor: Floor {
                density_mg_cm3: None,
                mpa: LEAST_STRENGTH_MPA,
            },
        })
    }

    /// The same law with other coefficients (`[strain]` for a yield strain); its citation says so.
    ///
    /// # Errors
    /// As [`Power::from_coefficients`] and [`StrengthLaw::yield_strain`].
    pub fn with_coefficients(mut self, coefficients: &[f64]) -> Result<Self> {
        self.form = match (self.form, coefficients) {
            (StrengthForm::YieldStrain(_), [strain]) => Self::yield_strain(*strain)?.form,
            (StrengthForm::YieldStrain(_), _) => {
                return Err(Error::Parameter(format!(
                    "{} coefficients; a yield strain takes one, such as [0.015]",
                    coefficients.len()
                )));
            }
            (StrengthForm::Power(_), _) => {
                StrengthForm::Power(Power::from_coefficients(coefficients)?)
            }
        };
        self.citation = format!("{}, coefficients changed by the user", self.citation).into();
        Ok(self)
    }

    /// Yield stress at one density (mg/cm³, of the law's kind) and modulus (MPa), floors applied.
    pub fn at_mpa(&self, mg_cm3: f64, youngs_modulus_mpa: f64) -> f64 {
        self.value(mg_cm3, youngs_modulus_mpa).0
    }

    fn value(&self, mg_cm3: f64, youngs_modulus_mpa: f64) -> (f64, bool) {
        floored(mg_cm3, self.floor, |raised| match self.form {
            StrengthForm::Power(power) => power.at(raised),
            StrengthForm::YieldStrain(strain) => strain * youngs_modulus_mpa,
        })
    }

    /// Yield stress of every element; `youngs_modulus_mpa` is what the elasticity law gave.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a density of another kind, [`Error::NonFinite`] for NaN densities,
    /// [`Error::Parameter`] for lists of different length or a strength that is not positive.
    pub fn strength(
        &self,
        density: &ElementDensity,
        youngs_modulus_mpa: &[f64],
    ) -> Result<Evaluated> {
        if let Some(kind) = self.kind {
            density.check_kind(kind, &format!("the strength law '{}'", self.name))?;
        }
        if density.mg_cm3.len() != youngs_modulus_mpa.len() {
            return Err(Error::Parameter(format!(
                "{} densities and {} moduli; there must be one of each per element",
                density.mg_cm3.len(),
                youngs_modulus_mpa.len()
            )));
        }
        evaluate(
            &density.mg_cm3,
            &self.valid,
            &format!("strength law '{}'", self.name),
            |element, mg_cm3| self.value(mg_cm3, youngs_modulus_mpa[element]),
        )
    }
}

/// A value with its floors, and whether one of them acted.
fn floored(mg_cm3: f64, floor: Floor, law: impl Fn(f64) -> f64) -> (f64, bool) {
    let low = floor.density_mg_cm3.filter(|low| mg_cm3 < *low);
    let value = law(low.unwrap_or(mg_cm3));
    if value < floor.mpa {
        (floor.mpa, true)
    } else {
        (value, low.is_some())
    }
}

fn evaluate(
    mg_cm3: &[f64],
    valid: &ValidRange,
    law: &str,
    value: impl Fn(usize, f64) -> (f64, bool),
) -> Result<Evaluated> {
    let broken = mg_cm3.iter().filter(|density| !density.is_finite()).count();
    if broken > 0 {
        return Err(Error::NonFinite {
            what: "element densities",
            count: broken,
            total: mg_cm3.len(),
        });
    }
    let mut evaluated = Evaluated {
        mpa: Vec::with_capacity(mg_cm3.len()),
        clamped: 0,
        outside_range: 0,
    };
    for (element, &density) in mg_cm3.iter().enumerate() {
        let (mpa, clamped) = value(element, density);
        if !(mpa.is_finite() && mpa > 0.0) {
            return Err(Error::Parameter(format!(
                "the {law} gives {mpa} MPa at {density} mg/cm3; set a floor above zero"
            )));
        }
        evaluated.mpa.push(mpa);
        evaluated.clamped += usize::from(clamped);
        evaluated.outside_range += usize::from(!valid.contains(density));
    }
    Ok(evaluated)
}

#[cfg(test)]
mod tests;
