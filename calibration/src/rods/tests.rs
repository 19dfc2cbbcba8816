use nalgebra::Matrix3;

use super::*;

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found}, expected {expected} within {tolerance}"
    );
}

/// A slab of three rods along the last array axis: radius 6 mm, centres at i = 12, 36, 60 mm and j = 12 mm,
/// 100, 400 and 800 HU in a body of 0 HU.
fn scan(spacing_mm: [f64; 3]) -> (Volume<f32>, LabelMap) {
    let extent = [72.0, 24.0, 30.0];
    let size = std::array::from_fn(|a| (extent[a] / spacing_mm[a]) as usize + 1);
    let grid = Grid::axis_aligned(size, spacing_mm);
    let labels = LabelMap::from_fn(grid, |[i, j, _]| {
        let at = |x: f64| (i as f64 * spacing_mm[0] - x).hypot(j as f64 * spacing_mm[1] - 12.0);
        [12.0, 36.0, 60.0]
            .iter()
            .position(|x| at(*x) <= 6.0)
            .map_or(0, |rod| rod as u16 + 1)
    });
    let ct = labels.map(|label| [0.0, 100.0, 400.0, 800.0][usize::from(*label)]);
    (ct, labels)
}

fn phantom() -> Phantom {
    Phantom::named("qrm-bdc3").unwrap()
}

#[test]
fn labels_are_measured_in_the_order_of_the_phantom() {
    let (ct, labels) = scan([1.0; 3]);
    let rods = measure_labels(&ct, &labels, &phantom()).unwrap();
    for (rod, (name, hu, x)) in rods.iter().zip([
        ("HA 100", 100.0, 12.0),
        ("HA 400", 400.0, 36.0),
        ("HA 800", 800.0, 60.0),
    ]) {
        assert_eq!(rod.name, name);
        close(rod.hu_mean, hu, 0.0);
        close(rod.reference_mg_cm3, hu, 0.0);
        close(rod.hu_sd.unwrap(), 0.0, 0.0);
        let centre = rod.centre_mm.unwrap();
        close(centre[0], x, 1e-9);
        close(centre[1], 12.0, 1e-9);
        close(centre[2], 15.0, 1e-9);
        // The lattice disc of radius 6 has 113 points; 81 of them have all four neighbours in it. Full
        // length: 31 slices.
        assert_eq!(rod.voxels, 81 * 31);
    }
}

/// A rod's outermost voxels are blurred into its surroundings; they do not reach the mean.
#[test]
fn the_rim_of_a_label_is_left_out() {
    let (mut ct, labels) = scan([1.0; 3]);
    let at_rim = |index: usize| {
        [1, ct.grid.size[0]].iter().any(|step| {
            labels.data[index - step] != labels.data[index]
                || labels.data[index + step] != labels.data[index]
        })
    };
    let rim: Vec<_> = (0..ct.data.len())
        .filter(|&v| labels.data[v] > 0 && at_rim(v))
        .collect();
    assert_eq!(rim.len(), 3 * (113 - 81) * 31);
    for &voxel in &rim {
        ct.data[voxel] *= 0.5;
    }
    let rods = measure_labels(&ct, &labels, &phantom()).unwrap();
    close(rods[2].hu_mean, 800.0, 0.0);
    // 1 mm is two voxels of 0.6 mm in j, one voxel of 1.5 mm in i.
    let (ct, labels) = scan([1.5, 0.6, 3.0]);
    let rods = measure_labels(&ct, &labels, &phantom()).unwrap();
    let core = |i: f64, j: f64| (i * 1.5).hypot(j * 0.6) <= 6.0;
    let mut expected = 0;
    for i in -5..=5 {
        for j in -11..=11 {
            let (i, j) = (f64::from(i), f64::from(j));
            let kept = [
                (1.0, 0.0),
                (-1.0, 0.0),
                (0.0, 1.0),
                (0.0, -1.0),
                (0.0, 2.0),
                (0.0, -2.0),
            ]
            .iter()
            .all(|(di, dj)| core(i + di, j + dj));
            expected += usize::from(kept);
        }
    }
    assert_eq!(rods[1].voxels, expected * 11);
}

