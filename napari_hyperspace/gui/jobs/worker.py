"""Work off the main thread: a lane in which the newest job replaces the others, and napari workers.

Previews run in a `Lane` and not in napari's workers: those replace Python's process-wide warning
filters while they run, so that two overlapping workers can restore the wrong ones, and napari lists
each of them as a task. Runs, reads and writes use napari's workers: napari shows their errors and
warnings, and asks before it is closed while one is running.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import stopped_by
from napari_hyperspace.support.log import log_error, log_warning

if TYPE_CHECKING:
    from napari.qt.threading import GeneratorWorker

Item = TypeVar("Item")
Result = TypeVar("Result")
Fail = Callable[[Exception], None]


_NICE = 5


def _lower_priority() -> None:
    """Let the threads that draw the window go before this one and those that it starts.

    Where there are no more cores than computing threads, the window otherwise waits for its turn:
    the median of a 5 ms timer was 16 ms. Only Linux has a priority per thread in this form.
    """
    if sys.platform == "linux":
        usual = os.getpriority(os.PRIO_PROCESS, os.getpid())
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, usual + _NICE))


class _FrozenHeap:
    """Keeps Python's garbage collector from scanning existing objects while work is being done.

    With torch and napari loaded, a full collection stops all threads for 250 to 450 ms (measured),
    the main thread included. Frozen objects are skipped; they are unfrozen after the work.
    """

    def __init__(self) -> None:
        self._working = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._working == 0:
                gc.freeze()
            self._working += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._working -= 1
            if self._working == 0:
                gc.unfreeze()


_frozen_heap = _FrozenHeap()


class Stop:
    """Asks a job to stop. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask the job to stop."""
        self._event.set()

    def rest(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        Cancelled
            As soon as the job is asked to stop.
        """
        if self._event.wait(seconds):
            raise Cancelled


class _Job(Generic[Item]):
    """The steps of a job, and the callbacks for its items and its error."""

    def __init__(
        self,
        steps: Callable[[Stop], Iterator[Item]],
        deliver: Callable[[Item], None],
        fail: Fail,
    ) -> None:
        self.steps = steps
        self.deliver = deliver
        self.fail = fail
        self.stop = Stop()


_EXIT_SECONDS = 60.0
_lanes: weakref.WeakSet[Lane] = weakref.WeakSet()


@atexit.register
def _close_lanes() -> None:
    """Stop all work and wait for its end: a thread that Python ends within torch is an abort."""
    for lane in list(_lanes):
        lane.close(_EXIT_SECONDS)


class Lane(QObject):
    """One running and one pending job: a newer job replaces the pending one, stops the running one.

    The items of a job are delivered on the main thread, and only while no newer job was submitted:
    late items are dropped.
    """

    _posted = Signal(object, object, object)  # job, its callback, the argument

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._changed = threading.Condition()
        self._running: _Job[Any] | None = None
        self._pending: _Job[Any] | None = None
        self._latest: _Job[Any] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._posted.connect(self._receive)
        _lanes.add(self)

    def submit(
        self,
        steps: Callable[[Stop], Iterator[Item]],
        deliver: Callable[[Item], None],
        fail: Fail,
    ) -> None:
        """Run a job as soon as the running one has stopped.

        Parameters
        ----------
        steps
            Returns the items of the job, given its `Stop`; called off the main thread.
        deliver, fail
            Called on the main thread, with each item and with an exception.
        """
        with self._changed:
            if self._closed:
                return
            self._stop_running()
            self._latest = self._pending = _Job(steps, deliver, fail)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hyperspace", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def cancel(self) -> None:
        """Stop the running job, remove the pending one, and drop items not yet delivered."""
        with self._changed:
            self._stop_running()
            self._latest = self._pending = None

    def close(self, timeout: float = 5.0) -> None:
        """Cancel, and end the thread."""
        self.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def is_idle(self) -> bool:
        """Whether no job is running or pending."""
        with self._changed:
            return self._running is None and self._pending is None

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no job is running or pending; return false if that takes longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._running is None and self._pending is None, timeout
            )

    def _stop_running(self) -> None:
        if self._running is not None:
            self._running.stop.set()

    def _work(self) -> None:
        _lower_priority()
        while True:
            with self._changed:
                self._running = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._pending is not None)
                if self._closed:
                    return
                job, self._pending = self._pending, None
                self._running = job
            assert job is not None
            try:
                with _frozen_heap, stopped_by(job.stop):
                    for item in job.steps(job.stop):
                        self._post(job, job.deliver, item)
                        if job.stop():
                            break
            except Cancelled:
                pass
            except Exception as error:  # shown to the user; the thread must live on
                log_error(error, "live")
                self._post(job, job.fail, error)
            del job  # it would keep its submitter alive

    def _post(self, job: _Job[Any], callback: Callable[[Any], None], argument: object) -> None:
        if not job.stop() and not self._closed:
            self._posted.emit(job, callback, argument)

    def _receive(self, job: _Job[Any], callback: Callable[[Any], None], argument: object) -> None:
        if job is self._latest and not self._closed:
            callback(argument)


