"""Progress of a sweep."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from napari_hyperspace.api.segment import SegmentResult
from napari_hyperspace.api.sweeps.result import SweepSummary
from napari_hyperspace.core.progress import Progress

__all__ = ["SweepProgress", "reported"]


@dataclass(frozen=True)
class SweepProgress(Progress):
    """Progress of a sweep.

    Parameters
    ----------
    summary
        All finished spacings, once after each of them; otherwise `None`.
    """

    summary: SweepSummary | None = None


def reported(
    steps: Generator[Progress, None, SegmentResult], message: str, later_s: float
) -> Generator[SweepProgress, None, SegmentResult]:
    """Add the number of the spacing, and the time of the later ones, to the steps of one."""
    try:
        while True:
            step = next(steps)
            left = None if step.seconds_left is None else step.seconds_left + later_s
            yield SweepProgress(step.fraction, f"{message}, {step.message}", left)
    except StopIteration as finished:
        result: SegmentResult = finished.value
        return result
    finally:
        steps.close()
