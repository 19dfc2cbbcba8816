use super::*;
use crate::density::Density;

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found}, expected {expected} within {tolerance}"
    );
}

/// Values printed with the laws of Saillard 2024 and Kopperdahl 2002 (three to four digits).
#[test]
fn vertebral_laws_give_the_printed_values() {
    let linear = ElasticityLaw::named("kopperdahl2002_linear").unwrap();
    let strain = StrengthLaw::named("yield_strain").unwrap();
    let power = StrengthLaw::named("kopperdahl2002_power").unwrap();
    for (rho, e, saillard, kopperdahl) in [
        (50.0, 126.8, 1.90, 0.58),
        (100.0, 288.3, 4.32, 1.52),
        (150.0, 449.8, 6.75, 2.68),
        (200.0, 611.3, 9.17, 3.99),
        (300.0, 934.3, 14.0, 7.02),
        (600.0, 1903.0, 28.5, 18.4),
        (1000.0, 3195.0, 47.9, 37.4),
    ] {
        // Half of the last printed digit.
        let half_digit = |printed: f64| if printed < 10.0 { 0.00501 } else { 0.0501 };
        close(
            linear.at_mpa(rho),
            e,
            if e < 1000.0 { 0.0501 } else { 0.501 },
        );
        let stress = strain.at_mpa(rho, linear.at_mpa(rho));
        close(stress, saillard, half_digit(saillard));
        close(
            power.at_mpa(rho, f64::NAN),
            kopperdahl,
            half_digit(kopperdahl),
        );
    }
    // 24.9 * 0.1 - 0.75 by hand.
    let by_hand = StrengthLaw::named("kopperdahl2002_linear").unwrap();
    close(by_hand.at_mpa(100.0, 1.0), 1.74, 1e-12);
    // 2980 * 0.1^1.05 = 2980 * 10^-1.05 = 2980 * 0.0891251.
    let modulus = ElasticityLaw::named("kopperdahl2002_power").unwrap();
    close(modulus.at_mpa(100.0), 265.5928, 1e-3);
}

/// keyak2005 at 0.1 ... 1.2 g/cm3 for ash density taken as it is, by Keyak 1994 and by Trabelsi 2011.
#[test]
fn femoral_modulus_under_three_conversions() {
    let law = ElasticityLaw::named("keyak2005").unwrap();
    for (rho, identity, keyak, trabelsi) in [
        (100.0, 206.0, 410.0, 578.0),
        (200.0, 747.0, 1138.0, 1551.0),
        (400.0, 2710.0, 3556.0, 4741.0),
        (800.0, 9839.0, 11919.0, 15694.0),
        (1200.0, 20915.0, 24653.0, 32318.0),
    ] {
        for (name, expected) in [
            ("identity", identity),
            ("keyak1994", keyak),
            ("trabelsi2011", trabelsi),
        ] {
            let conversion = crate::DensityConversion::named(name).unwrap();
            let density = Density::new(DensityKind::K2Hpo4, vec![rho]);
            let ash = conversion.convert(density, law.kind).unwrap();
            close(law.modulus(&ash).unwrap().mpa[0], expected, 0.501);
        }
    }
}

#[test]
fn sideways_fall_law_and_its_floor() {
    let law = ElasticityLaw::named("keller1994").unwrap();
    // At 1 g/cm3 ash the law is its coefficient; the -31 mg/cm3 clamp leaves E = 0.09 MPa.
    close(law.at_mpa(1000.0), 10500.0, 1e-9);
    close(law.at_mpa(-500.0), 0.0869, 5e-4);
    close(law.at_mpa(6.04), law.at_mpa(-500.0), 0.0);
    // 10500 * 0.5^2.29 = 10500 / 4.89056 by logarithm tables.
    close(law.at_mpa(500.0), 2147.0, 0.5);
}

#[test]
fn floors_are_counted() {
    let density = Density::new(DensityKind::Ash, vec![-20.0, 9.9, 10.0, 300.0, 1900.0]);
    let law = ElasticityLaw::named("keyak2005").unwrap();
    let modulus = law.modulus(&density).unwrap();
    assert_eq!(modulus.clamped, 2);
    assert_eq!(modulus.outside_range, 2);
    // rho_min = 0.01 g/cm3: E = 2.8 MPa, S = 0.026 MPa.
    close(modulus.mpa[0], 2.84, 5e-3);
    assert_eq!(modulus.mpa[0], modulus.mpa[1]);
    assert_eq!(modulus.mpa[0], modulus.mpa[2]);
    let strength = StrengthLaw::named("keyak2005").unwrap();
    let strength = strength.strength(&density, &modulus.mpa).unwrap();
    assert_eq!(strength.clamped, 2);
    close(strength.mpa[1], 0.0256, 5e-5);

    let density = Density::new(DensityKind::K2Hpo4, vec![-50.0, 10.0, 11.0, 12.0]);
    let linear = ElasticityLaw::named("kopperdahl2002_linear").unwrap();
    let modulus = linear.modulus(&density).unwrap();
    // 3.23 * 11 - 34.7 = 0.83 MPa is below the floor of 1 MPa, 3.23 * 12 - 34.7 = 4.06 is not.
    assert_eq!(modulus.mpa[..3], [1.0, 1.0, 1.0]);
    close(modulus.mpa[3], 4.06, 1e-9);
    assert_eq!(modulus.clamped, 3);
    assert_eq!(modulus.outside_range, 2);
    let strength = StrengthLaw::named("kopperdahl2002_linear").unwrap();
    let strength = strength.strength(&density, &modulus.mpa).unwrap();
    assert_eq!(strength.clamped, 4);
    assert_eq!(strength.mpa, vec![LEAST_STRENGTH_MPA; 4]);
    let power = ElasticityLaw::named("kopperdahl2002_power").unwrap();
    let modulus = power.modulus(&density).unwrap();
    assert_eq!((modulus.mpa[0], modulus.clamped), (1e-4, 1));
}

