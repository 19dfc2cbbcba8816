//! The deck as the solver's own reader takes it.

use meshing::VoxelMesh;
use solver::deck::{Deck, DeckModel, Options};

use super::*;

fn deck(model: &StoredModel) -> DeckModel {
    let text = text(model, Format::Inp);
    let deck = Deck::parse(Path::new("model.inp"), &text).expect("a deck");
    deck.into_model(&Options::default()).expect("a model")
}

fn sorted(prescribed: &[Prescribed]) -> Vec<(u32, u8, f64)> {
    let mut list: Vec<_> = prescribed
        .iter()
        .map(|held| (held.node, held.component, held.displacement_mm))
        .collect();
    list.sort_by_key(|held| (held.0, held.1));
    list
}

/// The deck holds the model, element by element; only its curves are numbered anew.
fn same(model: &StoredModel, formulation: Formulation) {
    let found = deck(model);
    let mesh = match &found.model.mesh {
        SolidMesh::Voxels { mesh, .. } | SolidMesh::Hex8(mesh) => StoredMesh::Hex8(mesh.clone()),
        SolidMesh::Tet10(mesh) => StoredMesh::Tet10(mesh.clone()),
        SolidMesh::Tet4(_) => panic!("other elements"),
    };
    assert_eq!(mesh, model.mesh);
    let (ours, theirs) = (&model.materials, &found.model.materials);
    assert_eq!(theirs.youngs_modulus_mpa, ours.youngs_modulus_mpa);
    assert_eq!(theirs.poissons_ratio, ours.poissons_ratio);
    for element in 0..ours.curve.len() {
        let curve = |m: &Materials| m.curves.get(m.curve[element] as usize).cloned();
        let expected = curve(ours).filter(|_| model.material_model != MaterialModel::Linear);
        assert_eq!(curve(theirs), expected, "element {element}");
    }
    let [step] = &found.steps[..] else {
        panic!("one step");
    };
    assert_eq!(
        sorted(&step.load_case.prescribed),
        sorted(&model.prescribed)
    );
    assert!(step.load_case.forces.is_empty());
    let sets: Vec<&Vec<u32>> = step
        .load_case
        .monitors
        .iter()
        .map(|set| &set.nodes)
        .collect();
    assert_eq!(
        sets,
        model.sets.iter().map(|set| &set.nodes).collect::<Vec<_>>()
    );
    assert_eq!(found.model.material_model, model.material_model);
    assert_eq!(found.notes, []);
    if matches!(model.mesh, StoredMesh::Hex8(_)) {
        assert_eq!(found.model.formulation, formulation);
    }
    let increments = match model.material_model {
        MaterialModel::Linear => 1,
        _ => model.increments,
    };
    let factors: Vec<f64> = (1..=increments)
        .map(|n| n as f64 / increments as f64)
        .collect();
    assert_eq!(step.stepping.factors, factors);
}

#[test]
fn our_own_reader_reads_the_same_model() {
    for mut model in both() {
        // Monitors come back in the order in which sets are held.
        same(&model, Formulation::Full);
        model.formulation = Formulation::Full;
        same(&model, Formulation::Full);
        model.formulation = Formulation::Incompatible;
        same(&model, Formulation::Incompatible);
        model.material_model = MaterialModel::Linear;
        same(&model, Formulation::Incompatible);
    }
}

#[test]
fn voxels_are_recognised_in_the_deck() {
    // 2.1 / 0.7 and the like: products that only the shortest exact text brings back.
    let grid = imaging::Grid::axis_aligned([3, 2, 2], [0.7, 1.0 / 3.0, 1.1]);
    let mask = imaging::Mask::from_fn(grid, |v| v != [1, 1, 1]);
    let voxels = VoxelMesh::from_mask(&mask).expect("a mesh");
    let count = voxels.mesh.elements.len();
    let mut model = model(StoredMesh::Hex8(voxels.mesh.clone()));
    model.materials.youngs_modulus_mpa = (0..count).map(|e| 1000.0 / (e as f64 + 3.0)).collect();
    model.materials.poissons_ratio = vec![0.3; count];
    model.materials.curve = (0..count as u32).map(|e| e % 2).collect();
    model.density_mg_cm3 = vec![0.0; count];
    same(&model, Formulation::Full);
    let found = deck(&model);
    assert_eq!(
        found.model.mesh.lattice().map(|lattice| lattice.cells),
        Some(voxels.lattice.cells)
    );
}

#[test]
fn the_secant_material_and_bbar_are_said_to_be_lost() {
    let mut model = model(StoredMesh::Hex8(hexahedra()));
    let notes = |model: &StoredModel| {
        let grouped = material::distinct(model);
        let written = model.content(Format::Inp, &grouped).expect("a deck");
        let text = String::from_utf8(written.bytes).expect("text");
        for note in &written.notes {
            assert!(text.contains(&format!("** {note}\n")), "{note}");
        }
        written.notes.join("\n")
    };
    assert!(notes(&model).contains("B-bar") && !notes(&model).contains("secant"));
    model.formulation = Formulation::Full;
    assert_eq!(notes(&model), "");
    model.material_model = MaterialModel::Secant;
    assert!(notes(&model).contains("secant"));
    model.materials.youngs_modulus_mpa[0] = 1e300 / 3.0;
    assert!(
        model
            .content(Format::Inp, &material::distinct(&model))
            .is_err()
    );
}
