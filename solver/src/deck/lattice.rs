//! Recognises meshes whose hexahedra are equal boxes along the axes.

use meshing::Lattice;
use meshing::mesh::HEX_CORNERS;

/// Largest deviation of a node from its lattice point, in units of the box edge.
const TOLERANCE: f64 = 1e-6;
/// Lattice cells per element beyond which the structured path does not pay.
const MOST_CELLS_PER_ELEMENT: usize = 1000;

/// A mesh found to be cut from a lattice, renumbered with x fastest, then y, then z.
#[derive(Debug)]
pub(super) struct Recognised {
    pub(super) lattice: Lattice,
    /// Old number of each node.
    pub(super) nodes: Vec<u32>,
    /// Old number of each element.
    pub(super) elements: Vec<u32>,
    /// Nodes of each element, new numbers, standard order.
    pub(super) connectivity: Vec<[u32; 8]>,
}

/// Finds the lattice of a mesh; `None` when there is none. Nodes that belong to no element are left out.
pub(super) fn recognise(nodes_mm: &[[f64; 3]], elements: &[[u32; 8]]) -> Option<Recognised> {
    let first = edges(nodes_mm, elements.first()?)?;
    let (spacing_mm, low) = spacing(nodes_mm, elements, first)?;
    let order = |p: &[u32; 3]| (p[2], p[1], p[0]);

    let mut points: Vec<Option<[u32; 3]>> = vec![None; nodes_mm.len()];
    let mut nodes = Vec::new();
    for &node in elements.iter().flatten() {
        let point = &mut points[node as usize];
        if point.is_none() {
            *point = Some(lattice_point(nodes_mm[node as usize], low, spacing_mm)?);
            nodes.push((order(&(*point)?), node));
        }
    }
    nodes.sort_unstable();
    // Two nodes at one place: a crack, which a lattice cannot hold.
    if nodes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    let mut numbers = vec![0; nodes_mm.len()];
    for (number, &(_, node)) in nodes.iter().enumerate() {
        numbers[node as usize] = number as u32;
    }

    let mut boxes = Vec::with_capacity(elements.len());
    for (number, element) in elements.iter().enumerate() {
        edges(nodes_mm, element)?;
        let (cell, corners) = place(element, &points, &numbers)?;
        boxes.push((order(&cell), number as u32, corners));
    }
    boxes.sort_unstable();
    if boxes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    let element_cells: Vec<[u32; 3]> = boxes.iter().map(|&((z, y, x), ..)| [x, y, z]).collect();
    let cells = extent(&element_cells)?;
    if cells.iter().product::<usize>() / MOST_CELLS_PER_ELEMENT > elements.len() {
        return None;
    }
    Some(Recognised {
        lattice: Lattice {
            spacing_mm,
            cells,
            element_cells,
            node_points: nodes.iter().map(|&((z, y, x), _)| [x, y, z]).collect(),
        },
        nodes: nodes.iter().map(|&(_, node)| node).collect(),
        elements: boxes.iter().map(|&(_, element, _)| element).collect(),
        connectivity: boxes.iter().map(|&(.., corners)| corners).collect(),
    })
}

/// Cell of an element and its nodes, newly numbered, in standard order; `None` when it is not one cell.
fn place(
    element: &[u32; 8],
    points: &[Option<[u32; 3]>],
    numbers: &[u32],
) -> Option<([u32; 3], [u32; 8])> {
    let mut cell = [u32::MAX; 3];
    for &node in element {
        let point = points[node as usize]?;
        for axis in 0..3 {
            cell[axis] = cell[axis].min(point[axis]);
        }
    }
    let mut corners = [None; 8];
    for &node in element {
        let point = points[node as usize]?;
        let offset = std::array::from_fn(|axis| (point[axis] - cell[axis]) as usize);
        let corner = HEX_CORNERS.iter().position(|c| *c == offset)?;
        corners[corner] = Some(numbers[node as usize]);
    }
    let mut found = [0; 8];
    for (number, corner) in found.iter_mut().zip(corners) {
        *number = corner?;
    }
    Some((cell, found))
}

/// Edge lengths along the axes of an element that is a right-handed box, whichever of its corners comes first.
fn edges(nodes_mm: &[[f64; 3]], element: &[u32; 8]) -> Option<[f64; 3]> {
    let at = |corner: usize| nodes_mm[element[corner] as usize];
    let origin = at(0);
    let steps = [1, 3, 4].map(|corner| {
        let x = at(corner);
        std::array::from_fn::<f64, 3, _>(|axis| x[axis] - origin[axis])
    });
    let longest = steps
        .iter()
        .flatten()
        .fold(0.0_f64, |most, v| most.max(v.abs()));
    let tolerance = TOLERANCE * longest;
    // Which axis each of the three edges runs along, and how far.
    let mut lengths = [0.0; 3];
    let mut axes = [0; 3];
    for (edge, step) in steps.iter().enumerate() {
        let axis = (0..3).max_by(|&a, &b| step[a].abs().total_cmp(&step[b].abs()))?;
        if (0..3).any(|other| other != axis && step[other].abs() > tolerance)
            || step[axis].abs() <= tolerance
            || lengths[axis] != 0.0
        {
            return None;
        }
        lengths[axis] = step[axis];
        axes[edge] = axis;
    }
    let even = matches!(axes, [0, 1, 2] | [1, 2, 0] | [2, 0, 1]);
    let handed = lengths.iter().product::<f64>() * if even { 1.0 } else { -1.0 };
    let straight = HEX_CORNERS.iter().enumerate().all(|(number, corner)| {
        let x = at(number);
        (0..3).all(|axis| {
            let expected: f64 = (0..3)
                .map(|edge| corner[edge] as f64 * steps[edge][axis])
                .sum();
            (x[axis] - origin[axis] - expected).abs() <= tolerance
        })
    });
    (handed > 0.0 && straight).then(|| lengths.map(f64::abs))
}

