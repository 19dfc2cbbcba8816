//! Past the peak: a bar with one weak element is followed down its softening branch.

use meshing::NodeSet;
use solver::{
    Control, Formulation, HardeningCurve, Increment, LoadCase, MaterialModel, Materials, Model,
    Outcome, PathControl, Prescribed, Stepping, analyse,
};

use crate::body::{block, nodes, press, uniform};

/// A bar of 10 equal elements of 2 mm, the sixth 5 % weaker; E 1000, yield stress 10, softening modulus -50 MPa.
///
/// Closed form: all elements share one stress s. Before yield u = s L / E. After it the weak element softens
/// along 1/Et = 1/E + 1/H while the rest unloads along its secant: u = (s / E) 18 + 2 (s / E + (9.5 - s) / 50).
/// Only the secant model with nu = 0 has no lateral strain and so is this chain exactly: the plastic flow of J2
/// spreads sideways, presses on the neighbours and drags them into yield.
#[test]
fn a_weak_element_takes_all_the_strain() {
    let model = MaterialModel::Secant;
    let body = block([1, 1, 10], [3.0, 3.0, 2.0], |_| true);
    let strong = HardeningCurve::new(vec![[0.0, 10.0], [0.18, 1.0]]).unwrap();
    let mut bar = uniform(body, 1000.0, 0.0, Some(strong), Formulation::Full, model);
    bar.materials
        .curves
        .push(HardeningCurve::new(vec![[0.0, 9.5], [0.17, 1.0]]).unwrap());
    bar.materials.curve[5] = 1;
    let case = press(&bar, -0.35, false);
    let mut stepping = Stepping::equal(35);
    stepping.watch = Some((0, [0.0, 0.0, -1.0]));
    stepping.stop_below = Some(0.8);
    let response = analyse(&bar, &case, &stepping, &mut |_| Control::Continue).unwrap();
    assert_eq!(response.outcome, Outcome::PeakPassed, "{model:?}");
    for increment in &response.increments {
        let u = 0.35 * increment.factor;
        let elastic = 1000.0 * u / 20.0;
        let exact = if elastic <= 9.5 {
            elastic
        } else {
            (0.38 - u) / (0.04 - 0.02)
        };
        let found = -increment.reactions_n[0][2] / 9.0;
        assert!(
            (found - exact).abs() < 1e-4 * exact,
            "{model:?} at {u}: {found} {exact}"
        );
    }
}

const LENGTH_MM: f64 = 20.0;
const YIELD_MPA: f64 = 10.0;
const LAST_MPA: f64 = 2.0;
/// Plateau and softening modulus of a specimen as long as the bar; an element of height `h` has `L / h` times the
/// plateau and `h / L` times the slope, so that it stretches as much as the specimen (Sas 2020, after Keyak 2005).
const PLATEAU: f64 = 0.001;

/// Plastic stretch (mm) of the weak element at a yield stress on the falling branch.
fn stretch_mm(slope: f64, stress: f64) -> f64 {
    LENGTH_MM * (PLATEAU + (YIELD_MPA - stress) / slope)
}

/// The hardening curve of an element of height `h` for the specimen's softening modulus.
fn weak_curve(slope: f64, h: f64) -> HardeningCurve {
    let scale = LENGTH_MM / h;
    let end = PLATEAU + (YIELD_MPA - LAST_MPA) / slope;
    HardeningCurve::new(vec![
        [0.0, YIELD_MPA],
        [scale * PLATEAU, YIELD_MPA],
        [scale * end, LAST_MPA],
    ])
    .unwrap()
}

/// A column of elastic boxes with one of `material` in the middle; E 1000 MPa, nu 0 or 0.25, section 9 mm2.
fn chain(elements: usize, slope: f64, ratio: f64, material: MaterialModel) -> Model {
    let h = LENGTH_MM / elements as f64;
    let body = block([1, 1, elements], [3.0, 3.0, h], |_| true);
    let curve = Some(weak_curve(slope, h));
    let mut model = uniform(body, 1000.0, ratio, curve, Formulation::Full, material);
    model.materials.curve = vec![Materials::ELASTIC; elements];
    model.materials.curve[elements / 2] = 0;
    model
}

