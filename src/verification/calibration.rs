//! The calibration line of a phantom, which every density rests on.

use super::{Criterion, Heading, VerificationRow};

/// The Mindways regression with sigma_ref 1.46 and beta_ref -1003 (QCT PRO user guide; worked by hand).
pub(super) fn mindways(rows: &mut Vec<VerificationRow>) -> anyhow::Result<()> {
    let heading = Heading {
        problem: "Mindways regression",
        source: "QCT PRO User Guide v5.0, worked by hand",
    };
    let phantom = calibration::Phantom::named("mindways-model3-ct")?;
    let hu = [-66.422, -24.014, 186.535, 345.813, 468.912];
    let rods: Vec<calibration::Rod> = phantom
        .rods
        .iter()
        .zip(hu)
        .map(|(rod, hu_mean)| calibration::Rod {
            name: rod.name.clone(),
            hu_mean,
            hu_sd: Some(10.0),
            voxels: 1000,
            reference_mg_cm3: rod.equivalent_mg_cm3,
            water_mg_cm3: rod.water_mg_cm3,
            centre_mm: None,
        })
        .collect();
    let fit = calibration::Calibration::fit(&phantom, &rods)?;
    let mut add = |quantity: &str, reference, result, allowed| {
        let criterion = Criterion::Relative(allowed);
        heading.row(rows, "–", quantity, reference, result, criterion);
    };
    add(
        "slope, mg/cm³ per HU",
        0.804764,
        fit.slope_mg_cm3_per_hu,
        2e-5,
    );
    add("intercept, mg/cm³", 2.736198, fit.intercept_mg_cm3, 2e-3);
    Ok(())
}
