//! The straight line from CT number to density.
//!
//! # Plain phantoms
//! The rods' densities are known, their CT numbers are measured: the error is in the CT number. So
//! the CT number is regressed on the density by ordinary least squares,
//!
//! ```text
//! HU = a rho + b,      then      rho = (HU - b) / a
//! ```
//!
//! and the line is inverted afterwards. (Regressing density on CT number gives a slope smaller by r².)
//!
//! # Mindways phantoms
//! Rods with water-equivalent densities are not bone mineral in water; their plastic is taken out first
//! (QCT PRO User Guide v5.0, as documented by the public program Ogo):
//!
//! ```text
//! HU_i - rho_water_i = sigma_ref rho_K2HPO4_i + beta_ref      (least squares)
//! sigma_CT = sigma_ref - 0.2174,   beta_CT = beta_ref + 999.6
//! rho = (HU - beta_CT) / sigma_CT
//! ```
//!
//! Regressing HU on the K2HPO4 values directly is wrong by some 50 mg/cm³.
//!
//! # Standard errors
//! With `n` rods, residual variance `s² = SSE / (n - 2)`, `var a = s² / Sxx`,
//! `var b = s² (1/n + x̄² / Sxx)` and `cov(a, b) = -x̄ s² / Sxx`. For the inverted line,
//! slope `m = 1/A` and intercept `c = -B/A` (`A = a - 0.2174`, `B = b + 999.6` for Mindways, whose
//! constants are taken as exact), first-order propagation gives
//!
//! ```text
//! var m = var a / A⁴
//! var c = var b / A² + B² var a / A⁴ - 2 B cov(a, b) / A³
//! ```
//!
//! Two rods leave no residual: their standard errors do not exist, and are never reported as 0.

use std::path::Path;

use imaging::Volume;
use serde::{Deserialize, Serialize};

use crate::density::{Density, DensityKind, DensityMap};
use crate::error::{Error, Result};
use crate::phantom::{LEAST_SPREAD_MG_CM3, Phantom, spread};
use crate::rods::Rod;

/// Slope of the K2HPO4-in-water line over that of the reference material: QCT PRO User Guide v5.0.
pub const MINDWAYS_SLOPE_OFFSET: f64 = 0.2174;
/// Its intercept offset, HU: QCT PRO User Guide v5.0.
pub const MINDWAYS_INTERCEPT_OFFSET_HU: f64 = 999.6;
/// A fit below this r² is for review (Ogo).
pub const R2_REVIEW: f64 = 0.98;
/// A fit below this r² is refused (Ogo).
pub const R2_REFUSE: f64 = 0.90;
/// A rod further than this from the line, HU, is for review. Our own choice: two exchanged rods of
/// nearly equal density leave r² above 0.98 but stand out here.
pub const RESIDUAL_REVIEW_HU: f64 = 25.0;

/// Bone denser than the last rod by more than this factor is for review. Our own choice: cortical bone
/// (1200 mg/cm³) is 3 times the last rod of a Mindways Model 3 CT phantom and 8 times that of the QA
/// phantom.
pub const EXTRAPOLATION_REVIEW: f64 = 5.0;

/// How a calibration came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Least squares over the rods of a plain phantom, inverted.
    LeastSquares,
    /// The two-equation regression of the Mindways phantoms.
    Mindways,
    /// The patient's own tissues (page of [`crate::internal`]).
    Internal,
    /// A line through two of the patient's tissues.
    TwoPoint,
    /// A line given by the user.
    Line,
    /// The image holds densities already.
    Density,
}

/// A parabola must rise from here on, HU: the lower end of fat (Michalski 2020).
const LEAST_RISING_HU: f64 = -130.0;

/// Verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Pass,
    /// Somebody should look.
    Review,
    /// Not to be used.
    Refuse,
}

/// One check of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The verdict.
    pub status: CheckStatus,
    /// The value it rests on, where there is one.
    #[serde(default)]
    pub value: Option<f64>,
    /// The verdict in words.
    pub reason: String,
}

