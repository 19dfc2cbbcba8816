//! Painted trunks with and without a vessel, and real scans.

use imaging::{Grid, Volume};
use nalgebra::{Matrix3, Vector3};

use super::super::{Calibration, CheckStatus, Tissue, measure_tissues};
use super::{Vessel, blood};

/// A column of the body: its axis, as left and front of the canal at a height, mm, its radius, and its CT number that much off its axis.
struct Column {
    axis: fn(f64) -> [f64; 2],
    radius_mm: f64,
    hu: fn(f64) -> f64,
    /// Heights that it spans, mm.
    from_to: [f64; 2],
}

const EVERYWHERE: [f64; 2] = [-1e3, 1e3];

/// A trunk in air, with columns painted into it, in LPS mm; the spinal canal is at the origin and along S.
struct Trunk {
    columns: Vec<Column>,
    /// Depth of the vertebral body, mm, and radius of the canal.
    body_mm: f64,
    canal_mm: f64,
    noise_hu: f64,
}

impl Trunk {
    fn with(columns: Vec<Column>) -> Self {
        Self {
            columns,
            body_mm: 33.0,
            canal_mm: 9.0,
            noise_hu: 12.0,
        }
    }

    /// CT number `left` and `front` of the canal at a height.
    fn hu(&self, left: f64, front: f64, height: f64) -> f64 {
        for column in &self.columns {
            let [x, y] = (column.axis)(height);
            let off = (left - x).hypot(front - y);
            let [from, to] = column.from_to;
            if off < column.radius_mm && (from..to).contains(&height) {
                return (column.hu)(off);
            }
        }
        let canal = left.hypot(front);
        let middle = self.canal_mm + self.body_mm / 2.0;
        let body = (left / 22.0).hypot((front - middle) / (self.body_mm / 2.0));
        let psoas = (left.abs() - 42.0).hypot(front - 22.0);
        let back = (left.abs() - 32.0).hypot(front + 30.0);
        let trunk = (left / 150.0).hypot((front - 25.0) / 95.0);
        if canal < self.canal_mm {
            25.0
        } else if canal < self.canal_mm + 5.0 {
            900.0
        } else if body < 1.0 {
            if body > 0.88 { 1100.0 } else { 170.0 }
        } else if psoas < 20.0 || back < 28.0 {
            52.0
        } else if trunk < 0.8 {
            -105.0
        } else if trunk < 0.88 {
            52.0
        } else if trunk < 1.0 {
            -105.0
        } else {
            -1000.0
        }
    }

    fn scan(&self, grid: Grid) -> Volume<f32> {
        let mut state = 7u64;
        let mut noise = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (((state >> 40) as f64 / (1u64 << 24) as f64) - 0.5) * 12f64.sqrt()
        };
        let place = grid.clone();
        Volume::from_fn(grid, |[i, j, k]| {
            let at = place.to_world(Vector3::new(i as f64, j as f64, k as f64));
            (self.hu(at.x, -at.y, at.z) + self.noise_hu * noise()) as f32
        })
    }
}

/// Slices across S, 310 by 200 mm, 90 mm high.
fn axial() -> Grid {
    let mut grid = Grid::axis_aligned([206, 136, 36], [1.5, 1.5, 2.5]);
    grid.origin_mm = Vector3::new(-155.0, -125.0, -45.0);
    grid
}

fn tube(hu: fn(f64) -> f64) -> Column {
    Column {
        axis: |_| [14.0, 55.0],
        radius_mm: 10.0,
        hu,
        from_to: EVERYWHERE,
    }
}

fn found(trunk: &Trunk, grid: Grid) -> (Volume<f32>, Vessel) {
    let scan = trunk.scan(grid);
    let vessel = blood(&scan, super::super::regions::head_foot(&scan.grid)).unwrap();
    (scan, vessel)
}

/// The vessel is the column painted first, of 42 HU, and is measured in nothing else.
fn is_the_painted_one(trunk: &Trunk, grid: Grid, least_voxels: usize) {
    let (scan, vessel) = found(trunk, grid);
    let hu = vessel.hu_mean.unwrap_or(f64::NAN);
    assert!((hu - 42.0).abs() < 1.0, "{hu}: {}", vessel.reason);
    assert!(
        vessel.voxels.len() >= least_voxels,
        "{}",
        vessel.voxels.len()
    );
    let column = &trunk.columns[0];
    for (index, value) in &vessel.voxels {
        let [i, j, k] = scan.grid.voxel(*index);
        let at = scan
            .grid
            .to_world(Vector3::new(i as f64, j as f64, k as f64));
        let [x, y] = (column.axis)(at.z);
        let off = (at.x - x).hypot(-at.y - y);
        assert!(off < column.radius_mm, "{at:?} is {off} mm off the axis");
        assert_eq!(*value, scan.data[*index]);
    }
}

