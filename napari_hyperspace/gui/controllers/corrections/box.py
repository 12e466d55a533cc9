"""The user refines labels in a box: there the model runs at a finer spacing. Main thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_seconds
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.label_attributes import label_names
from napari_hyperspace.gui.adapters.painting.layers import drawing_layer, facts_of, scan_under
from napari_hyperspace.gui.adapters.painting.strokes import write_labels
from napari_hyperspace.gui.adapters.regions import (
    Box,
    has_shapes,
    rectangle_box,
    visible_box,
)
from napari_hyperspace.gui.adapters.viewer import unwatch_layer, watch_layer
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.correction import DRAW_HINT, BoxState, Place, describe_box
from napari_hyperspace.gui.models.view import View
from napari_hyperspace.inference.normalized import NormalizedModel

if TYPE_CHECKING:
    from napari_hyperspace.api.corrections.box import BoxResult
    from napari_hyperspace.api.estimate import Estimate

_REST_S = 0.3  # time without a change before the cost is estimated again
_FINER = 0.5  # of the spacing that the labels were made at


class BoxController:
    """Refines the labels in the table in a box; the result is one step of the layer's undo.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services, library
        Segment, with which model.
    choices, layers
        Model and device, and the scan.
    runner
        Runs the job.
    labels
        Returns the labels in the table of structures.
    """

    changed = Signal(object)
    """What the section shows, a `BoxState`."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        library: ModelLibrary,
        choices: Choices,
        layers: InputLayers,
        runner: JobRunner,
        labels: Callable[[], Any],
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._library = library
        self._choices = choices
        self._layers = layers
        self._runner = runner
        self._labels = labels
        self._lane = Lane()
        self._state = BoxState()
        self._active = False
        self._touched: Any = None  # the labels that the user has set the spacing for
        self._drawn: Any = None
        self._watched: Any = None
        runner.started.connect(self.refresh)
        runner.finished.connect(self._ended)

    def close(self) -> None:
        """Stop all work, and disconnect from the layers."""
        self._active = False
        self._lane.close()
        self._follow_drawn(None)
        self._unwatch()

    @property
    def is_idle(self) -> bool:
        """Whether the cost that is shown is up to date."""
        return self._lane.is_idle

    @property
    def state(self) -> BoxState:
        """What the section shows."""
        return self._state

    # -- what the user chooses -----------------------------------------------------------------

    def set_active(self, active: bool) -> None:
        """Estimate the cost while the section is expanded."""
        self._active = active
        self.refresh()

    def choose_where(self, where: str) -> None:
        """Refine in a rectangle, or in what the canvas shows."""
        self._state = replace(self._state, where=cast(Place, where))
        self.refresh()

    def set_spacing(self, spacing_mm: float) -> None:
        """Set the working spacing."""
        self._touched = self._labels()
        self._state = replace(self._state, spacing_mm=spacing_mm)
        self.refresh()

    def set_depth(self, depth_mm: float) -> None:
        """Set the extent through the slices; 0: as much as the shorter side."""
        self._state = replace(self._state, depth_mm=depth_mm)
        self.refresh()

    def draw(self) -> None:
        """Let the user draw a rectangle on the scan."""
        if not self._layers.layers:
            self._view.show_message("There is no scan to draw on. Open one first.", "warning")
            return
        self._state = replace(self._state, where="rectangle")
        self._follow_drawn(drawing_layer(self._viewer, self._layers.layers[0]))
        self._view.show_message("Drag a rectangle around the part to refine, in any plane.")
        self.refresh()

    def _follow_drawn(self, layer: Any) -> None:
        if self._drawn is not None:
            self._drawn.events.data.disconnect(self.refresh)
        self._drawn = layer
        if layer is not None:
            layer.events.data.connect(self.refresh)

    # -- cost ----------------------------------------------------------------------------------

    def refresh(self, event: Any = None) -> None:
        """Show what a refinement would take."""
        if not self._active:
            return
        labels = self._labels()
        if labels is not None and labels is not self._touched:
            made_at = facts_of(labels).get("working_spacing_mm", ())
            if made_at:
                self._state = replace(self._state, spacing_mm=round(_FINER * min(made_at), 2))
        try:
            box = self._box()
        except HyperspaceError as error:
            self._lane.cancel()
            self._show(estimate=str(error), tone="plain", can_start=False)
            return
        self._show(can_start=not self._runner.running)
        grid = self._layers.sources()[0].placement.layer_grid
        key, options = self._choices.model, self._choices.inference_options
        spacing = (self._state.spacing_mm,) * 3

        def steps(stop: Stop) -> Iterator[Estimate]:
            stop.rest(_REST_S)
            model = self._library.load(key)
            seen = self._services.box_with_context(box, grid, model, spacing)
            yield self._services.estimate(seen, NormalizedModel(model), spacing, options())

        def take_estimate(estimate: Estimate) -> None:
            size = " × ".join(
                f"{(one.stop - one.start) * step:.0f}"
                for one, step in zip(box, grid.spacing_mm, strict=True)
            )
            text = f"{size} mm · about {format_seconds(estimate.seconds)}"
            self._show(estimate=text, tone="plain" if estimate.fits else "warning")

        def fail(error: Exception) -> None:
            self._show(estimate=str(error), tone="warning")

        self._lane.submit(steps, take_estimate, fail)

    def _box(self) -> Box:
        """Return the box in the array order of the scan's layer."""
        labels = self._labels()
        if labels is None:
            raise HyperspaceError("there are no labels to refine", fix="Run a segmentation first")
        if scan_under(self._viewer, labels) not in self._layers.layers:
            raise HyperspaceError(
                "these labels are of another scan", where=labels.name, fix="Choose it in “Scan”"
            )
        source, depth = self._layers.sources()[0], self._state.depth_mm
        if self._state.where == "rectangle" and not has_shapes(self._viewer):
            raise HyperspaceError(DRAW_HINT)
        if self._state.where == "view":
            layer = self._layers.layers[0]
            a, b, c = np.shape(source.data)
            whole = (slice(0, a), slice(0, b), slice(0, c))
            return visible_box(self._viewer, layer, source, depth) or whole
        return rectangle_box(self._viewer, source, depth)

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self.changed.emit(self._state)

    # -- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """Refine, unless a job is running."""
        if self._runner.running:
            return
        labels = self._labels()
        try:
            box = self._box()
            sources = self._layers.sources()
        except HyperspaceError as error:
            self._view.show_message(str(error), "warning")
            return
        choices, wanted = replace(self._choices), self._state.spacing_mm
        spacing: Triple = (wanted, wanted, wanted)
        metadata: VolumeMetadata = {"label_names": label_names(labels)}
        present = np.array(labels.data)  # the user may paint meanwhile

        def steps(should_stop: ShouldStop) -> Steps[BoxResult]:
            yield Progress(0.0, "preparing")
            model = self._library.load(choices.model)
            volumes = [source.layer_volume() for source in sources]
            # On the grid of the scan: labels painted in napari do not know that it is oblique.
            given = Volume(present, volumes[0].grid, labels.name, metadata)
            return (
                yield from self._services.refine_box_steps(
                    volumes, given, model, box, spacing, choices.inference_options(), should_stop
                )
            )

        def finished(result: BoxResult) -> None:
            self._unwatch()
            write_labels(labels, box, result.labels.array[box])
            volume_ml = result.changed * result.labels.grid.voxel_volume_ml
            text = describe_box(result.changed, volume_ml, result.spacing_mm, result.seconds)
            self._view.show_message(text, "good")

        self._lane.cancel()
        self._watched = labels
        watch_layer(labels, self._edited, "paint")
        self._runner.start(steps, finished, f"Refining {labels.name}")

    def _edited(self, event: Any = None) -> None:
        why = "The labels were changed during the refinement, which has been stopped."
        self._runner.stop(why, "warning")

    def _ended(self) -> None:
        self._unwatch()
        self.refresh()

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            unwatch_layer(watched, self._edited, "paint")