/// A straight line from CT number to density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Density per CT number, mg/cm³ per HU.
    pub slope_mg_cm3_per_hu: f64,
    /// Density at 0 HU, mg/cm³.
    pub intercept_mg_cm3: f64,
    /// For an internal calibration, which is no line: what is added per squared CT number, mg/cm³ per HU².
    /// The slope is then that at 0 HU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quadratic_mg_cm3_per_hu2: Option<f64>,
    /// What the density is the density of.
    #[serde(rename = "basis")]
    pub kind: DensityKind,
    /// How the line came about.
    pub method: Method,
    /// Name of the phantom, where there was one.
    #[serde(default)]
    pub phantom: Option<String>,
    /// Coefficient of determination of the regression; `None` without one.
    #[serde(default)]
    pub r2: Option<f64>,
    /// Standard error of the slope, mg/cm³ per HU; `None` with fewer than three rods.
    #[serde(default)]
    pub slope_standard_error: Option<f64>,
    /// Standard error of the intercept, mg/cm³; `None` with fewer than three rods.
    #[serde(default)]
    pub intercept_standard_error: Option<f64>,
    /// The rods it rests on.
    #[serde(default)]
    pub rods: Vec<Rod>,
    /// The quality checks.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// `y = slope x + intercept` by least squares.
struct Regression {
    slope: f64,
    intercept: f64,
    mean_x: f64,
    sum_xx: f64,
    sum_yy: f64,
    residuals: Vec<f64>,
}

impl Regression {
    /// The caller sees to two points with different `x`.
    fn of(x: &[f64], y: &[f64]) -> Self {
        let count = x.len() as f64;
        let mean_x = x.iter().sum::<f64>() / count;
        let mean_y = y.iter().sum::<f64>() / count;
        let sum_xx: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
        let sum_yy: f64 = y.iter().map(|y| (y - mean_y).powi(2)).sum();
        let sum_xy: f64 = x
            .iter()
            .zip(y)
            .map(|(x, y)| (x - mean_x) * (y - mean_y))
            .sum();
        let slope = sum_xy / sum_xx;
        let intercept = mean_y - slope * mean_x;
        let residuals = x
            .iter()
            .zip(y)
            .map(|(x, y)| y - (slope * x + intercept))
            .collect();
        Self {
            slope,
            intercept,
            mean_x,
            sum_xx,
            sum_yy,
            residuals,
        }
    }

    fn r2(&self) -> f64 {
        let unexplained: f64 = self.residuals.iter().map(|r| r * r).sum();
        if self.sum_yy > 0.0 {
            1.0 - unexplained / self.sum_yy
        } else {
            0.0
        }
    }

    /// Standard errors of slope and intercept of the inverted line `(y - b) / a`; see the module page.
    fn inverted_standard_errors(&self, a: f64, b: f64) -> Option<[f64; 2]> {
        let count = self.residuals.len();
        if count < 3 {
            return None;
        }
        let variance = self.residuals.iter().map(|r| r * r).sum::<f64>() / (count - 2) as f64;
        let var_a = variance / self.sum_xx;
        let var_b = variance * (1.0 / count as f64 + self.mean_x.powi(2) / self.sum_xx);
        let cov = -self.mean_x * variance / self.sum_xx;
        let var_intercept =
            var_b / a.powi(2) + b.powi(2) * var_a / a.powi(4) - 2.0 * b * cov / a.powi(3);
        // Rounding may leave a tiny negative number for rods that lie on the line exactly.
        Some([var_a.sqrt() / a.powi(2), var_intercept.max(0.0).sqrt()])
    }
}

impl Calibration {
    /// Fits the line to the measured rods of a phantom: the two-equation regression when the phantom has
    /// water-equivalent densities, plain least squares otherwise (module page).
    ///
    /// # Errors
    /// [`Error::Phantom`] for a phantom that does not pass [`Phantom::check`]; [`Error::Fit`] for fewer
    /// than two rods, a rod that is not the phantom's or stands twice, references that are not the
    /// phantom's, CT numbers that are not finite, or a line that falls with density.
    pub fn fit(phantom: &Phantom, rods: &[Rod]) -> Result<Self> {
        phantom.check()?;
        check_rods(phantom, rods)?;
        let x: Vec<f64> = rods.iter().map(|rod| rod.reference_mg_cm3).collect();
        let y: Vec<f64> = rods
            .iter()
            .map(|rod| rod.hu_mean - rod.water_mg_cm3.unwrap_or(0.0))
            .collect();
        let regression = Regression::of(&x, &y);
        let (method, a, b) = if phantom.has_water() {
            (
                Method::Mindways,
                regression.slope - MINDWAYS_SLOPE_OFFSET,
                regression.intercept + MINDWAYS_INTERCEPT_OFFSET_HU,
            )
        } else {
            (Method::LeastSquares, regression.slope, regression.intercept)
        };
        if !(a.is_finite() && a > 0.0) {
            return Err(Error::Fit(format!(
                "the CT numbers of the rods do not rise with density ({a:.4} HU per mg/cm3): check which rod is which"
            )));
        }
        let errors = regression.inverted_standard_errors(a, b);
        Ok(Self {
            slope_mg_cm3_per_hu: 1.0 / a,
            intercept_mg_cm3: -b / a,
            quadratic_mg_cm3_per_hu2: None,
            kind: phantom.basis,
            method,
            phantom: Some(phantom.name.clone()),
            r2: Some(regression.r2()),
            slope_standard_error: errors.map(|[slope, _]| slope),
            intercept_standard_error: errors.map(|[_, intercept]| intercept),
            rods: rods.to_vec(),
            checks: checks(phantom, rods, &regression),
        })
    }

