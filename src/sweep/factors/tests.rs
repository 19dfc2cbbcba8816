use super::*;
use crate::plan::{Basis, CalibrationSpec, Subject};
use crate::protocol::Protocol;
use calibration::fit::Method;
use calibration::{DensityKind, Rod};

fn plan(bone: Bone, settings: &[&str]) -> Plan {
    let calibration = CalibrationSpec::Density {
        basis: Basis::K2hpo4,
    };
    let settings: Vec<Assignment> = settings.iter().map(|text| text.parse().unwrap()).collect();
    let protocol = Protocol::built_in(Protocol::default_name(bone)).unwrap();
    Plan::resolve(&protocol, Subject::new(bone, Some(calibration)), &settings).unwrap()
}

fn of(factor: Factor, plan: &Plan) -> Variants {
    let calibration = Calibration::identity(DensityKind::K2Hpo4);
    Variants::of(
        factor,
        &Case {
            plan,
            calibration: &calibration,
            load_direction: Some([0.0, 0.0, -1.0]),
        },
    )
}

#[test]
fn every_factor_applies_to_a_femur_or_says_why_not() {
    let plan = plan(Bone::Femur, &[]);
    for word in Factor::WORDS {
        let found = of(word.parse().unwrap(), &plan);
        assert_eq!(
            found.variants.is_empty(),
            !found.reason.is_empty(),
            "{word}"
        );
        assert_eq!(
            found.variants.is_empty(),
            *word == "calibration",
            "{word}: {}",
            found.reason
        );
        for variant in &found.variants {
            assert_ne!(variant.setting, found.base);
            if let Change::Settings(settings) = &variant.change {
                let changed = plan.clone().with(settings).unwrap();
                assert_ne!(changed.settings, plan.settings, "{word}");
            }
        }
    }
}

#[test]
fn what_belongs_to_femora_or_hexahedra_does_not_apply_to_a_vertebra() {
    let plan = plan(Bone::Vertebra, &[]);
    let without: Vec<&str> = Factor::WORDS
        .iter()
        .copied()
        .filter(|word| of(word.parse().unwrap(), &plan).variants.is_empty())
        .collect();
    let expected = [
        "calibration",
        "softening",
        "element",
        "smoothing",
        "shaft-length",
    ];
    assert_eq!(without, expected);
}

#[test]
fn amounts_by_hand() {
    let femur = plan(Bone::Femur, &["mesh.voxel_mm=2"]);
    let settings = |factor, plan: &Plan| -> Vec<String> {
        of(factor, plan)
            .variants
            .into_iter()
            .map(|variant| variant.setting)
            .collect()
    };
    assert_eq!(settings(Factor::Mesh, &femur), ["1.6 mm", "2.5 mm"]);
    assert_eq!(settings(Factor::ShaftLength, &femur), ["80 mm", "120 mm"]);
    assert_eq!(settings(Factor::Smoothing, &femur), ["0 mm"]);
    assert_eq!(
        settings(Factor::LoadDirection, &femur),
        ["-10°", "-5°", "+5°", "+10°"]
    );
    let vertebra = plan(Bone::Vertebra, &[]);
    // 1.25 cubed is 1.953125.
    assert_eq!(
        settings(Factor::Mesh, &vertebra),
        ["0.512 mm3", "1.9531 mm3"]
    );
    let turned = of(Factor::LoadDirection, &vertebra);
    let Change::Settings(settings) = &turned.variants[3].change else {
        panic!("no setting");
    };
    // (0, 0, -1) turned by 10 degrees about x is (0, sin 10, -cos 10).
    let text = settings[0].value.as_str().unwrap();
    let numbers: Vec<f64> = text["vector:".len()..]
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect();
    for (found, expected) in numbers.iter().zip([0.0, 0.17364818, -0.98480775]) {
        assert!((found - expected).abs() < 1e-8, "{text}");
    }
}

