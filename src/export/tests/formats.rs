//! Sets, materials and prescribed motion as each format says them.

use super::*;

#[test]
fn a_set_that_moves_as_one_is_named_and_single_nodes_are_listed() {
    let model = model(StoredMesh::Hex8(hexahedra()));
    let inp = text(&model, Format::Inp);
    let boundary = inp.split("*BOUNDARY\n").nth(1).expect("a boundary");
    let boundary = boundary.split('*').next().expect("lines");
    assert_eq!(
        boundary,
        "LOADED, 3, 3, -0.03333333333333333\nFIXED_SHAFT, 3, 3, 0\n1, 1, 1, 0\n5, 1, 1, 0\n1, 2, 2, 0\n"
    );
    assert!(inp.contains("*NSET, NSET=LOADED\n2, 4\n"));
    assert!(inp.contains("*STEP, INC=7\n*STATIC, DIRECT\n1., 7.\n"));
    assert!(
        inp.contains("*NODE PRINT, NSET=LOADED, TOTALS=ONLY\nRF\n*NODE PRINT, NSET=LOADED\nU\n")
    );
    let cdb = text(&model, Format::Cdb);
    let motion: Vec<&str> = cdb.lines().filter(|line| line.starts_with("D,")).collect();
    assert_eq!(
        motion,
        [
            "D,LOADED,UZ,-0.03333333333333333",
            "D,FIXED_SHAFT,UZ,0",
            "D,1,UX,0",
            "D,5,UX,0",
            "D,1,UY,0"
        ]
    );
    assert!(cdb.contains("CMBLOCK,LOADED,NODE,       2\n(8i10)\n         2         4\n"));
    let feb = text(&model, Format::Feb);
    for part in [
        "<NodeSet name=\"FIXED_SHAFT\">1,3</NodeSet>",
        "<NodeSet name=\"prescribed_3\">1,5</NodeSet>",
        "type=\"prescribed displacement\" node_set=\"LOADED\"><dof>z</dof><value lc=\"1\">-0.03333333333333333</value>",
        "type=\"zero displacement\" node_set=\"FIXED_SHAFT\"><z_dof>1</z_dof>",
        "type=\"zero displacement\" node_set=\"prescribed_4\"><y_dof>1</y_dof>",
        "<points><pt>0,0</pt><pt>7,1</pt></points>",
        "<time_steps>7</time_steps>",
    ] {
        assert!(feb.contains(part), "{part}");
    }
    let msh = text(&model, Format::Msh);
    assert!(msh.contains(
        "$PhysicalNames\n4\n0 1 \"LOADED\"\n0 2 \"FIXED_SHAFT\"\n3 1 \"material_1\"\n3 2 \"material_2\"\n"
    ));
    // Two elements of two materials, then the points of the sets.
    assert!(msh.contains("0 1 15 2\n3 2\n4 4\n0 2 15 2\n5 1\n6 3\n$EndElements"));
}

#[test]
fn a_set_with_two_values_is_no_target() {
    let mut model = model(StoredMesh::Hex8(hexahedra()));
    model.prescribed[3].displacement_mm = -0.5;
    let list: Vec<_> = boundary::motions(&model)
        .into_iter()
        .filter(|motion| motion.component == 2)
        .map(|motion| (motion.displacement_mm, motion.target))
        .collect();
    assert_eq!(
        list,
        [
            (0.0, boundary::Target::Set(1)),
            (-0.5, boundary::Target::Nodes(vec![1])),
            (-0.1 / 3.0, boundary::Target::Nodes(vec![3])),
        ]
    );
}

