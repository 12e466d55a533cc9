"""Axial, coronal and sagittal views of the same layers. Main thread only; needs napari 0.9.

napari's window has one canvas. Two further viewer models show the other planes: they have copies of
the layers that share the arrays, follow the changes of the originals, and are never saved.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.gui.adapters.orientation import EdgeLetters, axis_ends
from napari_hyperspace.gui.adapters.viewer import VIEW_KEY, camera_of, unwatch_layer, watch_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

_AXIAL, _CORONAL, _SAGITTAL = (0, 1, 2), (1, 0, 2), (2, 0, 1)
_PLACED = ("scale", "translate", "rotate", "shear", "affine", "units")
# What the copies take over from their originals, by type of layer.
_SHOWN = ("visible", "opacity", "blending", "colormap")
_FOLLOWED = {
    "Image": (*_SHOWN, "contrast_limits", "gamma", "interpolation2d"),
    "Labels": (*_SHOWN, "contour", "features", "selected_label", "show_selected_label"),
}
_PAINTED = ("paint", "labels_update")  # events after which the shared array has other values
_CROSS_NAME = "cross-hair"
_CROSS_COLOR = "#f0b429"
_CROSS_PIXELS = 1.5  # width of the lines on the screen
_CROSS_GAP = 0.03  # of the largest field of view, left free around the position
_CLICK_PIXELS = 4  # movement of the mouse up to which a press and a release are a click


class ThreePlanes:
    """Shows the main viewer's layers in three planes that meet in one position.

    Parameters
    ----------
    viewer
        The main viewer; it shows the axial plane.
    scan
        The image whose axes are named, and whose voxels the position moves over.
    later
        Calls a function from the event loop: moves of a slider that follow each other quickly are
        followed by the other views once.

    Attributes
    ----------
    coronal, sagittal
        The models of the two other views.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """

    def __init__(
        self, viewer: ViewerModel, scan: Image, later: Callable[[Callable[[], None]], None]
    ) -> None:
        from napari.components import ViewerModel

        ends = axis_ends(scan)
        self._viewer = viewer
        self._scan = scan
        self._later = later
        self._moving = False
        self._moved_by: ViewerModel | None = (
            None  # a view whose slider the others do not follow yet
        )
        self._before = (
            *(viewer.dims.order, viewer.dims.ndisplay, _scale_bar(viewer).visible),
            *(camera_of(viewer).zoom, camera_of(viewer).center),
        )
        self.coronal, self.sagittal = ViewerModel(title="coronal"), ViewerModel(title="sagittal")
        self._copies = [_Copies(viewer, model) for model in (self.coronal, self.sagittal)]
        viewer.dims.ndisplay = 2
        viewer.dims.order = (*range(viewer.dims.ndim - 3), *_last(viewer, _AXIAL))
        self.coronal.dims.order, self.sagittal.dims.order = _CORONAL, _SAGITTAL
        models = (viewer, self.coronal, self.sagittal)
        self._letters = [EdgeLetters(model, ends) for model in models]
        self._crosses = [_CrossHair(model, scan) for model in models]
        for model in models:
            _scale_bar(model).visible = True
            model.dims.events.point.connect(self._moved)
            model.mouse_drag_callbacks.append(self._clicked)
        viewer.events.theme.connect(self._follow_theme)
        self._follow_theme()
        self.move_to(viewer.dims.point[-3:])

    def close(self) -> None:
        """Show the single view as it was before; the position stays."""
        viewer = self._viewer
        viewer.events.theme.disconnect(self._follow_theme)
        for model in (viewer, self.coronal, self.sagittal):
            model.dims.events.point.disconnect(self._moved)
            model.mouse_drag_callbacks.remove(self._clicked)
        # The two other views are not used again: nothing is drawn on their canvases any more.
        self._crosses[0].close()
        self._letters[0].close()
        for copies in self._copies:
            copies.close()
        self._moved_by = None
        order, ndisplay, scale_bar, zoom, center = self._before
        _scale_bar(viewer).visible = scale_bar
        if len(order) == viewer.dims.ndim:
            viewer.dims.order = order
        viewer.dims.ndisplay = ndisplay
        camera_of(viewer).zoom, camera_of(viewer).center = zoom, center

    def move_to(self, position: Sequence[float]) -> None:
        """Show the planes through the voxel at a position in the world (z, y, x)."""
        index = np.round(self._scan.world_to_data(position))
        voxel = np.clip(index, 0, np.subtract(_shape(self._scan), 1))
        self._show(self._scan.data_to_world(voxel))

    def _show(self, position: Sequence[float]) -> None:
        self._moving = True
        try:
            for model in (self._viewer, self.coronal, self.sagittal):
                dims = model.dims
                if dims.ndim >= 3:
                    dims.set_point(range(dims.ndim - 3, dims.ndim), tuple(position))
            for cross in self._crosses:
                cross.show(position)
        finally:
            self._moving = False

    def _moved(self, event: Any) -> None:
        """Follow the slider of one of the views."""
        if self._moving or event.source.ndim < 3:
            return
        waiting = self._moved_by is not None
        self._moved_by = self._of(event.source)
        if not waiting:
            self._later(self._follow)

    def _of(self, dims: Any) -> ViewerModel:
        models = (self._viewer, self.coronal, self.sagittal)
        return next(model for model in models if model.dims is dims)

    def _follow(self) -> None:
        model, self._moved_by = self._moved_by, None
        if model is not None:
            self._show(model.dims.point[-3:])

    def _clicked(self, model: ViewerModel, event: Any) -> Generator[None, None, None]:
        """Move to where the user clicks; dragging pans, and painting paints."""
        active = model.layers.selection.active
        mode = str(getattr(active, "mode", "pan_zoom"))
        if event.button != 1 or event.modifiers or model.dims.ndisplay != 2 or mode != "pan_zoom":
            return
        pressed = np.asarray(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos) - pressed).max() <= _CLICK_PIXELS:
            self.move_to(event.position[-3:])

    def _follow_theme(self, event: Any = None) -> None:
        for model in (self.coronal, self.sagittal):
            model.theme = self._viewer.theme


class _CrossHair:
    """Lines along the three axes through a position, in one viewer."""

    def __init__(self, viewer: ViewerModel, scan: Image) -> None:
        from napari.layers import Vectors

        self._viewer = viewer
        low, high = scan.extent.world[:, -3:]
        self._low, self._high = low, high
        # One scale for all axes, so that all lines have the same width; none finer than that of the
        # scan, which would make the steps of the sliders finer.
        self._scale = float(np.abs(scan.extent.step[-3:]).max())
        self._gap = max(_CROSS_GAP * float((high - low).max()), self._scale)
        self._layer = Vectors(
            self._vectors((low + high) / 2),
            name=_CROSS_NAME,
            scale=(self._scale,) * 3,
            units=scan.units[-3:],
            vector_style="line",
            edge_color=_CROSS_COLOR,
            opacity=0.8,
            metadata={VIEW_KEY: True},
        )
        self._layer.editable = False
        self._follow_zoom()
        camera_of(viewer).events.zoom.connect(self._follow_zoom)
        selected, active = set(viewer.layers.selection), viewer.layers.selection.active
        viewer.layers.append(self._layer)
        viewer.layers.selection = selected
        if active is not None:
            viewer.layers.selection.active = active

    def show(self, position: Sequence[float]) -> None:
        """Move to a position in the world."""
        self._layer.data = self._vectors(np.asarray(position, dtype=np.float64))

    def close(self) -> None:
        """Remove the lines."""
        camera_of(self._viewer).events.zoom.disconnect(self._follow_zoom)
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def _vectors(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the start and the length of the lines (6, 2, 3)."""
        place = np.clip(position, self._low, self._high)
        lines = np.zeros((6, 2, 3))
        for axis in range(3):
            first, second = lines[2 * axis], lines[2 * axis + 1]
            first[0], second[0] = place, place
            first[0, axis] = self._low[axis]
            first[1, axis] = max(place[axis] - self._gap - self._low[axis], 0)
            second[0, axis] = min(place[axis] + self._gap, self._high[axis])
            second[1, axis] = self._high[axis] - second[0, axis]
        return lines / self._scale

    def _follow_zoom(self, event: Any = None) -> None:
        self._layer.edge_width = _CROSS_PIXELS / (camera_of(self._viewer).zoom * self._scale)


