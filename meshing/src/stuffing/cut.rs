//! Warping and cutting the lattice at the surface.

use std::collections::HashMap;

use rayon::prelude::*;

use super::lattice::{EDGES, Lattice};
use crate::surface::pinched_nodes;
use crate::tetrahedron::tetrahedron_volume_mm3;

/// A lattice point moves onto the surface when it crosses an edge closer than this part of the edge to the point
/// (Labelle and Shewchuk 2007, table 1: dihedral angles between 10.78 and 164.74 degrees).
const WARP_LONG: f64 = 0.249_99;
const WARP_SHORT: f64 = 0.411_89;
/// The same for points where the lattice is refined, as a part of the shortest edge there.
const WARP_REFINED: f64 = 0.25;
/// Cuts next to a point that must not move stay this far from the ends of an edge.
const LEAST_CUT: f64 = 0.2;
/// Halvings of an interval in the search for the surface on an edge: 2⁻²⁰ of an edge.
const HALVINGS: usize = 20;

/// Tetrahedra of what lies inside the surface.
pub(super) struct Cut {
    pub nodes_mm: Vec<[f64; 3]>,
    pub tetrahedra: Vec<[u32; 4]>,
}

/// Where the surface crosses an edge of the lattice.
#[derive(Clone, Copy)]
struct Crossing {
    /// Part of the edge from its first point (the one with the smaller number) to the surface.
    part: f64,
    at_mm: [f64; 3],
}

/// A corner of a piece of a lattice tetrahedron.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Corner {
    Point(u32),
    /// On the edge from the first point, which is inside, to the second.
    Cut(u32, u32),
}

/// Cuts the lattice at the zero level of `depth_mm`. Every element has a positive volume and the surface is a
/// two-manifold: points whose motion would spoil either are left where they are, and with no point moved both are
/// certain, because the pieces are then those of a piecewise linear function without a zero at a lattice point.
pub(super) fn cut(lattice: &Lattice, depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync)) -> Cut {
    let mut depth = lattice.depths_mm(depth_mm);
    for depth in &mut depth {
        if *depth == 0.0 {
            *depth = f64::MIN_POSITIVE;
        }
    }
    let crossings = crossings(lattice, &depth, depth_mm);
    let limits = Limits::of(lattice);
    let mut fixed = vec![false; lattice.points.len()];
    loop {
        let moved = warp(lattice, &crossings, &limits, &fixed);
        let pieces = Pieces {
            lattice,
            depth: &depth,
            crossings: &crossings,
            fixed: &fixed,
            moved: &moved,
        };
        let (cut, spoiling) = pieces.collect(depth_mm);
        let mut again = false;
        for point in spoiling {
            if moved.contains_key(&point) && !fixed[point as usize] {
                fixed[point as usize] = true;
                again = true;
            }
        }
        if !again {
            return cut;
        }
    }
}

