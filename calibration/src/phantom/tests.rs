use super::*;

const GOOD: &str = r#"
name = "mine"
basis = "ha"
source = "certificate 7"
[[rod]]
name = "A"
equivalent_mg_cm3 = 0.0
diameter_mm = 14.5
position_mm = [0.0, 10.0, 0.0]
[[rod]]
name = "B"
equivalent_mg_cm3 = 200.0
"#;

#[test]
fn every_shipped_phantom_loads_under_its_own_name() {
    let mut count = 0;
    for name in Phantom::names() {
        let phantom = Phantom::named(name).unwrap();
        assert_eq!(phantom.name, name);
        assert!(!phantom.source.is_empty());
        assert_eq!(phantom.has_water(), name.starts_with("mindways"), "{name}");
        let expected = if name.starts_with("mindways") {
            DensityKind::K2Hpo4
        } else {
            DensityKind::Ha
        };
        assert_eq!(phantom.basis, expected, "{name}");
        count += 1;
    }
    assert_eq!(count, 10);
    // The folder holds what is shipped, and nothing else.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("phantoms");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), count);
    let error = Phantom::named("mindways").unwrap_err().to_string();
    assert!(
        error.contains("mindways-model3-ct") && error.contains(".toml"),
        "{error}"
    );
}

#[test]
fn rod_values_are_those_of_the_certificates() {
    let values = |name: &str| -> Vec<f64> {
        Phantom::named(name)
            .unwrap()
            .rods
            .iter()
            .map(|rod| rod.equivalent_mg_cm3)
            .collect()
    };
    let water = |name: &str| -> Vec<f64> {
        Phantom::named(name)
            .unwrap()
            .rods
            .iter()
            .filter_map(|rod| rod.water_mg_cm3)
            .collect()
    };
    assert_eq!(
        values("mindways-model3-ct"),
        [-51.83, -53.40, 58.88, 157.05, 375.83]
    );
    assert_eq!(
        water("mindways-model3-ct"),
        [1012.25, 1056.95, 1103.57, 1119.52, 923.20]
    );
    assert_eq!(
        values("mindways-model3-qa"),
        [58.88, -53.40, 157.05, 157.13]
    );
    assert_eq!(
        water("mindways-model3-qa"),
        [1103.57, 1056.95, 1119.52, 1120.10]
    );
    assert_eq!(values("qrm-bdc3"), [100.0, 400.0, 800.0]);
    assert_eq!(values("qrm-bdc5"), [0.0, 200.0, 400.0, 600.0, 800.0]);
    assert_eq!(values("qrm-bdc6"), [0.0, 100.0, 200.0, 400.0, 600.0, 800.0]);
    assert_eq!(values("image-analysis-qct3d-plus"), [8.0, 97.3, 189.8]);
    assert_eq!(values("image-analysis-intable"), [0.0, 75.0, 150.0]);
    assert_eq!(values("b-mas-200"), [0.0, 50.0, 100.0, 150.0, 200.0]);
    assert_eq!(values("siemens-osteo"), [0.0, 200.0]);
    assert_eq!(values("european-spine-phantom"), [50.0, 100.0, 200.0]);
    for name in Phantom::names() {
        let unsure = name == "qrm-bdc5" || name == "image-analysis-intable";
        assert_eq!(Phantom::named(name).unwrap().verified, !unsure, "{name}");
    }
}

#[test]
fn a_users_file_is_read_and_written_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, GOOD).unwrap();
    let phantom = Phantom::find(path.to_str().unwrap()).unwrap();
    assert_eq!(phantom.rods[0].diameter_mm, Some(14.5));
    assert_eq!(phantom.rods[0].position_mm, Some([0.0, 10.0, 0.0]));
    assert!(phantom.verified && !phantom.has_water());
    std::fs::write(&path, phantom.to_toml().unwrap()).unwrap();
    assert_eq!(Phantom::read(&path).unwrap(), phantom);
    assert_eq!(Phantom::find("qrm-bdc3").unwrap().name, "qrm-bdc3");
    let missing = Phantom::read(&folder.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}

#[test]
fn faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let refused = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        std::fs::write(&path, GOOD.replacen(from, to, 1)).unwrap();
        Phantom::read(&path).unwrap_err().to_string()
    };
    let one_rod = &GOOD[GOOD.rfind("[[rod]]").unwrap()..];
    for (from, to, message) in [
        ("diameter_mm", "diametre_mm", "diametre_mm"),
        ("source =", "sauce =", "sauce"),
        ("\"ha\"", "\"ash\"", "basis is ash"),
        ("\"B\"", "\"A\"", "two rods are named 'A'"),
        ("\"B\"", "\" \"", "rod 2"),
        (one_rod, "", "1 rod; a line needs at least two"),
        ("= 200.0", "= 5.0", "span 5 mg/cm3"),
        ("= 200.0", "= nan", "rod 2 'B': equivalent_mg_cm3"),
        (
            "= 200.0",
            "= 200.0\nwater_mg_cm3 = 1000.0",
            "1 of 2 rods have water_mg_cm3",
        ),
        ("= 14.5", "= -14.5", "diameter_mm is -14.5"),
        ("10.0, 0.0]", "inf, 0.0]", "position_mm"),
        ("\"mine\"", "\"\"", "name is empty"),
    ] {
        let error = refused(from, to);
        assert!(
            error.contains("mine.toml") && error.contains(message),
            "{message}: {error}"
        );
    }
}
