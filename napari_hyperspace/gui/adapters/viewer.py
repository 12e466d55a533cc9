"""What the plug-in reads from and changes in napari's viewer. Main thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, LayerData, take
from napari_hyperspace.gui.adapters.voxels import value_range

if TYPE_CHECKING:
    from napari.components import Camera, ViewerModel
    from napari.components.grid import GridCanvas
    from napari.layers import Image, Labels, Layer
    from napari.utils.colormaps import Colormap

PREVIEW_MARK = "preview"
"""A Labels layer with this in its name is a preview."""
VIEW_KEY = "hyperspace_view"
"""Key of the metadata of layers that only belong to a view: neither scans nor results."""

_VIEW_DIRECTION = (0.35, 0.85, -0.4)  # in napari's world (z, y, x): from the front, a little above
_UP_DIRECTION = (-1.0, 0.0, 0.0)  # Superior
# Events of a layer after which a segmentation no longer belongs to it.
_CHANGES = ("data", "scale", "translate", "rotate", "shear", "affine", "units")


def image_layers(viewer: ViewerModel) -> list[Image]:
    """Return the layers that can be segmented: 3-D images of one channel, the topmost first."""
    from napari.layers import Image

    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image)
        and layer.ndim == 3
        and not layer.rgb
        and VIEW_KEY not in layer.metadata
    ]


def unsuitable_images(viewer: ViewerModel) -> list[tuple[str, int, bool]]:
    """Return (name, dimensions, whether RGB) of the images that cannot be segmented, topmost first.

    Images of the plug-in itself are left out.
    """
    from napari.layers import Image

    suitable = image_layers(viewer)
    return [
        (layer.name, layer.ndim, bool(layer.rgb))
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image) and layer not in suitable and VIEW_KEY not in layer.metadata
    ]


def label_layers(viewer: ViewerModel) -> list[Labels]:
    """Return the Labels layers without previews, the topmost first."""
    from napari.layers import Labels

    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels)
        and PREVIEW_MARK not in layer.name
        and VIEW_KEY not in layer.metadata
    ]


def is_of_view(event: Any) -> bool:
    """Whether an event of the list is about a layer that only belongs to a view."""
    return VIEW_KEY in getattr(getattr(event, "value", None), "metadata", {})


def view_position(viewer: ViewerModel) -> Triple:
    """Return the center of the view, in the viewer's world (z, y, x)."""
    position = list(viewer.dims.point)[-3:]
    shown = viewer.dims.displayed
    # The camera's center has the shown axes only, in the order in which they are shown.
    for place, center in zip(shown, camera_of(viewer).center[-len(shown) :], strict=True):
        axis = place - (viewer.dims.ndim - 3)
        if axis >= 0:
            position[axis] = center
    z, y, x = (float(value) for value in position)
    return z, y, x


def move_view_to(viewer: ViewerModel, position: Sequence[float]) -> None:
    """Center the view on a position in the viewer's world (z, y, x)."""
    first = viewer.dims.ndim - 3
    for axis, coordinate in enumerate(position, start=first):
        viewer.dims.set_point(axis, coordinate)
    shown = viewer.dims.displayed
    center = list(camera_of(viewer).center)
    for i, axis in enumerate(shown, start=len(center) - len(shown)):
        if axis >= first:
            center[i] = position[axis - first]
    camera_of(viewer).center = center


def show_opened_layer(viewer: ViewerModel, layer: Image) -> None:
    """Show a scan that was just opened, and no other one; center the view on it."""
    limits, ends = tuple(layer.contrast_limits), value_range(take(layer).data)
    if ends is not None:  # the slider in napari's panel would end at the limits
        layer.contrast_limits_range = (min(ends[0], limits[0]), max(ends[1], limits[1]))
    show_scan(viewer, layer)
    fit_to_view(viewer, layer)
    move_view_to(viewer, layer.extent.world.mean(axis=0)[-3:])


def show_scan(viewer: ViewerModel, layer: Layer) -> None:
    """Show and select a scan; hide other scans and what was made from them.

    The view is moved if the scan lies outside of it.
    """
    for other in image_layers(viewer):
        if other is not layer:
            other.visible = False
            hide_results(viewer, other)
    layer.visible = True
    viewer.layers.selection.active = layer
    low, high = layer.extent.world[:, -3:]
    if not ((low <= view_position(viewer)) & (view_position(viewer) <= high)).all():
        fit_to_view(viewer, layer)
        move_view_to(viewer, (low + high) / 2)


def show_labels_in_3d(viewer: ViewerModel, layer: Labels) -> list[Image]:
    """Show a Labels layer in three dimensions, from the front and a little from above and the side.

    Images would hide the labels inside them: the visible ones are made invisible and returned.
    """
    images = [one for one in image_layers(viewer) if one.visible]
    for image in images:
        image.visible = False
    layer.visible = True
    layer.iso_gradient_mode = "smooth"  # the default mode shades every voxel separately
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.dims.ndisplay = 3
    camera_of(viewer).set_view_direction(_VIEW_DIRECTION, _UP_DIRECTION)
    return images


def camera_of(viewer: ViewerModel) -> Camera:
    """Return the camera; napari 0.9 moved it to the scene."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def grid_of(viewer: ViewerModel) -> GridCanvas:
    """Return the settings of the grid of layers; napari 0.9 moved them to the canvas."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid


def fit_to_view(viewer: ViewerModel, layer: Layer | None = None) -> None:
    """Center all layers and fill the canvas with them; or with one of them, which may be smaller.

    napari fits hidden layers too: a small scan opened beside a whole head would stay small.
    """
    viewer.fit_to_view() if hasattr(viewer, "fit_to_view") else viewer.reset_view()
    if layer is None:
        return
    shown = [axis - viewer.dims.ndim for axis in viewer.dims.displayed]
    everything, own = (np.ptp(each.extent.world, axis=0) for each in (viewer.layers, layer))
    ratios = [everything[axis] / own[axis] for axis in shown if own[axis] > 0]
    camera_of(viewer).zoom *= float(min(ratios, default=1.0))


