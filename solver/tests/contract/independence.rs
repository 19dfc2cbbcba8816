//! What must not matter: the path through the code, the number of threads, the number of increments.

use solver::{Control, Formulation, HardeningCurve, MaterialModel, Response, Stepping, analyse};

use crate::body::{block, press, uniform};

/// A notched, graded block that yields in part; `fineness` cuts every cell along each axis.
fn notched(
    fineness: usize,
    formulation: Formulation,
    law: MaterialModel,
    increments: usize,
    lattice: bool,
    tolerance: f64,
) -> Response {
    let fine = fineness as f64;
    let body = block(
        [8, 4, 9].map(|n| n * fineness),
        [1.5, 1.2, 1.4].map(|h| h / fine),
        |c| !(c[0] >= 5 * fineness && (3 * fineness..6 * fineness).contains(&c[2])),
    );
    let mut model = uniform(
        body,
        2000.0,
        0.3,
        Some(HardeningCurve::perfect(12.0).unwrap()),
        formulation,
        law,
    );
    for (element, modulus) in model.materials.youngs_modulus_mpa.iter_mut().enumerate() {
        *modulus *= 1.0 + (element % 7) as f64;
    }
    if !lattice {
        model.mesh = model.mesh.without_lattice();
    }
    let case = press(&model, -0.15, false);
    let mut stepping = Stepping::equal(increments);
    stepping.tolerance = tolerance;
    stepping.linear_tolerance = tolerance.min(1e-8);
    analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap()
}

fn last_force(response: &Response) -> f64 {
    response.increments.last().unwrap().reactions_n[0][2]
}

#[test]
fn the_lattice_path_equals_the_general_one() {
    for formulation in [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ] {
        for law in [MaterialModel::Linear, MaterialModel::J2] {
            // 8500 unknowns: the general path iterates too.
            let (fast, general) = (
                notched(2, formulation, law, 3, true, 1e-11),
                notched(2, formulation, law, 3, false, 1e-11),
            );
            let (a, b) = (last_force(&fast), last_force(&general));
            if law == MaterialModel::Linear {
                // A factorisation counts as one iteration: it would hide a preconditioner that fails.
                let iterations = general.linear_iterations;
                assert!((5..60).contains(&iterations), "{iterations}");
            }
            assert!(
                (a - b).abs() < 1e-9 * b.abs(),
                "{formulation:?} {law:?}: {a} {b}"
            );
        }
        // The tangent of the secant model is not exact, and its iteration slow.
        let law = MaterialModel::Secant;
        let (fast, general) = (
            notched(1, formulation, law, 6, true, 1e-9),
            notched(1, formulation, law, 6, false, 1e-9),
        );
        let (a, b) = (last_force(&fast), last_force(&general));
        assert!(
            (a - b).abs() < 1e-7 * b.abs(),
            "{formulation:?} {law:?}: {a} {b}"
        );
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (fineness, lattice) in [(4, true), (2, false)] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            // 16128 elements on the lattice and 2016 beside it: blocks, stencils, block rows and vectors are all long
            // enough to be worked on in parallel.
            pool.install(|| {
                notched(
                    fineness,
                    Formulation::BBar,
                    MaterialModel::J2,
                    2,
                    lattice,
                    1e-6,
                )
            })
        };
        let one = run(1);
        for threads in [2, 8] {
            assert_eq!(one, run(threads), "{threads} threads, lattice {lattice}");
        }
    }
}

#[test]
fn halving_the_increments_changes_little() {
    let (coarse, fine) = (
        notched(1, Formulation::BBar, MaterialModel::J2, 8, true, 1e-6),
        notched(1, Formulation::BBar, MaterialModel::J2, 16, true, 1e-6),
    );
    let (a, b) = (last_force(&coarse), last_force(&fine));
    assert!((a - b).abs() < 0.01 * b.abs(), "{a} {b}");
}