#[test]
fn a_line_of_mindways_turns_where_its_errors_are_independent() {
    // Model 3 CT's rods: by the regression of HU less water on density, slope 1.1 and intercept -999.6, so A = 0.8826, B = 0.
    let water = [1012.2, 1057.0, 1103.6, 1119.5, 923.2];
    let density = [-51.8, -53.4, 58.9, 157.0, 375.8];
    let noise = [3.0, -2.0, 4.0, -6.0, 1.0];
    let rods: Vec<Rod> = (0..5)
        .map(|k| Rod {
            name: format!("{k}"),
            hu_mean: water[k] + 1.1 * density[k] - 999.6 + noise[k],
            hu_sd: Some(1.0),
            reference_mg_cm3: density[k],
            water_mg_cm3: Some(water[k]),
            voxels: 100,
            centre_mm: None,
        })
        .collect();
    let phantom = calibration::Phantom::named("mindways-model3-ct").unwrap();
    let names = phantom.rods.iter().map(|rod| rod.name.clone());
    let rods: Vec<Rod> = rods
        .into_iter()
        .zip(names)
        .map(|(rod, name)| Rod { name, ..rod })
        .zip(&phantom.rods)
        .map(|(rod, own)| Rod {
            reference_mg_cm3: own.equivalent_mg_cm3,
            water_mg_cm3: own.water_mg_cm3,
            ..rod
        })
        .collect();
    let fitted = Calibration::fit(&phantom, &rods).unwrap();
    let found = lines(&fitted).unwrap();
    let line = |place: usize| match found[place].change {
        Change::Line { slope, intercept } => [slope, intercept],
        _ => panic!("no line"),
    };
    let [[low_slope, low], [high_slope, high]] = [line(0), line(1)];
    let mean = rods.iter().map(|rod| rod.reference_mg_cm3).sum::<f64>() / 5.0;
    let pivot = fitted.hu(mean);
    // At the pivot both lines are equally far from the fitted one, by the residual over sqrt(5) and over the slope.
    let up = high_slope * pivot + high - mean;
    let down = mean - (low_slope * pivot + low);
    assert!((up - down).abs() < 1e-9 && up > 0.0, "{up} {down}");
    let a = 1.0 / fitted.slope_mg_cm3_per_hu + calibration::fit::MINDWAYS_SLOPE_OFFSET;
    let n = 5.0;
    let y: Vec<f64> = rods
        .iter()
        .map(|rod| rod.hu_mean - rod.water_mg_cm3.unwrap())
        .collect();
    let y_mean = y.iter().sum::<f64>() / n;
    let squares: f64 = rods
        .iter()
        .zip(&y)
        .map(|(rod, y)| (y - y_mean - a * (rod.reference_mg_cm3 - mean)).powi(2))
        .sum();
    let expected = (squares / (n - 2.0) / n).sqrt() * fitted.slope_mg_cm3_per_hu;
    assert!((up / expected - 1.0).abs() < 1e-6, "{up}, not {expected}");
}

#[test]
fn a_line_turns_about_the_mean_of_its_rods() {
    let rod = |name: &str, hu: f64, reference: f64| Rod {
        name: name.into(),
        hu_mean: hu,
        hu_sd: Some(1.0),
        reference_mg_cm3: reference,
        water_mg_cm3: None,
        voxels: 100,
        centre_mm: None,
    };
    let mut calibration = Calibration::line(0.8, 5.0, DensityKind::K2Hpo4).unwrap();
    calibration.method = Method::LeastSquares;
    calibration.rods = vec![rod("a", 0.0, 5.0), rod("b", 200.0, 165.0)];
    calibration.slope_standard_error = Some(0.03);
    // The mean is 100 HU: the height's error is sqrt(5² - 3²) = 4.
    calibration.intercept_standard_error = Some(5.0);
    let found = lines(&calibration).unwrap();
    let Change::Line { slope, intercept } = found[1].change else {
        panic!("no line");
    };
    assert!((slope - 0.83).abs() < 1e-12 && (intercept - 6.0).abs() < 1e-12);
    assert!((slope * 100.0 + intercept - (85.0 + 4.0)).abs() < 1e-12);
    let Change::Line { slope, intercept } = found[0].change else {
        panic!("no line");
    };
    assert!((slope - 0.77).abs() < 1e-12 && (intercept - 4.0).abs() < 1e-12);
}
