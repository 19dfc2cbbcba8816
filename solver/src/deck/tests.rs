use std::path::Path;

use super::*;
use crate::load_case::Stepping;
use crate::model::{Formulation, MaterialModel, Materials};

/// Two boxes of 1 x 2 x 3 mm side by side, numbered oddly; node 99 belongs to no element.
const TWO_BOXES: &str = "\
** two boxes
*Heading
two boxes, one of them yields
*NODE, NSET=Nall
10, 0,0,0
11, 1,0,0
12, 2,0,0
13, 0,2.,0.
14, 1.D0, 2.0 , 0
15, 2,2,0
20, 0,0,3
21, 1,0,3
22, 2,0,3
23, 0,2,3
24, 1,2,3
25, 2,2,3
99, 50,,
*ELEMENT,TYPE=C3D8,
 ELSET=RIGHT
7, 11,12,15,14,
 21,22,25,24
*element, elset=left, type=c3d8
5,10,11,14,13,20,21,24,23
*NSET, NSET=BOT, GENERATE
10,15
*NSET,NSET=TOP
20,21,22
23, 24, 25,
*NSET,NSET=BOTH
BOT, top
*ELSET,ELSET=ALL
LEFT,7
*MATERIAL,NAME=SOFT
*ELASTIC
1000.,0.3
*PLASTIC
10.,0
10.,0.01
4.,.05
*MATERIAL,NAME=HARD
*ELASTIC,TYPE=ISO
2000,.25
*SOLID SECTION,ELSET=LEFT,MATERIAL=SOFT
1.
*SOLID SECTION, ELSET=RIGHT, MATERIAL=HARD
*BOUNDARY
BOT,1,6
*STEP,INC=50
*STATIC,DIRECT
0.25,2.
*BOUNDARY
TOP,3,3,-0.1
99,1
*CLOAD
25,1,3.
25,1,4.
*NODE PRINT,NSET=TOP,TOTALS=ONLY
RF
*NODE PRINT,NSET=BOTH,FREQUENCY=2
U
*NODE FILE
U
*END STEP
";

fn parse(text: &str) -> Result<Deck> {
    Deck::parse(Path::new("test.inp"), text)
}

