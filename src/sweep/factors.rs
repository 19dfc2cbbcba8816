//! The factors of an uncertainty budget: what is changed, by how much, and where it does not apply.
//!
//! One factor at a time; everything else stays as the plan has it. The amounts stand here and nowhere else; they go into the
//! `plan.toml` of the sweep.

use calibration::{Calibration, Tissue};
use nalgebra::{Rotation3, Vector3};
use serde::{Deserialize, Serialize};

use calibration::internal::LEAST_TISSUES;

use crate::plan::{
    Assignment, Bone, CalibrationSpec, Direction, LoadKind, MeshKind, MorphUnit, Orientation, Plan,
    Softening,
};

crate::plan::choice! {
    /// What a budget changes.
    Factor {
        /// The mask, by a voxel either way.
        Segmentation = "segmentation",
        /// The calibration line, by its own standard errors.
        Calibration = "calibration",
        /// From the calibrated density to the law's.
        Conversion = "conversion",
        /// Stiffness and strength.
        Law = "law",
        /// J2 plasticity or the secant model.
        Model = "model",
        /// Softening after the plateau.
        Softening = "softening",
        /// Formulation of the hexahedra.
        Element = "element",
        /// Size of the elements.
        Mesh = "mesh",
        /// Smoothing of the density.
        Smoothing = "smoothing",
        /// Direction of the load.
        LoadDirection = "load-direction",
        /// Whether the loaded faces can slide.
        Boundary = "boundary",
        /// Length of the femoral shaft.
        ShaftLength = "shaft-length",
    }
}

/// Elements are made smaller and larger by this ratio of their edge.
const EDGE_RATIO: f64 = 1.25;
/// The load is turned by these angles, either way, degrees.
const ANGLES_DEG: [f64; 2] = [5.0, 10.0];
/// The shaft is made shorter and longer by this, mm.
const SHAFT_MM: f64 = 20.0;
/// Full width at half maximum of the smoothing that is put in or left out, mm (Sas 2020).
const SMOOTHING_MM: f64 = 3.0;

/// One changed run.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its setting in words, for tables and figures.
    pub setting: String,
    /// What is changed.
    pub change: Change,
}

/// What a variant changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Settings of the plan.
    Settings(Vec<Assignment>),
    /// The mask, by so many voxels.
    Morph(f64),
    /// The calibration line.
    Line {
        /// mg/cm³ per HU.
        slope: f64,
        /// mg/cm³.
        intercept: f64,
    },
    /// An internal calibration, without this tissue.
    WithoutTissue(Tissue),
}

/// A factor of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// The factor.
    pub factor: Factor,
    /// The setting of the plan itself, in words.
    pub base: String,
    /// The changed runs; empty where the factor does not apply.
    pub variants: Vec<Variant>,
    /// Why the factor does not apply; empty where it does.
    pub reason: String,
}

/// What the factors are changed from.
pub struct Case<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The calibration.
    pub calibration: &'a Calibration,
    /// Direction of the load in the patient (LPS, unit), where the unchanged case was computed.
    pub load_direction: Option<[f64; 3]>,
}

impl Variants {
    /// The variants of a factor in a case.
    pub fn of(factor: Factor, case: &Case) -> Self {
        let (base, found) = variants(factor, case);
        let (variants, reason) = match found {
            Ok(variants) => (variants, String::new()),
            Err(reason) => (Vec::new(), reason),
        };
        Self {
            factor,
            base,
            variants,
            reason,
        }
    }
}

type Found = Result<Vec<Variant>, String>;

