//! HYPLAS example 7.5 (de Souza Neto, Peric, Owen 2008): one element in plane strain, von Mises with linear
//! hardening. E 1500, nu 0.25, yield stress 9, hardening modulus 800; the upper edge of a unit square goes
//! down by k d, the right side is free. Reference: the stresses and plastic strains of the book's program.

use solver::{
    Control, Formulation, HardeningCurve, LoadCase, MaterialModel, Prescribed, Stepping, analyse,
};

use crate::body::{block, nodes, uniform};

const STEP: f64 = 0.006240377207533829;
/// k, sigma_yy, sigma_zz, equivalent plastic strain.
const TABLE: [(f64, f64, f64, f64); 5] = [
    (1.0, -9.984603532054, -2.496150883014, 0.0),
    (2.0, -13.98625002482, -4.672438536528, 0.004165950446951),
    (3.0, -17.93461000239, -6.609745592748, 0.008387168334146),
    (4.0, -21.86859179698, -8.428114152557, 0.01262982370547),
    (5.0, -25.79776552780, -10.18084555327, 0.01688281158043),
];

#[test]
fn stresses_and_plastic_strain_of_every_step() {
    let curve = HardeningCurve::new(vec![[0.0, 9.0], [1.0, 809.0]]).unwrap();
    for formulation in [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ] {
        for lattice in [true, false] {
            let body = block([1, 1, 1], [1.0; 3], |_| true);
            let mut model = uniform(
                body,
                1500.0,
                0.25,
                Some(curve.clone()),
                formulation,
                MaterialModel::J2,
            );
            if !lattice {
                model.mesh = model.mesh.without_lattice();
            }
            let mut case = LoadCase::default();
            let mut put = |nodes: Vec<u32>, component, displacement_mm| {
                for node in nodes {
                    case.prescribed.push(Prescribed {
                        node,
                        component,
                        displacement_mm,
                    });
                }
            };
            put(nodes(&model, |p| p[0] == 0.0), 0, 0.0);
            put(nodes(&model, |p| p[1] == 0.0), 1, 0.0);
            put(nodes(&model, |p| p[1] == 1.0), 1, -5.0 * STEP);
            put(nodes(&model, |_| true), 2, 0.0);
            case.monitors.push(meshing::NodeSet {
                name: "top".into(),
                nodes: nodes(&model, |p| p[1] == 1.0),
            });
            let mut stepping = Stepping::equal(5);
            stepping.tolerance = 1e-12;
            let mut rows = Vec::new();
            analyse(&model, &case, &stepping, &mut |state| {
                let fields = state.element(0);
                rows.push((
                    fields.stress_mpa[1],
                    fields.stress_mpa[2],
                    fields.equivalent_plastic_strain,
                ));
                Control::Continue
            })
            .unwrap();
            assert_eq!(rows.len(), TABLE.len());
            for ((k, yy, zz, p), found) in TABLE.iter().zip(&rows) {
                assert!(
                    (found.0 - yy).abs() < 1e-9,
                    "{formulation:?} k {k}: {} {yy}",
                    found.0
                );
                assert!(
                    (found.1 - zz).abs() < 1e-9,
                    "{formulation:?} k {k}: {} {zz}",
                    found.1
                );
                assert!(
                    (found.2 - p).abs() < 1e-12,
                    "{formulation:?} k {k}: {} {p}",
                    found.2
                );
            }
        }
    }
}

#[test]
fn newton_converges_quadratically() {
    // The same element with the exact (direct) linear solver, in one plastic step that starts from the tangent's guess.
    let curve = HardeningCurve::new(vec![[0.0, 9.0], [1.0, 809.0]]).unwrap();
    let body = block([2, 2, 1], [1.0; 3], |c| c != [1, 1, 0]);
    let mut model = uniform(
        body,
        1500.0,
        0.25,
        Some(curve),
        Formulation::Full,
        MaterialModel::J2,
    );
    model.mesh = model.mesh.without_lattice();
    let case = crate::body::press(&model, -0.02, false);
    let mut case = case;
    for node in nodes(&model, |p| p[0] == 0.0 && p[2] == 1.0) {
        case.prescribed.push(Prescribed {
            node,
            component: 0,
            displacement_mm: 0.01,
        });
    }
    let mut stepping = Stepping::equal(1);
    stepping.tolerance = 1e-13;
    let response = analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap();
    let history = &response.increments[0].residual_history;
    // Quadratic: each residual is bounded by one constant times the square of the one before, down to round-off.
    let above: Vec<f64> = history.iter().copied().filter(|r| *r > 1e-14).collect();
    assert!(above.len() >= 3, "too few iterations to judge: {history:?}");
    for pair in above.windows(2) {
        assert!(
            pair[1] < 0.5 * pair[0] * pair[0],
            "not quadratic: {history:?}"
        );
    }
}
