"""Work that reports its progress: generators that yield `Progress` and return a result."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from napari_hyperspace.core.errors import Cancelled, ShouldStop

__all__ = ["Progress", "ReportProgress", "as_part", "check_stop", "run_to_end", "stopped_by"]

Result = TypeVar("Result")

_should_stop: ContextVar[ShouldStop] = ContextVar("should_stop", default=lambda: False)


@contextmanager
def stopped_by(should_stop: ShouldStop) -> Iterator[None]:
    """Let work of this thread be stopped that takes no such argument: measurements of the machine.

    Parameters
    ----------
    should_stop
        Asked by `check_stop`.
    """
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)


def check_stop() -> None:
    """Raise `Cancelled` if the work of this thread was asked to stop, by `stopped_by`."""
    if _should_stop.get()():
        raise Cancelled


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
