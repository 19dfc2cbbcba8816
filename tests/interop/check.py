#!/usr/bin/env python3
"""Compares images written by the crate `imaging` with what nibabel and SimpleITK make of them.

    check.py read FOLDER     reads the files listed in FOLDER/cases.json and compares geometry and values
    check.py write FOLDER    writes files with nibabel and SimpleITK, and FOLDER/expected.csv about them
    check.py probe           exit status 0 when both libraries are there

cases.json: [{"file", "size", "matrix" (9 numbers, LPS mm, row by row, voxel size included),
"origin" (LPS mm), "type" (numpy name), "values" (first index fastest), "itk" (false: not for SimpleITK)}].
expected.csv: see reader_table.py, which writes the same columns.
"""
import json
import pathlib
import sys

import nibabel
import numpy as np
import SimpleITK as sitk

from reader_table import HEADER, row

TO_LPS = np.diag([-1.0, -1.0, 1.0])
TOLERANCE_MM = 1e-3


def compare(what, size, matrix, origin, values, case):
    """One list of differences."""
    wrong = []
    if list(size) != case["size"]:
        return [f"{what}: size {list(size)}, expected {case['size']}"]
    expected = np.array(case["matrix"]).reshape(3, 3)
    for corner in range(8):
        index = [(case["size"][a] - 1) * (corner >> a & 1) for a in range(3)]
        distance = np.linalg.norm(matrix @ index + origin - expected @ index - case["origin"])
        if not distance < TOLERANCE_MM:
            wrong.append(f"{what}: corner {index} is {distance:.6f} mm off")
    # The steps too: an axis of one voxel does not move its corners.
    if not np.allclose(matrix, expected, atol=1e-4):
        wrong.append(f"{what}: matrix {matrix.tolist()}, expected {expected.tolist()}")
    if not np.array_equal(values, np.array(case["values"], dtype=case["type"])):
        wrong.append(f"{what}: values differ")
    return wrong


def by_nibabel(path, case):
    image = nibabel.load(path)
    values = np.asanyarray(image.dataobj).ravel(order="F")
    if np.dtype(image.get_data_dtype()) != np.dtype(case["type"]):
        return [f"nibabel: type {image.get_data_dtype()}, expected {case['type']}"]
    matrix = TO_LPS @ image.affine[:3, :3]
    wrong = compare("nibabel", image.shape, matrix, TO_LPS @ image.affine[:3, 3], values, case)
    qform, code = image.get_qform(coded=True)
    if code:
        matrix = TO_LPS @ qform[:3, :3]
        wrong += compare("nibabel qform", image.shape, matrix, TO_LPS @ qform[:3, 3], values, case)
    return wrong


def by_itk(path, case):
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    if array.dtype != np.dtype(case["type"]):
        return [f"SimpleITK: type {array.dtype}, expected {case['type']}"]
    matrix = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    # SimpleITK arrays are [k, j, i]: C order is first index fastest.
    return compare("SimpleITK", image.GetSize(), matrix, image.GetOrigin(), array.ravel(), case)


def read(folder):
    cases = json.loads((folder / "cases.json").read_text())
    wrong = []
    for case in cases:
        path = folder / case["file"]
        found = []
        if ".nii" in path.name:
            found += by_nibabel(path, case)
        if case["itk"]:
            found += by_itk(path, case)
        wrong += [f"{case['file']}: {line}" for line in found]
    print(f"{len(cases)} files compared, {len(wrong)} differences")
    print("\n".join(wrong))
    return 1 if wrong or not cases else 0


def write(folder):
    """Files by other programs, in the variants our own writers do not produce."""
    rng = np.random.default_rng(2)
    rows = []
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    steps = np.diag([0.7, 0.9, 2.5])
    origin = np.array([-12.5, 40.25, 7.75])
    types = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]

    def values(kind):
        if kind[0] == "f":
            return rng.normal(size=(5, 4, 3)).astype(kind)
        low, high = (-100, 100) if kind[0] == "i" else (0, 200)
        return rng.integers(low, high, size=(5, 4, 3)).astype(kind)

    def note(name, size, matrix_lps, origin_lps, real):
        affine = TO_LPS @ np.column_stack([matrix_lps, origin_lps])
        rows.append(row(name, size, affine, real))

    affine = np.eye(4)
    affine[:3, :3] = TO_LPS @ turn @ steps
    affine[:3, 3] = TO_LPS @ origin
    for kind in types:
        data = values(kind)
        for endian, ending in [("<", "nii.gz"), (">", "nii")]:
            for version, maker in [(1, nibabel.Nifti1Image), (2, nibabel.Nifti2Image)]:
                header = maker.header_class(endianness=endian)
                image = maker(data.astype(endian + kind), affine, header)
                image.set_data_dtype(data.dtype.newbyteorder(endian))
                image.set_qform(affine, 1)
                if version == 2 and ending == "nii":
                    image.set_sform(None, 0)
                name = f"nifti{version}_{kind}_{'little' if endian == '<' else 'big'}.{ending}"
                nibabel.save(image, folder / name)
                loaded = nibabel.load(folder / name)
                rows.append(row(name, loaded.shape, loaded.affine, loaded.get_fdata()))
        picture = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
        picture.SetSpacing(np.diag(steps).tolist())
        picture.SetDirection(turn.ravel().tolist())
        picture.SetOrigin(origin.tolist())
        for ending in ["nrrd", "nhdr", "mha", "mhd", "nii.gz"]:
            for compress in (False, True):
                name = f"itk_{kind}_{'packed' if compress else 'raw'}.{ending}"
                sitk.WriteImage(picture, str(folder / name), compress)
                note(name, data.shape, turn @ steps, origin, data.astype("f8"))
    scaled = nibabel.Nifti1Image(rng.normal(scale=300, size=(5, 4, 3)), affine)
    scaled.set_data_dtype("i2")
    nibabel.save(scaled, folder / "scaled.hdr")
    loaded = nibabel.load(folder / "scaled.hdr")
    rows.append(row("scaled.hdr", loaded.shape, loaded.affine, loaded.get_fdata()))
    rows.append(row("scaled.img", loaded.shape, loaded.affine, loaded.get_fdata()))
    (folder / "expected.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["probe"]:
        sys.exit(0)
    if len(sys.argv) != 3 or sys.argv[1] not in ("read", "write"):
        sys.exit(__doc__)
    sys.exit({"read": read, "write": write}[sys.argv[1]](pathlib.Path(sys.argv[2])))
