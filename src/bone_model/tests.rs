use imaging::{Grid, Mask, Volume};
use nalgebra::{Matrix3, Vector3};

use super::compression::{self, CompressionOptions};
use super::fall::{self, FallOptions};
use super::stance::{self, StanceOptions};
use super::{BoneModel, Displacement, ElementKind, Lateral};
use crate::anatomy::FemurLandmarks;
use crate::anatomy::test_shapes::{TestFemur, turned};
use crate::pose::{Orientation, Posed};

/// Uniform 400 mg/cm³ in the mask, soft tissue of 40 outside.
fn posed(mask: &Mask) -> Posed {
    Posed::new(
        mask.map(|&inside| if inside { 400.0 } else { 40.0 }),
        mask.map(|&inside| u16::from(inside)),
    )
    .unwrap()
}

/// A test femur with arrays along RAS+.
fn femur(rotation: Matrix3<f64>, spacing: [f64; 3]) -> (Posed, FemurLandmarks) {
    let mask = imaging::orientation::to_ras_axes(&TestFemur::default().mask(rotation, spacing));
    let (landmarks, _) = FemurLandmarks::find(&mask).unwrap();
    (posed(&mask), landmarks)
}

fn world(model: &BoneModel, node: u32) -> Vector3<f64> {
    Vector3::from(
        model
            .mesh
            .frame()
            .to_world(model.mesh.nodes_mm()[node as usize]),
    )
}

#[test]
fn stance_on_the_ct_grid_loads_the_top_of_the_head_and_holds_the_cut() {
    let (input, landmarks) = femur(turned(0.0, 10.0, 0.0), [1.5, 1.5, 2.0]);
    let mut options = StanceOptions::default();
    options.pose.voxel_mm = 0.0;
    let model = stance::build(&input, &landmarks, &options).unwrap();
    // The load runs down the shaft, which leans by 10 degrees about y: (sin 10, 0, cos 10) upwards.
    let down = Vector3::from(model.mesh.frame().direction_to_world(model.direction));
    let lean = Vector3::new(-10f64.to_radians().sin(), 0.0, -10f64.to_radians().cos());
    assert!(down.dot(&lean) > 0.9998, "{down}");
    let up = -down;
    let head = TestFemur::default();
    let centre = turned(0.0, 10.0, 0.0) * head.head_centre + Vector3::new(30.0, -20.0, 700.0);
    let heights: Vec<f64> = model
        .loaded
        .nodes
        .iter()
        .map(|&n| (world(&model, n) - centre).dot(&up))
        .collect();
    let top = heights.iter().copied().fold(f64::MIN, f64::max);
    assert!((top - head.head_radius).abs() < 1.8, "{top}");
    assert!(heights.iter().all(|h| *h >= top - 3.0));
    // A cap 3 mm high on a sphere of 23.5 mm, seen from above: pi (2 R d - d²) = 415 mm², at
    // 2.25 mm² per node 184; the steps of the surface add some.
    assert!(
        (130..330).contains(&model.loaded.nodes.len()),
        "{}",
        model.loaded.nodes.len()
    );
    // The shaft is kept to 100 mm below the trochanter tip at +2: the cut lies at -98, across the shaft.
    let levels: Vec<f64> = model
        .fixed
        .nodes
        .iter()
        .map(|&n| {
            landmarks.shaft.along(world(&model, n)) - landmarks.lesser_trochanter.unwrap().tip_mm
        })
        .collect();
    assert!(
        levels.iter().all(|l| (-102.5..-96.0).contains(l)),
        "{levels:?}"
    );
    // pi 14.5² = 660 mm², one or two layers of nodes at 2.25 mm²: 293 to 587.
    assert!(
        (290..640).contains(&model.fixed.nodes.len()),
        "{}",
        model.fixed.nodes.len()
    );
    assert_eq!(
        model.prescribed.len(),
        3 * (model.loaded.nodes.len() + model.fixed.nodes.len())
    );
    let moved: f64 = model
        .prescribed
        .iter()
        .take(3)
        .map(|p| p.displacement_mm.abs())
        .sum();
    assert!(moved == 0.0 || moved > 3.9);
    assert!(model.kinds.iter().all(|&k| k == ElementKind::Bone));
    // Nothing is resampled on the CT grid.
    assert!(model.density_mg_cm3.iter().all(|&d| d == 400.0));
}

