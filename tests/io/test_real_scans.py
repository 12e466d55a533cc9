"""Real scans, against nibabel, pydicom and SimpleITK."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import check_labels, check_pair, list_series, read, write


@pytest.mark.parametrize(
    "name", ["volumes/ct-3mm.nii.gz", "volumes/ct-tilted.nii.gz", "hippocampus/imagesTr/*.nii.gz"]
)
def test_nifti_equals_nibabel_and_comes_back(data_root: Path, tmp_path: Path, name: str) -> None:
    for path in sorted(data_root.glob(name))[:5]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume = read(path)
        image = nib.load(path)
        np.testing.assert_array_equal(volume.affine, image.affine)
        np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj))
        labels = volume.with_array((volume.array > 0).astype(np.uint8))
        for suffix in (".nii.gz", ".nrrd"):
            assert write(labels, tmp_path / f"labels{suffix}").affine_identical
        assert nib.load(tmp_path / "labels.nii.gz").affine.tobytes() == image.affine.tobytes()
        assert write(labels, tmp_path / "labels.mha").corner_distance_mm < 1e-9


def test_four_axes_ask_for_a_volume(data_root: Path) -> None:
    path = data_root / "volumes" / "pcasl-4d.nii.gz"
    with pytest.raises(HyperspaceError, match=r"52×68×20×10.*volume=0 … 9"):
        read(path)
    expected = np.asarray(nib.load(path).dataobj)
    for n in (0, 9):
        np.testing.assert_array_equal(read(path, volume=n).array, expected[..., n])


@pytest.mark.parametrize(
    ("folder", "spacing_mm"),
    [
        ("flair-6.5mm-oblique", (0.6875, 0.6875, 6.5)),
        ("t1-6.5mm-oblique", (0.6875, 0.6875, 6.5)),
        ("hippocampus-crop-1mm", (1, 1, 1)),
    ],
)
def test_dicom_lies_where_its_tags_and_itk_say(
    data_root: Path, tmp_path: Path, folder: str, spacing_mm: tuple[float, float, float]
) -> None:
    pydicom = pytest.importorskip("pydicom")
    path = data_root / "volumes" / "dicom" / folder
    (series,) = list_series(path)
    assert series.problems == () and series.n_files == len(list(path.iterdir()))
    volume = read(path)
    assert volume.spacing_mm == pytest.approx(spacing_mm, abs=1e-5)
    for k, name in enumerate(series.files):
        data = pydicom.dcmread(name)
        first = volume.grid.index_to_mm((0, 0, k)) * (-1, -1, 1)
        np.testing.assert_allclose(first, data.ImagePositionPatient, atol=1e-4)
        np.testing.assert_array_equal(volume.array[..., k], data.pixel_array.T)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, volume.array)
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (size - 1)) for c, size in zip(corner, volume.shape, strict=True)]
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(volume.grid.index_to_mm(index), world, atol=1e-4)
    assert write(volume, tmp_path / "a.nii.gz").corner_distance_mm < 1e-4
    assert write(volume, tmp_path / "a.nrrd").affine_identical


def test_pairs_of_the_hippocampus_data(data_root: Path) -> None:
    for path in sorted((data_root / "hippocampus" / "imagesTr").glob("*.nii.gz"))[:10]:
        labels = check_labels(read(path.parent.parent / "labelsTr" / path.name), {1, 2})
        check_pair(read(path), labels)
        assert labels.dtype == np.uint8


@pytest.mark.slow
def test_whole_head_label_maps(data_root: Path) -> None:
    volume = read(data_root / "brain-labels" / "brain_01.nii.gz")
    assert volume.grid.axcodes == "LIA" and volume.shape == (256, 256, 256)
    assert check_labels(volume).dtype == np.uint16  # FreeSurfer numbers above 500
