//! Calibration without a phantom, by the patient's own tissues.
//!
//! # Method
//! Michalski et al. 2020 (Med Eng Phys), as the public program Ogo (Bonelab) codes it:
//!
//! 1. the mean CT numbers of at least three of adipose tissue, air, blood, cortical bone and muscle are
//!    measured;
//! 2. for every energy from 1.5 to 200 keV, in steps of 0.5, the tissues' mass attenuation (NIST, ICRU-44)
//!    is regressed on their CT numbers. The energy of greatest r² is the effective energy of the scan;
//! 3. there, `u(HU)` is that line, and `rho(HU)` a line through the tissues' Archimedean densities
//!    `mu_water (HU / 1000 + 1) / (mu / rho)_tissue`, g/cm³;
//! 4. what the CT number shows is taken as a mixture of K2HPO4 and triglyceride:
//!
//! ```text
//! K2HPO4 (mg/cm³) = 1000 rho (u - u_triglyceride) / (u_K2HPO4 - u_triglyceride)
//! ```
//!
//! Tables are interpolated linearly between their energies, as there: the published example (97 keV,
//! r² 0.998965) comes out so, and not by interpolation of logarithms (96.5 keV, 0.999011).
//!
//! # Not a line
//! The product of two lines is a parabola: `c + m HU + q HU²`, whose slope doubles from fat to cortical
//! bone. [`Calibration::quadratic_mg_cm3_per_hu2`] holds `q`. Below its lowest point (about -600 HU) the
//! density stays there.
//!
//! # Regions
//! [`measure_tissues`] finds them; see there. Any of them can be taken from a label map. Blood is found in the trunk alone, in front of the
//! spine, and left out where it is not sure. A scan of other tissues is not noticed except by the ranges of [`Tissue::plausible_hu`], and
//! contrast agent by those and by the check `tissue_blood_found`.
//!
//! # Error
//! The regression has no error of its own that would mean anything: its tissues are not points of one line with noise, and the
//! energy is searched for. What the calibration owes to any one tissue shows when that is left out
//! ([`Calibration::without_tissue`]).
//!
//! The fat/air line of O. N. Diagnostics (Lee et al. 2017, Bone 103:325) goes through two tissues and the
//! mean densities that a population has for them; those are not published. [`two_point`] draws such a line
//! through densities that the user knows.

mod attenuation;
mod regions;
mod vessel;

use serde::{Deserialize, Serialize};

use crate::density::DensityKind;
use crate::error::{Error, Result};
use crate::fit::{Calibration, Check, CheckStatus, Method, R2_REFUSE, R2_REVIEW};
use crate::rods::Rod;
use attenuation::Tables;
pub use regions::{TissueRegions, measure_tissues};

/// Fewest tissues of a calibration (Michalski 2020).
pub const LEAST_TISSUES: usize = 3;
/// Least span of the tissues' CT numbers, HU: soft tissues alone say nothing of bone.
const LEAST_SPREAD_HU: f64 = 500.0;
/// Energies between which a scan of 80 to 140 kVp is expected, keV; beyond them it is for review. Our own
/// choice, wide: the published example has 97 keV.
pub const ENERGIES_KEV: [f64; 2] = [45.0, 110.0];

/// Energies that no CT scanner's beam has in effect, keV: tubes run at 150 kV at most, and what leaves a patient has lost its soft
/// part. Three tissues without air fit such energies, and densities that are none. Our own choice, wide.
const POSSIBLE_KEV: [f64; 2] = [30.0, 140.0];

/// A tissue of known mass attenuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tissue {
    /// Fat.
    Adipose,
    /// Air outside the body.
    Air,
    /// Blood of a great vessel, without contrast agent.
    Blood,
    /// Cortical bone.
    CorticalBone,
    /// Skeletal muscle.
    Muscle,
}

impl Tissue {
    /// All of them, in the order of the published example.
    pub const ALL: [Self; 5] = [
        Self::Adipose,
        Self::Air,
        Self::Blood,
        Self::CorticalBone,
        Self::Muscle,
    ];

    /// Its name in a calibration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adipose => "adipose",
            Self::Air => "air",
            Self::Blood => "blood",
            Self::CorticalBone => "cortical_bone",
            Self::Muscle => "muscle",
        }
    }

    /// CT numbers that are plausible for it, HU (Michalski 2020 as coded in Ogo).
    pub fn plausible_hu(self) -> [f64; 2] {
        match self {
            Self::Adipose => [-130.0, -70.0],
            Self::Air => [-1030.0, -980.0],
            Self::Blood => [-20.0, 60.0],
            Self::CorticalBone => [950.0, 1450.0],
            Self::Muscle => [-5.0, 65.0],
        }
    }
}