#[test]
fn a_mirrored_femur_makes_a_mirrored_model() {
    let (input, landmarks) = femur(turned(3.0, 8.0, 10.0), [1.5, 1.5, 2.0]);
    let mut grid = input.labels.grid.clone();
    // The same arrays, read backwards along x, in the mirrored place.
    grid.origin_mm.x = -(grid.origin_mm.x - (grid.size[0] - 1) as f64 * grid.spacing_mm[0]);
    let last = grid.size[0] - 1;
    let mask = Volume::from_fn(grid, |[i, j, k]| input.labels.at(last - i, j, k) != 0);
    let (mirrored, _) = FemurLandmarks::find(&mask).unwrap();
    assert_ne!(mirrored.side.from_affine, landmarks.side.from_affine);
    let mut options = StanceOptions::default();
    options.pose.voxel_mm = 0.0;
    let one = stance::build(&input, &landmarks, &options).unwrap();
    let two = stance::build(&posed(&mask), &mirrored, &options).unwrap();
    assert_eq!(one.kinds.len(), two.kinds.len());
    assert_eq!(one.loaded.nodes.len(), two.loaded.nodes.len());
    assert_eq!(one.fixed.nodes.len(), two.fixed.nodes.len());
    assert!((one.direction[0] + two.direction[0]).abs() < 1e-6);
    assert!((one.direction[1] - two.direction[1]).abs() < 1e-6);
}

#[test]
fn free_lateral_components_need_the_anatomical_pose() {
    let (input, landmarks) = femur(turned(0.0, 10.0, 0.0), [2.0; 3]);
    let mut options = StanceOptions {
        lateral: Lateral::Free,
        ..StanceOptions::default()
    };
    options.pose.voxel_mm = 2.0;
    let error = stance::build(&input, &landmarks, &options).unwrap_err();
    assert!(
        error.to_string().contains("load.orientation=anatomical"),
        "{error}"
    );
    options.orientation = Orientation::Anatomical;
    let model = stance::build(&input, &landmarks, &options).unwrap();
    assert_eq!(model.direction, [0.0, 0.0, -1.0]);
    assert_eq!(
        model.prescribed.len(),
        model.loaded.nodes.len() + 3 * model.fixed.nodes.len()
    );
    // Turned upright, the cut across the shaft is one layer of elements: two layers of nodes.
    let lowest = model
        .fixed
        .nodes
        .iter()
        .map(|&n| model.mesh.nodes_mm()[n as usize][2]);
    assert!(lowest.fold(f64::MIN, f64::max) <= 2.0 + 1e-9);
    // A volume of 100 + 2 + ... : the resampled bone keeps its volume within 1 %.
    let kept = model.mesh.element_count() as f64 * 8.0;
    let below = landmarks.lesser_trochanter.unwrap().tip_mm - 100.0;
    let own = (0..input.labels.data.len())
        .filter(|&n| input.labels.data[n] != 0)
        .filter(|&n| {
            let v = input.labels.grid.voxel(n);
            let p = input
                .labels
                .grid
                .to_world(Vector3::from_fn(|a, _| v[a] as f64));
            landmarks.shaft.along(p) >= below
        })
        .count() as f64
        * 8.0;
    assert!((kept / own - 1.0).abs() < 0.01, "{kept} {own}");
}

#[test]
fn a_load_tilted_to_lateral_pushes_the_head_away_from_medial() {
    let (input, landmarks) = femur(Matrix3::identity(), [2.0; 3]);
    let mut options = StanceOptions {
        angle_deg: 20.0,
        ..StanceOptions::default()
    };
    options.pose.voxel_mm = 0.0;
    let model = stance::build(&input, &landmarks, &options).unwrap();
    let push = Vector3::from(model.mesh.frame().direction_to_world(model.direction));
    assert!((push.dot(&landmarks.medial) + 20f64.to_radians().sin()).abs() < 1e-9);
    assert!((push.dot(&landmarks.shaft.direction) + 20f64.to_radians().cos()).abs() < 1e-9);
}

