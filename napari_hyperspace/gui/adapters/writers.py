"""npe2 writers: an image or Labels layer is written to a file, on the grid of its scan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_volume

if TYPE_CHECKING:
    from napari_hyperspace.io import Receipt


def write_layer(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a layer, check the file, and return its path. napari calls it.

    Raises
    ------
    HyperspaceError
        If the layer is not 3-D, the path is that of the scan itself, or the file that was written
        differs from the layer.
    """
    from napari.utils.notifications import show_info

    receipt = write_volume(to_volume(data, attributes), path)
    show_info(str(receipt))
    return [os.fspath(path)]


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> Receipt:
    """Write a volume, but never over the file that it was read from.

    Raises
    ------
    HyperspaceError
        See `write_layer`.
    """
    from napari_hyperspace.io import write

    source = volume.metadata.get("path")
    if source and _is_same_file(Path(source), Path(path)):
        raise HyperspaceError(
            "this would overwrite the scan itself", where=path, fix="Choose another name"
        )
    return write(volume, path)


def _is_same_file(source: Path, target: Path) -> bool:
    if source.is_dir():  # a DICOM series: none of its files may be overwritten
        return source.resolve() in target.resolve().parents
    try:
        return source.samefile(target)
    except OSError:
        return source.resolve() == target.resolve()
