//! Every format read back by a reader of its own, and the volume integrated through the shape functions that its
//! documentation gives the nodes. The orders below are the documents', not the writers'.

use std::collections::BTreeMap;

use meshing::vtu::{CellMesh, VtuFile};

use super::*;

/// Nodes and elements by their numbers in the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    pub(super) nodes: BTreeMap<usize, [f64; 3]>,
    pub(super) elements: BTreeMap<usize, Vec<usize>>,
}

fn numbers<T: std::str::FromStr>(line: &str, separator: impl Fn(char) -> bool) -> Vec<T> {
    line.split(separator)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok().expect("a number"))
        .collect()
}

fn read_inp(text: &str) -> Read {
    let mut read = Read::default();
    let mut card = "";
    for line in text.lines() {
        if line.starts_with('*') {
            card = line.split(',').next().unwrap_or(line);
        } else if card == "*NODE" {
            let (label, rest) = line.split_once(',').expect("a number and a position");
            let at: Vec<f64> = numbers(rest, |c| c == ',');
            read.nodes
                .insert(label.parse().expect("a number"), [at[0], at[1], at[2]]);
        } else if card == "*ELEMENT" {
            let all: Vec<usize> = numbers(line, |c| c == ',');
            read.elements.insert(all[0], all[1..].to_vec());
        }
    }
    read
}

fn fields<T: std::str::FromStr>(line: &str, width: usize) -> Vec<T> {
    (0..line.len() / width)
        .map(|n| {
            line[n * width..(n + 1) * width]
                .trim()
                .parse()
                .ok()
                .expect("a number")
        })
        .collect()
}

fn read_cdb(text: &str) -> Read {
    let mut read = Read::default();
    let mut lines = text.lines();
    lines.find(|line| line.starts_with("NBLOCK"));
    assert_eq!(lines.next(), Some("(3i10,6e25.16e3)"));
    for line in lines.by_ref() {
        if line.starts_with("N,R5.3,LOC,") {
            break;
        }
        let label: Vec<usize> = fields(&line[..30], 10);
        let at: Vec<f64> = fields(&line[30..], 25);
        read.nodes.insert(label[0], [at[0], at[1], at[2]]);
    }
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("EBLOCK,19,SOLID"))
    );
    assert_eq!(lines.next(), Some("(19i10)"));
    while let Some(line) = lines.next().filter(|line| line.trim() != "-1") {
        let mut all: Vec<usize> = fields(line, 10);
        if all[8] > 8 {
            all.extend(fields::<usize>(lines.next().expect("a second line"), 10));
        }
        assert_eq!(all[8], all.len() - 11);
        read.elements.insert(all[10], all[11..].to_vec());
    }
    read
}

fn read_feb(text: &str) -> Read {
    let mut read = Read::default();
    let tag = |line: &str, name: &str| -> Option<(usize, String)> {
        let rest = line.strip_prefix(&format!("<{name} id=\""))?;
        let (id, rest) = rest.split_once("\">")?;
        let (value, _) = rest.split_once("</")?;
        Some((id.parse().ok()?, value.to_owned()))
    };
    for line in text.lines() {
        if let Some((label, value)) = tag(line, "node") {
            let at: Vec<f64> = numbers(&value, |c| c == ',');
            read.nodes.insert(label, [at[0], at[1], at[2]]);
        } else if let Some((label, value)) = tag(line, "elem") {
            read.elements.insert(label, numbers(&value, |c| c == ','));
        }
    }
    read
}

fn read_msh(text: &str) -> Read {
    let mut read = Read::default();
    let section = |name: &str| -> Vec<Vec<f64>> {
        let begin = format!("${name}\n");
        let from = text.find(&begin).expect("a section") + begin.len();
        let to = text.find(&format!("$End{name}\n")).expect("an end");
        text[from..to]
            .lines()
            .map(|line| numbers(line, |c| c == ' '))
            .collect()
    };
    let mut lines = section("Nodes").into_iter();
    let blocks = lines.next().expect("a head")[0] as usize;
    for _ in 0..blocks {
        let count = lines.next().expect("a block")[3] as usize;
        let labels: Vec<usize> = lines.by_ref().take(count).map(|l| l[0] as usize).collect();
        for (label, at) in labels.into_iter().zip(lines.by_ref()) {
            read.nodes.insert(label, [at[0], at[1], at[2]]);
        }
    }
    let mut lines = section("Elements").into_iter();
    let blocks = lines.next().expect("a head")[0] as usize;
    for _ in 0..blocks {
        let head = lines.next().expect("a block");
        for line in lines.by_ref().take(head[3] as usize) {
            let all: Vec<usize> = line.iter().map(|v| *v as usize).collect();
            if head[0] == 3.0 {
                read.elements.insert(all[0], all[1..].to_vec());
            }
        }
    }
    read
}

