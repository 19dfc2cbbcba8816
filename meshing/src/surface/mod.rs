//! Triangulated surfaces, and what makes one fit to be filled with tetrahedra.

mod crossing;
#[cfg(feature = "tetgen")]
pub(crate) mod remesh;

use crate::mesh::Mesh;
use crate::pieces::Pieces;

/// A triangulated surface; triangles run anticlockwise seen from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SurfaceMesh {
    /// Node positions, mm.
    pub nodes_mm: Vec<[f64; 3]>,
    /// Node numbers of each triangle, counted from 0.
    pub triangles: Vec<[u32; 3]>,
}

/// Corners of the faces of a tetrahedron in VTK order, anticlockwise seen from outside; face `n` lies opposite corner
/// `n`.
pub(crate) const FACES: [[usize; 3]; 4] = [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]];

/// The faces of tetrahedra that only one of them has, anticlockwise seen from outside, each with the number of its
/// tetrahedron; in the order of the tetrahedra.
pub fn boundary_faces(tetrahedra: &[[u32; 4]]) -> Vec<([u32; 3], u32)> {
    let mut faces: Vec<([u32; 3], u32, u8)> = Vec::with_capacity(4 * tetrahedra.len());
    for (number, t) in tetrahedra.iter().enumerate() {
        for (side, face) in FACES.iter().enumerate() {
            let mut key = face.map(|n| t[n]);
            key.sort_unstable();
            faces.push((key, number as u32, side as u8));
        }
    }
    faces.sort_unstable();
    let mut single: Vec<(u32, u8)> = faces
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() == 1)
        .map(|same| (same[0].1, same[0].2))
        .collect();
    single.sort_unstable();
    single
        .into_iter()
        .map(|(number, side)| {
            let t = tetrahedra[number as usize];
            (FACES[usize::from(side)].map(|n| t[n]), number)
        })
        .collect()
}

/// Nodes at which the boundary of tetrahedra is no two-manifold: an edge with other than two boundary faces, or a node
/// whose boundary faces do not close to one ring. Ascending.
pub(crate) fn pinched_nodes(tetrahedra: &[[u32; 4]]) -> Vec<u32> {
    let faces: Vec<[u32; 3]> = boundary_faces(tetrahedra)
        .into_iter()
        .map(|(face, _)| face)
        .collect();
    pinched(&faces)
}

/// As [`pinched_nodes`], of triangles.
fn pinched(triangles: &[[u32; 3]]) -> Vec<u32> {
    let mut bad = Vec::new();
    let mut edges: Vec<(u32, u32)> = triangles
        .iter()
        .flat_map(|t| (0..3).map(|n| ordered(t[n], t[(n + 1) % 3])))
        .collect();
    edges.sort_unstable();
    for same in edges.chunk_by(|a, b| a == b) {
        if same.len() != 2 {
            bad.extend([same[0].0, same[0].1]);
        }
    }
    // At each node the far edges of its triangles: a path from one end to the other, so one ring when following them
    // from any start comes back after all of them.
    let mut links: Vec<(u32, u32, u32)> = triangles
        .iter()
        .flat_map(|t| (0..3).map(|n| (t[n], t[(n + 1) % 3], t[(n + 2) % 3])))
        .collect();
    links.sort_unstable();
    for ring in links.chunk_by(|a, b| a.0 == b.0) {
        let mut at = ring[0].1;
        let mut steps = 0;
        while let Ok(n) = ring.binary_search_by_key(&at, |link| link.1) {
            at = ring[n].2;
            steps += 1;
            if at == ring[0].1 || steps > ring.len() {
                break;
            }
        }
        if steps != ring.len() || at != ring[0].1 {
            bad.push(ring[0].0);
        }
    }
    bad.sort_unstable();
    bad.dedup();
    bad
}

fn ordered(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

impl SurfaceMesh {
    /// The outer surface of a mesh of tetrahedra (their corners), with its own node numbers.
    pub fn of_tetrahedra<const N: usize>(mesh: &Mesh<N>) -> Self {
        let corners: Vec<[u32; 4]> = mesh
            .elements
            .iter()
            .map(|e| [e[0], e[1], e[2], e[3]])
            .collect();
        let faces = boundary_faces(&corners)
            .into_iter()
            .map(|(face, _)| face)
            .collect();
        Self::renumbered(&mesh.nodes_mm, faces)
    }

    /// Triangles with those of the nodes that they use.
    pub(crate) fn renumbered(nodes_mm: &[[f64; 3]], triangles: Vec<[u32; 3]>) -> Self {
        let mesh = Mesh::renumbered(nodes_mm, triangles);
        Self {
            nodes_mm: mesh.nodes_mm,
            triangles: mesh.elements,
        }
    }

    /// Whether every edge has two triangles and the triangles of every node close to one ring: a surface without holes,
    /// fins or pinches.
    pub fn is_two_manifold(&self) -> bool {
        pinched(&self.triangles).is_empty()
    }

    /// The triangles of each connected piece (joined through nodes), in the order of their first triangles.
    pub fn pieces(&self) -> Vec<Vec<[u32; 3]>> {
        let mut joined = Pieces::of(self.nodes_mm.len());
        for t in &self.triangles {
            joined.join(t[0], t[1]);
            joined.join(t[0], t[2]);
        }
        let node_piece = joined.numbers();
        let mut number = vec![usize::MAX; self.nodes_mm.len()];
        let mut pieces: Vec<Vec<[u32; 3]>> = Vec::new();
        for t in &self.triangles {
            let number = &mut number[node_piece[t[0] as usize] as usize];
            if *number == usize::MAX {
                *number = pieces.len();
                pieces.push(Vec::new());
            }
            pieces[*number].push(*t);
        }
        pieces
    }

    /// Volume inside, mm³ (divergence theorem).
    pub fn volume_mm3(&self) -> f64 {
        self.triangles
            .iter()
            .map(|t| {
                let [a, b, c] = t.map(|n| self.nodes_mm[n as usize]);
                dot(a, cross(b, c)) / 6.0
            })
            .sum()
    }

    /// Area, mm².
    pub fn area_mm2(&self) -> f64 {
        self.triangles
            .iter()
            .map(|t| {
                let [a, b, c] = t.map(|n| self.nodes_mm[n as usize]);
                let n = cross(minus(b, a), minus(c, a));
                0.5 * dot(n, n).sqrt()
            })
            .sum()
    }

    /// Nodes minus edges plus triangles: 2 for each closed surface without a tunnel, 2 less for every tunnel.
    pub fn euler_characteristic(&self) -> i64 {
        let mut edges: Vec<(u32, u32)> = self
            .triangles
            .iter()
            .flat_map(|t| (0..3).map(|n| ordered(t[n], t[(n + 1) % 3])))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        self.nodes_mm.len() as i64 - edges.len() as i64 + self.triangles.len() as i64
    }
}

pub(crate) fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|n| a[n] - b[n])
}

pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
