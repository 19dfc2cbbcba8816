//! Bodies of mapped blocks: grids of cells of the unit cube carried to any shape, of any element.

use std::collections::HashMap;

use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, Mesh};
use solver::{HardeningCurve, MaterialModel, Materials, Model, SolidMesh};

use super::ElementType;

/// Corners of the faces of a hexahedron (VTK order), turning outward.
const HEX_FACES: [[usize; 4]; 6] = [
    [0, 3, 2, 1],
    [4, 5, 6, 7],
    [0, 1, 5, 4],
    [1, 2, 6, 5],
    [2, 3, 7, 6],
    [3, 0, 4, 7],
];
/// Nodes of the faces of a tetrahedron, turning outward: three corners, then the middles of their edges.
const TET_FACES: [[usize; 6]; 4] = [
    [0, 2, 1, 6, 5, 4],
    [0, 1, 3, 4, 8, 7],
    [1, 2, 3, 5, 9, 8],
    [0, 3, 2, 7, 9, 6],
];
/// The six tetrahedra of a cell share the diagonal from its first to its last corner and walk there along the axes in
/// every order (Kuhn 1960). Faces of neighbouring cells are cut along the same diagonal.
const AXIS_ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [1, 2, 0],
    [2, 0, 1],
    [0, 2, 1],
    [2, 1, 0],
    [1, 0, 2],
];

/// One material for a whole body.
#[derive(Clone, Debug)]
pub(super) struct Material {
    pub(super) youngs_modulus: f64,
    pub(super) poissons_ratio: f64,
    /// `None` stays elastic.
    pub(super) curve: Option<HardeningCurve>,
}

impl Material {
    pub(super) fn elastic(youngs_modulus: f64, poissons_ratio: f64) -> Self {
        Self {
            youngs_modulus,
            poissons_ratio,
            curve: None,
        }
    }

    pub(super) fn perfect(
        youngs_modulus: f64,
        poissons_ratio: f64,
        yield_stress: f64,
    ) -> anyhow::Result<Self> {
        let curve = HardeningCurve::perfect(yield_stress).map_err(anyhow::Error::msg)?;
        Ok(Self {
            youngs_modulus,
            poissons_ratio,
            curve: Some(curve),
        })
    }
}

/// Carries the unit cube to a piece of a body.
type Map = Box<dyn Fn([f64; 3]) -> [f64; 3]>;

/// A shape made of mapped blocks that meet node to node.
#[derive(Default)]
pub(super) struct Shape {
    blocks: Vec<([usize; 3], Map)>,
}

/// A meshed shape.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) mesh: SolidMesh,
    pub(super) element: ElementType,
}

/// A face of an element with its nodes turning outward: 4, or 3 or 6 of a triangle.
pub(super) type Face = Vec<u32>;

impl Shape {
    /// Adds a block of `cells` cells.
    pub(super) fn with(
        mut self,
        cells: [usize; 3],
        map: impl Fn([f64; 3]) -> [f64; 3] + 'static,
    ) -> Self {
        self.blocks.push((cells, Box::new(map)));
        self
    }

    /// Carries every block on.
    pub(super) fn then(self, map: impl Fn([f64; 3]) -> [f64; 3] + Clone + 'static) -> Self {
        let blocks = self.blocks.into_iter().map(|(cells, first)| {
            let second = map.clone();
            let both: Map = Box::new(move |p| second(first(p)));
            (cells, both)
        });
        Self {
            blocks: blocks.collect(),
        }
    }