fn read_vtu(bytes: &[u8]) -> Read {
    let file = VtuFile::parse(Path::new("a.vtu"), bytes).expect("a file");
    fn read<const N: usize>(mesh: &meshing::Mesh<N>) -> Read {
        Read {
            nodes: (1..).zip(mesh.nodes_mm.iter().copied()).collect(),
            elements: (1..)
                .zip(
                    mesh.elements
                        .iter()
                        .map(|e| e.iter().map(|n| *n as usize + 1).collect()),
                )
                .collect(),
        }
    }
    match file.mesh {
        CellMesh::Hex8(mesh) => read(&mesh),
        CellMesh::Tet10(mesh) => read(&mesh),
        CellMesh::Tet4(_) => panic!("other elements"),
    }
}

/// Corners that the mid-edge nodes of a 10-node tetrahedron lie between, from the documents named in each format's module.
fn edges(format: Format) -> [[usize; 2]; 6] {
    match format {
        // Abaqus: 5 between 1 and 2, 6: 2-3, 7: 3-1, 8: 1-4, 9: 2-4, 10: 3-4.
        Format::Inp => [[0, 1], [1, 2], [2, 0], [0, 3], [1, 3], [2, 3]],
        // Ansys: M I-J, N J-K, O K-I, P I-L, Q J-L, R K-L; shape functions 4 L1 L2, 4 L2 L3, 4 L1 L3, 4 L1 L4, 4 L2 L4, 4 L3 L4.
        Format::Cdb => [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]],
        // FEBio: with u = 1-r-s-t, 4ru, 4rs, 4su, 4tu, 4rt, 4st.
        Format::Feb => [[1, 0], [1, 2], [2, 0], [3, 0], [1, 3], [2, 3]],
        // Gmsh: 4 on 0-1, 5 on 1-2, 6 on 2-0, 7 on 3-0, 8 on 2-3, 9 on 1-3.
        Format::Msh => [[0, 1], [1, 2], [2, 0], [3, 0], [2, 3], [1, 3]],
        _ => VTK_EDGES,
    }
}

/// Corners of the reference brick: every one of these formats goes around the lower face, then around the upper one.
const BRICK: [[f64; 3]; 8] = [
    [-1.0, -1.0, -1.0],
    [1.0, -1.0, -1.0],
    [1.0, 1.0, -1.0],
    [-1.0, 1.0, -1.0],
    [-1.0, -1.0, 1.0],
    [1.0, -1.0, 1.0],
    [1.0, 1.0, 1.0],
    [-1.0, 1.0, 1.0],
];

/// Volume between the nodes by `slopes`, the derivatives of the shape functions at a reference point.
fn volume(
    nodes: &[[f64; 3]],
    points: &[([f64; 3], f64)],
    slopes: impl Fn([f64; 3]) -> Vec<[f64; 3]>,
) -> f64 {
    points
        .iter()
        .map(|(at, weight)| {
            let mut jacobian = Matrix3::zeros();
            for (x, slope) in nodes.iter().zip(slopes(*at)) {
                jacobian += Vector3::from(*x) * Vector3::from(slope).transpose();
            }
            weight * jacobian.determinant()
        })
        .sum()
}

/// Gauss-Legendre points on (-1, 1), exact to degree 7.
fn line() -> [(f64, f64); 4] {
    let root = (6.0_f64 / 5.0).sqrt() * 2.0 / 7.0;
    let (near, far) = ((3.0 / 7.0 - root).sqrt(), (3.0 / 7.0 + root).sqrt());
    let part = 30.0_f64.sqrt() / 36.0;
    [
        (-far, 0.5 - part),
        (-near, 0.5 + part),
        (near, 0.5 + part),
        (far, 0.5 - part),
    ]
}