#[test]
fn names_of_sets_fit_every_program() {
    let mut model = model(StoredMesh::Hex8(hexahedra()));
    model.sets = [
        "loaded",
        "Loaded",
        "1st set",
        "µ",
        "a_very_long_name_of_a_set_with_a_tail_1",
        "a_very_long_name_of_a_set_with_a_tail_2",
    ]
    .map(|name| NodeSet::new(name, vec![0]))
    .to_vec();
    assert_eq!(
        boundary::set_names(&model),
        [
            "LOADED",
            "LOADED_2",
            "SET_1ST_SET",
            "SET__",
            "A_VERY_LONG_NAME_OF_A_SET_WITH_A",
            "A_VERY_LONG_NAME_OF_A_SET_WITH_2"
        ]
    );
}

#[test]
fn materials_of_ansys() {
    let mut model = model(StoredMesh::Tet10(tetrahedra()));
    let cdb = text(&model, Format::Cdb);
    assert!(cdb.contains("ET,1,187\nNBLOCK"));
    assert!(cdb.contains(
        "MP,EX,1,5666.666666666667\nMP,PRXY,1,0.3\nTB,PLAS,1,1,3,MISO\nTBTEMP,0\nTBPT,DEFI,0,33.333333333333336\nTBPT,DEFI,0.01,30\nTBPT,DEFI,0.03333333333333333,8.25\nMP,EX,2,2500\nMP,PRXY,2,0.4\nD,"
    ));
    model.materials.curve[0] = 0;
    assert!(text(&model, Format::Cdb).contains("TB,BISO,1,1,2\nTBTEMP,0\nTBDATA,1,70,0\nMP,EX,2"));
    let mut hexes = self::model(StoredMesh::Hex8(hexahedra()));
    for (formulation, option) in [
        (Formulation::BBar, 0),
        (Formulation::Incompatible, 3),
        (Formulation::Full, 0),
    ] {
        hexes.formulation = formulation;
        let written = text(&hexes, Format::Cdb);
        assert!(written.contains(&format!("ET,1,185\nKEYOPT,1,2,{option}\n")));
    }
}

#[test]
fn febio_yields_at_one_stress_and_says_what_it_cannot() {
    let mut model = model(StoredMesh::Tet10(tetrahedra()));
    let elastic = "<!-- elastic here; the run let it yield along a curve -->\n<material id=\"1\" name=\"material_1\" type=\"isotropic elastic\"><E>5666.666666666667</E><v>0.3</v></material>";
    assert!(text(&model, Format::Feb).contains(elastic));
    let notes = |model: &StoredModel| {
        let written = model
            .content(Format::Feb, &material::distinct(model))
            .expect("a file");
        written.notes.join("\n")
    };
    assert!(notes(&model).contains("1 materials harden or soften"));
    model.materials.curve[0] = 0;
    assert!(!notes(&model).contains("harden"));
    assert!(text(&model, Format::Feb).contains(
        "type=\"von-Mises plasticity\"><E>5666.666666666667</E><v>0.3</v><Y>70</Y><H>0</H></material>"
    ));
    model.material_model = MaterialModel::Linear;
    assert!(!text(&model, Format::Feb).contains("plasticity"));
}

#[test]
fn the_vtu_file_is_the_model_with_the_numbers_of_the_materials() {
    let dir = tempfile::tempdir().expect("a directory");
    let model = model(StoredMesh::Tet10(tetrahedra()));
    let path = dir.path().join("export.vtu");
    let written = model
        .content(Format::Vtu, &material::distinct(&model))
        .expect("a file");
    std::fs::write(&path, written.bytes).expect("a file");
    assert_eq!(StoredModel::read(&path).expect("a model"), model);
    let file = meshing::vtu::VtuFile::read(&path).expect("a file");
    let array = file.cell_data.iter().find(|array| array.name == "material");
    assert_eq!(
        array.map(|array| &array.values),
        Some(&meshing::vtu::OwnedValues::I32(vec![1, 2]))
    );
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    for model in both() {
        for format in Format::ALL {
            let bytes = || {
                let grouped = material::distinct(&model);
                model.content(format, &grouped).expect("an export").bytes
            };
            assert_eq!(bytes(), bytes());
        }
    }
}
