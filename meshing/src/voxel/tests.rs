use super::*;
use imaging::Grid;
use nalgebra::Matrix3;

/// Mask on a 4x3x3 grid of 0.5 x 1 x 2 mm voxels: an L of three voxels starting at voxel (1, 1, 1).
///
/// ```text
/// j=2   . # . .
/// j=1   . # # .      k = 1
/// ```
fn l_shape() -> Mask {
    let grid = Grid::axis_aligned([4, 3, 3], [0.5, 1.0, 2.0]);
    Mask::from_fn(grid, |v| [[1, 1, 1], [2, 1, 1], [1, 2, 1]].contains(&v))
}

/// A 3-wide staircase, high in x: cells (0..=2, 0, 0) and (0, 0, 1), all cubes.
fn stairs() -> VoxelMesh {
    let grid = Grid::axis_aligned([3, 1, 2], [1.0; 3]);
    let mask = Mask::from_fn(grid, |[i, _, k]| k == 0 || i == 0);
    VoxelMesh::from_mask(&mask).unwrap()
}

const UP: Outward = Outward {
    axis: 2,
    side: Side::High,
};
const DOWN: Outward = Outward {
    axis: 2,
    side: Side::Low,
};

#[test]
fn an_l_of_three_voxels_has_sixteen_nodes() {
    let m = VoxelMesh::from_mask(&l_shape()).unwrap();
    // 8 points of the L's outline per layer (a 3x3 square less one corner), two layers.
    assert_eq!(m.mesh.nodes_mm.len(), 16);
    assert_eq!(m.mesh.elements.len(), 3);
    assert_eq!(m.lattice.cells, [2, 2, 1]);
    assert_eq!(m.lattice.element_cells, [[0, 0, 0], [1, 0, 0], [0, 1, 0]]);
    // Points of the lower layer in order: (0..=2, 0), (0..=2, 1), (0..=1, 2).
    assert_eq!(m.mesh.elements[0], [0, 1, 4, 3, 8, 9, 12, 11]);
    assert_eq!(m.mesh.elements[1], [1, 2, 5, 4, 9, 10, 13, 12]);
    assert_eq!(m.mesh.elements[2], [3, 4, 7, 6, 11, 12, 15, 14]);
    assert_eq!(m.mesh.nodes_mm[15], [0.5, 2.0, 2.0]);
    // Voxel (2, 1, 1) of the 4x3x3 image is number 2 + 4 * (1 + 3 * 1).
    assert_eq!(m.element_voxels, [17, 18, 21]);
}

#[test]
fn the_frame_leads_to_the_patient() {
    let mut mask = l_shape();
    mask.grid.origin_mm = Vector3::new(10.0, -20.0, 30.0);
    let m = VoxelMesh::from_mask(&mask).unwrap();
    // Corner of voxel (1, 1, 1): the index (0.5, 0.5, 0.5).
    assert_eq!(m.frame.to_world([0.0; 3]), [10.25, -19.5, 31.0]);
    assert_eq!(m.frame.to_world(m.centre_mm(1)), [11.0, -19.0, 32.0]);
}

#[test]
fn a_full_block_satisfies_euler_and_fills_its_volume() {
    let grid = Grid::axis_aligned([5, 4, 3], [0.78, 0.78, 0.67]);
    let m = VoxelMesh::from_mask(&Mask::filled(grid, true)).unwrap();
    assert_eq!(m.mesh.nodes_mm.len(), 6 * 5 * 4);
    let (faces, edges) = faces_and_edges(&m.mesh);
    // A solid ball: V - E + F - C = 1.
    assert_eq!(120 + faces, edges + 60 + 1);
    let s = m.mesh.statistics();
    assert!((s.mean_volume_mm3 * 60.0 - 5.0 * 4.0 * 3.0 * 0.78 * 0.78 * 0.67).abs() < 1e-10);
    assert!((s.min_quality - 1.0).abs() < 1e-12);
    assert!((s.max_aspect - 0.78 / 0.67).abs() < 1e-12);
}

#[test]
fn a_block_with_a_channel_has_one_handle_less() {
    let grid = Grid::axis_aligned([3, 3, 2], [1.0; 3]);
    let mask = Mask::from_fn(grid, |[i, j, _]| [i, j] != [1, 1]);
    let m = VoxelMesh::from_mask(&mask).unwrap();
    let (faces, edges) = faces_and_edges(&m.mesh);
    // A solid ring: V - E + F - C = 0.
    assert_eq!(m.mesh.nodes_mm.len() + faces, edges + 16);
}

fn faces_and_edges(mesh: &HexMesh) -> (usize, usize) {
    use std::collections::HashSet;
    let mut faces = HashSet::new();
    let mut edges = HashSet::new();
    for nodes in &mesh.elements {
        for a in 0..8 {
            for b in a + 1..8 {
                let differ = (0..3).filter(|&x| HEX_CORNERS[a][x] != HEX_CORNERS[b][x]);
                if differ.count() == 1 {
                    edges.insert((nodes[a].min(nodes[b]), nodes[a].max(nodes[b])));
                }
            }
        }
        for axis in 0..3 {
            for side in 0..2 {
                let mut face: Vec<u32> = (0..8)
                    .filter(|&c| HEX_CORNERS[c][axis] == side)
                    .map(|c| nodes[c])
                    .collect();
                face.sort_unstable();
                faces.insert(face);
            }
        }
    }
    (faces.len(), edges.len())
}