fn variants(factor: Factor, case: &Case) -> (String, Found) {
    let plan = case.plan;
    let settings = &plan.settings;
    match factor {
        Factor::Segmentation => ("mask as it is".into(), Ok(masks(plan.subject.morph_unit))),
        Factor::Calibration => match &plan.subject.calibration {
            Some(spec @ CalibrationSpec::Internal { .. }) => {
                (spec.to_string(), tissues(case.calibration))
            }
            _ => ("line as fitted".into(), lines(case.calibration)),
        },
        Factor::Conversion => words(
            "density.conversion",
            &settings.density.conversion,
            &["identity", "keyak1994"],
        ),
        Factor::Law => laws(plan),
        Factor::Model => {
            let base = settings.material.model.word();
            if base == "linear" {
                (base.into(), Err("the run is linear".into()))
            } else {
                words("material.model", base, &["j2", "secant"])
            }
        }
        Factor::Softening => {
            let base = settings.material.softening;
            let found = if base == Softening::Off
                && settings.material.strength_law != crate::plan::SOFTENING_STRENGTH_LAW
            {
                Err(format!(
                    "the strength law {} has no softening branch",
                    settings.material.strength_law
                ))
            } else {
                words("material.softening", base.word(), Softening::WORDS).1
            };
            (base.word().into(), found)
        }
        Factor::Element => {
            let base = settings.element.formulation.word();
            match settings.mesh.kind {
                MeshKind::Hex => words(
                    "element.formulation",
                    base,
                    &["full", "bbar", "incompatible"],
                ),
                MeshKind::Tet10 => (
                    "quadratic tetrahedra".into(),
                    Err("formulations are those of hexahedra".into()),
                ),
            }
        }
        Factor::Mesh => mesh(plan),
        Factor::Smoothing => {
            let base = settings.density.smoothing_fwhm_mm;
            let other = if base > 0.0 { 0.0 } else { SMOOTHING_MM };
            let found = if settings.load.case == LoadKind::Stance {
                numbers("density.smoothing_fwhm_mm", &[other], "mm")
            } else {
                Err("smoothing belongs to the stance of a femur".into())
            };
            (format!("{base} mm"), found)
        }
        Factor::LoadDirection => direction(case),
        Factor::Boundary => words(
            "load.lateral",
            settings.load.lateral.word(),
            &["fixed", "free"],
        ),
        Factor::ShaftLength => {
            let base = settings.load.shaft_length_mm;
            let found = if settings.load.case != LoadKind::Stance {
                Err("the shaft is cut in the stance of a femur only".into())
            } else if base == 0.0 {
                Err("the whole shaft is kept (load.shaft_length_mm=0)".into())
            } else if base <= SHAFT_MM {
                Err(format!(
                    "the shaft kept is no longer than the {SHAFT_MM} mm it would lose"
                ))
            } else {
                numbers(
                    "load.shaft_length_mm",
                    &[base - SHAFT_MM, base + SHAFT_MM],
                    "mm",
                )
            };
            (format!("{base} mm"), found)
        }
    }
}

/// The mask smaller and larger.
fn masks(unit: MorphUnit) -> Vec<Variant> {
    let step = match unit {
        MorphUnit::Voxel | MorphUnit::StandardDeviation => 1.0,
        // About the half of a clinical voxel.
        MorphUnit::Millimetre => 0.5,
    };
    let moved = |morph: f64| Variant {
        setting: format!("{} {unit}", super::signed(morph)),
        change: Change::Morph(morph),
    };
    vec![moved(-step), moved(step)]
}

/// The other words of a setting.
fn words(key: &str, base: &str, all: &[&str]) -> (String, Found) {
    let found = all
        .iter()
        .filter(|word| **word != base)
        .map(|word| {
            Ok(Variant {
                setting: (*word).to_owned(),
                change: Change::Settings(vec![format!("{key}={word}").parse()?]),
            })
        })
        .collect();
    (base.to_owned(), found)
}

/// Other numbers of a setting.
fn numbers(key: &str, values: &[f64], unit: &str) -> Found {
    values
        .iter()
        .map(|value| {
            // A tenth of a thousandth is finer than any of these is known.
            let value = (value * 1e4).round() / 1e4;
            Ok(Variant {
                setting: format!("{value} {unit}"),
                change: Change::Settings(vec![format!("{key}={value}").parse()?]),
            })
        })
        .collect()
}

/// The line moved and turned by its own standard errors, both in the direction that lowers, or raises, what lies beyond the rods.
///
/// The standard error of a fitted line is smallest at the mean of the rods, where its height and its slope are independent of each
/// other (Draper and Smith 1998, 1.4): at the CT number that the line itself gives to their mean density, which with the two equations of
/// Mindways is not the mean of their CT numbers. There `se(intercept)² = se(height)² + HU² se(slope)²`. The line is moved by `se(height)`
/// and turned about that point by `se(slope)`.
fn lines(calibration: &Calibration) -> Found {
    if !calibration.tissue_samples().is_empty() {
        return Err(
            "a calibration by tissues has no standard errors; with --calibration internal each of them is left out in turn"
                .into(),
        );
    }
    let (Some(slope_error), Some(intercept_error)) = (
        calibration.slope_standard_error,
        calibration.intercept_standard_error,
    ) else {
        return Err("the calibration has no standard errors: it was given, not fitted".into());
    };
    let rods = &calibration.rods;
    if rods.is_empty() {
        return Err("the calibration does not say what rods it was fitted to".into());
    }
    let mean = rods.iter().map(|rod| rod.reference_mg_cm3).sum::<f64>() / rods.len() as f64;
    let mean_hu = calibration.hu(mean);
    let height_error = (intercept_error.powi(2) - (mean_hu * slope_error).powi(2))
        .max(0.0)
        .sqrt();
    Ok([-1.0, 1.0]
        .map(|sign| Variant {
            setting: format!("{sign:+} SE"),
            change: Change::Line {
                slope: calibration.slope_mg_cm3_per_hu + sign * slope_error,
                intercept: calibration.intercept_mg_cm3
                    + sign * (height_error - mean_hu * slope_error),
            },
        })
        .to_vec())
}

