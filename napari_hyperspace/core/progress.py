"""Work that reports its progress: generators that yield `Progress` and return a result."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

__all__ = ["Progress", "ReportProgress", "as_part", "run_to_end"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """Fraction of the work that is done (0 to 1), and a text about the next step.

    Parameters
    ----------
    seconds_left
        Estimated time until the end of the work, if it is known. Between two steps, much of the
        work may be done: a single tile can be all of it.
    """

    fraction: float
    message: str
    seconds_left: float | None = None


class ReportProgress(Protocol):
    """Receives the fraction of the work that is done (0 to 1), and a text about the next step."""

    def __call__(self, fraction: float, message: str) -> None:
        """Report progress."""


def run_to_end(
    steps: Generator[Progress, None, Result], report: ReportProgress | None = None
) -> Result:
    """Run a generator to its end and return its result.

    Parameters
    ----------
    steps
        Yields its progress, returns its result.
    report
        Called at each step.
    """
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if report is not None:
            report(step.fraction, step.message)


def as_part(
    steps: Generator[Progress, None, Result], start: float, end: float, stage: str = ""
) -> Generator[Progress, None, Result]:
    """Run a generator as one part of larger work.

    Parameters
    ----------
    steps
        Reports its own progress from 0 to 1.
    start, end
        Fractions of the larger work at which this part starts and ends.
    stage
        What this part does; its messages begin with it.
    """
    try:
        while True:
            progress = next(steps)
            message = f"{stage}: {progress.message}" if stage else progress.message
            fraction = start + (end - start) * progress.fraction
            yield replace(progress, fraction=fraction, message=message)
    except StopIteration as finished:
        result: Result = finished.value
        return result
    finally:
        steps.close()
