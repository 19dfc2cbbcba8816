//! Gmsh mesh file 4.1, ASCII.
//!
//! Node order (Gmsh reference manual, "Node ordering"): the hexahedron is VTK's; the 10-node tetrahedron has its corners,
//! then the middles of 0-1, 1-2, 2-0, 3-0, 2-3, 1-3, so that against VTK's order the last two are exchanged.
//!
//! Every material is a volume with a physical group, and every node set a physical group of points: one point element
//! on each node of the set. The format holds no materials; a comment lists them.

use std::fmt::Write as _;

use super::boundary::set_names;
use super::material::Grouped;
use super::numbers::number;
use super::{StoredMesh, StoredModel, Written};

const HEX8: u32 = 5;
const TET10: u32 = 11;
const POINT: u32 = 15;
/// Place in VTK's order of each node in Gmsh's.
const TET10_ORDER: [usize; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 8];
const HEX8_ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

pub(super) fn write(model: &StoredModel, grouped: &Grouped) -> Written {
    let nodes = model.mesh.nodes_mm();
    let elements = model.mesh.element_count();
    let (kind, order) = match model.mesh {
        StoredMesh::Hex8(_) => (HEX8, &HEX8_ORDER[..]),
        StoredMesh::Tet10(_) => (TET10, &TET10_ORDER[..]),
    };
    let names = set_names(model);
    // A group of no points is none.
    let sets: Vec<(usize, &meshing::NodeSet)> = model
        .sets
        .iter()
        .enumerate()
        .filter(|(_, set)| !set.nodes.is_empty())
        .collect();
    // Writing to a string cannot fail.
    let mut text = String::from("$MeshFormat\n4.1 0 8\n$EndMeshFormat\n$Comments\n");
    text += "OsteoLoad: the model of a run, mm, MPa\n";
    text += "material: Young's modulus, Poisson's ratio; plastic strain, yield stress ...\n";
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = write!(
            text,
            "material_{label}: {}, {}",
            number(material.youngs_modulus_mpa),
            number(material.poissons_ratio)
        );
        for [strain, stress] in material.curve.iter().flat_map(|curve| curve.points()) {
            let _ = write!(text, "; {}, {}", number(*strain), number(*stress));
        }
        text.push('\n');
    }
    let groups = grouped.materials.len() + sets.len();
    let _ = writeln!(text, "$EndComments\n$PhysicalNames\n{groups}");
    for (number, _) in &sets {
        let _ = writeln!(text, "0 {} \"{}\"", number + 1, names[*number]);
    }
    for label in 1..=grouped.materials.len() {
        let _ = writeln!(text, "3 {label} \"material_{label}\"");
    }
    let _ = writeln!(
        text,
        "$EndPhysicalNames\n$Entities\n{} 0 0 {}",
        sets.len(),
        grouped.materials.len()
    );
    for (number, set) in &sets {
        let [x, y, z] = nodes[set.nodes[0] as usize].map(self::number);
        let _ = writeln!(text, "{0} {x} {y} {z} 1 {0}", number + 1);
    }
    for (material, label) in grouped.materials.iter().zip(1..) {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for &element in &material.elements {
            for &node in model.mesh.element(element as usize) {
                for (axis, x) in nodes[node as usize].into_iter().enumerate() {
                    low[axis] = low[axis].min(x);
                    high[axis] = high[axis].max(x);
                }
            }
        }
        let _ = write!(text, "{label}");
        for x in low.into_iter().chain(high) {
            let _ = write!(text, " {}", number(x));
        }
        let _ = writeln!(text, " 1 {label} 0");
    }
    // All nodes in one block of the first volume: a node that materials share belongs to no single one.
    let count = nodes.len();
    let _ = writeln!(
        text,
        "$EndEntities\n$Nodes\n1 {count} 1 {count}\n3 1 0 {count}"
    );
    for label in 1..=count {
        let _ = writeln!(text, "{label}");
    }
    for position in nodes {
        let [x, y, z] = position.map(number);
        let _ = writeln!(text, "{x} {y} {z}");
    }
    let points: usize = sets.iter().map(|(_, set)| set.nodes.len()).sum();
    let total = elements + points;
    let _ = writeln!(text, "$EndNodes\n$Elements\n{groups} {total} 1 {total}");
    for (material, label) in grouped.materials.iter().zip(1..) {
        let _ = writeln!(text, "3 {label} {kind} {}", material.elements.len());
        for &element in &material.elements {
            let _ = write!(text, "{}", element + 1);
            let own = model.mesh.element(element as usize);
            for &place in order {
                let _ = write!(text, " {}", own[place] + 1);
            }
            text.push('\n');
        }
    }
    let mut label = elements;
    for (number, set) in &sets {
        let _ = writeln!(text, "0 {} {POINT} {}", number + 1, set.nodes.len());
        for node in &set.nodes {
            label += 1;
            let _ = writeln!(text, "{label} {}", node + 1);
        }
    }
    text += "$EndElements\n";
    Written {
        bytes: text.into_bytes(),
        notes: vec!["a .msh file holds no materials and no prescribed motion: a comment lists the materials".to_owned()],
    }
}
