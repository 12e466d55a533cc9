"""One piece of work at a time: through a napari worker, shown in the dock and in napari's bar."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from psygnal import Signal

from napari_hyperspace.gui.jobs.worker import Stop, start_job
from napari_hyperspace.gui.models.view import View

Steps = Generator[Any, None, Any]


class JobRunner:
    """Starts work and follows it. Main thread only.

    Parameters
    ----------
    view
        Shows how far it is.
    """

    started = Signal()
    finished = Signal()  # whatever came of it

    def __init__(self, view: View) -> None:
        self._view = view
        self._stop: Stop | None = None
        self._closed = False
        self._bar: Any = None
        self._after: Callable[[], None] | None = None

    @property
    def running(self) -> bool:
        """Whether something is being worked on."""
        return self._stop is not None

    def start(
        self,
        steps: Callable[[Callable[[], bool]], Steps],
        returned: Callable[[Any], None],
        title: str,
    ) -> None:
        """Work off steps; nothing else may be running.

        Parameters
        ----------
        steps
            Given what says whether to stop; its steps say how far they are.
        returned
            Called with what it returns, unless it fails or is stopped.
        title
            What is being done.
        """
        from napari.utils import progress

        self._stop = Stop()
        self._after = None
        self._view.show_message(f"{title}…")
        self._view.show_progress(0.0)
        self.started.emit()
        self._bar = progress(total=100, desc=title)
        start_job(
            steps,
            stop=self._stop,
            yielded=self._progressed,
            returned=returned,
            errored=lambda error: self._view.show_message(str(error), "error"),
            finished=self._finished,
        )

    def afterwards(self, action: Callable[[], None]) -> None:
        """Do something as soon as the work is over."""
        self._after = action

    def stop(self, why: str, tone: Any = "plain") -> None:
        """Stop what is being worked on, and say why; it ends between two layers of the network."""
        if self._stop is not None and not self._stop():
            self._stop.set()
            self._view.show_message(why, tone)

    def close(self) -> None:
        """Stop what is being worked on, and show no more of it."""
        self._closed = True
        if self._stop is not None:
            self._stop.set()

    def _progressed(self, step: Any) -> None:
        if self._bar is None or self._closed:
            return
        self._view.show_progress(step.fraction)
        self._bar.set_description(step.message)
        # napari's bar lets events run: the work may be over by now.
        if self._bar is not None:
            self._bar.update(round(step.fraction * 100) - self._bar.n)

    def _finished(self) -> None:
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
