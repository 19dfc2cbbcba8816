use super::*;
use flate2::read::ZlibDecoder;
use nalgebra::{Matrix3, Vector3};
use std::io::Read;

use crate::mesh::{HEX_CORNERS, HexMesh, Tet10Mesh};

fn unit_cube() -> HexMesh {
    HexMesh {
        nodes_mm: HEX_CORNERS.map(|c| c.map(|v| v as f64)).to_vec(),
        elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
    }
}

/// Reads an appended array back by the rules of the format, without using the writer's code.
fn array(file: &[u8], name: &str) -> Vec<u8> {
    let marker = b"<AppendedData encoding=\"raw\">\n_";
    let start = file
        .windows(marker.len())
        .position(|w| w == marker)
        .unwrap();
    let xml = std::str::from_utf8(&file[..start]).unwrap();
    let tag = xml
        .lines()
        .find(|line| line.contains(&format!("Name=\"{name}\"")))
        .unwrap();
    let offset: usize = tag
        .split("offset=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let body = &file[start + marker.len() + offset..];
    let number = |n: usize| u64::from_le_bytes(body[8 * n..8 * n + 8].try_into().unwrap()) as usize;
    let blocks = number(0);
    let mut at = 8 * (3 + blocks);
    let mut data = Vec::new();
    for block in 0..blocks {
        let size = number(3 + block);
        let before = data.len();
        ZlibDecoder::new(&body[at..at + size])
            .read_to_end(&mut data)
            .unwrap();
        at += size;
        let full = block + 1 < blocks || number(2) == 0;
        assert_eq!(
            data.len() - before,
            if full { number(1) } else { number(2) }
        );
    }
    data
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes
        .chunks_exact(8)
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn integers(bytes: &[u8]) -> Vec<i32> {
    bytes
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn the_model_frame_is_written_as_it_is() {
    let mesh = unit_cube();
    let u: Vec<f64> = (0..24).map(f64::from).collect();
    let file = Vtu {
        mesh: &mesh,
        frame: None,
        point_data: vec![Field::vector("u", &u)],
        cell_data: vec![Field::scalar("phase", Values::U8(&[3]))],
    }
    .to_bytes()
    .unwrap();
    assert_eq!(doubles(&array(&file, "u")), u);
    assert_eq!(doubles(&array(&file, "Points")), mesh.nodes_mm.concat());
    assert_eq!(
        integers(&array(&file, "connectivity")),
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    assert_eq!(integers(&array(&file, "offsets")), [8]);
    assert_eq!(array(&file, "types"), [12]);
    assert_eq!(array(&file, "phase"), [3]);
}

#[test]
fn a_reflected_frame_turns_vectors_and_keeps_elements_right_handed() {
    let mesh = unit_cube();
    let frame = Frame {
        rotation: Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, 1.0)),
        origin_mm: Vector3::new(5.0, 0.0, 0.0),
    };
    let u = [1.0, 2.0, 3.0].repeat(8);
    let file = Vtu {
        mesh: &mesh,
        frame: Some(&frame),
        point_data: vec![
            Field::vector("u", &u),
            Field::array("raw", 3, Values::F64(&u)),
        ],
        cell_data: vec![],
    }
    .to_bytes()
    .unwrap();
    assert_eq!(doubles(&array(&file, "u"))[..3], [-1.0, 2.0, 3.0]);
    assert_eq!(doubles(&array(&file, "raw"))[..3], [1.0, 2.0, 3.0]);
    let points = doubles(&array(&file, "Points"));
    assert_eq!(points[3..6], [4.0, 0.0, 0.0]);
    let written = HexMesh {
        nodes_mm: points.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect(),
        elements: vec![std::array::from_fn(|n| {
            integers(&array(&file, "connectivity"))[n] as u32
        })],
    };
    assert!((written.volume_mm3(0) - 1.0).abs() < 1e-14);
}

#[test]
fn mirrored_tetrahedra_keep_their_mid_nodes_on_their_edges() {
    const EDGES: [[usize; 2]; 6] = [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]];
    let order = cell_type::<10>().unwrap().1;
    for (edge, [a, b]) in EDGES.into_iter().enumerate() {
        let mut ends = [order[a], order[b]];
        ends.sort_unstable();
        assert_eq!(EDGES[order[4 + edge] - 4], ends);
    }
}

#[test]
fn long_arrays_are_cut_into_blocks() {
    let count = 2 * BLOCK / 8;
    for nodes in [count, count + 5] {
        let mesh = HexMesh {
            nodes_mm: vec![[0.0; 3]; nodes],
            elements: vec![],
        };
        let values: Vec<f64> = (0..nodes).map(|n| (n as f64).sin()).collect();
        let file = Vtu {
            mesh: &mesh,
            frame: None,
            point_data: vec![Field::scalar("sine", Values::F64(&values))],
            cell_data: vec![],
        }
        .to_bytes()
        .unwrap();
        assert_eq!(doubles(&array(&file, "sine")), values);
        assert!(array(&file, "types").is_empty());
    }
}

#[test]
fn fields_that_do_not_fit_are_refused() {
    let mesh = unit_cube();
    let refused = |points: Vec<Field<'_>>, cells: Vec<Field<'_>>| {
        let vtu = Vtu {
            mesh: &mesh,
            frame: None,
            point_data: points,
            cell_data: cells,
        };
        matches!(vtu.to_bytes(), Err(Error::Parameter(_)))
    };
    assert!(refused(vec![Field::vector("u", &[0.0; 21])], vec![]));
    assert!(refused(
        vec![],
        vec![Field::scalar("e", Values::F32(&[0.0; 2]))]
    ));
    let twice = Field::scalar("e", Values::I32(&[7]));
    assert!(refused(vec![], vec![twice, twice]));
    assert!(!refused(vec![], vec![twice]));
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.vtu");
    std::fs::create_dir(&target).unwrap();
    let mesh = Tet10Mesh::default();
    let vtu = Vtu {
        mesh: &mesh,
        frame: None,
        point_data: vec![],
        cell_data: vec![],
    };
    assert!(matches!(vtu.write(&target), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_series_lists_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fields.pvd");
    write_pvd(&path, &[(0.0, "fields/a<1>.vtu"), (0.25, "fields/2.vtu")]).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("timestep=\"0\" group=\"\" part=\"0\" file=\"fields/a&lt;1&gt;.vtu\""));
    assert!(text.contains("timestep=\"0.25\" group=\"\" part=\"0\" file=\"fields/2.vtu\""));
}
