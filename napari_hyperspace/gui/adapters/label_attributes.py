"""Names, colors and values of labels: in a Labels layer, and in a volume's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import VolumeMetadata

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from napari.utils.colormaps import Colormap

_UNKNOWN = "#b0b0b0"  # color of values that the model does not have, such as painted ones


def label_attributes(names: Mapping[int, str], colors: Mapping[int, str]) -> dict[str, Any]:
    """Return the attributes of a Labels layer with these label names and colors.

    napari shows the names in its status bar: they are the column "name" of the layer's features.
    """
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
            color_dict=dict([(None, _UNKNOWN), (0, "transparent"), *colors.items()])
        )
    return attributes


def label_metadata(attributes: Mapping[str, Any]) -> VolumeMetadata:
    """Return the volume metadata of a layer's attributes: label names and colors, if it has any."""
    metadata = VolumeMetadata()
    colormap = attributes.get("colormap")
    # The attributes do not include the type of the layer, but only the colormaps of Labels layers
    # have a background value.
    if hasattr(colormap, "background_value"):
        metadata["is_labels"] = True
    names = _names(attributes.get("features"))
    if names:
        metadata["label_names"] = names
    color_dict = getattr(colormap, "color_dict", None)
    if color_dict:
        metadata["label_colors"] = {
            int(value): _hex(color)
            for value, color in color_dict.items()
            if value is not None and value != 0
        }
    return metadata


def label_names(layer: Labels) -> dict[int, str]:
    """Return the names of the label values of a Labels layer, as far as it has them."""
    return _names(layer.features)


def color_of(colormap: Colormap, value: int) -> str:
    """Return the color of a label value as "#rrggbb"."""
    return _hex(colormap.map(value))


def _hex(color: NDArray[np.floating[Any]]) -> str:
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in color[:3])


def _names(features: pd.DataFrame | Mapping[str, Any] | None) -> dict[int, str]:
    columns = getattr(features, "columns", ())
    if features is None or not {"index", "name"} <= set(columns):
        return {}
    pairs = zip(features["index"], features["name"], strict=True)
    return {int(value): str(name) for value, name in pairs if value != 0}


def whole_numbers(data: NDArray[Any], name: str) -> NDArray[Any]:
    """Return label values as integers, which Labels layers require.

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
