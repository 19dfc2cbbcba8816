//! Damaged decks are read or refused with their line; nothing panics or asks for absurd memory.
//!
//! How the attack works is told in the engine; `docs/robustness.md` has the figures. An input is a deck,
//! beside which stand `mesh.inp` (nodes and elements) and `self.inp`, which includes itself.

#[path = "../../tests/fuzz/engine.rs"]
mod engine;

use std::path::Path;

use engine::{Target, alone, peak, targets};
use solver::deck::{Deck, Options};

targets!(deck: 20);

/// Words of the format.
const WORDS: &[&str] = &[
    "*INCLUDE,INPUT=mesh.inp\n",
    "*INCLUDE,INPUT=x.inp\n",
    "*INCLUDE,INPUT=self.inp\n",
    "*INCLUDE,INPUT=.\n",
    "*NODE\n",
    "*ELEMENT,TYPE=C3D4\n",
    "*ELEMENT,TYPE=C3D8I,ELSET=E\n",
    "*ELEMENT,TYPE=C3D10\n",
    "*NSET,NSET=N,GENERATE\n",
    "*ELSET,ELSET=E,GENERATE\n",
    "1,4294967295,1\n",
    "*MATERIAL,NAME=M\n",
    "*ELASTIC\n",
    "*PLASTIC\n",
    "*SOLID SECTION,ELSET=E,MATERIAL=M\n",
    "*AMPLITUDE,NAME=A\n",
    "*BOUNDARY,OP=NEW\n",
    "*CLOAD,OP=NEW,AMPLITUDE=A\n",
    "*STEP,INC=1000000\n",
    "*STATIC,DIRECT\n",
    "*END STEP\n",
    "*NODE PRINT,NSET=N\nRF\n",
    "1e-9,1,1e-300,1e-300\n",
    "ENCASTRE",
    ",",
    "=",
    "\"",
    "**",
    "\n",
];

const MESH: &str = "*NODE,NSET=Nall\n1,0,0,0\n2,1,0,0\n3,0,1,0\n4,0,0,1\n*ELEMENT,TYPE=C3D4,ELSET=Eall\n1,1,2,3,4\n";

fn deck() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.inp");
    std::fs::write(folder.path().join("mesh.inp"), MESH).unwrap();
    std::fs::write(folder.path().join("self.inp"), "*INCLUDE,INPUT=self.inp\n").unwrap();
    Target {
        name: "deck",
        corpora: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"),
        seeds: Vec::new(),
        words: WORDS,
        tries: 20_000,
        // A step of a million planned increments takes 8 MB.
        memory: (48 << 20, 256),
        read: Box::new(move |bytes| {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, bytes).unwrap();
            let refusal = |e: solver::Error| {
                e.to_string()
                    .replace(&folder.path().display().to_string(), "")
            };
            let deck = Deck::read(&path).map_err(refusal)?;
            let elements = deck.element_count();
            let model = deck.into_model(&Options::default()).map_err(refusal)?;
            assert_eq!(model.element_labels.len(), elements);
            assert_eq!(model.model.materials.curve.len(), elements);
            let nodes = model.node_labels.len() as u32;
            for plan in &model.steps {
                let case = &plan.load_case;
                assert!(
                    case.prescribed
                        .iter()
                        .all(|held| held.node < nodes && held.component < 3)
                );
                assert!(
                    case.forces
                        .iter()
                        .all(|force| force.node < nodes && force.component < 3)
                );
                assert!(
                    plan.stepping
                        .factors
                        .iter()
                        .all(|factor| factor.is_finite())
                );
            }
            Ok(format!(
                "{:?} {:?} {} steps {} notes",
                model.model.formulation,
                model.model.material_model,
                model.steps.len().min(3),
                model.notes.len().min(5)
            ))
        }),
    }
}

/// A deck that includes one file a thousand times needs no more than its limit allows.
#[test]
fn files_included_again_and_again_are_bounded() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.inp");
    let comment = format!("** {}\n", "x".repeat(1 << 20));
    std::fs::write(folder.path().join("big.inp"), comment).unwrap();
    std::fs::write(&path, "*INCLUDE,INPUT=big.inp\n".repeat(900)).unwrap();
    let (bytes, answer) = peak(|| Deck::read(&path));
    // No element, but no refusal either: only the memory is in question.
    assert_eq!(answer.unwrap().element_count(), 0);
    assert!(bytes < 16 << 20, "{bytes} bytes");
}

/// What is no file is refused by name: a device would be read without end, a pipe waited for.
#[test]
#[cfg(unix)]
fn devices_and_folders_are_no_decks() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.inp");
    for target in ["/dev/zero", "."] {
        std::fs::write(&path, format!("*INCLUDE,INPUT={target}\n")).unwrap();
        let text = Deck::read(&path).unwrap_err().to_string();
        assert!(
            text.contains("is not a file") && text.contains("x.inp:1:"),
            "{text}"
        );
    }
    assert!(
        Deck::read(folder.path())
            .unwrap_err()
            .to_string()
            .contains("is not a file")
    );
}