/// Simple shear: the top moves by `ux`, and nothing moves along y or z.
///
/// Only in shear is a chain of von Mises elements exact: stretched, the flowing one presses sideways on the others.
/// With the shear stress t the yield stress is t sqrt 3, and a plastic strain p shears by p sqrt 3.
fn shear(model: &Model, ux: f64) -> LoadCase {
    let mut case = LoadCase::default();
    let mut put = |node: u32, component: u8, displacement_mm: f64| {
        case.prescribed.push(Prescribed {
            node,
            component,
            displacement_mm,
        });
    };
    for node in nodes(model, |_| true) {
        put(node, 1, 0.0);
        put(node, 2, 0.0);
    }
    for node in nodes(model, |p| p[2] == 0.0) {
        put(node, 0, 0.0);
    }
    let top = nodes(model, |p| (p[2] - LENGTH_MM).abs() < 1e-9);
    for &node in &top {
        put(node, 0, ux);
    }
    case.monitors.push(NodeSet {
        name: "top".into(),
        nodes: top,
    });
    case
}

const SHEAR_MODULUS_MPA: f64 = 400.0;

/// Displacement and shear stress of an increment of a sheared chain, and the point of the closed form nearest to it on
/// the branch it is on: elastic, plateau or falling, last stress.
fn on_the_curve(increment: &Increment, full_mm: f64, slope: f64) -> (f64, f64, f64) {
    let root = 3f64.sqrt();
    let u = full_mm * increment.factor;
    let t = increment.reactions_n[0][0] / 9.0;
    let elastic = t * LENGTH_MM / SHEAR_MODULUS_MPA;
    let (first, last) = (YIELD_MPA / root, LAST_MPA / root);
    let error = if t < first * (1.0 - 1e-4) && t > last * (1.0 + 1e-4) && u > elastic + 1e-5 {
        u - elastic - root * stretch_mm(slope, root * t)
    } else if u <= elastic + 1e-5 {
        u - elastic
    } else {
        // A plateau: the stress alone is known, and the plastic stretch is bounded.
        let plastic = (u - elastic) / root;
        let inside = if t > 0.5 * (first + last) {
            plastic <= stretch_mm(slope, YIELD_MPA) + 1e-6
        } else {
            plastic >= stretch_mm(slope, LAST_MPA) - 1e-6
        };
        assert!(inside, "plastic stretch {plastic} at stress {t}");
        let expected = if t > 0.5 * (first + last) {
            first
        } else {
            last
        };
        (t - expected) / SHEAR_MODULUS_MPA * LENGTH_MM
    };
    (u, t, error)
}

#[test]
fn the_softening_branch_does_not_depend_on_the_number_of_elements() {
    // du/dt = L / G - 3 L / H of the specimen stays negative: no snap-back below H = 3 G = 1200.
    let slope = 600.0;
    for elements in [5, 10, 20, 40] {
        let model = chain(elements, slope, 0.25, MaterialModel::J2);
        let full_mm = 1.1;
        let case = shear(&model, full_mm);
        for path in [PathControl::LoadFactor, PathControl::Dissipation] {
            let stepping = Stepping {
                path,
                ..Stepping::equal(44)
            };
            let response = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap();
            assert_eq!(response.outcome, Outcome::TargetReached);
            let mut falling = 0;
            for increment in &response.increments {
                let (u, t, error) = on_the_curve(increment, full_mm, slope);
                assert!(
                    error.abs() < 1e-4,
                    "{elements} {path:?}: {error} mm off at {u}, {t}"
                );
                falling += usize::from(t > 1.2 && t < 5.7 && u > 0.35);
            }
            assert!(falling > 5, "{elements} {path:?}: {falling}");
        }
    }
}

#[test]
fn the_secant_bar_does_not_depend_on_the_number_of_elements() {
    let slope = 600.0;
    for elements in [5, 10, 20, 40] {
        let model = chain(elements, slope, 0.0, MaterialModel::Secant);
        let case = press(&model, -0.4, false);
        let stepping = Stepping::equal(40);
        let response = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap();
        assert_eq!(response.outcome, Outcome::TargetReached);
        for increment in &response.increments {
            // u = s L / E + L (plateau + (S - s) / H) on the falling branch.
            let u = 0.4 * increment.factor;
            let falling = (u - LENGTH_MM * (PLATEAU + YIELD_MPA / slope))
                / (LENGTH_MM * (1.0 / 1000.0 - 1.0 / slope));
            let exact = (1000.0 * u / LENGTH_MM)
                .min(YIELD_MPA)
                .min(falling.max(LAST_MPA));
            let found = -increment.reactions_n[0][2] / 9.0;
            assert!(
                (found - exact).abs() < 1e-3 * exact,
                "{elements} at {u}: {found} {exact}"
            );
        }
    }
}

