"""Paths that are no files, or no valid names: refused by every function, without waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import list_series, read, write
from napari_hyperspace.io.api import check_target
from napari_hyperspace.io.dicom import is_dicom

from .text_files import meta, nrrd, refused

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


@pytest.fixture
def labels() -> Volume:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    return Volume(array, Grid.from_spacing((3, 4, 5), (1, 2, 3)))


def rejected(call: Callable[[], object]) -> HyperspaceError:
    with pytest.raises(HyperspaceError) as caught:
        call()
    assert all(ord(character) >= 32 for character in str(caught.value))
    return caught.value


# The child would wait for ever; it is ended after a time that no refusal takes.
_READ = """
import sys
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import read
from napari_hyperspace.io.dicom import is_dicom
from pathlib import Path
for path in sys.argv[1:]:
    assert not is_dicom(Path(path))
    try:
        read(path)
    except HyperspaceError as error:
        print(error.problem)
"""


@POSIX
def test_pipes_and_devices_are_refused_without_opening_them(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm", "a")]
    for path in names:
        os.mkfifo(path)
    os.mkfifo(tmp_path / "data.raw")
    headers = [
        nrrd(tmp_path, b"", "b.nhdr", data_file="data.raw"),
        meta(tmp_path, b"", "b.mhd", ElementDataFile="data.raw"),
    ]
    paths = [*names, *headers, Path("/dev/zero")]
    command = [sys.executable, "-c", _READ, *map(str, paths)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = child.stdout.splitlines()
    assert len(lines) == len(paths) and all("a pipe or a device" in line for line in lines)


@POSIX
def test_a_folder_with_a_pipe_is_read(dicom: Callable[..., Path]) -> None:
    folder = dicom(3)
    os.mkfifo(folder / "pipe.dcm")
    assert not is_dicom(folder / "pipe.dcm")
    assert read(folder).shape == (3, 4, 3)


def test_a_null_character_in_a_name(tmp_path: Path, labels: Volume) -> None:
    path = str(tmp_path / "a\0b.nii")
    (tmp_path / "b.nii").touch()
    for call in (
        lambda: read(path),
        lambda: list_series(path),
        lambda: write(labels, path),
        lambda: check_target(path),
        lambda: check_target(tmp_path / "b.nii", source=path),
    ):
        assert r"a\x00b.nii" in str(rejected(call))


@POSIX
def test_links_in_a_circle(tmp_path: Path, labels: Volume) -> None:
    path = tmp_path / "a.nii"
    path.symlink_to(path)
    for call in (lambda: read(path), lambda: list_series(path), lambda: write(labels, path)):
        rejected(call)
    (tmp_path / "b.raw").symlink_to(tmp_path / "b.raw")
    refused(meta(tmp_path, b"", "a.mhd", ElementDataFile="b.raw"), "not valid|cannot be read")
    refused(nrrd(tmp_path, b"", "a.nhdr", data_file="b.raw"), "not valid|cannot be read")


def test_names_that_are_too_long(tmp_path: Path, labels: Volume) -> None:
    for name in ("x" * 300 + ".nii", "ä" * 126 + ".nii.gz", "a." + "x" * 300):
        path = tmp_path / name
        for call in (lambda p=path: read(p), lambda p=path: write(labels, p)):
            rejected(call)
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):  # the longest name that there can be
        path = tmp_path / ("x" * (255 - len(suffix)) + suffix)
        assert write(labels, path).path == path
    long = "x" * 300
    refused(meta(tmp_path, b"", "a.mhd", ElementDataFile=long), "not valid|cannot be read")
    refused(nrrd(tmp_path, b"", "a.nhdr", data_file=long), "not valid|cannot be read")


@pytest.mark.parametrize("name", ["\ud800.nii", "a\x1b[2J.nii", "a\n.nii"])
def test_names_that_cannot_be_printed(tmp_path: Path, labels: Volume, name: str) -> None:
    error = rejected(lambda: read(tmp_path / name))
    str(error).encode("utf-8")  # a lone surrogate would fail here, and on the terminal


@POSIX
def test_a_file_that_disappears_is_named(
    dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_hyperspace.io import dicom as module

    folder = dicom(3)
    stack = module.stack

    def remove(*args: object, **options: object) -> object:
        (folder / "slice002.dcm").unlink()
        return stack(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "stack", remove)
    assert "slice002.dcm" in str(rejected(lambda: read(folder)))


def test_an_error_of_itk_is_one_plain_line(
    tmp_path: Path, labels: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_hyperspace.io import itk

    encode = itk.encode
    monkeypatch.setattr(itk, "encode", lambda volume, path: encode(volume, path / "a" / path.name))
    for suffix in (".nrrd", ".mha"):
        error = rejected(lambda s=suffix: write(labels, tmp_path / f"a{s}"))
        text = str(error.found)
        assert "\n" not in text and "Exception thrown" not in text and "0x" not in text
        assert ".cxx" not in text and text