#[test]
fn the_cup_of_sas_is_cement_on_a_stiff_head() {
    let (input, landmarks) = femur(Matrix3::identity(), [2.0; 3]);
    let mut options = StanceOptions::sas2020();
    options.pose.voxel_mm = 0.0;
    let plain = stance::build(
        &input,
        &landmarks,
        &StanceOptions {
            cup: None,
            ..options.clone()
        },
    )
    .unwrap();
    let model = stance::build(&input, &landmarks, &options).unwrap();
    let (cap, influence) = (
        model.count(ElementKind::Cap),
        model.count(ElementKind::Influence),
    );
    // Shell between R and R + 5 above the plane R - 8: exact volume from spherical caps
    // V(r) = pi h² (r - h / 3), h = r - (R - 8): 14137 - 4188 = 8650 mm³ -> 1081 voxels of 8 mm³.
    let volume = |r: f64| {
        let h = r - 15.5;
        std::f64::consts::PI * h * h * (r - h / 3.0)
    };
    let expected = (volume(28.5) - volume(23.5)) / 8.0;
    assert!(
        (cap as f64 / expected - 1.0).abs() < 0.08,
        "{cap} {expected}"
    );
    let expected = (volume(23.5) - volume(20.5)) / 8.0;
    assert!(
        (influence as f64 / expected - 1.0).abs() < 0.15,
        "{influence} {expected}"
    );
    assert_eq!(model.kinds.len(), plain.kinds.len() + cap);
    assert_eq!(model.cap.youngs_modulus_mpa, 2000.0);
    assert_eq!(model.influence.youngs_modulus_mpa, 20_000.0);
    let centre = landmarks.head.centre_mm;
    for &node in &model.loaded.nodes {
        let r = (world(&model, node) - centre).norm();
        assert!((26.0..31.0).contains(&r), "{r}");
    }
    // Smoothing inside the bone alone leaves a uniform density as it is.
    for (kind, density) in model.kinds.iter().zip(&model.density_mg_cm3) {
        if *kind == ElementKind::Bone {
            assert!((density - 400.0).abs() < 0.01);
        }
    }
}

#[test]
fn the_sideways_fall_stands_as_the_load_case_says() {
    let (input, landmarks) = femur(turned(5.0, 10.0, 20.0), [2.0; 3]);
    let mut options = FallOptions::default();
    options.pose.voxel_mm = 2.0;
    let model = fall::build(&input, Some(&landmarks), None, &options).unwrap();
    let to_model = |v: Vector3<f64>| Vector3::from(model.mesh.frame().direction_to_model(v.into()));
    let (sin, cos) = 15f64.to_radians().sin_cos();
    assert!((to_model(landmarks.shaft.direction) - Vector3::new(0.0, -sin, cos)).norm() < 1e-9);
    assert!((to_model(landmarks.medial) - Vector3::new(0.0, cos, sin)).norm() < 1e-9);
    assert!(model.mesh.frame().rotation.determinant() > 0.0);
    let y = |n: &u32| model.mesh.nodes_mm()[*n as usize][1];
    let head = y(&model.loaded.nodes[0]);
    let trochanter = y(&model.fixed.nodes[0]);
    assert!(model.loaded.nodes.iter().all(|n| y(n) == head));
    assert!(model.fixed.nodes.iter().all(|n| y(n) == trochanter));
    // Both faces are the ends of the model along y, and L is their distance.
    let cap_distance = model.cap_distance_mm.unwrap();
    assert!((head - trochanter - cap_distance).abs() < 1e-9);
    assert!((model.displacement_mm - 0.04 * cap_distance).abs() < 1e-12);
    let ys = model.mesh.nodes_mm().iter().map(|x| x[1]);
    assert!(
        ys.clone().fold(f64::MIN, f64::max) == head && ys.fold(f64::MAX, f64::min) == trochanter
    );
    // Head: one component down; trochanter: one held; distal shaft: x and z.
    let distal = &model.held[0];
    assert_eq!(
        model.prescribed.len(),
        model.loaded.nodes.len() + model.fixed.nodes.len() + 2 * distal.nodes.len()
    );
    assert!(distal.nodes.len() > 50);
    // The set lies at the distal end: within 6.75 voxels and the depth of the end's own slope.
    let n = Vector3::new(0.0, -sin, cos);
    let along = |x: &[f64; 3]| Vector3::from(*x).dot(&n);
    let bone: Vec<f64> = (0..model.kinds.len())
        .filter(|&e| model.kinds[e] == ElementKind::Bone)
        .map(|e| along(&model.mesh.voxels().unwrap().centre_mm(e)))
        .collect();
    let end = bone.iter().copied().fold(f64::MAX, f64::min);
    for &node in &distal.nodes {
        let above = along(&model.mesh.nodes_mm()[node as usize]) - end;
        assert!((-2.0..6.0 + 1.5 + 2.5).contains(&above), "{above}");
    }
    // 1.2 times the width of the proximal 40 mm is longer than what stands here is wide.
    assert!(model.femur_length_mm.unwrap() > 80.0);
    assert!(model.count(ElementKind::Cap) > 100);
}