/// An internal calibration without each of its tissues in turn: it has no standard errors that mean anything
/// ([`calibration::internal`]), but what it owes to any one tissue can be seen.
fn tissues(calibration: &Calibration) -> Found {
    let found = calibration.tissue_samples();
    if found.len() <= LEAST_TISSUES {
        return Err(format!(
            "the calibration rests on {} tissues, and none of them can be left out",
            found.len()
        ));
    }
    let without = |tissue: Tissue| Variant {
        setting: format!("without {}", tissue.name().replace('_', " ")),
        change: Change::WithoutTissue(tissue),
    };
    Ok(found.iter().map(|sample| without(sample.tissue)).collect())
}

/// Published pairs of stiffness and strength for the bone.
fn laws(plan: &Plan) -> (String, Found) {
    let material = &plan.settings.material;
    let name = |law: &str, strength: &str| format!("{law}, {strength}");
    let base = name(&material.law, &material.strength_law);
    let pairs: &[(&str, &str, &str)] = match plan.subject.bone {
        Bone::Femur => &[
            ("keyak2005", "keyak2005", ""),
            ("keller1994", "keyak2005", ""),
        ],
        Bone::Vertebra => &[
            ("kopperdahl2002_linear", "yield_strain", "0.015"),
            ("kopperdahl2002_linear", "kopperdahl2002_linear", ""),
            ("kopperdahl2002_power", "kopperdahl2002_power", ""),
        ],
    };
    let found = pairs
        .iter()
        .filter(|(law, strength, _)| name(law, strength) != base)
        .map(|(law, strength, coefficients)| {
            let settings = [
                format!("material.law={law}"),
                "material.coefficients=".to_owned(),
                format!("material.strength_law={strength}"),
                format!("material.strength_coefficients={coefficients}"),
            ];
            Ok(Variant {
                setting: name(law, strength),
                change: Change::Settings(
                    settings
                        .iter()
                        .map(|text| text.parse())
                        .collect::<Result<_, _>>()?,
                ),
            })
        })
        .collect();
    (base, found)
}

/// Smaller and larger elements.
fn mesh(plan: &Plan) -> (String, Found) {
    let mesh = &plan.settings.mesh;
    match mesh.kind {
        MeshKind::Hex if mesh.voxel_mm == 0.0 => (
            "voxels of the scan".into(),
            Err("the voxels of the scan have one size (mesh.voxel_mm=0)".into()),
        ),
        MeshKind::Hex => (
            format!("{} mm", mesh.voxel_mm),
            numbers(
                "mesh.voxel_mm",
                &[mesh.voxel_mm / EDGE_RATIO, mesh.voxel_mm * EDGE_RATIO],
                "mm",
            ),
        ),
        MeshKind::Tet10 => {
            let volume = mesh.tet_volume_mm3;
            let ratio = EDGE_RATIO.powi(3);
            (
                format!("{volume} mm3"),
                numbers(
                    "mesh.tet_volume_mm3",
                    &[volume / ratio, volume * ratio],
                    "mm3",
                ),
            )
        }
    }
}

/// The load turned either way: of a femur in the plane of its neck, of a vertebra in the sagittal plane.
fn direction(case: &Case) -> (String, Found) {
    let load = &case.plan.settings.load;
    let angles = [-ANGLES_DEG[1], -ANGLES_DEG[0], ANGLES_DEG[0], ANGLES_DEG[1]];
    let turned = |key: &str, base: f64| {
        angles
            .iter()
            .map(|angle| {
                let value = base + angle;
                Ok(Variant {
                    setting: format!("{angle:+}°"),
                    change: Change::Settings(vec![format!("{key}={value}").parse()?]),
                })
            })
            .collect()
    };
    let found = match load.case {
        LoadKind::Stance if load.direction == Direction::Shaft => {
            turned("load.angle_deg", load.angle_deg)
        }
        LoadKind::SidewaysFall if load.orientation == Orientation::Anatomical => {
            turned("load.adduction_deg", load.adduction_deg)
        }
        LoadKind::Stance => {
            Err("load.direction is given, and load.angle_deg turns the shaft's".into())
        }
        LoadKind::SidewaysFall => {
            Err("load.orientation is given, and load.adduction_deg turns the anatomical one".into())
        }
        LoadKind::PlatenCompression => Err("the platens follow the model's axes".into()),
        LoadKind::EndplateCompression => match case.load_direction {
            None => Err("the unchanged case has no load direction".into()),
            Some(base) => angles
                .iter()
                .map(|angle| {
                    // World coordinates are LPS: the x axis stands on the sagittal plane.
                    let turn = Rotation3::from_axis_angle(&Vector3::x_axis(), angle.to_radians());
                    let [x, y, z]: [f64; 3] = (turn * Vector3::from(base)).into();
                    Ok(Variant {
                        setting: format!("{angle:+}°"),
                        change: Change::Settings(vec![
                            format!("load.direction=vector:{x},{y},{z}").parse()?,
                        ]),
                    })
                })
                .collect(),
        },
    };
    ("as planned".into(), found)
}

#[cfg(test)]
mod tests;
