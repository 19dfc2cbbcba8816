//! FEBio input, specification 4.0.
//!
//! Node order (FEBio User Manual, "Elements"; FEBio Theory Manual 4.1, solid elements): `hex8` 1-4 around one face, 5-8
//! above them; `tet10` corners 1-4, then the middles of 1-2, 2-3, 3-1, 1-4, 2-4, 3-4. Both are VTK's.
//!
//! FEBio's `von-Mises plasticity` hardens linearly and cannot soften. A material that yields at one stress is written
//! with it; one with a longer curve is written as elastic, which the file says and the user is told.
//!
//! One unit of time is one increment.

use std::fmt::Write as _;

use solver::MaterialModel;

use super::boundary::{Target, axis, motions, set_names};
use super::material::{Grouped, Material};
use super::numbers::number;
use super::{StoredMesh, StoredModel, Written};

pub(super) fn write(model: &StoredModel, grouped: &Grouped) -> Written {
    let mut notes = vec!["FEBio computes with finite strains; the run had small ones".to_owned()];
    if matches!(model.mesh, StoredMesh::Hex8(_)) {
        notes.push("FEBio's hex8 is integrated in full, whatever the run used".to_owned());
    }
    if model.is_plastic() && model.material_model != MaterialModel::J2 {
        notes.push(
            "the run's secant model has no counterpart: one yield stress is written as von Mises plasticity"
                .to_owned(),
        );
    }
    let curved = grouped
        .materials
        .iter()
        .filter(|material| hardens(material))
        .count();
    if curved > 0 {
        notes.push(format!(
            "{curved} materials harden or soften along a curve, which FEBio has no small-strain material for: they are written as elastic and never yield"
        ));
    }
    let element = match model.mesh {
        StoredMesh::Hex8(_) => "hex8",
        StoredMesh::Tet10(_) => "tet10",
    };
    let increments = model.increments;
    // Writing to a string cannot fail.
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<febio_spec version=\"4.0\">\n\
         <!-- OsteoLoad: the model of a run, mm, N, MPa -->\n",
    );
    for note in &notes {
        let _ = writeln!(text, "<!-- {note} -->");
    }
    let _ = write!(
        text,
        "<Module type=\"solid\"/>\n<Control>\n<analysis>STATIC</analysis>\n\
         <time_steps>{increments}</time_steps>\n<step_size>1</step_size>\n\
         <solver type=\"solid\"><symmetric_stiffness>symmetric</symmetric_stiffness></solver>\n</Control>\n<Material>\n"
    );
    for (material, label) in grouped.materials.iter().zip(1..) {
        let yields = match &material.curve {
            Some(curve) if !hardens(material) => curve.points().first().map(|point| point[1]),
            _ => None,
        };
        let kind = match yields {
            Some(_) => "von-Mises plasticity",
            None => "isotropic elastic",
        };
        if hardens(material) {
            text += "<!-- elastic here; the run let it yield along a curve -->\n";
        }
        let _ = write!(
            text,
            "<material id=\"{label}\" name=\"material_{label}\" type=\"{kind}\"><E>{}</E><v>{}</v>",
            number(material.youngs_modulus_mpa),
            number(material.poissons_ratio)
        );
        if let Some(stress) = yields {
            let _ = write!(text, "<Y>{}</Y><H>0</H>", number(stress));
        }
        text += "</material>\n";
    }
    text += "</Material>\n<Mesh>\n<Nodes name=\"nodes\">\n";
    for (position, label) in model.mesh.nodes_mm().iter().zip(1..) {
        let [x, y, z] = position.map(number);
        let _ = writeln!(text, "<node id=\"{label}\">{x},{y},{z}</node>");
    }
    text += "</Nodes>\n";
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = writeln!(text, "<Elements type=\"{element}\" name=\"part_{label}\">");
        for &number in &material.elements {
            let nodes: Vec<String> = model
                .mesh
                .element(number as usize)
                .iter()
                .map(|node| (node + 1).to_string())
                .collect();
            let _ = writeln!(
                text,
                "<elem id=\"{}\">{}</elem>",
                number + 1,
                nodes.join(",")
            );
        }
        text += "</Elements>\n";
    }
    let names = set_names(model);
    let node_set = |text: &mut String, name: &str, nodes: &[u32]| {
        let nodes: Vec<String> = nodes.iter().map(|node| (node + 1).to_string()).collect();
        let _ = writeln!(
            text,
            "<NodeSet name=\"{name}\">{}</NodeSet>",
            nodes.join(",")
        );
    };
    for (set, name) in model.sets.iter().zip(&names) {
        node_set(&mut text, name, &set.nodes);
    }
    let motions = motions(model);
    let mut targets = Vec::new();
    for (motion, label) in motions.iter().zip(1..) {
        targets.push(match &motion.target {
            Target::Set(set) => names[*set].clone(),
            Target::Nodes(nodes) => {
                // Names of sets are in upper case, so that this is none of them.
                let name = format!("prescribed_{label}");
                node_set(&mut text, &name, nodes);
                name
            }
        });
    }
    text += "</Mesh>\n<MeshDomains>\n";
    for label in 1..=grouped.materials.len() {
        let _ = writeln!(
            text,
            "<SolidDomain name=\"part_{label}\" type=\"elastic-solid\" mat=\"material_{label}\"/>"
        );
    }
    text += "</MeshDomains>\n<Boundary>\n";
    for ((motion, target), label) in motions.iter().zip(&targets).zip(1..) {
        let dof = axis(motion.component);
        if motion.displacement_mm == 0.0 {
            let _ = writeln!(
                text,
                "<bc name=\"bc_{label}\" type=\"zero displacement\" node_set=\"{target}\"><{dof}_dof>1</{dof}_dof></bc>"
            );
        } else {
            let _ = writeln!(
                text,
                "<bc name=\"bc_{label}\" type=\"prescribed displacement\" node_set=\"{target}\"><dof>{dof}</dof><value lc=\"1\">{}</value></bc>",
                number(motion.displacement_mm)
            );
        }
    }
    let _ = write!(
        text,
        "</Boundary>\n<LoadData>\n<load_controller id=\"1\" name=\"ramp\" type=\"loadcurve\"><interpolate>LINEAR</interpolate>\
         <extend>CONSTANT</extend><points><pt>0,0</pt><pt>{increments},1</pt></points></load_controller>\n</LoadData>\n\
         <Output>\n<plotfile type=\"febio\"><var type=\"displacement\"/><var type=\"stress\"/><var type=\"reaction forces\"/></plotfile>\n</Output>\n\
         </febio_spec>\n"
    );
    Written {
        bytes: text.into_bytes(),
        notes,
    }
}

/// Whether a material yields at more than one stress.
fn hardens(material: &Material) -> bool {
    material
        .curve
        .as_ref()
        .is_some_and(|curve| curve.points().len() > 1)
}
