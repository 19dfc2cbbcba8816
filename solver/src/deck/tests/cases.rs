//! The decks of the third-party reference cases, where they are at hand.

use std::path::PathBuf;

use super::super::*;
use crate::model::{Formulation, Model, SolidMesh};

fn case(name: &str) -> Option<PathBuf> {
    match std::env::var_os("OSTEOLOAD_SHARED") {
        Some(shared) => Some(PathBuf::from(shared).join("fe-cases").join(name)),
        None => {
            println!("skipped: OSTEOLOAD_SHARED is not set");
            None
        }
    }
}

fn ready(name: &str) -> Option<DeckModel> {
    let deck = Deck::read(&case(name)?).unwrap();
    let ready = deck.into_model(&Options::default()).unwrap();
    ready.model.check().unwrap();
    Some(ready)
}

/// The bin of an element by the law of the cases, E = 14900 rho^1.86 with rho = 0.2 + 0.05 bin.
fn bin(youngs_modulus_mpa: f64) -> f64 {
    ((youngs_modulus_mpa / 14900.0).powf(1.0 / 1.86) - 0.2) / 0.05
}

fn box_mm(model: &Model) -> ([f64; 3], [usize; 3]) {
    let lattice = model.mesh.lattice().unwrap();
    (lattice.spacing_mm, lattice.cells)
}

#[test]
fn the_graded_block() {
    for (name, formulation) in [
        ("a_graded_block_C3D8.inp", Formulation::Full),
        ("a_graded_block_C3D8I.inp", Formulation::Incompatible),
    ] {
        let Some(ready) = ready(name) else { return };
        let model = &ready.model;
        assert_eq!(model.formulation, formulation);
        assert_eq!(model.mesh.element_count(), 216);
        assert_eq!(model.mesh.nodes_mm().len(), 343);
        assert_eq!(box_mm(model), ([2.0; 3], [6; 3]));
        // Each element has the bin of its place, so the renumbering kept materials and places together.
        for (cell, &e) in model
            .mesh
            .lattice()
            .unwrap()
            .element_cells
            .iter()
            .zip(&model.materials.youngs_modulus_mpa)
        {
            let expected = (2 * cell[0] + cell[1] + cell[2]).min(20);
            assert!((bin(e) - f64::from(expected)).abs() < 1e-6);
        }
        // This deck numbers its nodes from 1 with x fastest.
        assert!(ready.node_labels.iter().copied().eq(1..=343));
        let [plan] = &ready.steps[..] else {
            panic!("one step")
        };
        assert_eq!(plan.load_case.prescribed.len(), 49 * 3 + 49);
        assert_eq!(plan.stepping.factors, [1.0]);
        let sets: Vec<_> = plan
            .load_case
            .monitors
            .iter()
            .map(|m| (m.name.as_str(), m.nodes.len()))
            .collect();
        assert_eq!(sets, [("BOT", 49), ("TOP", 49)]);
        let watch = &plan.prints[1];
        assert_eq!(watch.quantity, Quantity::Displacement);
        let labels: Vec<u32> = watch
            .nodes
            .iter()
            .map(|&n| ready.node_labels[n as usize])
            .collect();
        assert_eq!(labels, [141, 154, 172, 295, 343]);
    }
}

