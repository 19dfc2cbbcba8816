//! Materials by bins.

use super::*;

/// Boxes of 1, 2, 3 ... mm³ in a row with these moduli, each with its own curve.
fn row(moduli: &[f64], curves: Vec<Vec<[f64; 2]>>) -> StoredModel {
    let mut mesh = HexMesh::default();
    for layer in 0..=moduli.len() {
        let x = (layer * (layer + 1)) as f64 / 2.0;
        mesh.nodes_mm
            .extend([[x, 0.0, 0.0], [x, 1.0, 0.0], [x, 1.0, 1.0], [x, 0.0, 1.0]]);
    }
    for element in 0..moduli.len() as u32 {
        let [a, b] = [4 * element, 4 * element + 4];
        mesh.elements
            .push([a, b, b + 1, a + 1, a + 3, b + 3, b + 2, a + 2]);
    }
    let mut model = model(StoredMesh::Hex8(mesh));
    model.materials = Materials {
        youngs_modulus_mpa: moduli.to_vec(),
        poissons_ratio: vec![0.3; moduli.len()],
        curve: match curves.len() {
            0 => vec![Materials::ELASTIC; moduli.len()],
            count => (0..count as u32).collect(),
        },
        curves: curves
            .into_iter()
            .map(|points| HardeningCurve::new(points).expect("a curve"))
            .collect(),
    };
    model.kinds = vec![ElementKind::Bone; moduli.len()];
    model.density_mg_cm3 = vec![0.0; moduli.len()];
    model
}

fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-12 * expected,
        "{found} for {expected}"
    );
}

#[test]
fn bins_are_of_equal_width_and_their_modulus_is_the_mean_by_volume() {
    // Widths of 300: 100 to 400, 400 to 700, 700 to 1000.
    let model = row(&[100.0, 399.0, 401.0, 1000.0, 700.0], vec![]);
    let grouped = material::binned(&model, 3).expect("bins");
    let list: Vec<(Vec<u32>, f64)> = grouped
        .materials
        .iter()
        .map(|material| (material.elements.clone(), material.youngs_modulus_mpa))
        .collect();
    assert_eq!(list.len(), 3);
    assert_eq!(list[0].0, [0, 1]);
    near(list[0].1, (100.0 + 2.0 * 399.0) / 3.0);
    assert_eq!(list[1], (vec![2], 401.0));
    assert_eq!(list[2].0, [3, 4]);
    near(list[2].1, (4.0 * 1000.0 + 5.0 * 700.0) / 9.0);
    near(grouped.largest_change, (898.0 / 3.0 - 100.0) / 100.0);
    assert_eq!(grouped.numbers(5), [1, 1, 2, 3, 3]);
    // No more materials than are needed, and one bin takes all.
    let many = material::binned(&model, 1000).expect("bins").materials;
    assert_eq!(many.len(), 5);
    let one = material::binned(&model, 1).expect("a bin").materials;
    assert_eq!(one.len(), 1);
    near(
        one[0].youngs_modulus_mpa,
        (100.0 + 798.0 + 1203.0 + 4000.0 + 3500.0) / 15.0,
    );
    assert!(material::binned(&model, 0).is_err());
}

#[test]
fn curves_of_a_bin_are_averaged_point_by_point() {
    let model = row(
        &[100.0, 200.0, 150.0],
        vec![
            vec![[0.0, 10.0], [0.1, 4.0]],
            vec![[0.0, 40.0], [0.25, 10.0]],
            vec![[0.0, 7.0]],
        ],
    );
    let materials = material::binned(&model, 1).expect("bins").materials;
    // One kind has two points, the other one: they are never mixed.
    assert_eq!(materials.len(), 2);
    let points = materials[0].curve.as_ref().expect("a curve").points();
    assert_eq!(materials[0].elements, [0, 1]);
    assert_eq!(points[0][0], 0.0);
    near(points[0][1], 30.0);
    near(points[1][0], 0.2);
    near(points[1][1], 8.0);
    assert_eq!(materials[1].elements, [2]);
    near(materials[1].youngs_modulus_mpa, 150.0);
}

#[test]
fn caps_and_bone_are_never_mixed() {
    let mut model = row(&[100.0, 100.0, 100.0], vec![vec![[0.0, 1.0]]; 3]);
    model.materials.curve[1] = Materials::ELASTIC;
    model.materials.poissons_ratio[2] = 0.4;
    let count = |model: &StoredModel| material::binned(model, 1).expect("bins").materials.len();
    assert_eq!(count(&model), 3);
    // With one ratio and no curve only what they are made of tells them apart.
    model.material_model = MaterialModel::Linear;
    model.materials.poissons_ratio[2] = 0.3;
    assert_eq!(count(&model), 1);
    model.kinds = vec![ElementKind::Bone, ElementKind::Cap, ElementKind::Influence];
    assert_eq!(count(&model), 3);
    let materials = material::binned(&model, 1).expect("bins").materials;
    assert!(materials.iter().all(|material| material.curve.is_none()));
}

#[test]
fn equal_laws_are_one_material() {
    let curves = vec![
        vec![[0.0, 1.0]],
        vec![[0.0, 1.0]],
        vec![[0.0, 2.0]],
        vec![[0.0, 1.0]],
    ];
    let mut model = row(&[5.0, 5.0, 5.0, 5.0], curves);
    let elements = |model: &StoredModel| -> Vec<Vec<u32>> {
        let materials = material::distinct(model).materials;
        materials.into_iter().map(|m| m.elements).collect()
    };
    assert_eq!(elements(&model), [vec![0, 1, 3], vec![2]]);
    model.materials.poissons_ratio[3] = 0.2;
    assert_eq!(elements(&model), [vec![0, 1], vec![2], vec![3]]);
}

#[test]
fn the_user_hears_of_bins_and_cannot_have_them_without_materials() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(MODEL_FILE);
    row(&[100.0, 399.0], vec![]).write(&path).expect("a file");
    let request = |format| ExportRequest {
        run: dir.path().to_owned(),
        format,
        out: None,
        bins: Some(1),
        overwrite: false,
    };
    let exported = export(&request(Format::Feb)).expect("an export");
    assert_eq!(exported.materials, 1);
    // (100 + 2 * 399) / 3 is 199.33 % above 100.
    assert!(
        exported.notes.iter().any(|note| note.contains("199.33 %")),
        "{:?}",
        exported.notes
    );
    let refused = export(&request(Format::Stl)).expect_err("no materials");
    assert_eq!(Ending::of(&refused).status, 2);
    assert!(!dir.path().join("model.stl").exists());
}

#[test]
fn many_materials_are_worth_a_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let moduli: Vec<f64> = (1..=1001).map(f64::from).collect();
    row(&moduli, vec![])
        .write(&dir.path().join(MODEL_FILE))
        .expect("a file");
    let exported = export(&ExportRequest {
        run: dir.path().to_owned(),
        format: Format::Inp,
        out: None,
        bins: None,
        overwrite: false,
    })
    .expect("an export");
    assert_eq!(exported.materials, 1001);
    assert!(exported.notes.iter().any(|note| note.contains("--bins")));
}
