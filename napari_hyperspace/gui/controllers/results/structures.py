"""The user inspects the structures of a Labels layer: volumes, means, visibility, export."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.structures import (
    Origin,
    Structure,
    has_sides,
    measure,
    sum_sides,
    to_csv,
    with_brain,
)
from napari_hyperspace.gui.adapters.label_attributes import color_of, label_names
from napari_hyperspace.gui.adapters.layers import (
    IMAGE_KEY,
    METADATA_KEY,
    RESULT_KEY,
    label_sides,
    take,
)
from napari_hyperspace.gui.adapters.viewer import (
    image_layers,
    is_of_view,
    labels_of,
    move_view_to,
    unwatch_layer,
    watch_layer,
)
from napari_hyperspace.gui.controllers.results.view_3d import View3DController
from napari_hyperspace.gui.controllers.results.visibility import StructureVisibility
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.formatting import suggest_path
from napari_hyperspace.gui.models.view import StructureRow, StructuresView, Tone

if TYPE_CHECKING:
    from napari_hyperspace.api.agreement import Agreement

_REST_S = 0.25  # time without an edit before the table is updated
_LABEL_EVENTS = ("paint", "labels_update", "features")  # besides those of `watch_layer`


@dataclass(frozen=True, eq=False)
class _Measured:
    """The structures of a layer, and the name of the image that their means are of."""

    layer: Any
    image: str
    structures: tuple[Structure, ...]


class StructuresController:
    """Follows the Labels layer that was added or made active last. Main thread only.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows the table.
    show_message
        Shows a message to the user.
    """

    def __init__(
        self, viewer: Any, view: StructuresView, show_message: Callable[[str, Tone], None]
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._show_message = show_message
        self._lane = Lane()
        self._visibility = StructureVisibility()
        self._view_3d = View3DController(viewer, view)
        self._measured: _Measured | None = None
        self._selected: tuple[int, ...] = ()
        self._only_selected = False
        self._sum_sides = False
        self._agreements: WeakKeyDictionary[Any, Agreement] = WeakKeyDictionary()
        self._compared_with = ""
        self.layer: Any = None
        self._images: list[Any] = []  # layers whose means may be shown
        self._closed = False
        self._scan: Callable[[], Any] = lambda: None
        layers = viewer.layers
        self._emitters = (
            *(layers.events.inserted, layers.events.removed),
            layers.selection.events.active,
        )
        for emitter in self._emitters:
            emitter.connect(self._layers_changed)
        self._layers_changed()

    def close(self) -> None:
        """Disconnect from the viewer and its layers."""
        if self._closed:
            return
        self._closed = True
        self._lane.close()
        for emitter in self._emitters:
            emitter.disconnect(self._layers_changed)
        self._view_3d.close()
        self._follow(None)

    @property
    def is_idle(self) -> bool:
        """Whether the table is up to date."""
        return self._lane.is_idle

    def follow_scan(self, scan: Any) -> None:
        """Show the labels of a scan only, or those whose scan is not known; `None`: all labels."""
        self._scan = (lambda: None) if scan is None else weakref.ref(scan)
        self._layers_changed()

    # -- the layer -----------------------------------------------------------------------------

    def _layers_changed(self, event: Any = None) -> None:
        """Follow the active Labels layer, else the present one, else the topmost."""
        if is_of_view(event):
            return
        candidates = labels_of(self._viewer, self._scan())
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
            self._edited()  # the image of the labels may have been added or removed

    def _follow(self, layer: Any) -> None:
        if self.layer is not None:
            unwatch_layer(self.layer, self._edited, *_LABEL_EVENTS)
        self.layer, self._measured, self._selected = layer, None, ()
        if layer is not None:
            watch_layer(layer, self._edited, *_LABEL_EVENTS)
        self._follow_images([])
        if not self._closed:
            self._show()

    def _follow_images(self, images: list[Any]) -> None:
        if images == self._images:
            return
        for image in self._images:
            unwatch_layer(image, self._edited, "name")
        self._images = images
        for image in images:
            watch_layer(image, self._edited, "name")

    def _edited(self, event: Any = None) -> None:
        self._measure(_REST_S)

    # -- measuring -----------------------------------------------------------------------------

    def _measure(self, rest_s: float = 0.0) -> None:
        """Measure the layer off the main thread, after a time without another edit."""
        layer = self.layer
        if layer is None:
            self._lane.cancel()
            return
        try:
            labels = take(layer)
        except HyperspaceError:  # not a volume: it can be shown by napari, but not measured
            self._view.show_structures((), "", False)
            return
        self._follow_images(self._images_of(layer))
        grid = labels.placement.layer_grid
        images = (take(one) for one in self._images)
        image = next((one for one in images if one.placement.layer_grid.is_close(grid)), None)
        names = label_names(layer)
        sides = label_sides(layer)

        def steps(stop: Stop) -> Iterator[_Measured]:
            stop.rest(rest_s)
            structures = measure(
                np.asarray(labels.data),
                None if image is None else image.data,
                grid.voxel_volume_ml,
                names,
                stop,
                sides=sides,
            )
            yield _Measured(layer, "" if image is None else image.name, tuple(structures))

        self._lane.submit(
            steps, self._take_measured, lambda error: self._show_message(str(error), "error")
        )

    def _images_of(self, layer: Any) -> list[Any]:
        """Return the image that labels were made from; all images if that is not known."""
        images = image_layers(self._viewer)
        made_from = layer.metadata.get(IMAGE_KEY)
        return images if made_from is None else [one for one in images if one is made_from()]

    def _take_measured(self, measured: _Measured) -> None:
        if measured.layer is self.layer:
            self._measured = measured
            self._show()
            if self._visibility.hides(self.layer):
                self._paint()  # new values may have to be hidden

    # -- showing -------------------------------------------------------------------------------

    def structures(self) -> list[Structure]:
        """Return the structures in the table."""
        if self._measured is None:
            return []
        structures = self._measured.structures
        return sum_sides(structures) if self._sum_sides else list(structures)

    def _show(self) -> None:
        layer, measured = self.layer, self._measured
        if layer is None:
            self._view.show_structures((), "", False)
        if layer is None or measured is None:  # the previous table stays until there is a new one
            return
        colormap = self._visibility.own_colormap(layer)
        rows = [
            StructureRow(
                one.values,
                one.name,
                color_of(colormap, one.values[0]),
                self._visibility.is_visible(layer, one.values),
                one.voxels,
                one.volume_ml,
                one.mean,
                *self._compared(one),
            )
            for one in self.structures()
        ]
        self._view.show_structures(rows, layer.name, has_sides(measured.structures))

    def show_agreement(
        self, layer: Any, agreement: Agreement | None, compared_with: str = ""
    ) -> None:
        """Show how well a layer agrees with another one; `None`: it is not compared any more.

        Parameters
        ----------
        layer, agreement
            The layer, and how well it agrees.
        compared_with
            What made the other layer, for the exported table.
        """
        self._agreements.pop(layer, None)
        self._compared_with = compared_with
        if agreement is not None:
            self._agreements[layer] = agreement
        if layer is self.layer:
            self._show()

    def _compared(self, structure: Structure) -> tuple[float | None, float | None]:
        """Return a structure's volume in the compared layer, and the Dice of the two."""
        agreement = self._agreements.get(self.layer)
        if agreement is None:
            return None, None
        found = agreement.of(structure.values)
        return (math.nan, math.nan) if found is None else (found.other_volume_ml, found.dice)

    def sum_sides(self, wanted: bool) -> None:
        """Sum left and right structures, or list them separately."""
        self._sum_sides = wanted
        self._show()

    def select(self, values: tuple[int, ...]) -> None:
        """Select a structure's label, move the view to the structure, and show it."""
        found = next((one for one in self.structures() if one.values == values), None)
        if found is None or self.layer is None:
            return
        self._selected = values
        if found.place is not None:
            layer = self.layer
            self._viewer.layers.selection.active = layer
            layer.selected_label = values[0]
            move_view_to(self._viewer, layer.data_to_world(found.place))
        self.set_visible(values, True)

    def set_visible(self, values: tuple[int, ...], visible: bool) -> None:
        """Show or hide a structure; the labels stay as they are."""
        if self.layer is None:
            return
        self._visibility.set_visible(self.layer, values, visible)
        self._paint()
        self._show()

    def show_only_selected(self, only: bool) -> None:
        """Hide all structures except the selected one, or show them again."""
        self._only_selected = only
        self._paint()

    def _paint(self) -> None:
        layer, measured = self.layer, self._measured
        if layer is None or measured is None:
            return
        values = {value for one in measured.structures for value in one.values}
        only = self._selected if self._only_selected else ()
        self._visibility.paint(layer, values, only)

    def show_in_3d(self, wanted: bool) -> None:
        """Show the labels in 3-D, or go back to slices."""
        if not wanted:
            self._view_3d.show_slices()
        elif self.layer is not None:
            self._view_3d.show(self.layer)

    # -- export --------------------------------------------------------------------------------

    def export(self, path: str) -> None:
        """Write the table: CSV in UTF-8, with the columns of a comparison that is shown."""
        if self._measured is None:
            return
        try:
            write_text(Path(path), self._table(","))
        except HyperspaceError as error:
            self._show_message(str(error), "error")
            return
        self._show_message(f"Saved {Path(path).name}.", "good")

    def table_text(self) -> str:
        """Return the table as `export` writes it, with tabs between the columns."""
        return self._table("\t")

    def _table(self, delimiter: str) -> str:
        origin = Origin() if self._measured is None else self._origin(self._measured)
        rows = with_brain(self.structures())
        compared = [self._compared(one) for one in rows]
        pairs = [(ml, dice) for ml, dice in compared if ml is not None and dice is not None]
        return to_csv(
            rows,
            origin,
            delimiter=delimiter,
            compared=pairs if pairs else None,
            compared_with=self._compared_with,
        )

    def suggest_path(self) -> str:
        """Return a path for the table: next to the scan, named after it."""
        layer = self.layer
        path = None if layer is None else layer.metadata.get(METADATA_KEY, {}).get("path")
        return suggest_path(path, "" if layer is None else layer.name, "structures.csv")

    def _origin(self, measured: _Measured) -> Origin:
        facts = self.layer.metadata.get(RESULT_KEY, {})
        return Origin(
            measured.image or facts.get("image", ""),
            facts.get("model", ""),
            tuple(facts.get("working_spacing_mm", ())),
            "; ".join(step["step"] for step in facts.get("postprocessing", ())),
        )