def add_layer(viewer: ViewerModel, data: LayerData) -> Layer:
    """Add a layer on top. Adding a preview does not change which layers are selected."""
    from napari.layers import Layer

    layer = Layer.create(*data)
    selection: AbstractContextManager[None] = nullcontext()
    if PREVIEW_MARK in layer.name:
        selection = _same_selection(viewer)
    with selection:
        viewer.add_layer(layer)
    return layer


def results_of(viewer: ViewerModel, scan: Layer) -> list[Labels]:
    """Return the Labels layers that were made from an image of the viewer, the topmost first."""
    return [layer for layer in label_layers(viewer) if scan_made_from(layer) is scan]


def labels_of(viewer: ViewerModel, scan: Layer | None) -> list[Labels]:
    """Return the Labels layers that may be of an image, the topmost first.

    They were made from it, or it is not known what they were made from. `None`: all of them.
    """
    layers = label_layers(viewer)
    if scan is None:
        return layers
    return [layer for layer in layers if scan_made_from(layer) in (None, scan)]


def scan_made_from(labels: Layer) -> Layer | None:
    """Return the image that a layer was made from; `None` if not known, or if it was deleted."""
    made_from = labels.metadata.get(IMAGE_KEY)
    return None if made_from is None else cast("Layer | None", made_from())


def hide_results(viewer: ViewerModel, scan: Layer) -> list[Labels]:
    """Hide what was made from an image: two label maps on each other cannot be told apart.

    Returns
    -------
    list of Labels
        Those that were visible, the topmost first.
    """
    shown = [layer for layer in results_of(viewer, scan) if layer.visible]
    for layer in shown:
        layer.visible = False
    return shown


class PreviewLayer:
    """The layer of the preview. It is added with the first preview, and again if it was removed.

    Results of the scan are hidden while there is a preview.

    Parameters
    ----------
    viewer
        The viewer that shows it.
    later
        Calls a function once napari has done what it is doing. While napari removes layers, it
        goes through a list that it made before: nothing else may be removed meanwhile.
    """

    def __init__(self, viewer: ViewerModel, later: Callable[[Callable[[], None]], None]) -> None:
        self._viewer = viewer
        self._later = later
        self._layer: Labels | None = None
        self._hidden: list[Labels] = []
        self._unwanted: list[Labels] = []
        self._napari_removes = False
        viewer.layers.events.removing.connect(self._removing)

    def show(self, data: LayerData, *, scan: Layer, sharp: bool) -> None:
        """Show a block. Until `remove`, all blocks are of the same scan and the same model.

        Parameters
        ----------
        data
            The block's Labels layer.
        scan
            The layer of the scan.
        sharp
            Whether the labels were computed at the working spacing; kept in the layer's metadata.
        """
        if self._layer is not None and self._layer in self._viewer.layers:
            self._layer.data = data[0]
            self._layer.translate = data[1]["translate"]
            self._layer.name = data[1]["name"]
        else:
            self._hidden += hide_results(self._viewer, scan)
            self._layer = add_layer(self._viewer, data)
            self._layer.bounding_box.visible = True  # outside of the block there are no labels
            self._layer.bounding_box.points = False
        self._layer.metadata = {"sharp": sharp}

    def remove(self) -> None:
        """Remove the layer, if there is one; after napari's own removal of layers, if one is on."""
        layer, self._layer = self._layer, None
        if layer is None:
            return
        self._unwanted.append(layer)
        if not self._napari_removes:
            self._remove_unwanted()

    def close(self) -> None:
        """Disconnect from the viewer; the layer stays."""
        self._viewer.layers.events.removing.disconnect(self._removing)
        self._unwanted.clear()

    def _removing(self, event: Any = None) -> None:
        if not self._napari_removes:
            self._napari_removes = True
            self._later(self._removed)

    def _removed(self) -> None:
        self._napari_removes = False
        self._remove_unwanted()

    def _remove_unwanted(self) -> None:
        layers, self._unwanted = self._unwanted, []
        hidden, self._hidden = self._hidden, []
        for result in hidden:
            result.visible = True
        with self._viewer.layers.events.removing.blocker(self._removing):
            for layer in layers:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)


def hide_values(colormap: Colormap, values: Iterable[int], hidden: Iterable[int]) -> Colormap:
    """Return a colormap in which some of these label values are transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    known = {None: "transparent", 0: "transparent", **getattr(colormap, "color_dict", {})}
    known |= {value: colormap.map(value) for value in values}
    known |= {value: (*colormap.map(value)[:3], 0.0) for value in hidden}
    return DirectLabelColormap(color_dict=known)


def watch_layer(layer: Layer, callback: Callable[[Any], None], *more: str) -> None:
    """Call back with the event when the voxels of a layer change or move, and on ``more`` events.

    Parameters
    ----------
    layer
        The layer.
    callback
        A bound method; napari keeps a weak reference to its object.
    *more
        Names of further events of the layer.
    """
    for name in (*_CHANGES, *more):
        getattr(layer.events, name).connect(callback)


def unwatch_layer(layer: Layer, callback: Callable[[Any], None], *more: str) -> None:
    """Undo `watch_layer` with the same arguments."""
    for name in (*_CHANGES, *more):
        getattr(layer.events, name).disconnect(callback)


@contextmanager
def _same_selection(viewer: ViewerModel) -> Iterator[None]:
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    yield
    viewer.layers.selection = selected
    viewer.layers.selection.active = active
