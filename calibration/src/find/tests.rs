//! Painted rods with known answers.

use imaging::{Grid, Volume};
use nalgebra::{Matrix3, Vector3};

use super::*;
use crate::fit::CheckStatus;
use crate::phantom::PhantomRod;

fn phantom(densities: &[f64], places: Option<&[[f64; 2]]>) -> Phantom {
    Phantom {
        name: "painted".into(),
        basis: crate::density::DensityKind::Ha,
        source: "a test".into(),
        verified: true,
        rods: densities
            .iter()
            .enumerate()
            .map(|(k, density)| PhantomRod {
                name: format!("R{k}"),
                equivalent_mg_cm3: *density,
                water_mg_cm3: None,
                diameter_mm: None,
                position_mm: places.map(|places| [places[k][0], places[k][1], 0.0]),
            })
            .collect(),
    }
}

/// A block of plastic of 60 HU in air, with rods of 16 mm at `places` (mm from its middle) over the whole
/// length, at HU = 1.25 rho + 10, and noise.
struct Painted<'a> {
    densities: &'a [f64],
    places: &'a [[f64; 2]],
    /// HU added per mm along z, and to the plastic in the middle.
    drift: f64,
    cupping: f64,
    bubbles: Option<usize>,
    noise: f64,
    grid: Grid,
}

impl<'a> Painted<'a> {
    fn new(densities: &'a [f64], places: &'a [[f64; 2]]) -> Self {
        let mut grid = Grid::axis_aligned([170, 90, 30], [1.0, 1.0, 2.0]);
        grid.origin_mm = Vector3::new(-85.0, 100.0, -300.0);
        Self {
            densities,
            places,
            drift: 0.0,
            cupping: 0.0,
            bubbles: None,
            noise: 8.0,
            grid,
        }
    }

    fn scan(&self) -> Volume<f32> {
        let mut state = 7u64;
        Volume::from_fn(self.grid.clone(), |[i, j, k]| {
            let p = self
                .grid
                .to_world(Vector3::new(i as f64, j as f64, k as f64));
            let (x, y, z) = (p.x, p.y - 145.0, p.z + 270.0);
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let noise =
                ((state >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * self.noise * 12f64.sqrt();
            if x.abs() > 78.0 || y.abs() > 38.0 {
                return (-1000.0 + noise) as f32;
            }
            let mut hu = 60.0 + self.cupping * (1.0 - (x / 60.0).powi(2)).max(0.0);
            for (r, place) in self.places.iter().enumerate() {
                let distance = (x - place[0]).hypot(y - place[1]);
                let share = (8.5 - distance).clamp(0.0, 1.0);
                let bubble = self.bubbles == Some(r) && distance < 4.0 && k % 3 == 0;
                let rod = if bubble {
                    -600.0
                } else {
                    1.25 * self.densities[r] + 10.0
                };
                hu += share * (rod - hu);
            }
            (hu + self.drift * z + noise) as f32
        })
    }
}

/// Five rods in a row, 27 mm apart.
const ROW: [[f64; 2]; 5] = [
    [-54.0, 0.0],
    [-27.0, 0.0],
    [0.0, 0.0],
    [27.0, 0.0],
    [54.0, 0.0],
];
const DENSITIES: [f64; 5] = [0.0, 50.0, 100.0, 150.0, 200.0];

fn line(found: &FoundPhantom, phantom: &Phantom) -> Calibration {
    let line = found.calibrate(phantom).unwrap();
    // rho = (HU - 10) / 1.25
    assert!((line.slope_mg_cm3_per_hu - 0.8).abs() < 0.006, "{line:?}");
    assert!((line.intercept_mg_cm3 + 8.0).abs() < 1.0, "{line:?}");
    line
}

fn check<'a>(found: &'a FoundPhantom, name: &str) -> &'a Check {
    found
        .checks
        .iter()
        .find(|check| check.name == name)
        .unwrap()
}

