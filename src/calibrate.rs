//! From `--calibration SPEC` to the line from CT number to density.

use std::path::Path;

use anyhow::Context as _;
use calibration::fit::{Check, CheckStatus};
use calibration::{
    Calibration, Phantom, Rod, RodCentres, Tissue, TissueRegions, find_rods, measure_at_centres,
    measure_labels, measure_tissues, two_point,
};
use imaging::Volume;
use imaging::dicom::Acquisition;
use imaging::orientation::on_grid;

use crate::exit::{EndWith as _, Kind};
use crate::plan::{CalibrationSpec, RodSource, Subject};

/// Largest difference of table heights, mm, at which a phantom lies where the patient lay: the CT number changes across the bore.
const TABLE_MM: f64 = 10.0;

/// The calibration of a case; `ct` is the scan it is for, in stored CT numbers, `acquisition` how it was made, where its format says it.
///
/// # Errors
/// A [`crate::exit::Failure`]: of kind usage where the way asked for is not available or underspecified, of kind input
/// where a file is refused.
pub fn for_subject(
    subject: &Subject,
    ct: &Volume<f32>,
    acquisition: Option<&Acquisition>,
) -> anyhow::Result<Calibration> {
    let spec = subject.calibration()?;
    match spec {
        CalibrationSpec::File(path) => Calibration::read(path).context("the calibration"),
        CalibrationSpec::Line {
            slope,
            intercept,
            basis,
        } => Calibration::line(*slope, *intercept, (*basis).into()).kind(Kind::Usage),
        CalibrationSpec::Density { basis } => Ok(Calibration::identity((*basis).into())),
        CalibrationSpec::Phantom(model) => {
            let rods = subject.rods.as_ref();
            match &subject.phantom_ct {
                None => by_phantom(model, rods, ct),
                Some(path) => {
                    let scan = crate::ct::read(Path::new(path), subject.repair)
                        .context("the phantom's scan")?;
                    let mut calibration = by_phantom(model, rods, &scan.volume)?;
                    let check = asynchronous(acquisition, scan.acquisition.as_ref());
                    calibration.checks.push(check);
                    calibration.checks.extend(repaired(&scan.repairs));
                    Ok(calibration)
                }
            }
        }
        CalibrationSpec::Internal { .. } | CalibrationSpec::TwoTissues { .. } => {
            let drawn = subject.tissues.as_deref().map(Path::new);
            internal(spec, drawn, ct).map(|(calibration, _)| calibration)
        }
    }
}

/// The check of a scan of rods that was repaired, under a name of its own; none where nothing was.
pub fn repaired(repairs: &[String]) -> Option<Check> {
    crate::ct::repaired(repairs).map(|check| Check {
        name: "calibration_scan_repaired".into(),
        status: CheckStatus::Review,
        value: None,
        reason: check.reason,
    })
}

