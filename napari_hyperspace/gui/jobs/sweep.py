"""A sweep off the main thread: its finished spacings are delivered while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerSource
from napari_hyperspace.gui.adapters.regions import Box, box_of_volume
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.sweep import SweepChoices

if TYPE_CHECKING:
    from napari_hyperspace.api.sweeps.result import SweepSummary
    from napari_hyperspace.api.sweeps.sweep import Sweep


@dataclass(frozen=True, eq=False)
class SweepRequest:
    """What to sweep, as it was when the user started it.

    Parameters
    ----------
    sources
        The layers to segment, one per input channel.
    choices
        Model, device and post-processing, and the spacing along the axes that are not swept.
    sweep
        The spacings.
    box
        Part of the layer to segment, in its array order; `None`: all of it.
    reference
        Labels to measure Dice with; `None`: the finest spacing.
    """

    sources: tuple[LayerSource, ...]
    choices: Choices
    sweep: SweepChoices
    box: Box | None = None
    reference: Volume | None = None

    def make(self, services: Services, library: ModelLibrary) -> Sweep:
        """Load the model, and check and plan the sweep. Not for the main thread."""
        wanted, source = self.sweep, self.sources[0]
        return services.sweep(
            [each.volume() for each in self.sources],
            library.load_to_run(self.choices.model),
            range_mm=(wanted.low_mm, wanted.high_mm),
            count=wanted.count,
            axis=wanted.axis or None,
            fixed_mm=self.choices.spacing_mm,
            box=None if self.box is None else box_of_volume(self.box, source),
            reference=self.reference,
            postprocessing=self.choices.postprocessing(),
            options=self.choices.inference_options(),
        )


@dataclass(frozen=True, eq=False)
class SweepReport:
    """A spacing was finished.

    Parameters
    ----------
    request
        What is swept.
    sweep
        The sweep.
    summary
        All spacings finished so far.
    """

    request: SweepRequest
    sweep: Sweep
    summary: SweepSummary


class SweepJob(QObject):
    """Runs sweeps; delivers each finished spacing on the main thread.

    Parameters
    ----------
    services, library
        Segment, with which model.
    deliver
        Called on the main thread.
    """

    _posted = Signal(object)

    def __init__(
        self, services: Services, library: ModelLibrary, deliver: Callable[[SweepReport], None]
    ) -> None:
        super().__init__()
        self._services = services
        self._library = library
        self._deliver = deliver
        self._posted.connect(self._receive)

    def steps(self, request: SweepRequest, should_stop: ShouldStop) -> Steps[SweepSummary]:
        """Run a sweep, off the main thread."""
        yield Progress(0.0, "preparing")
        sweep = request.make(self._services, self._library)
        yield Progress(0.0, "preparing", seconds_left=sweep.seconds)
        for step in sweep.steps(should_stop):
            if step.summary is not None:
                self._posted.emit(SweepReport(request, sweep, step.summary))
            yield Progress(step.fraction, step.message, step.seconds_left)
        return sweep.summary

    def _receive(self, report: SweepReport) -> None:
        self._deliver(report)


def request_of(
    sources: Sequence[LayerSource],
    choices: Choices,
    sweep: SweepChoices,
    box: Box | None,
    reference: Volume | None,
) -> SweepRequest:
    """Return a request with copies of the choices, which the user may change during the sweep."""
    return SweepRequest(tuple(sources), replace(choices), sweep, box, reference)
