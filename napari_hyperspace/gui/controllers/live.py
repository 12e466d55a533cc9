"""Keeps cost, accuracy and preview up to date with the user's choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari_hyperspace.core.format import format_seconds
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.viewer import PREVIEW_MARK, PreviewLayer, view_position
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.controllers.spacing import SpacingController
from napari_hyperspace.gui.jobs.guidance import GuidanceChoice
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.jobs.preview import (
    BakeTime,
    NoPreview,
    PreviewEngine,
    PreviewLabels,
    PreviewRequest,
    SpacingAnswer,
    SpacingCost,
    SpacingQuery,
)
from napari_hyperspace.gui.jobs.runner import JobRunner
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.accuracy import accuracy_at
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import (
    describe_cost,
    describe_no_preview,
    describe_preview,
)
from napari_hyperspace.gui.models.spacings import mean_spacing, spacing_notes
from napari_hyperspace.gui.models.view import Accuracy, View

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.nets.model import Model

_ESTIMATING = "estimating…"
_MEASURING = "measuring this machine, once…"

_CostKey = tuple[Grid, "Model", Triple, str, GuidanceChoice | None]


class LiveController:
    """Queries the current choices off the main thread, and shows the answers.

    The newest query wins: a running one is stopped, and its late answers are dropped. The chosen
    model is loaded in the same way.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows the answers.
    services
        Compute them.
    choices, layers, models, spacing
        The state that is queried.
    runner
        There are no previews while a job is running.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        layers: InputLayers,
        models: ModelController,
        spacing: SpacingController,
        runner: JobRunner,
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._choices = choices
        self._layers = layers
        self._models = models
        self._spacing = spacing
        self._runner = runner
        self._engine = PreviewEngine(services)
        self._layer = PreviewLayer(viewer, later)
        self._lane = Lane()
        self._paused = False
        self._bake_text = ""
        self._estimated: _CostKey | None = None  # what the cost shown was estimated for

    @property
    def is_idle(self) -> bool:
        """Whether all queries are answered."""
        return self._lane.is_idle

    def set_live(self, live: bool) -> None:
        """Turn previews on or off."""
        self._choices.live = live

    def set_preview_ms(self, milliseconds: int) -> None:
        """Set the longest time that a preview may take."""
        self._choices.preview_ms = milliseconds

    def pause(self) -> None:
        """Stop all queries, and start none until `resume`."""
        self._paused = True
        self.stop()

    def resume(self) -> None:
        """Query again."""
        self._paused = False
        self.query()

    def stop(self) -> None:
        """Stop the running query and remove the preview."""
        self._lane.cancel()
        self.remove_preview()

    def remove_preview(self) -> None:
        """Remove the preview until the next one."""
        self._layer.remove()
        self._view.show_preview("")

    def forget_costs(self) -> None:
        """Estimate the costs again: a run has measured the fastest precision."""
        self._engine.forget_costs()
        self._estimated = None

    def close(self) -> None:
        """Stop the running query and start no more."""
        self._paused = True
        self._lane.close()
        self._layer.close()

    # -- queries -------------------------------------------------------------------------------

    def query(self, *, preview: bool = True) -> None:
        """Query cost and preview of the current choices, or load the chosen model.

        Parameters
        ----------
        preview
            Whether to preview too, if previews are on.
        """
        key = self._choices.model
        if self._paused or not key:
            return
        model = self._models.model
        if model is None:
            self._lane.submit(
                lambda stop: self._models.load_steps(key), self._models.take, self._failed
            )
            return
        query = self._make_query(model, preview)
        if query is None:
            self._lane.cancel()
            self.show_nothing()
            return

        asked = _cost_key(query)
        if asked != self._estimated:
            self._view.show_estimating(_ESTIMATING)

        def steps(stop: Stop) -> Iterator[SpacingAnswer]:
            return self._engine.answer(query, stop)

        self._lane.submit(steps, lambda answer: self._show(query, answer), self._failed)

    def _make_query(self, model: Model, preview: bool) -> SpacingQuery | None:
        source = self._layers.first()
        if source is None or len(self._layers.layers) != model.image_channels:
            return None
        choices, request = self._choices, None
        if preview and choices.live and not self._runner.running:
            z, y, x = source.world_to_index(view_position(self._viewer)).tolist()
            request = PreviewRequest((z, y, x), choices.preview_ms / 1000, choices.rest_ms / 1000)
        return SpacingQuery(
            self._layers.sources(),
            model,
            choices.spacing_mm,
            choices.run_options(),
            self._spacing.scales.together,
            request,
            self._models.guidance if model.guidance is not None else None,
            self._models.bind,
        )

    # -- answers -------------------------------------------------------------------------------

    def _show(self, query: SpacingQuery, answer: SpacingAnswer) -> None:
        model = query.model
        match answer:
            case BakeTime(seconds):
                if not self._bake_text:  # the first estimate measures the machine for seconds
                    self._view.show_estimating(_MEASURING)
                self._bake_text = f"Network made in {format_seconds(seconds)}"
            case SpacingCost(estimate, slowdown):
                self._estimated = _cost_key(query)
                self._show_cost(model, estimate, slowdown)
            case PreviewLabels():
                self._show_preview(model, answer)
            case NoPreview(side_mm, seconds):
                self._layer.remove()
                text = describe_no_preview(side_mm, seconds, self._choices.preview_ms)
                self._view.show_preview(text, "warning")
            case curve:
                self._view.show_curve(curve, self._spacing.scales.together.trained)

    def _show_cost(self, model: Model, estimate: Estimate, slowdown: float) -> None:
        self._view.show_bake(self._bake_text)
        native = self._spacing.native
        if native is None:
            return
        spacing, outside = self._choices.spacing_mm, self._choices.outside
        notes = spacing_notes(spacing, native, model.trained_range_mm, outside)
        self._view.show_cost(describe_cost(estimate, slowdown), estimate.fits, notes)
        later_runs = estimate.seconds - estimate.probe_seconds
        self._view.show_point(mean_spacing(spacing), later_runs)
        name = str(self._layers.layers[0].name)
        self._view.show_accuracy(accuracy_at(model, spacing, outside, name))

    def _show_preview(self, model: Model, preview: PreviewLabels) -> None:
        if not self._choices.live or self._runner.running:
            return
        what = describe_preview(preview.side_mm)
        name = f"{PREVIEW_MARK}, {what} · {model.name}"
        data = self._layers.sources()[0].block_layer_data(
            preview.labels, preview.start, name, model.label_names, model.label_colors
        )
        self._view.show_preview(f"Preview: {what}.")
        self._layer.show(data, scan=self._layers.layers[0], sharp=preview.sharp)

    def _failed(self, error: Exception) -> None:
        if self._models.model is None:
            self._models.show_failure()
        self.show_nothing()
        self._view.show_message(str(error), "error")

    def show_nothing(self) -> None:
        """Show no cost, accuracy or curve: there is nothing to estimate."""
        self._estimated = None
        self._view.show_bake("")
        self._view.show_cost("", True, ())
        self._view.show_accuracy(Accuracy())
        self._view.show_curve(None, None)


def _cost_key(query: SpacingQuery) -> _CostKey:
    """Return what the cost of a query depends on."""
    grid = query.sources[0].placement.grid
    how = f"{query.options.device}, best {query.options.best}"
    return grid, query.model, query.spacing_mm, how, query.guidance