#[test]
fn the_notched_block() {
    for (name, increments, points) in [
        ("b_notched_pp_C3D8.inp", 20, 2),
        ("b_notched_pp_C3D8I.inp", 20, 2),
        ("b_notched_softauto_C3D8.inp", 1, 4),
        ("b_notched_softauto_C3D8I.inp", 1, 4),
    ] {
        let Some(ready) = ready(name) else { return };
        let model = &ready.model;
        assert_eq!(model.mesh.element_count(), 316);
        assert_eq!(model.mesh.nodes_mm().len(), 510);
        assert_eq!(box_mm(model), ([1.5; 3], [8, 4, 11]));
        let lattice = model.mesh.lattice().unwrap();
        for (element, cell) in lattice.element_cells.iter().enumerate() {
            let expected = if cell[0] < 4 { 12.0 } else { 8.0 };
            let found = bin(model.materials.youngs_modulus_mpa[element]);
            assert!((found - expected).abs() < 1e-6);
            assert!(cell[0] < 5 || !(4..=6).contains(&cell[2]));
            // S = 102 rho^1.8.
            let curve = &model.materials.curves[model.materials.curve[element] as usize];
            let strength = 102.0 * (0.2 + 0.05 * expected).powf(1.8);
            assert_eq!(curve.points().len(), points);
            assert!((curve.points()[0][1] - strength).abs() < 1e-6 * strength);
        }
        let stepping = &ready.steps[0].stepping;
        assert_eq!(stepping.factors.len(), increments);
        assert_eq!(stepping.factors[increments - 1], 1.0);
        let first = if increments == 1 { 0.033333333 } else { 1.0 };
        assert!((stepping.first_fraction - first).abs() < 1e-12);
        assert_eq!(ready.steps[0].load_case.prescribed.len(), 4 * 45);
    }
}

#[test]
fn the_small_femur() {
    for (name, increments) in [
        ("e_minifemur_lin_C3D8.inp", 1),
        ("e_minifemur_lin_C3D8I.inp", 1),
        ("e_minifemur_pp_C3D8.inp", 20),
        ("e_minifemur_pp_C3D8I.inp", 20),
        ("e_minifemur_soft_C3D8.inp", 20),
    ] {
        let Some(ready) = ready(name) else { return };
        let model = &ready.model;
        assert_eq!(model.mesh.element_count(), 3928);
        assert_eq!(model.mesh.nodes_mm().len(), 5207);
        assert_eq!(box_mm(model).0, [3.5; 3]);
        let case = &ready.steps[0].load_case;
        let top = case.monitors.iter().find(|m| m.name == "TOP").unwrap();
        assert_eq!(top.nodes.len(), 93);
        assert_eq!(ready.steps[0].stepping.factors.len(), increments);
    }
}

#[test]
fn quadratic_tetrahedra_are_read() {
    for (name, elements, nodes) in [
        ("c_cyl_tet10_lin.inp", 3072, 4913),
        ("d_cyl_tet10_pp.inp", 1296, 2197),
    ] {
        let Some(path) = case(name) else { return };
        let deck = Deck::read(&path).unwrap();
        assert_eq!(deck.quadratic_tetrahedra.labels.len(), elements);
        assert_eq!(deck.node_labels.len(), nodes);
        // Mid nodes are the middles of their edges, so the order of the nodes was kept.
        for tet in &deck.quadratic_tetrahedra.nodes {
            for (mid, [a, b]) in [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]]
                .into_iter()
                .enumerate()
            {
                for axis in 0..3 {
                    let x = |n: usize| deck.nodes_mm[tet[n] as usize][axis];
                    assert!((x(4 + mid) - 0.5 * (x(a) + x(b))).abs() < 1e-5);
                }
            }
        }
        let ready = deck.into_model(&Options::default()).unwrap();
        assert!(matches!(ready.model.mesh, SolidMesh::Tet10(_)));
        assert_eq!(ready.model.mesh.first_inverted(), None);
    }
}

#[test]
fn reduced_integration_is_refused_by_line() {
    let Some(path) = case("a_graded_block_C3D8R.inp") else {
        return;
    };
    match Deck::read(&path) {
        Err(Error::Deck { line, reason, .. }) => {
            assert_eq!(line, 346);
            assert!(reason.contains("C3D8R"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_decks_are_read_or_refused_by_line() {
    let Some(shared) = std::env::var_os("OSTEOLOAD_SHARED") else {
        println!("skipped: OSTEOLOAD_SHARED is not set");
        return;
    };
    let folder = PathBuf::from(shared).join("data/fe-reference/calculix-test");
    let mut decks = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "inp") {
            continue;
        }
        decks += 1;
        match Deck::read(&path).and_then(|deck| deck.into_model(&Options::default())) {
            Ok(_) => println!("read: {}", path.display()),
            Err(Error::Deck { file, line, reason }) => println!("{file}:{line}: {reason}"),
            Err(other) => panic!("{}: {other}", path.display()),
        }
    }
    assert_eq!(decks, 93);
}
