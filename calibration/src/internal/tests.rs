//! The published worked example, and a body of known tissues.

use imaging::{Grid, LabelMap, Volume};

use super::*;

fn sample(tissue: Tissue, hu_mean: f64) -> TissueSample {
    TissueSample {
        tissue,
        hu_mean,
        hu_sd: None,
        voxels: 100,
        centre_mm: None,
    }
}

/// Tissues of verse004, in the order of [`Tissue::ALL`]: Bonelab, spineFE-benchmark.
const VERSE004_HU: [f64; 5] = [-82.579, -956.834, 39.249, 1226.214, 24.561];

fn verse004() -> Vec<TissueSample> {
    let pairs = Tissue::ALL.iter().zip(VERSE004_HU);
    pairs.map(|(tissue, hu)| sample(*tissue, hu)).collect()
}

#[test]
fn the_published_example_comes_out_to_its_digits() {
    let fit = EffectiveEnergy::of(&verse004()).unwrap();
    assert_eq!(fit.energy_kev, 97.0);
    assert!((fit.r2 - 0.998965).abs() < 5e-7, "{}", fit.r2);
    assert!((fit.attenuation[0] - 1.6e-5).abs() < 5e-7);
    assert!(
        (fit.attenuation[1] - 0.171240).abs() < 5e-7,
        "{}",
        fit.attenuation[1]
    );
    assert!(
        (fit.density[0] - 8.93e-4).abs() < 5e-7,
        "{}",
        fit.density[0]
    );
    assert!(
        (fit.density[1] - 0.968731).abs() < 5e-7,
        "{}",
        fit.density[1]
    );
    assert!((fit.components[0] - 0.205).abs() < 5e-4 && (fit.components[1] - 0.170).abs() < 5e-4);
}

#[test]
fn its_densities_are_those_of_the_two_components() {
    let line = Calibration::internal(&verse004()).unwrap();
    // Worked with numpy from the two lines and XCOM at 97 keV (0.20524 and 0.16989 cm2/g).
    for (hu, expected) in [
        (0.0, 36.9915),
        (100.0, 88.5961),
        (300.0, 216.2028),
        (1000.0, 918.9982),
        (1500.0, 1664.9682),
    ] {
        let density = line.density_mg_cm3(hu);
        assert!((density - expected).abs() < 2e-3, "{hu} HU: {density}");
        assert!((line.hu(density) - hu).abs() < 1e-6);
    }
    // Below the lowest point the density stays there: air is not denser than fat.
    assert_eq!(line.density_mg_cm3(-1000.0), line.density_mg_cm3(-700.0));
    assert!(line.density_mg_cm3(-700.0) < line.density_mg_cm3(-100.0) - 50.0);
    let again: Calibration = serde_json::from_str(&line.to_json().unwrap()).unwrap();
    assert_eq!(again, line);
}

#[test]
fn too_few_and_repeated_tissues_are_refused() {
    let all = verse004();
    let error = Calibration::internal(&all[..2]).unwrap_err().to_string();
    assert!(error.contains("at least 3"), "{error}");
    let twice = [all[0].clone(), all[1].clone(), all[1].clone()];
    let error = Calibration::internal(&twice).unwrap_err().to_string();
    assert!(error.contains("air is given twice"), "{error}");
    let soft = [all[0].clone(), all[2].clone(), all[4].clone()];
    let error = Calibration::internal(&soft).unwrap_err().to_string();
    assert!(error.contains("span 122 HU"), "{error}");
}

#[test]
fn tissues_without_air_that_give_no_rising_density_are_refused() {
    // A vertebra cut out of a scan: fat, bone and muscle only.
    let cut_out = [
        sample(Tissue::Adipose, -97.1),
        sample(Tissue::CorticalBone, 1204.0),
        sample(Tissue::Muscle, 37.9),
    ];
    let error = Calibration::internal(&cut_out).unwrap_err().to_string();
    assert!(error.contains("no air among them"), "{error}");
}

#[test]
fn a_tissue_out_of_its_range_is_for_review() {
    let mut samples = verse004();
    samples[1].hu_mean = -1001.0;
    let status = |samples: &[TissueSample]| {
        let line = Calibration::internal(samples).unwrap();
        let checks = line.checks.into_iter();
        checks
            .filter(|check| check.name == "tissue_blood_hu")
            .map(|check| check.status)
            .collect::<Vec<_>>()
    };
    assert_eq!(status(&samples), [CheckStatus::Pass]);
    samples[2].hu_mean = 180.0; // contrast agent
    assert_eq!(status(&samples), [CheckStatus::Review]);
}

