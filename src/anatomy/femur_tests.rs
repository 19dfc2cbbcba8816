use nalgebra::{Matrix3, Vector3};

use super::FemurLandmarks;
use crate::anatomy::test_shapes::{TestFemur, arrangements, rearranged, turned};
use crate::anatomy::{Check, Side, Status};

fn status(checks: &[Check], name: &str) -> Status {
    checks.iter().find(|c| c.name == name).unwrap().status
}

/// Landmarks against the geometry the femur was made with.
fn assert_found(femur: &TestFemur, rotation: Matrix3<f64>, spacing: [f64; 3]) -> FemurLandmarks {
    let (found, checks) = FemurLandmarks::find(&femur.mask(rotation, spacing)).unwrap();
    let shift = Vector3::new(30.0, -20.0, 700.0);
    let centre = rotation * femur.head_centre + shift;
    assert!((found.head.centre_mm - centre).norm() < 0.5, "{found:?}");
    assert!((found.head.radius_mm - femur.head_radius).abs() < 0.4);
    let axis = rotation * Vector3::z();
    let lean = found.shaft.direction.dot(&axis).acos().to_degrees();
    assert!(lean < 1.0, "shaft axis {lean} degrees off");
    // Where the axis passes below the lesser trochanter.
    let below = rotation * Vector3::new(0.0, 0.0, -20.0) + shift;
    assert!(found.shaft.away(below).norm() < 0.5);
    // The neck is a capsule from (0, 0, 17.5) to the head centre.
    let neck = (rotation * (femur.head_centre - Vector3::new(0.0, 0.0, 17.5))).normalize();
    assert!(found.neck.dot(&neck).acos().to_degrees() < 4.0);
    let trochanter = found.lesser_trochanter.unwrap();
    let tip = rotation * Vector3::new(0.0, 0.0, 2.0) + shift;
    assert!((trochanter.tip_mm - found.shaft.along(tip)).abs() < 4.0);
    assert_eq!(status(&checks, "femur_head_cut"), Status::Pass);
    assert_eq!(status(&checks, "femur_head_shape"), Status::Pass);
    found
}

#[test]
fn a_left_femur_and_its_mirror_image() {
    let femur = TestFemur::default();
    let left = assert_found(&femur, Matrix3::identity(), [1.0; 3]);
    assert_eq!(left.side.from_affine, Some(Side::Left));
    assert_eq!(left.side.from_shape, Some(Side::Left));
    let mirror = Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, 1.0));
    let right = assert_found(&femur, mirror, [1.0; 3]);
    assert_eq!(right.side.from_affine, Some(Side::Right));
    assert_eq!(right.side.from_shape, Some(Side::Right));
    assert!((left.neck_shaft_angle_deg - right.neck_shaft_angle_deg).abs() < 0.5);
}

#[test]
fn a_femur_in_any_pose_on_voxels_of_any_shape() {
    let femur = TestFemur::default();
    for (rotation, spacing, upright) in [
        (turned(0.0, 12.0, 5.0), [0.8, 0.8, 2.5], true),
        (turned(-15.0, -8.0, 0.0), [1.2, 0.9, 1.0], true),
        // Head down, shaft lying along x, shaft lying along -y: specimens.
        (turned(180.0, 0.0, 0.0), [1.0, 1.0, 1.0], false),
        (turned(10.0, 180.0, 0.0), [1.0, 1.0, 1.5], false),
        (turned(0.0, 90.0, 0.0), [1.0, 1.0, 1.0], false),
        (turned(90.0, 0.0, 20.0), [1.3, 1.0, 1.0], false),
    ] {
        let found = assert_found(&femur, rotation, spacing);
        // The shape tells the side in any pose, the affine only as in a patient.
        assert_eq!(found.side.from_shape, Some(Side::Left));
        assert_eq!(found.side.from_affine.is_some(), upright);
    }
}

#[test]
fn all_48_ways_to_run_the_array_give_the_same_landmarks() {
    let femur = TestFemur::default();
    let mask = femur.mask(turned(7.0, 5.0, 15.0), [1.6, 1.5, 2.0]);
    let (expected, _) = FemurLandmarks::find(&mask).unwrap();
    for (permutation, flip) in arrangements() {
        let (found, _) = FemurLandmarks::find(&rearranged(&mask, permutation, flip)).unwrap();
        let apart = (found.head.centre_mm - expected.head.centre_mm).norm();
        assert!(
            apart < 1e-3,
            "{permutation:?} {flip:?}: head {apart} mm off"
        );
        assert!((found.shaft.direction - expected.shaft.direction).norm() < 1e-3);
        assert_eq!(found.side, expected.side);
    }
}

#[test]
fn a_short_shaft_is_said_to_be_short() {
    let femur = TestFemur {
        floor: -25.0,
        ..TestFemur::default()
    };
    let (found, checks) = FemurLandmarks::find(&femur.mask(Matrix3::identity(), [1.0; 3])).unwrap();
    assert!(found.short_shaft);
    assert_eq!(status(&checks, "femur_shaft_length"), Status::Review);
    assert!((found.head.radius_mm - femur.head_radius).abs() < 0.4);
    assert!(found.shaft.direction.z > 0.95);
}

#[test]
fn a_head_cut_by_the_image_border_is_refused() {
    let femur = TestFemur::default();
    let whole = femur.mask(Matrix3::identity(), [1.0; 3]);
    // Take away the top of the image down to 8 mm below the top of the head.
    let top = whole.bounding_box().unwrap()[1][2] - 8;
    let mut grid = whole.grid.clone();
    grid.size[2] = top;
    let cut = imaging::Volume::from_fn(grid, |[i, j, k]| whole.at(i, j, k));
    let (_, checks) = FemurLandmarks::find(&cut).unwrap();
    assert_eq!(status(&checks, "femur_head_cut"), Status::Refuse);
}

#[test]
fn a_ball_is_no_femur() {
    let mut grid = imaging::Grid::axis_aligned([40; 3], [1.0; 3]);
    grid.origin_mm = Vector3::repeat(-20.0);
    let at = grid.clone();
    let ball = imaging::Volume::from_fn(grid, |v| {
        at.to_world(Vector3::from_fn(|a, _| v[a] as f64)).norm() < 3.0
    });
    assert!(FemurLandmarks::find(&ball).is_err());
}
