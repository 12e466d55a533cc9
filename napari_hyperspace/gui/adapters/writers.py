"""npe2 writers: one image or Labels layer into one file, on the grid of the scan it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_volume


def write_layer(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a layer and check it; return the path.

    Raises
    ------
    HyperspaceError
        If the layer is not 3-D, the path is that of the scan itself, or what was written differs
        from the layer once read back.
    """
    from napari.utils.notifications import show_info

    receipt = write_volume(to_volume(data, attributes), path)
    show_info(str(receipt))
    return [os.fspath(path)]


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> Any:
    """Write a volume unless the path is that of the file it was read from; return the receipt.

    Raises
    ------
    HyperspaceError
        See `write_layer`.
    """
    from napari_hyperspace.io import write

    source = volume.metadata.get("path")
    if source and _same_file(Path(source), Path(path)):
        raise HyperspaceError(
            "this would overwrite the scan itself", where=path, fix="Choose another name"
        )
    return write(volume, path)


def _same_file(a: Path, b: Path) -> bool:
    if a.is_dir():  # a DICOM series: no file of it may be written over
        return a.resolve() in b.resolve().parents
    try:
        return a.samefile(b)
    except OSError:
        return a.resolve() == b.resolve()