/// Small labels are taken as they are: a region of interest is no outline.
#[test]
fn small_labels_are_kept_whole() {
    let grid = Grid::axis_aligned([9, 3, 1], [1.0; 3]);
    let labels = LabelMap::from_fn(grid, |[i, j, _]| {
        if j < 2 && i % 3 < 2 {
            (i / 3 + 1) as u16
        } else {
            0
        }
    });
    let ct = Volume::from_fn(labels.grid.clone(), |[i, j, _]| {
        (100 * (i / 3) + 10 * j) as f32
    });
    let rods = measure_labels(&ct, &labels, &phantom()).unwrap();
    assert_eq!(rods[1].voxels, 4);
    // 100, 100, 110, 110: mean 105, sample standard deviation sqrt(100 / 3).
    close(rods[1].hu_mean, 105.0, 1e-12);
    close(rods[1].hu_sd.unwrap(), (100.0_f64 / 3.0).sqrt(), 1e-12);
}

#[test]
fn faults_of_a_label_map_are_named() {
    let (ct, labels) = scan([1.0; 3]);
    let refused = |ct: &Volume<f32>, labels: &LabelMap| {
        measure_labels(ct, labels, &phantom())
            .unwrap_err()
            .to_string()
    };
    let error = refused(
        &ct,
        &labels.map(|label| if *label == 2 { 0 } else { *label }),
    );
    assert!(error.contains("'HA 400' (label 2) has no voxel"), "{error}");
    let error = refused(
        &ct,
        &labels.map(|label| if *label == 3 { 7 } else { *label }),
    );
    assert!(
        error.contains("label 7 is no rod") && error.contains("1 to 3"),
        "{error}"
    );
    let mut moved = labels.clone();
    moved.grid.origin_mm.x += 1.0;
    assert!(matches!(
        measure_labels(&ct, &moved, &phantom()),
        Err(Error::Image(imaging::Error::GridMismatch { .. }))
    ));
    let mut broken = ct.clone();
    broken.data[ct.grid.index(36, 12, 3)] = f32::NAN;
    let error = refused(&broken, &labels);
    assert!(
        error.contains("1 of the 2511 voxels of rod 'HA 400'"),
        "{error}"
    );
}

const CENTRES: &str = r#"
[[rod]]
name = "HA 800"
centre_mm = [60.0, 12.0, 15.0]
radius_mm = 2.0
[[rod]]
name = "HA 100"
centre_mm = [12.0, 12.0, 15.0]
radius_mm = 5.0
length_mm = 10.0
[[rod]]
name = "HA 400"
centre_mm = [36.0, 12.0, 15.0]
radius_mm = 1.2
length_mm = 4.0
direction = [0.0, 3.0, 0.0]
"#;

fn centres(text: &str) -> Result<RodCentres> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centres.toml");
    std::fs::write(&path, text).unwrap();
    RodCentres::read(&path)
}

#[test]
fn cylinders_and_balls_hold_the_voxels_they_should() {
    let (ct, _) = scan([1.0; 3]);
    let rods = measure_at_centres(&ct, &centres(CENTRES).unwrap(), &phantom()).unwrap();
    let names: Vec<_> = rods.iter().map(|rod| rod.name.as_str()).collect();
    assert_eq!(names, ["HA 100", "HA 400", "HA 800"]);
    // Lattice points: disc of radius 5: 81, times 11 slices; disc of radius 1.2: 5, times 5; ball of
    // radius 2: 33.
    assert_eq!(rods[0].voxels, 81 * 11);
    assert_eq!(rods[1].voxels, 5 * 5);
    assert_eq!(rods[2].voxels, 33);
    for (rod, hu) in rods.iter().zip([100.0, 400.0, 800.0]) {
        close(rod.hu_mean, hu, 0.0);
    }
    close(rods[1].centre_mm.unwrap()[0], 36.0, 1e-9);
}

