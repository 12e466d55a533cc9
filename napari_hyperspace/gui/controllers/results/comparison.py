"""The user compares two results of a scan: beside each other, in place, and by numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import VolumeMetadata
from napari_hyperspace.gui.adapters.grid_view import GridView, covers, label_volumes
from napari_hyperspace.gui.adapters.layers import RESULT_KEY
from napari_hyperspace.gui.adapters.viewer import (
    is_of_view,
    label_layers,
    unwatch_layer,
    watch_layer,
)
from napari_hyperspace.gui.controllers.results.structures import StructuresController
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.comparison import (
    BLINK_KEY,
    DIFFERENT_COLORS,
    ComparedResult,
    ComparisonState,
    describe_agreement,
    describe_origin,
    describe_pair,
    describe_run,
)
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.agreement import Agreement

_REST_S = 0.25  # time without an edit before the comparison is updated
_LABEL_EVENTS = ("paint", "labels_update", "features", "name")  # besides those of `watch_layer`


class ComparisonController:
    """Compares the labels in the table of structures with others. Main thread only.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Asks, and shows messages.
    structures
        The table of structures: it knows which labels are meant, and gets their agreement.
    choices
        The spacing that is proposed for a new run.
    run_at
        Starts a run at a spacing in canonical order (z, y, x); returns whether one was started.
    """

    arranging = Signal()
    """Panes will be shown beside each other now."""
    changed = Signal(object)
    """The state of the comparison, a `ComparisonState`; `None`: nothing is compared."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        structures: StructuresController,
        choices: Choices,
        run_at: Callable[[Triple], bool],
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._structures = structures
        self._choices = choices
        self._run_at = run_at
        self._lane = Lane()
        self._shown: GridView | None = None
        self._summary = ""
        self._different = True
        self._waiting: Any = None  # labels to compare with the result of the run that was started
        self._emitters = (viewer.layers.events.inserted, viewer.layers.events.removed)
        for emitter in self._emitters:
            emitter.connect(self._layers_changed)

    def close(self) -> None:
        """Stop comparing, and disconnect from the viewer."""
        self.leave()
        self._lane.close()
        for emitter in self._emitters:
            emitter.disconnect(self._layers_changed)

    @property
    def comparing(self) -> bool:
        """Whether two results are being compared."""
        return self._shown is not None

    @property
    def is_idle(self) -> bool:
        """Whether the shown agreement is up to date."""
        return self._lane.is_idle

    # -- what to compare -----------------------------------------------------------------------

    def choose(self) -> None:
        """Let the user choose what to compare the labels in the table with."""
        first = self._shown.first if self._shown else self._structures.layer
        if first is None:
            self._view.show_message("There are no labels to compare. Run a segmentation first.")
            return
        others = [
            layer
            for layer in label_layers(self._viewer)
            if layer is not first and covers(first, layer)
        ]
        options = [
            layer.name if layer.metadata.get(RESULT_KEY) else f"{layer.name} (reference)"
            for layer in others
        ]
        question = f"Compare {first.name} with"
        chosen = self._view.ask_choice("Compare", question, [*options, "a new run …"])
        if chosen is None:
            return
        if chosen < len(others):
            self.compare(first, others[chosen])
        else:
            self._start_run(first)

    def _start_run(self, first: Any) -> None:
        """Run the model in the dock at another spacing, to compare its result afterwards."""
        facts = cast(VolumeMetadata, first.metadata.get(RESULT_KEY, {}))
        present = format_spacing(facts.get("working_spacing_mm", ()), collapse=True)
        question = "Working spacing of the new run. Model and device are those chosen in the dock."
        if present:
            question += f" {first.name} was made at {present}."
        spacing = self._view.ask_spacing(
            "Compare with a new run", question, self._choices.spacing_mm
        )
        if spacing is not None:
            self._waiting = first
            if not self._run_at(spacing):
                self._waiting = None

    def added(self, layer: Any) -> None:
        """Compare the result of a run with the labels that it was started for."""
        first, self._waiting = self._waiting, None
        if first is not None:
            later(lambda: self._compare_added(first, layer))

    def run_ended(self) -> None:
        """Forget what the result of a run that failed was to be compared with."""
        self._waiting = None

    def _compare_added(self, first: Any, layer: Any) -> None:
        if first in self._viewer.layers and layer in self._viewer.layers:
            self.compare(first, layer)

    def compare(self, first: Any, second: Any) -> None:
        """Show two Labels layers beside each other, and compute how well they agree."""
        self.leave()
        try:
            label_volumes(first, second)
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        self.arranging.emit()
        self._shown = GridView(self._viewer, first, second, different=self._different)
        self._summary = "Comparing…"
        for layer in (first, second):
            watch_layer(layer, self._edited, *_LABEL_EVENTS)
        self._viewer.bind_key(BLINK_KEY, lambda viewer: self.blink(), overwrite=True)
        self._show()
        self._measure()

    def leave(self) -> None:
        """Show what was shown before the comparison."""
        shown, self._shown = self._shown, None
        if shown is None:
            return
        self._lane.cancel()
        self._viewer.bind_key(BLINK_KEY, None)
        for layer in (shown.first, shown.second):
            unwatch_layer(layer, self._edited, *_LABEL_EVENTS)
        shown.close()
        self._structures.show_agreement(shown.first, None)
        self.changed.emit(None)

    # -- how to show it ------------------------------------------------------------------------

    def show_beside(self) -> None:
        """Show both results beside each other."""
        if self._shown is not None:
            self.arranging.emit()
            self._shown.show_beside()
            self._show()

    def show_in_place(self, second: bool) -> None:
        """Show the first or the second result alone, in the same place."""
        if self._shown is not None:
            self._shown.show_in_place(self._shown.second if second else self._shown.first)
            self._show()

    def leave_panes(self) -> None:
        """Show one result in place if both are shown beside each other."""
        if self._shown is not None and not self._shown.in_place:
            self.show_in_place(False)

    def blink(self) -> None:
        """Show the other result in the same place."""
        if self._shown is not None:
            was_first = self._shown.in_place and self._shown.shown is self._shown.first
            self.show_in_place(was_first)

    def show_different(self, wanted: bool) -> None:
        """Show or hide where the results differ."""
        self._different = wanted
        if self._shown is not None:
            self._shown.show_different(wanted)
            self._show()

    def _show(self) -> None:
        shown = self._shown
        if shown is None:
            return
        first, second = (
            ComparedResult(layer.name, describe_run(layer.metadata.get(RESULT_KEY, {})))
            for layer in (shown.first, shown.second)
        )
        self.changed.emit(
            ComparisonState(
                first,
                second,
                self._summary,
                shown.in_place,
                shown.in_place and shown.shown is shown.second,
                self._different,
            )
        )

    # -- agreement -----------------------------------------------------------------------------

    def _edited(self, event: Any = None) -> None:
        self._measure(_REST_S)
        if getattr(event, "type", "") == "name":
            self._show()

    def _measure(self, rest_s: float = 0.0) -> None:
        """Compute the agreement off the main thread, after a time without another edit."""
        shown = self._shown
        if shown is None:
            return
        try:
            volumes = label_volumes(shown.first, shown.second)
        except HyperspaceError as error:
            self._fail(error)
            return

        def steps(stop: Stop) -> Iterator[Agreement]:
            from napari_hyperspace.api.agreement import agreement

            stop.rest(rest_s)
            yield agreement(*volumes, stop)

        self._lane.submit(steps, self._take, self._fail)

    def _take(self, found: Agreement) -> None:
        shown = self._shown
        if shown is None:
            return
        self._summary = describe_agreement(found)
        other = describe_origin(shown.second.metadata.get(RESULT_KEY, {}))
        self._structures.show_agreement(shown.first, found, other)
        names = {pair.value: describe_pair(pair) for pair in found.pairs}
        colors = {pair.value: DIFFERENT_COLORS[pair.kind] for pair in found.pairs}
        shown.set_different(found.different, names, colors)
        self._show()

    def _fail(self, error: Exception) -> None:
        self.leave()
        self._view.show_message(str(error), "error")

    def _layers_changed(self, event: Any = None) -> None:
        """Leave the comparison if a layer is added or removed: the panes are not for others."""
        if is_of_view(event):  # another view, such as a cross-hair
            return
        if self._shown is not None and not self._shown.changing:
            # napari goes through a list that it made before: nothing may be removed meanwhile.
            later(self.leave)