#[test]
fn the_aorta_of_a_painted_trunk_is_found() {
    let trunk = Trunk::with(vec![tube(|_| 42.0)]);
    // 85 mm2 of its 314 mm2 over 60 mm at least.
    is_the_painted_one(&trunk, axial(), 900);
}

/// Slices of 5 mm, and array axes that run up, backwards and to the right.
#[test]
fn it_is_found_in_other_axes_and_voxels() {
    let direction = Matrix3::new(0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0);
    let spacing = Matrix3::from_diagonal(&Vector3::new(5.0, 0.9, 1.2));
    let origin = Vector3::new(155.0, -125.0, -45.0);
    let grid = Grid::from_affine([18, 226, 258], direction * spacing, origin).unwrap();
    assert_eq!(grid.axis_code(), "SPR");
    is_the_painted_one(&Trunk::with(vec![tube(|_| 42.0)]), grid, 500);
}

/// An aorta that winds by 14 mm and leans by 12 degrees, beside a vena cava of the same blood.
#[test]
fn a_winding_leaning_aorta_is_found() {
    let winding = Column {
        axis: |z| [12.0 + 7.0 * (z / 16.0).sin(), 58.0 + 0.2 * z],
        radius_mm: 11.0,
        ..tube(|_| 42.0)
    };
    let cava = Column {
        axis: |_| [-16.0, 56.0],
        radius_mm: 9.0,
        ..tube(|_| 42.0)
    };
    is_the_painted_one(&Trunk::with(vec![winding, cava]), axial(), 900);
}

#[test]
fn a_vessel_with_contrast_agent_is_left_out() {
    for hu in [(|_| 110.0) as fn(f64) -> f64, |_| 180.0, |_| 420.0] {
        // The other tube would pass for blood.
        let other = Column {
            axis: |_| [-18.0, 55.0],
            ..tube(|_| 42.0)
        };
        let (scan, vessel) = found(&Trunk::with(vec![tube(hu), other]), axial());
        assert!(
            vessel.agent && vessel.voxels.is_empty(),
            "{}",
            vessel.reason
        );
        let mean = vessel.hu_mean.unwrap();
        assert!((mean - hu(0.0)).abs() < 4.0, "{mean}");
        let regions = measure_tissues(&scan, &Tissue::ALL, None).unwrap();
        assert_eq!(regions.checks[0].status, CheckStatus::Review);
        assert!(regions.checks[0].reason.contains("contrast agent"));
    }
}

