"""Small data sets in published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from tests.training.conftest import AFFINE

SHAPE = (9, 7, 6)


def ids(values: Sequence[int], seed: int = 0, dtype: type = np.int16) -> NDArray:
    """A label map with 3 + i voxels of the i-th value."""
    flat = np.zeros(np.prod(SHAPE), dtype)
    place = 0
    for i, value in enumerate(values):
        flat[place : place + 3 + i] = value
        place += 3 + i
    return np.random.default_rng(seed).permutation(flat).reshape(SHAPE)


def image(seed: int = 0) -> NDArray:
    return np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32)


def nifti(path: Path, array: NDArray, affine: NDArray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def metaimage(path: Path, array: NDArray) -> Path:
    """Sagittal slices, as of spines: 3.3 mm apart, finer within the plane."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = SimpleITK.GetImageFromArray(array)
    written.SetSpacing((0.5, 0.7, 3.3))
    written.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    SimpleITK.WriteImage(written, str(path))
    return path


def nnunet(folder: Path, n_cases: int = 3, ending: str = ".nii.gz", **changes: object) -> Path:
    """Two channels, two structures; channel 1 is twice channel 0."""
    for i in range(n_cases):
        for channel in (0, 1):
            nifti(folder / f"imagesTr/la_{i:03d}_{channel:04d}{ending}", (1 + channel) * image(i))
        nifti(folder / f"labelsTr/la_{i:03d}{ending}", ids((1, 2), i))
    nifti(folder / f"imagesTs/la_900_0000{ending}", image(9))
    description = {
        "channel_names": {"0": "T1", "1": "CT"},
        "labels": {"background": 0, "left atrium": 1, "aorta": 2},
        "numTraining": n_cases,
        "file_ending": ending,
        "name": "Atria",
        "license": "CC0",
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def brats(folder: Path, n_cases: int = 3) -> Path:
    for i in range(n_cases):
        name = f"BraTS2021_{i:05d}"
        for k, contrast in enumerate(("t1", "t1ce", "t2", "flair")):
            nifti(folder / name / f"{name}_{contrast}.nii.gz", image(10 * i + k))
        nifti(folder / name / f"{name}_seg.nii.gz", ids((1, 2, 4), i))
    return folder


def spider(folder: Path, n_patients: int = 3) -> Path:
    for i in range(1, n_patients + 1):
        for k, contrast in enumerate(("t1", "t2", "t2_SPACE")):
            metaimage(folder / f"images/{i}_{contrast}.mha", image(10 * i + k))
            truth = ids((1, 7, 100, 101, 201), i)
            metaimage(folder / f"masks/{i}_{contrast}.mha", truth)
    (folder / "overview.csv").write_text("new_file_name,subset\n1_t1,training\n")
    return folder


STRUCTURES = (205, 420, 500, 550, 600, 820, 850)


def mmwhs(folder: Path, n_cases: int = 2) -> Path:
    for part in ("mr", "ct"):
        for i in range(1001, 1001 + n_cases):
            start = folder / f"{part}_train"
            nifti(start / f"{part}_train_{i}_image.nii.gz", image(i))
            nifti(start / f"{part}_train_{i}_label.nii.gz", ids(STRUCTURES, i))
        nifti(folder / f"{part}_test" / f"{part}_test_2001_image.nii.gz", image(7))
    return folder


def lesions(folder: Path) -> Path:
    """Masks in three places: next to the image, in `derivatives`, and one per run."""
    nifti(folder / "sub-01/anat/sub-01_FLAIR.nii.gz", image(1))
    nifti(folder / "sub-01/anat/sub-01_T1w.nii.gz", image(2))
    nifti(folder / "sub-01/anat/sub-01_desc-lesion_mask.nii.gz", ids((1,), 1))
    for session in ("01", "02"):
        start = f"sub-02/ses-{session}/anat/sub-02_ses-{session}"
        nifti(folder / f"{start}_FLAIR.nii.gz", image(3))
        nifti(folder / f"derivatives/lst/{start}_label-Lesion_mask.nii.gz", ids((1,), 2))
    for run in ("1", "2"):
        start = f"sub-03/anat/sub-03_run-{run}"
        nifti(folder / f"{start}_FLAIR.nii.gz", image(4 + int(run)))
        nifti(folder / f"derivatives/masks/{start}_space-FLAIR_lesion.nii.gz", ids((1,), int(run)))
    (folder / "dataset_description.json").write_text('{"Name": "MS", "BIDSVersion": "1.8.0"}')
    return folder


def table(folder: Path, text: str | None = None, n_cases: int = 2) -> Path:
    """Pairs with two channels."""
    rows = ["name,image_t1,image_flair,label"]
    for i in range(n_cases):
        for channel in ("t1", "flair"):
            nifti(folder / f"scans/{i}_{channel}.nii.gz", image(i) * (1 + (channel == "flair")))
        nifti(folder / f"truth/{i}.nii.gz", ids((1, 3), i))
        rows.append(f"case {i},scans/{i}_t1.nii.gz,scans/{i}_flair.nii.gz,truth/{i}.nii.gz")
    (folder / "cases.csv").write_text(text if text is not None else "\n".join(rows) + "\n")
    return folder
