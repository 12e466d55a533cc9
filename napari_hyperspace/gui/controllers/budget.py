"""The user fits the spacing to a budget of time and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import clamp_spacing
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.controllers.spacing import SpacingController
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import describe_cost, format_memory, format_time
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate

_SAME = 1.01  # spacings up to this factor apart count as equal
_FINER = 1.05  # a spacing finer by this factor shows which limit it would exceed


class _Limit(Enum):
    """Why no finer spacing was chosen."""

    TIME = auto()
    MEMORY = auto()
    OWN_SPACING = auto()


@dataclass(frozen=True)
class _Found:
    """The finest spacing within a budget.

    Parameters
    ----------
    estimate
        The cost of a run at it.
    limit
        What a finer spacing would exceed.
    memory_bytes
        The memory that a run was allowed to take.
    all_free
        Whether that is all of the free memory.
    """

    spacing_mm: Triple
    estimate: Estimate
    limit: _Limit
    memory_bytes: int
    all_free: bool

    def describe(self, seconds: float) -> str:
        """Return a sentence about the spacing, its cost, and the limit of ``seconds`` or memory."""
        spacing = format_spacing(self.spacing_mm, collapse=True, digits=3)
        cost = describe_cost(replace(self.estimate, probe_seconds=0.0, seconds=self._later_seconds))
        if self.limit is _Limit.OWN_SPACING:
            return f"{spacing} is within the budget ({cost}); finer gives no more detail."
        if self.limit is _Limit.TIME:
            limit = format_time(seconds)
        else:
            limit = format_memory(self.memory_bytes)
            limit = f"the {limit} of free memory" if self.all_free else limit
        return f"{spacing} is the finest trained spacing within {limit} ({cost})."

    @property
    def _later_seconds(self) -> float:
        return self.estimate.seconds - self.estimate.probe_seconds


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
    models
        Give the trained range.
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
        models: ModelController,
        spacing: SpacingController,
        runner: JobRunner,
    ) -> None:
        self._view = view
        self._services = services
        self._choices = choices
        self._layers = layers
        self._library = library
        self._models = models
        self._spacing = spacing
        self._runner = runner

    def set_budget(self, seconds: float, gigabytes: float) -> None:
        """Set what later fits allow; 0 GB: the free memory."""
        self._choices.budget_s, self._choices.budget_gb = seconds, gigabytes

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

        own = clamp_spacing(grid.canonical().spacing_mm, self._models.trained_range_mm)

        def steps(should_stop: ShouldStop) -> Steps[_Found]:
            yield from ()
            model = self._library.load_to_run(choices.model)
            options = choices.run_options()

            def cost(spacing_mm: Triple) -> Estimate:
                return self._services.estimate(grid, model, spacing_mm, options)

            free = cost(choices.spacing_mm).available_bytes
            allowed = free if memory_bytes is None else min(round(memory_bytes), free)
            spacing_mm = self._services.spacing_for(
                grid,
                model,
                seconds=seconds,
                memory_bytes=allowed,
                device=choices.device or None,
            )
            limit = _Limit.OWN_SPACING
            if any(step > finest * _SAME for step, finest in zip(spacing_mm, own, strict=True)):
                z, y, x = (max(s / _FINER, o) for s, o in zip(spacing_mm, own, strict=True))
                too_large = cost((z, y, x)).peak_bytes > allowed
                limit = _Limit.MEMORY if too_large else _Limit.TIME
            return _Found(spacing_mm, cost(spacing_mm), limit, allowed, allowed == free)

        def found(outcome: _Found) -> None:
            self._spacing.request(outcome.spacing_mm)
            self._view.show_message(outcome.describe(seconds))

        self._runner.start(steps, found, "Looking for the finest spacing")
