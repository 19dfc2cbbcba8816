//! The body-centred cubic lattice of tetrahedra, refined by bisection where the surface asks for it.
//!
//! Lattice points are the corners and the centres of cubes. Every pair of neighbouring centres makes a tetrahedron
//! with each of the four edges of the face between them: all tetrahedra are alike, with two opposite edges as long as
//! the cube's and four of √3/2 of it, and dihedral angles of 60 and 90 degrees.
//!
//! Refinement bisects the longest edge, of equal ones the one with the smallest point numbers. Every tetrahedron
//! around an edge agrees on that order, so bisecting whatever holds a halved edge ends in a mesh without hanging
//! points (M.-C. Rivara's longest-edge propagation). The shapes repeat after three bisections: the lattice's own, its
//! half, the path tetrahedron and one more.

use std::collections::HashMap;

/// Units of the integer coordinates in half an edge of a cube: 18 halvings, which is 54 bisections, more than any element of
/// a tenth of a voxel in one of metres takes; and room for 4000 cubes along an axis ([`super::MOST_CUBES`]).
const HALF_EDGE: i32 = 1 << 18;

/// Tetrahedra on lattice points.
#[derive(Clone, Debug)]
pub(super) struct Lattice {
    origin_mm: [f64; 3],
    /// Length of a coordinate unit, mm.
    unit_mm: f64,
    pub points: Vec<[i32; 3]>,
    pub tetrahedra: Vec<Tetrahedron>,
}

/// A tetrahedron of the lattice; points in an order of positive volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tetrahedron {
    pub points: [u32; 4],
    /// Bisections that led to it.
    pub generation: u8,
    /// Whether it was looked at and found fine enough.
    fine: bool,
}

/// The six edges of a tetrahedron by its corners.
pub(super) const EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]];

impl Lattice {
    /// Covers a box with cubes of side `edge_mm`, keeping the tetrahedra that `wanted` accepts by the positions of
    /// their corners.
    pub fn covering(
        bounds_mm: [[f64; 3]; 2],
        edge_mm: f64,
        wanted: impl Fn(&[f64; 4]) -> bool,
        depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
    ) -> Self {
        let [low, high] = bounds_mm;
        let cells: [usize; 3] =
            std::array::from_fn(|a| ((high[a] - low[a]) / edge_mm).ceil() as usize + 2);
        // The box sits in the middle of the cubes.
        let origin_mm =
            std::array::from_fn(|a| 0.5 * (low[a] + high[a]) - 0.5 * cells[a] as f64 * edge_mm);
        let mut lattice = Self {
            origin_mm,
            unit_mm: edge_mm / f64::from(2 * HALF_EDGE),
            points: Vec::new(),
            tetrahedra: Vec::new(),
        };
        let corners = cells.map(|n| n + 1);
        let grid = |size: [usize; 3], shift: i32| {
            let [nx, ny, nz] = size;
            (0..nx * ny * nz).map(move |n| {
                [n % nx, n / nx % ny, n / (nx * ny)].map(|i| 2 * HALF_EDGE * i as i32 + shift)
            })
        };
        lattice.points.extend(grid(corners, 0));
        let first_centre = lattice.points.len();
        lattice.points.extend(grid(cells, HALF_EDGE));
        let depth = lattice.depths_mm(depth_mm);
        let corner = |c: [usize; 3]| (c[0] + corners[0] * (c[1] + corners[1] * c[2])) as u32;
        let centre =
            |c: [usize; 3]| (first_centre + c[0] + cells[0] * (c[1] + cells[1] * c[2])) as u32;
        for k in 0..cells[2] {
            for j in 0..cells[1] {
                for i in 0..cells[0] {
                    for axis in 0..3 {
                        let here = [i, j, k];
                        let mut next = here;
                        next[axis] += 1;
                        if next[axis] == cells[axis] {
                            continue;
                        }
                        // The face between the two cubes, its corners in turn about the axis.
                        let [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
                        let around = [[0, 0], [1, 0], [1, 1], [0, 1]].map(|[a, b]| {
                            let mut c = next;
                            c[u] += a;
                            c[v] += b;
                            corner(c)
                        });
                        for n in 0..4 {
                            let points =
                                [centre(here), around[n], around[(n + 1) % 4], centre(next)];
                            if wanted(&points.map(|p| depth[p as usize])) {
                                lattice.tetrahedra.push(Tetrahedron {
                                    points,
                                    generation: 0,
                                    fine: false,
                                });
                            }
                        }
                    }
                }
            }
        }
        lattice
    }

    /// Position of a point, mm.
    pub fn position_mm(&self, point: u32) -> [f64; 3] {
        let at = self.points[point as usize];
        std::array::from_fn(|a| self.origin_mm[a] + self.unit_mm * f64::from(at[a]))
    }

    /// Depth of every point, mm.
    pub fn depths_mm(&self, depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync)) -> Vec<f64> {
        use rayon::prelude::*;
        (0..self.points.len() as u32)
            .into_par_iter()
            .map(|point| depth_mm(self.position_mm(point)))
            .collect()
    }

