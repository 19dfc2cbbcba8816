//! Beyond yield: the plateau, softening and residual stress of Keyak 2005 as coded by Sas 2020.
//!
//! Uniaxial curve of an element of ash density rho (g/cm³) and softening length h (mm): elastic to
//! `(eps_A, S)`, flat to `eps_B = eps_A + eps_AB`, falling with slope `E_p,h` to `sigma_min` at `eps_C`,
//! flat from there on. The published specimen values hold for a specimen of length L, in which
//! one element of length h localises while the rest unloads elastically:
//!
//! ```text
//! L / E_p = h / E_p,h + (L - h) / E        eps_AB = (specimen plateau) L / h
//! ```
//!
//! | | trabecular | cortical |
//! |---|---|---|
//! | L, mm | 15 | 5 |
//! | specimen plateau | 0.00189 + 0.0241 rho | 0.0184 - 0.0100 rho, 0 above 1.84 g/cm³ |
//! | specimen softening E_p, MPa | -2080 rho^1.45 | -1000 |
//! | sigma_min, MPa | 43.1 rho^1.81 | 43.1 rho^1.81 |
//!
//! In a plasticity code the plastic modulus is `H = E E_p,h / (E - E_p,h)` and the kinks lie at the plastic
//! strains `p_B = eps_AB` and `p_C = p_B + (S - sigma_min) / |H|`.
//!
//! Source: Keyak JH, Kaneko TS, Tehranzadeh J, Skinner HB, Clin Orthop Relat Res 437:219-228, 2005; the
//! length correction with h = 3 mm as in the program of Sas A et al. 2020.

use crate::error::{Error, Result};

/// Which of the two post-yield branches an element follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TissueKind {
    /// Trabecular bone.
    Trabecular,
    /// Cortical bone.
    Cortical,
}

/// Ash density from which bone counts as cortical, g/cm³: the practice of the Keyak line of models. Only
/// plateau and softening jump there; modulus, strength and residual stress do not.
pub const CORTICAL_THRESHOLD_G_CM3: f64 = 0.6;

impl TissueKind {
    /// Cortical from `threshold_g_cm3` of ash density on.
    pub fn by_threshold(ash_mg_cm3: f64, threshold_g_cm3: f64) -> Self {
        if ash_mg_cm3 / 1000.0 < threshold_g_cm3 {
            Self::Trabecular
        } else {
            Self::Cortical
        }
    }

    /// Length of the specimens behind the curve, mm (Keyak 2005).
    pub fn specimen_length_mm(self) -> f64 {
        match self {
            Self::Trabecular => 15.0,
            Self::Cortical => 5.0,
        }
    }

    /// Plateau strain of a specimen (Keyak 2005); cortical bone above 1.84 g/cm³ would have a negative one
    /// and is given 0.
    fn specimen_plateau(self, rho: f64) -> f64 {
        match self {
            Self::Trabecular => 0.00189 + 0.0241 * rho,
            Self::Cortical => (0.0184 - 0.0100 * rho).max(0.0),
        }
    }

    /// Softening modulus of a specimen, MPa (Keyak 2005).
    fn specimen_softening(self, rho: f64) -> f64 {
        match self {
            Self::Trabecular => -2080.0 * rho.powf(1.45),
            Self::Cortical => -1000.0,
        }
    }
}

/// Whether and over which length elements soften.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Softening {
    /// The plateau lasts for ever.
    Off,
    /// The correction for 3 mm elements, whatever their size, as in the program of Sas 2020.
    Fixed3mm,
    /// The correction for the element's own size, mm.
    ElementSize(f64),
}

impl Softening {
    /// By its name in a plan (`off`, `fixed_3mm`, `element_size`); the size (mm) is used by the last.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another name.
    pub fn named(name: &str, element_size_mm: f64) -> Result<Self> {
        match name {
            "off" => Ok(Self::Off),
            "fixed_3mm" => Ok(Self::Fixed3mm),
            "element_size" => Ok(Self::ElementSize(element_size_mm)),
            _ => Err(Error::Parameter(format!(
                "unknown softening '{name}'; known are off, fixed_3mm, element_size"
            ))),
        }
    }
}

/// The softening branch of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SofteningBranch {
    /// Strain of the plateau, `eps_AB`; also the plastic strain `p_B` at its end.
    pub plateau_strain: f64,
    /// Whether the published plateau was negative and set to 0.
    pub plateau_clamped: bool,
    /// Slope of stress over total strain, `E_p,h` (negative), MPa.
    pub softening_modulus_mpa: f64,
    /// Slope of stress over plastic strain, `H` (negative), MPa.
    pub plastic_modulus_mpa: f64,
    /// Residual stress `sigma_min`, MPa.
    pub residual_mpa: f64,
    /// Plastic strain `p_C` at which it is reached.
    pub residual_plastic_strain: f64,
}