#[test]
fn a_row_is_found_in_its_order_and_place() {
    let model = phantom(&DENSITIES, None);
    let found = find_rods(&Painted::new(&DENSITIES, &ROW).scan(), &model).unwrap();
    line(&found, &model);
    assert_eq!(found.rods.len(), 5);
    for ((rod, centre), place) in found.rods.iter().zip(&found.centres.rods).zip(ROW) {
        let [x, y, z] = rod.centre_mm.unwrap();
        assert!(
            (x - place[0]).abs() < 0.5 && (y - 145.0).abs() < 0.5,
            "{rod:?}"
        );
        assert!((z + 271.0).abs() < 3.0, "{rod:?}");
        assert!((centre.radius_mm - 6.0).abs() < 0.3, "{centre:?}");
    }
    assert_eq!(check(&found, "phantom_found").status, CheckStatus::Pass);
    let drift = check(&found, "phantom_drift_hu_per_100_mm");
    assert!(drift.value.unwrap().abs() < 3.0 && drift.status == CheckStatus::Pass);
}

#[test]
fn a_phantom_laid_the_other_way_round_is_told_by_its_densities() {
    let model = phantom(&DENSITIES, None);
    let reversed: Vec<[f64; 2]> = ROW.into_iter().rev().collect();
    let found = find_rods(&Painted::new(&DENSITIES, &reversed).scan(), &model).unwrap();
    line(&found, &model);
    assert!((found.rods[0].centre_mm.unwrap()[0] - 54.0).abs() < 0.5);
}

#[test]
fn the_order_of_the_array_axes_does_not_matter() {
    let model = phantom(&DENSITIES, None);
    let painted = Painted::new(&DENSITIES, &ROW);
    let plain = painted.scan();
    // First array axis towards the feet, second to the back, third to the right.
    let mut grid = Grid::axis_aligned([30, 90, 170], [2.0, 1.0, 1.0]);
    grid.direction = Matrix3::new(0.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0);
    grid.origin_mm = plain.grid.to_world(Vector3::new(169.0, 0.0, 29.0));
    let turned = Volume::from_fn(grid, |[i, j, k]| plain.at(169 - k, j, 29 - i));
    let [a, b] = [plain, turned].map(|scan| find_rods(&scan, &model).unwrap());
    for (a, b) in a.rods.iter().zip(&b.rods) {
        assert!((a.hu_mean - b.hu_mean).abs() < 0.7, "{a:?} {b:?}");
        let apart = Vector3::from(a.centre_mm.unwrap()) - Vector3::from(b.centre_mm.unwrap());
        assert!(apart.norm() < 0.6, "{a:?} {b:?}");
    }
}

#[test]
fn a_given_layout_is_laid_turned_and_mirrored() {
    let places = [[0.0, 0.0], [40.0, 0.0], [0.0, 30.0], [40.0, 45.0]];
    let densities = [0.0, 250.0, 100.0, 400.0];
    let model = phantom(&densities, Some(&places));
    let (sin, cos) = 12f64.to_radians().sin_cos();
    for mirror in [1.0, -1.0] {
        let laid: Vec<[f64; 2]> = places
            .iter()
            .map(|[x, y]| (mirror * (x - 20.0), y - 20.0))
            .map(|(x, y)| [cos * x - sin * y, sin * x + cos * y])
            .collect();
        let mut painted = Painted::new(&densities, &laid);
        painted.grid.size[1] = 100;
        let found = find_rods(&painted.scan(), &model).unwrap();
        line(&found, &model);
        for (rod, place) in found.rods.iter().zip(&laid) {
            assert!(
                (rod.centre_mm.unwrap()[0] - place[0]).abs() < 0.6,
                "{rod:?}"
            );
        }
    }
}

#[test]
fn a_rod_with_bubbles_is_left_out_with_its_reason() {
    let model = phantom(&DENSITIES, None);
    let mut painted = Painted::new(&DENSITIES, &ROW);
    painted.bubbles = Some(3);
    let found = find_rods(&painted.scan(), &model).unwrap();
    line(&found, &model);
    assert_eq!(found.rods.len(), 4);
    assert_eq!(found.rejected.len(), 1);
    assert_eq!(found.rejected[0].name, "R3");
    let check = check(&found, "phantom_found");
    assert_eq!(check.status, CheckStatus::Review);
    assert!(check.reason.contains("rod 'R3'"), "{}", check.reason);
}

