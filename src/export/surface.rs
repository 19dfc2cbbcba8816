//! Triangles of the outer surface of a mesh.

use rayon::prelude::*;

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

/// A triangle of the surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Triangle {
    /// Its nodes, anticlockwise seen from outside (in a right-handed frame).
    pub nodes: [u32; 3],
    /// The element it belongs to.
    pub element: u32,
}

/// Triangles of the faces that belong to one element only, in the order of the elements. A face of a hexahedron
/// (8 nodes) makes two, one of a quadratic tetrahedron (10 nodes) four, through its mid-edge nodes. Elements with
/// another number of nodes have no faces here.
pub(crate) fn outer_surface<const N: usize>(elements: &[[u32; N]]) -> Vec<Triangle> {
    let faces_per_element: u8 = match N {
        8 => 6,
        10 => 4,
        _ => return Vec::new(),
    };
    // Sorted by their corners, faces that two elements share stand side by side.
    let mut faces: Vec<([u32; 4], u32, u8)> = elements
        .par_iter()
        .enumerate()
        .flat_map_iter(|(element, nodes)| {
            (0..faces_per_element)
                .map(move |place| (corners(nodes, usize::from(place)), element as u32, place))
        })
        .collect();
    faces.par_sort_unstable();
    let mut single: Vec<(u32, u8)> = faces
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() == 1)
        .map(|same| (same[0].1, same[0].2))
        .collect();
    drop(faces);
    single.par_sort_unstable();
    let mut triangles = Vec::with_capacity(4 * single.len());
    for (element, place) in single {
        let nodes = &elements[element as usize];
        let mut add = |nodes: [u32; 3]| triangles.push(Triangle { nodes, element });
        if N == 8 {
            let [a, b, c, d] = HEX_FACES[usize::from(place)].map(|corner| nodes[corner]);
            add([a, b, c]);
            add([a, c, d]);
        } else {
            let own = TET_FACES[usize::from(place)].map(|corner| nodes[corner]);
            for triangle in QUADRATIC {
                add(triangle.map(|corner| own[corner]));
            }
        }
    }
    triangles
}

/// The corners of a face, whichever way round.
fn corners<const N: usize>(nodes: &[u32; N], place: usize) -> [u32; 4] {
    let mut corners = if N == 8 {
        HEX_FACES[place].map(|corner| nodes[corner])
    } else {
        let [a, b, c, ..] = TET_FACES[place].map(|corner| nodes[corner]);
        [a, b, c, u32::MAX]
    };
    corners.sort_unstable();
    corners
}