/// The crossings of all edges with one end inside and the other outside, by their ends.
fn crossings(
    lattice: &Lattice,
    depth: &[f64],
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> HashMap<(u32, u32), Crossing> {
    let mut edges: Vec<(u32, u32)> = lattice
        .tetrahedra
        .iter()
        .flat_map(|t| {
            EDGES.map(|[i, j]| (t.points[i].min(t.points[j]), t.points[i].max(t.points[j])))
        })
        .filter(|&(a, b)| (depth[a as usize] > 0.0) != (depth[b as usize] > 0.0))
        .collect();
    edges.par_sort_unstable();
    edges.dedup();
    edges
        .into_par_iter()
        .map(|(a, b)| {
            let ends = [lattice.position_mm(a), lattice.position_mm(b)];
            let inside_first = depth[a as usize] > 0.0;
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..HALVINGS {
                let middle = 0.5 * (low + high);
                if (depth_mm(between(ends, middle)) > 0.0) == inside_first {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            let part = 0.5 * (low + high);
            let at_mm = between(ends, part);
            ((a, b), Crossing { part, at_mm })
        })
        .collect()
}

fn between(ends: [[f64; 3]; 2], part: f64) -> [f64; 3] {
    std::array::from_fn(|n| ends[0][n] + part * (ends[1][n] - ends[0][n]))
}

/// How far points may move.
struct Limits {
    /// Shortest edge at each point that a bisected tetrahedron touches, mm; infinite elsewhere.
    shortest_refined_mm: Vec<f64>,
    /// Squared length of a long edge of the lattice, coordinate units.
    long: i64,
}

impl Limits {
    fn of(lattice: &Lattice) -> Self {
        let mut shortest = vec![f64::INFINITY; lattice.points.len()];
        let mut refined = vec![false; lattice.points.len()];
        let mut long = 0;
        for t in &lattice.tetrahedra {
            for [i, j] in EDGES {
                let [a, b] = [t.points[i], t.points[j]];
                let length = lattice.length_mm(a, b);
                long = long.max(lattice.squared(a, b));
                for point in [a, b] {
                    let shortest = &mut shortest[point as usize];
                    *shortest = shortest.min(length);
                    refined[point as usize] |= t.generation > 0;
                }
            }
        }
        for (shortest, refined) in shortest.iter_mut().zip(refined) {
            if !refined {
                *shortest = f64::INFINITY;
            }
        }
        Self {
            shortest_refined_mm: shortest,
            long,
        }
    }

    /// Whether `point` may move by `part` of its edge to `other`.
    fn allow(&self, lattice: &Lattice, point: u32, other: u32, part: f64) -> bool {
        let shortest = self.shortest_refined_mm[point as usize];
        if shortest.is_finite() {
            part * lattice.length_mm(point, other) < WARP_REFINED * shortest
        } else if lattice.squared(point, other) == self.long {
            part < WARP_LONG
        } else {
            part < WARP_SHORT
        }
    }
}

/// New positions of the points that move onto the surface, each to the nearest crossing it may move to.
fn warp(
    lattice: &Lattice,
    crossings: &HashMap<(u32, u32), Crossing>,
    limits: &Limits,
    fixed: &[bool],
) -> HashMap<u32, [f64; 3]> {
    let mut nearest: HashMap<u32, (f64, (u32, u32))> = HashMap::new();
    for (&edge, crossing) in crossings {
        for (point, other, part) in [
            (edge.0, edge.1, crossing.part),
            (edge.1, edge.0, 1.0 - crossing.part),
        ] {
            if fixed[point as usize] || !limits.allow(lattice, point, other, part) {
                continue;
            }
            let candidate = (part * lattice.length_mm(point, other), edge);
            nearest
                .entry(point)
                .and_modify(|best| {
                    // Of equal distances the edge with the smaller numbers, whatever the order of the map.
                    if candidate < *best {
                        *best = candidate;
                    }
                })
                .or_insert(candidate);
        }
    }
    nearest
        .into_iter()
        .map(|(point, (_, edge))| (point, crossings[&edge].at_mm))
        .collect()
}

/// Everything that decides the pieces.
struct Pieces<'a> {
    lattice: &'a Lattice,
    depth: &'a [f64],
    crossings: &'a HashMap<(u32, u32), Crossing>,
    fixed: &'a [bool],
    moved: &'a HashMap<u32, [f64; 3]>,
}

impl Pieces<'_> {
    /// The pieces, and the lattice points that spoil them.
    fn collect(&self, depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync)) -> (Cut, Vec<u32>) {
        let pieces: Vec<Vec<[Corner; 4]>> = self
            .lattice
            .tetrahedra
            .par_iter()
            .map(|t| self.of(&t.points, depth_mm))
            .collect();
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let mut of_point = vec![u32::MAX; self.lattice.points.len()];
        let mut nodes_mm = Vec::new();
        let mut origin = Vec::new();
        let mut tetrahedra = Vec::new();
        let mut spoiling = Vec::new();
        for piece in pieces.into_iter().flatten() {
            let nodes = piece.map(|corner| match corner {
                Corner::Point(point) => {
                    let number = &mut of_point[point as usize];
                    if *number == u32::MAX {
                        *number = nodes_mm.len() as u32;
                        nodes_mm.push(self.position_mm(point));
                        origin.push(Some(point));
                    }
                    *number
                }
                Corner::Cut(inside, outside) => {
                    let edge = (inside.min(outside), inside.max(outside));
                    *numbers.entry(edge).or_insert_with(|| {
                        nodes_mm.push(self.cut_mm(edge));
                        origin.push(None);
                        nodes_mm.len() as u32 - 1
                    })
                }
            });
            let corners = nodes.map(|n| nodes_mm[n as usize]);
            let longest = EDGES
                .map(|[i, j]| distance(corners[i], corners[j]))
                .into_iter()
                .fold(0.0, f64::max);
            if tetrahedron_volume_mm3(&corners) < 1e-4 * longest.powi(3) {
                spoiling.extend(nodes.iter().filter_map(|&n| origin[n as usize]));
            }
            tetrahedra.push(nodes);
        }
        spoiling.extend(
            pinched_nodes(&tetrahedra)
                .into_iter()
                .filter_map(|n| origin[n as usize]),
        );
        let cut = Cut {
            nodes_mm,
            tetrahedra,
        };
        (cut, spoiling)
    }

    fn position_mm(&self, point: u32) -> [f64; 3] {
        self.moved
            .get(&point)
            .copied()
            .unwrap_or_else(|| self.lattice.position_mm(point))
    }

    fn cut_mm(&self, edge: (u32, u32)) -> [f64; 3] {
        let crossing = self.crossings[&edge];
        if self.fixed[edge.0 as usize] || self.fixed[edge.1 as usize] {
            let ends = [
                self.lattice.position_mm(edge.0),
                self.lattice.position_mm(edge.1),
            ];
            return between(ends, crossing.part.clamp(LEAST_CUT, 1.0 - LEAST_CUT));
        }
        crossing.at_mm
    }

    /// What of a lattice tetrahedron lies inside.
    fn of(
        &self,
        points: &[u32; 4],
        depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
    ) -> Vec<[Corner; 4]> {
        let (mut inside, mut outside, mut on) = (Vec::new(), Vec::new(), Vec::new());
        for (n, point) in points.iter().enumerate() {
            if self.moved.contains_key(point) {
                on.push(n);
            } else if self.depth[*point as usize] > 0.0 {
                inside.push(n);
            } else {
                outside.push(n);
            }
        }
        let whole = points.map(Corner::Point);
        // Pieces keep the order of the tetrahedron's corners, each moved along an edge at most: so they keep its sign.
        let with = |places: &[(usize, Corner)]| {
            let mut piece = whole;
            for &(place, corner) in places {
                piece[place] = corner;
            }
            piece
        };
        let cut = |p: usize, n: usize| Corner::Cut(points[p], points[n]);
        match (&inside[..], &outside[..]) {
            ([], []) => {
                let corners = points.map(|p| self.position_mm(p));
                let middle =
                    std::array::from_fn(|a| corners.iter().map(|c| c[a]).sum::<f64>() / 4.0);
                if depth_mm(middle) > 0.0 {
                    vec![whole]
                } else {
                    Vec::new()
                }
            }
            ([], _) => Vec::new(),
            (_, []) => vec![whole],
            (&[p], _) => {
                let places: Vec<_> = outside.iter().map(|&n| (n, cut(p, n))).collect();
                vec![with(&places)]
            }
            (&[p, q], &[n]) => {
                // The face p q n is cut to a quadrilateral, which its diagonal from the smaller point number divides:
                // the neighbour across the face does the same.
                let [p, q] = if points[p] < points[q] {
                    [p, q]
                } else {
                    [q, p]
                };
                vec![
                    with(&[(n, cut(q, n))]),
                    with(&[(q, cut(q, n)), (n, cut(p, n))]),
                ]
            }
            (&[p, q], &[m, n]) => {
                let [p, q] = if points[p] < points[q] {
                    [p, q]
                } else {
                    [q, p]
                };
                // A wedge between the triangles p pm pn and q qm qn. Both cut faces are divided from p; the face on the
                // surface takes its shorter diagonal.
                let place = |corner: Corner| match corner {
                    Corner::Cut(a, b) => self.cut_mm((a.min(b), a.max(b))),
                    Corner::Point(point) => self.position_mm(point),
                };
                let first = distance(place(cut(p, m)), place(cut(q, n)));
                let second = distance(place(cut(p, n)), place(cut(q, m)));
                let [m, n] = if first <= second { [m, n] } else { [n, m] };
                vec![
                    with(&[(q, cut(q, n)), (m, cut(p, m)), (n, cut(p, n))]),
                    with(&[(q, cut(q, m)), (m, cut(p, m)), (n, cut(q, n))]),
                    with(&[(m, cut(q, m)), (n, cut(q, n))]),
                ]
            }
            (&[_, _, _], &[n]) => {
                let mut p = [inside[0], inside[1], inside[2]];
                p.sort_by_key(|&p| points[p]);
                // A prism between p and the cuts; every quadrilateral is divided from its smaller point number.
                vec![
                    with(&[(n, cut(p[2], n))]),
                    with(&[(p[2], cut(p[2], n)), (n, cut(p[1], n))]),
                    with(&[
                        (p[1], cut(p[1], n)),
                        (p[2], cut(p[2], n)),
                        (n, cut(p[0], n)),
                    ]),
                ]
            }
            // Four corners are all there are.
            _ => Vec::new(),
        }
    }
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|n| (a[n] - b[n]).powi(2)).sum::<f64>().sqrt()
}