#[test]
fn two_points_make_the_line_through_them() {
    let samples = [sample(Tissue::Adipose, -110.0), sample(Tissue::Air, -990.0)];
    let through = |air, fat| {
        let densities = [(Tissue::Air, air), (Tissue::Adipose, fat)];
        two_point(&samples, densities, DensityKind::K2Hpo4)
    };
    let line = through(-800.0, -80.0).unwrap();
    assert!((line.slope_mg_cm3_per_hu - 720.0 / 880.0).abs() < 1e-12);
    assert!((line.density_mg_cm3(-110.0) + 80.0).abs() < 1e-9);
    assert_eq!(line.status(), CheckStatus::Review);
    assert!(through(-80.0, -800.0).is_err());
    let soft = [
        sample(Tissue::Muscle, 50.0),
        sample(Tissue::Adipose, -110.0),
    ];
    let densities = [(Tissue::Adipose, -80.0), (Tissue::Muscle, 40.0)];
    let error = two_point(&soft, densities, DensityKind::K2Hpo4).unwrap_err();
    assert!(error.to_string().contains("160 HU apart"), "{error}");
    let blood = [(Tissue::Air, -800.0), (Tissue::Blood, 10.0)];
    let error = two_point(&samples, blood, DensityKind::K2Hpo4).unwrap_err();
    assert!(error.to_string().contains("blood is not among"), "{error}");
}

/// A body of fat, muscle and a bone in air, noise of 12 HU, a thin table and padding in the corners.
fn body() -> Volume<f32> {
    let grid = Grid::axis_aligned([120, 110, 40], [1.5, 1.5, 2.0]);
    let mut state = 1u64;
    let mut noise = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 12.0 * 12f32.sqrt()
    };
    Volume::from_fn(grid, |[i, j, _]| {
        let (x, y) = (i as f32 * 1.5 - 90.0, j as f32 * 1.5 - 75.0);
        let out = x.hypot(y);
        let bone = (x - 15.0).hypot(y);
        let corner = x.hypot(y - 5.0) > 100.0;
        if corner {
            return -1024.0;
        }
        let hu = if bone < 6.0 {
            -20.0
        } else if bone < 11.0 {
            1200.0
        } else if out < 42.0 {
            50.0
        } else if out < 58.0 {
            -105.0
        } else if (62.0..63.5).contains(&y) {
            -150.0
        } else {
            -1000.0
        };
        hu + noise()
    })
}

#[test]
fn tissues_of_a_painted_body_are_measured() {
    let regions = measure_tissues(&body(), &Tissue::ALL, None).unwrap();
    let expected = [
        (Tissue::Adipose, -105.0, 1.0),
        (Tissue::Air, -1000.0, 1.0),
        (Tissue::CorticalBone, 1225.0, 10.0), // the densest voxels are those that the noise lifts
        (Tissue::Muscle, 50.0, 1.0),
    ];
    assert_eq!(
        regions.samples.len(),
        expected.len(),
        "{:?}",
        regions.samples
    );
    for (sample, (tissue, hu, within)) in regions.samples.iter().zip(expected) {
        assert_eq!(sample.tissue, tissue);
        assert!((sample.hu_mean - hu).abs() < within, "{sample:?}");
        let place = Tissue::ALL.iter().position(|t| *t == tissue).unwrap() as u16 + 1;
        let marked = regions.labels.select(&[place]).count();
        assert!(marked > 49, "{tissue:?}: {marked}");
    }
}

