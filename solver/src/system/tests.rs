//! The element tangents against differences of the element forces.

use super::*;
use crate::material::HardeningCurve;
use crate::model::Formulation;
use crate::operator::InstructionSet;
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
    let operator = body.operator(tangent, &[]);
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

/// An irregular body of boxes with many moduli and two Poisson's ratios.
fn graded(formulation: Formulation) -> Model {
    let (cells, spacing) = ([6usize, 5, 7], [0.78, 0.78, 0.67]);
    let kept = |c: &[usize; 3]| !(c[0] + 2 * c[1] + 3 * c[2]).is_multiple_of(5);
    let grid = |n: [usize; 3]| {
        (0..n[2]).flat_map(move |k| (0..n[1]).flat_map(move |j| (0..n[0]).map(move |i| [i, j, k])))
    };
    let element_cells: Vec<[usize; 3]> = grid(cells).filter(kept).collect();
    let points: Vec<[usize; 3]> = grid(cells.map(|n| n + 1))
        .filter(|p| {
            element_cells
                .iter()
                .any(|cell| (0..3).all(|a| p[a] == cell[a] || p[a] == cell[a] + 1))
        })
        .collect();
    let number = |p: [usize; 3]| points.iter().position(|q| *q == p).unwrap() as u32;
    let count = element_cells.len();
    Model {
        mesh: SolidMesh::Voxels {
            mesh: HexMesh {
                nodes_mm: points
                    .iter()
                    .map(|p| std::array::from_fn(|a| p[a] as f64 * spacing[a]))
                    .collect(),
                elements: element_cells
                    .iter()
                    .map(|cell| {
                        meshing::mesh::HEX_CORNERS
                            .map(|c| number(std::array::from_fn(|a| cell[a] + c[a])))
                    })
                    .collect(),
            },
            lattice: Lattice {
                spacing_mm: spacing,
                cells,
                element_cells: element_cells.iter().map(|c| c.map(|i| i as u32)).collect(),
                node_points: points.iter().map(|p| p.map(|i| i as u32)).collect(),
            },
        },
        materials: Materials {
            youngs_modulus_mpa: (0..count).map(|e| 3.0 + 700.0 * (e % 29) as f64).collect(),
            poissons_ratio: (0..count)
                .map(|e| if e % 3 == 0 { 0.4 } else { 0.3 })
                .collect(),
            curve: vec![Materials::ELASTIC; count],
            curves: Vec::new(),
        },
        formulation,
        material_model: MaterialModel::Linear,
    }
}

#[test]
fn the_operator_is_the_assembled_matrix_with_every_instruction_set() {
    let best = InstructionSet::detect();
    let sets: &[InstructionSet] = match best {
        InstructionSet::Portable => &[InstructionSet::Portable],
        InstructionSet::Avx2Fma => &[InstructionSet::Portable, InstructionSet::Avx2Fma],
        InstructionSet::Avx512 => &[
            InstructionSet::Portable,
            InstructionSet::Avx2Fma,
            InstructionSet::Avx512,
        ],
    };
    for formulation in [
        Formulation::Full,
        Formulation::BBar,
        Formulation::Incompatible,
    ] {
        let model = graded(formulation);
        let nodes = model.mesh.nodes_mm().len();
        let mut triplets = sprs::TriMat::new((3 * nodes, 3 * nodes));
        for element in 0..model.mesh.element_count() {
            let labels = <[u32; 8]>::try_from(model.mesh.element(element)).unwrap();
            let shape = crate::element::HexElement::new(
                labels.map(|node| model.mesh.nodes_mm()[node as usize]),
                formulation,
            )
            .unwrap();
            let matrix = shape.elastic_stiffness(
                model.materials.youngs_modulus_mpa[element],
                model.materials.poissons_ratio[element],
            );
            let corners = crate::element::hex8::corners_from_vtk(labels);
            let dof = |local: usize| local / 8 * nodes + corners[local % 8] as usize;
            for row in 0..24 {
                for column in 0..24 {
                    triplets.add_triplet(dof(row), dof(column), matrix[24 * row + column]);
                }
            }
        }
        let assembled: sprs::CsMat<f64> = triplets.to_csr();
        let x: Vec<f64> = (0..3 * nodes)
            .map(|i| ((37 * i) % 101) as f64 / 101.0 - 0.5)
            .collect();
        let mut expected = vec![0.0; 3 * nodes];
        sprs::prod::mul_acc_mat_vec_csr(assembled.view(), &x[..], &mut expected[..]);
        let size = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
        let compare = |found: &[f64], what: &str| {
            let error = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                error < 1e-12 * size,
                "{formulation:?} {what}: {}",
                error / size
            );
        };
        let mut system = System::new(&model, &LoadCase::default()).unwrap();
        for &set in sets {
            if let Body::Lattice(body) = &mut system.body {
                body.instructions = set;
            }
            let at = system.evaluate(&vec![0.0; 3 * nodes], Want::TRUE_TANGENT);
            let (Body::Lattice(body), Tangent::Lattice(tangent)) = (&system.body, &at.tangent)
            else {
                panic!("boxes are a lattice");
            };
            let operator = body.operator(tangent, &[]);
            let mut found = vec![0.0; 3 * nodes];
            operator.apply_unmasked(&x, &mut found);
            compare(&found, &format!("{set:?}"));
            // The forces are summed by the same kernels.
            compare(
                &system.evaluate(&x, Want::Forces).force,
                &format!("forces {set:?}"),
            );
        }
        let general = Model {
            mesh: model.mesh.clone().without_lattice(),
            ..model.clone()
        };
        let system = System::new(&general, &LoadCase::default()).unwrap();
        let at = system.evaluate(&x, Want::TRUE_TANGENT);
        compare(&at.force, "forces of the general path");
        let (Body::General(body), Tangent::Unassembled { u, want }) = (&system.body, &at.tangent)
        else {
            panic!("without its lattice a body is general");
        };
        let mut assembled = Assembled::default();
        for _ in 0..2 {
            // The second time in the memory of the first.
            body.assemble(&general, u, &system.committed, *want, &mut assembled);
        }
        let operator = crate::linear::BlockOperator {
            pattern: &body.pattern,
            matrix: &assembled.matrix,
            constrained: &[],
        };
        let mut found = vec![0.0; 3 * nodes];
        operator.apply_unmasked(&x, &mut found);
        compare(&found, "block rows");
    }
}
