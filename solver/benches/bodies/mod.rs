//! Bodies for the benches: a femur-like voxel body with a graded density, and a cylinder of quadratic tetrahedra.

use std::collections::HashMap;

use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, Mesh, NodeSet};
use solver::{
    Formulation, HardeningCurve, LoadCase, MaterialModel, Materials, Model, Prescribed, SolidMesh,
};

/// What elements do after their yield stress.
#[derive(Clone, Copy, PartialEq)]
pub enum Law {
    Linear,
    Perfect,
    Softening,
}

const HEAD: [f64; 3] = [44.0, 7.0, 119.0];
const HEAD_RADIUS: f64 = 24.0;
const BINS: usize = 21;

/// Depth inside a cone with round ends from `a` to `b`, mm.
fn capsule(p: [f64; 3], a: [f64; 3], b: [f64; 3], ra: f64, rb: f64) -> f64 {
    let d: [f64; 3] = std::array::from_fn(|i| b[i] - a[i]);
    let square: f64 = d.iter().map(|v| v * v).sum();
    let along: f64 = (0..3).map(|i| (p[i] - a[i]) * d[i]).sum();
    let t = (along / square).clamp(0.0, 1.0);
    let away: f64 = (0..3).map(|i| (p[i] - a[i] - t * d[i]).powi(2)).sum();
    ra + (rb - ra) * t - away.sqrt()
}

fn distance(p: [f64; 3], q: [f64; 3]) -> f64 {
    (0..3).map(|i| (p[i] - q[i]).powi(2)).sum::<f64>().sqrt()
}

/// Bin of the density (0.20 to 1.20 g/cm³ in steps of 0.05); `None` outside of the body.
fn bin(p: [f64; 3]) -> Option<usize> {
    let depth = [
        capsule(p, [0.0, 0.0, -20.0], [0.0, 0.0, 62.0], 15.0, 15.0),
        capsule(p, [0.0, 0.0, 62.0], [2.0, 0.0, 84.0], 15.0, 20.0),
        capsule(p, [0.0, 0.0, 84.0], [-4.0, 0.0, 98.0], 20.0, 17.0),
        capsule(p, [2.0, 0.0, 84.0], [40.0, 6.0, 116.0], 18.0, 16.0),
        HEAD_RADIUS - distance(p, HEAD),
    ]
    .into_iter()
    .fold(f64::MIN, f64::max);
    if depth <= 0.0 {
        return None;
    }
    let cortex = (5.0 - (p[2] - 50.0) / 30.0 * 3.5).clamp(1.5, 5.0);
    let density = 0.2
        + 1.0 / (1.0 + ((depth - cortex) / 0.8).exp())
        + 0.25 * (-(distance(p, HEAD) / 14.0).powi(2)).exp();
    Some(((density.clamp(0.2, 1.2) - 0.2) / 0.05).round() as usize)
}

/// Plastic strain and yield stress by density: Keyak's trabecular law of a specimen, without regularisation.
fn curve(density: f64, law: Law) -> HardeningCurve {
    let e = 14900.0 * density.powf(1.86);
    let s = 102.0 * density.powf(1.8);
    if law == Law::Perfect {
        return HardeningCurve::perfect(s).expect("a positive yield stress");
    }
    let plateau = 0.00189 + 0.0241 * density;
    let tangent = -2080.0 * density.powf(1.45);
    let least = 43.1 * density.powf(1.81);
    let fall = tangent * e / (e - tangent);
    let end = plateau + (least - s) / fall;
    HardeningCurve::new(vec![
        [0.0, s],
        [plateau, s],
        [end, least],
        [end + 1.0, least],
    ])
    .expect("a falling curve")
}

/// A femur-like body of cubes: distal layer fixed, cap of the head moved down by `down_mm`.
pub fn femur(edge_mm: f64, law: Law, down_mm: f64) -> (Model, LoadCase) {
    let low = [-22.0, -22.0, 0.0];
    let cells: [usize; 3] = [92.0, 55.0, 144.0].map(|l: f64| (l / edge_mm).ceil() as usize);
    let mut element_cells = Vec::new();
    let mut bins = Vec::new();
    for k in 0..cells[2] {
        for j in 0..cells[1] {
            for i in 0..cells[0] {
                let cell = [i, j, k];
                let centre = std::array::from_fn(|a| low[a] + (cell[a] as f64 + 0.5) * edge_mm);
                if let Some(bin) = bin(centre) {
                    element_cells.push(cell.map(|c| c as u32));
                    bins.push(bin);
                }
            }
        }
    }
    let mut points: Vec<[u32; 3]> = element_cells
        .iter()
        .flat_map(|cell| HEX_CORNERS.map(|c| std::array::from_fn(|a| cell[a] + c[a] as u32)))
        .collect();
    points.sort_unstable_by_key(|p: &[u32; 3]| (p[2], p[1], p[0]));
    points.dedup();
    let number: HashMap<[u32; 3], u32> = points.iter().copied().zip(0..).collect();
    let elements = element_cells
        .iter()
        .map(|cell| HEX_CORNERS.map(|c| number[&std::array::from_fn(|a| cell[a] + c[a] as u32)]))
        .collect();
    let nodes_mm: Vec<[f64; 3]> = points
        .iter()
        .map(|p| std::array::from_fn(|a| low[a] + f64::from(p[a]) * edge_mm))
        .collect();
    let density = |bin: usize| 0.2 + 0.05 * bin as f64;
    let nodes = |condition: &dyn Fn(&[f64; 3]) -> bool| -> Vec<u32> {
        (0..nodes_mm.len() as u32)
            .filter(|&node| condition(&nodes_mm[node as usize]))
            .collect()
    };
    let bottom = nodes(&|p| p[2] == 0.0);
    let top = nodes(&|p| p[2] > HEAD[2] + 0.8 * HEAD_RADIUS && p[0] > 20.0);
    let case = pressed(&bottom, top, down_mm, false);
    let model = Model {
        materials: Materials {
            youngs_modulus_mpa: bins
                .iter()
                .map(|&b| 14900.0 * density(b).powf(1.86))
                .collect(),
            poissons_ratio: vec![0.3; bins.len()],
            curve: bins.iter().map(|&b| b as u32).collect(),
            curves: (0..BINS).map(|b| curve(density(b), law)).collect(),
        },
        mesh: SolidMesh::Voxels {
            mesh: HexMesh { nodes_mm, elements },
            lattice: Lattice {
                spacing_mm: [edge_mm; 3],
                cells,
                element_cells,
                node_points: points,
            },
        },
        formulation: Formulation::Full,
        material_model: match law {
            Law::Linear => MaterialModel::Linear,
            _ => MaterialModel::J2,
        },
    };
    (model, case)
}

