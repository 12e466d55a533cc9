"""Layers that the user paints and draws on. Main thread only."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.structures import LABEL_COLORS
from napari_hyperspace.core.volume import VolumeMetadata
from napari_hyperspace.gui.adapters.grid_view import covers, scan_of
from napari_hyperspace.gui.adapters.label_attributes import label_attributes
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, OPACITY, RESULT_KEY, take
from napari_hyperspace.gui.adapters.viewer import VIEW_KEY, add_layer, label_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Shapes

BRUSH_MM = 5.0
"""Diameter of the brush on a new layer."""

_LARGEST_BRUSH = 40  # voxels; larger ones are slow
_BOX_NAME = "box to refine"


def painting_layer(viewer: ViewerModel, scan: Image) -> Labels:
    """Return the layer to paint a structure on: the active one, or a new one.

    A result of a model is not painted on: the first value of its labels is a structure already.
    """
    active = viewer.layers.selection.active
    if (
        active in label_layers(viewer)
        and "model" not in active.metadata.get(RESULT_KEY, {})
        and covers(scan, active)
        and isinstance(active.data, np.ndarray)
    ):
        return active
    source = take(scan)
    attributes = source.placed(f"painted · {scan.name}")
    attributes |= label_attributes({}, dict(enumerate(LABEL_COLORS, start=1)))
    attributes["opacity"] = OPACITY
    attributes["metadata"] = {**attributes["metadata"], IMAGE_KEY: weakref.ref(scan)}
    layer = add_layer(viewer, (np.zeros(np.shape(source.data), np.uint8), attributes, "labels"))
    step = min(source.placement.layer_grid.spacing_mm)
    layer.brush_size = min(max(round(BRUSH_MM / step), 1), _LARGEST_BRUSH)
    return layer


def scan_under(viewer: ViewerModel, labels: Labels) -> Image:
    """Return the scan that labels lie on.

    Raises
    ------
    HyperspaceError
        If there is none, or the labels cannot be corrected.
    """
    if not isinstance(labels.data, np.ndarray) or getattr(labels, "multiscale", False):
        raise HyperspaceError(
            "these labels are not in memory", where=labels.name, fix="Duplicate the layer first"
        )
    scan = scan_of(viewer, labels) if labels.ndim == 3 else None
    if scan is None or not covers(scan, labels):
        raise HyperspaceError(
            "these labels are not on the grid of a scan",
            where=labels.name,
            fix="Open the scan that they belong to",
        )
    return scan


def take_up_brush(viewer: ViewerModel, layer: Labels) -> None:
    """Make the user paint on a layer, with the label value that is selected there."""
    layer.visible = True
    viewer.layers.selection.active = layer
    layer.selected_label = max(layer.selected_label, 1)
    layer.mode = "paint"


def put_down_brush(layer: Labels) -> None:
    """Let the mouse move the view again."""
    if str(layer.mode) in ("paint", "erase", "fill", "polygon"):
        layer.mode = "pan_zoom"


def depth_axis(viewer: ViewerModel) -> int:
    """Return the axis of a 3-D layer that is not displayed."""
    return max(0, int(viewer.dims.order[0]) - (int(viewer.dims.ndim) - 3))


def drawing_layer(viewer: ViewerModel, scan: Image) -> Shapes:
    """Return a Shapes layer in which the next drag draws a rectangle around a part of a scan."""
    from napari.layers import Shapes

    found = [one for one in viewer.layers if one.metadata.get(VIEW_KEY) == _BOX_NAME]
    if found:
        layer = found[0]
        layer.data = []
    else:
        placed: dict[str, Any] = take(scan).placed(_BOX_NAME)
        placed["metadata"] = {VIEW_KEY: _BOX_NAME}
        layer = Shapes(
            ndim=3, edge_color="#f0e442", face_color="transparent", edge_width=1, **placed
        )
        viewer.add_layer(layer)
    layer.visible = True
    viewer.layers.selection.active = layer
    layer.mode = "add_rectangle"
    return layer


def facts_of(layer: Labels) -> VolumeMetadata:
    """Return what a result was made with; empty if the layer is not one."""
    facts: VolumeMetadata = layer.metadata.get(RESULT_KEY, VolumeMetadata())
    return facts