#[test]
fn a_snap_back_is_followed_by_dissipation_and_jumped_over_by_the_load() {
    // L / G - 3 L / H > 0: the falling branch turns back from 0.32 mm to about 0.19 mm.
    let slope = 4000.0;
    for elements in [4, 10, 20] {
        let model = chain(elements, slope, 0.25, MaterialModel::J2);
        let case = shear(&model, 0.5);
        let stepping = Stepping {
            path: PathControl::Dissipation,
            ..Stepping::equal(50)
        };
        let response = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap();
        assert_eq!(response.outcome, Outcome::TargetReached);
        let curve: Vec<(f64, f64, f64)> = response
            .increments
            .iter()
            .map(|increment| on_the_curve(increment, 0.5, slope))
            .collect();
        for (u, t, error) in &curve {
            assert!(error.abs() < 1e-4, "{elements}: {error} mm off at {u}, {t}");
        }
        let turned = curve
            .windows(2)
            .filter(|pair| pair[1].0 < pair[0].0 - 1e-6)
            .count();
        assert!(turned >= 5, "{elements}: {turned} increments go back");
        let peak = curve.iter().map(|point| point.1).fold(0.0, f64::max);
        assert!((peak - YIELD_MPA / 3f64.sqrt()).abs() < 1e-5 * peak);
        // Under the load factor the same body falls to the last stress at once, and goes on.
        let jumped = analyse(&model, &case, &Stepping::equal(50), &mut |_| {
            Control::Continue
        })
        .unwrap();
        assert_eq!(jumped.outcome, Outcome::TargetReached);
        for increment in &jumped.increments {
            let (u, t, _) = on_the_curve(increment, 0.5, slope);
            let expected = match u {
                ..0.28867 => SHEAR_MODULUS_MPA * u / LENGTH_MM,
                ..0.32 => YIELD_MPA / 3f64.sqrt(),
                0.33.. => LAST_MPA / 3f64.sqrt(),
                _ => continue,
            };
            assert!(
                (t - expected).abs() < 1e-4 * expected,
                "{elements} at {u}: {t}"
            );
        }
    }
}

#[test]
fn path_following_is_refused_where_dissipation_is_not_defined() {
    let model = chain(4, 600.0, 0.0, MaterialModel::Secant);
    let case = press(&model, -0.4, false);
    let stepping = Stepping {
        path: PathControl::Dissipation,
        ..Stepping::equal(4)
    };
    let error = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap_err();
    assert!(error.to_string().contains("von Mises"), "{error}");
}

#[test]
fn the_end_says_whether_the_force_was_still_rising() {
    let end = |full_mm: f64, increments: usize| {
        let model = chain(10, 600.0, 0.25, MaterialModel::J2);
        let case = shear(&model, full_mm);
        let mut stepping = Stepping::equal(increments);
        stepping.watch = Some((0, [1.0, 0.0, 0.0]));
        stepping.stop_below = Some(0.9);
        let response = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap();
        response.outcome
    };
    // Yield at 0.2887 mm, plateau to 0.3233 mm.
    assert_eq!(end(0.28, 7), Outcome::StillRising);
    assert_eq!(end(0.32, 32), Outcome::TargetReached);
    assert_eq!(end(0.8, 80), Outcome::PeakPassed);
}

#[test]
fn increments_grow_are_counted_and_end_at_the_limit() {
    let model = chain(10, 600.0, 0.25, MaterialModel::J2);
    let case = shear(&model, 0.2);
    let mut stepping = Stepping::equal(1);
    stepping.first_fraction = 0.1;
    let run =
        |stepping: &Stepping| analyse(&model, &case, stepping, &mut |_| Control::Continue).unwrap();
    // Two of 0.1, two of 0.15, then what is left of two of 0.225 and one of 0.3375.
    let factors: Vec<f64> = run(&stepping).increments.iter().map(|i| i.factor).collect();
    assert_eq!(factors.len(), 7);
    for (found, expected) in factors.iter().zip([0.1, 0.2, 0.35, 0.5, 0.725, 0.95, 1.0]) {
        assert!((found - expected).abs() < 1e-9, "{factors:?}");
    }
    stepping.most_increments = 3;
    let response = run(&stepping);
    assert_eq!(response.outcome, Outcome::IncrementLimit);
    assert_eq!(response.increments.len(), 3);
}