    /// A line given by the user: density (mg/cm³) = `slope` · HU + `intercept`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the slope is positive and both numbers are finite.
    pub fn line(slope: f64, intercept: f64, kind: DensityKind) -> Result<Self> {
        let calibration = Self::without_rods(slope, intercept, kind, Method::Line);
        calibration
            .fault()
            .map_or(Ok(calibration), |reason| Err(Error::Parameter(reason)))
    }

    /// The identity, for an image that holds densities in mg/cm³ already.
    pub fn identity(kind: DensityKind) -> Self {
        Self::without_rods(1.0, 0.0, kind, Method::Density)
    }

    pub(crate) fn without_rods(
        slope: f64,
        intercept: f64,
        kind: DensityKind,
        method: Method,
    ) -> Self {
        Self {
            slope_mg_cm3_per_hu: slope,
            intercept_mg_cm3: intercept,
            quadratic_mg_cm3_per_hu2: None,
            kind,
            method,
            phantom: None,
            r2: None,
            slope_standard_error: None,
            intercept_standard_error: None,
            rods: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Reads a `calibration.json`. Keys it does not know are left alone; slope, intercept, basis and
    /// method must be there.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let format = |reason: String| Error::Format {
            path: path.to_path_buf(),
            reason,
        };
        let calibration: Self =
            serde_json::from_str(&text).map_err(|error| format(error.to_string()))?;
        calibration
            .fault()
            .map_or(Ok(calibration), |reason| Err(format(reason)))
    }

