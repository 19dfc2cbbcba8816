//! Patch test of MacNeal and Harder (1985), 3-D, and bars with a known answer.
//!
//! Mesh: a unit cube of seven distorted hexahedra. Boundary nodes follow a linear field; the strain must
//! be constant to round-off. An element that integrates its modes wrongly fails here.

use meshing::HexMesh;
use solver::{
    Control, Formulation, LoadCase, MaterialModel, Materials, Model, Prescribed, SolidMesh,
    Stepping, analyse,
};

use crate::body::{block, press, uniform};

const FORMULATIONS: [Formulation; 3] = [
    Formulation::Full,
    Formulation::BBar,
    Formulation::Incompatible,
];

/// Nodes 0..8 inside, 8..16 the corners of the unit cube, both in VTK order.
const NODES: [[f64; 3]; 16] = [
    [0.249, 0.342, 0.192],
    [0.826, 0.288, 0.288],
    [0.850, 0.649, 0.263],
    [0.273, 0.750, 0.230],
    [0.320, 0.186, 0.643],
    [0.677, 0.305, 0.683],
    [0.788, 0.693, 0.644],
    [0.165, 0.745, 0.702],
    [0.0, 0.0, 0.0],
    [1.0, 0.0, 0.0],
    [1.0, 1.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 0.0, 1.0],
    [1.0, 1.0, 1.0],
    [0.0, 1.0, 1.0],
];
const ELEMENTS: [[u32; 8]; 7] = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [8, 9, 10, 11, 0, 1, 2, 3],
    [4, 5, 6, 7, 12, 13, 14, 15],
    [8, 9, 1, 0, 12, 13, 5, 4],
    [9, 10, 2, 1, 13, 14, 6, 5],
    [10, 11, 3, 2, 14, 15, 7, 6],
    [11, 8, 0, 3, 15, 12, 4, 7],
];

#[test]
fn constant_strain_on_distorted_hexahedra() {
    for formulation in FORMULATIONS {
        let model = Model {
            mesh: SolidMesh::Hex8(HexMesh {
                nodes_mm: NODES.to_vec(),
                elements: ELEMENTS.to_vec(),
            }),
            materials: Materials {
                youngs_modulus_mpa: vec![1e6; 7],
                poissons_ratio: vec![0.25; 7],
                curve: vec![Materials::ELASTIC; 7],
                curves: Vec::new(),
            },
            formulation,
            material_model: MaterialModel::Linear,
        };
        let mut case = LoadCase::default();
        for node in 8..16u32 {
            let [x, y, z] = NODES[node as usize];
            for (component, value) in [2.0 * x + y + z, x + 2.0 * y + z, x + y + 2.0 * z]
                .into_iter()
                .enumerate()
            {
                case.prescribed.push(Prescribed {
                    node,
                    component: component as u8,
                    displacement_mm: 0.5e-3 * value,
                });
            }
        }
        analyse(&model, &case, &Stepping::equal(1), &mut |state| {
            for element in 0..7 {
                let fields = state.element(element);
                for row in 0..6 {
                    assert!(
                        (fields.strain[row] - 1e-3).abs() < 1e-14,
                        "{formulation:?} {element}: {:?}",
                        fields.strain
                    );
                    let stress = if row < 3 { 2000.0 } else { 400.0 };
                    assert!(
                        (fields.stress_mpa[row] - stress).abs() < 1e-8,
                        "{formulation:?}: {:?}",
                        fields.stress_mpa
                    );
                }
            }
            Control::Continue
        })
        .unwrap();
    }
}

#[test]
fn bars_meet_their_closed_forms_on_both_paths() {
    for formulation in FORMULATIONS {
        // Uniaxial: E A u / L. Confined: the constrained modulus in place of E.
        for (confined, force) in [(false, 500.0), (true, 673.0769230769)] {
            let mut model = uniform(
                block([5, 4, 8], [2.0, 2.5, 2.5], |_| true),
                1000.0,
                0.3,
                None,
                formulation,
                MaterialModel::Linear,
            );
            let case = press(&model, -0.1, confined);
            for lattice in [true, false] {
                if !lattice {
                    model.mesh = model.mesh.without_lattice();
                }
                let response = analyse(&model, &case, &Stepping::equal(1), &mut |_| {
                    Control::Continue
                })
                .unwrap();
                let found = -response.increments[0].reactions_n[0][2];
                assert!(
                    (found - force).abs() < 1e-5,
                    "{formulation:?} confined {confined} lattice {lattice}: {found}"
                );
            }
        }
    }
}