impl std::str::FromStr for Tissue {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|tissue| tissue.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{name}` is no tissue; tissues are {names}")
            })
    }
}

/// A tissue as measured in a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct TissueSample {
    /// Which tissue.
    pub tissue: Tissue,
    /// Mean CT number, HU.
    pub hu_mean: f64,
    /// Standard deviation of its CT numbers, HU; `None` for a single voxel.
    pub hu_sd: Option<f64>,
    /// Voxels measured.
    pub voxels: usize,
    /// A place of the region, LPS mm; `None` when it is not known.
    pub centre_mm: Option<[f64; 3]>,
}

/// What step 2 and 3 of the method give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectiveEnergy {
    /// Effective energy of the scan, keV.
    pub energy_kev: f64,
    /// Coefficient of determination of mass attenuation on CT number.
    pub r2: f64,
    /// Mass attenuation per CT number, cm²/g per HU, and at 0 HU, cm²/g.
    pub attenuation: [f64; 2],
    /// Archimedean density per CT number, g/cm³ per HU, and at 0 HU, g/cm³.
    pub density: [f64; 2],
    /// Mass attenuation of K2HPO4 and of triglyceride at that energy, cm²/g.
    pub components: [f64; 2],
}

impl EffectiveEnergy {
    /// Fits the method to measured tissues.
    ///
    /// # Errors
    /// [`Error::Fit`] for fewer than three tissues, a tissue given twice or CT numbers that are not finite
    /// or all alike.
    pub fn of(samples: &[TissueSample]) -> Result<Self> {
        check(samples)?;
        let tables = Tables::shipped()?;
        let hu: Vec<f64> = samples.iter().map(|sample| sample.hu_mean).collect();
        let mut best: Option<(f64, f64, [f64; 2])> = None;
        for step in 3..=400 {
            let energy = 0.5 * f64::from(step);
            let y: Vec<f64> = samples
                .iter()
                .map(|sample| tables.of(sample.tissue).at(energy))
                .collect();
            let (line, r2) = regression(&hu, &y);
            if best.is_none_or(|(_, most, _)| r2 > most) {
                best = Some((energy, r2, line));
            }
        }
        let (energy_kev, r2, attenuation) =
            best.ok_or_else(|| Error::Fit("no energy fits the tissues".into()))?;
        let water = tables.water.at(energy_kev);
        let densities: Vec<f64> = samples
            .iter()
            .map(|s| water * (s.hu_mean / 1000.0 + 1.0) / tables.of(s.tissue).at(energy_kev))
            .collect();
        Ok(Self {
            energy_kev,
            r2,
            attenuation,
            density: regression(&hu, &densities).0,
            components: [
                tables.k2hpo4.at(energy_kev),
                tables.triglyceride.at(energy_kev),
            ],
        })
    }

    /// The parabola `[q, m, c]` of the K2HPO4 density, mg/cm³: `q HU² + m HU + c`.
    pub fn parabola(&self) -> [f64; 3] {
        let [k2hpo4, triglyceride] = self.components;
        let scale = 1000.0 / (k2hpo4 - triglyceride);
        let [u1, u0] = self.attenuation;
        let [d1, d0] = self.density;
        let over = u0 - triglyceride;
        [
            scale * d1 * u1,
            scale * (d1 * over + d0 * u1),
            scale * d0 * over,
        ]
    }
}

/// Slope and intercept, and r², of `y` on `x`.
fn regression(x: &[f64], y: &[f64]) -> ([f64; 2], f64) {
    let count = x.len() as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| f(x - mean_x, y - mean_y))
            .sum()
    };
    let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
    let slope = xy / xx;
    let r2 = if yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 };
    ([slope, mean_y - slope * mean_x], r2)
}

fn check(samples: &[TissueSample]) -> Result<()> {
    if samples.len() < LEAST_TISSUES {
        let names: Vec<_> = samples.iter().map(|s| s.tissue.name()).collect();
        return Err(Error::Fit(format!(
            "{} tissues were found ({}); an internal calibration needs at least {LEAST_TISSUES} of adipose, air, blood, cortical_bone and muscle: calibrate with a phantom, or with a scan whose field of view holds fat, muscle, bone and the air round the body",
            samples.len(),
            names.join(", ")
        )));
    }
    for (number, sample) in samples.iter().enumerate() {
        if samples[..number].iter().any(|s| s.tissue == sample.tissue) {
            return Err(Error::Fit(format!(
                "{} is given twice",
                sample.tissue.name()
            )));
        }
        if !sample.hu_mean.is_finite() {
            return Err(Error::Fit(format!(
                "the mean CT number of {} is {}; it must be finite",
                sample.tissue.name(),
                sample.hu_mean
            )));
        }
    }
    let spread = crate::phantom::spread(samples.iter().map(|s| s.hu_mean));
    if spread < LEAST_SPREAD_HU {
        return Err(Error::Fit(format!(
            "the tissues span {spread:.0} HU; air or cortical bone must be among them"
        )));
    }
    Ok(())
}

impl Calibration {
    /// The internal calibration (page of [`crate::internal`]): K2HPO4 density by the patient's own tissues.
    ///
    /// # Errors
    /// As [`EffectiveEnergy::of`]; [`Error::Fit`] also when the density would not rise with the CT number
    /// over that of bone.
    pub fn internal(samples: &[TissueSample]) -> Result<Self> {
        let energy = EffectiveEnergy::of(samples)?;
        let [q, m, c] = energy.parabola();
        let air = samples.iter().any(|sample| sample.tissue == Tissue::Air);
        let hint = if air {
            "look at the regions"
        } else {
            "there is no air among them: a field of view with air round the body is needed"
        };
        let [low, high] = POSSIBLE_KEV;
        if !(low..=high).contains(&energy.energy_kev) {
            return Err(Error::Fit(format!(
                "the tissues fit {} keV, and no CT scan has less than {low} or more than {high}; {hint}",
                energy.energy_kev
            )));
        }
        if !(q >= 0.0 && m > 0.0 && c.is_finite()) {
            return Err(Error::Fit(format!(
                "the tissues fit {} keV and give {q:.3e} HU² {m:+.4} HU {c:+.1} mg/cm3, which does not rise with CT number; {hint}",
                energy.energy_kev
            )));
        }
        let mut calibration = Self::without_rods(m, c, DensityKind::K2Hpo4, Method::Internal);
        calibration.quadratic_mg_cm3_per_hu2 = Some(q);
        calibration.r2 = Some(energy.r2);
        calibration.rods = rods(samples, |hu| calibration.density_mg_cm3(hu));
        calibration.checks = internal_checks(samples, &energy);
        Ok(calibration)
    }

    /// An internal calibration again, without one of its tissues: how much it owes to that one.
    ///
    /// # Errors
    /// [`Error::Fit`] unless this is an internal calibration of which the tissue is one; else as [`Calibration::internal`].
    pub fn without_tissue(&self, tissue: Tissue) -> Result<Self> {
        if self.method != Method::Internal {
            return Err(Error::Fit(
                "only an internal calibration has tissues to leave out".into(),
            ));
        }
        let mut samples = self.tissue_samples();
        let found = samples.len();
        samples.retain(|sample| sample.tissue != tissue);
        if samples.len() == found {
            return Err(not_among(tissue, &samples));
        }
        Self::internal(&samples)
    }

    /// The tissues that an internal calibration or a line through two tissues rests on; none for any other.
    pub fn tissue_samples(&self) -> Vec<TissueSample> {
        if !matches!(self.method, Method::Internal | Method::TwoPoint) {
            return Vec::new();
        }
        let sample = |rod: &Rod| {
            Some(TissueSample {
                tissue: rod.name.parse().ok()?,
                hu_mean: rod.hu_mean,
                hu_sd: rod.hu_sd,
                voxels: rod.voxels,
                centre_mm: rod.centre_mm,
            })
        };
        self.rods.iter().filter_map(sample).collect()
    }
}

/// The error of a tissue that was not found.
pub(crate) fn not_among(tissue: Tissue, samples: &[TissueSample]) -> Error {
    let names: Vec<_> = samples.iter().map(|s| s.tissue.name()).collect();
    Error::Fit(format!(
        "{} is not among the tissues found ({})",
        tissue.name(),
        names.join(", ")
    ))
}

fn rods(samples: &[TissueSample], reference: impl Fn(f64) -> f64) -> Vec<Rod> {
    samples
        .iter()
        .map(|sample| Rod {
            name: sample.tissue.name().into(),
            hu_mean: sample.hu_mean,
            hu_sd: sample.hu_sd,
            reference_mg_cm3: reference(sample.hu_mean),
            water_mg_cm3: None,
            voxels: sample.voxels,
            centre_mm: sample.centre_mm,
        })
        .collect()
}

/// The line through two of the tissues measured, of known density, mg/cm³ of `kind`: air and fat, or air and blood, with the
/// densities that a population scanned with a phantom has for them.
///
/// # Errors
/// [`Error::Fit`] where one of them was not measured, and unless density rises with CT number.
pub fn two_point(
    samples: &[TissueSample],
    densities_mg_cm3: [(Tissue, f64); 2],
    kind: DensityKind,
) -> Result<Calibration> {
    let measured = |tissue: Tissue| {
        let found = samples.iter().find(|sample| sample.tissue == tissue);
        found.ok_or_else(|| not_among(tissue, samples))
    };
    let [(one, low), (other, high)] = densities_mg_cm3;
    let (a, b) = (measured(one)?, measured(other)?);
    let spread = (a.hu_mean - b.hu_mean).abs();
    if spread < LEAST_SPREAD_HU {
        return Err(Error::Fit(format!(
            "{} and {} are {spread:.0} HU apart; a line needs {LEAST_SPREAD_HU}, so air or cortical bone must be one of the two",
            one.name(),
            other.name()
        )));
    }
    let slope = (high - low) / (b.hu_mean - a.hu_mean);
    if !(slope.is_finite() && slope > 0.0) {
        return Err(Error::Fit(format!(
            "{} at {:.0} HU with {low} mg/cm3 and {} at {:.0} HU with {high} mg/cm3 give {slope:.4} mg/cm3 per HU; density must rise with CT number",
            a.tissue.name(),
            a.hu_mean,
            b.tissue.name(),
            b.hu_mean
        )));
    }
    let intercept = low - slope * a.hu_mean;
    let mut line = Calibration::without_rods(slope, intercept, kind, Method::TwoPoint);
    line.rods = rods(&[a.clone(), b.clone()], |hu| slope * hu + intercept);
    line.checks = vec![Check {
        name: "calibration_rods".into(),
        status: CheckStatus::Review,
        value: Some(2.0),
        reason: format!(
            "two tissues always lie on a line, by densities that were given: those above {:.0} mg/cm3 are extrapolated",
            low.max(high)
        ),
    }];
    line.checks.extend([a, b].map(plausible));
    Ok(line)
}

fn internal_checks(samples: &[TissueSample], energy: &EffectiveEnergy) -> Vec<Check> {
    let r2 = energy.r2;
    let [low, high] = ENERGIES_KEV;
    let kev = energy.energy_kev;
    let mut checks = vec![
        Check {
            name: "calibration_r2".into(),
            status: if r2 < R2_REFUSE {
                CheckStatus::Refuse
            } else if r2 < R2_REVIEW {
                CheckStatus::Review
            } else {
                CheckStatus::Pass
            },
            value: Some(r2),
            reason: format!(
                "r2 of mass attenuation on CT number is {r2:.6}; below {R2_REVIEW} it is for review, below {R2_REFUSE} refused"
            ),
        },
        Check {
            name: "calibration_energy_kev".into(),
            status: if (low..=high).contains(&kev) {
                CheckStatus::Pass
            } else {
                CheckStatus::Review
            },
            value: Some(kev),
            reason: format!(
                "the tissues fit an effective energy of {kev} keV; {low} to {high} keV are expected"
            ),
        },
        Check {
            name: "calibration_internal".into(),
            status: CheckStatus::Review,
            value: Some(samples.len() as f64),
            reason: format!(
                "calibrated by {} tissues of the patient, without a phantom: look at the regions",
                samples.len()
            ),
        },
    ];
    checks.extend(samples.iter().map(plausible));
    checks
}

/// The densest bone of a body with a mean beyond this is metal or contrast agent, HU: cortical bone stays below 2400 in its densest
/// voxels, and its usual mean is 1200.
const NO_BONE_HU: f64 = 2000.0;

fn plausible(sample: &TissueSample) -> Check {
    let [low, high] = sample.tissue.plausible_hu();
    let name = sample.tissue.name();
    let fits = (low..=high).contains(&sample.hu_mean);
    if sample.tissue == Tissue::CorticalBone && sample.hu_mean > NO_BONE_HU {
        return Check {
            name: format!("tissue_{name}_hu"),
            status: CheckStatus::Refuse,
            value: Some(sample.hu_mean),
            reason: format!(
                "the densest {} voxels of the body have {:.0} HU: metal or contrast agent, not cortical bone; calibrate with a phantom",
                sample.voxels, sample.hu_mean
            ),
        };
    }
    Check {
        name: format!("tissue_{name}_hu"),
        status: if fits {
            CheckStatus::Pass
        } else {
            CheckStatus::Review
        },
        value: Some(sample.hu_mean),
        reason: format!(
            "{name} has {:.0} HU over {} voxels; plausible are {low} to {high} HU",
            sample.hu_mean, sample.voxels
        ),
    }
}

#[cfg(test)]
mod tests;
