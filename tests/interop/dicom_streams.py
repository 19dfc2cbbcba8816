#!/usr/bin/env python3
"""Writes small compressed frames of a known pattern, packed by other programs, for the DICOM tests.

    dicom_streams.py imaging/tests/data/streams

Pixel (i, j) of the 16-bit pattern, 24 x 20, holds 37 i - 61 j + 7 (i j mod 29); of the 8-bit pattern its
value mod 256. GDCM (through SimpleITK) packs JPEG lossless and JPEG 2000, Pillow JPEG baseline and 16-bit
unsigned JPEG 2000.
"""
import pathlib
import sys
import tempfile

import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import generate_frames

i, j = np.meshgrid(np.arange(24), np.arange(20))
PATTERN = 37 * i - 61 * j + 7 * (i * j % 29)


def gdcm(array, compressor):
    """The code stream that GDCM makes of a frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(sitk.GetImageFromArray(array))
        return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def main(folder):
    folder.mkdir(exist_ok=True)
    signed = PATTERN.astype(np.int16)
    unsigned = (PATTERN + 1200).astype(np.uint16)
    (folder / "signed.jpll").write_bytes(gdcm(signed, "JPEG"))
    (folder / "unsigned.jpll").write_bytes(gdcm(unsigned, "JPEG"))
    (folder / "signed.j2k").write_bytes(gdcm(signed, "JPEG2000"))
    (folder / "unsigned.j2k").write_bytes(gdcm(unsigned, "JPEG2000"))
    eight = Image.fromarray((PATTERN % 256).astype(np.uint8))
    # Baseline is lossy: a smooth ramp is what it keeps.
    ramp = Image.fromarray((4 * i + 3 * j).astype(np.uint8))
    ramp.save(folder / "ramp.jpg", quality=100)
    eight.save(folder / "eight.jp2", irreversible=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
