"""Progress that moves between the steps that a job reports, and the time that is left."""

from __future__ import annotations

from dataclasses import dataclass

from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.models.formatting import about_time

_DUE = 0.95  # shown when a job should be done by its estimate; the rest is approached slowly


@dataclass(frozen=True)
class ShownProgress:
    """What is shown of the progress.

    Parameters
    ----------
    fraction
        0 to 1; never less than before.
    text
        About how much time is left, if that is known, and the stage.
    """

    fraction: float
    text: str


class Remaining:
    """Combines the reported steps of a job with its estimated time.

    A job may report little for most of its time: a single tile can be all of a run. In between,
    the fraction follows the clock; without an estimate it is the reported one.

    Parameters
    ----------
    now
        Present time in seconds, on any clock.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._total: float | None = None  # estimated seconds from start to end
        self._reported = Progress(0.0, "")
        self._shown = 0.0

    def report(self, step: Progress, now: float) -> None:
        """Take a step that the job reports."""
        self._reported = step
        if step.seconds_left is not None:
            self._total = now - self._started + step.seconds_left

    def at(self, now: float) -> ShownProgress:
        """Return what to show at a time."""
        fraction = self._reported.fraction
        text = self._reported.message.partition(":")[0]  # the stage, without its details
        if self._total:
            spent = max(now - self._started, 0.0)
            seconds_left = self._total - spent
            if seconds_left > 0:
                fraction = _DUE * spent / self._total
                left = f"{about_time(float(round(seconds_left)))} left"
            else:
                fraction = 1 - (1 - _DUE) * self._total / spent
                left = "longer than estimated"
            text = f"{left} · {text}" if text else left
        self._shown = max(self._shown, min(fraction, 1.0))
        return ShownProgress(self._shown, text[:1].upper() + text[1:])
