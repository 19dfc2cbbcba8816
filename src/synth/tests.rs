//! Tests of whole patients, on coarse grids to be quick.

use imaging::{Grid, LabelMap, Volume};

use super::solid::Point;
use super::*;

fn coarse(seed: u64) -> Options {
    Options {
        seed,
        spacing_mm: Some([2.0; 3]),
        shaft_mm: 60.0,
        ..Options::default()
    }
}

fn threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build()
        .unwrap()
        .install(work)
}

fn world(grid: &Grid, index: usize) -> Point {
    let [i, j, k] = grid.voxel(index);
    grid.to_world(Point::new(i as f64, j as f64, k as f64))
}

/// Value at the voxel nearest to a world point.
fn nearest<T: Copy>(volume: &Volume<T>, p: &Point) -> T {
    let index = volume.grid.to_index(*p).map(|v| v.round() as usize);
    volume.at(index.x, index.y, index.z)
}

fn point(p: [f64; 3]) -> Point {
    Point::from(p)
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let options = Options {
        lesion: Lesion::Lytic,
        ..coarse(7)
    };
    for make in [femur, vertebra] {
        let one = threads(1, || make(&options).unwrap());
        let four = threads(4, || make(&options).unwrap());
        assert_eq!(one.ct, four.ct);
        assert_eq!(one.labels, four.labels);
        assert_eq!(one.density, four.density);
        assert_eq!(one.rods, four.rods);
        assert_eq!(
            serde_json::to_string(&one.truth).unwrap(),
            serde_json::to_string(&four.truth).unwrap()
        );
        let other = make(&Options {
            seed: 8,
            ..options.clone()
        })
        .unwrap();
        assert_ne!(one.truth.parameters, other.truth.parameters);
    }
}

#[test]
fn the_ct_holds_whole_numbers_from_air_to_compact_bone() {
    let patient = femur(&coarse(3)).unwrap();
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    for &hu in &patient.ct.data {
        assert_eq!(hu, hu.round());
        low = low.min(hu);
        high = high.max(hu);
    }
    // The air round the phantom; the cortex of the shaft (about 1050 mg/cm³ at 1.24 HU per mg/cm³).
    assert!((-1024.0..=-990.0).contains(&low), "{low}");
    assert!((1150.0..=1600.0).contains(&high), "{high}");
}

#[test]
fn femora_have_human_volumes_on_both_sides() {
    for (seed, side, label) in [(1, Side::Left, 1), (2, Side::Right, 2), (3, Side::Left, 1)] {
        let options = Options {
            side: Some(side),
            shaft_mm: 100.0,
            ..coarse(seed)
        };
        let patient = femur(&options).unwrap();
        let bone = &patient.truth.bones[0];
        assert_eq!((bone.label, bone.side), (label, Some(side)));
        // A proximal femur with 100 mm of shaft: 32 mm of shaft at 6.5 cm² each cm, and a head of 51 cm³.
        assert!(
            (130e3..280e3).contains(&bone.mask_volume_mm3),
            "{} mm³",
            bone.mask_volume_mm3
        );
        assert_eq!(
            bone.mask_volume_mm3,
            patient.labels.select(&[label]).count() as f64 * 8.0
        );
        let grid = &patient.labels.grid;
        let on_side = patient
            .labels
            .data
            .iter()
            .enumerate()
            .all(|(index, &found)| found != label || world(grid, index).x * sign(side) > 0.0);
        assert!(on_side, "the {side} femur crosses the midline");
        assert!(!patient.labels.labels().contains(&(3 - label)));
    }
}

#[test]
fn the_head_of_the_mask_is_the_sphere_of_the_truth() {
    let options = Options {
        spacing_mm: Some([1.0; 3]),
        ..coarse(11)
    };
    let patient = femur(&options).unwrap();
    let truth = patient.truth.bones[0].femur.clone().unwrap();
    let head = point(truth.head_centre_mm);
    let neck = point(truth.neck_axis);
    let across = neck.cross(&Point::z()).normalize();
    let label = patient.truth.bones[0].label;
    for direction in [
        neck,
        (neck + across).normalize(),
        (neck - across).normalize(),
    ] {
        let mut edge = 0.0;
        while nearest(&patient.labels, &(head + direction * edge)) == label {
            edge += 0.1;
        }
        // Nearest voxel: at most half a voxel diagonal off.
        assert!(
            (edge - truth.head_radius_mm).abs() < 0.9,
            "{edge} against {}",
            truth.head_radius_mm
        );
    }
    let angle = (-neck.dot(&point(truth.shaft_direction)))
        .acos()
        .to_degrees();
    assert!((angle - truth.neck_shaft_angle_deg.unwrap()).abs() < 1e-6);
    // The shaft axis runs through the canal: bone all round, marrow on the axis.
    let shaft = point(truth.shaft_point_mm) + point(truth.shaft_direction) * 15.0;
    assert_eq!(nearest(&patient.labels, &shaft), label);
    assert!(nearest(&patient.density, &shaft) < 0.0);
    assert!(nearest(&patient.density, &(shaft + across * 11.5)) > 900.0);
}

