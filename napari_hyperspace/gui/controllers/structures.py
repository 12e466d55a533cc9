"""The structures of the Labels layer in hand: measured, shown and hidden. Main thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.structures import (
    Origin,
    Structure,
    has_sides,
    measure,
    sum_sides,
    to_csv,
)
from napari_hyperspace.gui.adapters import viewer as viewing
from napari_hyperspace.gui.adapters.label_attributes import label_names, painted
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, RESULT_KEY, take
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models.view import StructureRow, StructuresView, Tone

_REST_S = 0.25  # how long the brush must rest before the table is renewed
_EDITS = ("paint", "labels_update", "features")  # of labels, besides what `viewing.watch` knows

Values = tuple[int, ...]


@dataclass
class _Shown:
    """What the user wants to see of a layer; its own colors, while ours hide some."""

    hidden: set[int] = field(default_factory=set)
    own: Any = None
    ours: Any = None


@dataclass(frozen=True, eq=False)
class _Measured:
    """The answer to: what does this layer hold?"""

    layer: Any
    image: str
    structures: tuple[Structure, ...]


class Structures:
    """Follows the Labels layer that was added or made active last.

    Parameters
    ----------
    viewer
        napari's.
    view
        Shows the table.
    say
        Tells the user something.
    """

    def __init__(self, viewer: Any, view: StructuresView, say: Callable[[str, Tone], None]) -> None:
        self._viewer = viewer
        self._view = view
        self._say = say
        self._lane = Lane()
        self._shown: WeakKeyDictionary[Any, _Shown] = WeakKeyDictionary()
        self._measured: _Measured | None = None
        self._selected: Values = ()
        self._only = False
        self._sides = False
        self._put_aside: list[Any] = []  # images switched off while in three dimensions
        self._order: tuple[int, ...] = ()  # of the axes before
        self.layer: Any = None
        self._images: list[Any] = []  # layers whose means may be shown
        self.closed = False
        layers = viewer.layers
        self._emitters = (
            *(layers.events.inserted, layers.events.removed),
            layers.selection.events.active,
        )
        for emitter in self._emitters:
            emitter.connect(self._look)
        viewer.dims.events.ndisplay.connect(self._dimensions_changed)
        self._look()

    def close(self) -> None:
        """Let go of the viewer and its layers."""
        if self.closed:
            return
        self.closed = True
        self._lane.close()
        for emitter in self._emitters:
            emitter.disconnect(self._look)
        self._viewer.dims.events.ndisplay.disconnect(self._dimensions_changed)
        self._follow(None)

    @property
    def is_idle(self) -> bool:
        """Whether the table is up to date."""
        return self._lane.is_idle

    # -- which layer ---------------------------------------------------------------------------

    def _look(self, event: Any = None) -> None:
        """Choose the layer to follow: the active one, else the one in hand, else the topmost."""
        candidates = viewing.label_layers(self._viewer)
        active = self._viewer.layers.selection.active
        if active in candidates:
            chosen = active
        elif self.layer in candidates:
            chosen = self.layer
        else:
            chosen = candidates[0] if candidates else None
        if chosen is not self.layer:
            self._follow(chosen)
            self._measure()
        elif getattr(event, "type", "") != "active":
            self._edited()  # the image beneath may have come or gone

    def _follow(self, layer: Any) -> None:
        if self.layer is not None:
            viewing.unwatch(self.layer, self._edited, *_EDITS)
        self.layer, self._measured, self._selected = layer, None, ()
        if layer is not None:
            viewing.watch(layer, self._edited, *_EDITS)
        self._follow_images([])
        if not self.closed:
            self._show()

    def _follow_images(self, images: list[Any]) -> None:
        if images == self._images:
            return
        for image in self._images:
            viewing.unwatch(image, self._edited, "name")
        self._images = images
        for image in images:
            viewing.watch(image, self._edited, "name")

    def _edited(self, event: Any = None) -> None:
        self._measure(_REST_S)

    # -- measuring -----------------------------------------------------------------------------

    def _measure(self, rest_s: float = 0.0) -> None:
        """Measure the layer once nothing more has happened to it for a while."""
        layer = self.layer
        if layer is None:
            self._lane.cancel()
            return
        try:
            labels = take(layer)
        except HyperspaceError:  # more dimensions, or no volume: napari's own affair
            self._view.show_structures((), "", False)
            return
        self._follow_images(self._images_of(layer))
        grid = labels.placement.layer_grid
        images = (take(one) for one in self._images)
        image = next((one for one in images if one.placement.layer_grid.is_close(grid)), None)
        names = label_names(layer)

        def steps(stop: Stop) -> Iterator[_Measured]:
            stop.rest(rest_s)
            found = measure(
                np.asarray(labels.data),
                None if image is None else image.data,
                grid.voxel_volume_ml,
                names,
                stop,
            )
            yield _Measured(layer, "" if image is None else image.name, tuple(found))

        self._lane.submit(steps, self._answered, lambda error: self._say(str(error), "error"))

    def _images_of(self, layer: Any) -> list[Any]:
        """Return the images that labels may be of: where it is known, that one and no other."""
        images = viewing.image_layers(self._viewer)
        made_from = layer.metadata.get(IMAGE_KEY)
        return images if made_from is None else [one for one in images if one is made_from()]

    def _answered(self, measured: _Measured) -> None:
        if measured.layer is self.layer:
            self._measured = measured
            self._show()
            if self._hides():
                self._paint()  # there may be more to hide

    # -- showing -------------------------------------------------------------------------------

    def _rows(self) -> list[Structure]:
        if self._measured is None:
            return []
        rows = self._measured.structures
        return sum_sides(rows) if self._sides else list(rows)

    def _show(self) -> None:
        layer, measured = self.layer, self._measured
        if layer is None:
            self._view.show_structures((), "", False)
        if layer is None or measured is None:  # what was shown stays until there is more
            return
        state = self._shown.get(layer, _Shown())
        own = state.own if self._hides() else layer.colormap
        rows = [
            StructureRow(
                one.values,
                one.name,
                painted(own, one.values[0]),
                not state.hidden.issuperset(one.values),
                one.voxels,
                one.volume_ml,
                one.mean,
            )
            for one in self._rows()
        ]
        self._view.show_structures(rows, layer.name, has_sides(measured.structures))

    def sum_sides(self, wanted: bool) -> None:
        """Add up left and right, or list them apart."""
        self._sides = wanted
        self._show()

    def select(self, values: Values) -> None:
        """Show a structure: select its label, and bring the view to it."""
        found = next((one for one in self._rows() if one.values == values), None)
        if found is None or self.layer is None:
            return
        self._selected = values
        if found.place is not None:
            layer = self.layer
            self._viewer.layers.selection.active = layer
            layer.selected_label = values[0]
            viewing.move_to(self._viewer, layer.data_to_world(found.place))
        self.set_visible(values, True)

    def set_visible(self, values: Values, visible: bool) -> None:
        """Show or hide a structure; the labels stay as they are."""
        if self.layer is None:
            return
        hidden = self._shown.setdefault(self.layer, _Shown()).hidden
        hidden.difference_update(values) if visible else hidden.update(values)
        self._paint()
        self._show()

    def show_only_selected(self, only: bool) -> None:
        """Hide all structures but the selected one, or show them again."""
        self._only = only
        self._paint()

    def _paint(self) -> None:
        """Give the layer colors in which what is hidden is transparent."""
        layer, measured = self.layer, self._measured
        if layer is None or measured is None:
            return
        state = self._shown.setdefault(layer, _Shown())
        if not self._hides():  # the user's or the model's
            state.own = layer.colormap
        everything = {value for one in measured.structures for value in one.values}
        hidden = set(state.hidden)
        if self._only and self._selected:
            hidden |= everything - set(self._selected)
        layer.colormap = viewing.hiding(state.own, everything, hidden) if hidden else state.own
        state.ours = layer.colormap if hidden else None

    def _hides(self) -> bool:
        """Whether the layer wears colors of ours."""
        state = self._shown.get(self.layer)
        return state is not None and state.ours is self.layer.colormap

    # -- three dimensions ----------------------------------------------------------------------

    def show_in_3d(self, wanted: bool) -> None:
        """Turn the labels in space, or go back to slices."""
        if not wanted:
            self._viewer.dims.ndisplay = 2
        elif self.layer is not None:
            self._order = self._viewer.dims.order
            self._put_aside = viewing.turn_in_space(self._viewer, self.layer)

    def _dimensions_changed(self, event: Any = None) -> None:
        in_space = self._viewer.dims.ndisplay == 3
        self._view.show_in_3d(in_space)
        if not in_space:
            for image in self._put_aside:
                image.visible = True
            self._put_aside = []
            if len(self._order) == self._viewer.dims.ndim:
                self._viewer.dims.order = self._order
            self._order = ()

    # -- export --------------------------------------------------------------------------------

    def export(self, path: str) -> None:
        """Write the table, as it is shown, as CSV in UTF-8."""
        from napari_hyperspace.core.files import replacing

        if self._measured is None:
            return
        text = to_csv(self._rows(), self._origin())
        try:
            with replacing(Path(path)) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        except HyperspaceError as error:
            self._say(str(error), "error")
            return
        self._say(f"Saved {Path(path).name}.", "good")

    def suggestion(self) -> str:
        """Return where the table would go: beside the scan, under its name."""
        layer = self.layer
        path = None if layer is None else layer.metadata.get("hyperspace", {}).get("path")
        return texts.beside(path, "" if layer is None else layer.name, "structures.csv")

    def _origin(self) -> Origin:
        facts = self.layer.metadata.get(RESULT_KEY, {})
        measured = self._measured.image if self._measured else ""
        steps = facts.get("postprocessing", ())
        return Origin(
            measured or facts.get("image", ""),
            facts.get("model", ""),
            tuple(facts.get("working_spacing_mm", ())),
            "; ".join(one["step"] for one in steps),
        )
