//! Tetrahedra straight from a level set: isosurface stuffing.
//!
//! A body-centred cubic lattice is laid over the bone, refined where something thin would slip between its points; its
//! points near the surface move onto it, and what is left outside is cut off (F. Labelle and J. R. Shewchuk,
//! "Isosurface stuffing: fast tetrahedral meshes with good dihedral angles", ACM Trans. Graph. 26, 2007). On the plain
//! lattice all dihedral angles lie between 10.7 and 164.8 degrees; where it is refined there is no such bound, but every
//! element has a positive volume and the surface is a two-manifold, by construction: nothing can fail, whatever the
//! mask looks like.

mod cut;
mod lattice;

use crate::mesh::Mesh;
use crate::pieces::Pieces;
use crate::surface::{FACES, dot, minus};
use crate::tetrahedron::tetrahedron_volume_mm3;
use cut::cut;
use lattice::{EDGES, Lattice};

/// How closely the surface is looked at somewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Care {
    /// What sticks out between lattice points by less than this is let go, mm.
    pub tolerance_mm: f64,
    /// Elements with a longer edge are bisected whatever they hold, mm.
    pub coarsest_mm: f64,
    /// Elements without a longer edge are not bisected for any reason of their own, mm.
    pub finest_mm: f64,
}

/// More cubes of the lattice along an axis cannot be numbered, and more in all would not fit into memory.
pub(crate) const MOST_CUBES: f64 = 4000.0;
pub(crate) const MOST_CUBES_IN_ALL: f64 = 2e8;

/// How the lattice is laid.
#[derive(Clone, Copy)]
pub struct Stuffing<'a> {
    /// Side of the cubes of the lattice, mm; a tetrahedron has a twelfth of their volume.
    pub edge_mm: f64,
    /// How closely to look at an element with these corners (mm).
    pub care: &'a (dyn Fn(&[[f64; 3]; 4]) -> Care + Sync),
}

/// What [`stuff`] made.
#[derive(Clone, Debug)]
pub struct Stuffed {
    /// The tetrahedra, in one piece.
    pub mesh: Mesh<4>,
    /// Volume of pieces that hang on the largest by no face and were left out, mm³.
    pub dropped_volume_mm3: f64,
    /// Where they are: a node of each of their elements, mm.
    pub dropped_at_mm: Vec<[f64; 3]>,
    /// Elements of the lattice that were bisected.
    pub refined_elements: usize,
}

/// Fills the inside (positive) of `depth_mm`, which is a depth in mm below a surface inside the box `bounds_mm`. Empty
/// when there is no inside.
pub fn stuff(
    bounds_mm: [[f64; 3]; 2],
    options: &Stuffing,
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> Stuffed {
    // No point of a lattice tetrahedron is farther from all its corners than 0.56 edges: beyond that nothing can stick in.
    let near = -options.edge_mm;
    let mut lattice = Lattice::covering(
        bounds_mm,
        options.edge_mm,
        |depths| depths.iter().any(|&depth| depth > near),
        depth_mm,
    );
    let before = lattice.tetrahedra.len();
    lattice.refine(|lattice, t| {
        let corners = t.points.map(|p| lattice.position_mm(p));
        let longest = longest_edge_mm(&corners);
        let care = (options.care)(&corners);
        longest > care.finest_mm
            && touches_surface(&corners, longest, depth_mm)
            && (longest > care.coarsest_mm || hides(&corners, care.tolerance_mm, depth_mm))
    });
    let refined_elements = lattice.tetrahedra.len() - before;
    let cut = cut(&lattice, depth_mm);
    let (mesh, dropped) = largest_piece(&cut.nodes_mm, &cut.tetrahedra);
    Stuffed {
        mesh,
        dropped_volume_mm3: dropped
            .iter()
            .map(tetrahedron_volume_mm3)
            .fold(0.0, |sum, v| sum + v),
        dropped_at_mm: dropped.iter().map(|t| t[0]).collect(),
        refined_elements,
    }
}

fn longest_edge_mm(corners: &[[f64; 3]; 4]) -> f64 {
    let lengths = EDGES.map(|[i, j]| {
        let d = minus(corners[i], corners[j]);
        dot(d, d).sqrt()
    });
    lengths.into_iter().fold(0.0, f64::max)
}

/// Whether the surface may pass through a tetrahedron: it is no farther away than the longest edge.
fn touches_surface(
    corners: &[[f64; 3]; 4],
    longest_mm: f64,
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> bool {
    let depths = corners.map(depth_mm);
    depths.iter().any(|&d| d < longest_mm) && depths.iter().any(|&d| d > -longest_mm)
}

/// Whether some of the surface would be lost in a tetrahedron: a point of it lies inside (outside) by more than the
/// tolerance although linear interpolation between the corners says otherwise.
fn hides(
    corners: &[[f64; 3]; 4],
    tolerance_mm: f64,
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> bool {
    const STEPS: usize = 4;
    let depths = corners.map(depth_mm);
    for i in 0..=STEPS {
        for j in 0..=STEPS - i {
            for k in 0..=STEPS - i - j {
                let parts = [i, j, k, STEPS - i - j - k].map(|n| n as f64 / STEPS as f64);
                let at = std::array::from_fn(|a| (0..4).map(|n| parts[n] * corners[n][a]).sum());
                let linear: f64 = (0..4).map(|n| parts[n] * depths[n]).sum();
                let depth = depth_mm(at);
                if depth.abs() > tolerance_mm && (depth > 0.0) != (linear > 0.0) {
                    return true;
                }
            }
        }
    }
    false
}

/// The largest piece of tetrahedra joined through faces (by volume), with its own node numbers, and the corners of the
/// elements left out.
fn largest_piece(nodes_mm: &[[f64; 3]], tetrahedra: &[[u32; 4]]) -> (Mesh<4>, Vec<[[f64; 3]; 4]>) {
    let mut faces: Vec<([u32; 3], u32)> = Vec::with_capacity(4 * tetrahedra.len());
    for (number, t) in tetrahedra.iter().enumerate() {
        for face in FACES {
            let mut key = face.map(|n| t[n]);
            key.sort_unstable();
            faces.push((key, number as u32));
        }
    }
    faces.sort_unstable();
    let mut pieces = Pieces::of(tetrahedra.len());
    for pair in faces.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        pieces.join(pair[0].1, pair[1].1);
    }
    let piece = pieces.numbers();
    let corners = |t: &[u32; 4]| t.map(|n| nodes_mm[n as usize]);
    let mut volume = vec![0.0; piece.iter().max().map_or(0, |last| *last as usize + 1)];
    for (t, &piece) in tetrahedra.iter().zip(&piece) {
        volume[piece as usize] += tetrahedron_volume_mm3(&corners(t));
    }
    // Of equal ones the first.
    let largest = (0..volume.len())
        .rev()
        .max_by(|&a, &b| volume[a].total_cmp(&volume[b]))
        .unwrap_or(0);
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (t, &piece) in tetrahedra.iter().zip(&piece) {
        if piece as usize == largest {
            kept.push(*t);
        } else {
            dropped.push(corners(t));
        }
    }
    (Mesh::renumbered(nodes_mm, kept), dropped)
}