    /// Meshes the shape. Middle nodes of 10-node tetrahedra are mapped too, so they lie on curved surfaces.
    pub(super) fn mesh(&self, element: ElementType) -> Body {
        let refine = if element == ElementType::Tet10 { 2 } else { 1 };
        let mut nodes = MergedNodes::default();
        let mut hexahedra: Vec<[u32; 8]> = Vec::new();
        let mut linear: Vec<[u32; 4]> = Vec::new();
        let mut quadratic: Vec<[u32; 10]> = Vec::new();
        for (cells, map) in &self.blocks {
            let points = cells.map(|n| n * refine + 1);
            let number: Vec<u32> = grid(points)
                .map(|p| {
                    let at = std::array::from_fn(|a| p[a] as f64 / (points[a] - 1) as f64);
                    nodes.number(map(at))
                })
                .collect();
            let node = |p: [usize; 3]| number[p[0] + points[0] * (p[1] + points[1] * p[2])];
            let mirrored = is_mirrored(map);
            for cell in grid(*cells) {
                // Corner 0 or 1 along each axis; in halves for the nodes between.
                let at = |halves: [usize; 3]| {
                    node(std::array::from_fn(|a| {
                        (2 * cell[a] + halves[a]) * refine / 2
                    }))
                };
                if matches!(element, ElementType::Hex8(_)) {
                    let corners = HEX_CORNERS.map(|c| at(c.map(|i| 2 * i)));
                    hexahedra.push(if mirrored {
                        std::array::from_fn(|i| corners[(i + 4) % 8])
                    } else {
                        corners
                    });
                    continue;
                }
                for (turn, order) in AXIS_ORDERS.into_iter().enumerate() {
                    let mut corners = [[0; 3]; 4];
                    for step in 0..3 {
                        corners[step + 1] = corners[step];
                        corners[step + 1][order[step]] = 2;
                    }
                    // The first three orders are even permutations, the others turn the tetrahedron over.
                    if (turn >= 3) != mirrored {
                        corners.swap(1, 2);
                    }
                    if element == ElementType::Tet4 {
                        linear.push(corners.map(at));
                    } else {
                        quadratic.push(std::array::from_fn(|i| match i.checked_sub(4) {
                            None => at(corners[i]),
                            Some(edge) => {
                                let [a, b] = solver::element::tetrahedron::EDGES[edge];
                                at(std::array::from_fn(|k| (corners[a][k] + corners[b][k]) / 2))
                            }
                        }));
                    }
                }
            }
        }
        let nodes_mm = nodes.positions;
        let mesh = match element {
            ElementType::Hex8(_) => SolidMesh::Hex8(HexMesh {
                nodes_mm,
                elements: hexahedra,
            }),
            ElementType::Tet4 => SolidMesh::Tet4(Mesh {
                nodes_mm,
                elements: linear,
            }),
            ElementType::Tet10 => SolidMesh::Tet10(Mesh {
                nodes_mm,
                elements: quadratic,
            }),
        };
        Body { mesh, element }
    }
}

/// Cells or points of a grid, the first axis fastest.
fn grid(n: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..n[2]).flat_map(move |k| (0..n[1]).flat_map(move |j| (0..n[0]).map(move |i| [i, j, k])))
}

/// Whether a map turns right-handed axes into left-handed ones.
fn is_mirrored(map: &Map) -> bool {
    let h = 1e-3;
    let difference = |axis: usize| {
        let (mut up, mut down) = ([0.5; 3], [0.5; 3]);
        up[axis] += h;
        down[axis] -= h;
        let (up, down) = (map(up), map(down));
        nalgebra::Vector3::from_fn(|i, _| up[i] - down[i])
    };
    difference(0).cross(&difference(1)).dot(&difference(2)) < 0.0
}

/// Nodes of several blocks; those at the same place are one.
#[derive(Default)]
struct MergedNodes {
    positions: Vec<[f64; 3]>,
    at: HashMap<[i64; 3], u32>,
}

impl MergedNodes {
    fn number(&mut self, position: [f64; 3]) -> u32 {
        // Round-off of two blocks is near 1e-13; the shift keeps round numbers off the edges of the 1e-6 boxes.
        let key = position.map(|x| (x * 1e6 + 0.1234).floor() as i64);
        *self.at.entry(key).or_insert_with(|| {
            self.positions.push(position);
            self.positions.len() as u32 - 1
        })
    }
}

/// A straight block between two corners.
pub(super) fn brick(cells: [usize; 3], low: [f64; 3], high: [f64; 3]) -> Shape {
    Shape::default().with(cells, move |p| {
        std::array::from_fn(|a| low[a] + (high[a] - low[a]) * p[a])
    })
}

