//! From the density of the elements to their stiffness and strength.

use anyhow::Context as _;
use calibration::binning::{BinOffset, Binning};
use calibration::density::DensityConversion;
use calibration::law::{ElasticityLaw, StrengthForm, StrengthLaw};
use calibration::post_yield::{PostYieldCurve, Softening, TissueKind};
use calibration::{DensityKind, ElementDensity};
use meshing::sampling::SAMPLES;
use solver::{Formulation, HardeningCurve, MaterialModel, Materials, Model};

use crate::bone_model::{BoneModel, ElementKind};
use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::{
    ConstitutiveModel, ElementFormulation, NO_STRENGTH_LAW, Plan, SOFTENING_STRENGTH_LAW, USER_LAW,
};
use crate::report::result_json::{Check, CheckStatus};

/// What every element is made of.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// For the solver.
    pub materials: Materials,
    /// Density in the basis of the laws, mg/cm³.
    pub law_density_mg_cm3: Vec<f64>,
    /// Elements whose density or modulus was raised to a floor.
    pub clamped_elements: usize,
    /// What is worth knowing.
    pub checks: Vec<Check>,
}

impl Assigned {
    /// The body for the solver.
    pub fn body(&self, model: &BoneModel, plan: &Plan) -> Model {
        Model {
            mesh: model.mesh.solid(),
            materials: self.materials.clone(),
            formulation: match plan.settings.element.formulation {
                ElementFormulation::Bbar => Formulation::BBar,
                ElementFormulation::Full => Formulation::Full,
                ElementFormulation::Incompatible => Formulation::Incompatible,
            },
            material_model: match plan.settings.material.model {
                ConstitutiveModel::J2 => MaterialModel::J2,
                ConstitutiveModel::Secant => MaterialModel::Secant,
                ConstitutiveModel::SecantExplicit => MaterialModel::SecantExplicit,
                ConstitutiveModel::Linear => MaterialModel::Linear,
            },
        }
    }
}