/// A cylinder of quadratic tetrahedra, six to a brick, E 300 MPa: both ends held, the upper one moved down.
pub fn cylinder(
    radius_mm: f64,
    height_mm: f64,
    [across, along]: [usize; 2],
    yield_stress_mpa: Option<f64>,
    down_mm: f64,
) -> (Model, LoadCase) {
    // Brick corners on a grid that a square-to-disc map bends; middles of edges are made from their ends.
    let at = |p: [usize; 3]| -> [f64; 3] {
        let [a, b] = [p[0], p[1]].map(|i| 2.0 * i as f64 / across as f64 - 1.0);
        [
            radius_mm * a * (1.0 - 0.5 * b * b).sqrt(),
            radius_mm * b * (1.0 - 0.5 * a * a).sqrt(),
            height_mm * p[2] as f64 / along as f64,
        ]
    };
    let id = |p: [usize; 3]| (p[0] + (across + 1) * (p[1] + (across + 1) * p[2])) as u32;
    let mut nodes_mm = vec![[0.0; 3]; (across + 1) * (across + 1) * (along + 1)];
    let mut corners: Vec<[u32; 4]> = Vec::new();
    for k in 0..=along {
        for j in 0..=across {
            for i in 0..=across {
                nodes_mm[id([i, j, k]) as usize] = at([i, j, k]);
                if i == across || j == across || k == along {
                    continue;
                }
                const ORDERS: [([usize; 3], bool); 6] = [
                    ([0, 1, 2], true),
                    ([1, 2, 0], true),
                    ([2, 0, 1], true),
                    ([0, 2, 1], false),
                    ([2, 1, 0], false),
                    ([1, 0, 2], false),
                ];
                for (order, right_handed) in ORDERS {
                    let mut corner = [i, j, k];
                    let mut path = [id(corner); 4];
                    for (step, axis) in order.into_iter().enumerate() {
                        corner[axis] += 1;
                        path[step + 1] = id(corner);
                    }
                    if !right_handed {
                        path.swap(1, 2);
                    }
                    corners.push(path);
                }
            }
        }
    }
    let mut middles: HashMap<[u32; 2], u32> = HashMap::new();
    let elements: Vec<[u32; 10]> = corners
        .iter()
        .map(|c| {
            let mut middle = |a: usize, b: usize| {
                let key = [c[a].min(c[b]), c[a].max(c[b])];
                *middles.entry(key).or_insert_with(|| {
                    let [p, q] = key.map(|n| nodes_mm[n as usize]);
                    nodes_mm.push(std::array::from_fn(|i| 0.5 * (p[i] + q[i])));
                    nodes_mm.len() as u32 - 1
                })
            };
            let edges = [
                middle(0, 1),
                middle(1, 2),
                middle(0, 2),
                middle(0, 3),
                middle(1, 3),
                middle(2, 3),
            ];
            [
                c[0], c[1], c[2], c[3], edges[0], edges[1], edges[2], edges[3], edges[4], edges[5],
            ]
        })
        .collect();
    let ends = |z: f64| -> Vec<u32> {
        (0..nodes_mm.len() as u32)
            .filter(|&node| (nodes_mm[node as usize][2] - z).abs() < 1e-9)
            .collect()
    };
    let case = pressed(&ends(0.0), ends(height_mm), down_mm, true);
    let count = elements.len();
    let model = Model {
        mesh: SolidMesh::Tet10(Mesh { nodes_mm, elements }),
        materials: Materials {
            youngs_modulus_mpa: vec![300.0; count],
            poissons_ratio: vec![0.3; count],
            curve: vec![yield_stress_mpa.map_or(Materials::ELASTIC, |_| 0); count],
            curves: yield_stress_mpa
                .map(|s| HardeningCurve::perfect(s).expect("a positive yield stress"))
                .into_iter()
                .collect(),
        },
        formulation: Formulation::Full,
        material_model: match yield_stress_mpa {
            None => MaterialModel::Linear,
            Some(_) => MaterialModel::J2,
        },
    };
    (model, case)
}

fn pressed(bottom: &[u32], top: Vec<u32>, down_mm: f64, held_across: bool) -> LoadCase {
    let mut case = LoadCase::default();
    let mut put = |node: u32, component: u8, displacement_mm: f64| {
        case.prescribed.push(Prescribed {
            node,
            component,
            displacement_mm,
        });
    };
    for &node in bottom {
        (0..3).for_each(|component| put(node, component, 0.0));
    }
    for &node in &top {
        put(node, 2, -down_mm);
        if held_across {
            put(node, 0, 0.0);
            put(node, 1, 0.0);
        }
    }
    case.monitors.push(NodeSet::new("top", top));
    case
}
