"""The files of several scans: what is read, and where labels are written."""

from __future__ import annotations

import stat
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, suffix_of
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import read
from napari_hyperspace.io.base.files import is_folder, look_up
from napari_hyperspace.io.ome_zarr.decode import image_stem, is_ome_zarr

_READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_WRITTEN_AS = {".nhdr": ".nrrd", ".mhd": ".mha"}


def read_guidance(path: Path, source: Path) -> Volume:
    """Read the labels that guide the segmentation of a scan.

    Parameters
    ----------
    path
        The file; or a folder, with a file of the name that the labels of the scan would get.
    source
        The scan.
    """
    inside = is_folder(path) and not is_ome_zarr(path)
    return read(path / _output_name(source) if inside else path)


def list_scans(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return each scan with the file for its labels.

    Parameters
    ----------
    source
        A file, an OME-Zarr image, a folder with one DICOM series, or a folder of scans (files of
        the supported formats and OME-Zarr images, or else one DICOM folder each).
    target
        A file for one scan, a folder for several; the folder is created.

    Raises
    ------
    HyperspaceError
        If there is no scan, several scans have the same target, or the folder cannot be created.
    """
    status = look_up(source)
    if status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise HyperspaceError("no such file or folder", where=source)
    if stat.S_ISREG(status.st_mode) or is_ome_zarr(source):
        return [(source, target / _output_name(source) if is_folder(target) else target)]
    found = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    scans = [path for path in found if _suffix(path) in _READABLE or is_ome_zarr(path)]
    folders = [path for path in found if path.is_dir()]
    if not scans and not folders and found:
        return [(source, target)]
    scans = scans or folders
    if not scans:
        raise HyperspaceError("no scan in this folder", where=source)
    pairs = [(path, target / _output_name(path)) for path in scans]
    names = [written.name for _, written in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HyperspaceError(
            "the labels of several scans would be written to the same file",
            where=source,
            found=", ".join(twice),
            fix="Rename the scans",
        )
    create_folder(target)
    return pairs


def _suffix(path: Path) -> str:
    """Return the extension in lower case, ``".nii.gz"`` as one; none for a folder."""
    return "" if path.is_dir() else suffix_of(path).removeprefix(".seg")


def _output_name(path: Path) -> str:
    if is_ome_zarr(path):
        return f"{image_stem(path)}.nii.gz"
    suffix = _suffix(path)
    if suffix not in _READABLE:
        return f"{path.stem if path.is_file() else path.name}.nii.gz"
    return path.name[: len(path.name) - len(suffix)] + _WRITTEN_AS.get(suffix, suffix)