/// One layer of a plane block between the coordinates `x` and `y` (graded as they are), `thickness` high.
pub(super) fn graded_layer(x: Vec<f64>, y: Vec<f64>, thickness: f64) -> Shape {
    let cells = [x.len() - 1, y.len() - 1, 1];
    let between = |values: &[f64], at: f64| {
        let place = at * (values.len() - 1) as f64;
        let low = (place.floor() as usize).min(values.len() - 2);
        values[low] + (values[low + 1] - values[low]) * (place - low as f64)
    };
    Shape::default().with(cells, move |p| {
        [between(&x, p[0]), between(&y, p[1]), thickness * p[2]]
    })
}

/// `n` steps from `from` to `to`, each `growth` times the one before.
pub(super) fn geometric(from: f64, to: f64, n: usize, growth: f64) -> Vec<f64> {
    let sum = |n: usize| (0..n).map(|i| growth.powi(i as i32)).sum::<f64>();
    (0..=n)
        .map(|i| from + (to - from) * sum(i) / sum(n))
        .collect()
}

/// A block of equal boxes on a lattice, for the matrix-free path; `keep` chooses the cells.
pub(super) fn voxels(
    cells: [usize; 3],
    spacing_mm: [f64; 3],
    keep: impl Fn([usize; 3]) -> bool,
) -> SolidMesh {
    let points = cells.map(|n| n + 1);
    let at = |p: [usize; 3]| p[0] + points[0] * (p[1] + points[1] * p[2]);
    let kept: Vec<[usize; 3]> = grid(cells).filter(|&cell| keep(cell)).collect();
    let mut number = vec![u32::MAX; points.iter().product()];
    for cell in &kept {
        for corner in HEX_CORNERS {
            number[at(std::array::from_fn(|a| cell[a] + corner[a]))] = 0;
        }
    }
    let mut node_points = Vec::new();
    for point in grid(points) {
        if number[at(point)] == 0 {
            number[at(point)] = node_points.len() as u32;
            node_points.push(point.map(|i| i as u32));
        }
    }
    let mesh = HexMesh {
        nodes_mm: node_points
            .iter()
            .map(|p| std::array::from_fn(|a| f64::from(p[a]) * spacing_mm[a]))
            .collect(),
        elements: kept
            .iter()
            .map(|cell| HEX_CORNERS.map(|c| number[at(std::array::from_fn(|a| cell[a] + c[a]))]))
            .collect(),
    };
    let lattice = Lattice {
        spacing_mm,
        cells,
        element_cells: kept.iter().map(|cell| cell.map(|i| i as u32)).collect(),
        node_points,
    };
    SolidMesh::Voxels { mesh, lattice }
}

impl Body {
    pub(super) fn nodes(&self) -> &[[f64; 3]] {
        self.mesh.nodes_mm()
    }

    /// Nodes whose position satisfies a condition.
    pub(super) fn select(&self, condition: impl Fn([f64; 3]) -> bool) -> Vec<u32> {
        (0..self.nodes().len() as u32)
            .filter(|&node| condition(self.nodes()[node as usize]))
            .collect()
    }

    /// The node nearest to a point.
    pub(super) fn nearest(&self, point: [f64; 3]) -> usize {
        let distance = |node: usize| -> f64 {
            let p = self.nodes()[node];
            (0..3).map(|a| (p[a] - point[a]).powi(2)).sum()
        };
        (0..self.nodes().len())
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0)
    }

    /// Faces of the boundary all of whose nodes satisfy a condition.
    pub(super) fn surface(&self, condition: impl Fn([f64; 3]) -> bool) -> Vec<Face> {
        let mut faces: HashMap<Vec<u32>, Option<Face>> = HashMap::new();
        let mut order = Vec::new();
        let mut meet = |face: Face, corners: usize| {
            let mut key = face[..corners].to_vec();
            key.sort_unstable();
            faces
                .entry(key.clone())
                .and_modify(|seen| *seen = None)
                .or_insert_with(|| {
                    order.push(key);
                    Some(face)
                });
        };
        for element in 0..self.mesh.element_count() {
            let nodes = self.mesh.element(element);
            match self.element {
                ElementType::Hex8(_) => {
                    for face in HEX_FACES {
                        meet(face.iter().map(|&i| nodes[i]).collect(), 4);
                    }
                }
                ElementType::Tet4 => {
                    for face in TET_FACES {
                        meet(face[..3].iter().map(|&i| nodes[i]).collect(), 3);
                    }
                }
                ElementType::Tet10 => {
                    for face in TET_FACES {
                        meet(face.iter().map(|&i| nodes[i]).collect(), 3);
                    }
                }
            }
        }
        order
            .iter()
            .filter_map(|key| faces.get(key).cloned().flatten())
            .filter(|face| {
                face.iter()
                    .all(|&node| condition(self.nodes()[node as usize]))
            })
            .collect()
    }

    /// The body of one material.
    pub(super) fn model(&self, material: &Material, law: MaterialModel) -> Model {
        model(self.mesh.clone(), material, self.element, law)
    }
}