#[test]
fn one_resampling_keeps_a_sharper_edge_than_two() {
    let (input, landmarks) = femur(turned(5.0, 10.0, 20.0), [1.6, 1.6, 2.5]);
    let edge = |resampling| {
        let mut options = FallOptions::default();
        options.pose.voxel_mm = 2.0;
        options.pose.resampling = resampling;
        let model = fall::build(&input, Some(&landmarks), None, &options).unwrap();
        let bone: Vec<f64> = (0..model.kinds.len())
            .filter(|&e| model.kinds[e] == ElementKind::Bone)
            .map(|e| (model.density_mg_cm3[e] - 400.0).powi(2))
            .collect();
        (bone.iter().sum::<f64>() / bone.len() as f64).sqrt()
    };
    let two = edge(crate::pose::Resampling::TwoStep);
    let one = edge(crate::pose::Resampling::OneStep);
    assert!(one < two && one > 10.0, "{one} {two}");
}

/// A body of 6x6x10 voxels (label 1) with a process of 2x4x4 behind it (label 2), arrays along RAS+.
fn block() -> Posed {
    let mut grid = Grid::axis_aligned([26, 30, 34], [1.0; 3]);
    grid.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
    let labels = Volume::from_fn(grid, |[i, j, k]| match (i, j, k) {
        (10..16, 14..20, 12..22) => 1u16,
        (12..14, 10..14, 14..18) => 2,
        _ => 0,
    });
    let density = labels.map(|&l| [0.0, 150.0, 500.0][usize::from(l)]);
    Posed::new(density, labels).unwrap()
}

fn plain_compression() -> CompressionOptions {
    CompressionOptions {
        orientation: Orientation::None,
        smooth_sigma_mm: 0.0,
        ..CompressionOptions::default()
    }
}

