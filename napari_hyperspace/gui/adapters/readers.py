"""npe2 readers: every format of `napari_hyperspace.io`, as upright layers in mm."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning, OptionNeededError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import Kind, LayerData, to_layer_data

Paths = str | list[str]

_SNIFFED_FILES = 20


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader of a file, a DICOM folder, or a list of files (one layer each)."""
    first = path if isinstance(path, str) else path[0]
    return read_layers if os.path.exists(first) else None


def read_layers(path: Paths) -> list[LayerData]:
    """Read files into layers; a DICOM folder gives one layer a series.

    Raises
    ------
    HyperspaceError
        If a file is faulty, or holds several volumes.
    """
    from napari_hyperspace import io

    paths = [path] if isinstance(path, str) else path
    try:
        return [layer for one in paths for layer in open_layers(one, io)]
    except OptionNeededError as error:
        # napari's readers cannot ask the user.
        fix = "Open it through the HyperSpace widget, which asks for what is missing"
        raise error.replace(fix=fix) from error


class Source(Protocol):
    """What reads files."""

    def read(self, path: str, **options: Any) -> Volume:
        """Read a volume; see `napari_hyperspace.read`."""

    def list_series(self, folder: str) -> Any:
        """List the DICOM series of a folder; see `napari_hyperspace.io.list_series`."""


def open_layers(path: str, source: Source, **options: Any) -> list[LayerData]:
    """Read a file, or every series of a DICOM folder, into layers.

    A folder without series of its own is taken for a study: those of the folders within it are
    read. Of several layers only the largest is visible. Series that cannot be read are left out
    with a warning, unless there is no other.

    Parameters
    ----------
    path
        A file or a folder.
    source
        What reads it.
    **options
        As for `napari_hyperspace.read`: then one volume is read.

    Raises
    ------
    HyperspaceError
        If nothing can be read.
    """
    if options or not os.path.isdir(path):
        return [layer_data(source.read(path, **options))]
    found = list(_series(Path(path), source))
    if len(found) < 2:
        return [layer_data(source.read(found[0][0] if found else path))]
    volumes, errors = [], []
    for folder, uid in found:
        try:
            volumes.append(source.read(folder, series=uid))
        except HyperspaceError as error:
            errors.append(error)
    if not volumes:
        raise errors[0]
    for error in errors:
        warnings.warn(f"left out: {error}", HyperspaceWarning, stacklevel=2)
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
    except OSError:  # what may not be read
        return False


def _series(folder: Path, source: Source) -> Iterator[tuple[str, str]]:
    """Give (folder, UID) of the series of a folder, or of those within it if it has none."""
    own = [one.uid for one in source.list_series(str(folder)) if one.is_image]
    if own:
        yield from ((str(folder), uid) for uid in own)
    else:
        for inner in _inner(folder):
            yield from _series(inner, source)


def _files(folder: Path) -> Iterator[Path]:
    """Give the files of a folder, then those of the folders within it."""
    yield from (one for one in sorted(folder.iterdir()) if one.is_file())
    for inner in _inner(folder):
        yield from _files(inner)


def _inner(folder: Path) -> list[Path]:
    """Return the folders within a folder, without hidden ones and links: those can be circles."""
    found = sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())
    return [one for one in found if not one.name.startswith(".")]


def layer_data(volume: Volume) -> LayerData:
    """Make the layer of a volume that was read: Labels where the file says that it holds labels."""
    return to_layer_data(volume, kind_of(volume))


def kind_of(volume: Volume) -> Kind:
    """Tell a label map from an image by what its file says of it."""
    says_so = volume.metadata.get("is_labels") or volume.metadata.get("label_names")
    return "labels" if says_so else "image"
