//! Triangles of even size and shape.
//!
//! Short edges are collapsed, edges flipped where that widens the smallest angle, nodes moved to the middle of their
//! neighbours, every time back onto the level set (the incremental remeshing of M. Botsch and L. Kobbelt, "A remeshing
//! approach to multiresolution modeling", SGP 2004, without its splits: the surface of a lattice has no long edges).
//! Each step keeps the surface a two-manifold of the same topology, turns no triangle over and leaves the level set by
//! no more than a tolerance. That walls of thin parts do not meet is not looked for: TetGen does, and refuses.

use super::{SurfaceMesh, cross, dot, minus};

/// What the triangles should be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evenness {
    /// Wanted edge length, mm.
    pub edge_mm: f64,
    /// Triangles leave the level set by no more than this at their middles, mm.
    pub tolerance_mm: f64,
}

/// Edges shorter than this part of the wanted length are collapsed, unless that makes one longer than the second part.
const SHORT: f64 = 0.75;
const LONG: f64 = 1.4;
/// Rounds of collapsing, flipping and moving.
const ROUNDS: usize = 6;
/// A triangle's normal turns by no more than this in one step (cosine).
const TURN: f64 = 0.8;
/// Smallest quality a step may leave behind, unless it was worse before.
const LEAST_QUALITY: f64 = 0.3;

/// Makes the triangles of a surface even. `depth_mm` is zero on the surface.
pub(crate) fn even(
    surface: &SurfaceMesh,
    wanted: &Evenness,
    depth_mm: &(impl Fn([f64; 3]) -> f64 + Sync),
) -> SurfaceMesh {
    let mut work = Work {
        nodes: surface.nodes_mm.clone(),
        triangles: surface.triangles.iter().map(|t| Some(*t)).collect(),
        around: vec![Vec::new(); surface.nodes_mm.len()],
        wanted: *wanted,
        depth_mm,
    };
    for (n, t) in surface.triangles.iter().enumerate() {
        for &node in t {
            work.around[node as usize].push(n as u32);
        }
    }
    for _ in 0..ROUNDS {
        work.collapse_short_edges();
        work.flip();
        work.relax();
    }
    work.finish()
}

struct Work<'a, F> {
    nodes: Vec<[f64; 3]>,
    triangles: Vec<Option<[u32; 3]>>,
    /// Triangles at each node.
    around: Vec<Vec<u32>>,
    wanted: Evenness,
    depth_mm: &'a F,
}