fn brick_volume(nodes: &[[f64; 3]]) -> f64 {
    let mut points = Vec::new();
    for (x, wx) in line() {
        for (y, wy) in line() {
            for (z, wz) in line() {
                points.push(([x, y, z], wx * wy * wz));
            }
        }
    }
    volume(nodes, &points, |at| {
        BRICK
            .iter()
            .map(|corner| {
                let f: [f64; 3] = std::array::from_fn(|a| 0.5 * (1.0 + corner[a] * at[a]));
                std::array::from_fn(|a| 0.5 * corner[a] * f[(a + 1) % 3] * f[(a + 2) % 3])
            })
            .collect()
    })
}

fn tetrahedron_volume(nodes: &[[f64; 3]], edges: [[usize; 2]; 6]) -> f64 {
    // The cube collapsed onto the tetrahedron; its Jacobian is (1-z)^2 (1-y).
    let unit = line().map(|(x, w)| (0.5 * (1.0 + x), 0.5 * w));
    let mut points = Vec::new();
    for (z, wz) in unit {
        for (y, wy) in unit {
            for (x, wx) in unit {
                let at = [x * (1.0 - y) * (1.0 - z), y * (1.0 - z), z];
                points.push((at, wx * wy * wz * (1.0 - z) * (1.0 - z) * (1.0 - y)));
            }
        }
    }
    let slope = |corner: usize| match corner {
        0 => Vector3::new(-1.0, -1.0, -1.0),
        corner => Vector3::ith(corner - 1, 1.0),
    };
    volume(nodes, &points, |[r, s, t]| {
        let l = [1.0 - r - s - t, r, s, t];
        let corners = (0..4).map(|c| slope(c) * (4.0 * l[c] - 1.0));
        let middles = edges
            .iter()
            .map(|&[a, b]| (slope(a) * l[b] + slope(b) * l[a]) * 4.0);
        corners.chain(middles).map(Into::into).collect()
    })
}

fn element_volume(format: Format, read: &Read, element: usize) -> f64 {
    let nodes: Vec<[f64; 3]> = read.elements[&element]
        .iter()
        .map(|n| read.nodes[n])
        .collect();
    match nodes.len() {
        8 => brick_volume(&nodes),
        10 => tetrahedron_volume(&nodes, edges(format)),
        other => panic!("{other} nodes"),
    }
}

pub(super) fn read(model: &StoredModel, format: Format) -> Read {
    match format {
        Format::Inp => read_inp(&text(model, format)),
        Format::Cdb => read_cdb(&text(model, format)),
        Format::Feb => read_feb(&text(model, format)),
        Format::Msh => read_msh(&text(model, format)),
        Format::Vtu => read_vtu(&model.to_bytes(None).expect("bytes")),
        Format::Stl => panic!("no elements"),
    }
}

const WITH_ELEMENTS: [Format; 5] = [
    Format::Inp,
    Format::Cdb,
    Format::Feb,
    Format::Msh,
    Format::Vtu,
];