/// Uniaxial curve of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PostYieldCurve {
    /// Young's modulus `E`, MPa.
    pub youngs_modulus_mpa: f64,
    /// Yield stress `S`, MPa.
    pub yield_stress_mpa: f64,
    /// The softening branch; `None` when softening is off.
    pub softening: Option<SofteningBranch>,
}

impl PostYieldCurve {
    /// The curve of an element of the given ash density (mg/cm³), tissue, modulus and strength (MPa).
    ///
    /// # Errors
    /// [`Error::Parameter`] for values that are not positive, an element size beyond the specimen
    /// length (15 mm trabecular, 5 mm cortical), or a strength that does not exceed the residual stress.
    pub fn keyak2005(
        ash_mg_cm3: f64,
        tissue: TissueKind,
        youngs_modulus_mpa: f64,
        yield_stress_mpa: f64,
        softening: Softening,
    ) -> Result<Self> {
        for (what, value) in [
            ("Young's modulus", youngs_modulus_mpa),
            ("yield stress", yield_stress_mpa),
            ("ash density", ash_mg_cm3),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::Parameter(format!(
                    "{what} {value} at {ash_mg_cm3} mg/cm3 ash; it must be positive: set the floor of the law"
                )));
            }
        }
        let length = match softening {
            Softening::Off => None,
            Softening::Fixed3mm => Some(3.0),
            Softening::ElementSize(size) => Some(size),
        };
        let branch = length.map(|h| {
            branch(
                ash_mg_cm3 / 1000.0,
                tissue,
                youngs_modulus_mpa,
                yield_stress_mpa,
                h,
            )
        });
        Ok(Self {
            youngs_modulus_mpa,
            yield_stress_mpa,
            softening: branch.transpose()?,
        })
    }

    /// Yield strain `eps_A`.
    pub fn yield_strain(&self) -> f64 {
        self.yield_stress_mpa / self.youngs_modulus_mpa
    }

    /// Total strain `eps_B` at the end of the plateau; `None` when softening is off.
    pub fn plateau_end_strain(&self) -> Option<f64> {
        self.softening
            .map(|branch| self.yield_strain() + branch.plateau_strain)
    }

    /// Total strain `eps_C` at which the residual stress is reached; `None` when softening is off.
    pub fn residual_strain(&self) -> Option<f64> {
        let branch = self.softening?;
        let drop = self.yield_stress_mpa - branch.residual_mpa;
        Some(self.plateau_end_strain()? + drop / branch.softening_modulus_mpa.abs())
    }

    /// The points `[plastic strain, yield stress in MPa]` of a piecewise-linear hardening curve, constant
    /// beyond the last. Without a plateau there is no second point at zero plastic strain.
    pub fn points(&self) -> Vec<[f64; 2]> {
        let mut points = vec![[0.0, self.yield_stress_mpa]];
        if let Some(branch) = self.softening {
            if branch.plateau_strain > 0.0 {
                points.push([branch.plateau_strain, self.yield_stress_mpa]);
            }
            points.push([branch.residual_plastic_strain, branch.residual_mpa]);
        }
        points
    }
}

fn branch(
    rho: f64,
    tissue: TissueKind,
    modulus: f64,
    strength: f64,
    h: f64,
) -> Result<SofteningBranch> {
    let length = tissue.specimen_length_mm();
    if !(h > 0.0 && h <= length) {
        let name = match tissue {
            TissueKind::Trabecular => "trabecular",
            TissueKind::Cortical => "cortical",
        };
        return Err(Error::Parameter(format!(
            "softening length {h} mm; the correction for {name} bone holds up to its specimen length of {length} mm: use smaller elements, or softening fixed_3mm or off"
        )));
    }
    // Keyak 2005: residual stress of both tissues.
    let residual = 43.1 * rho.powf(1.81);
    if residual >= strength {
        return Err(Error::Parameter(format!(
            "at {rho} g/cm3 ash the strength {strength} MPa does not exceed the residual stress {residual} MPa of Keyak 2005: this strength law needs softening off"
        )));
    }
    let specimen_plateau = tissue.specimen_plateau(rho);
    let specimen = tissue.specimen_softening(rho);
    let softening = h * modulus * specimen / (length * modulus - (length - h) * specimen);
    let plastic = modulus * softening / (modulus - softening);
    let plateau = specimen_plateau * length / h;
    Ok(SofteningBranch {
        plateau_strain: plateau,
        plateau_clamped: tissue == TissueKind::Cortical && 0.0184 - 0.0100 * rho < 0.0,
        softening_modulus_mpa: softening,
        plastic_modulus_mpa: plastic,
        residual_mpa: residual,
        residual_plastic_strain: plateau + (strength - residual) / plastic.abs(),
    })
}

#[cfg(test)]
mod tests;
