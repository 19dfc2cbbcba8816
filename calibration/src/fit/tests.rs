use imaging::Grid;

use super::*;

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found}, expected {expected} within {tolerance}"
    );
}

fn rods(phantom: &Phantom, hu: &[f64]) -> Vec<Rod> {
    assert_eq!(phantom.rods.len(), hu.len());
    phantom
        .rods
        .iter()
        .zip(hu)
        .map(|(rod, hu)| Rod {
            name: rod.name.clone(),
            hu_mean: *hu,
            hu_sd: Some(10.0),
            reference_mg_cm3: rod.equivalent_mg_cm3,
            water_mg_cm3: rod.water_mg_cm3,
            voxels: 1000,
            centre_mm: None,
        })
        .collect()
}

fn check<'a>(calibration: &'a Calibration, name: &str) -> &'a Check {
    calibration
        .checks
        .iter()
        .find(|check| check.name == name)
        .unwrap()
}

/// CT numbers of the Model 3 CT rods A to E for sigma_ref = 1.46, beta_ref = -1003.
const WORKED_HU: [f64; 5] = [-66.422, -24.014, 186.535, 345.813, 468.912];

#[test]
fn mindways_regression_gives_the_worked_numbers() {
    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let calibration = Calibration::fit(&phantom, &rods(&phantom, &WORKED_HU)).unwrap();
    assert_eq!(calibration.method, Method::Mindways);
    assert_eq!(calibration.kind, DensityKind::K2Hpo4);
    // sigma_CT 1.2426 and beta_CT -3.4 by hand; the CT numbers are rounded to 0.001 HU.
    close(1.0 / calibration.slope_mg_cm3_per_hu, 1.2426, 1e-5);
    close(calibration.slope_mg_cm3_per_hu, 0.804764, 1e-5);
    close(calibration.intercept_mg_cm3, 2.736198, 2e-3);
    for (hu, density) in [
        (0.0, 2.736),
        (100.0, 83.213),
        (300.0, 244.165),
        (1000.0, 807.500),
        (1500.0, 1209.882),
    ] {
        close(calibration.density_mg_cm3(hu), density, 5e-3);
        close(calibration.hu(density), hu, 7e-3);
    }
    close(calibration.r2.unwrap(), 1.0, 1e-9);
    assert_eq!(calibration.status(), CheckStatus::Pass);
    close(calibration.highest_reference_mg_cm3().unwrap(), 375.83, 0.0);
}

/// What a fit of HU on the K2HPO4 values without the water values gives: the mistake that the two-equation
/// regression is there to avoid.
#[test]
fn mindways_rods_without_their_water_values_give_the_naive_line() {
    let mut phantom = Phantom::named("mindways-model3-ct").unwrap();
    for rod in &mut phantom.rods {
        rod.water_mg_cm3 = None;
    }
    let naive = Calibration::fit(&phantom, &rods(&phantom, &WORKED_HU)).unwrap();
    close(1.0 / naive.slope_mg_cm3_per_hu, 1.2355, 5e-5);
    close(
        -naive.intercept_mg_cm3 / naive.slope_mg_cm3_per_hu,
        61.94,
        5e-3,
    );
    for (hu, density) in [(100.0, 30.8), (300.0, 192.7), (1000.0, 759.2)] {
        close(naive.density_mg_cm3(hu), density, 0.05);
    }

    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let right = Calibration::fit(&phantom, &rods(&phantom, &WORKED_HU)).unwrap();
    close(
        naive.density_mg_cm3(100.0) - right.density_mg_cm3(100.0),
        -52.41,
        0.05,
    );
}

/// Six rods with errors of a few HU. Reference: scipy.stats.linregress and a numerical Jacobian of the
/// inverted line; a Monte Carlo of 20 000 fits gave 0.00357 and 2.06 for the two standard errors.
#[test]
fn plain_phantom_agrees_with_scipy() {
    let phantom = Phantom::named("qrm-bdc6").unwrap();
    let hu = [3.1, 131.9, 266.2, 515.7, 781.4, 1031.0];
    let calibration = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
    assert_eq!(calibration.method, Method::LeastSquares);
    assert_eq!(calibration.kind, DensityKind::Ha);
    close(calibration.slope_mg_cm3_per_hu, 0.7772932195485154, 1e-12);
    close(calibration.intercept_mg_cm3, -3.577730685627205, 1e-9);
    close(calibration.r2.unwrap(), 0.9999152153100033, 1e-12);
    close(calibration.slope_standard_error.unwrap(), 0.00357876, 1e-8);
    close(
        calibration.intercept_standard_error.unwrap(),
        2.08045276,
        1e-6,
    );
}

