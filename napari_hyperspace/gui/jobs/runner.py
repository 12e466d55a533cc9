"""One job at a time, in a napari worker; its progress is shown in the dock and in napari's bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.jobs.worker import Stop, start_job
from napari_hyperspace.gui.models.remaining import Remaining
from napari_hyperspace.gui.models.view import Tone, View

if TYPE_CHECKING:
    from napari.utils import progress as ProgressBar

_TICK_MS = 200

Result = TypeVar("Result")
Steps = Generator[Progress, None, Result]
"""A job: yields its progress, returns its result."""


class JobRunner:
    """Starts jobs and shows their progress. Main thread only.

    Parameters
    ----------
    view
        Shows progress and messages.
    clock
        Returns the time in seconds.
    """

    started = Signal()
    progressed = Signal(Progress)
    """Emitted at each step that a job reports."""
    finished = Signal()
    """Emitted when a job returned, failed or was stopped."""

    def __init__(self, view: View, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._stop: Stop | None = None
        self._closed = False
        self._title = ""
        self._bar: ProgressBar | None = None
        self._after: Callable[[], None] | None = None
        self._clock = clock
        self._remaining = Remaining(0.0)
        self._timer: QTimer | None = None

    @property
    def running(self) -> bool:
        """Whether a job is running."""
        return self._stop is not None

    def start(
        self,
        steps: Callable[[ShouldStop], Steps[Result]],
        returned: Callable[[Result], None],
        title: str,
    ) -> None:
        """Start a job. No other job may be running.

        Parameters
        ----------
        steps
            Makes the generator that is run, off the main thread.
        returned
            Called on the main thread with the result, unless the job fails or is stopped.
        title
            What the job does, for the user.
        """
        from napari.utils import progress

        self._stop = Stop()
        self._title = title
        self._after = None
        self._view.show_message(f"{title}…")
        self._remaining = Remaining(self._clock())
        self._view.show_progress(0.0)
        self.started.emit()
        self._bar = progress(total=100, desc=title)
        self._timer = QTimer()
        self._timer.timeout.connect(self._show_progress)
        self._timer.start(_TICK_MS)
        start_job(
            steps,
            stop=self._stop,
            title=title,
            yielded=self._progressed,
            returned=returned,
            errored=lambda error: self._view.show_message(str(error), "error"),
            finished=self._finished,
        )

    def afterwards(self, action: Callable[[], None]) -> None:
        """Call a function once the running job has finished."""
        self._after = action

    def stop(self, why: str, tone: Tone = "plain") -> None:
        """Stop the running job, if there is one, and show why.

        A segmentation stops between two layers of the network.
        """
        if self._stop is not None and not self._stop():
            self._stop.set()
            self._view.show_message(why, tone)

    def stop_for_panel(self) -> None:
        """Stop the running job because the panel was closed; napari shows that it was stopped."""
        from napari.utils.notifications import show_warning

        if self._stop is not None and not self._stop():
            why = f"“{self._title}” was stopped: the HyperSpace panel was closed."
            self.stop(why, "warning")
            show_warning(why)

    def close(self) -> None:
        """Stop the running job, and no longer use the view."""
        self._closed = True
        self._stop_timer()
        if self._stop is not None:
            self._stop.set()

    def _progressed(self, step: Progress) -> None:
        if self._bar is None or self._closed:
            return
        self.progressed.emit(step)
        self._remaining.report(step, self._clock())
        self._bar.set_description(step.message)
        self._show_progress()

    def _show_progress(self) -> None:
        """Show the progress now: much of a job may be done between two steps."""
        if self._bar is None or self._closed:
            return
        shown = self._remaining.at(self._clock())
        self._view.show_progress(shown.fraction, shown.text)
        # napari's bar processes events: the job may have finished by now.
        if self._bar is not None:
            self._bar.update(round(shown.fraction * 100) - self._bar.n)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _finished(self) -> None:
        self._stop_timer()
        self._stop = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._closed:
            return
        self._view.show_progress(None)
        self.finished.emit()
        after, self._after = self._after, None
        if after is not None:
            after()