class _Titled(functools.partial[Any]):
    """A function with a title, by which napari calls it when it asks before it is closed."""

    title: str

    def __new__(cls, title: str, function: Callable[..., Any]) -> _Titled:
        titled = super().__new__(cls, function)
        titled.title = title
        return titled

    def __str__(self) -> str:
        return f"“{self.title}”"


@dataclass(frozen=True)
class _Failure:
    """The error of a job."""

    error: Exception


def start_job(
    steps: Callable[[ShouldStop], Generator[Item, None, Result]],
    *,
    stop: Stop,
    title: str = "HyperSpace",
    yielded: Callable[[Item], None],
    returned: Callable[[Result], None],
    errored: Fail,
    finished: Callable[[], None],
) -> GeneratorWorker:
    """Start a napari worker.

    Parameters
    ----------
    steps
        Makes the generator that is run, off the main thread.
    stop
        Stops it: no result is returned then.
    title
        What the job does; napari shows it if its window is closed meanwhile.
    yielded, returned, errored, finished
        Called on the main thread: with each item, with the result, with an error, and at the end
        of every job. Errors are shown as notifications of the viewer too; `Cancelled` is no error.
    """
    from napari.qt.threading import create_worker
    from napari.utils.notifications import notification_manager

    def should_stop() -> bool:
        # napari sets `abort_requested` when the viewer is closed, the dock sets `stop`.
        return stop() or bool(worker.abort_requested)

    def guarded() -> Generator[Item, None, Result | _Failure | None]:
        # Errors are returned and not raised: napari's workers ignore any RuntimeError, taken for
        # that of a deleted Qt object, and show errors with some Qt bindings only.
        _lower_priority()
        try:
            with _frozen_heap, stopped_by(should_stop):
                return (yield from steps(should_stop))
        except Cancelled:
            return None
        except Exception as error:
            log_error(error, "job")
            return _Failure(error)

    def warned(warning: tuple[Warning, type[Warning], str, int]) -> None:
        log_warning(warning[0], "job")
        notification_manager.receive_warning(*warning)

    def deliver(outcome: Result | _Failure | None) -> None:
        if outcome is None or should_stop():
            return
        if isinstance(outcome, _Failure):
            _show_in_viewer(outcome.error)
            errored(outcome.error)
        else:
            returned(outcome)

    worker = create_worker(
        _Titled(title, guarded),
        _start_thread=False,
        _connect={
            "yielded": yielded,
            "returned": deliver,
            "warned": warned,
            "finished": finished,
        },
    )
    worker.start()
    return worker


def _show_in_viewer(error: Exception) -> None:
    """Show an error as napari does: its text if it is meant for users, else with its traceback."""
    from napari.utils.notifications import notification_manager, show_error

    if isinstance(error, HyperspaceError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
