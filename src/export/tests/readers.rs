//! What a reader of another hand makes of the files: meshio, where it is installed.

use std::process::Command;

use super::*;

/// Compares the files it is given with the first, by nodes and connectivity, and prints the physical groups.
const SCRIPT: &str = r#"
import sys
import meshio
import numpy as np

first = meshio.read(sys.argv[1])
solid = {c.type: c.data for c in first.cells}
(kind, cells), = solid.items()
for name in sys.argv[2:]:
    mesh = meshio.read(name)
    assert np.array_equal(mesh.points, first.points), name
    blocks = [(c.data, tags) for c, tags in zip(
        mesh.cells, mesh.cell_data.get("gmsh:physical", [None] * len(mesh.cells))) if c.type == kind]
    found = np.concatenate([data for data, _ in blocks])
    assert np.array_equal(found, cells), (name, found, cells)
    if name.endswith(".msh"):
        assert [list(tags) for _, tags in blocks] == [[1], [2]], blocks
        points = [c.data.ravel().tolist() for c in mesh.cells if c.type == "vertex"]
        assert points == [[1, 3], [0, 2]], points
        assert {k: v.tolist() for k, v in mesh.field_data.items()} == {
            "LOADED": [1, 0], "FIXED_SHAFT": [2, 0], "material_1": [1, 3], "material_2": [2, 3]}
    if name.endswith(".inp"):
        assert {k: v.tolist() for k, v in mesh.point_sets.items()} == {"LOADED": [1, 3], "FIXED_SHAFT": [0, 2]}
        assert [v[0].tolist() for k, v in sorted(mesh.cell_sets.items()) if k != "EALL"] == [[0], [1]]
print(kind, len(cells))
"#;

#[test]
fn meshio_reads_the_same_mesh_from_every_format_it_knows() {
    let probe = Command::new("python3")
        .args(["-c", "import meshio"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: `python3 -c 'import meshio'` fails; put a python3 with meshio on PATH");
        return;
    }
    for (model, answer) in both().iter().zip(["hexahedron 2", "tetra10 2"]) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut arguments = vec!["-c".into(), SCRIPT.into()];
        for format in [Format::Vtu, Format::Inp, Format::Msh] {
            let path = dir.path().join(format!("model.{}", format.extension()));
            let written = model
                .content(format, &material::distinct(model))
                .expect("an export");
            std::fs::write(&path, written.bytes).expect("a file");
            arguments.push(path.into_os_string());
        }
        let output = Command::new("python3")
            .args(&arguments)
            .output()
            .expect("python3 starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), answer);
    }
}