/// Gives every element its material. Elements that the published bin slip makes vanish are taken out
/// of the model.
///
/// # Errors
/// A [`Failure`]: of kind usage for laws that do not fit together, of kind input for densities that a
/// law cannot read.
pub fn assign(model: &mut BoneModel, kind: DensityKind, plan: &Plan) -> anyhow::Result<Assigned> {
    let settings = &plan.settings.material;
    let law = elasticity_law(plan, kind)?;
    let conversion =
        DensityConversion::named(&plan.settings.density.conversion).kind(Kind::Usage)?;
    let minimum = plan.settings.density.minimum_mg_cm3;
    let prepare = |values: Vec<f64>| -> anyhow::Result<(ElementDensity, usize)> {
        let (density, raised) = ElementDensity::new(kind, values).clamped_below(minimum);
        let converted = conversion
            .convert(density, law.kind)
            .context("density.conversion")
            .kind(Kind::Usage)?;
        Ok((converted, raised))
    };
    let mut checks = Vec::new();
    let mut modulus: Vec<f64>;
    let mut sampled = None;
    // Cement has no density of bone, whatever the scan shows where it is drawn.
    let is_bone = |element: usize| model.kinds[element] == ElementKind::Bone;
    let (mut density, _) = prepare(model.density_mg_cm3.clone())?;
    let raised = model.density_mg_cm3.iter().enumerate();
    let mut clamped = raised
        .filter(|&(element, &value)| is_bone(element) && value < minimum)
        .count();
    if settings.bins > 0 {
        let grid = model.density.data.iter().map(|&v| f64::from(v)).collect();
        let (grid, _) = prepare(grid)?;
        let offset = BinOffset::from_number(settings.bin_offset as i64).kind(Kind::Usage)?;
        let bins = Binning::over(grid.mg_cm3, settings.bins, offset, &law).kind(Kind::Input)?;
        let tissue: Vec<TissueKind> = model
            .labels
            .iter()
            .map(|&label| benchmark_tissue(label))
            .collect();
        let binned = bins.modulus(&law, &density, &tissue).kind(Kind::Input)?;
        clamped = clamped.max(binned.clamped);
        let keep: Vec<bool> = binned
            .mpa
            .iter()
            .zip(&model.kinds)
            .map(|(modulus, kind)| modulus.is_some() || *kind != ElementKind::Bone)
            .collect();
        let vanished = keep.iter().filter(|keep| !**keep).count();
        modulus = binned
            .mpa
            .iter()
            .map(|m| m.unwrap_or(law.floor.mpa))
            .collect();
        if vanished > 0 {
            checks.push(note(
                "vanished_elements",
                vanished,
                format!(
                    "{vanished} elements of density 0 are left out, as in the published benchmark"
                ),
            ));
            filter(&mut modulus, &keep);
            filter(&mut density.mg_cm3, &keep);
            model.retain_elements(&keep);
        }
    } else {
        // The law at each sampling point, or of each element's density.
        let points = match &model.samples {
            Some(samples) => prepare(samples.values.clone())?.0,
            None => density.clone(),
        };
        let evaluated = law.modulus(&points).kind(Kind::Input)?;
        let (what, each) = match model.samples {
            Some(_) => ("sampling points", SAMPLES),
            None => ("elements", 1),
        };
        let of_bone = points.mg_cm3.iter().enumerate();
        let of_bone = of_bone.filter(|(point, _)| is_bone(point / each));
        let of_bone = ElementDensity::new(points.kind, of_bone.map(|(_, &d)| d).collect());
        let counted = law.modulus(&of_bone).kind(Kind::Input)?;
        if counted.outside_range > 0 {
            checks.push(note(
                "law_range",
                counted.outside_range,
                format!(
                    "{} {what} lie outside the densities that {} vouches for",
                    counted.outside_range, law.citation
                ),
            ));
        }
        match &model.samples {
            Some(samples) => {
                modulus = samples.means(&evaluated.mpa);
                let floor = |n: usize| law.at_mpa(points.mg_cm3[n]) <= law.floor.mpa;
                clamped = clamped.max(
                    (0..modulus.len())
                        .filter(|&e| is_bone(e) && (e * SAMPLES..(e + 1) * SAMPLES).any(floor))
                        .count(),
                );
                sampled = Some((points, evaluated.mpa));
            }
            None => {
                modulus = evaluated.mpa;
                clamped = clamped.max(counted.clamped);
            }
        }
    }
    if clamped > 0 {
        checks.push(note(
            "clamped_density",
            clamped,
            format!(
                "{clamped} elements had a density or modulus below the floor and were raised to it"
            ),
        ));
    }
    for (modulus, kind) in modulus.iter_mut().zip(&model.kinds) {
        match kind {
            ElementKind::Bone => {}
            ElementKind::Cap => *modulus = model.cap.youngs_modulus_mpa,
            ElementKind::Influence => *modulus = model.influence.youngs_modulus_mpa,
        }
    }
    let ratio = |kind: &ElementKind| match kind {
        ElementKind::Bone => settings.poissons_ratio,
        ElementKind::Cap => model.cap.poissons_ratio,
        ElementKind::Influence => model.influence.poissons_ratio,
    };
    let (curve, curves) = curves(model, &density, &modulus, sampled.as_ref(), plan)?;
    let materials = Materials {
        poissons_ratio: model.kinds.iter().map(ratio).collect(),
        youngs_modulus_mpa: modulus,
        curve,
        curves,
    };
    Ok(Assigned {
        materials,
        law_density_mg_cm3: density.mg_cm3,
        clamped_elements: clamped,
        checks,
    })
}

/// The label map of the vertebra benchmark (Walle, Matheson and Boyd 2025): 1 and 3 trabecular, 2 and 4
/// cortical. It matters only for voxels of exactly zero density in its published variant.
fn benchmark_tissue(label: u16) -> TissueKind {
    if label % 2 == 1 {
        TissueKind::Trabecular
    } else {
        TissueKind::Cortical
    }
}

fn note(name: &str, value: usize, reason: String) -> Check {
    Check {
        name: name.to_owned(),
        status: CheckStatus::Review,
        value: Some(value as f64),
        reason,
    }
}

fn filter<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    values.retain(|_| flags.next().copied().unwrap_or(true));
}

fn elasticity_law(plan: &Plan, kind: DensityKind) -> anyhow::Result<ElasticityLaw> {
    let settings = &plan.settings.material;
    let mut law = if settings.law == USER_LAW {
        ElasticityLaw::user(&settings.coefficients, kind).kind(Kind::Usage)?
    } else {
        let law = ElasticityLaw::named(&settings.law).kind(Kind::Usage)?;
        if settings.coefficients.is_empty() {
            law
        } else {
            law.with_coefficients(&settings.coefficients)
                .kind(Kind::Usage)?
        }
    };
    law.floor.mpa = settings.floor_mpa;
    law.floor.density_mg_cm3 = least_density(plan);
    Ok(law)
}

fn least_density(plan: &Plan) -> Option<f64> {
    let least = plan.settings.material.minimum_density_g_cm3;
    (least > 0.0).then_some(least * 1000.0)
}

