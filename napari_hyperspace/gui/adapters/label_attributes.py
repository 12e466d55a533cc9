"""Names, colors and values of labels: in a Labels layer, and in a volume's metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.labels.sides import colors_of_sides
from napari_hyperspace.core.structures import LABEL_COLORS, colors_for
from napari_hyperspace.core.volume import Laterality, VolumeMetadata

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels
    from napari.utils.colormaps import Colormap

_LEAST_COLOR = 0.2  # difference between the channels of a color below which it looks gray
# From linear sRGB to XYZ, relative to the white of D65.
_RGB_TO_XYZ = np.array(
    [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0178, 0.1094, 0.8728]]
)
_UNKNOWN = "#b0b0b0"  # color of values that the model does not have, such as painted ones


def label_attributes(names: Mapping[int, str], colors: Mapping[int, str]) -> dict[str, Any]:
    """Return the attributes of a Labels layer with these label names and colors.

    napari shows the names in its status bar: they are the column "name" of the layer's features.
    A label with a name and without a color gets one of `core.structures.LABEL_COLORS`.
    """
    import pandas as pd
    from napari.utils.colormaps import DirectLabelColormap

    attributes: dict[str, Any] = {}
    if names:
        values = sorted(names)
        attributes["features"] = pd.DataFrame(
            {"index": [0, *values], "name": ["background", *(names[value] for value in values)]}
        )
    if names or colors:
        shown = {**colors_for(names, colors), **colors}
        attributes["colormap"] = DirectLabelColormap(
            color_dict=dict([(None, _UNKNOWN), (0, "transparent"), *shown.items()])
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


def result_metadata(metadata: VolumeMetadata) -> VolumeMetadata:
    """Return what a file says about how its labels were made; empty if it says nothing."""
    result = VolumeMetadata()
    if "record" in metadata:
        result["record"] = metadata["record"]
        result["model"] = metadata["record"].model
        result["working_spacing_mm"] = metadata["record"].spacing_mm
        result["postprocessing"] = metadata.get("postprocessing", ())
        if "label_sides" in metadata:
            result["label_sides"] = metadata["label_sides"]
    return result


def label_names(layer: Labels) -> dict[int, str]:
    """Return the names of the label values of a Labels layer, as far as it has them."""
    return _names(layer.features)


def color_of(colormap: Colormap, value: int) -> str:
    """Return the color of a label value as "#rrggbb"."""
    return _hex(colormap.map(value))


def visible_colors(
    colors: Mapping[int, str], sides: Mapping[int, Laterality] | None = None
) -> dict[int, str]:
    """Return colors that can be seen on a scan, which is gray: grays and white are replaced.

    Each of them becomes the one of `LABEL_COLORS` that looks most different from all other colors.
    The right one of two gray counterparts, as ``sides`` states, becomes a shade of the left one.
    """
    kept = {value: color for value, color in colors.items() if not _is_gray(color)}
    left_of = _left_of(colors.keys() - kept.keys(), sides or {})
    seen = dict(kept)
    for value in sorted(colors.keys() - kept.keys() - left_of.keys()):
        taken = [_lab(color) for color in seen.values()]

        def distance(color: str, taken: Sequence[NDArray[np.float64]] = taken) -> float:
            return min((float(np.linalg.norm(_lab(color) - one)) for one in taken), default=0.0)

        seen[value] = max(LABEL_COLORS, key=distance)
    for right, left in left_of.items():
        seen[right] = colors_of_sides(seen[left])[1]
    return {value: seen[value] for value in colors}


def _left_of(values: Iterable[int], sides: Mapping[int, Laterality]) -> dict[int, int]:
    """Return the left counterpart of each value of a structure on the right."""
    known = {sides[value]: value for value in values if value in sides}
    counterparts = {
        value: known.get(one._replace(side="left"))
        for one, value in known.items()
        if one.side == "right"
    }
    return {right: left for right, left in counterparts.items() if left is not None}


def _is_gray(color: str) -> bool:
    return float(np.ptp(_rgb(color))) < _LEAST_COLOR


def _rgb(color: str) -> NDArray[np.float64]:
    return np.frombuffer(bytes.fromhex(color[1:7]), np.uint8) / 255


def _lab(color: str) -> NDArray[np.float64]:
    """Return a color in CIELAB (D65), in which distances are about those that are seen."""
    rgb = _rgb(color)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = np.cbrt(_RGB_TO_XYZ @ linear)  # of bright colors; dark ones are a little off
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


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
