"""What the plug-in does to napari's viewer. Main thread only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.layers import UNITS, LayerData, take

_FROM_THE_FRONT = (0.35, 0.85, -0.4)  # in napari's world: to Inferior, Posterior, Left
_HEAD_UP = (-1.0, 0.0, 0.0)
PREVIEW_MARK = "preview"
PREVIEW_NAME = f"HyperSpace {PREVIEW_MARK}"
# What moves or changes the voxels of a layer, and so makes an older result wrong.
_CHANGES = ("data", "scale", "translate", "rotate", "shear", "affine", "units")


def image_layers(viewer: Any) -> list[Any]:
    """Return the layers that can be segmented: 3-D images of one channel, the topmost first."""
    from napari.layers import Image

    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image) and layer.ndim == 3 and not layer.rgb
    ]


def label_layers(viewer: Any) -> list[Any]:
    """Return the Labels layers that are no previews, the topmost first."""
    from napari.layers import Labels

    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels) and PREVIEW_MARK not in layer.name
    ]


def view_position(viewer: Any) -> tuple[float, float, float]:
    """Return the middle of what is on screen, in the viewer's world (z, y, x)."""
    position = list(viewer.dims.point)[-3:]
    shown = viewer.dims.displayed
    # The camera knows the shown axes alone, in the order in which they are shown.
    for place, center in zip(shown, camera_of(viewer).center[-len(shown) :], strict=True):
        axis = place - (viewer.dims.ndim - 3)
        if axis >= 0:
            position[axis] = center
    z, y, x = (float(value) for value in position)
    return z, y, x


def move_view_to(viewer: Any, position: Sequence[float]) -> None:
    """Bring the view to a position in the viewer's world (z, y, x)."""
    first = viewer.dims.ndim - 3
    for axis, coordinate in enumerate(position, start=first):
        viewer.dims.set_point(axis, coordinate)
    shown = viewer.dims.displayed
    center = list(camera_of(viewer).center)
    for i, axis in enumerate(shown, start=len(center) - len(shown)):
        if axis >= first:
            center[i] = position[axis - first]
    camera_of(viewer).center = center


def show_opened_layer(viewer: Any, layer: Any) -> None:
    """Make a layer that was just opened the active one, and bring the view to it."""
    viewer.layers.selection.active = layer
    viewer.fit_to_view() if hasattr(viewer, "fit_to_view") else viewer.reset_view()
    move_view_to(viewer, layer.extent.world.mean(axis=0)[-3:])


def show_labels_in_3d(viewer: Any, layer: Any) -> list[Any]:
    """Show a Labels layer in three dimensions, from the front and a little from above and aside.

    Images would hide what is inside them: they are switched off, and returned.
    """
    images = [one for one in image_layers(viewer) if one.visible]
    for image in images:
        image.visible = False
    layer.visible = True
    layer.iso_gradient_mode = "smooth"  # the other one shades every voxel by itself
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.dims.ndisplay = 3
    camera_of(viewer).set_view_direction(_FROM_THE_FRONT, _HEAD_UP)
    return images


def camera_of(viewer: Any) -> Any:
    """Return the camera, by its name of napari 0.9 or of before."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def add_layer(viewer: Any, data: LayerData, *, above: Any = None) -> Any:
    """Add a layer, just above another one where there is one."""
    from napari.layers import Layer

    layer = Layer.create(*data)
    with _same_selection(viewer) if PREVIEW_MARK in layer.name else _nothing():
        if above is not None and above in viewer.layers:
            viewer.layers.insert(viewer.layers.index(above) + 1, layer)
        else:
            viewer.add_layer(layer)
    return layer


class PreviewLayer:
    """The layer of the preview; there is none until one is shown, or once the user removes it.

    Parameters
    ----------
    viewer
        napari's.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None

    def show(self, data: LayerData, *, above: Any, sharp: bool) -> None:
        """Show a block: of the same scan, placed alike, and by the same model, until `remove`."""
        if self._layer in self._viewer.layers:
            self._layer.data = data[0]
            self._layer.translate = data[1]["translate"]
        else:
            self._layer = add_layer(self._viewer, data, above=above)
            self._layer.opacity = 0.6
        self._layer.metadata = {"sharp": sharp}

    def remove(self) -> None:
        """Take it away."""
        layer, self._layer = self._layer, None
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def set_layer_spacing(layer: Any, spacing_mm: Triple) -> None:
    """Give a 3-D image layer another spacing (z, y, x); how its axes run and its affine stay.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    if take(layer).placement.note:  # its units have no length: its scale is taken as mm
        layer.units = UNITS
    # The scale holds only a part of the spacing: an affine stretches too. It may be negative.
    present = take(layer).placement.layer_grid.spacing_mm
    layer.scale = layer.scale * (np.asarray(spacing_mm) / present)


def hide_values(colormap: Any, values: Iterable[int], hidden: Iterable[int]) -> Any:
    """Return the colors of these label values, with some of them transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    known = {None: "transparent", 0: "transparent", **getattr(colormap, "color_dict", {})}
    known |= {value: colormap.map(value) for value in values}
    known |= {value: (*colormap.map(value)[:3], 0.0) for value in hidden}
    return DirectLabelColormap(color_dict=known)


def watch_layer(layer: Any, callback: Any, *more: str) -> None:
    """Call back whenever the voxels of a layer change or move, and at more events, by name."""
    for name in (*_CHANGES, *more):
        getattr(layer.events, name).connect(callback)


def unwatch_layer(layer: Any, callback: Any, *more: str) -> None:
    """Undo `watch_layer`."""
    for name in (*_CHANGES, *more):
        getattr(layer.events, name).disconnect(callback)


@contextmanager
def _same_selection(viewer: Any) -> Iterator[None]:
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    yield
    viewer.layers.selection = selected
    viewer.layers.selection.active = active


@contextmanager
def _nothing() -> Iterator[None]:
    yield