#[test]
fn air_alone_is_no_body() {
    let air = Volume::filled(Grid::axis_aligned([30, 30, 10], [2.0; 3]), -1000f32);
    let error = measure_tissues(&air, &Tissue::ALL, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no body"), "{error}");
}

/// Labels of [`body`]: a cylinder of muscle as blood, and the fat in front of it.
fn drawn() -> LabelMap {
    let grid = body().grid;
    LabelMap::from_fn(grid, |[i, j, k]| {
        let (x, y) = (i as f32 * 1.5 - 90.0, j as f32 * 1.5 - 75.0);
        let (blood, fat) = (
            (x + 15.0).hypot(y) < 8.0,
            (x.abs() < 10.0) && (44.0..56.0).contains(&-y),
        );
        match (10..20).contains(&k) {
            true if blood => 3,
            true if fat => 1,
            _ => 0,
        }
    })
}

#[test]
fn a_drawn_tissue_stands_for_the_found_one() {
    let (body, drawn) = (body(), drawn());
    let found = measure_tissues(&body, &Tissue::ALL, None).unwrap();
    let regions = measure_tissues(&body, &Tissue::ALL, Some(&drawn)).unwrap();
    let tissues: Vec<Tissue> = regions.samples.iter().map(|s| s.tissue).collect();
    assert_eq!(tissues, Tissue::ALL);
    for (tissue, label, hu) in [(0, 1, -105.0), (2, 3, 50.0)] {
        let own = &regions.samples[tissue];
        assert_eq!(own.voxels, drawn.select(&[label]).count());
        assert!((own.hu_mean - hu).abs() < 1.0, "{own:?}");
        // In a scan so coarse a block is one voxel.
        assert_eq!(regions.labels.select(&[label]).count(), own.voxels);
    }
    // What is not drawn is found as before.
    assert_eq!(regions.samples[1], found.samples[1]);
    assert_eq!(regions.samples[3..], found.samples[2..]);
    assert_eq!(
        regions.labels.select(&[2]).count(),
        found.labels.select(&[2]).count()
    );
}

#[test]
fn drawn_tissues_that_cannot_be_measured_are_refused() {
    let body = body();
    let error = |change: &dyn Fn(&mut LabelMap)| {
        let mut drawn = LabelMap::filled(body.grid.clone(), 0);
        change(&mut drawn);
        measure_tissues(&body, &Tissue::ALL, Some(&drawn))
            .unwrap_err()
            .to_string()
    };
    let place = body.grid.index(60, 50, 20);
    let unknown = error(&|drawn| drawn.data[place] = 6);
    assert!(unknown.contains("label 6 is no tissue"), "{unknown}");
    // Four voxels of 2.25 mm2 in one slice are 9 mm2, as many as there are slices change nothing.
    let small = error(&|drawn| {
        for k in 0..40 {
            for (i, j) in [(60, 50), (61, 50), (60, 51), (61, 51)] {
                drawn.data[body.grid.index(i, j, k)] = 3;
            }
        }
    });
    assert!(small.contains("blood is drawn over 9.0 mm2"), "{small}");
    let mut holed = body.clone();
    holed.data[place] = f32::NAN;
    let mut labels = drawn();
    labels.data[place] = 5;
    let error = measure_tissues(&holed, &Tissue::ALL, Some(&labels)).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}

#[test]
fn a_tissue_left_out_does_not_count() {
    let all = Calibration::internal(&verse004()).unwrap();
    assert_eq!(all.tissue_samples(), verse004());
    let less = all.without_tissue(Tissue::Blood).unwrap();
    let mut four = verse004();
    four.remove(2);
    assert_eq!(less, Calibration::internal(&four).unwrap());
    // Worked in Python from the same tables; without bone the best energy is 87 keV.
    let density = |tissue, hu: f64| {
        let less = all.without_tissue(tissue).unwrap();
        less.density_mg_cm3(hu)
    };
    for (tissue, hu, expected) in [
        (Tissue::Blood, 100.0, 90.6055),
        (Tissue::Blood, 1500.0, 1663.6988),
        (Tissue::CorticalBone, 1000.0, 650.261),
        (Tissue::Adipose, 100.0, 75.8473),
    ] {
        let found = density(tissue, hu);
        assert!((found - expected).abs() < 2e-3, "{tissue:?} {hu}: {found}");
    }
    // Without air the parabola falls again over bone.
    assert!(all.without_tissue(Tissue::Air).is_err());
    let error = less.without_tissue(Tissue::Blood).unwrap_err().to_string();
    assert!(error.contains("blood is not among"), "{error}");
    let line = Calibration::line(0.8, 0.0, DensityKind::K2Hpo4).unwrap();
    assert!(line.without_tissue(Tissue::Air).is_err());
    let wanted = [Tissue::Air, Tissue::Blood];
    let regions = measure_tissues(&body(), &wanted, None).unwrap();
    assert_eq!(regions.samples.len(), 1);
    let marked = regions.labels.data.iter().filter(|label| **label > 0);
    assert!(marked.clone().all(|label| *label == 2) && marked.count() > 49);
}

#[test]
fn what_is_drawn_need_not_be_found() {
    // A scan without a body, and two tissues drawn in it.
    let grid = Grid::axis_aligned([30, 30, 10], [2.0; 3]);
    let labels = LabelMap::from_fn(grid.clone(), |[i, _, _]| [2u16, 1][i / 15]);
    let scan = labels.map(|label| if *label == 2 { -1000f32 } else { -310.0 });
    let wanted = [Tissue::Air, Tissue::Adipose];
    let regions = measure_tissues(&scan, &wanted, Some(&labels)).unwrap();
    assert_eq!(regions.samples.len(), 2);
    let all = measure_tissues(&scan, &Tissue::ALL, Some(&labels)).unwrap_err();
    assert!(all.to_string().contains("no body"), "{all}");
}

#[test]
fn energies_that_no_scan_has_are_refused() {
    // Every CT number is plausible, three tissues lie on a line at some energy, and the densities are none.
    for (tissues, energy) in [
        (
            [
                sample(Tissue::Adipose, -100.0),
                sample(Tissue::CorticalBone, 1050.0),
                sample(Tissue::Muscle, 60.0),
            ],
            "200 keV",
        ),
        (
            [
                sample(Tissue::Blood, 45.0),
                sample(Tissue::CorticalBone, 1250.0),
                sample(Tissue::Muscle, 55.0),
            ],
            "148.5 keV",
        ),
    ] {
        let error = Calibration::internal(&tissues).unwrap_err().to_string();
        assert!(
            error.contains(energy) && error.contains("no air"),
            "{error}"
        );
    }
}
