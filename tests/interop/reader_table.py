#!/usr/bin/env python3
"""Writes the table of expected readings of the third-party images.

    reader_table.py FOLDER > imaging/tests/data/reader_hardening.csv

FOLDER is the `data` folder of the shared test data. nibabel gives size, affine (RAS mm) and values; where
it refuses what SimpleITK reads (a header and an image of which only one is compressed), SimpleITK
gives the values. Of the real values v, rounded to float32, with the first index fastest, the table holds
sum v, sum v*v and sum v*(n mod 1009 + 1), n being the place of the value, so that swapped voxels
show. A file that must be refused has a part of the message in the last column instead.
"""
import pathlib
import sys

import nibabel
import numpy as np

HEADER = "file,ni,nj,nk," + ",".join(f"a{r}{c}" for r in range(3) for c in range(4)) + ",sum,sum_squares,sum_weighted,refusal"

REFUSED = {
    "reader-hardening/nibabel/README.rst": "does not end in an image format",
    # Analyze, and its voxels are not there either.
    "reader-hardening/nibabel/analyze.hdr": "no NIfTI mark",
    "reader-hardening/nibabel/nifti1.hdr": "its voxels are missing",
    "reader-hardening/nibabel/nifti2.hdr": "its voxels are missing",
    # SimpleITK takes the .nii.gz of that name for the missing .img and its header for voxels.
    "reader-hardening/nifti-rs/avg152T1_LR_nifti.hdr.gz": "its voxels are missing",
    "reader-hardening/nibabel/example4d.nii.gz": "2 volumes",
    "reader-hardening/nibabel/example_nifti2.nii.gz": "2 volumes",
    "reader-hardening/nibabel/functional.nii": "20 volumes",
}
# Header and voxels of which only one is compressed: the header by nibabel, the voxels by SimpleITK.
MIXED = {
    "reader-hardening/nifti-rs/minimal2.hdr": "minimal2.hdr",
    "reader-hardening/nifti-rs/minimal2.img.gz": "minimal2.hdr",
}


def row(name, size, affine, values):
    """One line of the table."""
    size = list(size) + [1] * (3 - len(size))
    v = np.asarray(values).ravel(order="F").astype(np.float32).astype(np.float64)
    weight = np.arange(v.size) % 1009 + 1
    sums = [v.sum(), (v * v).sum(), (v * weight).sum()]
    numbers = [*size, *np.asarray(affine)[:3].ravel().tolist(), *sums]
    return ",".join([name, *(repr(float(n)) if isinstance(n, float) else str(n) for n in numbers), ""])


def main(folder):
    print(HEADER)
    files = [p for p in sorted(folder.glob("reader-hardening/ni*/*")) if p.suffix != ".dcm"]
    files += [p for p in sorted(folder.rglob("*.nii*")) if "reader-hardening" not in p.parts]
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name in REFUSED:
            print(",".join([name] + [""] * 18 + [REFUSED[name]]))
        elif name in MIXED:
            import SimpleITK as sitk

            header = nibabel.load(path.with_name(MIXED[name]))
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            print(row(name, header.shape, header.affine, array.transpose(2, 1, 0)))
        else:
            image = nibabel.load(path)
            print(row(name, image.shape, image.affine, image.get_fdata()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