/// Nothing that is round and soft is taken for blood but a great vessel.
#[test]
fn nothing_else_is_taken_for_blood() {
    let column = |axis: fn(f64) -> [f64; 2], radius_mm: f64, hu: fn(f64) -> f64| Column {
        axis,
        radius_mm,
        hu,
        from_to: EVERYWHERE,
    };
    let decoys: Vec<(&str, Column, &str)> = vec![
        (
            "nothing but psoas, back and canal",
            column(|_| [0.0, 0.0], 0.0, |_| 0.0),
            "no round",
        ),
        (
            "psoas in fat beside the spine",
            column(
                |_| [38.0, 33.0],
                20.0,
                |off| if off < 15.0 { 45.0 } else { -105.0 },
            ),
            "no round",
        ),
        (
            "psoas free of the spine",
            column(|_| [50.0, 48.0], 17.0, |_| 45.0),
            "no round",
        ),
        (
            "kidney",
            column(|_| [58.0, 40.0], 26.0, |_| 32.0),
            "no round",
        ),
        (
            "full bladder",
            column(|_| [0.0, 90.0], 38.0, |_| 8.0),
            "no round",
        ),
        (
            "bladder at the spine",
            column(|_| [0.0, 76.0], 30.0, |_| 30.0),
            "no round",
        ),
        (
            "bowel far in front",
            column(|_| [5.0, 100.0], 12.0, |_| 40.0),
            "no round",
        ),
        (
            "bowel with gas",
            column(
                |_| [10.0, 57.0],
                12.0,
                |off| if off < 5.0 { -800.0 } else { 40.0 },
            ),
            "no round",
        ),
        (
            "bowel with a wall",
            column(
                |_| [10.0, 57.0],
                13.0,
                |off| if off < 6.0 { 20.0 } else { 55.0 },
            ),
            "no round",
        ),
        (
            "a lymph node",
            Column {
                from_to: [-15.0, 15.0],
                ..tube(|_| 42.0)
            },
            "no round",
        ),
        ("a cyst", tube(|_| 5.0), "5 HU; without"),
        ("a clot", tube(|_| 80.0), "80 HU; without"),
        (
            "tube outside the body",
            column(|_| [0.0, 135.0], 11.0, |_| 42.0),
            "no round",
        ),
        (
            "a loop that crosses",
            column(|z| [14.0 + 1.2 * z, 58.0], 10.0, |_| 42.0),
            "no round",
        ),
    ];
    let wrong: Vec<String> = decoys
        .into_iter()
        .filter_map(|(name, decoy, reason)| {
            let (_, vessel) = found(&Trunk::with(vec![decoy]), axial());
            let right = vessel.voxels.is_empty() && !vessel.agent && vessel.reason.contains(reason);
            (!right).then(|| format!("{name}: {} ({:?})", vessel.reason, vessel.hu_mean))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A thigh: the rectus femoris lies round and in fat before the femur, whose marrow may be red. A sacrum: the rectum before it.
#[test]
fn a_thigh_and_a_pelvis_have_no_blood() {
    let muscle = Column {
        axis: |_| [0.0, 38.0],
        radius_mm: 15.0,
        ..tube(|_| 48.0)
    };
    // No vertebral body, but a canal in bone.
    let thigh = Trunk {
        body_mm: 1.0,
        canal_mm: 9.0,
        ..Trunk::with(vec![muscle])
    };
    let rectum = Column {
        axis: |_| [0.0, 38.0],
        radius_mm: 15.0,
        ..tube(|_| 38.0)
    };
    let pelvis = Trunk {
        body_mm: 11.0,
        canal_mm: 9.0,
        ..Trunk::with(vec![rectum])
    };
    for trunk in [thigh, pelvis] {
        let (_, vessel) = found(&trunk, axial());
        assert!(vessel.voxels.is_empty(), "{}", vessel.reason);
        assert!(vessel.reason.contains("no round"), "{}", vessel.reason);
    }
    // Without a canal there is nothing to go by.
    let filled = Column {
        axis: |_| [0.0, 0.0],
        radius_mm: 14.0,
        ..tube(|_| 900.0)
    };
    let (_, vessel) = found(&Trunk::with(vec![tube(|_| 42.0), filled]), axial());
    assert!(vessel.voxels.is_empty() && vessel.reason.contains("no spinal canal"));
}

/// A round soft tube between bone and gas, as an airway's wall may be: bone is on less than half of its circumference.
#[test]
fn a_tube_with_little_bone_is_no_canal() {
    // Discs that touch each other round the back of it.
    const AXES: [fn(f64) -> [f64; 2]; 7] = [
        |_| [0.0, -15.5],
        |_| [7.3, -13.7],
        |_| [-7.3, -13.7],
        |_| [12.5, -9.1],
        |_| [-12.5, -9.1],
        |_| [15.3, -2.7],
        |_| [-15.3, -2.7],
    ];
    let gas = AXES.map(|axis| Column {
        axis,
        radius_mm: 6.0,
        ..tube(|_| -900.0)
    });
    let columns = gas.into_iter().chain([tube(|_| 42.0)]).collect();
    let (_, vessel) = found(&Trunk::with(columns), axial());
    assert!(vessel.voxels.is_empty(), "{}", vessel.reason);
    assert!(
        vessel.reason.contains("no spinal canal"),
        "{}",
        vessel.reason
    );
}

/// Two tubes of different CT numbers are not both blood.
#[test]
fn two_unlike_tubes_are_no_blood() {
    let other = Column {
        axis: |_| [-16.0, 56.0],
        ..tube(|_| 24.0)
    };
    let (_, vessel) = found(&Trunk::with(vec![tube(|_| 44.0), other]), axial());
    assert!(vessel.voxels.is_empty(), "{}", vessel.reason);
    assert!(vessel.reason.contains("tubes of"), "{}", vessel.reason);
}

#[test]
fn blood_changes_no_other_tissue() {
    let without: Vec<Tissue> = Tissue::ALL
        .into_iter()
        .filter(|t| *t != Tissue::Blood)
        .collect();
    for (trunk, count) in [
        (Trunk::with(vec![tube(|_| 42.0)]), 5),
        (Trunk::with(Vec::new()), 4),
    ] {
        let scan = trunk.scan(axial());
        let all = measure_tissues(&scan, &Tissue::ALL, None).unwrap();
        let less = measure_tissues(&scan, &without, None).unwrap();
        assert_eq!(all.samples.len(), count, "{:?}", all.checks);
        assert!(less.checks.is_empty());
        let mut others = all.samples.clone();
        others.retain(|sample| sample.tissue != Tissue::Blood);
        assert_eq!(others, less.samples);
        assert_eq!(
            Calibration::internal(&others).unwrap(),
            Calibration::internal(&less.samples).unwrap()
        );
        assert_eq!(all.checks[0].name, "tissue_blood_found");
        assert_eq!(all.checks[0].status, CheckStatus::Pass);
        let marked = all.labels.select(&[3]).count();
        if count == 4 {
            assert_eq!((marked, &all.labels), (0, &less.labels));
            continue;
        }
        let blood = &all.samples[2];
        assert!((blood.hu_mean - 42.0).abs() < 1.0, "{blood:?}");
        // Blocks of 1.5 by 1.5 by 2.5 mm are voxels here.
        assert_eq!(marked, blood.voxels);
        // What is drawn wins, and then nothing is looked for.
        let mut drawn = imaging::LabelMap::filled(scan.grid.clone(), 0);
        for (label, own) in drawn.data.iter_mut().zip(&scan.data) {
            *label = if (500.0..1000.0).contains(own) { 3 } else { 0 };
        }
        let shown = measure_tissues(&scan, &Tissue::ALL, Some(&drawn)).unwrap();
        assert!(shown.checks.is_empty() && shown.samples[2].hu_mean > 800.0);
    }
}

/// Nothing a scan can hold makes it panic.
#[test]
fn odd_scans_have_no_blood() {
    let sizes = [
        ([1, 1, 1], [1.0; 3]),
        ([1, 1, 500], [0.1, 0.1, 0.05]),
        ([300, 2, 1], [0.5, 8.0, 3.0]),
        ([64, 64, 1], [3.0; 3]),
        ([40, 40, 40], [9.0, 9.0, 30.0]),
        ([90, 90, 12], [1.5, 1.5, 4.0]),
    ];
    let values = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        -3.4e38,
        40.0,
        1200.0,
        -1000.0,
    ];
    for (size, spacing) in sizes {
        let grid = Grid::axis_aligned(size, spacing);
        for (number, value) in values.iter().enumerate() {
            let even = Volume::filled(grid.clone(), *value);
            let mixed = Volume::from_fn(grid.clone(), |[i, j, k]| {
                values[(i * 7 + j * 13 + k * 5 + i * j + number) % values.len()]
            });
            for scan in [even, mixed] {
                for axis in 0..3 {
                    let vessel = blood(&scan, axis).unwrap();
                    assert!(vessel.voxels.is_empty(), "{}", vessel.reason);
                }
            }
        }
    }
}

/// Real scans, as a look at their slices shows them: the abdomen has an aorta of 26 mm full of contrast agent before the left of the
/// spine (LPS 7, -153 mm in its lowest slice), seen over its 40 mm; the crop round a third lumbar vertebra shows no great vessel, and
/// the cylinder is no patient.
#[test]
fn real_scans() {
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let data = std::path::Path::new(&shared).join("data");
    for (name, agent, hu, reason) in [
        (
            "ct-hu/dicom-jpeg2000-totalsegmentator/series",
            true,
            Some([145.0, 170.0]),
            "contrast agent",
        ),
        (
            "ct-hu/vertebra-L3-tptbox/sub-ct_label-22_ct.nii.gz",
            false,
            None,
            "no round",
        ),
        (
            "phantom/cylinder-ge-1998-egsnrc",
            false,
            None,
            "no spinal canal",
        ),
    ] {
        let scan = imaging::read_volume(&data.join(name)).unwrap();
        let vessel = blood(&scan, super::super::regions::head_foot(&scan.grid)).unwrap();
        assert!(vessel.voxels.is_empty(), "{name}: {}", vessel.reason);
        assert_eq!(vessel.agent, agent, "{name}");
        assert!(vessel.reason.contains(reason), "{name}: {}", vessel.reason);
        match (hu, vessel.hu_mean) {
            (Some([low, high]), Some(mean)) => assert!(low < mean && mean < high, "{name}: {mean}"),
            (expected, mean) => assert!(expected.is_none() && mean.is_none(), "{name}: {mean:?}"),
        }
    }
}