#[test]
fn drift_and_cupping_are_measured() {
    let model = phantom(&DENSITIES, None);
    let mut painted = Painted::new(&DENSITIES, &ROW);
    painted.drift = 0.2;
    painted.cupping = -40.0;
    let found = find_rods(&painted.scan(), &model).unwrap();
    let drift = check(&found, "phantom_drift_hu_per_100_mm");
    assert!((drift.value.unwrap() - 20.0).abs() < 2.0, "{drift:?}");
    assert_eq!(drift.status, CheckStatus::Review);
    // At the inner rods -40, -32, -32; at the outer ones -8: 27 HU.
    let cupping = check(&found, "phantom_cupping_hu");
    assert!((cupping.value.unwrap() - 27.0).abs() < 4.0, "{cupping:?}");
    assert_eq!(cupping.status, CheckStatus::Review);
}

#[test]
fn noise_that_leaves_the_slope_uncertain_is_refused() {
    // Rods of 16 mm over 60 mm in noise of 30 HU: a span of 400 mg/cm3 and of 40.
    let check_of = |densities: &[f64; 5]| {
        let model = phantom(densities, None);
        let mut painted = Painted::new(densities, &ROW);
        painted.noise = 30.0;
        find_rods(&painted.scan(), &model)
    };
    let found = check_of(&[0.0, 100.0, 200.0, 300.0, 400.0]).unwrap();
    let percent = check(&found, "phantom_noise_percent").value.unwrap();
    assert!((0.03..0.3).contains(&percent), "{percent}");
    let error = check_of(&[40.0, 45.0, 60.0, 75.0, 80.0])
        .unwrap_err()
        .to_string();
    assert!(error.contains("uncertain by"), "{error}");
}

#[test]
fn what_is_no_phantom_is_refused() {
    let model = phantom(&DENSITIES, None);
    let refused =
        |scan: &Volume<f32>, model: &Phantom| find_rods(scan, model).unwrap_err().to_string();
    // Only plastic.
    let error = refused(&Painted::new(&[], &[]).scan(), &model);
    assert!(error.contains("no phantom was found"), "{error}");
    // Air.
    let grid = Grid::axis_aligned([60, 60, 20], [1.0, 1.0, 2.0]);
    let error = refused(&Volume::filled(grid.clone(), -1000.0), &model);
    assert!(error.contains("no phantom was found"), "{error}");
    // Rods that lie on no line: 0, 50, 100, 150, 200 at 10, 385, 135, 260, 510 HU.
    let mixed = [0.0, 300.0, 100.0, 200.0, 400.0];
    let error = refused(&Painted::new(&mixed, &ROW).scan(), &model);
    assert!(error.contains("not found for sure"), "{error}");
    // Five rods where the model has three: which three is anybody's guess.
    let three = phantom(&[0.0, 50.0, 100.0], None);
    let error = refused(&Painted::new(&DENSITIES, &ROW).scan(), &three);
    assert!(error.contains("one more rod"), "{error}");
    // A sheared grid.
    let mut sheared = grid;
    sheared.direction = Matrix3::new(1.0, 0.3, 0.0, 0.0, 0.954, 0.0, 0.0, 0.0, 1.0);
    let error = refused(&Volume::filled(sheared, -1000.0), &model);
    assert!(error.contains("right angles"), "{error}");
    // Positions for some rods only.
    let mut half = phantom(&DENSITIES, Some(&ROW));
    half.rods[2].position_mm = None;
    let error = refused(&Painted::new(&DENSITIES, &ROW).scan(), &half);
    assert!(error.contains("4 of 5 rods"), "{error}");
}

#[test]
fn a_volume_too_small_for_a_rod_is_refused() {
    for size in [[1, 1, 1], [3, 60, 20], [60, 60, 1], [0, 0, 0]] {
        let scan = Volume::filled(Grid::axis_aligned(size, [1.0, 1.0, 2.0]), 0.0);
        assert!(
            find_rods(&scan, &phantom(&DENSITIES, None)).is_err(),
            "{size:?}"
        );
    }
}

#[test]
fn two_painted_rods_are_found() {
    // The scene of the command line's test: noise-free discs in water.
    let grid = Grid::axis_aligned([60, 40, 12], [1.0, 1.0, 2.0]);
    let scan = Volume::from_fn(grid, |[i, j, _]| {
        let within = |ci: f64| (i as f64 - ci).hypot(j as f64 - 20.0) <= 9.0;
        if within(15.0) {
            135.0
        } else if within(45.0) {
            1010.0
        } else {
            0.0
        }
    });
    let model = phantom(&[100.0, 800.0], None);
    let found = find_rods(&scan, &model).unwrap();
    line(&found, &model);
}
