//! The homogeneous beam of Sas, Ohs, Tanck and van Lenthe (2020): 15 x 15 x 25 voxels of 2 mm, ash density
//! 0.5 g/cm³, trabecular, nu 0.3, compressed along z with free sides. Reference: Keyak's (2005) uniaxial curve
//! for 3 mm elements, stretched to the beam (force = stress * 900 mm², displacement = strain * 50 mm).

use solver::{Control, Formulation, HardeningCurve, MaterialModel, Outcome, Stepping, analyse};

use crate::body::{block, press, uniform};

/// Young's modulus and curve from the printed law: E 14900 rho^1.86, S 102 rho^1.8, minimum 43.1 rho^1.81,
/// plateau (0.00189 + 0.0241 rho) 15/3, specimen softening -2080 rho^1.45 corrected from 15 mm to 3 mm.
fn law() -> (f64, HardeningCurve) {
    let rho = 0.5f64;
    let e = 14900.0 * rho.powf(1.86);
    let (s, minimum) = (102.0 * rho.powf(1.8), 43.1 * rho.powf(1.81));
    let specimen = -2080.0 * rho.powf(1.45);
    let element = 3.0 * e * specimen / (15.0 * e - 12.0 * specimen);
    let hardening = e * element / (e - element);
    let plateau = (0.00189 + 0.0241 * rho) * 5.0;
    let end = plateau + (s - minimum) / -hardening;
    (
        e,
        HardeningCurve::new(vec![[0.0, s], [plateau, s], [end, minimum]]).unwrap(),
    )
}

/// u mm, exact force kN, force of the explicit scheme with steps of 0.1, 0.025 and 0.005 mm.
const TABLE: [(f64, f64, [f64; 3]); 7] = [
    (0.3, 22.1648, [22.1648, 22.1648, 22.1648]),
    (1.0, 26.3626, [29.2918, 27.0386, 26.4951]),
    (4.0, 25.9851, [26.8962, 26.2086, 26.0296]),
    (6.0, 21.2118, [21.8141, 21.3605, 21.2415]),
    (8.0, 16.4386, [16.8884, 16.5500, 16.4608]),
    (10.0, 11.6653, [12.0242, 11.7544, 11.6831]),
    (12.0, 11.0626, [11.1555, 11.0857, 11.0672]),
];

/// Force (kN) at each load factor of a run that compresses by `uz` mm.
fn column(
    cells: [usize; 3],
    model: MaterialModel,
    uz: f64,
    increments: usize,
) -> (Vec<(f64, f64)>, Outcome) {
    let (e, curve) = law();
    let spacing = [
        30.0 / cells[0] as f64,
        30.0 / cells[1] as f64,
        50.0 / cells[2] as f64,
    ];
    let body = uniform(
        block(cells, spacing, |_| true),
        e,
        0.3,
        Some(curve),
        Formulation::Full,
        model,
    );
    let case = press(&body, -uz, false);
    let mut stepping = Stepping::equal(increments);
    stepping.watch = Some((0, [0.0, 0.0, -1.0]));
    let response = analyse(&body, &case, &stepping, &mut |_| Control::Continue).unwrap();
    let rows = response
        .increments
        .iter()
        .map(|i| (i.factor * uz, -i.reactions_n[0][2] / 1000.0))
        .collect();
    (rows, response.outcome)
}

fn at(rows: &[(f64, f64)], u: f64) -> f64 {
    rows.iter()
        .find(|row| (row.0 - u).abs() < 1e-9)
        .map(|row| row.1)
        .expect("no increment at this displacement")
}

#[test]
fn one_element_follows_the_whole_curve() {
    for model in [MaterialModel::J2, MaterialModel::Secant] {
        let (rows, outcome) = column([1, 1, 1], model, 12.0, 120);
        assert_eq!(outcome, Outcome::TargetReached);
        for (u, exact, _) in TABLE {
            let found = at(&rows, u);
            assert!(
                (found - exact).abs() < 6e-5 * exact,
                "{model:?} at {u} mm: {found} {exact}"
            );
        }
        let peak = rows.iter().map(|row| row.1).fold(0.0, f64::max);
        assert!(
            (peak - 26.3626).abs() < 6e-5 * peak,
            "{model:?}: peak {peak}"
        );
    }
}

#[test]
fn the_explicit_scheme_overshoots_as_published() {
    for (column_number, increments) in [(0, 120), (1, 480), (2, 2400)] {
        let (rows, _) = column([1, 1, 1], MaterialModel::SecantExplicit, 12.0, increments);
        for (u, _, overshoot) in TABLE {
            let found = at(&rows, u);
            let expected = overshoot[column_number];
            assert!(
                (found - expected).abs() < 6e-5 * expected,
                "{increments} steps at {u} mm: {found} {expected}"
            );
        }
    }
}

#[test]
fn the_full_mesh_is_uniform_to_the_end_of_the_plateau() {
    // To 3.8 mm in steps of 0.1 mm, then on: the softening beam is unstable and must end in a named way.
    for model in [MaterialModel::J2, MaterialModel::Secant] {
        let (rows, outcome) = column([15, 15, 25], model, 3.8, 38);
        assert_eq!(outcome, Outcome::TargetReached, "{model:?}");
        for (u, force) in rows {
            let exact = (73.8827 * u).min(26.3626);
            assert!(
                (force - exact).abs() < 1e-3 * exact,
                "{model:?} at {u} mm: {force} {exact}"
            );
        }
    }
}

#[test]
fn beyond_the_plateau_the_mesh_localises_and_ends_in_a_named_way() {
    // A homogeneous softening beam has no stable uniform state: round-off picks the layer that fails.
    let (rows, outcome) = column([15, 15, 25], MaterialModel::J2, 4.6, 46);
    let peak = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    assert!((peak - 26.3626).abs() < 1e-3 * peak, "peak {peak}");
    let last = rows.last().unwrap();
    println!("{outcome:?} at {last:?}");
    match outcome {
        Outcome::PeakPassed => assert!(last.1 < 0.9 * peak),
        Outcome::TargetReached => assert!((last.0 - 4.6).abs() < 1e-9),
        Outcome::StepTooSmall { factor, residual } => {
            assert!(factor > 3.8 / 4.6 && residual.is_finite())
        }
        other => panic!("unexpected end {other:?}"),
    }
}

#[test]
fn the_explicit_scheme_overshoots_on_the_full_mesh_too() {
    let (rows, _) = column([15, 15, 25], MaterialModel::SecantExplicit, 3.8, 38);
    for (u, overshoot) in [(0.3, 22.1648), (1.0, 29.2918)] {
        assert!(
            (at(&rows, u) - overshoot).abs() < 1e-3 * overshoot,
            "at {u}: {}",
            at(&rows, u)
        );
    }
}