#[test]
fn a_law_refuses_other_kinds_and_broken_values() {
    let law = ElasticityLaw::named("keyak2005").unwrap();
    let k2hpo4 = Density::new(DensityKind::K2Hpo4, vec![100.0]);
    let error = law.modulus(&k2hpo4).unwrap_err().to_string();
    assert!(
        error.contains("'keyak2005'")
            && error.contains("reads ash")
            && error.contains("is k2hpo4")
            && error.contains("keyak1994 or trabelsi2011"),
        "{error}"
    );
    let strength = StrengthLaw::named("keyak2005").unwrap();
    assert!(strength.strength(&k2hpo4, &[1.0]).is_err());
    // A yield strain asks for no density.
    let strain = StrengthLaw::named("yield_strain").unwrap();
    let stress = strain.strength(&k2hpo4, &[200.0]).unwrap();
    close(stress.mpa[0], 3.0, 1e-12);

    let nan = Density::new(DensityKind::Ash, vec![100.0, f64::NAN]);
    let error = law.modulus(&nan).unwrap_err().to_string();
    assert!(error.contains("1 of 2 element densities"), "{error}");
    let ash = Density::new(DensityKind::Ash, vec![100.0]);
    assert!(strength.strength(&ash, &[]).is_err());
    let mut no_floor = law;
    no_floor.floor.density_mg_cm3 = None;
    let zero = Density::new(DensityKind::Ash, vec![0.0]);
    assert!(
        no_floor
            .modulus(&zero)
            .unwrap_err()
            .to_string()
            .contains("floor")
    );
}

#[test]
fn laws_of_the_users_own() {
    let law = ElasticityLaw::user(&[6850.0, 1.49], DensityKind::Apparent).unwrap();
    close(law.at_mpa(1000.0), 6850.0, 1e-9);
    let law = ElasticityLaw::named("kopperdahl2002_linear").unwrap();
    let law = law.with_coefficients(&[1000.0, 2.0, 10.0]).unwrap();
    close(law.at_mpa(500.0), 260.0, 1e-9);
    assert!(law.citation.contains("changed by the user"));
    assert_eq!(law.kind, DensityKind::K2Hpo4);
    let strength = StrengthLaw::named("yield_strain").unwrap();
    let strength = strength.with_coefficients(&[0.01]).unwrap();
    close(strength.at_mpa(0.0, 500.0), 5.0, 1e-12);
    assert!(strength.with_coefficients(&[1.0, 2.0]).is_err());
    let strength = StrengthLaw::user(&[50.0, 2.0], DensityKind::Ash).unwrap();
    close(strength.at_mpa(200.0, 1.0), 2.0, 1e-12);
    for wrong in [
        &[][..],
        &[1.0],
        &[1.0, 2.0, 3.0, 4.0],
        &[-1.0, 2.0],
        &[1.0, 0.0],
        &[f64::NAN, 1.0],
    ] {
        assert!(
            ElasticityLaw::user(wrong, DensityKind::Ash).is_err(),
            "{wrong:?}"
        );
    }
    for strain in [0.0, -0.1, 1.5, f64::NAN] {
        assert!(StrengthLaw::yield_strain(strain).is_err());
    }
}

#[test]
fn every_published_law_has_a_name_and_a_source() {
    for name in ElasticityLaw::names() {
        let law = ElasticityLaw::named(name).unwrap();
        assert_eq!(law.name, name);
        assert!(law.citation.contains("19") || law.citation.contains("20"));
    }
    for name in StrengthLaw::names() {
        let law = StrengthLaw::named(name).unwrap();
        assert_eq!(law.name, name);
        assert!(law.citation.contains("20"), "{}", law.citation);
    }
    let error = ElasticityLaw::named("keyak").unwrap_err().to_string();
    assert!(
        error.contains("keyak2005") && error.contains("kopperdahl2002_linear"),
        "{error}"
    );
    assert!(StrengthLaw::named("keyak").is_err());
}
