//! Binary STL of the outer surface, normals outwards.
//!
//! A face of a hexahedron makes two triangles, one of a 10-node tetrahedron four, through its mid-edge nodes. STL holds
//! single precision and neither nodes nor materials.

use std::collections::HashMap;

use nalgebra::Vector3;

use super::{StoredMesh, StoredModel, Written};

/// Corners of each face of a hexahedron, anticlockwise seen from outside, VTK order.
const HEX_FACES: [[usize; 4]; 6] = [
    [0, 3, 2, 1],
    [4, 5, 6, 7],
    [0, 1, 5, 4],
    [1, 2, 6, 5],
    [2, 3, 7, 6],
    [3, 0, 4, 7],
];
/// Corners of each face of a tetrahedron, then the middles of its edges, anticlockwise seen from outside, VTK order.
const TET_FACES: [[usize; 6]; 4] = [
    [0, 2, 1, 6, 5, 4],
    [0, 1, 3, 4, 8, 7],
    [1, 2, 3, 5, 9, 8],
    [2, 0, 3, 6, 7, 9],
];
/// Triangles of a quadratic face by the numbers of [`TET_FACES`]: one at each corner, one in the middle.
const QUADRATIC: [[usize; 3]; 4] = [[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]];

pub(super) fn write(model: &StoredModel) -> Written {
    let nodes = model.mesh.nodes_mm();
    let triangles = surface(&model.mesh);
    let mut header = [b' '; 80];
    // Not beginning with "solid", by which readers take a file for the text form.
    let title = b"OsteoLoad: surface of the model of a run, mm";
    header[..title.len()].copy_from_slice(title);
    let mut bytes = header.to_vec();
    bytes.extend((triangles.len() as u32).to_le_bytes());
    for triangle in triangles {
        let corners = triangle.map(|node| Vector3::from(nodes[node as usize]));
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

/// Triangles of the outer surface in the order of the elements: the faces that belong to one element only.
fn surface(mesh: &StoredMesh) -> Vec<[u32; 3]> {
    let mut times: HashMap<[u32; 4], u8> = HashMap::new();
    let faces = |element: usize| -> Vec<([u32; 4], Vec<[u32; 3]>)> {
        let nodes = mesh.element(element);
        match mesh {
            StoredMesh::Hex8(_) => HEX_FACES
                .iter()
                .map(|face| {
                    let [a, b, c, d] = face.map(|place| nodes[place]);
                    (key([a, b, c, d]), vec![[a, b, c], [a, c, d]])
                })
                .collect(),
            StoredMesh::Tet10(_) => TET_FACES
                .iter()
                .map(|face| {
                    let own = face.map(|place| nodes[place]);
                    let triangles = QUADRATIC.map(|triangle| triangle.map(|place| own[place]));
                    (key([own[0], own[1], own[2], u32::MAX]), triangles.to_vec())
                })
                .collect(),
        }
    };
    for element in 0..mesh.element_count() {
        for (face, _) in faces(element) {
            let count = times.entry(face).or_default();
            *count = count.saturating_add(1);
        }
    }
    (0..mesh.element_count())
        .flat_map(faces)
        .filter(|(face, _)| times.get(face) == Some(&1))
        .flat_map(|(_, triangles)| triangles)
        .collect()
}

/// The corners of a face, whichever way round.
fn key(mut corners: [u32; 4]) -> [u32; 4] {
    corners.sort_unstable();
    corners
}