class _Copies:
    """Copies of the main viewer's 3-D images and labels in another viewer model."""

    def __init__(self, viewer: ViewerModel, model: ViewerModel) -> None:
        self._viewer = viewer
        self._model = model
        self._followers: dict[Layer, _Follower] = {}
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)
        for emitter in self._emitters:
            emitter.connect(self._update)
        self._update()

    def close(self) -> None:
        """Follow the main viewer no more."""
        for emitter in self._emitters:
            emitter.disconnect(self._update)
        for follower in self._followers.values():
            follower.close()
        self._followers.clear()

    def _update(self, event: Any = None) -> None:
        originals = [
            layer
            for layer in self._viewer.layers
            if type(layer).__name__ in _FOLLOWED and layer.ndim == 3
        ]
        layers = self._model.layers
        for layer in [layer for layer in self._followers if layer not in originals]:
            follower = self._followers.pop(layer)
            follower.close()
            layers.remove(follower.copy)
        for i, layer in enumerate(originals):
            if layer not in self._followers:
                self._followers[layer] = _Follower(layer)
                layers.insert(i, self._followers[layer].copy)
            copy = self._followers[layer].copy
            if layers[i] is not copy:
                layers.move(layers.index(copy), i)
        layers.selection.clear()  # the copies are not edited


