#!/usr/bin/env python3
"""Writes the table of expected readings of third-party DICOM files and series.

    dicom_table.py FOLDER > imaging/tests/data/dicom.csv

FOLDER is the `data` folder of the shared test data. pydicom (with pylibjpeg) gives pixels and
attributes; the grid is computed here, from positions along the slice normal. Where SimpleITK reads the
same file or series, its grid and values must agree, else this script stops. The columns are those of
`reader_table.py`; the affine is RAS mm, the values are rescaled, and padding of a CT below -1024 HU
counts as -1024 HU. A file that must be refused has a part of the message in the last column instead.
"""
import logging
import pathlib
import sys
import warnings

import numpy as np
import pydicom
import SimpleITK as sitk

from reader_table import HEADER, row

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
sitk.ProcessObject.SetGlobalWarningDisplay(False)

PYDICOM, NIBABEL = "reader-hardening/pydicom/", "reader-hardening/nibabel/"
REFUSED = {
    PYDICOM + "ExplVR_BigEndNoMeta.dcm": "is a RT Ion Plan Storage",
    PYDICOM + "ExplVR_LitEndNoMeta.dcm": "is a RT Ion Plan Storage",
    PYDICOM + "JPEG-lossy.dcm": "is a secondary capture",
    PYDICOM + "JPEG2000-embedded-sequence-delimiter.dcm": "is a secondary capture",
    PYDICOM + "JPEGLSNearLossless_16.dcm": "is a secondary capture",
    PYDICOM + "JPGExtended.dcm": "is a secondary capture",
    PYDICOM + "MR_truncated.dcm": "the file is cut off",
    PYDICOM + "UN_sequence.dcm": "DICOM without SOPClassUID",
    PYDICOM + "badVR.dcm": "is a RT Dose Storage",
    PYDICOM + "image_dfl.dcm": "is a secondary capture",
    PYDICOM + "liver_1frame.dcm": "is a Segmentation Storage",
    PYDICOM + "nested_priv_SQ.dcm": "DICOM without SOPClassUID",
    # A stray byte stands before its first element.
    PYDICOM + "no_meta.dcm": "is no DICOM file",
    PYDICOM + "priv_SQ.dcm": "DICOM without SOPClassUID",
    PYDICOM + "rtdose.dcm": "is a RT Dose Storage",
    NIBABEL + "slicethickness_empty_string.dcm": "how thick it is",
    # Two patients' series in one folder.
    PYDICOM.rstrip("/"): "series are here",
}
AIR = -1024


def read(path):
    """A data set whose pixels can be decoded, with or without the Part 10 header."""
    d = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in d.file_meta:
        implicit, little = d.original_encoding
        d.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit
            else pydicom.uid.ExplicitVRLittleEndian if little
            else pydicom.uid.ExplicitVRBigEndian)
    return d


def values(d):
    """Real values of a slice."""
    stored = d.pixel_array.astype(np.int64)
    real = stored * float(d.get("RescaleSlope", 1)) + float(d.get("RescaleIntercept", 0))
    pad = d.get("PixelPaddingValue")
    if pad is not None and d.Modality == "CT":
        slope, intercept = float(d.RescaleSlope), float(d.RescaleIntercept)
        if pad * slope + intercept < AIR:
            real[stored == pad] = AIR
    return real


def volume(files):
    """Size, LPS matrix with origin, and values (first index fastest) of one series."""
    slices = [read(f) for f in files]
    across = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    across /= np.linalg.norm(across, axis=1)[:, None]
    normal = np.cross(*across)
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda d: np.dot(np.array(d.ImagePositionPatient, float), normal))
    first, last = (np.array(d.ImagePositionPatient, float) for d in (slices[0], slices[-1]))
    if len(slices) > 1:
        step = np.dot(last - first, normal) / (len(slices) - 1)
    else:
        step = float(slices[0].get("SpacingBetweenSlices") or slices[0].SliceThickness)
    between_rows, between_columns = (float(v) for v in slices[0].PixelSpacing)
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([across[0] * between_columns, across[1] * between_rows, normal * step])
    matrix[:3, 3] = first
    stack = np.stack([values(d) for d in slices])
    return matrix, stack.transpose(2, 1, 0), slices


def compare(name, files, matrix, array, slices):
    """Compares with SimpleITK where it reads the same; returns whether it does."""
    try:
        if len(files) == 1:
            image = sitk.ReadImage(str(files[0]))
        else:
            ordered = [str(d.filename) for d in slices]
            image = sitk.ReadImage(ordered)
    except RuntimeError:
        return False
    theirs = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(float)
    padded = array == AIR
    if theirs.shape != array.shape or not np.array_equal(theirs[~padded], array[~padded]):
        sys.exit(f"{name}: SimpleITK has other values")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    ours = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = 3 if len(files) > 1 else 2  # the third spacing of one slice is its own choice
    if not (np.allclose(direction[:, :2], ours[:, :2], atol=1e-5)
            and np.allclose(image.GetSpacing()[:axes], spacing[:axes], atol=1e-5)
            and np.allclose(image.GetOrigin(), matrix[:3, 3], atol=1e-4)):
        sys.exit(f"{name}: SimpleITK has another grid")
    return True


def main(folder):
    print(HEADER)
    files = sorted(folder.glob("reader-hardening/*/*.dcm")) + sorted(folder.glob("phantom/*/*"))
    places = files + [
        folder / PYDICOM,
        folder / "phantom/cylinder-ge-1998-egsnrc",
        folder / "ct-hu/dicom-jpeg2000-totalsegmentator/series",
    ]
    agreed = 0
    for place in places:
        name = place.relative_to(folder).as_posix()
        if name in REFUSED:
            print(",".join([name] + [""] * 18 + [REFUSED[name]]))
            continue
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        matrix, array, slices = volume(files)
        agreed += compare(name, files, matrix, array, slices)
        print(row(name, array.shape, np.diag([-1, -1, 1, 1]) @ matrix, array))
    print(f"SimpleITK agrees on {agreed}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