/// Slope and offset of `y` on `x` by least squares.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mx, my) = points
        .iter()
        .fold((0.0, 0.0), |a, p| (a.0 + p.0 / n, a.1 + p.1 / n));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
    }
    (xy / xx, my - mx * xy / xx)
}

fn rod_means(patient: &Patient) -> Vec<f64> {
    (1..=patient.rods.labels().len() as u16)
        .map(|label| {
            let pairs = patient.ct.data.iter().zip(&patient.rods.data);
            let values: Vec<f64> = pairs
                .filter(|(_, l)| **l == label)
                .map(|(hu, _)| f64::from(*hu))
                .collect();
            values.iter().sum::<f64>() / values.len() as f64
        })
        .collect()
}

#[test]
fn the_two_equation_regression_on_the_rods_finds_the_scanner_line() {
    let patient = femur(&coarse(5)).unwrap();
    let phantom = patient.truth.phantom.as_ref().unwrap();
    let points: Vec<_> = rod_means(&patient)
        .into_iter()
        .zip(&phantom.rods)
        .map(|(hu, rod)| (rod.equivalent_mg_cm3, hu - rod.water_mg_cm3.unwrap()))
        .collect();
    let (sigma, beta) = line(&points);
    let (sigma, beta) = (sigma - 0.2174, beta + 999.6);
    // Some 1600 voxels a rod, noise up to 25 HU in patches of about 7 voxels: 1.7 HU per rod mean, 0.005
    // on the slope over a spread of 360 mg/cm³.
    let scanner = &patient.truth.scanner;
    assert!(
        (sigma - scanner.slope_hu_per_mg_cm3).abs() < 0.015,
        "{sigma}"
    );
    assert!((beta - scanner.intercept_hu).abs() < 3.0, "{beta}");
    assert!((phantom.slope_mg_cm3_per_hu * scanner.slope_hu_per_mg_cm3 - 1.0).abs() < 1e-12);
}

#[test]
fn plain_rods_lie_on_the_scanner_line_of_their_basis() {
    let rod = |name: &str, equivalent| RodSpec {
        name: name.into(),
        equivalent_mg_cm3: equivalent,
        water_mg_cm3: None,
        diameter_mm: Some(18.0),
        position_mm: None,
    };
    let phantom = PhantomRods {
        name: "plain".into(),
        basis: RodBasis::Ha,
        rods: vec![rod("0", 0.0), rod("400", 400.0), rod("800", 800.0)],
    };
    let patient = vertebra(&Options {
        phantom: Some(phantom),
        noise_hu: Some(0.0),
        ..coarse(5)
    })
    .unwrap();
    let truth = patient.truth.phantom.as_ref().unwrap();
    for (hu, rod) in rod_means(&patient).into_iter().zip(&truth.rods) {
        let density = truth.slope_mg_cm3_per_hu * hu + truth.intercept_mg_cm3;
        // Whole CT numbers: half a number is 0.5 mg/cm³.
        assert!((density - rod.equivalent_mg_cm3).abs() < 0.6, "{density}");
    }
}

#[test]
fn calibrated_ct_numbers_are_the_true_density_inside_the_head() {
    let patient = femur(&coarse(9)).unwrap();
    let head = point(
        patient.truth.bones[0]
            .femur
            .as_ref()
            .unwrap()
            .head_centre_mm,
    );
    let line = patient.truth.phantom.as_ref().unwrap();
    let (mut seen, mut truth, mut count) = (0.0, 0.0, 0.0);
    for (index, &hu) in patient.ct.data.iter().enumerate() {
        if (world(&patient.ct.grid, index) - head).norm() < 12.0 {
            seen += line.slope_mg_cm3_per_hu * f64::from(hu) + line.intercept_mg_cm3;
            truth += f64::from(patient.density.data[index]);
            count += 1.0;
        }
    }
    // 900 voxels of up to 25 HU, correlated: about 2 mg/cm³.
    assert!(
        (seen / count - truth / count).abs() < 7.0,
        "{} {}",
        seen / count,
        truth / count
    );
    assert!((100.0..500.0).contains(&(truth / count)));
}

