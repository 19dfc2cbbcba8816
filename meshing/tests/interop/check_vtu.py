"""Opens VTU files with meshio and compares them with what the Rust test wrote.

Usage: check_vtu.py DIR, with hex.vtu, tet10.vtu and tet4.vtu as made by tests/interop.rs.
Exit status 77 when meshio is missing.
"""

import sys
from pathlib import Path

try:
    import meshio
    import numpy as np
except ImportError as error:
    print(error)
    sys.exit(77)

folder = Path(sys.argv[1])

# A 2 x 1 x 1 block of boxes 0.5 x 1 x 2 mm; world = (100 - y, 10 + x, z).
grid = meshio.read(folder / "hex.vtu")
(block,) = grid.cells
assert block.type == "hexahedron", block.type
model = np.array([[0.5 * i, 1.0 * j, 2.0 * k] for k in (0, 1) for j in (0, 1) for i in (0, 1, 2)])
world = np.column_stack([100 - model[:, 1], 10 + model[:, 0], model[:, 2]])
assert np.array_equal(grid.points, world)
assert np.array_equal(block.data, [[0, 1, 4, 3, 6, 7, 10, 9], [1, 2, 5, 4, 7, 8, 11, 10]])
displacement = grid.point_data["displacement_mm"]
assert displacement.dtype == np.float64
n = np.arange(12)
assert np.array_equal(displacement, np.column_stack([-(n + 0.5), n, -n]))
assert np.array_equal(grid.point_data["number"], n)
assert np.array_equal(grid.cell_data["modulus_mpa"][0], np.array([1e-4, 17000.0], np.float32))
assert np.array_equal(grid.cell_data["phase"][0], [3, 255])
assert np.array_equal(grid.cell_data["layer"][0], [-1, 2**31 - 1])
assert np.array_equal(grid.cell_data["strain"][0], np.arange(12.0).reshape(2, 6))

# One straight-edged tetrahedron, seen in a mirror (x -> -x): still a positive volume and mid nodes on the edges.
edges = [(0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3)]
for name, kind in (("tet10.vtu", "tetra10"), ("tet4.vtu", "tetra")):
    mesh = meshio.read(folder / name)
    (block,) = mesh.cells
    assert block.type == kind, block.type
    x = mesh.points[block.data[0]]
    volume = np.linalg.det(x[1:4] - x[0]) / 6
    assert abs(volume - 1 / 6) < 1e-12, volume
    if kind == "tetra10":
        assert np.allclose(x[4:], [(x[a] + x[b]) / 2 for a, b in edges], atol=1e-14)

# Many compressed blocks.
large = meshio.read(folder / "large.vtu")
assert np.array_equal(large.points[:, 0], np.arange(70000.0))
assert np.array_equal(large.points[:, 1:], np.zeros((70000, 2)))
print("checked")
