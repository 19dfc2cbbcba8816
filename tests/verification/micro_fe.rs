//! Voxel models of other micro-finite-element programs: ParOSol (through parosol-py) and FAIM.

use std::io::Read as _;
use std::path::Path;

use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, NodeSet};
use solver::{
    Control, Formulation, LoadCase, MaterialModel, Materials, Model, Prescribed, Response,
    SolidMesh, Stepping, analyse,
};

use super::shared;

/// A body of equal voxels of one material (nu 0.3) whose last layer of nodes is moved along z by `uz` mm while the first
/// is held; neither can move sideways. Returns elements, nodes and moved nodes too.
fn compress(
    cells: [usize; 3],
    spacing_mm: [f64; 3],
    solid: impl Fn([usize; 3]) -> bool,
    modulus: f64,
    uz: f64,
) -> (Response, [usize; 3]) {
    let points = cells.map(|n| n + 1);
    let at = |p: [usize; 3]| p[0] + points[0] * (p[1] + points[1] * p[2]);
    let mut number = vec![u32::MAX; points.iter().product()];
    let mut element_cells = Vec::new();
    for k in 0..cells[2] {
        for j in 0..cells[1] {
            for i in 0..cells[0] {
                if solid([i, j, k]) {
                    element_cells.push([i as u32, j as u32, k as u32]);
                    for c in HEX_CORNERS {
                        number[at([i + c[0], j + c[1], k + c[2]])] = 0;
                    }
                }
            }
        }
    }
    let mut node_points = Vec::new();
    for k in 0..points[2] {
        for j in 0..points[1] {
            for i in 0..points[0] {
                if number[at([i, j, k])] == 0 {
                    number[at([i, j, k])] = node_points.len() as u32;
                    node_points.push([i as u32, j as u32, k as u32]);
                }
            }
        }
    }
    let elements: Vec<[u32; 8]> = element_cells
        .iter()
        .map(|cell| {
            HEX_CORNERS.map(|c| number[at(std::array::from_fn(|a| cell[a] as usize + c[a]))])
        })
        .collect();
    let layer = |k: usize| -> Vec<u32> {
        (0..node_points.len() as u32)
            .filter(|&n| node_points[n as usize][2] as usize == k)
            .collect()
    };
    let (bottom, top) = (layer(0), layer(cells[2]));
    let mut case = LoadCase::default();
    for (nodes, along_z) in [(&bottom, 0.0), (&top, uz)] {
        for &node in nodes {
            for (component, displacement_mm) in [(0, 0.0), (1, 0.0), (2, along_z)] {
                case.prescribed.push(Prescribed {
                    node,
                    component,
                    displacement_mm,
                });
            }
        }
    }
    let counts = [elements.len(), node_points.len(), top.len()];
    case.monitors.push(NodeSet::new("top", top));
    let n = elements.len();
    let model = Model {
        mesh: SolidMesh::Voxels {
            mesh: HexMesh {
                nodes_mm: node_points
                    .iter()
                    .map(|p| std::array::from_fn(|a| f64::from(p[a]) * spacing_mm[a]))
                    .collect(),
                elements,
            },
            lattice: Lattice {
                spacing_mm,
                cells,
                element_cells,
                node_points,
            },
        },
        materials: Materials {
            youngs_modulus_mpa: vec![modulus; n],
            poissons_ratio: vec![0.3; n],
            curve: vec![Materials::ELASTIC; n],
            curves: Vec::new(),
        },
        formulation: Formulation::Full,
        material_model: MaterialModel::Linear,
    };
    let mut stepping = Stepping::equal(1);
    // Thin struts converge slowly: 1e-8 would take more iterations than the solver allows, and 1e-6 leaves less than
    // 1e-5 of the reaction.
    stepping.linear_tolerance = 1e-6;
    let response =
        analyse(&model, &case, &stepping, &mut |_| Control::Continue).expect("a linear analysis");
    (response, counts)
}

/// The member `name` of a zip archive (NumPy's .npz), which must be deflated.
fn zip_member(path: &Path, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("the archive");
    // A local header: signature, 22 bytes, length of the name, length of the extra field, then both.
    let at = (0..bytes.len() - 30)
        .find(|&at| {
            bytes[at..].starts_with(b"PK\x03\x04") && bytes[at + 30..].starts_with(name.as_bytes())
        })
        .expect("the member");
    let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    assert_eq!(number(at + 8), 8, "the member is deflated");
    let start = at + 30 + number(at + 26) + number(at + 28);
    let mut contents = Vec::new();
    flate2::read::DeflateDecoder::new(&bytes[start..])
        .read_to_end(&mut contents)
        .expect("the member inflates");
    contents
}

/// Trabecular block of 179421 voxels, E 10000, compressed by 1 % of its height. Reference: ParOSol through parosol-py
/// (`reference.json` beside the image; its axial test is that of Numerics88, with both ends held sideways).
#[test]
fn trabecular_block_of_parosol() {
    let Some(folder) = shared("data/density-fe/parosol-py/trab1240") else {
        return;
    };
    let file = zip_member(&folder.join("trab1240_labels.npz"), "labels.npy");
    // NumPy 1.0 header: magic, version, length, a dictionary; then bytes with z slowest and x fastest.
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    let description = String::from_utf8_lossy(&file[10..10 + header]);
    assert!(description.contains("'|u1'") && description.contains("(126, 108, 108)"));
    let labels = &file[10 + header..];
    let spacing = [
        0.060_699_652_880_430_22,
        0.060_699_652_880_430_22,
        0.060_698_509_216_308_594,
    ];
    let (response, counts) = compress(
        [108, 108, 126],
        spacing,
        |[i, j, k]| labels[i + 108 * (j + 108 * k)] != 0,
        10_000.0,
        -0.076_480_120_420_455_93,
    );
    assert_eq!(counts, [179_421, 334_817, 1671]);
    let force = response.increments[0].reactions_n[0][2];
    assert!((force + 71.518_890).abs() < 1e-4 * 71.5, "{force} N");
    let stiffness = force / -0.076_480_120_420_455_93;
    assert!(
        (stiffness - 935.130).abs() < 1e-4 * 935.0,
        "{stiffness} N/mm"
    );
}

/// The first example of the FAIM manual (Numerics88): a cube of 6 x 6 x 6 mm, E 6829, compressed by 1 %, both ends held
/// sideways. Its printed reaction is -2651 N.
#[test]
fn cube_of_the_faim_manual() {
    let Some(folder) = shared("data/microct/n88-tutorial-aim") else {
        return;
    };
    let file = std::fs::read(folder.join("cube6x6x6.vti")).expect("the image");
    let text = String::from_utf8_lossy(&file);
    // All 216 cells carry the value 1: the header alone says so.
    for part in [
        "WholeExtent=\"0 6 0 6 0 6\"",
        "Spacing=\"1 1 1\"",
        "RangeMin=\"1\"",
        "RangeMax=\"1\"",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let (response, counts) = compress([6; 3], [1.0; 3], |_| true, 6829.0, -0.06);
    assert_eq!(counts, [216, 343, 49]);
    let force = response.increments[0].reactions_n[0][2];
    // Printed to four digits.
    assert!((force + 2651.0).abs() < 0.6, "{force} N");
}
