//! Whether a surface cuts itself.

use std::collections::HashMap;

use super::{SurfaceMesh, cross, dot, minus};

impl SurfaceMesh {
    /// The first two triangles that cut each other though they are no neighbours along an edge; `None` for a surface that
    /// does not cut itself. Triangles that only touch, or lie in one plane, are not taken for cutting.
    pub fn first_crossing(&self) -> Option<[u32; 2]> {
        let cell_mm = self.longest_edge_mm();
        if cell_mm <= 0.0 {
            return None;
        }
        // Triangles by the cells of a lattice that their boxes touch.
        let mut cells: HashMap<[i32; 3], Vec<u32>> = HashMap::new();
        for (number, triangle) in self.triangles.iter().enumerate() {
            let corners = self.corners(triangle);
            let range = |axis: usize| {
                let of = |x: f64| (x / cell_mm).floor() as i32;
                let values = corners.map(|c| c[axis]);
                let low = values.into_iter().fold(f64::INFINITY, f64::min);
                let high = values.into_iter().fold(f64::NEG_INFINITY, f64::max);
                of(low)..=of(high)
            };
            for x in range(0) {
                for y in range(1) {
                    for z in range(2) {
                        cells.entry([x, y, z]).or_default().push(number as u32);
                    }
                }
            }
        }
        let mut first: Option<[u32; 2]> = None;
        for inside in cells.values() {
            for (n, &a) in inside.iter().enumerate() {
                for &b in &inside[n + 1..] {
                    let pair = [a, b];
                    // The smallest pair, whatever the order of the cells.
                    if first.is_none_or(|first| pair < first) && self.cross_each_other(a, b) {
                        first = Some(pair);
                    }
                }
            }
        }
        first
    }

    fn corners(&self, triangle: &[u32; 3]) -> [[f64; 3]; 3] {
        triangle.map(|n| self.nodes_mm[n as usize])
    }

    fn longest_edge_mm(&self) -> f64 {
        self.triangles
            .iter()
            .flat_map(|t| {
                let c = self.corners(t);
                [0, 1, 2].map(|n| {
                    let d = minus(c[n], c[(n + 1) % 3]);
                    dot(d, d).sqrt()
                })
            })
            .fold(0.0, f64::max)
    }

    /// Whether an edge of one triangle passes through the inside of the other; edges at a common node are left out.
    fn cross_each_other(&self, a: u32, b: u32) -> bool {
        let [a, b] = [a, b].map(|n| self.triangles[n as usize]);
        let shared = a.iter().filter(|n| b.contains(n)).count();
        if shared > 1 {
            return false;
        }
        let pierced = |from: &[u32; 3], through: &[u32; 3]| {
            let triangle = self.corners(through);
            (0..3).any(|n| {
                let ends = [from[n], from[(n + 1) % 3]];
                ends.iter().all(|end| !through.contains(end))
                    && pierces(ends.map(|n| self.nodes_mm[n as usize]), triangle)
            })
        };
        pierced(&a, &b) || pierced(&b, &a)
    }
}

/// Volumes smaller than this part of the product of three edges are rounding.
const ROUNDING: f64 = 1e-9;

/// Whether a segment passes through the inside of a triangle.
fn pierces([p, q]: [[f64; 3]; 2], [a, b, c]: [[f64; 3]; 3]) -> bool {
    let volume = |a, b, c, d| dot(cross(minus(b, a), minus(c, a)), minus(d, a));
    let (above, below) = (volume(a, b, c, p), volume(a, b, c, q));
    // Ends in the triangle's plane, to rounding, only touch it.
    let size = [minus(b, a), minus(c, a), minus(q, p)].map(|d| dot(d, d).sqrt());
    let nothing = ROUNDING * size[0] * size[1] * size[2];
    if above * below >= 0.0 || above.abs().min(below.abs()) < nothing {
        return false;
    }
    let sides = [volume(p, q, a, b), volume(p, q, b, c), volume(p, q, c, a)];
    sides.iter().all(|&side| side > 0.0) || sides.iter().all(|&side| side < 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tetrahedra of which the second stands `at` beside the first.
    fn pair(at: f64) -> SurfaceMesh {
        let corners = [
            [0.0, 0.0, 0.0],
            [2.0, 0.0, 0.0],
            [0.0, 2.0, 0.0],
            [0.0, 0.0, 2.0],
        ];
        let mut surface = SurfaceMesh::default();
        for shift in [0.0, at] {
            let first = surface.nodes_mm.len() as u32;
            surface
                .nodes_mm
                .extend(corners.map(|c| [c[0] + shift, c[1] + 0.1 * shift, c[2] + 0.13 * shift]));
            surface
                .triangles
                .extend(super::super::FACES.map(|face| face.map(|n| first + n as u32)));
        }
        surface
    }

    #[test]
    fn bodies_apart_do_not_cross_and_bodies_in_each_other_do() {
        assert_eq!(pair(3.0).first_crossing(), None);
        assert!(pair(0.7).first_crossing().is_some());
    }

    #[test]
    fn a_tip_through_a_wall_is_found() {
        let mut surface = pair(5.0);
        assert_eq!(surface.first_crossing(), None);
        // A corner of the second body, into the first through its sloping face.
        surface.nodes_mm[4] = [0.4, 0.4, 0.4];
        assert!(surface.first_crossing().is_some());
    }
}