#[test]
fn the_volume_through_every_formats_order_is_the_meshs() {
    for model in both() {
        for element in 0..2 {
            let nodes: Vec<[f64; 3]> = model
                .mesh
                .element(element)
                .iter()
                .map(|n| model.mesh.nodes_mm()[*n as usize])
                .collect();
            let (expected, wrong) = match &model.mesh {
                StoredMesh::Hex8(mesh) => (mesh.volume_mm3(element), f64::NAN),
                StoredMesh::Tet10(mesh) => (
                    mesh.volume_mm3(element),
                    tetrahedron_volume(&nodes, edges(Format::Msh)),
                ),
            };
            assert!(expected > 0.5);
            // The orders can be told apart by the volume at all.
            assert!(wrong.is_nan() || (wrong - expected).abs() > 1e-3 * expected);
            for format in WITH_ELEMENTS {
                let found = element_volume(format, &read(&model, format), element + 1);
                assert!(
                    (found - expected).abs() < 1e-13 * expected,
                    "{format:?}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn straight_elements_have_their_closed_form_volume() {
    // The reference elements of the integration itself.
    let brick: Vec<[f64; 3]> = BRICK.iter().map(|c| c.map(|v| 0.5 * v)).collect();
    assert!((brick_volume(&brick) - 1.0).abs() < 1e-14);
    let corners = [
        [0.0, 0.0, 0.0],
        [3.0, 0.0, 0.0],
        [0.0, 2.0, 0.0],
        [0.0, 0.0, 1.0],
    ];
    let middles = VTK_EDGES
        .map(|[a, b]| std::array::from_fn(|axis| 0.5 * (corners[a][axis] + corners[b][axis])));
    let nodes: Vec<[f64; 3]> = corners.into_iter().chain(middles).collect();
    assert!((tetrahedron_volume(&nodes, VTK_EDGES) - 1.0).abs() < 1e-14);
}

#[test]
fn nodes_and_elements_have_one_number_in_every_format() {
    for model in both() {
        let expected = read(&model, Format::Vtu);
        assert_eq!(expected.nodes.len(), model.mesh.nodes_mm().len());
        for format in WITH_ELEMENTS {
            let found = read(&model, format);
            // Bit by bit: there is no -0 and no NaN.
            assert_eq!(found.nodes, expected.nodes, "{format:?}");
            for (label, nodes) in &found.elements {
                let mut own = nodes.clone();
                own.sort_unstable();
                let mut other = expected.elements[label].clone();
                other.sort_unstable();
                assert_eq!(own, other, "{format:?}");
            }
            assert_eq!(found.elements.len(), 2);
        }
    }
}

/// Volume and area vector of the triangles of an STL file, and the largest angle of a normal with its triangle.
fn measure(bytes: &[u8]) -> (usize, f64, Vector3<f64>, f64) {
    let count = u32::from_le_bytes(bytes[80..84].try_into().expect("four bytes")) as usize;
    assert_eq!(bytes.len(), 84 + 50 * count);
    let (mut volume, mut area, mut worst) = (0.0, Vector3::zeros(), 0.0_f64);
    for triangle in bytes[84..].chunks_exact(50) {
        let vectors: Vec<Vector3<f64>> = triangle[..48]
            .chunks_exact(12)
            .map(|v| {
                Vector3::from_fn(|axis, _| {
                    let own = &v[4 * axis..4 * axis + 4];
                    f64::from(f32::from_le_bytes(own.try_into().expect("four bytes")))
                })
            })
            .collect();
        let normal = (vectors[2] - vectors[1]).cross(&(vectors[3] - vectors[1]));
        volume += vectors[1].dot(&vectors[2].cross(&vectors[3])) / 6.0;
        area += normal;
        worst = worst.max((normal.normalize() - vectors[0]).norm());
    }
    (count, volume, area, worst)
}

#[test]
fn the_surface_is_closed_and_turned_outwards() {
    let [hexes, tets] = both();
    let mut flat = tetrahedra();
    for element in flat.elements.clone() {
        for (edge, [a, b]) in VTK_EDGES.into_iter().enumerate() {
            let ends = [a, b].map(|corner| flat.nodes_mm[element[corner] as usize]);
            flat.nodes_mm[element[4 + edge] as usize] =
                std::array::from_fn(|axis| 0.5 * (ends[0][axis] + ends[1][axis]));
        }
    }
    let flat = model(StoredMesh::Tet10(flat));
    let mut boxes = hexahedra();
    for x in boxes.nodes_mm.iter_mut().flatten() {
        // The nodes are less than a half off whole multiples of 1.1.
        *x = (*x / 1.1).round();
    }
    let boxes = model(StoredMesh::Hex8(boxes));
    let exact = |model: &StoredModel| -> f64 {
        (1..=2)
            .map(|e| element_volume(Format::Vtu, &read(model, Format::Vtu), e))
            .sum()
    };
    // Ten faces of two triangles, six faces of four. Faces of crooked hexahedra and curved tetrahedra are not flat:
    // their triangles enclose another volume.
    for (model, triangles, tolerance) in [
        (&hexes, 20, 0.03),
        (&boxes, 20, 1e-6),
        (&tets, 24, 0.05),
        (&flat, 24, 1e-6),
    ] {
        let (count, volume, area, worst) = measure(&stl::write(model).bytes);
        assert_eq!(count, triangles);
        let exact = exact(model);
        assert!(
            (volume - exact).abs() < tolerance * exact,
            "{volume} for {exact}"
        );
        assert!(area.norm() < 1e-5, "{area}");
        assert!(worst < 1e-5, "{worst}");
    }
}
