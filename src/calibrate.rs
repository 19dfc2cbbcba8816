//! From `--calibration SPEC` to the line from CT number to density.

use std::path::Path;

use anyhow::Context as _;
use calibration::{
    Calibration, Phantom, Rod, RodCentres, TissueRegions, find_rods, measure_at_centres,
    measure_labels, measure_tissues,
};
use imaging::Volume;

use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::{CalibrationSpec, RodSource, Subject};

/// The calibration of a case; `ct` is the scan it is for, in stored CT numbers.
///
/// # Errors
/// A [`Failure`]: of kind usage where the way asked for is not available or underspecified, of kind input
/// where a file is refused.
pub fn for_subject(subject: &Subject, ct: &Volume<f32>) -> anyhow::Result<Calibration> {
    let spec = subject.calibration()?;
    if !matches!(spec, CalibrationSpec::Phantom(_))
        && (subject.rods.is_some() || subject.phantom_ct.is_some())
    {
        return Err(Failure::usage(format!(
            "--rods and --phantom-ct belong to a phantom, and the calibration is {spec}"
        ))
        .with_help("leave them out, or calibrate with phantom:MODEL")
        .into());
    }
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
                    by_phantom(model, rods, &scan.volume)
                }
            }
        }
        CalibrationSpec::Internal => internal(ct).map(|(calibration, _)| calibration),
    }
}

/// Calibrates a scan by the patient's own tissues; also says where they were found.
///
/// # Errors
/// Where the scan does not hold enough of them.
pub fn internal(ct: &Volume<f32>) -> anyhow::Result<(Calibration, TissueRegions)> {
    let regions = measure_tissues(ct)
        .context("the patient's tissues")
        .kind(Kind::Input)?;
    let calibration = Calibration::internal(&regions.samples)
        .context("the internal calibration")
        .kind(Kind::Input)
        .help("calibrate with phantom:MODEL, line:SLOPE,INTERCEPT or file:calibration.json")?;
    Ok((calibration, regions))
}

/// Measures the rods of a phantom in a scan and fits the line; finds the rods where they are not given.
///
/// # Errors
/// A [`Failure`]: of kind usage for an unknown phantom, of kind input where a file or the rods are refused
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
/// A [`Failure`]: of kind usage for an unknown name, of kind input for a refused file.
pub fn find_phantom(model: &str) -> anyhow::Result<Phantom> {
    let is_name = Path::new(model).extension().is_none();
    let kind = if is_name { Kind::Usage } else { Kind::Input };
    Phantom::find(model).kind(kind)
}

fn measure(phantom: &Phantom, rods: &RodSource, scan: &Volume<f32>) -> anyhow::Result<Vec<Rod>> {
    Ok(match rods {
        RodSource::Labels(path) => measure_labels(scan, &imaging::read_labels(path)?, phantom)?,
        RodSource::Centres(path) => measure_at_centres(scan, &RodCentres::read(path)?, phantom)?,
    })
}
