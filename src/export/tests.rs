//! What is stored, what the formats say of it, and that each says the same.

mod deck;
mod formats;
mod groups;
mod orders;
mod readers;

use nalgebra::{Matrix3, Vector3};
use solver::{HardeningCurve, LoadCase};

use super::*;
use crate::exit::Ending;

/// Middles of the edges of a tetrahedron in VTK's order (VTK file formats, `VTK_QUADRATIC_TETRA`).
const VTK_EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [2, 0], [0, 3], [1, 3], [2, 3]];

/// Two tetrahedra with a common face and curved edges, no two of them alike.
fn tetrahedra() -> Tet10Mesh {
    let corners = [
        [0.1, -0.2, 0.3],
        [2.1, 0.1, 1.0 / 3.0],
        [0.2, 1.9, 0.4],
        [0.3, 0.2, 2.3],
        [2.2, 2.4, 2.1],
    ];
    let mut nodes_mm = corners.to_vec();
    let mut middles = std::collections::HashMap::new();
    let elements = [[0_usize, 1, 2, 3], [1, 4, 2, 3]].map(|own| {
        let mut nodes = [0; 10];
        for (place, corner) in own.into_iter().enumerate() {
            nodes[place] = corner as u32;
        }
        for (edge, [a, b]) in VTK_EDGES.into_iter().enumerate() {
            let (a, b) = (own[a].min(own[b]), own[a].max(own[b]));
            nodes[4 + edge] = *middles.entry((a, b)).or_insert_with(|| {
                let count = nodes_mm.len() as f64;
                nodes_mm.push(std::array::from_fn(|axis| {
                    let bend = 0.07 * (1.3 * count + 2.1 * axis as f64).sin();
                    0.5 * (corners[a][axis] + corners[b][axis]) + bend
                }));
                nodes_mm.len() as u32 - 1
            });
        }
        nodes
    });
    Tet10Mesh {
        nodes_mm,
        elements: elements.to_vec(),
    }
}

/// Two crooked hexahedra with a common face.
fn hexahedra() -> HexMesh {
    let nodes_mm = (0..12)
        .map(|node| {
            let at = [node % 3, node / 3 % 2, node / 6];
            std::array::from_fn(|axis| {
                f64::from(at[axis]) * 1.1 + 0.1 * (1.7 * f64::from(node) + axis as f64).sin()
            })
        })
        .collect();
    let first = [0, 1, 4, 3, 6, 7, 10, 9];
    HexMesh {
        nodes_mm,
        elements: vec![first, first.map(|node| node + 1)],
    }
}

/// A model with two materials, a set that moves as one, one that does not, and a node that is in no set.
fn model(mesh: StoredMesh) -> StoredModel {
    let held = |node, component, displacement_mm| Prescribed {
        node,
        component,
        displacement_mm,
    };
    StoredModel {
        mesh,
        frame: Frame {
            rotation: Matrix3::new(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
            origin_mm: Vector3::new(-12.5, 1.0 / 3.0, 1e-9),
        },
        materials: Materials {
            youngs_modulus_mpa: vec![17_000.0 / 3.0, 2500.0],
            poissons_ratio: vec![0.3, 0.4],
            curve: vec![1, Materials::ELASTIC],
            curves: vec![
                HardeningCurve::perfect(70.0).expect("a curve"),
                HardeningCurve::new(vec![[0.0, 100.0 / 3.0], [0.01, 30.0], [0.1 / 3.0, 8.25]])
                    .expect("a curve"),
            ],
        },
        kinds: vec![ElementKind::Bone, ElementKind::Cap],
        density_mg_cm3: vec![512.25, 0.0],
        sets: vec![
            NodeSet::new("loaded", vec![3, 1]),
            NodeSet::new("fixed shaft", vec![0, 2]),
        ],
        prescribed: vec![
            held(0, 0, 0.0),
            held(0, 1, 0.0),
            held(0, 2, 0.0),
            held(1, 2, -0.1 / 3.0),
            held(2, 2, 0.0),
            held(3, 2, -0.1 / 3.0),
            held(4, 0, 0.0),
        ],
        increments: 7,
        material_model: MaterialModel::J2,
        formulation: Formulation::BBar,
    }
}

fn both() -> [StoredModel; 2] {
    [
        model(StoredMesh::Hex8(hexahedra())),
        model(StoredMesh::Tet10(tetrahedra())),
    ]
}

fn text(model: &StoredModel, format: Format) -> String {
    let written = model
        .content(format, &material::distinct(model))
        .expect("an export");
    String::from_utf8(written.bytes).expect("text")
}

#[test]
fn a_stored_model_is_read_back_bit_by_bit() {
    let dir = tempfile::tempdir().expect("a directory");
    for mut model in both() {
        for (material_model, formulation) in [
            (MaterialModel::J2, Formulation::BBar),
            (MaterialModel::Secant, Formulation::Full),
            (MaterialModel::SecantExplicit, Formulation::Incompatible),
            (MaterialModel::Linear, Formulation::BBar),
        ] {
            model.material_model = material_model;
            model.formulation = formulation;
            let path = dir.path().join(MODEL_FILE);
            model.write(&path).expect("a file");
            // Equality of doubles takes 0 for -0; there is no -0 here, and no NaN.
            assert_eq!(StoredModel::read(&path).expect("the model"), model);
        }
        model.materials.curves.clear();
        model.materials.curve = vec![Materials::ELASTIC; 2];
        model.sets.clear();
        model.prescribed.clear();
        let path = dir.path().join("bare.vtu");
        model.write(&path).expect("a file");
        assert_eq!(StoredModel::read(&path).expect("the model"), model);
    }
}

#[test]
fn an_analysis_is_stored_as_it_begins() {
    let stored = model(StoredMesh::Tet10(tetrahedra()));
    let body = Model {
        mesh: SolidMesh::Tet10(tetrahedra()),
        materials: stored.materials.clone(),
        formulation: stored.formulation,
        material_model: stored.material_model,
    };
    let mut prescribed = stored.prescribed.clone();
    prescribed.reverse();
    let load = LoadCase {
        prescribed,
        forces: Vec::new(),
        monitors: stored.sets.clone(),
    };
    let of =
        |density: &[f64]| StoredModel::of(&body, &stored.frame, &stored.kinds, density, &load, 7);
    assert_eq!(of(&stored.density_mg_cm3).expect("a model"), stored);
    assert!(of(&[1.0]).is_err());
}

#[test]
fn a_damaged_or_missing_model_ends_with_status_3() {
    let dir = tempfile::tempdir().expect("a directory");
    let request = |name: &str| ExportRequest {
        run: dir.path().to_owned(),
        format: Format::Inp,
        out: Some(dir.path().join(name)),
        bins: None,
        overwrite: false,
    };
    let ending = Ending::of(&export(&request("a.inp")).expect_err("no model"));
    assert_eq!(ending.status, 3);
    assert!(ending.error.contains(MODEL_FILE), "{}", ending.error);
    assert!(
        ending
            .help
            .is_some_and(|help| help.contains("osteoload run"))
    );
    let path = dir.path().join(MODEL_FILE);
    model(StoredMesh::Hex8(hexahedra()))
        .write(&path)
        .expect("a file");
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &bytes[..bytes.len() - 40]).expect("a file");
    let ending = Ending::of(&export(&request("a.inp")).expect_err("half a model"));
    assert_eq!(ending.status, 3);
    assert!(ending.error.contains(MODEL_FILE), "{}", ending.error);
    // A VTU file of this program that is no model.
    meshing::vtu::Vtu {
        mesh: &hexahedra(),
        frame: None,
        point_data: Vec::new(),
        cell_data: Vec::new(),
    }
    .write(&path)
    .expect("a file");
    let ending = Ending::of(&export(&request("a.inp")).expect_err("no model"));
    assert_eq!(ending.status, 3);
    assert!(
        ending.error.contains("no model of a run"),
        "{}",
        ending.error
    );
    assert!(!dir.path().join("a.inp").exists());
}