/// Box edges fitted to the whole extent, and the lowest corner.
fn spacing(
    nodes_mm: &[[f64; 3]],
    elements: &[[u32; 8]],
    first: [f64; 3],
) -> Option<([f64; 3], [f64; 3])> {
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for &node in elements.iter().flatten() {
        for axis in 0..3 {
            let x = nodes_mm[node as usize][axis];
            low[axis] = low[axis].min(x);
            high[axis] = high[axis].max(x);
        }
    }
    let mut spacing = first;
    for axis in 0..3 {
        let cells = ((high[axis] - low[axis]) / first[axis]).round();
        if !(cells >= 1.0 && cells < f64::from(u32::MAX / 2)) {
            return None;
        }
        spacing[axis] = (high[axis] - low[axis]) / cells;
    }
    Some((spacing, low))
}

fn lattice_point(at: [f64; 3], low: [f64; 3], spacing: [f64; 3]) -> Option<[u32; 3]> {
    let mut point = [0; 3];
    for axis in 0..3 {
        let steps = (at[axis] - low[axis]) / spacing[axis];
        if (steps - steps.round()).abs() > TOLERANCE {
            return None;
        }
        point[axis] = steps.round() as u32;
    }
    Some(point)
}

/// Number of cells along each axis.
fn extent(cells: &[[u32; 3]]) -> Option<[usize; 3]> {
    let size = std::array::from_fn(|axis| {
        cells
            .iter()
            .map(|c| c[axis] as usize + 1)
            .max()
            .unwrap_or(0)
    });
    size.iter()
        .try_fold(1_usize, |n, &s| n.checked_mul(s + 1))
        .filter(|&points| points < u32::MAX as usize)
        .map(|_| size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2x1x1 block of 0.5 x 1 x 2 mm boxes off the origin, numbered backwards.
    fn block() -> (Vec<[f64; 3]>, Vec<[u32; 8]>) {
        let mut nodes = Vec::new();
        for k in 0..2 {
            for j in 0..2 {
                for i in 0..3 {
                    nodes.push([
                        7.0 + 0.5 * f64::from(i),
                        f64::from(j),
                        -3.0 + 2.0 * f64::from(k),
                    ]);
                }
            }
        }
        let first: [u32; 8] = [0, 1, 4, 3, 6, 7, 10, 9];
        let elements = vec![first.map(|n| 11 - (n + 1)), first.map(|n| 11 - n)];
        nodes.reverse();
        (nodes, elements)
    }

    #[test]
    fn a_block_is_renumbered_x_fastest() {
        let (nodes, elements) = block();
        let found = recognise(&nodes, &elements).unwrap();
        assert_eq!(found.lattice.spacing_mm, [0.5, 1.0, 2.0]);
        assert_eq!(found.lattice.cells, [2, 1, 1]);
        assert_eq!(found.nodes, (0..12).rev().collect::<Vec<u32>>());
        assert_eq!(found.elements, [1, 0]);
        assert_eq!(found.connectivity[0], [0, 1, 4, 3, 6, 7, 10, 9]);
        assert_eq!(found.connectivity[1], [1, 2, 5, 4, 7, 8, 11, 10]);
    }

    #[test]
    fn an_element_may_begin_at_any_corner() {
        let (nodes, mut elements) = block();
        let expected = recognise(&nodes, &elements).unwrap().connectivity;
        let e = elements[0];
        // A quarter turn about z, then about x.
        elements[0] = [e[1], e[2], e[3], e[0], e[5], e[6], e[7], e[4]];
        let e = elements[1];
        elements[1] = [e[3], e[2], e[6], e[7], e[0], e[1], e[5], e[4]];
        assert_eq!(recognise(&nodes, &elements).unwrap().connectivity, expected);
    }

    #[test]
    fn inside_out_elements_are_no_boxes() {
        let (nodes, mut elements) = block();
        let e = elements[0];
        elements[0] = [e[4], e[5], e[6], e[7], e[0], e[1], e[2], e[3]];
        assert!(recognise(&nodes, &elements).is_none());
    }

    #[test]
    fn crooked_nodes_are_no_lattice() {
        let (mut nodes, elements) = block();
        nodes[4][1] += 1e-7;
        assert!(recognise(&nodes, &elements).is_some());
        nodes[4][1] += 1e-5;
        assert!(recognise(&nodes, &elements).is_none());
    }

    #[test]
    fn boxes_of_two_sizes_are_no_lattice() {
        let (mut nodes, elements) = block();
        for node in nodes.iter_mut().filter(|n| n[0] > 7.9) {
            node[0] += 0.1;
        }
        assert!(recognise(&nodes, &elements).is_none());
    }

    #[test]
    fn two_nodes_or_two_elements_at_one_place_are_no_lattice() {
        let (mut nodes, mut elements) = block();
        // Corner 0 of the right element is corner 1 of the left one.
        assert_eq!(elements[0][0], elements[1][1]);
        nodes.push(nodes[elements[0][0] as usize]);
        elements[0][0] = 12;
        assert!(recognise(&nodes, &elements).is_none());
        let (nodes, mut elements) = block();
        elements.push(elements[0]);
        assert!(recognise(&nodes, &elements).is_none());
    }
}
