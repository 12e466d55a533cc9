"""npe2 readers: every format of `napari_hyperspace.io`, as upright layers in mm."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.convert import Kind, LayerData, to_layer_data

Paths = str | list[str]

# How the readers' errors name the option that is the way out.
_QUESTIONS = {
    "spacing_mm": "spacing_mm",
    "series": "series=",
    "volume": "volume=",
    "fill": "with fill",
}


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
    paths = [path] if isinstance(path, str) else path
    return [layer_data(volume) for one in paths for volume in _read_all(Path(one))]


def layer_data(volume: Volume) -> LayerData:
    """Make the layer of a volume that was read: Labels where the file says that it holds labels."""
    return to_layer_data(volume, kind_of(volume))


def kind_of(volume: Volume) -> Kind:
    """Tell a label map from an image by what its file says of it."""
    says_so = volume.metadata.get("is_labels") or volume.metadata.get("label_names")
    return "labels" if says_so else "image"


def _read_all(path: Path) -> list[Volume]:
    from napari_hyperspace.io import list_series

    if not path.is_dir():
        return [_read(path)]
    series = [one.uid for one in list_series(path) if one.is_image]
    return [_read(path, series=uid) for uid in series] if len(series) > 1 else [_read(path)]


def _read(path: Path, **options: Any) -> Volume:
    from napari_hyperspace.io import read

    try:
        return read(path, **options)
    except HyperspaceError as error:
        if open_question(error) is not None:
            # napari's way of opening files has no room for a question.
            error.fix = "Open it through the HyperSpace widget, which asks for what is missing"
        raise


def open_question(error: HyperspaceError) -> str | None:
    """Return the option of `napari_hyperspace.read` that would let a refused file be read."""
    fix = error.fix or ""
    return next((name for name, sign in _QUESTIONS.items() if sign in fix), None)
