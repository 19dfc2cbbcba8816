//! Abaqus and CalculiX keyword deck, which CalculiX and `osteoload solve` run as it is.
//!
//! Node order of `C3D8` and `C3D10` (Abaqus Analysis User's Guide, three-dimensional solid element library; CalculiX
//! CrunchiX USER'S MANUAL 2.20, "Eight-node brick element" and "Ten-node tetrahedral element"): for the brick 1-4
//! anticlockwise around one face seen from the opposite one, 5-8 above them; for the tetrahedron the corners 1-4, then
//! the middles of 1-2, 2-3, 3-1, 1-4, 2-4, 3-4. Both are VTK's.
//!
//! One unit of time is one increment.

use std::fmt::Write as _;

use solver::{Formulation, MaterialModel};

use super::boundary::{Target, motions, set_names};
use super::material::Grouped;
use super::numbers::{list, short_number};
use super::{StoredMesh, StoredModel, Written};
use crate::exit::Failure;

/// Entries that CalculiX reads from one line of a set.
const ON_A_LINE: usize = 16;

pub(super) fn write(model: &StoredModel, grouped: &Grouped) -> anyhow::Result<Written> {
    let mut notes = Vec::new();
    let element = match (&model.mesh, model.formulation) {
        (StoredMesh::Tet10(_), _) => "C3D10",
        (StoredMesh::Hex8(_), Formulation::Incompatible) => "C3D8I",
        (StoredMesh::Hex8(_), Formulation::Full) => "C3D8",
        (StoredMesh::Hex8(_), Formulation::BBar) => {
            notes.push(
                "CalculiX has no B-bar brick: C3D8 is written, which locks in plastic flow; `osteoload solve --element-formulation bbar` solves the deck with B-bar"
                    .to_owned(),
            );
            "C3D8"
        }
    };
    if model.is_plastic() && model.material_model != MaterialModel::J2 {
        notes.push(
            "the run's secant material has no keyword: its curves are written as von Mises plasticity".to_owned(),
        );
    }
    let number = |value: f64| {
        short_number(value).ok_or_else(|| {
            Failure::input(format!(
                "{value:e} has too many digits for a deck of 20 characters"
            ))
        })
    };
    // Writing to a string cannot fail.
    let mut text = String::from("*HEADING\nOsteoLoad: the model of a run, mm, N, MPa\n");
    for note in &notes {
        let _ = writeln!(text, "** {note}");
    }
    text += "*NODE, NSET=NALL\n";
    for (position, label) in model.mesh.nodes_mm().iter().zip(1..) {
        let [x, y, z] = position.map(number);
        let _ = writeln!(text, "{label}, {}, {}, {}", x?, y?, z?);
    }
    let _ = writeln!(text, "*ELEMENT, TYPE={element}, ELSET=EALL");
    for number in 0..model.mesh.element_count() {
        let _ = write!(text, "{}", number + 1);
        for node in model.mesh.element(number) {
            let _ = write!(text, ", {}", node + 1);
        }
        text.push('\n');
    }
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = writeln!(text, "*ELSET, ELSET=MATERIAL_{label}");
        let elements = material.elements.iter().map(|element| element + 1);
        text += &list(elements, ON_A_LINE);
    }
    let names = set_names(model);
    for (set, name) in model.sets.iter().zip(&names) {
        let _ = writeln!(text, "*NSET, NSET={name}");
        text += &list(set.nodes.iter().map(|node| node + 1), ON_A_LINE);
    }
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = writeln!(
            text,
            "*MATERIAL, NAME=MATERIAL_{label}\n*ELASTIC\n{}, {}",
            number(material.youngs_modulus_mpa)?,
            number(material.poissons_ratio)?
        );
        if let Some(curve) = &material.curve {
            text += "*PLASTIC\n";
            for &[strain, stress] in curve.points() {
                let _ = writeln!(text, "{}, {}", number(stress)?, number(strain)?);
            }
        }
        let _ = writeln!(
            text,
            "*SOLID SECTION, ELSET=MATERIAL_{label}, MATERIAL=MATERIAL_{label}"
        );
    }
    if model.is_plastic() {
        let count = model.increments;
        let _ = writeln!(text, "*STEP, INC={count}\n*STATIC, DIRECT\n1., {count}.");
    } else {
        text += "*STEP\n*STATIC\n";
    }
    text += "*BOUNDARY\n";
    for motion in motions(model) {
        let component = motion.component + 1;
        let ending = format!(
            "{component}, {component}, {}",
            number(motion.displacement_mm)?
        );
        match &motion.target {
            Target::Set(set) => {
                let _ = writeln!(text, "{}, {ending}", names[*set]);
            }
            Target::Nodes(nodes) => {
                for node in nodes {
                    let _ = writeln!(text, "{}, {ending}", node + 1);
                }
            }
        }
    }
    for name in &names {
        let _ = writeln!(
            text,
            "*NODE PRINT, NSET={name}, TOTALS=ONLY\nRF\n*NODE PRINT, NSET={name}\nU"
        );
    }
    text += "*END STEP\n";
    Ok(Written {
        bytes: text.into_bytes(),
        notes,
    })
}
