use imaging::Grid;

use super::*;
use crate::fit::Method;

#[test]
fn kinds_have_names() {
    for (kind, name) in [
        (DensityKind::K2Hpo4, "k2hpo4"),
        (DensityKind::Ha, "ha"),
        (DensityKind::Ash, "ash"),
        (DensityKind::Apparent, "apparent"),
    ] {
        assert_eq!(kind.to_string(), name);
        assert_eq!(name.parse::<DensityKind>().unwrap(), kind);
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{name}\""));
    }
    let error = "bone".parse::<DensityKind>().unwrap_err().to_string();
    assert!(
        error.contains("'bone'") && error.contains("k2hpo4, ha, ash"),
        "{error}"
    );
}

/// Each printed formula at 400 mg/cm3 (or HU), by hand.
#[test]
fn every_conversion_by_hand() {
    let expected = [
        ("identity", 400.0),
        ("keyak1994", 462.9),
        ("trabelsi2011", 540.3),
        ("ha_identity", 400.0),
        ("schileo2008", 429.8),
        ("keyak2005_ha", 418.1),
        ("mayo2011", 271.0),
        ("ha_to_k2hpo4_80kvp", 344.0),
        ("ha_to_k2hpo4_120kvp", 332.0),
        ("ha_to_k2hpo4_140kvp", 324.0),
        ("k2hpo4_to_ha_80kvp", 465.1163),
        ("k2hpo4_to_ha_120kvp", 481.9277),
        ("k2hpo4_to_ha_140kvp", 493.8272),
    ];
    assert_eq!(expected.len(), DensityConversion::ALL.len());
    for (name, result) in expected {
        let conversion = DensityConversion::named(name).unwrap();
        let found = conversion.at_mg_cm3(400.0);
        assert!((found - result).abs() < 5e-5, "{name}: {found}");
        let Reads::Kind(kind) = conversion.reads else {
            continue;
        };
        let gives = conversion.gives.unwrap();
        let density = conversion
            .convert(Density::new(kind, 400.0), gives)
            .unwrap();
        assert_eq!(density, Density::new(gives, found));
    }
    let error = DensityConversion::named("keyak").unwrap_err().to_string();
    assert!(error.contains("keyak1994"), "{error}");
}

/// rho_HA = -0.09 + 1.14 rho_ash is the form Schileo printed; the inverted one agrees to its rounding.
#[test]
fn schileo_inverts_the_printed_form() {
    let conversion = DensityConversion::named("schileo2008").unwrap();
    for ash in [100.0, 500.0, 1200.0] {
        let ha = -90.0 + 1.14 * ash;
        assert!((conversion.at_mg_cm3(ha) - ash).abs() < 1e-3 * ash + 0.1);
    }
}

#[test]
fn a_conversion_refuses_other_kinds() {
    let keyak = DensityConversion::named("keyak1994").unwrap();
    let ha = Density::new(DensityKind::Ha, vec![100.0]);
    let error = keyak.convert(ha, DensityKind::Ash).unwrap_err().to_string();
    assert!(
        error.contains("'keyak1994'") && error.contains("reads k2hpo4") && error.contains("is ha"),
        "{error}"
    );
    assert!(error.contains("ha_to_k2hpo4_120kvp"), "{error}");
    // Right input, but the law wants another kind.
    let k2hpo4 = Density::new(DensityKind::K2Hpo4, vec![100.0]);
    let error = keyak
        .convert(k2hpo4.clone(), DensityKind::K2Hpo4)
        .unwrap_err()
        .to_string();
    assert!(error.contains("choose one that gives k2hpo4"), "{error}");
    // CT numbers are no density.
    let mayo = DensityConversion::named("mayo2011").unwrap();
    let error = mayo
        .convert(k2hpo4, DensityKind::Ash)
        .unwrap_err()
        .to_string();
    assert!(error.contains("CT numbers"), "{error}");
    let calibration = mayo.calibration().unwrap();
    assert_eq!(
        (calibration.kind, calibration.method),
        (DensityKind::Ash, Method::Line)
    );
    assert!((calibration.density_mg_cm3(1000.0) - 691.0).abs() < 1e-9);
    assert!(keyak.calibration().is_none());
    // Nothing is known from ash back to a phantom.
    let ash = Density::new(DensityKind::Ash, 1.0);
    let error = ash
        .check_kind(DensityKind::Ha, "the law")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no conversion from ash to ha") && !error.contains("identity"),
        "{error}"
    );
}

#[test]
fn identity_gives_the_numbers_another_name() {
    let identity = DensityConversion::named("identity").unwrap();
    let grid = Grid::axis_aligned([2, 1, 1], [1.0; 3]);
    let map = Volume::new(grid, vec![0.1_f32, 123.456]).unwrap();
    let ash = identity
        .convert(
            Density::new(DensityKind::K2Hpo4, map.clone()),
            DensityKind::Ash,
        )
        .unwrap();
    assert_eq!(ash, Density::new(DensityKind::Ash, map));
}

#[test]
fn mapping_keeps_the_kind_and_clamping_counts() {
    let density = Density::new(DensityKind::Ha, vec![-40.0, -31.0, 5.0]);
    assert_eq!(
        density.as_ref().map(Vec::len),
        Density::new(DensityKind::Ha, 3)
    );
    let (clamped, count) = density.clamped_below(-31.0);
    assert_eq!(
        clamped,
        Density::new(DensityKind::Ha, vec![-31.0, -31.0, 5.0])
    );
    assert_eq!(count, 1);
}