/// The same scan stored with reversed and permuted axes, its centres given in RAS.
#[test]
fn centres_are_world_positions() {
    let (ct, _) = scan([1.0; 3]);
    let [ni, nj, nk] = ct.grid.size;
    let matrix = Matrix3::new(0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0);
    let origin = Vector3::new(ni as f64 - 1.0, 0.0, 0.0);
    let grid = Grid::from_affine([nk, ni, nj], matrix, origin).unwrap();
    let turned = Volume::from_fn(grid, |[a, b, c]| ct.at(ni - 1 - b, c, a));
    let ras = format!(
        "frame = \"RAS\"\n{}",
        CENTRES.replace("60.0, 12.0", "-60.0, -12.0")
    )
    .replace("[12.0, 12.0", "[-12.0, -12.0")
    .replace("36.0, 12.0", "-36.0, -12.0");
    let straight = measure_at_centres(&ct, &centres(CENTRES).unwrap(), &phantom()).unwrap();
    let found = measure_at_centres(&turned, &centres(&ras).unwrap(), &phantom()).unwrap();
    for (found, straight) in found.iter().zip(&straight) {
        assert_eq!(
            (found.voxels, found.hu_mean),
            (straight.voxels, straight.hu_mean)
        );
        for axis in 0..3 {
            close(
                found.centre_mm.unwrap()[axis],
                straight.centre_mm.unwrap()[axis],
                1e-9,
            );
        }
    }
}

#[test]
fn faults_of_centres_are_named() {
    let (ct, _) = scan([1.0; 3]);
    for (from, to, message) in [
        (
            "HA 400",
            "HA 500",
            "rod 'HA 500': there is no such rod; its rods are HA 100, HA 400, HA 800",
        ),
        (
            "HA 400",
            "HA 800",
            "rod 'HA 800': its centre is given twice",
        ),
        (
            "36.0, 12.0",
            "36.0, -12.0",
            "rod 'HA 400' has its centre (36.0, -12.0, 15.0) mm LPS outside",
        ),
        (
            "centre_mm = [60.0, 12.0, 15.0]\nradius_mm = 2.0",
            "centre_mm = [60.5, 12.5, 15.5]\nradius_mm = 0.2",
            "rod 'HA 800' holds no voxel",
        ),
    ] {
        assert!(CENTRES.contains(from));
        let given = centres(&CENTRES.replacen(from, to, 1)).unwrap();
        let error = measure_at_centres(&ct, &given, &phantom())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("qrm-bdc3") && error.contains(message),
            "{error}"
        );
    }
    let cut = &CENTRES[..CENTRES.rfind("[[rod]]").unwrap()];
    let error = measure_at_centres(&ct, &centres(cut).unwrap(), &phantom()).unwrap_err();
    assert!(error.to_string().contains("'HA 400' is missing"), "{error}");
    for (from, to, message) in [
        (
            "radius_mm = 2.0",
            "radius_mm = 0.0",
            "rod 'HA 800': radius_mm is 0",
        ),
        ("radius_mm = 2.0", "radius = 2.0", "radius"),
        ("length_mm = 4.0\n", "", "direction without length_mm"),
        ("[0.0, 3.0, 0.0]", "[0.0, 0.0, 0.0]", "has no length"),
        ("length_mm = 4.0", "length_mm = -4.0", "length_mm is -4"),
        ("[60.0,", "[inf,", "centre_mm is not finite"),
        ("\n[[rod]]", "frame = \"LAS\"\n[[rod]]", "LAS"),
    ] {
        assert!(CENTRES.contains(from));
        let error = centres(&CENTRES.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("centres.toml") && error.contains(message),
            "{message}: {error}"
        );
    }
}