/// As above, with the Mindways constants inside the Jacobian.
#[test]
fn mindways_standard_errors_agree_with_scipy() {
    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let hu = [-64.422, -27.014, 188.035, 343.313, 469.912];
    let calibration = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
    close(calibration.slope_mg_cm3_per_hu, 0.803621322344289, 1e-12);
    close(calibration.intercept_mg_cm3, 3.0311932308458784, 1e-9);
    close(calibration.r2.unwrap(), 0.9999196616169648, 1e-12);
    close(calibration.slope_standard_error.unwrap(), 0.00488539, 1e-8);
    close(
        calibration.intercept_standard_error.unwrap(),
        1.12757385,
        1e-6,
    );
}

#[test]
fn ct_number_is_regressed_on_density_and_not_the_other_way() {
    // HU = 1, 2, 0 at rho = 0, 100, 200 has a negative slope; 0, 2, 1 has a = 0.005 and b = 0.5. The
    // other regression would give rho = 50 HU + 50, a slope a quarter of the inverted 200.
    let mut phantom = Phantom::named("qrm-bdc3").unwrap();
    for (rod, density) in phantom.rods.iter_mut().zip([0.0, 100.0, 200.0]) {
        rod.equivalent_mg_cm3 = density;
    }
    let calibration = Calibration::fit(&phantom, &rods(&phantom, &[0.0, 2.0, 1.0])).unwrap();
    close(calibration.slope_mg_cm3_per_hu, 200.0, 1e-9);
    close(calibration.intercept_mg_cm3, -100.0, 1e-9);
    close(calibration.r2.unwrap(), 0.25, 1e-12);
    assert_eq!(calibration.status(), CheckStatus::Refuse);
    let falling = Calibration::fit(&phantom, &rods(&phantom, &[1.0, 2.0, 0.0]));
    assert!(falling.unwrap_err().to_string().contains("do not rise"));
}

#[test]
fn two_rods_have_no_standard_error_and_one_has_no_line() {
    let phantom = Phantom::named("siemens-osteo").unwrap();
    let two = Calibration::fit(&phantom, &rods(&phantom, &[0.0, 250.0])).unwrap();
    close(two.slope_mg_cm3_per_hu, 0.8, 1e-12);
    assert_eq!(two.slope_standard_error, None);
    assert_eq!(two.intercept_standard_error, None);
    assert_eq!(check(&two, "calibration_rods").status, CheckStatus::Review);

    let one = &rods(&phantom, &[0.0, 250.0])[..1];
    let error = Calibration::fit(&phantom, one).unwrap_err().to_string();
    assert!(
        error.contains("one rod ('HA 0')") && error.contains("at least two"),
        "{error}"
    );
    assert!(
        Calibration::fit(&phantom, &[])
            .unwrap_err()
            .to_string()
            .contains("no rod")
    );
}

#[test]
fn r2_gates_and_exchanged_rods() {
    // r2 of y = (0, 1 + e, 2) on three equidistant rods is 1 / (1 + e²/3) by hand: e = 0.24 gives 0.9812,
    // e = 0.27 gives 0.9763, e = 0.55 gives 0.9084, e = 0.6 gives 0.8929.
    let mut phantom = Phantom::named("qrm-bdc3").unwrap();
    for (rod, density) in phantom.rods.iter_mut().zip([0.0, 100.0, 200.0]) {
        rod.equivalent_mg_cm3 = density;
    }
    for (e, r2, status) in [
        (0.24, 0.98116, CheckStatus::Pass),
        (0.27, 0.97627, CheckStatus::Review),
        (0.55, 0.90840, CheckStatus::Review),
        (0.60, 0.89286, CheckStatus::Refuse),
    ] {
        let hu = [0.0, 10.0 * (1.0 + e), 20.0];
        let calibration = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
        let found = check(&calibration, "calibration_r2");
        close(found.value.unwrap(), r2, 1e-5);
        assert_eq!(found.status, status, "e = {e}");
    }

    // Rods A and B exchanged: r2 stays above the gate, the residual does not.
    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let mut hu = WORKED_HU;
    hu.swap(0, 1);
    let exchanged = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
    assert_eq!(
        check(&exchanged, "calibration_r2").status,
        CheckStatus::Pass
    );
    let residual = check(&exchanged, "calibration_residual_hu");
    assert_eq!(residual.status, CheckStatus::Review);
    assert!(residual.reason.contains("'A'") || residual.reason.contains("'B'"));
}

