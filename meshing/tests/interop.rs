//! VTU files are opened by meshio, a reader we did not write. Skipped where Python or meshio is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use meshing::vtu::{Field, Values, Vtu};
use meshing::{Frame, HexMesh, Mesh, Tet10Mesh, VoxelMesh};
use nalgebra::{Matrix3, Vector3};

#[test]
fn meshio_reads_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    write_hexahedra(&dir.path().join("hex.vtu"));
    write_tetrahedra(dir.path());
    write_large(&dir.path().join("large.vtu"));
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/check_vtu.py");
    let output = match Command::new("python3").arg(script).arg(dir.path()).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: python3 does not start ({error})");
            return;
        }
    };
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.code() == Some(77) {
        println!("skipped: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
}

fn write_hexahedra(path: &Path) {
    let grid = imaging::Grid::axis_aligned([2, 1, 1], [0.5, 1.0, 2.0]);
    let voxels = VoxelMesh::from_mask(&imaging::Mask::filled(grid, true)).unwrap();
    let frame = Frame {
        rotation: Matrix3::new(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        origin_mm: Vector3::new(100.0, 10.0, 0.0),
    };
    let displacement: Vec<f64> = (0..12)
        .flat_map(|n| [f64::from(n), f64::from(n) + 0.5, -f64::from(n)])
        .collect();
    let numbers: Vec<i32> = (0..12).collect();
    let strain: Vec<f64> = (0..12).map(f64::from).collect();
    Vtu {
        mesh: &voxels.mesh,
        frame: Some(&frame),
        point_data: vec![
            Field::vector("displacement_mm", &displacement),
            Field::scalar("number", Values::I32(&numbers)),
        ],
        cell_data: vec![
            Field::scalar("modulus_mpa", Values::F32(&[1e-4, 17000.0])),
            Field::scalar("phase", Values::U8(&[3, 255])),
            Field::scalar("layer", Values::I32(&[-1, i32::MAX])),
            Field::array("strain", 6, Values::F64(&strain)),
        ],
    }
    .write(path)
    .unwrap();
}

fn write_tetrahedra(dir: &Path) {
    let mirror = Frame {
        rotation: Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, 1.0)),
        origin_mm: Vector3::zeros(),
    };
    let corners = [
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0],
    ];
    let mut nodes_mm = corners.to_vec();
    for [a, b] in [[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]] {
        nodes_mm.push(std::array::from_fn(|x| {
            (corners[a][x] + corners[b][x]) / 2.0
        }));
    }
    let quadratic = Tet10Mesh {
        nodes_mm,
        elements: vec![[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    };
    let linear = Mesh::<4> {
        nodes_mm: corners.to_vec(),
        elements: vec![[0, 1, 2, 3]],
    };
    write_mirrored(&quadratic, &mirror, &dir.join("tet10.vtu"));
    write_mirrored(&linear, &mirror, &dir.join("tet4.vtu"));
}

fn write_mirrored<const N: usize>(mesh: &Mesh<N>, mirror: &Frame, path: &Path) {
    Vtu {
        mesh,
        frame: Some(mirror),
        point_data: vec![],
        cell_data: vec![],
    }
    .write(path)
    .unwrap();
}

fn write_large(path: &Path) {
    let mesh = HexMesh {
        nodes_mm: (0..70_000).map(|n| [f64::from(n), 0.0, 0.0]).collect(),
        elements: vec![[0, 1, 2, 3, 4, 5, 6, 7]],
    };
    Vtu {
        mesh: &mesh,
        frame: None,
        point_data: vec![],
        cell_data: vec![],
    }
    .write(path)
    .unwrap();
}
