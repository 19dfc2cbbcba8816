//! Ansys coded database: `NBLOCK`, `EBLOCK`, `CMBLOCK`, materials, displacements.
//!
//! Node order (Ansys Mechanical APDL Element Reference and Theory Reference, SOLID185 and SOLID187): SOLID185 `I J K L`
//! around one face, `M N O P` around the opposite one; SOLID187 corners `I J K L`, then `M` between I and J, `N` between
//! J and K, `O` between K and I, `P` between I and L, `Q` between J and L, `R` between K and L. Both are VTK's.

use std::fmt::Write as _;

use solver::{Formulation, MaterialModel};

use super::boundary::{Target, axis, motions, set_names};
use super::material::Grouped;
use super::numbers::{e25, number};
use super::{StoredMesh, StoredModel, Written};

/// Nodes of an element on the first line of `EBLOCK`, behind its eleven other numbers.
const FIRST_LINE: usize = 8;

pub(super) fn write(model: &StoredModel, grouped: &Grouped) -> Written {
    let mut notes = Vec::new();
    // KEYOPT(2) of SOLID185: 0 is mean dilatation (B-bar), 3 simplified enhanced strain.
    let (element, option) = match (&model.mesh, model.formulation) {
        (StoredMesh::Tet10(_), _) => (187, None),
        (StoredMesh::Hex8(_), Formulation::BBar) => (185, Some(0)),
        (StoredMesh::Hex8(_), Formulation::Incompatible) => {
            notes.push(
                "SOLID185 with simplified enhanced strain stands for the incompatible modes"
                    .to_owned(),
            );
            (185, Some(3))
        }
        (StoredMesh::Hex8(_), Formulation::Full) => {
            notes.push(
                "SOLID185 has no plain full integration: B-bar is written in its place".to_owned(),
            );
            (185, Some(0))
        }
    };
    if model.is_plastic() && model.material_model != MaterialModel::J2 {
        notes.push(
            "the run's secant material has no command: its curves are written as von Mises plasticity".to_owned(),
        );
    }
    // Writing to a string cannot fail.
    let mut text = String::from("/COM,OsteoLoad: the model of a run, mm, N, MPa\n");
    for note in &notes {
        let _ = writeln!(text, "/COM,{note}");
    }
    let _ = writeln!(
        text,
        "/COM,{} equal increments to the full displacement",
        model.increments
    );
    let _ = writeln!(text, "/PREP7\nET,1,{element}");
    if let Some(option) = option {
        let _ = writeln!(text, "KEYOPT,1,2,{option}");
    }
    let nodes = model.mesh.nodes_mm();
    let _ = writeln!(
        text,
        "NBLOCK,6,SOLID,{:>10},{:>10}\n(3i10,6e25.16e3)",
        nodes.len(),
        nodes.len()
    );
    for (position, label) in nodes.iter().zip(1..) {
        let [x, y, z] = position.map(e25);
        let _ = writeln!(text, "{label:>10}{:>10}{:>10}{x}{y}{z}", 0, 0);
    }
    text += "N,R5.3,LOC,       -1,\n";

    let elements = model.mesh.element_count();
    let _ = writeln!(
        text,
        "EBLOCK,19,SOLID,{elements:>10},{elements:>10}\n(19i10)"
    );
    let numbers = grouped.numbers(elements);
    for (number, material) in numbers.iter().enumerate() {
        let nodes = model.mesh.element(number);
        // Material, type, real constants, section, coordinates, birth, model reference, shape, nodes, unused, number.
        let fields = [
            *material as usize,
            1,
            1,
            1,
            0,
            0,
            0,
            0,
            nodes.len(),
            0,
            number + 1,
        ];
        for field in fields {
            let _ = write!(text, "{field:>10}");
        }
        for (place, node) in nodes.iter().enumerate() {
            if place == FIRST_LINE {
                text.push('\n');
            }
            let _ = write!(text, "{:>10}", node + 1);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{:>10}", -1);

    let names = set_names(model);
    for (set, name) in model.sets.iter().zip(&names) {
        let _ = writeln!(text, "CMBLOCK,{name},NODE,{:>8}\n(8i10)", set.nodes.len());
        for line in set.nodes.chunks(8) {
            for node in line {
                let _ = write!(text, "{:>10}", node + 1);
            }
            text.push('\n');
        }
    }
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = writeln!(
            text,
            "MP,EX,{label},{}\nMP,PRXY,{label},{}",
            number(material.youngs_modulus_mpa),
            number(material.poissons_ratio)
        );
        match material.curve.as_ref().map(|curve| curve.points()) {
            None => {}
            Some([[_, stress]]) => {
                let _ = writeln!(
                    text,
                    "TB,BISO,{label},1,2\nTBTEMP,0\nTBDATA,1,{},0",
                    number(*stress)
                );
            }
            Some(points) => {
                let _ = writeln!(text, "TB,PLAS,{label},1,{},MISO\nTBTEMP,0", points.len());
                for [strain, stress] in points {
                    let _ = writeln!(text, "TBPT,DEFI,{},{}", number(*strain), number(*stress));
                }
            }
        }
    }
    for motion in motions(model) {
        let label = axis(motion.component).to_ascii_uppercase();
        let value = number(motion.displacement_mm);
        match &motion.target {
            Target::Set(set) => {
                let _ = writeln!(text, "D,{},U{label},{value}", names[*set]);
            }
            Target::Nodes(nodes) => {
                for node in nodes {
                    let _ = writeln!(text, "D,{},U{label},{value}", node + 1);
                }
            }
        }
    }
    text += "FINISH\n";
    Written {
        bytes: text.into_bytes(),
        notes,
    }
}