fn strength_law(plan: &Plan, kind: DensityKind) -> anyhow::Result<Option<StrengthLaw>> {
    let settings = &plan.settings.material;
    let coefficients = &settings.strength_coefficients;
    if settings.strength_law == NO_STRENGTH_LAW || settings.model == ConstitutiveModel::Linear {
        return Ok(None);
    }
    let mut law = if settings.strength_law == USER_LAW {
        StrengthLaw::user(coefficients, kind).kind(Kind::Usage)?
    } else {
        let law = StrengthLaw::named(&settings.strength_law).kind(Kind::Usage)?;
        if coefficients.is_empty() {
            law
        } else {
            law.with_coefficients(coefficients).kind(Kind::Usage)?
        }
    };
    if matches!(law.form, StrengthForm::Power(_)) {
        law.floor.density_mg_cm3 = least_density(plan);
    }
    Ok(Some(law))
}

/// Hardening curve of every element, equal ones shared.
fn curves(
    model: &BoneModel,
    density: &ElementDensity,
    modulus: &[f64],
    sampled: Option<&(ElementDensity, Vec<f64>)>,
    plan: &Plan,
) -> anyhow::Result<(Vec<u32>, Vec<HardeningCurve>)> {
    let load = &plan.settings.load;
    let mut curves = Vec::new();
    let mut numbers = vec![Materials::ELASTIC; modulus.len()];
    let perfect = |stress: f64| -> anyhow::Result<HardeningCurve> {
        Ok(HardeningCurve::perfect(stress).map_err(Failure::usage)?)
    };
    let Some(law) = strength_law(plan, density.kind)? else {
        return Ok((numbers, curves));
    };
    let strength = match (sampled, &model.samples) {
        (Some((points, moduli)), Some(samples)) => {
            let at_points = law.strength(points, moduli).kind(Kind::Input)?.mpa;
            samples.means(&at_points)
        }
        _ => law.strength(density, modulus).kind(Kind::Input)?.mpa,
    };
    let mut shared: [Option<u32>; 2] = [None; 2];
    for element in 0..modulus.len() {
        let mut direct =
            |slot: usize, stress: f64, curves: &mut Vec<HardeningCurve>| -> anyhow::Result<u32> {
                if let Some(number) = shared[slot] {
                    return Ok(number);
                }
                curves.push(perfect(stress)?);
                shared[slot] = Some(curves.len() as u32 - 1);
                Ok(curves.len() as u32 - 1)
            };
        numbers[element] = match model.kinds[element] {
            ElementKind::Cap if load.cap_yield_mpa > 0.0 => {
                direct(0, load.cap_yield_mpa, &mut curves)?
            }
            ElementKind::Cap => Materials::ELASTIC,
            ElementKind::Influence => direct(1, load.influence_yield_mpa, &mut curves)?,
            ElementKind::Bone => {
                let curve = match softening(model.mesh.element_volume_mm3(element), plan)? {
                    None => perfect(strength[element])?,
                    Some(softening) => keyak_curve(
                        density.mg_cm3[element],
                        modulus[element],
                        strength[element],
                        softening,
                        plan,
                    )
                    .with_context(|| format!("element {element}"))?,
                };
                curves.push(curve);
                curves.len() as u32 - 1
            }
        };
    }
    Ok((numbers, curves))
}

/// How an element of this volume softens.
fn softening(volume_mm3: f64, plan: &Plan) -> anyhow::Result<Option<Softening>> {
    let settings = &plan.settings.material;
    if settings.strength_law != SOFTENING_STRENGTH_LAW {
        return Ok(None);
    }
    // The edge of a cube of the element's volume.
    let softening =
        Softening::named(settings.softening.word(), volume_mm3.cbrt()).kind(Kind::Usage)?;
    Ok((softening != Softening::Off).then_some(softening))
}

fn keyak_curve(
    ash_mg_cm3: f64,
    modulus: f64,
    strength: f64,
    softening: Softening,
    plan: &Plan,
) -> anyhow::Result<HardeningCurve> {
    let least = plan.settings.material.minimum_density_g_cm3 * 1000.0;
    let ash = ash_mg_cm3.max(least);
    let tissue = TissueKind::by_threshold(ash, plan.settings.density.cortical_threshold_g_cm3);
    let curve =
        PostYieldCurve::keyak2005(ash, tissue, modulus, strength, softening).kind(Kind::Input)?;
    HardeningCurve::new(curve.points()).map_err(|reason| Failure::input(reason).into())
}