#[test]
fn rods_must_be_those_of_the_phantom() {
    let phantom = Phantom::named("qrm-bdc3").unwrap();
    let good = rods(&phantom, &[130.0, 520.0, 1040.0]);
    let refused = |change: &dyn Fn(&mut Vec<Rod>)| {
        let mut rods = good.clone();
        change(&mut rods);
        Calibration::fit(&phantom, &rods).unwrap_err().to_string()
    };
    let unknown = refused(&|rods| rods[1].name = "HA 500".into());
    assert!(
        unknown.contains("no rod 'HA 500'") && unknown.contains("HA 400"),
        "{unknown}"
    );
    let twice = refused(&|rods| rods[1] = rods[0].clone());
    assert!(twice.contains("'HA 100' is given twice"), "{twice}");
    let other = refused(&|rods| rods[2].reference_mg_cm3 = 810.0);
    assert!(other.contains("not those of phantom"), "{other}");
    let nan = refused(&|rods| rods[2].hu_mean = f64::NAN);
    assert!(nan.contains("'HA 800'") && nan.contains("finite"), "{nan}");

    let some = Calibration::fit(&phantom, &good[1..]).unwrap();
    assert_eq!(check(&some, "calibration_rods").status, CheckStatus::Review);
    let qa = Phantom::named("mindways-model3-qa").unwrap();
    let top = &rods(&qa, &[186.5, -24.0, 345.8, 346.5])[2..];
    let error = Calibration::fit(&qa, top).unwrap_err().to_string();
    assert!(error.contains("span 0.08"), "{error}");
}

#[test]
fn json_has_the_promised_keys_and_comes_back() {
    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let calibration = Calibration::fit(&phantom, &rods(&phantom, &WORKED_HU)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.json");
    std::fs::write(&path, calibration.to_json().unwrap()).unwrap();
    assert_eq!(Calibration::read(&path).unwrap(), calibration);

    let json: serde_json::Value = serde_json::from_str(&calibration.to_json().unwrap()).unwrap();
    for key in [
        "slope_mg_cm3_per_hu",
        "intercept_mg_cm3",
        "basis",
        "method",
        "r2",
        "slope_standard_error",
        "intercept_standard_error",
        "rods",
        "checks",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    assert_eq!(json["basis"], "k2hpo4");
    assert_eq!(json["method"], "mindways");
    for key in [
        "name",
        "hu_mean",
        "hu_sd",
        "reference_mg_cm3",
        "voxels",
        "centre_mm",
    ] {
        assert!(json["rods"][4].get(key).is_some(), "{key}");
    }
    for key in ["name", "status", "value", "reason"] {
        assert!(json["checks"][0].get(key).is_some(), "{key}");
    }
    assert_eq!(json["checks"][0]["status"], "pass");

    let line = Calibration::line(0.8, -1.5, DensityKind::Ha).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line.to_json().unwrap()).unwrap();
    assert!(json["r2"].is_null() && json["slope_standard_error"].is_null());
}

#[test]
fn calibration_files_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Calibration::read(&path)
    };
    let least =
        r#"{"slope_mg_cm3_per_hu": 0.8, "intercept_mg_cm3": 2, "basis": "ha", "method": "line"}"#;
    assert_eq!(
        read(least).unwrap(),
        Calibration::line(0.8, 2.0, DensityKind::Ha).unwrap()
    );
    let error = read(&least.replace("0.8", "-0.8")).unwrap_err().to_string();
    assert!(
        error.contains("calibration.json") && error.contains("-0.8"),
        "{error}"
    );
    let error = read(&least.replace("\"ha\"", "\"bone\""))
        .unwrap_err()
        .to_string();
    assert!(error.contains("bone"), "{error}");
    let error = read("{}").unwrap_err().to_string();
    assert!(error.contains("slope_mg_cm3_per_hu"), "{error}");
    assert!(read("nonsense").is_err());
}

