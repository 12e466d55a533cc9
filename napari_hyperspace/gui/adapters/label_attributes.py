"""Names, colors and values of labels: in a Labels layer, and in a volume's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError

_UNKNOWN = "#b0b0b0"  # values that the model does not have: painted by hand, still to be seen


def label_attributes(names: Mapping[int, str], colors: Mapping[int, str]) -> dict[str, Any]:
    """Make the attributes that show names in the status bar and paint the right colors."""
    import pandas as pd
    from napari.utils.colormaps import DirectLabelColormap

    attributes: dict[str, Any] = {}
    if names:
        values = sorted(names)
        attributes["features"] = pd.DataFrame(
            {"index": [0, *values], "name": ["background", *(names[value] for value in values)]}
        )
    if colors:
        attributes["colormap"] = DirectLabelColormap(
            color_dict={None: _UNKNOWN, 0: "transparent", **colors}
        )
    return attributes


def label_metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Read label names and colors back from the attributes of a Labels layer."""
    colormap = attributes.get("colormap")
    # Only colormaps of Labels layers know a background; napari names no layer type here.
    metadata: dict[str, Any] = {"is_labels": True} if hasattr(colormap, "background_value") else {}
    names = _names(attributes.get("features"))
    if names:
        metadata["label_names"] = names
    color_dict = getattr(colormap, "color_dict", None)
    if color_dict:
        metadata["label_colors"] = {
            int(value): "#" + "".join(f"{round(float(part) * 255):02x}" for part in color[:3])
            for value, color in color_dict.items()
            if value is not None and value != 0
        }
    return metadata


def label_names(layer: Any) -> dict[int, str]:
    """Return the names of the label values of a Labels layer, as far as it knows them."""
    return _names(layer.features)


def painted(colormap: Any, value: int) -> str:
    """Return the color of a label value as "#rrggbb"."""
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in colormap.map(value)[:3])


def _names(features: Any) -> dict[int, str]:
    if features is None or not {"index", "name"} <= set(getattr(features, "columns", ())):
        return {}
    pairs = zip(features["index"], features["name"], strict=True)
    return {int(value): str(name) for value, name in pairs if value != 0}


def whole_numbers(data: NDArray[Any], name: str) -> NDArray[Any]:
    """Return label values as integers, which napari wants.

    Raises
    ------
    HyperspaceError
        If a value is not a whole number.
    """
    if data.dtype.kind in "iu":
        return data
    whole = data.astype(np.int32)
    if not np.array_equal(whole, data):
        raise HyperspaceError(
            "these labels are not whole numbers",
            where=name or None,
            found=f"{int(np.count_nonzero(whole != data))} fractional values",
            fix="Open it as an image",
        )
    return whole