    /// The `calibration.json` text, keys in fixed order.
    ///
    /// # Errors
    /// [`Error::Fit`] when a value cannot be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| Error::Fit(error.to_string()))
    }

    fn fault(&self) -> Option<String> {
        let slope = self.slope_mg_cm3_per_hu;
        if !(slope.is_finite() && slope > 0.0) {
            return Some(format!(
                "the slope is {slope} mg/cm3 per HU; density must rise with CT number"
            ));
        }
        if let Some(q) = self
            .quadratic_mg_cm3_per_hu2
            .filter(|q| !(q.is_finite() && *q >= 0.0))
        {
            return Some(format!(
                "the quadratic part is {q} mg/cm3 per HU²; it must be 0 or positive"
            ));
        }
        let flat = self
            .quadratic_mg_cm3_per_hu2
            .filter(|q| *q > 0.0)
            .map(|q| -slope / (2.0 * q));
        if let Some(flat) = flat.filter(|flat| *flat > LEAST_RISING_HU) {
            return Some(format!(
                "density is the same for all CT numbers below {flat:.0} HU; it must rise from {LEAST_RISING_HU} HU on, or fat and water are alike"
            ));
        }
        (!self.intercept_mg_cm3.is_finite()).then(|| {
            format!(
                "the intercept is {} mg/cm3; it must be finite",
                self.intercept_mg_cm3
            )
        })
    }

    /// Density of one CT number, mg/cm³. A parabola ([`Calibration::quadratic_mg_cm3_per_hu2`]) keeps its
    /// lowest value below its lowest point.
    pub fn density_mg_cm3(&self, hu: f64) -> f64 {
        let (m, c) = (self.slope_mg_cm3_per_hu, self.intercept_mg_cm3);
        match self.quadratic_mg_cm3_per_hu2 {
            Some(q) if q > 0.0 => {
                let hu = hu.max(-m / (2.0 * q));
                (q * hu + m) * hu + c
            }
            _ => m * hu + c,
        }
    }

    /// CT number of one density, HU; on a parabola the one where density rises.
    pub fn hu(&self, density_mg_cm3: f64) -> f64 {
        let (m, c) = (self.slope_mg_cm3_per_hu, self.intercept_mg_cm3);
        match self.quadratic_mg_cm3_per_hu2 {
            Some(q) if q > 0.0 => {
                let root = (m * m - 4.0 * q * (c - density_mg_cm3)).max(0.0).sqrt();
                (root - m) / (2.0 * q)
            }
            _ => (density_mg_cm3 - c) / m,
        }
    }

    /// Density of every voxel of a CT.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when the CT holds NaN or infinite values.
    pub fn apply(&self, ct_hu: &Volume<f32>) -> Result<DensityMap> {
        let count = non_finite(ct_hu);
        if count > 0 {
            return Err(Error::NonFinite {
                what: "CT voxels",
                count,
                total: ct_hu.data.len(),
            });
        }
        let map = ct_hu.map(|hu| self.density_mg_cm3(f64::from(*hu)) as f32);
        Ok(Density::new(self.kind, map))
    }

    /// Distance of each rod from the line, HU: the CT number measured less the one that the line gives to
    /// the rod's density. For rods of known water-equivalent density their material counts (module page).
    pub fn residuals_hu(&self) -> Vec<f64> {
        self.rods
            .iter()
            .map(|rod| {
                let on_line = self.hu(rod.reference_mg_cm3);
                match rod.water_mg_cm3 {
                    None => rod.hu_mean - on_line,
                    Some(water) => {
                        let material = water + MINDWAYS_SLOPE_OFFSET * rod.reference_mg_cm3
                            - MINDWAYS_INTERCEPT_OFFSET_HU;
                        rod.hu_mean - material - on_line
                    }
                }
            })
            .collect()
    }

    /// Largest reference density of the rods, mg/cm³: beyond it the line extrapolates.
    pub fn highest_reference_mg_cm3(&self) -> Option<f64> {
        self.rods
            .iter()
            .map(|rod| rod.reference_mg_cm3)
            .reduce(f64::max)
    }

    /// Standard error of the density of one CT number, mg/cm³: that of the line's height over the middle of
    /// its rods, and that of its slope times the distance from there. `None` without standard errors.
    pub fn density_standard_error_mg_cm3(&self, hu: f64) -> Option<f64> {
        let slope = self.slope_standard_error?;
        let intercept = self.intercept_standard_error?;
        let count = self.rods.len() as f64;
        let mean = self
            .rods
            .iter()
            .map(|rod| rod.reference_mg_cm3)
            .sum::<f64>()
            / count;
        let middle = self.hu(mean);
        // Of the inverted line var c = var height + (middle slope error)²: module page.
        let height = (intercept.powi(2) - (middle * slope).powi(2)).max(0.0);
        Some((height + ((hu - middle) * slope).powi(2)).sqrt())
    }

    /// How far the densest bone lies beyond the last rod, and what the standard error of the line makes of
    /// it there. `None` without rods. For review above [`EXTRAPOLATION_REVIEW`].
    pub fn extrapolation(&self, highest_mg_cm3: f64) -> Option<Check> {
        let last = self.highest_reference_mg_cm3()?;
        let times = (last > 0.0).then_some(highest_mg_cm3 / last);
        let far = times.is_none_or(|times| times > EXTRAPOLATION_REVIEW);
        let error = self.density_standard_error_mg_cm3(self.hu(highest_mg_cm3));
        let error = error.map_or_else(
            || "the standard error there is not known".to_string(),
            |error| format!("the standard error there is {error:.0} mg/cm3"),
        );
        let beyond = match times {
            Some(times) => format!("{times:.1} times that of the last rod, {last:.0} mg/cm3"),
            None => format!("and nothing denser than {last:.0} mg/cm3 was measured"),
        };
        Some(Check {
            name: "calibration_extrapolation".into(),
            status: if far {
                CheckStatus::Review
            } else {
                CheckStatus::Pass
            },
            value: times,
            reason: format!(
                "the densest bone has {highest_mg_cm3:.0} mg/cm3, {beyond}; {error}; above {EXTRAPOLATION_REVIEW} times it is for review"
            ),
        })
    }

    /// The worst verdict of the checks.
    pub fn status(&self) -> CheckStatus {
        let worst = self.checks.iter().map(|check| check.status).max();
        worst.unwrap_or(CheckStatus::Pass)
    }
}

