//! Small bodies and load cases for the tests.

use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, NodeSet};
use solver::{
    Formulation, HardeningCurve, LoadCase, MaterialModel, Materials, Model, Prescribed, SolidMesh,
};

/// A block of `cells` boxes of `spacing` mm with one material, on a lattice.
pub fn block(
    cells: [usize; 3],
    spacing: [f64; 3],
    keep: impl Fn([usize; 3]) -> bool,
) -> (HexMesh, Lattice) {
    let mut element_cells = Vec::new();
    let points = cells.map(|n| n + 1);
    let mut number = vec![u32::MAX; points.iter().product()];
    let at = |p: [usize; 3]| p[0] + points[0] * (p[1] + points[1] * p[2]);
    for k in 0..cells[2] {
        for j in 0..cells[1] {
            for i in 0..cells[0] {
                if keep([i, j, k]) {
                    element_cells.push([i as u32, j as u32, k as u32]);
                    for c in HEX_CORNERS {
                        number[at([i + c[0], j + c[1], k + c[2]])] = 0;
                    }
                }
            }
        }
    }
    let mut node_points = Vec::new();
    let mut nodes_mm = Vec::new();
    for k in 0..points[2] {
        for j in 0..points[1] {
            for i in 0..points[0] {
                if number[at([i, j, k])] == 0 {
                    number[at([i, j, k])] = nodes_mm.len() as u32;
                    node_points.push([i as u32, j as u32, k as u32]);
                    nodes_mm.push([
                        i as f64 * spacing[0],
                        j as f64 * spacing[1],
                        k as f64 * spacing[2],
                    ]);
                }
            }
        }
    }
    let elements = element_cells
        .iter()
        .map(|cell| {
            HEX_CORNERS.map(|c| number[at(std::array::from_fn(|a| cell[a] as usize + c[a]))])
        })
        .collect();
    (
        HexMesh { nodes_mm, elements },
        Lattice {
            spacing_mm: spacing,
            cells,
            element_cells,
            node_points,
        },
    )
}

/// A model with the same material everywhere; `curve` = `None` stays elastic.
pub fn uniform(
    (mesh, lattice): (HexMesh, Lattice),
    modulus: f64,
    ratio: f64,
    curve: Option<HardeningCurve>,
    formulation: Formulation,
    material_model: MaterialModel,
) -> Model {
    let n = mesh.elements.len();
    Model {
        mesh: SolidMesh::Voxels { mesh, lattice },
        materials: Materials {
            youngs_modulus_mpa: vec![modulus; n],
            poissons_ratio: vec![ratio; n],
            curve: vec![
                if curve.is_some() {
                    0
                } else {
                    Materials::ELASTIC
                };
                n
            ],
            curves: curve.into_iter().collect(),
        },
        formulation,
        material_model,
    }
}

/// Nodes whose position satisfies a condition.
pub fn nodes(model: &Model, condition: impl Fn([f64; 3]) -> bool) -> Vec<u32> {
    (0..model.mesh.nodes_mm().len() as u32)
        .filter(|&n| condition(model.mesh.nodes_mm()[n as usize]))
        .collect()
}

/// Extent of the body along an axis, mm.
pub fn extent(model: &Model, axis: usize) -> [f64; 2] {
    let along = model.mesh.nodes_mm().iter().map(|p| p[axis]);
    [
        along.clone().fold(f64::MAX, f64::min),
        along.fold(f64::MIN, f64::max),
    ]
}

/// Pushes the upper z face by `uz` while the lower one is held, both only along z; three point constraints
/// remove the rigid motions. The watched monitor is the upper face. `confined` also holds all side faces.
pub fn press(model: &Model, uz: f64, confined: bool) -> LoadCase {
    let mut case = LoadCase::default();
    let [low, high] = extent(model, 2);
    let mut put = |node: u32, component: u8, displacement_mm: f64| {
        case.prescribed.push(Prescribed {
            node,
            component,
            displacement_mm,
        });
    };
    for node in nodes(model, |p| p[2] == low) {
        put(node, 2, 0.0);
    }
    let top = nodes(model, |p| p[2] == high);
    for &node in &top {
        put(node, 2, uz);
    }
    let ([x0, x1], [y0, y1]) = (extent(model, 0), extent(model, 1));
    if confined {
        for node in nodes(model, |p| p[0] == x0 || p[0] == x1) {
            put(node, 0, 0.0);
        }
        for node in nodes(model, |p| p[1] == y0 || p[1] == y1) {
            put(node, 1, 0.0);
        }
    } else {
        for node in nodes(model, |p| p == [x0, y0, low]) {
            put(node, 0, 0.0);
            put(node, 1, 0.0);
        }
        for node in nodes(model, |p| p == [x1, y0, low]) {
            put(node, 1, 0.0);
        }
    }
    case.monitors.push(NodeSet {
        name: "top".into(),
        nodes: top,
    });
    case
}