    /// Squared length of an edge in coordinate units.
    pub fn squared(&self, a: u32, b: u32) -> i64 {
        let [a, b] = [self.points[a as usize], self.points[b as usize]];
        (0..3).map(|n| i64::from(a[n] - b[n]).pow(2)).sum()
    }

    /// Length of an edge, mm.
    pub fn length_mm(&self, a: u32, b: u32) -> f64 {
        (self.squared(a, b) as f64).sqrt() * self.unit_mm
    }

    /// The edge that is bisected next: the longest, of equal ones the one with the smallest point numbers.
    fn longest(&self, t: &[u32; 4]) -> [usize; 2] {
        let rank = |e: &[usize; 2]| {
            let [a, b] = [t[e[0]], t[e[1]]];
            (self.squared(a, b), std::cmp::Reverse((a.min(b), a.max(b))))
        };
        EDGES.into_iter().max_by_key(rank).unwrap_or(EDGES[0])
    }

    /// Bisects every tetrahedron that `coarse` names until none is left, and whatever must follow.
    pub fn refine(&mut self, coarse: impl Fn(&Self, &Tetrahedron) -> bool + Sync) {
        use rayon::prelude::*;
        let mut halves: HashMap<(u32, u32), u32> = HashMap::new();
        loop {
            let split: Vec<bool> = self
                .tetrahedra
                .par_iter()
                .map(|t| {
                    let hanging = EDGES.iter().any(|e| {
                        let [a, b] = [t.points[e[0]], t.points[e[1]]];
                        halves.contains_key(&(a.min(b), a.max(b)))
                    });
                    hanging || (!t.fine && coarse(self, t))
                })
                .collect();
            if !split.contains(&true) {
                return;
            }
            let mut next = Vec::with_capacity(self.tetrahedra.len() + 64);
            for (t, split) in std::mem::take(&mut self.tetrahedra).into_iter().zip(split) {
                if !split {
                    next.push(Tetrahedron { fine: true, ..t });
                    continue;
                }
                let [i, j] = self.longest(&t.points);
                let [a, b] = [t.points[i], t.points[j]];
                let middle = *halves.entry((a.min(b), a.max(b))).or_insert_with(|| {
                    let [a, b] = [self.points[a as usize], self.points[b as usize]];
                    self.points.push(std::array::from_fn(|n| (a[n] + b[n]) / 2));
                    self.points.len() as u32 - 1
                });
                for replaced in [i, j] {
                    let mut points = t.points;
                    points[replaced] = middle;
                    next.push(Tetrahedron {
                        points,
                        generation: t.generation + 1,
                        fine: false,
                    });
                }
            }
            self.tetrahedra = next;
        }
    }
}
