"""The user sweeps over working spacings: curves, labels of each spacing, the knee, stability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.format import format_seconds
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.layers import (
    METADATA_KEY,
    to_volume,
)
from napari_hyperspace.gui.adapters.regions import (
    Box,
    rectangle_box,
    visible_box,
)
from napari_hyperspace.gui.adapters.viewer import (
    label_layers,
    unwatch_layer,
    watch_layer,
)
from napari_hyperspace.gui.controllers.results.sweep_layers import SweepLayers
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.sweep import SweepJob, SweepReport, SweepRequest, request_of
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import suggest_path
from napari_hyperspace.gui.models.sweep import (
    SweepChoices,
    SweepState,
    default_choices,
    describe_knee,
    describe_point,
    make_curves,
)
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.sweeps.result import SweepSummary
    from napari_hyperspace.nets.model import Model

_REST_S = 0.2  # time without a change of the choices before they are estimated
_FINEST = ("", "the finest spacing")


class SweepController:
    """Runs a sweep, and shows its spacings in one Labels layer. Main thread only.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services, library
        Segment, with which model.
    choices, layers
        What to segment.
    runner
        Runs the sweep.
    """

    started = Signal()
    """A sweep begins."""
    changed = Signal(object)
    """What the section shows, a `SweepState`."""
    spacingChosen = Signal(tuple)
    """The user has chosen a spacing of the sweep (z, y, x)."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        library: ModelLibrary,
        choices: Choices,
        layers: InputLayers,
        runner: JobRunner,
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._library = library
        self._choices = choices
        self._layers = layers
        self._runner = runner
        self._job = SweepJob(services, library, self._take)
        self._shown = SweepLayers(viewer, view)
        self._estimates = Lane()
        self._model: Model | None = None
        self._active = False  # whether the section is expanded
        self._touched = False  # whether the user has set the range for this scan and model
        self._state = SweepState(SweepChoices())
        self._request: SweepRequest | None = None  # the running one, or that of the report
        self._report: SweepReport | None = None
        self._following = False  # whether each finished spacing is shown
        self._chosen: int | None = None  # index of the spacing that is shown
        self._emphasized: tuple[int, ...] = ()
        self._watched: tuple[Any, ...] = ()
        runner.started.connect(self.refresh)
        runner.finished.connect(self._ended)

    def close(self) -> None:
        """Stop all work, and disconnect from the layers."""
        self._estimates.close()
        self._shown.close()
        self._unwatch()

    @property
    def is_idle(self) -> bool:
        """Whether everything is shown that was asked for."""
        return self._estimates.is_idle and self._shown.is_idle

    @property
    def summary(self) -> SweepSummary | None:
        """The finished spacings of the last sweep; `None`: there are none."""
        return None if self._report is None else self._report.summary

    # -- what to sweep -------------------------------------------------------------------------

    def set_active(self, active: bool) -> None:
        """Estimate the time while the section is expanded."""
        self._active = active
        self.refresh()

    def set_model(self, model: Model | None) -> None:
        """Take the model that was loaded; `None`: it is not loaded yet."""
        if model is not self._model:
            self._model = model
            self._touched = False
        self.refresh()

    def scan_changed(self, another: bool) -> None:
        """Choose the range anew for another scan."""
        if another:
            self._touched = False
        self.refresh()

    def set_choices(self, choices: SweepChoices) -> None:
        """Take what the user has chosen."""
        present = self._state.choices
        if (choices.low_mm, choices.high_mm) != (present.low_mm, present.high_mm):
            self._touched = True
        self._state = replace(self._state, choices=choices)
        self.refresh()

    def refresh(self) -> None:
        """Show what can be swept now, and how long it takes."""
        source, model = self._layers.first(), self._model
        choices = self._state.choices
        if not self._touched and model is not None:
            native = None if source is None else source.placement.grid.canonical().spacing_mm
            choices = default_choices(choices, model.trained_range_mm, native)
        layers = [layer for layer in label_layers(self._viewer) if layer is not self._shown.layer]
        references = [_FINEST, *((str(id(layer)), layer.name) for layer in layers)]
        if choices.reference not in dict(references):
            choices = replace(choices, reference="")
        can_start = source is not None and model is not None and not self._runner.running
        self._state = replace(
            self._state, choices=choices, references=tuple(references), can_start=can_start
        )
        self._show()
        self._estimate()

    def _estimate(self) -> None:
        if not self._active or not self._state.can_start:
            self._estimates.cancel()
            return
        try:
            request = self._make_request()
        except HyperspaceError as error:
            self._refuse(error)
            return

        def steps(stop: Stop) -> Iterator[str]:
            stop.rest(_REST_S)
            sweep = request.make(self._services, self._library)
            count = len(sweep.plan.spacings_mm)
            noun = "spacing" if count == 1 else "spacings"
            yield f"{count} {noun} · about {format_seconds(sweep.seconds)}"

        self._estimates.submit(steps, self._show_estimate, self._refuse)

    def _show_estimate(self, text: str) -> None:
        self._state = replace(self._state, estimate=text, tone="plain")
        self._show()

    def _refuse(self, error: Exception) -> None:
        self._state = replace(self._state, estimate=str(error), tone="warning")
        self._show()

    def _make_request(self) -> SweepRequest:
        sources, wanted = self._layers.sources(), self._state.choices
        box: Box | None = None
        if wanted.where == "view":
            box = visible_box(self._viewer, self._layers.layers[0], sources[0])
        elif wanted.where == "rectangle":
            box = rectangle_box(self._viewer, sources[0])
        return request_of(sources, self._choices, wanted, box, self._reference(wanted.reference))

    def _reference(self, key: str) -> Volume | None:
        for layer in label_layers(self._viewer):
            if str(id(layer)) == key:
                return to_volume(*layer.as_layer_data_tuple()[:2])
        return None

    # -- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a sweep, unless a job is running."""
        if self._runner.running:
            return
        try:
            request = self._make_request()
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return

        def steps(should_stop: ShouldStop) -> Steps[SweepSummary]:
            return self._job.steps(request, should_stop)

        self._estimates.cancel()
        self.started.emit()
        self._watched = self._layers.layers
        for layer in self._watched:
            watch_layer(layer, self._edited)
        self._shown.begin(self._watched[0])
        self._request, self._report, self._chosen, self._following = request, None, None, True
        self._show()
        self._runner.start(steps, self._returned, f"Sweeping {request.sources[0].name}")

    def stop_if_removed(self) -> None:
        """Stop the sweep if one of its layers is no longer in the viewer."""
        if any(layer not in self._viewer.layers for layer in self._watched):
            why = "The image was removed during the sweep, which has been stopped."
            self._runner.stop(why, "warning")

    def _take(self, report: SweepReport) -> None:
        """Show a spacing that was finished."""
        if report.request is not self._request:
            return
        self._report = report
        if self._following:
            self._show_labels(len(report.summary.points) - 1)
        self._show()

    def _returned(self, summary: SweepSummary) -> None:
        loss = self._state.choices.loss
        knee = describe_knee(summary, loss)
        self._view.show_message(knee and f"{knee}.", "plain")

    def _edited(self, event: Any = None) -> None:
        why = "The image was changed during the sweep: the labels would not belong to it."
        self._runner.stop(why, "warning")

    def _ended(self) -> None:
        self._unwatch()
        self._following = False
        self.refresh()

    def _unwatch(self) -> None:
        for layer in self._watched:
            unwatch_layer(layer, self._edited)
        self._watched = ()

    # -- one spacing ---------------------------------------------------------------------------

    def choose(self, index: int) -> None:
        """Show the labels of a finished spacing, and set the working spacing to it.

        Parameters
        ----------
        index
            Among the finished spacings, the finest first, as in the curves.
        """
        summary = self.summary
        if summary is None or not 0 <= index < len(summary.points):
            return
        self._following = False
        place = len(summary.points) - 1 - index
        self._show_labels(place)
        self._show()
        self.spacingChosen.emit(summary.points[place].spacing_mm)

    def choose_knee(self) -> None:
        """Show the labels at the knee, and set the working spacing to it."""
        summary = self.summary
        knee = None if summary is None else summary.knee(self._state.choices.loss)
        if summary is not None and knee is not None:
            self.choose(len(summary.points) - 1 - knee)

    def _show_labels(self, index: int) -> None:
        if self._report is not None:
            self._chosen = index
            self._shown.show_labels(self._report, index, reveal=not self._following)

    def show_stability(self) -> None:
        """Add the stability map of the finished spacings as an Image layer."""
        if self._report is not None:
            self._shown.show_stability(self._report)

    def failed(self, error: Exception) -> None:
        """Show an error."""
        self._view.show_message(str(error), "error")

    # -- showing -------------------------------------------------------------------------------

    def emphasize(self, values: tuple[int, ...]) -> None:
        """Emphasize the curves of a structure; no values: of none."""
        self._emphasized = values
        self._show()

    def _show(self) -> None:
        report, loss = self._report, self._state.choices.loss
        state = replace(self._state, curves=None, knee="", shown="")
        if report is not None:
            summary = report.summary
            model_range = report.sweep.trained_range_mm
            state = replace(
                state,
                curves=make_curves(
                    summary,
                    report.request.sweep,
                    model_range,
                    loss,
                    self._emphasized,
                    self._chosen,
                ),
                knee=describe_knee(summary, loss),
                shown=""
                if self._chosen is None
                else f"Shown: {describe_point(summary, self._chosen)}",
            )
        self._state = state
        self.changed.emit(state)

    # -- export --------------------------------------------------------------------------------

    def suggest_path(self, ending: str) -> str:
        """Return a path for an export: next to the scan, named after it."""
        if self._request is None:
            return ending
        source = self._request.sources[0]
        path = source.attributes["metadata"].get(METADATA_KEY, {}).get("path")
        return suggest_path(path, source.name, ending)

    def export_table(self, path: str) -> None:
        """Write the finished spacings as CSV in UTF-8."""
        summary = self.summary
        if summary is None:
            return
        try:
            write_text(Path(path), summary.to_csv(self._state.choices.loss))
        except HyperspaceError as error:
            self.failed(error)
            return
        self.exported(path)

    def exported(self, path: str) -> None:
        """Say that a file was written."""
        self._view.show_message(f"Saved {Path(path).name}.", "good")