/// Whether a phantom was scanned as the patient was. Tube voltage and kernel must be the same and the table at the same height, or
/// the phantom's line is not the patient's.
fn asynchronous(patient: Option<&Acquisition>, phantom: Option<&Acquisition>) -> Check {
    let check = |status, reason: String| Check {
        name: "phantom_acquisition".into(),
        status,
        value: None,
        reason,
    };
    let (Some(patient), Some(phantom)) = (patient, phantom) else {
        return check(
            CheckStatus::Review,
            "whether the phantom was scanned as the patient was cannot be told: only DICOM says voltage, kernel and table height"
                .into(),
        );
    };
    let number = |value: Option<f64>| value.map_or("not stated".into(), |v| format!("{v}"));
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "not stated".into());
    let near = |one: Option<f64>, other: Option<f64>, most: f64| matches!((one, other), (Some(one), Some(other)) if (one - other).abs() <= most);
    let (kv, table) = (
        |a: &Acquisition| a.tube_voltage_kv,
        |a: &Acquisition| a.table_height_mm,
    );
    let stated = patient.kernel.is_some();
    let differ: Vec<String> = [
        (!near(kv(patient), kv(phantom), 0.5)).then(|| {
            let [one, other] = [patient, phantom].map(|a| number(kv(a)));
            format!("tube voltage {one} and {other} kV")
        }),
        (!stated || patient.kernel != phantom.kernel).then(|| {
            let [one, other] = [patient, phantom].map(|a| word(&a.kernel));
            format!("kernel {one} and {other}")
        }),
        (!near(table(patient), table(phantom), TABLE_MM)).then(|| {
            let [one, other] = [patient, phantom].map(|a| number(table(a)));
            format!("table height {one} and {other} mm")
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if differ.is_empty() {
        check(
            CheckStatus::Pass,
            "the phantom was scanned at the voltage, with the kernel and at the table height of the patient".into(),
        )
    } else {
        check(
            CheckStatus::Review,
            format!(
                "patient and phantom were not scanned alike: {}",
                differ.join("; ")
            ),
        )
    }
}

/// Calibrates a scan by the patient's own tissues, found in it or drawn in a label map; also says where they are.
///
/// # Errors
/// Where the scan does not hold enough of them, a tissue that is named was not found, or the map is refused.
pub fn internal(
    spec: &CalibrationSpec,
    drawn: Option<&Path>,
    ct: &Volume<f32>,
) -> anyhow::Result<(Calibration, TissueRegions)> {
    let wanted: Vec<Tissue> = match spec {
        CalibrationSpec::TwoTissues {
            densities_mg_cm3: [(one, _), (other, _)],
            ..
        } => vec![*one, *other],
        CalibrationSpec::Internal { without } => Tissue::ALL
            .into_iter()
            .filter(|tissue| !without.contains(tissue))
            .collect(),
        _ => Tissue::ALL.to_vec(),
    };
    let measured = |labels: Option<&imaging::LabelMap>| measure_tissues(ct, &wanted, labels);
    let regions = match drawn {
        None => measured(None).context("the patient's tissues"),
        Some(path) => imaging::read_labels(path)
            .and_then(|labels| on_grid(labels, &ct.grid))
            .map_err(anyhow::Error::from)
            .and_then(|labels| Ok(measured(Some(&labels))?))
            .with_context(|| format!("the tissues of {}", path.display())),
    }
    .kind(Kind::Input)?;
    let calibration = match spec {
        CalibrationSpec::TwoTissues {
            densities_mg_cm3,
            basis,
        } => two_point(&regions.samples, *densities_mg_cm3, (*basis).into()),
        _ => Calibration::internal(&regions.samples),
    };
    let mut calibration = calibration
        .context("the internal calibration")
        .kind(Kind::Input)
        .help("calibrate with phantom:MODEL, line:SLOPE,INTERCEPT or file:calibration.json, or draw the tissues (--tissues)")?;
    calibration.checks.extend(regions.checks.iter().cloned());
    Ok((calibration, regions))
}

/// Measures the rods of a phantom in a scan and fits the line; finds the rods where they are not given.
///
/// # Errors
/// A [`crate::exit::Failure`]: of kind usage for an unknown phantom, of kind input where a file or the rods are refused
/// or the phantom is not found.
pub fn by_phantom(
    model: &str,
    rods: Option<&RodSource>,
    scan: &Volume<f32>,
) -> anyhow::Result<Calibration> {
    let phantom = find_phantom(model)?;
    let Some(rods) = rods else {
        let found = find_rods(scan, &phantom)
            .kind(Kind::Input)
            .help("give --rods LABELS.nii.gz (one value per rod) or --rods CENTRES.toml")?;
        return found.calibrate(&phantom).context("the calibration");
    };
    let measured = measure(&phantom, rods, scan)
        .with_context(|| format!("the rods in {}", rods.path().display()))?;
    Calibration::fit(&phantom, &measured).context("the calibration")
}

/// A phantom by name or definition file.
///
/// # Errors
/// A [`crate::exit::Failure`]: of kind usage for an unknown name, of kind input for a refused file.
pub fn find_phantom(model: &str) -> anyhow::Result<Phantom> {
    let is_name = Path::new(model).extension().is_none();
    let kind = if is_name { Kind::Usage } else { Kind::Input };
    Phantom::find(model).kind(kind)
}

fn measure(phantom: &Phantom, rods: &RodSource, scan: &Volume<f32>) -> anyhow::Result<Vec<Rod>> {
    Ok(match rods {
        RodSource::Labels(path) => {
            let labels = on_grid(imaging::read_labels(path)?, &scan.grid)
                .with_context(|| format!("the rods of {}", path.display()))?;
            measure_labels(scan, &labels, phantom)?
        }
        RodSource::Centres(path) => measure_at_centres(scan, &RodCentres::read(path)?, phantom)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phantom_scanned_otherwise_goes_to_review() {
        let scanned = |change: &dyn Fn(&mut Acquisition)| {
            let mut acquisition = Acquisition::default();
            acquisition.tube_voltage_kv = Some(120.0);
            acquisition.kernel = Some("B30f".into());
            acquisition.table_height_mm = Some(150.0);
            change(&mut acquisition);
            acquisition
        };
        let patient = scanned(&|_| ());
        let against = |phantom: &Acquisition| asynchronous(Some(&patient), Some(phantom));
        let alike = scanned(&|a| a.table_height_mm = Some(159.0));
        assert_eq!(against(&alike).status, CheckStatus::Pass);
        for (other, said) in [
            (
                scanned(&|a| a.tube_voltage_kv = Some(100.0)),
                "tube voltage 120 and 100 kV",
            ),
            (
                scanned(&|a| a.kernel = Some("B60s".into())),
                "kernel B30f and B60s",
            ),
            (
                scanned(&|a| a.table_height_mm = Some(161.0)),
                "table height 150 and 161 mm",
            ),
            (scanned(&|a| a.kernel = None), "kernel B30f and not stated"),
        ] {
            let check = against(&other);
            assert_eq!(check.status, CheckStatus::Review);
            assert!(check.reason.ends_with(said), "{}", check.reason);
        }
        assert_eq!(
            asynchronous(Some(&patient), None).status,
            CheckStatus::Review
        );
    }
}
