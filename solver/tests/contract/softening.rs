//! Past the peak: a bar with one weak element is followed down its softening branch.

use solver::{Control, Formulation, HardeningCurve, MaterialModel, Outcome, Stepping, analyse};

use crate::body::{block, press, uniform};

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