/// How many values of an image are NaN or infinite.
pub fn non_finite(image: &Volume<f32>) -> usize {
    image.data.iter().filter(|value| !value.is_finite()).count()
}

fn check_rods(phantom: &Phantom, rods: &[Rod]) -> Result<()> {
    if rods.len() < 2 {
        let have = rods.first().map_or("no rod".to_string(), |rod| {
            format!("one rod ('{}')", rod.name)
        });
        return Err(Error::Fit(format!(
            "{have} measured in phantom '{}'; a line needs at least two rods of different density",
            phantom.name
        )));
    }
    for (number, rod) in rods.iter().enumerate() {
        let Some(known) = phantom.rods.iter().find(|known| known.name == rod.name) else {
            let names: Vec<_> = phantom.rods.iter().map(|rod| rod.name.as_str()).collect();
            return Err(Error::Fit(format!(
                "phantom '{}' has no rod '{}'; its rods are {}",
                phantom.name,
                rod.name,
                names.join(", ")
            )));
        };
        if rods[..number].iter().any(|other| other.name == rod.name) {
            return Err(Error::Fit(format!("rod '{}' is given twice", rod.name)));
        }
        if rod.reference_mg_cm3 != known.equivalent_mg_cm3 || rod.water_mg_cm3 != known.water_mg_cm3
        {
            return Err(Error::Fit(format!(
                "rod '{}' was measured with reference values that are not those of phantom '{}'",
                rod.name, phantom.name
            )));
        }
        if !rod.hu_mean.is_finite() {
            return Err(Error::Fit(format!(
                "the mean CT number of rod '{}' is {}; it must be finite",
                rod.name, rod.hu_mean
            )));
        }
    }
    let spread = spread(rods.iter().map(|rod| rod.reference_mg_cm3));
    if spread < LEAST_SPREAD_MG_CM3 {
        return Err(Error::Fit(format!(
            "the measured rods span {spread:.2} mg/cm3; a line needs at least {LEAST_SPREAD_MG_CM3}"
        )));
    }
    Ok(())
}

fn checks(phantom: &Phantom, rods: &[Rod], regression: &Regression) -> Vec<Check> {
    let r2 = regression.r2();
    let r2_status = if r2 < R2_REFUSE {
        CheckStatus::Refuse
    } else if r2 < R2_REVIEW {
        CheckStatus::Review
    } else {
        CheckStatus::Pass
    };
    let mut checks = vec![Check {
        name: "calibration_r2".into(),
        status: r2_status,
        value: Some(r2),
        reason: format!(
            "r2 of the rods is {r2:.5}; below {R2_REVIEW} it is for review, below {R2_REFUSE} refused"
        ),
    }];
    let (worst, residual) =
        regression
            .residuals
            .iter()
            .enumerate()
            .fold((0, 0.0_f64), |worst, (n, r)| {
                if r.abs() > worst.1.abs() {
                    (n, *r)
                } else {
                    worst
                }
            });
    checks.push(Check {
        name: "calibration_residual_hu".into(),
        status: if residual.abs() > RESIDUAL_REVIEW_HU { CheckStatus::Review } else { CheckStatus::Pass },
        value: Some(residual),
        reason: format!(
            "rod '{}' lies {residual:.1} HU off the line; beyond {RESIDUAL_REVIEW_HU} HU two rods may be exchanged",
            rods[worst].name
        ),
    });
    checks.push(check_count(phantom, rods.len()));
    if !phantom.verified {
        checks.push(Check {
            name: "calibration_phantom".into(),
            status: CheckStatus::Review,
            value: None,
            reason: format!(
                "the rod values of phantom '{}' are not checked ({}): enter those of the certificate",
                phantom.name, phantom.source
            ),
        });
    }
    checks
}

fn check_count(phantom: &Phantom, used: usize) -> Check {
    let total = phantom.rods.len();
    let (status, reason) = match used {
        2 => (
            CheckStatus::Review,
            "two rods always lie on a line: nothing is left to judge it by".to_string(),
        ),
        _ if used < total => (
            CheckStatus::Review,
            format!("{used} of the phantom's {total} rods were measured"),
        ),
        _ => (CheckStatus::Pass, format!("all {used} rods were measured")),
    };
    Check {
        name: "calibration_rods".into(),
        status,
        value: Some(used as f64),
        reason,
    }
}

#[cfg(test)]
mod tests;