#[test]
fn a_block_between_caps_voxel_by_voxel() {
    let model = compression::build(&block(), &[1, 2], None, None, &plain_compression()).unwrap();
    // 360 body, 32 process, 4 layers of 36 cap voxels above and below.
    assert_eq!(model.count(ElementKind::Bone), 392);
    assert_eq!(model.count(ElementKind::Cap), 288);
    assert_eq!(model.labels.iter().filter(|&&l| l == 2).count(), 32);
    assert_eq!(
        (model.loaded.nodes.len(), model.fixed.nodes.len()),
        (49, 49)
    );
    assert_eq!(model.bone_height_mm, Some(10.0));
    assert_eq!(model.cap_distance_mm, Some(18.0));
    // 0.68 % of 18 mm.
    assert!((model.displacement_mm - 0.1224).abs() < 1e-12);
    assert_eq!(model.prescribed.len(), 49 + 3 * 49);
    let z = |n: &u32| model.mesh.nodes_mm()[*n as usize][2];
    assert!(model.loaded.nodes.iter().all(|n| z(n) == 18.0));
    assert!(model.fixed.nodes.iter().all(|n| z(n) == 0.0));
    for (e, kind) in model.kinds.iter().enumerate() {
        let expected = match (kind, model.labels[e]) {
            (ElementKind::Cap, 0) => 0.0,
            (ElementKind::Bone, 1) => 150.0,
            (ElementKind::Bone, 2) => 500.0,
            other => panic!("{other:?}"),
        };
        assert_eq!(model.density_mg_cm3[e], expected);
    }
    let load = model.load_case();
    assert!(
        load.prescribed
            .iter()
            .any(|p| p.component == 2 && (p.displacement_mm + 0.1224).abs() < 1e-12)
    );
}

#[test]
fn lateral_settings_of_the_compression() {
    let count = |lateral| {
        let options = CompressionOptions {
            lateral,
            ..plain_compression()
        };
        compression::build(&block(), &[1, 2], None, None, &options)
            .unwrap()
            .prescribed
            .len()
    };
    assert_eq!(count(Lateral::Fixed), 6 * 49);
    assert_eq!(count(Lateral::Free), 4 * 49);
    assert_eq!(count(Lateral::FreeBoth), 2 * 49 + 3);
}

#[test]
fn discs_of_the_label_map_are_told_apart_by_their_height() {
    let mut input = block();
    // Discs of 2 layers over and under the body; the upper one has the smaller label here.
    let grid = input.labels.grid.clone();
    for index in 0..grid.len() {
        if let [10..16, 14..20, k @ (10..12 | 22..24)] = grid.voxel(index) {
            input.labels.data[index] = if k < 12 { 9 } else { 7 };
        }
    }
    let mut options = CompressionOptions {
        cap_labels: vec![7, 9],
        displacement: Displacement::Mm(0.2),
        lateral: Lateral::FreeBoth,
        ..plain_compression()
    };
    options.pose.voxel_mm = 0.0;
    let model = compression::build(&input, &[1, 2], None, None, &options).unwrap();
    assert_eq!(model.count(ElementKind::Cap), 144);
    assert_eq!(model.count(ElementKind::Bone), 392);
    let z = |n: &u32| model.mesh.nodes_mm()[*n as usize][2];
    assert!(model.loaded.nodes.len() == 49 && model.loaded.nodes.iter().all(|n| z(n) == 14.0));
    assert!(model.fixed.nodes.len() == 49 && model.fixed.nodes.iter().all(|n| z(n) == 0.0));
    assert_eq!(model.displacement_mm, 0.2);
    assert_eq!(model.cap_distance_mm, Some(14.0));
    let missing = compression::build(&input, &[1, 3], None, None, &options).unwrap_err();
    assert!(missing.to_string().contains("label 3"), "{missing}");
}

#[test]
fn label_smoothing_rounds_a_corner_and_keeps_a_face() {
    let options = CompressionOptions {
        smooth_sigma_mm: 1.0,
        ..plain_compression()
    };
    let smooth = compression::build(&block(), &[1, 2], None, None, &options).unwrap();
    // At a corner of a cube the smoothed value is 0.691³ = 0.33 (erf), on an edge 0.48, on a face 0.69:
    // the 8 corners and the 12 edges of the body go, its faces stay (a finite body lowers them a little).
    let body = smooth.labels.iter().filter(|&&l| l == 1).count();
    let edges = 4 * (4 + 4 + 8);
    assert!((body as i64 - (360 - 8 - edges)).abs() <= 8, "{body}");
}

#[test]
fn a_density_that_is_no_number_is_refused() {
    let mut input = block();
    let index = input.labels.grid.index(12, 16, 15);
    input.density.data[index] = f32::NAN;
    let mut options = plain_compression();
    options.pose.voxel_mm = 0.0;
    let error = compression::build(&input, &[1, 2], None, None, &options).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}
