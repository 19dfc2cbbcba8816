//! The element tangents against differences of the element forces.

use super::*;
use crate::material::HardeningCurve;
use crate::model::Formulation;
use crate::operator::LatticeOperator;
use meshing::{HexMesh, Lattice};

fn one_element(formulation: Formulation, material_model: MaterialModel) -> Model {
    let spacing = [1.0, 1.2, 0.8];
    Model {
        mesh: SolidMesh::Voxels {
            mesh: HexMesh {
                nodes_mm: (0..8)
                    .map(|node| std::array::from_fn(|a| (node >> a & 1) as f64 * spacing[a]))
                    .collect(),
                elements: vec![[0, 1, 3, 2, 4, 5, 7, 6]],
            },
            lattice: Lattice {
                spacing_mm: spacing,
                cells: [1; 3],
                element_cells: vec![[0; 3]],
                node_points: (0..8)
                    .map(|node| [node & 1, node >> 1 & 1, node >> 2])
                    .collect(),
            },
        },
        materials: Materials {
            youngs_modulus_mpa: vec![1500.0],
            poissons_ratio: vec![0.3],
            curve: vec![0],
            // Plateau, softening, residual.
            curves: vec![HardeningCurve::new(vec![[0.0, 9.0], [0.01, 9.0], [0.1, 4.0]]).unwrap()],
        },
        formulation,
        material_model,
    }
}

/// A displacement without symmetry.
fn displacement(size: f64) -> Vec<f64> {
    (0..24)
        .map(|i| size * ((i * i + 3 * i) % 17) as f64 / 17.0)
        .collect()
}

/// The tangent of a one-element system, row by row, by nodes of the mesh.
fn matrix(system: &System, at: &Evaluation) -> Vec<f64> {
    let (Body::Lattice(body), Tangent::Lattice(tangent)) = (&system.body, &at.tangent) else {
        panic!("a box is a lattice");
    };
    let operator = LatticeOperator {
        topology: &body.topology,
        tables: &body.tables,
        moduli: &tangent.moduli,
        moduli_single: tangent.moduli.iter().map(|&m| m as f32).collect(),
        flow: &tangent.flow,
        flow_shape: body.flow_shape.as_ref(),
        dense: &tangent.dense,
        constrained: &[],
        instructions: body.instructions,
    };
    let mut matrix = vec![0.0; 576];
    for (column, line) in matrix.chunks_exact_mut(24).enumerate() {
        let mut unit = [0.0f64; 24];
        unit[column] = 1.0;
        operator.apply_unmasked(&unit, line);
    }
    matrix
}

/// Largest difference of the element tangent and central differences of the force, over the largest entry.
fn tangent_error(system: &System, u: &[f64]) -> f64 {
    let at = system.evaluate(u, Want::TRUE_TANGENT);
    let found = matrix(system, &at);
    if let (Body::Lattice(body), Tangent::Lattice(at)) = (&system.body, &at.tangent)
        && let Some(shape) = &body.flow_shape
    {
        // What the coarse levels are made of is what the operator applies.
        let tangent = at.flow[0].tangent(0);
        let (whole, diagonal) = (shape.matrix(&tangent), shape.diagonal(&tangent));
        let largest = found.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for i in 0..576 {
            assert!(
                (f64::from(whole[i]) - found[i]).abs() < 1e-5 * largest,
                "{i}"
            );
        }
        for i in 0..24 {
            assert!(
                (f64::from(diagonal[i]) - found[25 * i]).abs() < 1e-5 * largest,
                "{i}"
            );
        }
    }
    let step = 1e-7;
    let (mut error, mut largest) = (0.0f64, 0.0f64);
    for column in 0..24 {
        let moved = |sign: f64| {
            let mut v = u.to_vec();
            v[column] += sign * step;
            system.evaluate(&v, Want::Forces).force
        };
        let (up, down) = (moved(1.0), moved(-1.0));
        for row in 0..24 {
            let slope = (up[row] - down[row]) / (2.0 * step);
            let entry = found[24 * column + row];
            error = error.max((slope - entry).abs());
            largest = largest.max(slope.abs());
        }
    }
    error / largest
}

#[test]
fn element_tangent_is_the_derivative_of_the_force() {
    for formulation in [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ] {
        let model = one_element(formulation, MaterialModel::J2);
        let mut system = System::new(&model, &LoadCase::default()).unwrap();
        // Plateau from the virgin state, then softening from a committed one.
        for size in [0.03, 0.12] {
            let u = displacement(size);
            let error = tangent_error(&system, &u);
            assert!(error < 1e-5, "{formulation:?} size {size}: {error}");
            system.commit(&u);
        }
    }
}

#[test]
fn secant_tangent_is_exact_for_a_deviatoric_uniform_strain() {
    // The symmetric tangent leaves the released pressure out; in simple shear there is none.
    let model = one_element(Formulation::Full, MaterialModel::Secant);
    let system = System::new(&model, &LoadCase::default()).unwrap();
    let mut u = vec![0.0; 24];
    for node in 0..8 {
        u[node] = 0.05 * model.mesh.nodes_mm()[node][2];
    }
    let at = system.evaluate(&u, Want::TRUE_TANGENT);
    assert_eq!(at.phases, [0, 0, 1, 0]);
    let shear = |size: f64| {
        let mut v = vec![0.0; 24];
        for node in 0..8 {
            v[node] = size * model.mesh.nodes_mm()[node][2];
        }
        v
    };
    let difference = |sign: f64| {
        system
            .evaluate(&shear(0.05 + sign * 1e-7), Want::Forces)
            .force
    };
    let (up, down) = (difference(1.0), difference(-1.0));
    let direction = shear(1.0);
    let matrix = matrix(&system, &at);
    for row in 0..24 {
        let slope = (up[row] - down[row]) / 2e-7;
        let found: f64 = (0..24)
            .map(|column| matrix[24 * column + row] * direction[column])
            .sum();
        assert!(
            (slope - found).abs() < 1e-4 * 600.0,
            "{row}: {slope} {found}"
        );
    }
}
