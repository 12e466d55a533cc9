"""NRRD and MetaImage: the oracle for valid files is SimpleITK; invalid ones are written by hand."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from packaging.version import Version

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.io import read, write

from .text_files import VOXELS, data_of, meta, nrrd, refused


def assert_as_itk_says(path: Path) -> None:
    """Walk every voxel: value and RAS+ position must be those of SimpleITK."""
    volume, image = read(path), sitk.ReadImage(str(path))
    assert volume.shape == image.GetSize()
    for index in np.ndindex(volume.shape):
        place = tuple(map(int, index))
        assert volume.array[index] == image.GetPixel(*place)
        world = np.array(image.TransformIndexToPhysicalPoint(place)) * (-1, -1, 1)
        np.testing.assert_allclose(volume.grid.index_to_mm(index), world, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*sheared:napari_hyperspace.HyperspaceWarning")
@pytest.mark.parametrize(
    "space",
    [
        "left-posterior-superior",
        "LPS",
        "right-anterior-superior",
        "RAS",
        "left-anterior-superior",
        "LAS",
    ],
)
def test_nrrd_in_any_world(tmp_path: Path, space: str) -> None:
    path = nrrd(tmp_path, space=space)
    left_anterior = space in ("left-anterior-superior", "LAS")
    # Before 2.5.6, SimpleITK returns the positions of this space as if it were LPS.
    if not left_anterior or Version(sitk.Version.VersionString()) >= Version("2.5.6"):
        assert_as_itk_says(path)
    flips = {"L": (-1, -1), "R": (1, 1)}[space[0].upper()]
    if left_anterior:
        flips = (-1, 1)
    assert read(path).affine[0, 3] == flips[0] and read(path).affine[1, 3] == -2 * flips[1]


@pytest.mark.filterwarnings("ignore:.*sheared:napari_hyperspace.HyperspaceWarning")
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_encodings(tmp_path: Path, encoding: str, endian: str) -> None:
    data = data_of(VOXELS.astype(">i2" if endian == "big" else "<i2"))
    data = gzip.compress(data) if encoding == "gzip" else data
    assert_as_itk_says(nrrd(tmp_path, data, encoding=encoding, endian=endian))


@pytest.mark.filterwarnings("ignore:.*sheared:napari_hyperspace.HyperspaceWarning")
def test_nrrd_with_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"12" + data_of(VOXELS))
    assert_as_itk_says(nrrd(tmp_path, b"", "a.nhdr", data_file="a.raw", byte_skip="2"))
    path = nrrd(tmp_path, b"", "b.nhdr", datafile="a.raw", byteskip="-1")
    np.testing.assert_array_equal(read(path).array, VOXELS)


@pytest.mark.parametrize("msb", ["True", "False"])
@pytest.mark.parametrize("compressed", ["True", "False"])
def test_metaimage_encodings(tmp_path: Path, msb: str, compressed: str) -> None:
    data = data_of(VOXELS.astype(">i2" if msb == "True" else "<i2"))
    changes = {"BinaryDataByteOrderMSB": msb, "CompressedData": compressed}
    if compressed == "True":
        data = zlib.compress(data)
        changes["CompressedDataSize"] = str(len(data))
    assert_as_itk_says(meta(tmp_path, data, **changes))


def test_metaimage_with_data_after_a_gap(tmp_path: Path) -> None:
    end = meta(tmp_path, b"", HeaderSize="1000").stat().st_size
    gap = bytes(1000 - end)
    assert_as_itk_says(meta(tmp_path, gap + data_of(VOXELS), HeaderSize="1000"))
    refused(meta(tmp_path, HeaderSize="10"), "start inside the header")


def test_metaimage_with_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"1234" + data_of(VOXELS))
    for skip in ("4", "-1"):
        assert_as_itk_says(meta(tmp_path, b"", "a.mhd", HeaderSize=skip, ElementDataFile="a.raw"))


@pytest.mark.parametrize(
    "name",
    [
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float32",
        "float64",
    ],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_every_type_of_itk_is_exact(tmp_path: Path, name: str, suffix: str) -> None:
    """Fault 26 of the list of bad inputs."""
    dtype = np.dtype(name)
    array = np.zeros((2, 3, 4), dtype)
    array.flat[:3] = 1, np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max, 7
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing((0.5, 2, 4))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    volume = read(path)
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.array, array)
    assert write(volume, tmp_path / f"b{suffix}").affine_identical
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"b{suffix}"))).T, array
    )


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_every_damage_of_a_stream_is_found(tmp_path: Path, suffix: str) -> None:
    """Faults 2 and 3 of the list of bad inputs."""
    image = sitk.GetImageFromArray((VOXELS.T.astype(np.int32)) ** 2)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), True)
    content = path.read_bytes()
    expected = read(path).array
    mark = b"\n\n" if suffix == ".nrrd" else b"LOCAL\n"
    start = content.index(mark) + len(mark) + (10 if suffix == ".nrrd" else 0)
    assert len(content) - start > 100
    for place in range(start, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read(path).array
        except HyperspaceError:
            continue
        np.testing.assert_array_equal(found, expected)
    for missing in (1, 5, 40):
        path.write_bytes(content[:-missing])
        refused(path, "end before their checksum")


def test_header_claims_more_than_the_file(tmp_path: Path) -> None:
    """Fault 5 of the list of bad inputs."""
    refused(nrrd(tmp_path, sizes="30000 30000 30000"), "than the file contains")
    refused(meta(tmp_path, DimSize="30000 30000 30000"), "than the file contains")
    refused(nrrd(tmp_path, gzip.compress(b"1"), encoding="gzip", sizes="3 4 5"), "than the file")
    refused(nrrd(tmp_path, sizes="3 4 0"), "not positive")
    refused(meta(tmp_path, DimSize="3 -4 5"), "not positive")
    refused(nrrd(tmp_path, byte_skip="100"), "than the file contains")


def test_voxels_that_come_last_do_not_start_in_the_header(tmp_path: Path) -> None:
    """Fault 5 of the list of bad inputs."""
    whole = data_of(VOXELS)
    square = "(1,0,0) (0,2,0) (0,0,3)"
    for front in (b"", b"1234"):
        path = nrrd(tmp_path, front + whole, space_directions=square, byte_skip="-1")
        np.testing.assert_array_equal(read(path).array, VOXELS)
        path = meta(tmp_path, front + whole, HeaderSize="-1")
        np.testing.assert_array_equal(read(path).array, VOXELS)
    for missing in (1, 40, len(whole)):
        data = whole[:-missing]
        refused(nrrd(tmp_path, data, byte_skip="-1"), "than the file contains.*truncated")
        refused(meta(tmp_path, data, HeaderSize="-1"), "than the file contains.*truncated")


def test_bytes_that_cannot_be_skipped(tmp_path: Path) -> None:
    """Fault 5 of the list of bad inputs."""
    packed = zlib.compress(data_of(VOXELS))
    for path in (
        nrrd(tmp_path, byte_skip="-2"),
        meta(tmp_path, HeaderSize="-5"),
        nrrd(tmp_path, packed, "b.nrrd", encoding="gzip", byte_skip="-1"),
        meta(tmp_path, packed, "b.mha", CompressedData="True", HeaderSize="-1"),
    ):
        refused(path, "cannot be skipped")


def test_trailing_bytes_warn(tmp_path: Path) -> None:
    """Fault 6 of the list of bad inputs."""
    for path in (
        nrrd(tmp_path, data_of(VOXELS) + b"123", space_directions="(1,0,0) (0,2,0) (0,0,3)"),
        meta(tmp_path, data_of(VOXELS) + b"123"),
        meta(tmp_path, zlib.compress(data_of(VOXELS)) + b"123", "c.mha", CompressedData="True"),
    ):
        with pytest.warns(HyperspaceWarning, match="3 bytes after"):
            read(path)


@pytest.mark.parametrize(
    "name", ["../secret.raw", "/etc/hostname", "sub/../../secret.raw", "link.raw", "a\0b.raw"]
)
def test_data_files_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "scan"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(data_of(VOXELS))
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    words = "outside its folder"
    refused(nrrd(folder, b"", "a.nhdr", data_file=name), words)
    refused(meta(folder, b"", "a.mhd", ElementDataFile=name), words)


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 5 1"])
def test_data_in_several_files_are_refused(tmp_path: Path, name: str) -> None:
    refused(nrrd(tmp_path, b"", "a.nhdr", data_file=name), "several files")
    refused(meta(tmp_path, b"", "a.mhd", ElementDataFile=name), "several files")


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    error = refused(meta(tmp_path, b"", "a.mhd", ElementDataFile="gone.raw"), "cannot be read")
    assert error.where == str(tmp_path / "gone.raw")


def test_missing_spacing_is_never_1_mm(tmp_path: Path) -> None:
    """Fault 9 of the list of bad inputs."""
    bare = nrrd(tmp_path, space=None, space_directions=None, space_origin=None)
    assert sitk.ReadImage(str(bare)).GetSpacing() == (1, 1, 1)  # what this reader must not do
    refused(bare, "does not state the voxel spacing")
    path = meta(tmp_path, ElementSpacing=None)
    refused(path, "does not state the voxel spacing")
    assert read(path, spacing_mm=(0.5, 1, 2)).spacing_mm == pytest.approx((0.5, 1, 2))
    refused(meta(tmp_path, ElementSpacing="0 1 2"), "does not state the voxel spacing")
    refused(meta(tmp_path, ElementSpacing="-1 1 2"), "does not state the voxel spacing")
    assert read(meta(tmp_path, ElementSpacing=None, ElementSize="1 2 3")).spacing_mm[2] == 3
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        assert read(bare, spacing_mm=(0.5, 1, 2)).spacing_mm == (0.5, 1, 2)


@pytest.mark.parametrize("spacings", ["0 1 2", "-1 1 2"])
def test_spacings_that_are_not_positive(tmp_path: Path, spacings: str) -> None:
    """Fault 10 of the list of bad inputs."""
    bare = {"space": None, "space_directions": None, "space_origin": None}
    refused(nrrd(tmp_path, **bare, spacings=spacings), "does not state the voxel spacing")
    refused(nrrd(tmp_path, space_directions="(0,0,0) (0,1,0) (0,0,1)"), "voxel spacing")


@pytest.mark.parametrize("value", ["nan", "inf", "x"])
def test_spacing_that_is_not_finite(tmp_path: Path, value: str) -> None:
    """Fault 11 of the list of bad inputs."""
    refused(nrrd(tmp_path, space_directions=f"({value},0,0) (0,1,0) (0,0,1)"), "finite numbers")
    refused(meta(tmp_path, ElementSpacing=f"{value} 1 1"), "finite numbers")
    refused(meta(tmp_path, Offset="1 2"), "3 numbers")


def test_singular_affine(tmp_path: Path) -> None:
    """Fault 12 of the list of bad inputs."""
    path = nrrd(tmp_path, space_directions="(1,0,0) (1,0,0) (0,0,1)")
    assert refused(path, "singular").where == str(path)
    refused(meta(tmp_path, TransformMatrix="1 0 0 1 0 0 0 0 1"), "singular")


def test_unknown_orientation_warns(tmp_path: Path) -> None:
    """Fault 15 of the list of bad inputs."""
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        volume = read(
            nrrd(tmp_path, space=None, space_directions=None, space_origin=None, spacings="0.5 1 2")
        )
    assert volume.metadata["orientation_unknown"] and volume.spacing_mm == (0.5, 1, 2)
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        assert read(meta(tmp_path, TransformMatrix=None)).metadata["orientation_unknown"]


def test_shear_is_kept(tmp_path: Path) -> None:
    """Fault 17 of the list of bad inputs."""
    with pytest.warns(HyperspaceWarning, match="sheared"):
        volume = read(nrrd(tmp_path, space_directions="(1,0,0) (0.5,1,0) (0,0,2)"))
    assert volume.grid.is_sheared
    np.testing.assert_array_equal(volume.affine[:3, 1], (-0.5, -1, 0))


def test_units(tmp_path: Path) -> None:
    """Fault 18 of the list of bad inputs."""
    right = "(1,0,0) (0,2,0) (0,0,4)"
    for unit, factor in (("mm", 1), ("cm", 10), ("um", 1e-3), ("µm", 1e-3), ("microns", 1e-3)):
        steps = f"({1 / factor},0,0) (0,{2 / factor},0) (0,0,{4 / factor})"
        units = f'"{unit}" "{unit}" "{unit}"'
        path = nrrd(tmp_path, space_directions=steps, space_units=units, space_origin=None)
        assert read(path).spacing_mm == pytest.approx((1, 2, 4))
        assert "units_assumed" not in read(path).metadata
    assert read(nrrd(tmp_path, space_directions=right)).spacing_mm == (1, 2, 4)  # mm by convention
    refused(nrrd(tmp_path, space_directions=right, space_units='"ly" "ly" "ly"'), "length is unkn")
    path = meta(tmp_path, DistanceUnits="cm")
    assert read(path).spacing_mm == pytest.approx((7, 9, 30))
    assert tuple(read(path).affine[:3, 3]) == (-10, 20, 30)
    refused(meta(tmp_path, DistanceUnits="furlong"), "unit of length is unknown")


def test_more_than_three_axes(tmp_path: Path) -> None:
    """Fault 21 of the list of bad inputs."""
    array = np.arange(120, dtype=np.int16)
    last = array.reshape(3, 4, 5, 2, order="F")
    path = nrrd(
        tmp_path,
        array.tobytes(),
        dimension="4",
        sizes="3 4 5 2",
        kinds="domain domain domain list",
        space_directions="(1,0,0) (0,1,0) (0,0,2) none",
    )
    refused(path, "more than one 3-D volume")
    np.testing.assert_array_equal(read(path, volume=1).array, last[..., 1])
    first = array.reshape(2, 3, 4, 5, order="F")
    path = nrrd(
        tmp_path,
        array.tobytes(),
        dimension="4",
        sizes="2 3 4 5",
        kinds="list domain domain domain",
        space_directions="none (1,0,0) (0,1,0) (0,0,2)",
    )
    refused(path, "more than one 3-D volume")
    np.testing.assert_array_equal(read(path, volume=1).array, first[1])
    path = meta(tmp_path, array.tobytes(), ElementNumberOfChannels="2")
    refused(path, "more than one 3-D volume")
    np.testing.assert_array_equal(read(path, volume=0).array, first[0])
    identity = " ".join(f"{value:g}" for value in np.eye(4).ravel())
    path = meta(
        tmp_path,
        array.tobytes(),
        NDims="4",
        DimSize="3 4 5 2",
        TransformMatrix=identity,
        Offset="1 2 3 0",
        ElementSpacing="0.5 1 2 1",
    )
    np.testing.assert_array_equal(read(path, volume=1).array, last[..., 1])
    assert read(path, volume=1).spacing_mm == (0.5, 1, 2)


def test_two_axes(tmp_path: Path) -> None:
    """Fault 21 of the list of bad inputs."""
    path = meta(
        tmp_path,
        VOXELS[..., 0].tobytes("F"),
        NDims="2",
        DimSize="3 4",
        Offset="1 2",
        TransformMatrix="1 0 0 1",
        ElementSpacing="0.5 1",
    )
    refused(path, "2-D image")
    refused(path, "voxel spacing", volume=0)
    assert read(path, volume=0, spacing_mm=(0.5, 1, 5)).shape == (3, 4, 1)
    path = nrrd(
        tmp_path,
        VOXELS[..., 0].tobytes("F"),
        dimension="2",
        sizes="3 4",
        space=None,
        space_directions=None,
        space_origin=None,
        kinds="domain domain",
        spacings="0.5 1",
    )
    refused(path, "2-D image")
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        assert read(path, volume=0, spacing_mm=(0.5, 1, 5)).spacing_mm[2] == 5


def test_color_and_complex(tmp_path: Path) -> None:
    """Fault 24 of the list of bad inputs."""
    path = nrrd(
        tmp_path,
        bytes(180),
        type="uchar",
        dimension="4",
        sizes="3 3 4 5",
        kinds="RGB-color domain domain domain",
        space_directions="none (1,0,0) (0,1,0) (0,0,2)",
    )
    assert "RGB-color of uchar" in str(refused(path, "color and complex"))
    refused(nrrd(tmp_path, type="block"), "pixel type")
    refused(meta(tmp_path, ElementType="MET_FLOAT_ARRAY"), "MET_FLOAT_ARRAY")


def test_what_is_not_supported_is_named(tmp_path: Path) -> None:
    refused(nrrd(tmp_path, encoding="ascii"), "unsupported encoding")
    refused(nrrd(tmp_path, line_skip="3"), "lines to skip")
    refused(nrrd(tmp_path, sizes=None), "lacks a field")
    refused(nrrd(tmp_path, endian=None), "lacks a field")
    refused(nrrd(tmp_path, sizes="3 4"), "one size per axis")
    refused(nrrd(tmp_path, sizes="3 4 x"), "whole numbers")
    refused(
        nrrd(tmp_path, kinds="domain list domain", space_directions="(1,0,0) none (0,0,2)"),
        "axis layout",
    )
    refused(meta(tmp_path, BinaryData="False"), "stored as text")
    refused(meta(tmp_path, DimSize="3 4"), "one size per axis")
    refused(meta(tmp_path, NDims=""), "lacks a field")
    refused(meta(tmp_path, ElementToIntensityFunctionSlope="2"), "intensity scaling")