#[test]
fn damage_of_a_stored_model_never_panics() {
    let bytes = model(StoredMesh::Hex8(hexahedra()))
        .to_bytes(None)
        .expect("bytes");
    let name = Path::new(MODEL_FILE);
    for place in 0..bytes.len() {
        for flip in [0x01, 0x20, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            if let Ok(file) = meshing::vtu::VtuFile::parse(name, &damaged) {
                // A changed name in the head: the model lacks an array, or a set is called otherwise.
                let _ = StoredModel::from_file(file);
            }
        }
    }
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let refused = |change: &dyn Fn(&mut StoredModel)| {
        let mut model = model(StoredMesh::Hex8(hexahedra()));
        assert!(model.check().is_ok());
        change(&mut model);
        model.check().is_err()
    };
    assert!(refused(&|m| m.materials.youngs_modulus_mpa[1] = 0.0));
    assert!(refused(&|m| m.materials.poissons_ratio[1] = 0.5));
    assert!(refused(&|m| m.materials.curve[0] = 2));
    assert!(refused(&|m| m.sets[0].nodes[0] = 12));
    assert!(refused(&|m| m.sets[0].name = "fixed shaft".into()));
    assert!(refused(&|m| m.prescribed[0].component = 3));
    assert!(refused(&|m| m.prescribed[0].displacement_mm = f64::NAN));
    assert!(refused(&|m| m.density_mg_cm3.truncate(1)));
    assert!(refused(&|m| m.increments = 0));
}

#[test]
fn a_file_that_exists_is_kept_without_overwrite() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(MODEL_FILE);
    model(StoredMesh::Hex8(hexahedra()))
        .write(&path)
        .expect("a file");
    let stored = std::fs::read(&path).expect("the file");
    for format in Format::ALL {
        let mut request = ExportRequest {
            run: dir.path().to_owned(),
            format,
            out: None,
            bins: None,
            overwrite: false,
        };
        let first = export(&request).expect("an export");
        assert_eq!((first.nodes, first.elements), (12, 2));
        assert_eq!(first.materials, if format == Format::Stl { 0 } else { 2 });
        assert_eq!(
            first.place.extension().and_then(|e| e.to_str()),
            Some(format.extension())
        );
        let bytes = std::fs::read(&first.place).expect("the file");
        let ending = Ending::of(&export(&request).expect_err("it is there"));
        assert_eq!(ending.status, 2);
        assert!(ending.help.is_some_and(|help| help.contains("--overwrite")));
        request.overwrite = true;
        export(&request).expect("an export");
        assert_eq!(std::fs::read(&first.place).expect("the file"), bytes);
        // The model itself is never replaced.
        request.out = Some(path.clone());
        assert_eq!(
            Ending::of(&export(&request).expect_err("the model")).status,
            2
        );
    }
    assert_eq!(std::fs::read(&path).expect("the file"), stored);
    assert_eq!(std::fs::read_dir(dir.path()).expect("names").count(), 7);
}
