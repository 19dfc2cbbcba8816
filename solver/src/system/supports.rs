//! Whether the supports hold the body: each piece of the mesh must not be able to move as a rigid body.

use nalgebra::{Matrix6, SymmetricEigen, Vector3, Vector6};

use crate::error::{Error, Result};
use crate::model::SolidMesh;

/// Smallest over largest eigenvalue of the supports' hold on the rigid motions below which one is free. Round-off leaves
/// about 1e-15; a support of one element's width on a body of a thousand elements leaves about 1e-6.
const FREE: f64 = 1e-11;

/// Refuses a body of which a piece can move although nothing is strained.
pub(super) fn check(mesh: &SolidMesh, constrained: &[u32]) -> Result<()> {
    let positions = mesh.nodes_mm();
    let nodes = positions.len();
    let piece = pieces(mesh);
    let count = piece
        .iter()
        .copied()
        .max()
        .map_or(0, |last| last as usize + 1);
    let mut middle = vec![Vector3::zeros(); count];
    let mut members = vec![0.0f64; count];
    for (node, &piece) in piece.iter().enumerate() {
        middle[piece as usize] += Vector3::from(positions[node]);
        members[piece as usize] += 1.0;
    }
    for (middle, members) in middle.iter_mut().zip(&members) {
        *middle /= *members;
    }
    let mut extent = vec![f64::MIN_POSITIVE; count];
    for (node, &piece) in piece.iter().enumerate() {
        let distance = (Vector3::from(positions[node]) - middle[piece as usize]).norm();
        extent[piece as usize] = extent[piece as usize].max(distance);
    }
    // Displacement of a node in the six rigid motions, the arms in units of the extent.
    let motion = |node: usize, component: usize| {
        let piece = piece[node] as usize;
        let [x, y, z]: [f64; 3] =
            ((Vector3::from(positions[node]) - middle[piece]) / extent[piece]).into();
        let turn = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]][component];
        let mut row = Vector6::zeros();
        row[component] = 1.0;
        row.fixed_rows_mut::<3>(3).copy_from_slice(&turn);
        row
    };
    let mut hold = vec![Matrix6::zeros(); count];
    for &dof in constrained {
        let (node, component) = (dof as usize % nodes, dof as usize / nodes);
        let row = motion(node, component);
        hold[piece[node] as usize] += row * row.transpose();
    }
    for (number, hold) in hold.iter().enumerate() {
        let eigen = SymmetricEigen::new(*hold);
        let (weakest, value) = eigen.eigenvalues.argmin();
        if value > FREE * eigen.eigenvalues.max() {
            continue;
        }
        let free = eigen.eigenvectors.column(weakest).into_owned();
        let moves = |node: usize| {
            (0..3)
                .map(|component| motion(node, component).dot(&free).powi(2))
                .sum::<f64>()
        };
        let mut furthest = (0, -1.0);
        for node in (0..nodes).filter(|&node| piece[node] as usize == number) {
            if moves(node) > furthest.1 {
                furthest = (node, moves(node));
            }
        }
        return Err(Error::FreeToMove {
            node: furthest.0,
            motion: describe(&free),
        });
    }
    Ok(())
}

/// Number of the piece each node belongs to; pieces share no node.
fn pieces(mesh: &SolidMesh) -> Vec<u32> {
    fn root(parent: &mut [u32], mut node: u32) -> u32 {
        while parent[node as usize] != node {
            parent[node as usize] = parent[parent[node as usize] as usize];
            node = parent[node as usize];
        }
        node
    }
    let mut parent: Vec<u32> = (0..mesh.nodes_mm().len() as u32).collect();
    for element in 0..mesh.element_count() {
        let nodes = mesh.element(element);
        let mut least = root(&mut parent, nodes[0]);
        for &node in &nodes[1..] {
            // Most nodes have been led to their root by an element before.
            if parent[node as usize] == least {
                continue;
            }
            let other = root(&mut parent, node);
            let (low, high) = (least.min(other), least.max(other));
            parent[high as usize] = low;
            parent[node as usize] = low;
            least = low;
        }
    }
    // Roots are the lowest node of their piece, so they come first.
    let mut numbers = vec![0; parent.len()];
    let mut count = 0;
    for node in 0..parent.len() as u32 {
        let root = root(&mut parent, node);
        if root == node {
            numbers[node as usize] = count;
            count += 1;
        } else {
            numbers[node as usize] = numbers[root as usize];
        }
    }
    numbers
}

