"""The user fits the spacing to a budget of time and memory."""

from __future__ import annotations

from dataclasses import replace

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_seconds, format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.controllers.spacing import SpacingController
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import View


class BudgetController:
    """Finds the finest spacing within a budget.

    Parameters
    ----------
    view
        Shows messages.
    services
        Estimate costs.
    choices, layers, library
        What would be segmented, and with which model.
    spacing
        Takes the spacing.
    runner
        Runs the job.
    """

    def __init__(
        self,
        view: View,
        services: Services,
        choices: Choices,
        layers: InputLayers,
        library: ModelLibrary,
        spacing: SpacingController,
        runner: JobRunner,
    ) -> None:
        self._view = view
        self._services = services
        self._choices = choices
        self._layers = layers
        self._library = library
        self._spacing = spacing
        self._runner = runner

    def fit(self, seconds: float, memory_bytes: float | None) -> None:
        """Set the finest spacing whose run keeps within a budget.

        Parameters
        ----------
        seconds
            Longest time of a run.
        memory_bytes
            Most memory of the device; never more than is free, which is the default.
        """
        if self._runner.running or not self._choices.model:
            return
        try:
            grid = self._layers.sources()[0].placement.grid
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        choices = replace(self._choices, outside="extrapolate")

        def steps(should_stop: ShouldStop) -> Steps[Triple]:
            yield from ()
            model = self._library.load(choices.model)
            options = choices.inference_options()
            present = self._services.estimate(grid, model, choices.spacing_mm, options)
            free = present.available_bytes
            return self._services.spacing_for(
                grid,
                model,
                seconds=seconds,
                memory_bytes=free if memory_bytes is None else min(round(memory_bytes), free),
                device=choices.device or None,
            )

        def found(spacing_mm: Triple) -> None:
            self._spacing.request(spacing_mm)
            self._view.show_message(
                f"{format_spacing(spacing_mm, collapse=True)} is the finest spacing within "
                f"{format_seconds(seconds)}.",
                "good",
            )

        self._runner.start(steps, found, "Looking for the finest spacing")
