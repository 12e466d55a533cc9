"""npe2 readers: files of all formats of `napari_hyperspace.io` are read as upright layers in mm."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning, OptionNeededError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerData, LayerKind, to_layer_data

if TYPE_CHECKING:
    from napari_hyperspace.io import Series

Paths = str | list[str]

_SNIFFED_FILES = 20  # files of a folder that are checked for DICOM


class ReadOptions(TypedDict, total=False):
    """Options of `napari_hyperspace.read`."""

    volume: int
    series: str
    spacing_mm: Triple
    fill: float


class VolumeSource(Protocol):
    """Reads volumes: `napari_hyperspace.io`, or the services of the plug-in."""

    def read(self, path: str, **options: Unpack[ReadOptions]) -> Volume:
        """Read a volume; see `napari_hyperspace.read`."""

    def list_series(self, folder: str) -> Sequence[Series]:
        """List the DICOM series of a folder; see `napari_hyperspace.io.list_series`."""


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader of a file, a DICOM folder, or a list of files. napari calls it."""
    first = path if isinstance(path, str) else path[0]
    return read_layers if os.path.exists(first) else None


def read_layers(path: Paths) -> list[LayerData]:
    """Read files into layers: one layer per file, and one per series of a DICOM folder.

    Raises
    ------
    HyperspaceError
        If a file is invalid, or cannot be read without an option.
    """
    from napari_hyperspace import io

    paths = [path] if isinstance(path, str) else path
    try:
        return [layer for one in paths for layer in open_layers(one, io)]
    except OptionNeededError as error:
        # napari's readers cannot ask the user.
        fix = "Open it with the HyperSpace widget, which asks for what is missing"
        raise error.replace(fix=fix) from error


def open_layers(path: str, source: VolumeSource, **options: Unpack[ReadOptions]) -> list[LayerData]:
    """Read a file, or every series of a DICOM folder, into layers.

    For a folder without series of its own, such as a study, the series of its subfolders are read.
    Of several layers only the largest is visible. Series that cannot be read are left out with a
    warning.

    Parameters
    ----------
    path
        A file or a folder.
    source
        Reads the volumes.
    **options
        As for `napari_hyperspace.read`. With any option, one volume is read.

    Raises
    ------
    HyperspaceError
        If nothing can be read.
    """
    from napari_hyperspace.io.ome_zarr.decode import is_ome_zarr

    if options or not os.path.isdir(path) or is_ome_zarr(Path(path)):
        return [layer_data(source.read(path, **options))]
    found = list(_series(Path(path), source))
    if len(found) < 2:
        return [layer_data(source.read(found[0][0] if found else path))]
    volumes, problems = [], []
    for folder, uid in found:
        try:
            volumes.append(source.read(folder, series=uid))
        except HyperspaceError as error:
            problems.append(error)
    if not volumes:
        raise problems[0]
    for problem in problems:
        warnings.warn(f"left out: {problem}", HyperspaceWarning, stacklevel=2)
    layers = [layer_data(volume) for volume in volumes]
    largest = max(range(len(layers)), key=lambda i: layers[i][0].size)
    for i, (_, attributes, _) in enumerate(layers):
        attributes["visible"] = i == largest
    return layers


def holds_dicom(path: str) -> bool:
    """Whether a file, or one of the first few files of a folder, looks like DICOM."""
    from napari_hyperspace.io.dicom import is_dicom

    files = _files(Path(path)) if os.path.isdir(path) else iter([Path(path)])
    try:
        return any(map(is_dicom, itertools.islice(files, _SNIFFED_FILES)))
    except OSError:  # no permission to read it
        return False


def _series(folder: Path, source: VolumeSource) -> Iterator[tuple[str, str]]:
    """Yield (folder, UID) of the series in a folder, or of those in its subfolders."""
    own = [one.uid for one in source.list_series(str(folder)) if one.is_image]
    if own:
        yield from ((str(folder), uid) for uid in own)
    else:
        for inner in _subfolders(folder):
            yield from _series(inner, source)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, then those in its subfolders."""
    yield from (one for one in sorted(folder.iterdir()) if one.is_file())
    for inner in _subfolders(folder):
        yield from _files(inner)


def _subfolders(folder: Path) -> list[Path]:
    """Return the subfolders, without hidden ones and links: links can form a cycle."""
    found = sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())
    return [one for one in found if not one.name.startswith(".")]


def layer_data(volume: Volume) -> LayerData:
    """Convert a volume to a layer: a Labels layer if its file states that it contains labels."""
    return to_layer_data(volume, kind_of(volume))


def kind_of(volume: Volume) -> LayerKind:
    """Return whether a volume is an image or a label map, as its file states it."""
    is_labels = volume.metadata.get("is_labels") or volume.metadata.get("label_names")
    return "labels" if is_labels else "image"