class _Follower:
    """A copy of a layer that shows the same array, and what changes in the layer."""

    def __init__(self, layer: Layer) -> None:
        from napari.layers import Layer

        data, attributes, kind = layer.as_layer_data_tuple()
        self._layer = layer
        self.copy = Layer.create(data, attributes | {"metadata": {VIEW_KEY: True}}, kind)
        self._setters = {name: self._setter(name) for name in _FOLLOWED[type(layer).__name__]}
        for name, setter in self._setters.items():
            getattr(layer.events, name).connect(setter)
        watch_layer(layer, self._changed)
        for name in _PAINTED:
            if hasattr(layer.events, name):
                getattr(layer.events, name).connect(self._painted)

    def close(self) -> None:
        """Follow the layer no more."""
        for name, setter in self._setters.items():
            getattr(self._layer.events, name).disconnect(setter)
        unwatch_layer(self._layer, self._changed)
        for name in _PAINTED:
            if hasattr(self._layer.events, name):
                getattr(self._layer.events, name).disconnect(self._painted)

    def _setter(self, name: str) -> Callable[[Any], None]:
        def follow(event: Any = None) -> None:
            setattr(self.copy, name, getattr(self._layer, name))

        return follow

    def _changed(self, event: Any = None) -> None:
        """Take over the voxels and their places."""
        if self.copy.data is not self._layer.data:
            self.copy.data = self._layer.data
        for name in _PLACED:
            setattr(self.copy, name, getattr(self._layer, name))

    def _painted(self, event: Any = None) -> None:
        self.copy.refresh()


def _last(viewer: ViewerModel, order: Sequence[int]) -> list[int]:
    """Return the axes of an order of the last three axes of a viewer."""
    return [axis + viewer.dims.ndim - 3 for axis in order]


def _scale_bar(viewer: ViewerModel) -> Any:
    return viewer.canvas.overlays.scale_bar


def _shape(layer: Layer) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(np.shape(data))
