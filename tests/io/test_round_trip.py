"""Written files read back equal for any grid, bit for bit if the format can store it."""

from __future__ import annotations

import gzip
import itertools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import read, write

TYPES = ("uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")

# One axis of at least 2 mm: a field of view below 1 mm is implausible, and warns.
spacings = st.tuples(*[st.floats(0.3, 8.0)] * 2, st.floats(2.0, 8.0))
shapes = st.tuples(*[st.integers(1, 6)] * 3)
origins = st.tuples(*[st.floats(-300, 300)] * 3)
rotations = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)
flips = st.tuples(*[st.sampled_from((1, -1))] * 3)
orders = st.sampled_from(list(itertools.permutations(range(3))))


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Any rotation, flip and order of axes, with any spacing."""
    turn = Rotation.from_euler("xyz", draw(rotations)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn[:, draw(orders)] * draw(flips) * draw(spacings)
    affine[:3, 3] = draw(origins)
    return affine


def counted(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@settings(max_examples=40, deadline=None)
@given(shapes, affines(), st.sampled_from(TYPES), st.sampled_from(SUFFIXES))
def test_any_volume_survives(
    shape: tuple[int, int, int], affine: np.ndarray[Any, Any], dtype: str, suffix: str
) -> None:
    volume = Volume(counted(shape, dtype), Grid(shape, affine))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        receipt = write(volume, path)
        again = read(path)
        assert again.dtype == volume.dtype
        np.testing.assert_array_equal(again.array, volume.array)
        assert receipt.grid_matches and receipt.checked_voxels == volume.array.size
        assert receipt.affine_identical == np.array_equal(again.affine, affine)
        # NIfTI-1 rounds to single precision, MetaImage rounds once in double precision.
        limit = 1e-3 if suffix.startswith(".nii") else 0.0 if suffix == ".nrrd" else 1e-10
        assert again.grid.corner_distance_mm(volume.grid) <= limit
        # The second time the geometry comes from a header of the format, and is exact.
        second = write(again, Path(folder) / f"b{suffix}")
        assert second.affine_identical


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("spacing", [0.3, 1100.0])
def test_a_volume_with_an_implausible_field_of_view_survives_with_a_warning(
    tmp_path: Path, suffix: str, spacing: float
) -> None:
    volume = Volume(counted((3, 2, 1), "int16"), Grid.from_spacing((3, 2, 1), (spacing,) * 3))
    with pytest.warns(HyperspaceWarning, match="field of view is implausible"):
        again = read(write(volume, tmp_path / f"a{suffix}").path)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.grid.is_close(volume.grid)


@settings(max_examples=25, deadline=None)
@given(shapes, affines(), st.sampled_from(SUFFIXES))
def test_independent_readers_see_the_same_world(
    shape: tuple[int, int, int], affine: np.ndarray[Any, Any], suffix: str
) -> None:
    volume = Volume(counted(shape, "int32"), Grid(shape, affine))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(volume, path)
        if suffix.startswith(".nii"):
            image = nib.load(path)
            np.testing.assert_array_equal(np.asarray(image.dataobj), volume.array)
            np.testing.assert_allclose(image.affine, affine, rtol=1e-6, atol=1e-5)
            # Near half turns a quaternion in single precision has an error of a thousandth; if that
            # moves the corners, no qform is written.
            qform = image.get_qform(coded=True)[0]
            if qform is not None:
                assert Grid(shape, qform).corner_distance_mm(volume.grid) <= 1e-2
        image = sitk.ReadImage(str(path))
        for index in np.ndindex(shape):
            place = tuple(map(int, index))
            assert image.GetPixel(*place) == volume.array[index]
            world = np.array(image.TransformIndexToPhysicalPoint(place)) * (-1, -1, 1)
            np.testing.assert_allclose(volume.grid.index_to_mm(index), world, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    affines(),
    st.sampled_from(((0, 1), (1, 0), (1, 4), (3, 0), (0, 0))),
    st.sampled_from((0, 1, 2, 3, 10)),
    st.sampled_from((nib.Nifti1Image, nib.Nifti2Image)),
)
def test_labels_of_a_nifti_get_its_geometry_bit_for_bit(
    affine: np.ndarray[Any, Any], codes: tuple[int, int], units: int, version: Any
) -> None:
    image = version(counted((3, 4, 5), "int16"), affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    image.header["xyzt_units"] = units
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", HyperspaceWarning)
        scan = Path(folder) / "scan.nii.gz"
        image.to_filename(scan)
        volume = read(scan)
        labels = volume.with_array((volume.array % 2).astype(np.uint8))
        receipt = write(labels, Path(folder) / "labels.nii")
        assert receipt.affine_identical and "bit-identical" in str(receipt)
        before, after = nib.load(scan), nib.load(receipt.path)
    assert before.affine.tobytes() == after.affine.tobytes()
    assert type(before.header) is type(after.header)
    for field in (
        "qform_code",
        "sform_code",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
        "srow_x",
        "srow_y",
        "srow_z",
        "xyzt_units",
    ):
        assert before.header[field].tobytes() == after.header[field].tobytes(), field
    assert before.header["pixdim"][:4].tobytes() == after.header["pixdim"][:4].tobytes()
    assert (after.header["scl_slope"], after.header["scl_inter"]) in ((1, 0), (0, 0)) or np.isnan(
        after.header["scl_slope"]
    )


@settings(max_examples=30, deadline=None)
@given(affines())
def test_headers_of_other_programs_are_written_back_exactly(affine: np.ndarray[Any, Any]) -> None:
    # ITK refuses subnormal numbers with a message, so they are written as 0.
    affine = np.where(np.abs(affine) < np.finfo(np.float64).tiny, 0, affine)
    image = sitk.GetImageFromArray(counted((5, 4, 3), "int16"))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in (".nrrd", ".mha"):
            sitk.WriteImage(image, str(folder / f"a{suffix}"))
            volume = read(folder / f"a{suffix}")
            assert write(volume, folder / f"b{suffix}").affine_identical
        # Compared as numbers: ITK writes -0 and 0.
        first, second = (
            [
                [float(number) for number in line.split(b"=")[1].split()]
                for line in (folder / f"{name}.mha").read_bytes().splitlines()
                if line.startswith((b"TransformMatrix", b"Offset", b"ElementSpacing"))
            ]
            for name in "ab"
        )
        assert first == second and len(first) == 3


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SUFFIXES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damaged_files_raise_no_other_error(
    suffix: str, changes: list[tuple[float, int]], kept: float
) -> None:
    volume = Volume(counted((3, 4, 5), "int16"), Grid((3, 4, 5), np.diag([1.0, 2, 3, 1])))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", HyperspaceWarning)
        path = Path(folder) / f"a{suffix}"
        write(volume, path)
        content = path.read_bytes()
        if packed := suffix == ".nii.gz":
            content = gzip.decompress(content)
        damaged = bytearray(content[: max(1, round(len(content) * min(1.0, kept + 0.5)))])
        for place, value in changes:
            damaged[int(place * min(len(damaged), 450))] = value
        path.write_bytes(gzip.compress(damaged) if packed else damaged)
        try:
            found = read(path)
        except HyperspaceError:
            return
        assert np.isfinite(found.affine).all() and found.array.ndim == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_canonical_and_non_contiguous_arrays_are_written(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[0, 0, 2.0, 5], [-1, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    volume = Volume(counted((3, 4, 5), "uint16"), Grid((3, 4, 5), affine)).canonical()
    assert not volume.array.flags.c_contiguous and not volume.array.flags.f_contiguous
    assert write(volume, tmp_path / f"a{suffix}").affine_identical
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}").array, volume.array)
