"""Left and right of structures that have one label for both sides of the body."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.labels.midplane import Plane, mid_sagittal_plane
from napari_hyperspace.core.structures import value_on_side
from napari_hyperspace.core.volume import Laterality, Side, Volume, VolumeMetadata

__all__ = ["DividedLabels", "colors_of_sides", "describe_sides", "divide_sides"]

_SIDES: tuple[Side, Side] = ("left", "right")
_LIGHT = 0.5  # lightness above which the color of the right side is darker, else it is lighter
_SHADE = 0.45  # how far it is from that of the left side to black or white


@dataclass(frozen=True, eq=False)
class DividedLabels:
    """Labels whose paired structures are divided into left and right, or why they are not.

    Parameters
    ----------
    array
        The labels.
    reason
        Why nothing was divided; empty if something was.
    """

    array: NDArray[Any]
    reason: str = ""


def divide_sides(labels: Volume, sides: Mapping[int, Laterality]) -> DividedLabels:
    """Divide the labels of both sides at the mid-sagittal plane.

    Parameters
    ----------
    labels
        Whole numbers, 0 for the background.
    sides
        Sides of the label values; those that are paired are divided.

    Returns
    -------
    DividedLabels
        Values as `value_on_side` returns; other labels are unchanged.
    """
    paired = [value for value, one in sides.items() if one.paired]
    if not paired:
        return DividedLabels(labels.array, "no label contains the structures of both sides")
    if not np.isin(labels.array, paired).any():
        return DividedLabels(labels.array, "no structure of both sides was found")
    one_sided = {value for value, one in sides.items() if one.side is not None}
    plane = mid_sagittal_plane(labels, one_sided)
    if plane is None:
        return DividedLabels(labels.array, "the labels are not symmetric about any plane")
    return DividedLabels(_divided(labels, paired, plane))


def _divided(labels: Volume, paired: list[int], plane: Plane) -> NDArray[Any]:
    """Return the labels with new values for those that are paired, plane by plane."""
    largest = max(int(labels.array.max()), *(value_on_side(value, "right") for value in paired))
    dtype = np.promote_types(labels.dtype, np.min_scalar_type(largest))
    # The distance from the plane is linear in the array index.
    steps = np.array(plane.normal) @ labels.affine[:3, :3]
    origin = float(plane.distance(labels.affine[:3, 3]))
    across = steps[1] * np.arange(labels.shape[1])[:, None] + steps[2] * np.arange(labels.shape[2])
    divided = labels.array.astype(dtype)
    for index, values in enumerate(divided):
        inside = np.isin(values, paired)
        right = across > -(origin + steps[0] * index)
        for side, there in (("left", ~right), ("right", right)):
            values[inside & there] += value_on_side(0, cast(Side, side))
    return divided


def describe_sides(metadata: VolumeMetadata) -> VolumeMetadata:
    """Return the names, colors and sides of divided labels instead of those of both sides.

    Parameters
    ----------
    metadata
        Of a label map, before its labels are divided.
    """
    known = metadata.get("label_sides", {})
    names = dict(metadata.get("label_names", {}))
    colors = dict(metadata.get("label_colors", {}))
    sides = dict(known)
    for value in (value for value, one in known.items() if one.paired):
        name, color, laterality = names.pop(value, ""), colors.pop(value, ""), sides.pop(value)
        shades = colors_of_sides(color) if color else ("", "")
        for side, shade in zip(_SIDES, shades, strict=True):
            there = value_on_side(value, side)
            sides[there] = Laterality(side, laterality.structure)
            if name:
                names[there] = f"{side} {name}"
            if shade:
                colors[there] = shade
    described: VolumeMetadata = {**metadata, "label_sides": sides}
    if names:
        described["label_names"] = names
    if colors:
        described["label_colors"] = colors
    return described


def colors_of_sides(color: str) -> tuple[str, str]:
    """Return colors of the left and the right part of a structure: the same one, and a shade of it.

    Parameters
    ----------
    color
        Of the whole structure, "#rrggbb".
    """
    red, green, blue = (part / 255 for part in bytes.fromhex(color[1:7]))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    target = 0.0 if lightness > _LIGHT else 1.0
    shade = colorsys.hls_to_rgb(hue, lightness + _SHADE * (target - lightness), saturation)
    return color.lower(), "#" + "".join(f"{round(255 * part):02x}" for part in shade)