#[test]
fn a_lesion_takes_density_and_nothing_else() {
    for make in [femur, vertebra] {
        let whole = make(&coarse(4)).unwrap();
        let struck = make(&Options {
            lesion: Lesion::Lytic,
            ..coarse(4)
        })
        .unwrap();
        assert_eq!(whole.labels, struck.labels);
        let lesion = struck.truth.lesion.as_ref().unwrap();
        assert!(whole.truth.lesion.is_none());
        assert!(
            lesion.volume_in_bone_mm3 > 500.0,
            "{}",
            lesion.volume_in_bone_mm3
        );
        let centre = point(lesion.centre_mm);
        let reach = lesion.half_axes_mm.iter().fold(0.0, |a: f64, &b| a.max(b)) + 2.0;
        let mut lower = 0;
        for index in 0..whole.density.data.len() {
            let (before, after) = (whole.density.data[index], struck.density.data[index]);
            if before != after {
                let p = world(&whole.density.grid, index);
                assert!((p - centre).norm() < reach);
                assert!((after - 40.0).abs() <= (before - 40.0).abs());
                lower += usize::from(after < before);
            }
        }
        assert!(lower > 50);
        let label = lesion.label;
        let mean = |p: &Patient| {
            let bone = p.truth.bones.iter().find(|b| b.label == label);
            bone.unwrap().mean_density_mg_cm3
        };
        assert!(mean(&struck) < mean(&whole) - 1.0);
    }
}

#[test]
fn a_scan_without_a_phantom_has_no_rods() {
    let patient = femur(&Options {
        phantom: None,
        ..coarse(2)
    })
    .unwrap();
    assert!(patient.truth.phantom.is_none());
    assert!(patient.rods.data.iter().all(|&label| label == 0));
}

#[test]
fn a_vertebra_has_its_height_its_canal_and_its_level() {
    let options = Options {
        spacing_mm: Some([1.0; 3]),
        level: Some(20),
        noise_hu: Some(0.0),
        ..coarse(6)
    };
    let patient = vertebra(&options).unwrap();
    let labels: Vec<u16> = patient.truth.bones.iter().map(|b| b.label).collect();
    assert_eq!(labels, [19, 20, 21]);
    let bone = &patient.truth.bones[1];
    assert_eq!(bone.name, "L1");
    let truth = bone.vertebra.as_ref().unwrap();
    let (centre, up) = (point(truth.body_centre_mm), point(truth.superior_normal));
    let apart = point(truth.superior_endplate_mm) - point(truth.inferior_endplate_mm);
    assert!((apart.dot(&up) - truth.body_height_mm).abs() < 1e-9);
    // The rim stands at the endplate plane, the middle is hollow: a ring two thirds out lies between.
    let edge = |side: Point, direction: f64| {
        let mut reach = 0.0;
        while nearest(&patient.labels, &(centre + side + up * (reach * direction))) == 20 {
            reach += 0.1;
        }
        reach
    };
    let half = truth.body_height_mm / 2.0;
    for direction in [1.0, -1.0] {
        let middle = edge(Point::zeros(), direction);
        assert!(
            (half - 3.3..half - 0.2).contains(&middle),
            "{middle} of {half}"
        );
        let out = edge(Point::new(15.0, 0.0, 0.0), direction);
        assert!((half - 1.6..half + 0.9).contains(&out), "{out} of {half}");
    }
    // The canal lies behind the body and holds no bone; the spinous process does.
    let behind = |mm: f64| nearest(&patient.labels, &(centre + Point::new(0.0, mm, 0.0)));
    assert_eq!(behind(25.0), 0);
    assert!(
        (30e3..80e3).contains(&bone.mask_volume_mm3),
        "{}",
        bone.mask_volume_mm3
    );
    let trabecular = nearest(&patient.density, &centre);
    assert!((60.0..200.0).contains(&trabecular), "{trabecular}");
}