/// A model of one material.
pub(super) fn model(
    mesh: SolidMesh,
    material: &Material,
    element: ElementType,
    material_model: MaterialModel,
) -> Model {
    let n = mesh.element_count();
    let curve = if material.curve.is_some() {
        0
    } else {
        Materials::ELASTIC
    };
    Model {
        mesh,
        materials: Materials {
            youngs_modulus_mpa: vec![material.youngs_modulus; n],
            poissons_ratio: vec![material.poissons_ratio; n],
            curve: vec![curve; n],
            curves: material.curve.iter().cloned().collect(),
        },
        formulation: element.formulation(),
        material_model,
    }
}

/// Whether two lengths are the same up to round-off of a mesh.
pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6 * (1.0 + b.abs())
}

#[cfg(test)]
mod tests {
    use super::super::loading::{area, area_vector};
    use super::*;
    use std::f64::consts::PI;

    const ALL: [ElementType; 3] = [ElementType::BBAR, ElementType::Tet4, ElementType::Tet10];

    /// Two blocks, one of them mirrored, make a closed body with the right surface.
    #[test]
    fn blocks_meet_and_their_surface_is_closed() {
        let shape = brick([2, 3, 2], [0.0; 3], [1.0, 2.0, 3.0])
            .with([2, 3, 2], |p| [2.0 - p[0], 2.0 * p[1], 3.0 * p[2]]);
        for element in ALL {
            let body = shape.mesh(element);
            assert_eq!(body.mesh.first_inverted(), None, "{element:?}");
            let mut sum = [0.0; 3];
            let mut area = 0.0;
            for face in body.surface(|_| true) {
                let vector = area_vector(body.nodes(), &face);
                for i in 0..3 {
                    sum[i] += vector[i];
                }
                area += vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            }
            assert!(sum.iter().all(|s| s.abs() < 1e-12), "{element:?}: {sum:?}");
            // 2 x 2 x 3 mm: no inner face is left over.
            assert!((area - 32.0).abs() < 1e-12, "{element:?}: {area}");
        }
    }

    /// Middle nodes lie on the true surface: the area of a quarter tube is nearly exact.
    #[test]
    fn middle_nodes_follow_the_curve() {
        let tube = Shape::default().with([2, 4, 1], |p| {
            let (r, angle) = (1.0 + p[0], 0.5 * PI * p[1]);
            [r * angle.cos(), r * angle.sin(), p[2]]
        });
        let outer_area = |element| {
            let body: Body = tube.mesh(element);
            body.surface(|p| close(p[0].hypot(p[1]), 2.0))
                .iter()
                .map(|face| area(body.nodes(), face))
                .sum::<f64>()
        };
        assert!((outer_area(ElementType::BBAR) - 4.0 * 4.0 * (PI / 16.0).sin()).abs() < 1e-12);
        assert!((outer_area(ElementType::Tet10) - PI).abs() < 1e-4 * PI);
        let body = tube.mesh(ElementType::Tet10);
        let outer = body.select(|p| close(p[0].hypot(p[1]), 2.0));
        assert_eq!(outer.len(), 9 * 3);
    }

    #[test]
    fn geometric_steps_grow() {
        let x = geometric(1.0, 8.0, 3, 2.0);
        assert_eq!(x, [1.0, 2.0, 4.0, 8.0]);
    }
}
