"""Two label maps of a scan in panes of napari's grid, each over the scan. Main thread only.

napari's grid puts every ``stride`` layers of the list into one pane. A layer lies in one pane only,
so the other panes get copies of the scan: layers that share its array. The list of layers is put
into the order of the panes, and back into its own at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.gui.adapters.label_attributes import label_attributes, label_names
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, METADATA_KEY, label_sides, take
from napari_hyperspace.gui.adapters.viewer import (
    VIEW_KEY,
    camera_of,
    fit_to_view,
    grid_of,
    image_layers,
)

if TYPE_CHECKING:
    from napari.components import LayerList, ViewerModel
    from napari.layers import Image, Labels, Layer

_LINKED = ("contrast_limits", "colormap", "gamma", "opacity", "interpolation2d")
_GRID = ("stride", "shape", "spacing", "enabled")
_DIFFERENT_OPACITY = 0.8
_SAME = "A = B"  # shown in the status bar where nothing differs


def scan_of(viewer: ViewerModel, labels: Labels) -> Image | None:
    """Return the image that labels were made from, else the topmost one on the same grid.

    A visible one is preferred.
    """
    images = image_layers(viewer)
    made_from = labels.metadata.get(IMAGE_KEY)
    if made_from is not None and made_from() in images:
        return made_from()
    images.sort(key=lambda image: not image.visible)
    return next((image for image in images if covers(image, labels)), None)


def covers(one: Layer, other: Layer) -> bool:
    """Whether the voxels of two 3-D layers lie in the same places, as napari shows them."""
    if one.ndim != 3 or other.ndim != 3:
        return False
    if take(one).placement.layer_grid.is_close(take(other).placement.layer_grid):
        return True
    # A layer made in napari does not have the true affine of an oblique scan that it lies on.
    if np.shape(take(one).data) != np.shape(take(other).data):
        return False
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]) * np.shape(take(one).data)
    step = np.abs(np.asarray(one.scale)).min()
    return bool(
        np.allclose(
            [one.data_to_world(corner) for corner in corners],
            [other.data_to_world(corner) for corner in corners],
            rtol=0,
            atol=1e-3 * step,
        )
    )


def label_volumes(first: Labels, second: Labels) -> tuple[Volume, Volume]:
    """Return the voxels of two label layers in their array order, with names and sides of labels.

    If `covers` says that they lie in the same places, both have the grid of the first.
    """
    one, other = take(first), take(second)
    grid = one.placement.layer_grid
    other_grid = grid if covers(first, second) else other.placement.layer_grid
    return (
        Volume(np.asarray(one.data), grid, first.name, _label_metadata(first)),
        Volume(np.asarray(other.data), other_grid, second.name, _label_metadata(second)),
    )


def _label_metadata(layer: Labels) -> VolumeMetadata:
    metadata: VolumeMetadata = {"label_names": label_names(layer)}
    sides = label_sides(layer)
    if sides:
        metadata["label_sides"] = sides
    return metadata


@dataclass(frozen=True)
class _Before:
    """What the viewer showed before."""

    layers: tuple[Layer, ...]
    visible: tuple[bool, ...]
    named: tuple[bool, ...]  # whether the name of each layer was shown on the canvas
    selected: tuple[Layer, ...]
    active: Layer | None
    grid: Mapping[str, Any]


class GridView:
    """Shows two label maps, beside each other or one at a time, and where they differ.

    Parameters
    ----------
    viewer
        napari's viewer.
    first, second
        Labels layers of the viewer.
    different
        Whether to show where they differ, once that is set.
    """

    def __init__(
        self, viewer: ViewerModel, first: Labels, second: Labels, *, different: bool = True
    ) -> None:
        self._viewer = viewer
        self.first = first
        self.second = second
        self._scan = scan_of(viewer, first)
        self._copies: list[Layer] = []
        self._in_place = False
        self._shown = first  # the one that is shown in place
        self._with_different = different
        self.changing = False
        """Whether the layers are being changed here."""
        self._before = _Before(
            tuple(viewer.layers),
            tuple(layer.visible for layer in viewer.layers),
            tuple(_shows_name(layer) for layer in viewer.layers),
            tuple(viewer.layers.selection),
            viewer.layers.selection.active,
            {name: getattr(grid_of(viewer), name) for name in _GRID},
        )
        # Every pane from the start: napari makes all of them anew when one is added.
        with self._changes(), self._same_view():
            grid_of(viewer).enabled = False  # and whenever a layer is added or hidden
            if self._scan is not None:
                for _ in range(2):
                    self._add(_copy(self._scan))
            self._different = self._make_different()
            self._add(self._different)
            for layer in (first, second, self._different):
                _show_name(layer, True)
            viewer.layers.selection.active = first
            viewer.layers.selection = {first, second}  # napari's status bar shows both values
            self._arrange()

    @property
    def in_place(self) -> bool:
        """Whether one of the two is shown at a time, in the same place."""
        return self._in_place

    @property
    def shown(self) -> Labels:
        """The one that is shown in place."""
        return self._shown

    def show_beside(self) -> None:
        """Show both beside each other."""
        self._in_place = False
        self._arrange()

    def show_in_place(self, layer: Labels) -> None:
        """Show one of the two alone; the view does not move."""
        self._in_place, self._shown = True, layer
        self._arrange()

    def show_different(self, wanted: bool) -> None:
        """Show where the two differ in a third pane, or hide it; in place it is hidden."""
        self._with_different = wanted
        self._arrange()

    def set_different(
        self, values: NDArray[Any], names: Mapping[int, str], colors: Mapping[int, str]
    ) -> None:
        """Set where the two differ, in the array order of the first layer.

        Parameters
        ----------
        values
            0 where they agree.
        names, colors
            Name and color of each other value.
        """
        attributes = label_attributes(names, colors)
        if names:
            attributes["features"].loc[0, "name"] = _SAME
        if self._different in self._viewer.layers:
            self._different.data = values
            for name, value in attributes.items():
                setattr(self._different, name, value)

    def close(self) -> None:
        """Show what was shown before; layers that came meanwhile stay."""
        layers, before = self._viewer.layers, self._before
        with self._changes(), self._same_view(), _batched(layers):
            # First: napari makes the controls of several selected layers anew at each change.
            if not set(layers.selection) - {self.first, self.second, *self._copies}:
                layers.selection = {layer for layer in before.selected if layer in layers}
                if before.active in layers:
                    layers.selection.active = before.active
            # A result that has come meanwhile hides those of the same scan: they stay hidden.
            shown = [layer for layer in self._wanted(self._panes()) if layer in layers]
            hidden = {layer for layer in shown if not layer.visible}
            order = self._restored_order()
            for copy in self._copies:
                if copy in layers:
                    layers.remove(copy)
            self._copies = []
            self._reorder(order)
            for layer, visible, named in zip(
                before.layers, before.visible, before.named, strict=True
            ):
                if layer in layers:
                    layer.visible = visible and layer not in hidden
                    _show_name(layer, named)
            for name, value in before.grid.items():
                setattr(grid_of(self._viewer), name, value)

    # -- panes ---------------------------------------------------------------------------------

    def _panes(self) -> list[list[Layer]]:
        """Return the layers of each pane, from the lowest up."""
        panes: list[list[Layer]] = []
        scans = [self._scan, *(copy for copy in self._copies if copy is not self._different)]
        for i, layer in enumerate((self.first, self.second, self._different)):
            scan = scans[i] if i < len(scans) else None
            panes.append([layer] if scan is None else [scan, layer])
        return panes

    def _wanted(self, panes: Sequence[Sequence[Layer]]) -> Iterator[Layer]:
        """Return the layers to show. In place, these are one scan and one label map."""
        if self._in_place:
            yield from (*panes[0][:-1], self._shown)
        else:
            for pane in panes:
                if self._with_different or self._different not in pane:
                    yield from pane

    def _show_only(self, wanted: Iterable[Layer]) -> None:
        """Show these layers, and hide the others that were there before or were added here."""
        shown = set(wanted)
        for layer in (*self._before.layers, *self._copies):
            if layer in self._viewer.layers and layer.visible != (layer in shown):
                layer.visible = layer in shown

    def _arrange(self) -> None:
        """Bring the layers into the order of the panes, and show those that are wanted."""
        panes = self._panes()
        layers, grid = self._viewer.layers, grid_of(self._viewer)
        if self._in_place and not grid.enabled:
            self._show_only(self._wanted(panes))  # neither order nor grid change: much faster
            return
        # The grid is left before layers are hidden and entered after that: while it is on, napari
        # makes new panes each time when their number changes. Not batched, since no layer comes or
        # goes: napari collects garbage after a batch, 0.3 s.
        with self._changes(), self._same_view():
            if self._in_place:
                grid.enabled = False
            self._show_only(self._wanted(panes))
            first = [layer for pane in panes for layer in pane if layer in layers]
            self._reorder([*first, *(layer for layer in layers if layer not in first)])
            grid.stride, grid.shape = len(panes[0]), (-1, -1)
            grid.enabled = not self._in_place

    @contextmanager
    def _same_view(self) -> Iterator[None]:
        """Keep the center of the view, and its zoom as a multiple of the one that fits a pane."""
        camera = camera_of(self._viewer)
        center, zoom, fitting = camera.center, camera.zoom, self._fitting_zoom()
        yield
        camera.zoom = zoom * self._fitting_zoom() / fitting
        camera.center = center

    def _fitting_zoom(self) -> float:
        """Return the zoom that fits a pane. Nothing is drawn: the view stays as it is."""
        camera = camera_of(self._viewer)
        center, zoom = camera.center, camera.zoom
        with camera.events.blocker_all():
            fit_to_view(self._viewer)
            fitting = float(camera.zoom)
            camera.center, camera.zoom = center, zoom
        return fitting

    def _make_different(self) -> Labels:
        """Return the layer of the differences, still empty."""
        from napari.layers import Labels

        placed = take(self.first).attributes
        ours = self.first.metadata.get(METADATA_KEY)
        return Labels(
            np.zeros(np.shape(take(self.first).data), np.uint8),
            name="A ≠ B",
            opacity=_DIFFERENT_OPACITY,
            metadata={VIEW_KEY: True} | ({METADATA_KEY: ours} if ours else {}),
            **{name: placed[name] for name in ("scale", "translate", "rotate", "shear", "affine")},
            **{name: placed[name] for name in ("units", "axis_labels")},
        )

    # -- the list of layers --------------------------------------------------------------------

    def _add(self, layer: Layer) -> None:
        self._copies.append(layer)
        self._viewer.layers.append(layer)

    def _reorder(self, order: Sequence[Layer]) -> None:
        # Not by `move_multiple`: napari 0.9 raises IndexError for some orders of all layers.
        layers, moved = self._viewer.layers, False
        with layers.events.reordered.blocker():  # the canvas follows once, and not each move
            for i, layer in enumerate(order):
                if layers[i] is not layer:
                    layers.move(layers.index(layer), i)
                    moved = True
        if moved:
            layers.events.reordered(value=layers)

    def _restored_order(self) -> list[Layer]:
        """Return the former order; layers that came since stay above the one beneath them."""
        present = [layer for layer in self._viewer.layers if layer not in self._copies]
        order = [layer for layer in self._before.layers if layer in present]
        for i, layer in enumerate(present):
            if layer not in order:
                order.insert(order.index(present[i - 1]) + 1 if i else 0, layer)
        return order

    @contextmanager
    def _changes(self) -> Iterator[None]:
        """Mark the changes as those of this class."""
        before, self.changing = self.changing, True
        try:
            yield
        finally:
            self.changing = before


def _batched(layers: LayerList) -> AbstractContextManager[None]:
    """Update the canvas once, at the end; napari 0.9 can."""
    return layers.batched_update() if hasattr(layers, "batched_update") else nullcontext()


def _copy(scan: Image) -> Layer:
    """Return a layer that shows the array of a scan, with its contrast and colors."""
    from napari.experimental import link_layers
    from napari.layers import Layer

    data, attributes, kind = scan.as_layer_data_tuple()
    copy = Layer.create(data, attributes | {"metadata": {VIEW_KEY: True}}, kind)
    link_layers([scan, copy], _LINKED)
    return copy


def _shows_name(layer: Layer) -> bool:
    return bool(layer.name_overlay.visible) if hasattr(layer, "name_overlay") else False


def _show_name(layer: Layer, shown: bool) -> None:
    """Show the name of a layer on the canvas; napari 0.9 can."""
    if hasattr(layer, "name_overlay"):
        layer.name_overlay.visible = shown
