"""Parts of a scan that the user shows: what the canvas shows, or a rectangle. Main thread only.

Boxes are in the array order of the scan's layer, unless stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.layers import LayerData, LayerSource
from napari_hyperspace.gui.adapters.viewer import VIEW_KEY, view_position

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

Box = tuple[slice, slice, slice]

_FLAT = 1.5  # voxels: a rectangle drawn in a slice extends less than this through the slices


def visible_box(
    viewer: ViewerModel, layer: Layer, source: LayerSource, depth_mm: float = 0.0
) -> Box | None:
    """Return the part of a layer that the canvas shows; `None`: the whole layer.

    Through the slices it has a given thickness, or is as thick as the shorter side of what is shown
    (0); it is centered at the shown slice.
    """
    if viewer.dims.ndisplay != 2:
        return None
    corners = np.asarray(layer.corner_pixels, dtype=np.float64)
    low, high = corners[0], corners[1] + 1.0
    depth = _depth_axes(viewer, layer.ndim)
    for axis in depth:
        low[axis] = high[axis] = np.nan
    center = source.world_to_index(view_position(viewer))
    return _filled(low, high, center, source, depth_mm)


def has_shapes(viewer: ViewerModel) -> bool:
    """Whether the user has drawn anything."""
    from napari.layers import Shapes

    return any(isinstance(layer, Shapes) and len(layer.data) > 0 for layer in viewer.layers)


def rectangle_box(viewer: ViewerModel, source: LayerSource, depth_mm: float | None = None) -> Box:
    """Return the box of the selected shapes, or else of the last one, of a Shapes layer.

    The layer is the active one, or else the topmost. A shape that lies in a slice gets the same
    thickness as in `visible_box`: centered at the slice of the shape if ``depth_mm`` is given, else
    at the shown one.

    Raises
    ------
    HyperspaceError
        If there is no shape, or it lies outside the scan.
    """
    from napari.layers import Shapes

    found = [one for one in reversed(viewer.layers) if isinstance(one, Shapes) and len(one.data)]
    active = viewer.layers.selection.active
    layer = active if active in found else next(iter(found), None)
    if layer is None:
        raise HyperspaceError(
            "there is no rectangle",
            fix="Add a Shapes layer and draw a rectangle around the part to segment",
        )
    chosen = sorted(layer.selected_data) or [len(layer.data) - 1]
    position = view_position(viewer)
    corners = []
    for index in chosen:
        for vertex in np.asarray(layer.data[index], dtype=np.float64):
            world = np.asarray(layer.data_to_world(vertex), dtype=np.float64)
            corners.append(source.world_to_index([*position[: 3 - world.size], *world[-3:]]))
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    flat = high - low < _FLAT
    center = source.world_to_index(position)
    if depth_mm is not None:
        center[flat] = ((low + high) / 2)[flat]
    low[flat] = high[flat] = np.nan
    return _filled(low, high, center, source, depth_mm or 0.0)


def box_of_volume(box: Box, source: LayerSource) -> Box:
    """Return a box of a layer in the array order of its file."""
    orientation, shape = source.placement.orientation, np.shape(source.data)
    turned = [
        slice(n - one.stop, n - one.start) if flip else one
        for one, n, flip in zip(box, shape, orientation.flips, strict=True)
    ]
    a, b, c = orientation.values_from_canonical(turned)
    return a, b, c


def stability_layer_data(source: LayerSource, share: NDArray[np.float32], name: str) -> LayerData:
    """Return the Image layer of a stability map: bright where spacings disagree, else nothing.

    Parameters
    ----------
    source
        The layer of the scan.
    share
        Share of the spacings that agree on each voxel, in the order of the scan's file.
    name
        Name of the layer.
    """
    from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

    attributes = source.placed(name)
    attributes["metadata"] = {**attributes["metadata"], VIEW_KEY: "stability"}
    data = np.ascontiguousarray(source.placement.orientation.to_canonical(share))
    attributes |= {
        # Where all agree (1) it adds black, that is nothing, to what is beneath.
        "colormap": Colormap(AVAILABLE_COLORMAPS["inferno"].colors[::-1], name="stability"),
        "blending": "additive",
        "contrast_limits": (0.3, 1.0),
    }
    return data, attributes, "image"


def uncertainty_layer_data(source: LayerSource, doubt: NDArray[np.float32], name: str) -> LayerData:
    """Return the Image layer of an uncertainty: bright where it is high, else nothing.

    Parameters
    ----------
    source
        The layer of the scan.
    doubt
        Uncertainty of each voxel, 0 to 1, in the order of the scan's file.
    name
        Name of the layer.
    """
    attributes = source.placed(name)
    attributes["metadata"] = {**attributes["metadata"], VIEW_KEY: "uncertainty"}
    data = np.ascontiguousarray(source.placement.orientation.to_canonical(doubt))
    attributes |= {
        "colormap": "inferno",
        "blending": "additive",
        "contrast_limits": (0.0, 0.7),
    }
    return data, attributes, "image"


def _depth_axes(viewer: ViewerModel, ndim: int) -> list[int]:
    """Return the axes of a layer that are not displayed."""
    first = viewer.dims.ndim - ndim
    return [axis for axis in range(ndim) if axis + first not in viewer.dims.displayed]


def _filled(
    low: NDArray[Any],
    high: NDArray[Any],
    center: NDArray[np.float64],
    source: LayerSource,
    depth_mm: float,
) -> Box:
    """Return a box whose unknown ends (NaN) are around a center, and rounded outward."""
    steps = np.asarray(source.placement.layer_grid.spacing_mm)
    sides = (high - low) * steps
    known = sides[~np.isnan(sides)]
    thickness = depth_mm or (float(known.min()) if known.size else 0.0)
    ends = []
    for axis, n in enumerate(np.shape(source.data)):
        start, stop = low[axis], high[axis]
        if np.isnan(start):
            half = thickness / steps[axis] / 2
            start, stop = center[axis] + 0.5 - half, center[axis] + 0.5 + half
        start, stop = max(0, int(np.floor(start))), min(n, int(np.ceil(stop)))
        if stop <= start:
            raise HyperspaceError(
                "this part lies outside the scan",
                where=source.name,
                fix="Move the view, or draw the rectangle on the scan",
            )
        ends.append(slice(start, stop))
    a, b, c = ends
    return a, b, c
