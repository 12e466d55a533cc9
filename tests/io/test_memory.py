"""Files of more voxels than there is memory: refused before or at the allocation."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import api, list_series, read, write
from napari_hyperspace.io import dicom as dicom_module
from napari_hyperspace.io.base import files, streams

from .text_files import meta, nrrd, refused

# Reads a file with less memory than its voxels need, although the system has enough.
_LIMITED = """
import resource, sys
import psutil
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import nifti, read

memory = psutil.Process().memory_info().vms + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
try:
    read(sys.argv[1])
except HyperspaceError as error:
    print(error)
"""


def compressed(path: Path, megabytes: int) -> Path:
    """Write zeros of this size as .nii.gz, without holding them in memory."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1 << 10, 1 << 10, megabytes))
    header.set_sform(np.eye(4), code="scanner")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for _ in range(megabytes):
            stream.write(bytes(1 << 20))
    return path


def test_a_small_file_of_many_voxels_is_refused_by_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free memory is that of the container, see `core.memory.available_host_bytes`."""
    path = compressed(tmp_path / "a.nii.gz", 64)
    monkeypatch.setattr(files, "available_host_bytes", lambda: 50 << 20)
    error = refused(path, "do not fit into the memory")
    assert error.fix is not None and "MB" in str(error.found) and error.expected == "67 MB"


@pytest.mark.skipif(sys.platform != "linux", reason="others do not limit the address space")
def test_memory_that_is_short_while_reading_is_a_declared_error(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.nii.gz", 400)
    command = [sys.executable, "-W", "ignore", "-c", _LIMITED, str(path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(f"{path}: the voxels do not fit into the memory")


def out_of_memory(*args: object, **options: object) -> None:
    raise MemoryError


def test_every_format_declares_that_memory_is_short(
    tmp_path: Path,
    nifti: Callable[..., Path],
    dicom: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [nifti(), nrrd(tmp_path), meta(tmp_path), dicom(2)]
    monkeypatch.setattr(streams.np, "empty", out_of_memory)
    for path in paths:
        with pytest.raises(HyperspaceError, match="do not fit into the memory") as caught:
            read(path)
        assert caught.value.where == str(path)


def test_writing_and_listing_declare_that_memory_is_short(
    tmp_path: Path, dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = Volume(np.zeros((2, 3, 4), bool), Grid.from_spacing((2, 3, 4), (1, 1, 1)))
    path = tmp_path / "a.nii"
    monkeypatch.setattr(api, "_storable", out_of_memory)
    with pytest.raises(HyperspaceError, match="do not fit into the memory"):
        write(volume, path)
    assert not path.exists()
    folder = dicom(2)
    monkeypatch.setattr(dicom_module, "group", out_of_memory)
    with pytest.raises(HyperspaceError, match="do not fit into the memory"):
        list_series(folder)