/// Line and reason of the refusal of a deck, by the reader or by the conversion.
fn refusal(text: &str) -> (usize, String) {
    match parse(text).and_then(|deck| deck.into_model(&Options::default())) {
        Err(Error::Deck { file, line, reason }) => {
            assert_eq!(file, "test.inp");
            (line, reason)
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Replaces a piece of the deck that is there once and returns the refusal.
fn refusal_with(from: &str, to: &str) -> (usize, String) {
    assert_eq!(TWO_BOXES.matches(from).count(), 1, "{from}");
    refusal(&TWO_BOXES.replace(from, to))
}

/// Number of the first line of the deck that contains `text`.
fn line_of(text: &str) -> usize {
    TWO_BOXES.lines().position(|l| l.contains(text)).unwrap() + 1
}

#[test]
fn the_parts_of_a_deck_are_read() {
    let deck = parse(TWO_BOXES).unwrap();
    assert_eq!(deck.heading, "two boxes, one of them yields");
    assert_eq!(deck.node_labels.len(), 13);
    assert_eq!(deck.nodes_mm[4], [1.0, 2.0, 0.0]);
    assert_eq!(deck.nodes_mm[12], [50.0, 0.0, 0.0]);
    assert_eq!(deck.hexahedra.labels, [7, 5]);
    assert_eq!(deck.hexahedra.nodes[0], [1, 2, 5, 4, 7, 8, 11, 10]);
    assert_eq!(deck.node_sets["BOT"], [0, 1, 2, 3, 4, 5]);
    assert_eq!(deck.node_sets["BOTH"], (0..12).collect::<Vec<u32>>());
    assert_eq!(deck.node_sets["NALL"].len(), 13);
    assert_eq!(deck.element_sets["ALL"], [5, 7]);
    assert_eq!(deck.materials[0].elastic, Some([1000.0, 0.3]));
    assert_eq!(
        deck.materials[0].plastic,
        [[0.0, 10.0], [0.01, 10.0], [0.05, 4.0]]
    );
    let step = &deck.steps[0];
    assert_eq!(step.most_increments, 50);
    assert!(step.procedure.direct);
    assert_eq!((step.procedure.initial, step.procedure.period), (0.25, 2.0));
    // *NODE FILE is passed over and said so.
    assert_eq!(deck.notes.len(), 1);
    assert_eq!(deck.notes[0].at.line as usize, line_of("*NODE FILE"));
}

#[test]
fn the_model_is_in_lattice_order_with_the_labels_of_the_deck() {
    let ready = parse(TWO_BOXES)
        .unwrap()
        .into_model(&Options::default())
        .unwrap();
    let model = &ready.model;
    model.check().unwrap();
    let lattice = model.mesh.lattice().unwrap();
    assert_eq!(lattice.spacing_mm, [1.0, 2.0, 3.0]);
    assert_eq!(lattice.cells, [2, 1, 1]);
    assert_eq!(ready.element_labels, [5, 7]);
    assert_eq!(
        ready.node_labels,
        [10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25]
    );
    assert_eq!(model.materials.youngs_modulus_mpa, [1000.0, 2000.0]);
    assert_eq!(model.materials.poissons_ratio, [0.3, 0.25]);
    assert_eq!(model.materials.curve, [0, Materials::ELASTIC]);
    assert_eq!(model.materials.curves.len(), 1);
    assert_eq!(model.formulation, Formulation::Full);
    assert_eq!(model.material_model, MaterialModel::J2);
}

#[test]
fn the_step_becomes_a_load_case() {
    let ready = parse(TWO_BOXES)
        .unwrap()
        .into_model(&Options::default())
        .unwrap();
    let [plan] = &ready.steps[..] else {
        panic!("one step")
    };
    let case = &plan.load_case;
    // Bottom: 6 nodes in x, y, z (rotations 4 to 6 are not there); top: 6 nodes in z. Node 99 has no element.
    assert_eq!(case.prescribed.len(), 24);
    let moved: Vec<u32> = case
        .prescribed
        .iter()
        .filter(|p| p.displacement_mm != 0.0)
        .map(|p| {
            assert_eq!((p.component, p.displacement_mm), (2, -0.1));
            p.node
        })
        .collect();
    assert_eq!(moved, [6, 7, 8, 9, 10, 11]);
    assert!(
        ready
            .notes
            .iter()
            .any(|n| n.text.starts_with("1 prescribed"))
    );
    // Forces given twice in a step add up.
    let forces: Vec<_> = case
        .forces
        .iter()
        .map(|f| (f.node, f.component, f.force_n))
        .collect();
    assert_eq!(forces, [(11, 0, 7.0)]);
    let names: Vec<&str> = case.monitors.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["BOT", "TOP"]);
    assert_eq!(case.monitors[1].nodes, [6, 7, 8, 9, 10, 11]);
    let factors: Vec<f64> = (1..=8).map(|n| f64::from(n) / 8.0).collect();
    assert_eq!(plan.stepping.factors, factors);
    assert_eq!(plan.period, 2.0);
    assert!((plan.stepping.tolerance - 1e-6).abs() < 1e-20);
    let asked: Vec<_> = plan
        .prints
        .iter()
        .map(|p| (p.set.as_str(), p.quantity, p.frequency, p.nodes.len()))
        .collect();
    assert_eq!(
        asked,
        [
            ("TOP", Quantity::Reaction, 1, 6),
            ("BOTH", Quantity::Displacement, 2, 12)
        ]
    );
}

#[test]
fn a_crooked_mesh_takes_the_general_path() {
    let text = TWO_BOXES.replace("25, 2,2,3", "25, 2.1,2,3");
    let ready = parse(&text)
        .unwrap()
        .into_model(&Options::default())
        .unwrap();
    assert_eq!(ready.model.mesh.lattice(), None);
    assert_eq!(ready.element_labels, [7, 5]);
    assert_eq!(ready.node_labels.len(), 12);
    assert_eq!(ready.model.mesh.element(1), [0, 1, 4, 3, 6, 7, 10, 9]);
    assert_eq!(ready.model.materials.youngs_modulus_mpa, [2000.0, 1000.0]);
}

#[test]
fn the_formulation_follows_the_deck_or_the_option() {
    let text = TWO_BOXES
        .replace("C3D8,\n", "C3D8I,\n")
        .replace("c3d8", "C3D8I");
    let formulation = |options: &Options| {
        let ready = parse(&text).unwrap().into_model(options).unwrap();
        ready.model.formulation
    };
    assert_eq!(formulation(&Options::default()), Formulation::Incompatible);
    let options = Options {
        formulation: Some(Formulation::BBar),
        ..Options::default()
    };
    assert_eq!(formulation(&options), Formulation::BBar);
    let (line, reason) = refusal_with("type=c3d8", "type=c3d8i");
    assert_eq!(line, line_of("type=c3d8"));
    assert!(reason.contains("C3D8I"), "{reason}");
}

#[test]
fn increments_follow_the_card() {
    let stepping = |statics: &str, inc: &str| {
        let text = TWO_BOXES
            .replace("*STATIC,DIRECT\n0.25,2.", statics)
            .replace("INC=50", inc);
        let ready = parse(&text).unwrap().into_model(&Options::default());
        ready.map(|r| r.steps[0].stepping.clone()).unwrap()
    };
    let sizes = |s: &Stepping| {
        let planned = s.factors[0];
        [s.first_fraction, s.smallest_fraction].map(|fraction| fraction * planned)
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    // All four numbers of an automatic step of length 2.
    let s = stepping("*STATIC\n0.1,2.,0.002,0.5", "INC=77");
    assert_eq!(s.factors, [0.25, 0.5, 0.75, 1.0]);
    assert_eq!(s.most_increments, 77);
    let [first, smallest] = sizes(&s);
    assert!(near(first, 0.05) && near(smallest, 0.001));
    // Without the last two: down to 1e-5 of the step, up to all of it.
    let s = stepping("*STATIC\n0.1,2.", "INC=50");
    assert_eq!(s.factors, [1.0]);
    let [first, smallest] = sizes(&s);
    assert!(near(first, 0.05) && near(smallest, 1e-5));
    // Without any: one increment.
    let s = stepping("*STATIC", "INC=50");
    assert_eq!((s.factors, s.first_fraction), (vec![1.0], 1.0));
    // Fixed increments are all planned, also where they do not divide the step.
    let s = stepping("*STATIC,DIRECT\n0.4,1.0", "INC=50");
    assert_eq!(s.factors, [0.4, 0.8, 1.0]);
    assert_eq!(s.first_fraction, 1.0);
    let (line, reason) = refusal_with("INC=50", "INC=7");
    assert_eq!(line, line_of("*STEP"));
    assert!(reason.contains("INC=7"), "{reason}");
}

#[test]
fn elastic_steps_follow_each_other() {
    let second = "*AMPLITUDE,NAME=A\n0.,0.,1.,0.5,2.,4.\n*STEP\n*STATIC\n*BOUNDARY,AMPLITUDE=A\nTOP,3,3,-0.2\n*CLOAD\n24,2,5.\n*END STEP\n";
    let text = TWO_BOXES
        .replace("*PLASTIC\n10.,0\n10.,0.01\n4.,.05\n", "")
        .replace(
            "*BOUNDARY\nBOT",
            "*AMPLITUDE,NAME=A\n0.,0.,1.,0.5,2.,4.\n*BOUNDARY\nBOT",
        )
        + second.split_once("4.\n").unwrap().1;
    let ready = parse(&text)
        .unwrap()
        .into_model(&Options::default())
        .unwrap();
    assert_eq!(ready.model.material_model, MaterialModel::Linear);
    let [one, two] = &ready.steps[..] else {
        panic!("two steps")
    };
    assert_eq!(one.stepping.factors, [1.0]);
    assert_eq!((two.start_time, two.period), (2.0, 1.0));
    let top = two
        .load_case
        .prescribed
        .iter()
        .find(|p| p.node == 6 && p.component == 2);
    assert_eq!(top.unwrap().displacement_mm, -0.1);
    // The force of the first step stays, the second joins it.
    let forces: Vec<_> = two
        .load_case
        .forces
        .iter()
        .map(|f| (f.node, f.component, f.force_n))
        .collect();
    assert_eq!(forces, [(10, 1, 5.0), (11, 0, 7.0)]);
    let (line, reason) = refusal(&(TWO_BOXES.to_string() + "*STEP\n*STATIC\n*END STEP\n"));
    assert_eq!(line, TWO_BOXES.lines().count() + 1);
    assert!(reason.contains("second step"), "{reason}");
}

#[test]
fn op_new_lifts_what_came_before() {
    let ready =
        parse(&TWO_BOXES.replace("*BOUNDARY\nTOP,3,3,-0.1", "*BOUNDARY,OP=NEW\nTOP,1,3,-0.1"))
            .unwrap()
            .into_model(&Options::default())
            .unwrap();
    let case = &ready.steps[0].load_case;
    assert_eq!(case.prescribed.len(), 18);
    assert_eq!(case.monitors[0].name, "TOP");
}

#[test]
fn amplitudes_are_straight_between_their_points() {
    let a = Amplitude {
        points: vec![[1.0, 2.0], [2.0, 4.0], [4.0, 0.0]],
        at: At::default(),
    };
    let at = [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0].map(|t| a.at_time(t));
    assert_eq!(at, [2.0, 2.0, 3.0, 4.0, 2.0, 0.0, 0.0]);
}

#[test]
fn plastic_steps_take_only_straight_amplitudes() {
    let with = |points: &str| {
        TWO_BOXES
            .replace(
                "*BOUNDARY\nBOT",
                &format!("*AMPLITUDE,NAME=A\n{points}\n*BOUNDARY\nBOT"),
            )
            .replace("*BOUNDARY\nTOP", "*BOUNDARY,AMPLITUDE=A\nTOP")
    };
    let ready = parse(&with("0.,0.,2.,3."))
        .unwrap()
        .into_model(&Options::default())
        .unwrap();
    let top = ready.steps[0].load_case.prescribed.last().unwrap();
    assert!((top.displacement_mm + 0.3).abs() < 1e-15);
    let (line, reason) = refusal(&with("0.,0.,1.,0.9,2.,1."));
    assert_eq!(line, line_of("*BOUNDARY"));
    assert!(reason.contains("straight ramp"), "{reason}");
}

#[test]
fn refusals_name_the_line_and_the_reason() {
    // What is replaced, by what, the line blamed, a word of the reason.
    let cases: &[(&str, &str, &str, &str)] = &[
        ("*NODE FILE", "*DLOAD", "*NODE FILE", "*DLOAD"),
        ("13, 0,2.,0.", "13, 0,zwei,0.", "13, 0", "zwei"),
        ("13, 0,2.,0.", "13, 0,nan,0.", "13, 0", "nan"),
        ("13, 0,2.,0.", "13, 0,1,2,3", "13, 0", "three"),
        ("13, 0,2.,0.", "-13, 0,1,2", "13, 0", "positive"),
        ("13, 0,2.,0.", "12, 0,2,0", "13, 0", "twice"),
        (" 21,22,25,24", " 21,22,25,77", "7, 11", "77"),
        (" 21,22,25,24", " 21,22,25,24,23", " 21,22,25", "more than"),
        (" 21,22,25,24", "** lost", "7, 11", "needs 8"),
        (
            "5,10,11,14,13,20,21,24,23",
            "7,10,11,14,13,20,21,24,23",
            "5,10,11",
            "twice",
        ),
        ("5,10,11,14,13,20,21,24,23", "5,10,11", "5,10,11", "needs 8"),
        ("type=c3d8", "type=c3d20", "*element", "C3D20"),
        ("*NSET,NSET=TOP\n20", "*NSET,NSET=TOP\n26", "20,21,22", "26"),
        ("10,15\n", "10,16\n", "10,15", "node 16"),
        ("10,15\n", "1,4000000000\n", "10,15", "4000000000"),
        ("10,15\n", "15,10\n", "10,15", "empty"),
        ("BOT, top", "BOT, middle", "BOT, top", "middle"),
        (
            "*ELASTIC,TYPE=ISO",
            "*ELASTIC,TYPE=ORTHO",
            "*ELASTIC,TYPE",
            "ORTHO",
        ),
        ("2000,.25", "-2000,.25", "2000,.25", "-2000"),
        ("2000,.25", "2000,.5", "2000,.25", "0.5"),
        ("2000,.25", "2000", "2000,.25", "1 values"),
        ("10.,0.01\n", "10.,0.\n", "10.,0.01", "ascend"),
        ("10.,0\n", "10.,0.001\n", "10.,0", "must be 0"),
        ("4.,.05", "0.,.05", "4.,.05", "positive"),
        (
            "*PLASTIC",
            "*PLASTIC,HARDENING=KINEMATIC",
            "*PLASTIC",
            "KINEMATIC",
        ),
        (
            "MATERIAL=HARD\n",
            "MATERIAL=WOOD\n",
            "*SOLID SECTION, ELSET=RIGHT",
            "WOOD",
        ),
        (
            "ELSET=RIGHT, M",
            "ELSET=UP, M",
            "*SOLID SECTION, ELSET=RIGHT",
            "UP",
        ),
        (
            "ELSET=RIGHT, M",
            "ELSET=ALL, M",
            "*SOLID SECTION, ELSET=RIGHT",
            "already",
        ),
        (
            "*SOLID SECTION, ELSET=RIGHT, MATERIAL=HARD\n",
            "",
            "7, 11",
            "element 7",
        ),
        (
            "*ELASTIC,TYPE=ISO\n2000,.25\n",
            "",
            "*MATERIAL,NAME=HARD",
            "no *ELASTIC",
        ),
        ("BOT,1,6", "BOT,1,7", "BOT,1,6", "1 to 7"),
        ("BOT,1,6", "BOT,1,3,0.1", "BOT,1,6", "inside a step"),
        ("BOT,1,6", "FOOT,1,3", "BOT,1,6", "FOOT"),
        ("TOP,3,3,-0.1", "TOP,3,4,-0.1", "TOP,3,3", "3 to 4"),
        ("99,1\n", "98,1\n", "99,1", "98"),
        ("25,1,3.", "99,1,3.", "25,1,3.", "node 99"),
        ("25,1,3.", "25,4,3.", "25,1,3.", "component 4"),
        ("*STEP,INC=50", "*STEP,NLGEOM,INC=50", "*STEP", "NLGEOM"),
        (
            "*STATIC,DIRECT",
            "*STATIC,DIRECT,STABILIZE",
            "*STATIC",
            "STABILIZE",
        ),
        ("0.25,2.", "3.,2.", "0.25,2.", "longer"),
        ("*STATIC,DIRECT\n0.25,2.\n", "", "*STEP", "no *STATIC"),
        (
            "*NODE PRINT,NSET=TOP",
            "*NODE PRINT,NSET=TIP",
            "*NODE PRINT",
            "TIP",
        ),
    ];
    for &(from, to, blamed, word) in cases {
        let (line, reason) = refusal_with(from, to);
        assert_eq!(line, line_of(blamed), "{to}: {reason}");
        assert!(reason.contains(word), "{to}: {reason}");
    }
}

#[test]
fn the_end_of_the_deck_is_checked() {
    let lines = TWO_BOXES.lines().count();
    let (line, reason) = refusal_with("*END STEP\n", "");
    assert_eq!(line, lines - 1);
    assert!(reason.contains("*END STEP is missing"), "{reason}");
    let (line, reason) = refusal(&(TWO_BOXES.to_string() + "1,2,3\n"));
    assert_eq!(line, lines + 1);
    assert!(reason.contains("data line"), "{reason}");
}

#[test]
fn flat_and_inverted_elements_are_named() {
    let inverted = "5,20,21,24,23,10,11,14,13";
    let (line, reason) = refusal_with("5,10,11,14,13,20,21,24,23", inverted);
    assert_eq!(line, line_of("5,10,11"));
    assert!(reason.contains("element 5"), "{reason}");
}

#[test]
fn a_deck_cut_anywhere_is_refused() {
    let end = TWO_BOXES.len() - "*END STEP\n".len();
    for cut in 0..end {
        let deck = parse(&TWO_BOXES[..cut]).and_then(|d| d.into_model(&Options::default()));
        assert!(matches!(deck, Err(Error::Deck { .. })), "cut at {cut}");
    }
}

#[test]
fn broken_bytes_never_panic() {
    // Knuth's MMIX generator.
    let mut state = 1_u64;
    let mut next = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    const LIKELY: &[u8] = b"0123456789,,*=.-eE\n ABCNSTEP\xff\0";
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = TWO_BOXES.as_bytes().to_vec();
        for _ in 0..1 + next(3) {
            let at = next(bytes.len());
            bytes[at] = LIKELY[next(LIKELY.len())];
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(deck) = parse(&text) {
            read += usize::from(deck.into_model(&Options::default()).is_ok());
        }
    }
    // Many a broken byte lies in a comment or leaves a legal deck.
    assert!(read > 500, "{read}");
}

#[test]
fn included_files_are_read_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let (mesh, rest) = TWO_BOXES.split_once("*MATERIAL,NAME=SOFT").unwrap();
    std::fs::create_dir(dir.path().join("parts")).unwrap();
    std::fs::write(dir.path().join("parts/Mesh.inp"), mesh).unwrap();
    let main = dir.path().join("main.inp");
    let text = format!(
        "**INCLUDE,INPUT=nothing.inp\n*INCLUDE, INPUT=parts/Mesh.inp\n*MATERIAL,NAME=SOFT{rest}"
    );
    std::fs::write(&main, &text).unwrap();
    let deck = Deck::read(&main).unwrap();
    assert_eq!(deck.element_count(), 2);
    assert_eq!(deck.files.len(), 2);
    assert_eq!(deck.materials[0].at, At { file: 0, line: 3 });
    assert_eq!(deck.hexahedra.at[0].file, 1);
    assert_eq!(deck.steps.len(), 1);
    // An error inside the included file names that file.
    std::fs::write(dir.path().join("parts/Mesh.inp"), "*NODE\n1,a,0,0\n").unwrap();
    match Deck::read(&main) {
        Err(Error::Deck { file, line, .. }) => {
            assert!(file.ends_with("Mesh.inp"), "{file}");
            assert_eq!(line, 2);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn include_loops_and_missing_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.inp");
    std::fs::write(&path, "** first\n*INCLUDE,INPUT=b.inp\n").unwrap();
    let line_and_reason = || match Deck::read(&path) {
        Err(Error::Deck { line, reason, .. }) => (line, reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(line_and_reason().0, 2);
    std::fs::write(dir.path().join("b.inp"), "*INCLUDE,INPUT=a.inp\n").unwrap();
    let (line, reason) = line_and_reason();
    assert_eq!(line, 1);
    assert!(reason.contains("includes itself"), "{reason}");
    // Files that double at every level.
    for level in 0..20 {
        let text = format!("*INCLUDE,INPUT=l{}.inp\n", level + 1).repeat(2);
        std::fs::write(dir.path().join(format!("l{level}.inp")), text).unwrap();
    }
    std::fs::write(dir.path().join("l20.inp"), "").unwrap();
    std::fs::write(&path, "*INCLUDE,INPUT=l0.inp\n").unwrap();
    assert!(line_and_reason().1.contains("files are included"));
    assert!(matches!(
        Deck::read(&dir.path().join("none.inp")),
        Err(Error::Io { .. })
    ));
}

mod cases;