impl<F: Fn([f64; 3]) -> f64 + Sync> Work<'_, F> {
    fn triangle(&self, n: u32) -> [u32; 3] {
        self.triangles[n as usize].unwrap_or_default()
    }

    fn corners(&self, t: [u32; 3]) -> [[f64; 3]; 3] {
        t.map(|n| self.nodes[n as usize])
    }

    fn length(&self, a: u32, b: u32) -> f64 {
        let d = minus(self.nodes[a as usize], self.nodes[b as usize]);
        dot(d, d).sqrt()
    }

    /// Neighbours of a node, ascending.
    fn neighbours(&self, node: u32) -> Vec<u32> {
        let mut all: Vec<u32> = self.around[node as usize]
            .iter()
            .flat_map(|&t| self.triangle(t))
            .filter(|&n| n != node)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Edges, shortest first.
    fn edges(&self) -> Vec<(u32, u32)> {
        let mut edges: Vec<(f64, u32, u32)> = self
            .triangles
            .iter()
            .flatten()
            .flat_map(|t| (0..3).map(move |n| (t[n], t[(n + 1) % 3])))
            .filter(|(a, b)| a < b)
            .map(|(a, b)| (self.length(a, b), a, b))
            .collect();
        edges.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        edges.into_iter().map(|(_, a, b)| (a, b)).collect()
    }

    /// Whether triangle `now` may become `then`.
    fn acceptable(&self, now: [[f64; 3]; 3], then: [[f64; 3]; 3]) -> bool {
        let [m, n] = [normal(now), normal(then)];
        let turn = dot(m, n) / (dot(m, m) * dot(n, n)).sqrt();
        // Also false for a triangle without an area.
        let keeps_side = turn > TURN;
        let quality = quality(then);
        keeps_side
            && (quality > LEAST_QUALITY || quality > self::quality(now))
            && self.near_surface(then)
    }

    fn near_surface(&self, t: [[f64; 3]; 3]) -> bool {
        let middle = std::array::from_fn(|n| (t[0][n] + t[1][n] + t[2][n]) / 3.0);
        (self.depth_mm)(middle).abs() <= self.wanted.tolerance_mm
    }

    fn collapse_short_edges(&mut self) {
        let short = SHORT * self.wanted.edge_mm;
        for (a, b) in self.edges() {
            let alive = self.around[a as usize]
                .iter()
                .any(|&t| self.triangle(t).contains(&b));
            if alive && self.length(a, b) < short {
                self.collapse(a, b);
            }
        }
    }

    /// Draws node `b` into `a`, where that is allowed.
    fn collapse(&mut self, a: u32, b: u32) {
        // Only the two triangles of the edge may share both its ends' neighbours, or the surface would pinch.
        let (of_a, of_b) = (self.neighbours(a), self.neighbours(b));
        let common = of_a
            .iter()
            .filter(|n| of_b.binary_search(n).is_ok())
            .count();
        if common != 2 || of_a.len() + of_b.len() < 9 {
            return;
        }
        let middle =
            std::array::from_fn(|n| 0.5 * (self.nodes[a as usize][n] + self.nodes[b as usize][n]));
        let target =
            crate::tetrahedral::onto_surface(middle, 0.5 * self.wanted.edge_mm, self.depth_mm);
        let long = LONG * self.wanted.edge_mm;
        let too_long = of_a.iter().chain(&of_b).any(|&n| {
            let d = minus(self.nodes[n as usize], target);
            n != a && n != b && dot(d, d) > long * long
        });
        if too_long {
            return;
        }
        for (node, other) in [(a, b), (b, a)] {
            for &t in &self.around[node as usize] {
                let t = self.triangle(t);
                if t.contains(&other) {
                    continue;
                }
                let now = self.corners(t);
                let place = t.iter().position(|&n| n == node).unwrap_or(0);
                let mut then = now;
                then[place] = target;
                if !self.acceptable(now, then) {
                    return;
                }
            }
        }
        for t in std::mem::take(&mut self.around[b as usize]) {
            let corners = self.triangle(t);
            if corners.contains(&a) {
                self.triangles[t as usize] = None;
                for n in corners {
                    self.around[n as usize].retain(|&other| other != t);
                }
            } else {
                self.triangles[t as usize] = Some(corners.map(|n| if n == b { a } else { n }));
                self.around[a as usize].push(t);
            }
        }
        self.nodes[a as usize] = target;
    }

    fn flip(&mut self) {
        for (a, b) in self.edges() {
            let both: Vec<u32> = self.around[a as usize]
                .iter()
                .copied()
                .filter(|&t| self.triangle(t).contains(&b))
                .collect();
            let [t, u] = both[..] else { continue };
            let apex = |t: u32| self.triangle(t).into_iter().find(|&n| n != a && n != b);
            let (Some(c), Some(d)) = (apex(t), apex(u)) else {
                continue;
            };
            if c == d || self.neighbours(c).binary_search(&d).is_ok() {
                continue;
            }
            // The triangles (a b c) and (b a d), in their own sense, become (c a d) and (d b c).
            let forward = next(self.triangle(t), a) == Some(b);
            let (c, d, t, u) = if forward { (c, d, t, u) } else { (d, c, u, t) };
            let new = [[c, a, d], [d, b, c]];
            let now = [
                self.corners(self.triangle(t)),
                self.corners(self.triangle(u)),
            ];
            let then = new.map(|t| self.corners(t));
            let before = smallest_angle(now[0]).min(smallest_angle(now[1]));
            let after = smallest_angle(then[0]).min(smallest_angle(then[1]));
            let sum = normal(now[0]);
            let other = normal(now[1]);
            let mean: [f64; 3] = std::array::from_fn(|n| sum[n] + other[n]);
            let agrees = then.iter().all(|t| {
                let n = normal(*t);
                dot(n, mean) > TURN * (dot(n, n) * dot(mean, mean)).sqrt() && self.near_surface(*t)
            });
            if after <= before + 1e-9 || !agrees {
                continue;
            }
            self.triangles[t as usize] = Some(new[0]);
            self.triangles[u as usize] = Some(new[1]);
            // t loses b and gains d, u loses a and gains c.
            self.around[b as usize].retain(|&other| other != t);
            self.around[d as usize].push(t);
            self.around[a as usize].retain(|&other| other != u);
            self.around[c as usize].push(u);
        }
    }

    /// Moves every node to the area-weighted middle of its triangles, along the surface.
    fn relax(&mut self) {
        for node in 0..self.nodes.len() as u32 {
            let around = &self.around[node as usize];
            if around.is_empty() {
                continue;
            }
            let (mut sum, mut weight) = ([0.0; 3], 0.0);
            for &t in around {
                let corners = self.corners(self.triangle(t));
                let n = normal(corners);
                let area = dot(n, n).sqrt();
                weight += area;
                for (axis, sum) in sum.iter_mut().enumerate() {
                    *sum += area * corners.iter().map(|c| c[axis]).sum::<f64>() / 3.0;
                }
            }
            let middle = sum.map(|s| s / weight);
            let target =
                crate::tetrahedral::onto_surface(middle, 0.5 * self.wanted.edge_mm, self.depth_mm);
            let moved_well = around.iter().all(|&t| {
                let t = self.triangle(t);
                let now = self.corners(t);
                let place = t.iter().position(|&n| n == node).unwrap_or(0);
                let mut then = now;
                then[place] = target;
                self.acceptable(now, then)
            });
            if moved_well {
                self.nodes[node as usize] = target;
            }
        }
    }

    fn finish(self) -> SurfaceMesh {
        SurfaceMesh::renumbered(&self.nodes, self.triangles.into_iter().flatten().collect())
    }
}

/// The corner after `node` in a triangle.
fn next(t: [u32; 3], node: u32) -> Option<u32> {
    let place = t.iter().position(|&n| n == node)?;
    Some(t[(place + 1) % 3])
}

/// Normal of a triangle, as long as twice its area.
fn normal(t: [[f64; 3]; 3]) -> [f64; 3] {
    cross(minus(t[1], t[0]), minus(t[2], t[0]))
}

/// 1 for an equilateral triangle, 0 for a flat one: 4 √3 area over the sum of the squared edges.
fn quality(t: [[f64; 3]; 3]) -> f64 {
    let n = normal(t);
    let edges: f64 = (0..3)
        .map(|i| {
            let d = minus(t[(i + 1) % 3], t[i]);
            dot(d, d)
        })
        .sum();
    2.0 * 3.0f64.sqrt() * dot(n, n).sqrt() / edges
}

fn smallest_angle(t: [[f64; 3]; 3]) -> f64 {
    (0..3)
        .map(|i| {
            let u = minus(t[(i + 1) % 3], t[i]);
            let v = minus(t[(i + 2) % 3], t[i]);
            let c = cross(u, v);
            dot(c, c).sqrt().atan2(dot(u, v))
        })
        .fold(f64::INFINITY, f64::min)
}