#[test]
fn the_line_is_applied_to_every_voxel() {
    let grid = Grid::axis_aligned([2, 2, 1], [1.0, 1.0, 3.0]);
    let ct = Volume::new(grid, vec![-1000.0, 0.0, 100.0, 1500.0]).unwrap();
    let calibration = Calibration::line(0.8, 5.0, DensityKind::K2Hpo4).unwrap();
    let density = calibration.apply(&ct).unwrap();
    assert_eq!(density.kind, DensityKind::K2Hpo4);
    assert_eq!(density.mg_cm3.data, vec![-795.0, 5.0, 85.0, 1205.0]);
    assert_eq!(density.mg_cm3.grid, ct.grid);

    let same = Calibration::identity(DensityKind::Ash).apply(&ct).unwrap();
    assert_eq!(same.mg_cm3, ct);
    assert_eq!(same.kind, DensityKind::Ash);

    let mut broken = ct;
    broken.data[1] = f32::NAN;
    broken.data[3] = f32::INFINITY;
    assert_eq!(non_finite(&broken), 2);
    let error = calibration.apply(&broken).unwrap_err().to_string();
    assert!(error.contains("2 of 4 CT voxels"), "{error}");
    for slope in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Calibration::line(slope, 0.0, DensityKind::Ash).is_err());
    }
    assert!(Calibration::line(1.0, f64::NAN, DensityKind::Ash).is_err());
}

#[test]
fn the_standard_error_grows_away_from_the_rods() {
    let phantom = Phantom::named("qrm-bdc3").unwrap();
    // Densities 100, 400, 800; y = 1.2 x + 5 with residuals by hand.
    let line = Calibration::fit(&phantom, &rods(&phantom, &[129.0, 477.0, 968.0])).unwrap();
    let at = |hu: f64| line.density_standard_error_mg_cm3(hu).unwrap();
    close(at(0.0), line.intercept_standard_error.unwrap(), 1e-9);
    // Over the mean of the rods: s / (a sqrt n), of the first order.
    let residuals = line.residuals_hu();
    let s = residuals.iter().map(|r| r * r).sum::<f64>().sqrt();
    let middle = line.hu(1300.0 / 3.0);
    close(at(middle), s * line.slope_mg_cm3_per_hu / 3f64.sqrt(), 1e-6);
    let far = (at(2000.0).powi(2) - at(middle).powi(2)).sqrt();
    close(
        far,
        (2000.0 - middle) * line.slope_standard_error.unwrap(),
        1e-9,
    );
    let exact = Calibration::line(0.8, 2.0, DensityKind::Ha).unwrap();
    assert_eq!(exact.density_standard_error_mg_cm3(100.0), None);
}

#[test]
fn residuals_of_mindways_rods_know_their_material() {
    let phantom = Phantom::named("mindways-model3-ct").unwrap();
    let mut hu = WORKED_HU;
    let line = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
    assert!(line.residuals_hu().iter().all(|r| r.abs() < 2e-3));
    hu[2] += 30.0;
    let line = Calibration::fit(&phantom, &rods(&phantom, &hu)).unwrap();
    let residuals = line.residuals_hu();
    assert!(residuals[2] > 20.0 && residuals.iter().sum::<f64>().abs() < 1e-6);
}

#[test]
fn bone_far_beyond_the_last_rod_is_for_review() {
    let extrapolation = |name: &str, hu: &[f64]| {
        let phantom = Phantom::named(name).unwrap();
        let line = Calibration::fit(&phantom, &rods(&phantom, hu)).unwrap();
        line.extrapolation(1200.0).unwrap()
    };
    let ct = extrapolation("mindways-model3-ct", &WORKED_HU);
    close(ct.value.unwrap(), 1200.0 / 375.83, 1e-9);
    assert_eq!(ct.status, CheckStatus::Pass);
    let qa = extrapolation("mindways-model3-qa", &[186.535, -24.014, 345.813, 346.510]);
    close(qa.value.unwrap(), 1200.0 / 157.13, 1e-9);
    assert_eq!(qa.status, CheckStatus::Review);
    assert!(
        qa.reason.contains("the standard error there is"),
        "{}",
        qa.reason
    );
    let line = Calibration::line(0.8, 2.0, DensityKind::Ha).unwrap();
    assert!(line.extrapolation(1200.0).is_none());
}
