"""Writing: what is refused, and that after a failure an existing file is unchanged."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_hyperspace.core import files as files_core
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import api, list_series, nifti, read, write
from napari_hyperspace.io.base import files

from .text_files import VOXELS, data_of, meta, nrrd

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
GRID = Grid((3, 5, 7), np.diag([1.0, 2.0, 4.0, 1.0]))


@pytest.fixture
def labels() -> Volume:
    return Volume(np.arange(105, dtype=np.uint16).reshape(3, 5, 7) * 7, GRID, "labels")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_large_ids_keep_their_type_and_get_no_slope(
    tmp_path: Path, labels: Volume, suffix: str
) -> None:
    """Fault 32 of the list of bad inputs."""
    receipt = write(labels, tmp_path / f"a{suffix}")
    assert receipt.checked_voxels == 105 and receipt.affine_identical
    assert read(receipt.path).dtype == np.uint16
    if suffix.startswith(".nii"):
        image = nib.load(receipt.path)
        assert image.get_data_dtype() == np.uint16
        assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
        assert image.dataobj.get_unscaled().max() == 104 * 7


def test_labels_of_a_scaled_scan_get_no_slope(nifti: Any, tmp_path: Path) -> None:
    """Fault 32 of the list of bad inputs."""
    scan = read(nifti(fields={"scl_slope": 2.0, "scl_inter": 1.0}))
    assert scan.array.max() == 209
    ids = scan.with_array(np.full(scan.shape, 300, np.uint16))
    image = nib.load(write(ids, tmp_path / "labels.nii.gz").path)
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert np.asarray(image.dataobj).max() == 300


@pytest.mark.parametrize(
    "fields",
    [
        {"qform_code": 255},
        {"sform_code": 256},
        {"qform_code": -1},
        {"pixdim": (-1.0, 2.0, 4.0)},
        {"pixdim": (0.0, 2.0, 4.0)},
        {"qfac": -2.0},
        {"qfac": 0.0},
    ],
)
@pytest.mark.filterwarnings("ignore::napari_hyperspace.HyperspaceWarning")
def test_a_header_that_nibabel_would_repair_is_written_silently(
    nifti: Any, tmp_path: Path, fields: dict[str, Any], caplog: Any, capfd: Any
) -> None:
    scan = read(nifti(fields=fields, codes=(0, 2)))
    receipt = write(scan.with_array(scan.array > 7), tmp_path / "labels.nii.gz")
    assert receipt.grid_matches and not caplog.records and capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(read(receipt.path).affine, scan.affine)


@pytest.mark.parametrize("header", ["scan.nhdr", "scan.mhd", "scan.nrrd"])
@pytest.mark.parametrize("name", ["data.nii", "scan.mha", "part/data.nrrd"])
def test_the_data_file_of_a_header_is_not_replaced(
    tmp_path: Path, labels: Volume, header: str, name: str
) -> None:
    (tmp_path / "part").mkdir()
    data = data_of(VOXELS)
    (tmp_path / name).write_bytes(data)
    if header.endswith(".mhd"):
        path = meta(tmp_path, b"", name=header, ElementDataFile=name)
    else:
        path = nrrd(tmp_path, b"", name=header, space_directions="(1,0,0) (0,1,0) (0,0,1)")
        path.write_bytes(path.read_bytes().rstrip() + f"\ndata file: {name}\n".encode())
    scan = read(path)
    for refused_early in (
        lambda: api.check_target(tmp_path / name, path),
        lambda: write(scan.with_array(scan.array * 0), tmp_path / name),
    ):
        with pytest.raises(HyperspaceError, match="must not replace the scan"):
            refused_early()
    assert (tmp_path / name).read_bytes() == data
    api.check_target(tmp_path / "other.mha", path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("given", "stored"), [("bool", "uint8"), ("float16", "float32"), (">i4", "int32")]
)
def test_types_that_formats_lack_are_widened(
    tmp_path: Path, suffix: str, given: str, stored: str
) -> None:
    array = (np.arange(105).reshape(3, 5, 7) % 2).astype(given)
    write(Volume(array, GRID), tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")
    assert again.dtype == np.dtype(stored)
    np.testing.assert_array_equal(again.array, array)


def test_complex_values_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(HyperspaceError, match="complex64"):
        write(Volume(np.ones((3, 5, 7), np.complex64), GRID), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a", "a.mhd", "a.gz", "a.dcm"])
def test_other_extensions_are_refused(tmp_path: Path, labels: Volume, name: str) -> None:
    with pytest.raises(HyperspaceError, match="cannot be written") as caught:
        write(labels, tmp_path / name)
    assert ".nii.gz" in str(caught.value.expected)


def test_the_folder_must_exist(tmp_path: Path, labels: Volume) -> None:
    with pytest.raises(HyperspaceError, match="folder does not exist"):
        write(labels, tmp_path / "none" / "a.nii")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".nii", "x" * 300 + "/a.nii"])
def test_names_that_are_too_long(tmp_path: Path, labels: Volume, name: str) -> None:
    for path in (tmp_path / name, tmp_path / "none" / name):
        with pytest.raises(HyperspaceError) as caught:
            read(path)
        assert caught.value.where == str(path)
    with pytest.raises(HyperspaceError, match=os.strerror(errno.ENAMETOOLONG)):
        read(tmp_path / name)
    target = (tmp_path / name).with_suffix(".nii")
    with pytest.raises(HyperspaceError, match=os.strerror(errno.ENAMETOOLONG)):
        write(labels, target)
    with pytest.raises(HyperspaceError, match=os.strerror(errno.ENAMETOOLONG)):
        list_series(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_replaced_without_overwrite(tmp_path: Path, labels: Volume) -> None:
    path = tmp_path / "a.nii"
    write(labels, path)
    before = path.read_bytes()
    with pytest.raises(HyperspaceError, match="already exists"):
        write(labels.with_array(labels.array * 0), path, overwrite=False)
    assert path.read_bytes() == before
    write(labels.with_array(labels.array * 0), path)
    assert read(path).array.max() == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_keeps_the_existing_file(
    tmp_path: Path, labels: Volume, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 57 of the list of bad inputs."""
    path = tmp_path / f"a{suffix}"
    write(labels, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(HyperspaceError, match="No space left on device") as caught:
        write(labels.with_array(labels.array + 1), path)
    assert caught.value.where == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_while_writing(
    tmp_path: Path, labels: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 57 of the list of bad inputs."""
    path = tmp_path / "a.nii"

    def half(volume: Volume, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nifti, "encode", half)
    with pytest.raises(HyperspaceError, match="No space left"):
        write(labels, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="no device here that is always full"
)
def test_a_full_device(tmp_path: Path, labels: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 57 of the list of bad inputs."""
    monkeypatch.setattr(
        files_core, "_temporary", lambda path: path.with_name(f".full{path.suffix}")
    )
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        (tmp_path / f".full{Path('a' + suffix).suffix}").symlink_to("/dev/full")
        with pytest.raises(HyperspaceError):
            write(labels, tmp_path / f"a{suffix}")
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="no folder is read-only to root"
)
def test_a_read_only_folder(tmp_path: Path, labels: Volume) -> None:
    """Fault 57 of the list of bad inputs."""
    tmp_path.chmod(0o500)
    for suffix in SUFFIXES:
        with pytest.raises(HyperspaceError, match="cannot be written"):
            write(labels, tmp_path / f"a{suffix}")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_byte_on_the_way_to_the_disk_is_found(
    tmp_path: Path, labels: Volume, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The encoder gets another array than the one to write, so what is read back differs.
    module = (
        nifti
        if suffix.startswith(".nii")
        else __import__("napari_hyperspace.io.itk", fromlist=["itk"])
    )
    encode = module.encode

    def careless(volume: Volume, path: Path) -> None:
        array = volume.array.copy()
        array[1, 2, 3] += 1
        encode(volume.with_array(array), path)

    monkeypatch.setattr(module, "encode", careless)
    with pytest.raises(HyperspaceError, match="do not read back equal"):
        write(labels, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_grid_that_does_not_read_back_is_refused(
    tmp_path: Path, labels: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = nifti.encode

    def careless(volume: Volume, path: Path) -> None:
        encode(Volume(volume.array, Grid(volume.shape, np.diag([-1.0, 2.0, 4.0, 1.0]))), path)

    monkeypatch.setattr(nifti, "encode", careless)
    with pytest.raises(HyperspaceError, match="grid does not read back"):
        write(labels, tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


def test_saving_over_the_input_is_refused(nifti: Any, tmp_path: Path) -> None:
    """Fault 65 of the list of bad inputs."""
    path = nifti()
    before = path.read_bytes()
    volume = read(path)
    link = tmp_path / "link.nii"
    link.symlink_to(path)
    (tmp_path / "hard.nii").hardlink_to(path)
    for target in (path, link, tmp_path / "hard.nii", tmp_path / "x" / ".." / "scan.nii"):
        with pytest.raises(HyperspaceError, match="must not replace"):
            write(volume.with_array(volume.array * 0), target)
    assert path.read_bytes() == before


def test_a_link_is_written_through(tmp_path: Path, labels: Volume) -> None:
    target = tmp_path / "target.nii"
    write(labels, target)
    link = tmp_path / "link.nii"
    link.symlink_to(target)
    write(labels.with_array(labels.array * 0), link)
    assert link.is_symlink() and read(target).array.max() == 0


def test_the_file_mode_is_that_of_any_new_file(tmp_path: Path, labels: Volume) -> None:
    write(labels, tmp_path / "a.nii.gz")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.nii.gz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path, labels: Volume) -> None:
    for suffix in SUFFIXES:
        write(labels, tmp_path / f"a{suffix}")
        write(labels, tmp_path / f"b{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_large_axes_become_nifti_2(tmp_path: Path) -> None:
    volume = Volume(
        np.zeros((40000, 1, 2), np.uint8), Grid((40000, 1, 2), np.diag([0.01, 1, 1, 1]))
    )
    receipt = write(volume, tmp_path / "a.nii.gz")
    assert isinstance(nib.load(receipt.path), nib.Nifti2Image)


@pytest.mark.filterwarnings("ignore:.*sheared:napari_hyperspace.HyperspaceWarning")
@pytest.mark.parametrize(("shear", "code"), [(0.0, 1), (0.01, 0), (0.4, 0)])
def test_a_new_header_has_a_qform_only_if_it_represents_the_affine(
    tmp_path: Path, shear: float, code: int
) -> None:
    affine = np.array([[1.5, shear, 0, 3], [0, 2, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    volume = Volume(np.zeros((30, 50, 7), np.uint8), Grid((30, 50, 7), affine))
    header = nib.load(write(volume, tmp_path / "a.nii").path).header
    assert (header["qform_code"], header["sform_code"]) == (code, 1)
    np.testing.assert_allclose(header["pixdim"][1:4], volume.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(header.get_sform(), affine, rtol=1e-6)
    read(tmp_path / "a.nii")  # the shear is the only warning


def test_the_receipt_states_the_rounding_error(tmp_path: Path) -> None:
    volume = Volume(np.zeros((3, 5, 7), np.uint8), Grid((3, 5, 7), np.diag([0.1, 1, 1, 1])))
    receipt = write(volume, tmp_path / "a.nii")
    assert not receipt.affine_identical and receipt.grid_matches
    assert 0 < receipt.corner_distance_mm < 1e-6
    assert "grid within" in str(receipt) and "105 voxels" in str(receipt)


def test_only_known_extensions_are_dispatched() -> None:
    assert set(api._WRITABLE) <= set(api._FORMATS)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_marks_labels(tmp_path: Path, labels: Volume, suffix: str) -> None:
    named = labels.with_array(labels.array, metadata={"label_names": {7: "putamen"}})
    path = write(named, tmp_path / f"named{suffix}").path
    assert nib.load(path).header.get_intent()[0] == "label"
    again = read(path)
    assert again.metadata["is_labels"]
    assert nib.load(write(again, tmp_path / f"b{suffix}").path).header["intent_code"] == 1002
    plain = write(labels, tmp_path / f"plain{suffix}").path
    assert nib.load(plain).header["intent_code"] == 0
    assert "is_labels" not in read(plain).metadata


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd"])
def test_a_subnormal_number_in_the_affine_prints_nothing(name, tmp_path, capfd):
    """ITK's decomposition of the directions fails on it, and says so on stderr."""
    affine = np.array([[-0.7, 0, 2.7e-315, 1], [0, 0.9, 0.1, -2], [0, -0.2, 3, 3], [0, 0, 0, 1]])
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), Grid((2, 3, 4), affine))
    write(volume, tmp_path / name)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
    expected = np.where(np.abs(affine) < 1e-300, 0, affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HyperspaceWarning)  # the grid is sheared
        written = read(tmp_path / name).affine
    np.testing.assert_allclose(written, expected, rtol=0, atol=1e-15)
