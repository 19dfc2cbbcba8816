//! Supports, surface tractions and watched sets of a problem.

use meshing::NodeSet;
use solver::{LoadCase, NodalForce, Prescribed};

use super::body::{Body, Face};

/// Builds a load case.
#[derive(Clone, Debug, Default)]
pub(super) struct Loading {
    pub(super) case: LoadCase,
}

impl Loading {
    /// Moves nodes along an axis (0 holds them).
    pub(super) fn hold(&mut self, nodes: &[u32], component: u8, displacement_mm: f64) {
        self.case
            .prescribed
            .extend(nodes.iter().map(|&node| Prescribed {
                node,
                component,
                displacement_mm,
            }));
    }

    /// Moves nodes to where a field takes them.
    pub(super) fn follow(
        &mut self,
        body: &Body,
        nodes: &[u32],
        field: impl Fn([f64; 3]) -> [f64; 3],
    ) {
        for &node in nodes {
            let u = field(body.nodes()[node as usize]);
            for component in 0..3 {
                self.hold(&[node], component, u[usize::from(component)]);
            }
        }
    }

    /// Consistent nodal forces of a traction (MPa) given the position and the outward unit normal.
    pub(super) fn traction(
        &mut self,
        body: &Body,
        faces: &[Face],
        traction: impl Fn([f64; 3], [f64; 3]) -> [f64; 3],
    ) {
        for face in faces {
            for point in face_points(body.nodes(), face) {
                let area = point.area.iter().map(|a| a * a).sum::<f64>().sqrt();
                let t = traction(point.position, point.area.map(|a| a / area));
                for (i, &node) in face.iter().enumerate() {
                    for component in 0..3 {
                        self.case.forces.push(NodalForce {
                            node,
                            component,
                            force_n: point.shape[i] * t[usize::from(component)] * area,
                        });
                    }
                }
            }
        }
    }

    /// Pressure on the outer side of faces, MPa.
    pub(super) fn pressure(&mut self, body: &Body, faces: &[Face], pressure: f64) {
        self.traction(body, faces, |_, normal| normal.map(|n| -pressure * n));
    }

    /// Records the reaction of nodes.
    pub(super) fn watch(&mut self, name: &str, nodes: Vec<u32>) {
        self.case.monitors.push(NodeSet::new(name, nodes));
    }
}

/// An integration point of a face.
struct FacePoint {
    shape: Vec<f64>,
    position: [f64; 3],
    /// Outward normal times the area of the point, mm².
    area: [f64; 3],
}

/// Outward area of a face, mm².
#[cfg(test)]
pub(super) fn area_vector(nodes: &[[f64; 3]], face: &Face) -> [f64; 3] {
    let mut sum = [0.0; 3];
    for point in face_points(nodes, face) {
        for i in 0..3 {
            sum[i] += point.area[i];
        }
    }
    sum
}

/// Area of a face, mm².
#[cfg(test)]
pub(super) fn area(nodes: &[[f64; 3]], face: &Face) -> f64 {
    let size = |v: [f64; 3]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    face_points(nodes, face)
        .iter()
        .map(|point| size(point.area))
        .sum()
}

fn face_points(nodes: &[[f64; 3]], face: &Face) -> Vec<FacePoint> {
    let rule: Vec<([f64; 2], f64)> = if face.len() == 4 {
        let g = 1.0 / 3f64.sqrt();
        [[-g, -g], [g, -g], [g, g], [-g, g]]
            .map(|at| (at, 1.0))
            .to_vec()
    } else {
        triangle_rule()
    };
    rule.into_iter()
        .map(|(at, weight)| {
            let (shape, slopes) = face_shape(face.len(), at);
            let mut position = [0.0; 3];
            let mut tangent = [[0.0; 3]; 2];
            for (i, &node) in face.iter().enumerate() {
                let p = nodes[node as usize];
                for a in 0..3 {
                    position[a] += shape[i] * p[a];
                    tangent[0][a] += slopes[i][0] * p[a];
                    tangent[1][a] += slopes[i][1] * p[a];
                }
            }
            let [t, s] = tangent;
            let cross = [
                t[1] * s[2] - t[2] * s[1],
                t[2] * s[0] - t[0] * s[2],
                t[0] * s[1] - t[1] * s[0],
            ];
            FacePoint {
                shape,
                position,
                area: cross.map(|c| c * weight),
            }
        })
        .collect()
}

/// Six points of degree 4 (Dunavant 1985), weights for the triangle of area 1/2.
fn triangle_rule() -> Vec<([f64; 2], f64)> {
    let mut rule = Vec::new();
    for (a, weight) in [
        (0.445948490915965, 0.223381589678011),
        (0.091576213509771, 0.109951743655322),
    ] {
        for at in [[a, a], [1.0 - 2.0 * a, a], [a, 1.0 - 2.0 * a]] {
            rule.push((at, 0.5 * weight));
        }
    }
    rule
}

/// Shape functions and their slopes on a face of 3, 4 or 6 nodes.
fn face_shape(nodes: usize, [x, y]: [f64; 2]) -> (Vec<f64>, Vec<[f64; 2]>) {
    match nodes {
        4 => [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
            .map(|[a, b]: [f64; 2]| {
                (
                    0.25 * (1.0 + a * x) * (1.0 + b * y),
                    [0.25 * a * (1.0 + b * y), 0.25 * b * (1.0 + a * x)],
                )
            })
            .into_iter()
            .unzip(),
        _ => {
            let l = [1.0 - x - y, x, y];
            let slope = [[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]];
            if nodes == 3 {
                return (l.to_vec(), slope.to_vec());
            }
            let corner = |i: usize| {
                let factor = 4.0 * l[i] - 1.0;
                (l[i] * (2.0 * l[i] - 1.0), slope[i].map(|s: f64| s * factor))
            };
            let middle = |i: usize, j: usize| {
                (
                    4.0 * l[i] * l[j],
                    std::array::from_fn(|a| 4.0 * (slope[i][a] * l[j] + l[i] * slope[j][a])),
                )
            };
            [
                corner(0),
                corner(1),
                corner(2),
                middle(0, 1),
                middle(1, 2),
                middle(2, 0),
            ]
            .into_iter()
            .unzip()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ElementType;
    use super::super::body::brick;
    use super::*;

    /// Force and moment of a linear pressure on a face are those of its integral.
    #[test]
    fn nodal_forces_carry_force_and_moment() {
        for element in [ElementType::BBAR, ElementType::Tet4, ElementType::Tet10] {
            let body = brick([2, 3, 1], [0.0; 3], [2.0, 3.0, 1.0]).mesh(element);
            let mut loading = Loading::default();
            let faces = body.surface(|p| p[2] == 1.0);
            loading.traction(&body, &faces, |p, normal| normal.map(|n| -n * p[0]));
            let (mut force, mut moment) = ([0.0; 3], 0.0);
            for f in &loading.case.forces {
                force[usize::from(f.component)] += f.force_n;
                if f.component == 2 {
                    moment += f.force_n * body.nodes()[f.node as usize][0];
                }
            }
            // Integrals of x and x^2 over 2 x 3 mm.
            assert!((force[2] + 6.0).abs() < 1e-12, "{element:?}: {force:?}");
            assert!(force[0].abs() + force[1].abs() < 1e-12);
            if element != ElementType::Tet4 {
                assert!((moment + 8.0).abs() < 1e-10, "{element:?}: {moment}");
            }
        }
    }
}