#[test]
fn neighbouring_bones_never_touch() {
    let mut checked = 0;
    for patient in [
        spine(&Options {
            spacing_mm: Some([1.2; 3]),
            ..coarse(2)
        })
        .unwrap(),
        femur(&Options {
            spacing_mm: Some([1.2; 3]),
            ..coarse(2)
        })
        .unwrap(),
    ] {
        let labels = &patient.labels;
        let [ni, nj, nk] = labels.grid.size;
        for (index, &label) in labels.data.iter().enumerate().filter(|(_, l)| **l != 0) {
            let [i, j, k] = labels.grid.voxel(index);
            for (di, dj, dk) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
                if i + di < ni && j + dj < nj && k + dk < nk {
                    let other = labels.at(i + di, j + dj, k + dk);
                    assert!(other == 0 || other == label, "{label} touches {other}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100_000);
}

#[test]
fn a_ct_painted_on_the_labels_of_a_drawn_hip_has_its_landmarks() {
    let drawn = hip(&Options {
        spacing_mm: Some([1.6, 1.6, 1.6]),
        phantom: None,
        shaft_mm: 90.0,
        ..coarse(12)
    })
    .unwrap();
    let painted = from_labels(&drawn.labels, LabelMeaning::Hip, &coarse(1)).unwrap();
    let cut = drawn.labels.grid.size;
    for k in 0..cut[2] {
        for j in 0..cut[1] {
            for i in 0..cut[0] {
                assert_eq!(painted.labels.at(i, j, k), drawn.labels.at(i, j, k));
            }
        }
    }
    assert!(
        painted.labels.grid.size[1] > cut[1],
        "no room was made for the phantom"
    );
    assert_eq!(painted.rods.labels(), [1, 2, 3, 4, 5]);
    for bone in painted.truth.bones.iter().filter(|b| b.label < 3) {
        let truth = drawn
            .truth
            .bones
            .iter()
            .find(|b| b.label == bone.label)
            .unwrap();
        assert_eq!(bone.side, truth.side);
        let (found, truth) = (bone.femur.as_ref().unwrap(), truth.femur.as_ref().unwrap());
        let off = (point(found.head_centre_mm) - point(truth.head_centre_mm)).norm();
        assert!(off < 1.0, "head {off} mm off");
        assert!((found.head_radius_mm - truth.head_radius_mm).abs() < 0.8);
        let cosine = point(found.shaft_direction).dot(&point(truth.shaft_direction));
        assert!(
            cosine > 4f64.to_radians().cos(),
            "shaft {} deg off",
            cosine.acos().to_degrees()
        );
        // The cut through the shaft carries no lid of cortex: marrow in the lowest slice.
        let foot = point(truth.shaft_point_mm);
        let along = point(truth.shaft_direction);
        let lowest = drawn.labels.grid.origin_mm.z;
        let on_floor = foot + along * ((lowest - foot.z) / along.z);
        assert_eq!(nearest(&painted.labels, &on_floor), bone.label);
        assert!(nearest(&painted.density, &on_floor) < 0.0);
    }
}

#[test]
fn a_real_hip_can_be_painted() {
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let file = std::path::Path::new(&shared)
        .join("data/masks/hip-joint-autoseg/s17-image-cropped_PRED.nii.gz");
    let map = every_second_voxel(&imaging::read_labels(&file).unwrap());
    let patient = from_labels(&map, LabelMeaning::Hip, &coarse(1)).unwrap();
    // In this file label 1 lies on the patient's right (its affine says so), whatever its number.
    let middle = |label: u16| {
        patient.truth.bones[usize::from(label) - 1]
            .femur
            .clone()
            .unwrap()
    };
    let (one, two) = (middle(1), middle(2));
    assert!(one.head_centre_mm[0] < two.head_centre_mm[0]);
    assert_eq!(patient.truth.bones[0].side, Some(Side::Right));
    assert_eq!(patient.truth.bones[1].side, Some(Side::Left));
    for femur in [one, two] {
        // 19.0 to 27.2 mm on all heads of these maps, by an independent fit.
        assert!(
            (18.0..28.0).contains(&femur.head_radius_mm),
            "{}",
            femur.head_radius_mm
        );
    }
    for label in 1..=5 {
        assert_eq!(
            patient.labels.select(&[label]).count(),
            map.select(&[label]).count()
        );
    }
}

fn every_second_voxel(map: &LabelMap) -> LabelMap {
    let grid = Grid {
        size: map.grid.size.map(|n| n / 2),
        spacing_mm: map.grid.spacing_mm.map(|s| 2.0 * s),
        ..map.grid.clone()
    };
    LabelMap::from_fn(grid, |[i, j, k]| map.at(2 * i, 2 * j, 2 * k))
}

#[test]
fn impossible_wishes_are_refused_with_the_remedy() {
    let message = |options: Options| femur(&options).unwrap_err().to_string();
    assert!(
        message(Options {
            shaft_mm: 400.0,
            ..coarse(1)
        })
        .contains("20 to 250 mm")
    );
    assert!(
        message(Options {
            spacing_mm: Some([0.0; 3]),
            ..coarse(1)
        })
        .contains("0.2 to 5 mm")
    );
    let c5 = vertebra(&Options {
        level: Some(5),
        ..coarse(1)
    })
    .unwrap_err();
    assert!(c5.to_string().contains("C5"), "{c5}");
    let empty = LabelMap::filled(Grid::axis_aligned([4, 4, 4], [1.0; 3]), 0);
    let error = from_labels(&empty, LabelMeaning::Hip, &coarse(1)).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}