/// A free motion in words, by its largest part.
fn describe(free: &Vector6<f64>) -> String {
    let largest = free.iamax();
    let axis = ["x", "y", "z"][largest % 3];
    if largest < 3 {
        format!("move along {axis}")
    } else {
        format!("turn about {axis}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshing::HexMesh;
    use meshing::mesh::HEX_CORNERS;

    /// Two unit cubes, `gap` mm apart along x; without a gap they share a face.
    fn cubes(gap: f64) -> SolidMesh {
        let cube = |x: f64| HEX_CORNERS.map(|c| [x + c[0] as f64, c[1] as f64, c[2] as f64]);
        let mut nodes_mm = cube(0.0).to_vec();
        let mut second: Vec<u32> = Vec::new();
        for position in cube(1.0 + gap) {
            let place = nodes_mm.iter().position(|p| *p == position);
            second.push(place.unwrap_or(nodes_mm.len()) as u32);
            if place.is_none() {
                nodes_mm.push(position);
            }
        }
        SolidMesh::Hex8(HexMesh {
            nodes_mm,
            elements: vec![[0, 1, 2, 3, 4, 5, 6, 7], second.try_into().unwrap()],
        })
    }

    /// Unknowns (component first) of (node, component).
    fn dofs(mesh: &SolidMesh, held: &[(u32, u32)]) -> Vec<u32> {
        let nodes = mesh.nodes_mm().len() as u32;
        held.iter()
            .map(|&(node, component)| component * nodes + node)
            .collect()
    }

    fn refusal(mesh: &SolidMesh, held: &[(u32, u32)]) -> (usize, String) {
        match check(mesh, &dofs(mesh, held)) {
            Err(Error::FreeToMove { node, motion }) => (node, motion),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn six_well_placed_supports_hold_a_body() {
        let mesh = cubes(0.0);
        // Three points: all, two and one component.
        let held = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (3, 2)];
        check(&mesh, &dofs(&mesh, &held)).unwrap();
        for left_out in 0..6 {
            let mut fewer = held.to_vec();
            fewer.remove(left_out);
            refusal(&mesh, &fewer);
        }
    }

    #[test]
    fn the_free_motion_and_a_node_that_makes_it_are_named() {
        let mesh = cubes(0.0);
        // The face z = 0 held along z only, and one line along y.
        let bottom: Vec<(u32, u32)> = (0..4).map(|node| (node, 2)).collect();
        let held = [bottom.clone(), vec![(0, 1), (1, 1)]].concat();
        assert_eq!(refusal(&mesh, &held).1, "move along x");
        // Held along x and y at one node: it turns about z, and the far end moves most.
        let held = [bottom, vec![(0, 0), (0, 1)]].concat();
        let (node, motion) = refusal(&mesh, &held);
        assert!(mesh.nodes_mm()[node][0] > 1.5, "{node}");
        assert_eq!(motion, "turn about z");
    }

    #[test]
    fn every_piece_needs_supports_of_its_own() {
        let mesh = cubes(0.5);
        let first: Vec<(u32, u32)> = (0..8).flat_map(|n| (0..3).map(move |c| (n, c))).collect();
        let (node, _) = refusal(&mesh, &first);
        assert!(node >= 8);
        let both: Vec<(u32, u32)> = (0..16).flat_map(|n| (0..3).map(move |c| (n, c))).collect();
        check(&mesh, &dofs(&mesh, &both)).unwrap();
    }
}
