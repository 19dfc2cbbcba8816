//! Binary STL of the outer surface, normals outwards.
//!
//! A face of a hexahedron makes two triangles, one of a 10-node tetrahedron four, through its mid-edge nodes. STL holds
//! single precision and neither nodes nor materials.

use nalgebra::Vector3;

use super::surface::outer_surface;
use super::{StoredMesh, StoredModel, Written};

pub(super) fn write(model: &StoredModel) -> Written {
    let nodes = model.mesh.nodes_mm();
    let triangles = match &model.mesh {
        StoredMesh::Hex8(mesh) => outer_surface(&mesh.elements),
        StoredMesh::Tet10(mesh) => outer_surface(&mesh.elements),
    };
    let mut header = [b' '; 80];
    // Not beginning with "solid", by which readers take a file for the text form.
    let title = b"OsteoLoad: surface of the model of a run, mm";
    header[..title.len()].copy_from_slice(title);
    let mut bytes = header.to_vec();
    bytes.extend((triangles.len() as u32).to_le_bytes());
    for triangle in triangles {
        let corners = triangle
            .nodes
            .map(|node| Vector3::from(nodes[node as usize]));
        let normal = (corners[1] - corners[0])
            .cross(&(corners[2] - corners[0]))
            .try_normalize(0.0)
            .unwrap_or_default();
        for vector in std::iter::once(&normal).chain(&corners) {
            for value in vector.iter() {
                bytes.extend((*value as f32).to_le_bytes());
            }
        }
        bytes.extend([0, 0]);
    }
    Written {
        bytes,
        notes: vec![
            "an .stl file holds the surface in single precision, and neither materials nor sets"
                .to_owned(),
        ],
    }
}