#[test]
fn left_handed_axes_give_right_handed_elements() {
    let mut mask = l_shape();
    mask.grid.direction = Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, 1.0));
    let m = VoxelMesh::from_mask(&mask).unwrap();
    for element in 0..3 {
        assert!((m.mesh.volume_mm3(element) - 1.0).abs() < 1e-14);
        assert!((m.mesh.scaled_jacobian(element) - 1.0).abs() < 1e-14);
    }
    // Centre of voxel (2, 1, 1) with x against L.
    assert_eq!(m.frame.to_world(m.centre_mm(1)), [-1.0, 1.0, 2.0]);
    let back = m.frame.to_model([-1.0, 1.0, 2.0]);
    assert_eq!(back, m.centre_mm(1));
}

#[test]
fn nodes_and_elements_run_x_fastest() {
    let m = stairs();
    let order = |p: &[u32; 3]| (p[2], p[1], p[0]);
    assert!(m.lattice.element_cells.is_sorted_by_key(order));
    assert!(m.lattice.node_points.is_sorted_by_key(order));
    // 4 points along x and 2 along y in two layers; the top layer holds 2 x 2.
    assert_eq!(m.mesh.nodes_mm.len(), 8 + 8 + 4);
}

#[test]
fn an_empty_mask_is_refused() {
    let mask = Mask::filled(Grid::axis_aligned([2, 2, 2], [1.0; 3]), false);
    assert!(matches!(VoxelMesh::from_mask(&mask), Err(Error::EmptyMask)));
}

#[test]
fn a_sheared_grid_is_refused() {
    let mut mask = l_shape();
    mask.grid.direction[(0, 1)] = 0.01;
    assert!(matches!(
        VoxelMesh::from_mask(&mask),
        Err(Error::Sheared(_))
    ));
}

#[test]
fn densities_are_read_voxel_by_voxel() {
    let mask = l_shape();
    let m = VoxelMesh::from_mask(&mask).unwrap();
    let density = Volume::from_fn(mask.grid.clone(), |[i, j, k]| (i + 10 * j + 100 * k) as f32);
    assert_eq!(m.sample(&density).unwrap(), [111.0, 112.0, 121.0]);
}

#[test]
fn densities_on_another_grid_are_refused() {
    let mask = l_shape();
    let m = VoxelMesh::from_mask(&mask).unwrap();
    let refused = |grid: Grid| m.sample(&Volume::filled(grid, 0.0_f32)).is_err();
    let mut shifted = mask.grid.clone();
    shifted.origin_mm.x += 0.5;
    assert!(refused(shifted));
    let mut wider = mask.grid.clone();
    wider.size[0] += 1;
    assert!(refused(wider));
    let mut smaller = mask.grid.clone();
    smaller.size[2] = 1;
    assert!(refused(smaller));
    let mut finer = mask.grid.clone();
    finer.spacing_mm[1] = 0.9;
    assert!(refused(finer));
    assert!(!refused(mask.grid.clone()));
}

#[test]
fn the_top_of_the_stairs_is_all_their_treads() {
    let m = stairs();
    let top = m.outer_face_nodes("top", UP, |_| true);
    let z: Vec<f64> = top
        .nodes
        .iter()
        .map(|&n| m.mesh.nodes_mm[n as usize][2])
        .collect();
    // Columns 1 and 2 end at z = 1 (3 points along x, 2 along y), column 0 at z = 2 (2 x 2 points).
    assert_eq!(z, [[1.0; 6].as_slice(), [2.0; 4].as_slice()].concat());
    assert!(top.nodes.is_sorted());
    let bottom = m.outer_face_nodes("bottom", DOWN, |_| true);
    assert_eq!(bottom.nodes, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn only_the_visible_part_of_a_selection_is_seen() {
    let m = stairs();
    let lower = |element: usize| m.lattice.element_cells[element][2] == 0;
    // Seen from above the upper step hides column 0 of the lower layer.
    assert_eq!(m.outer_face_nodes("all", UP, lower).nodes.len(), 8);
    assert_eq!(m.visible_face_nodes("seen", UP, lower).nodes.len(), 6);
}

#[test]
fn layers_count_from_the_outside() {
    let m = stairs();
    assert_eq!(m.outermost_layer(UP, |_| true), Some(1));
    assert_eq!(m.outermost_layer(DOWN, |_| true), Some(0));
    let first = |element: usize| element == 1;
    let along_x = Outward {
        axis: 0,
        side: Side::High,
    };
    assert_eq!(m.outermost_layer(along_x, first), Some(1));
    assert_eq!(m.outermost_layer(UP, |_| false), None);
}

#[test]
fn nodes_of_elements_and_of_slabs() {
    let m = VoxelMesh::from_mask(&l_shape()).unwrap();
    let set = m.mesh.nodes_of_elements("second", |element| element == 1);
    assert_eq!(set.nodes, [1, 2, 4, 5, 9, 10, 12, 13]);
    assert_eq!(set.name, "second");
    // Along (1, 1, 0)/sqrt(2) the lower layer stands at (x + y)/sqrt(2): 0, .5, 1, 1, 1.5, 2, 2, 2.5 over sqrt(2).
    let s = 0.5_f64.sqrt();
    let slab = m.mesh.nodes_in_slab("slab", [s, s, 0.0], 0.9 * s, 1.6 * s);
    assert_eq!(slab.nodes, [2, 3, 4, 10, 11, 12]);
}
