"""Work off the main thread: a lane where the latest job wins, and jobs that run to their end.

Previews go through a `Lane` rather than through napari's workers: those swap Python's
process-wide warning filters while they run, so that two of them overlapping can leave the wrong
ones behind, and napari lists each of them as a task. Runs, reads and writes are napari's: their
errors and warnings are shown in the viewer, and napari warns before it is closed on them.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_hyperspace.core.errors import Cancelled, HyperspaceError

Deliver = Callable[[Any], None]
Fail = Callable[[Exception], None]


class _HeapAtRest:
    """While work is being done, Python's garbage collector leaves older objects alone.

    With torch and napari loaded, a full collection holds every thread up for 250 to 450 ms
    (measured), the window too. Frozen objects are skipped and come back when the work is over.
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


_heap_at_rest = _HeapAtRest()


class Stop:
    """Tells a job that a newer one has come."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask the job to stop."""
        self._event.set()

    def rest(self, seconds: float) -> None:
        """Wait, and raise `Cancelled` as soon as the job is to stop."""
        if self._event.wait(seconds):
            raise Cancelled


class _Job:
    """Steps to do, and where their outcome goes."""

    def __init__(
        self, steps: Callable[[Stop], Iterator[Any]], deliver: Deliver, fail: Fail
    ) -> None:
        self.steps = steps
        self.deliver = deliver
        self.fail = fail
        self.stop = Stop()


class Lane(QObject):
    """One job running, one pending: a newer job takes the pending place and stops the running one.

    What a job yields is delivered on the main thread, and only while no newer job has been
    submitted: late results are dropped.
    """

    _posted = Signal(object, object, object)  # job, its callback, the argument

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._changed = threading.Condition()
        self._running: _Job | None = None
        self._pending: _Job | None = None
        self._latest: _Job | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._posted.connect(self._receive)

    def submit(self, steps: Callable[[Stop], Iterator[Any]], deliver: Deliver, fail: Fail) -> None:
        """Do these steps as soon as the running job has stopped.

        Parameters
        ----------
        steps
            Given the job's `Stop`, returns what to iterate over, off the main thread.
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
        """Stop the running job, forget the pending one, and drop whatever still comes."""
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
        """Whether nothing runs and nothing waits."""
        with self._changed:
            return self._running is None and self._pending is None

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing runs and nothing waits; false if that took longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._running is None and self._pending is None, timeout
            )

    def _stop_running(self) -> None:
        if self._running is not None:
            self._running.stop.set()

    def _work(self) -> None:
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
                with _heap_at_rest:
                    for item in job.steps(job.stop):
                        self._post(job, job.deliver, item)
                        if job.stop():
                            break
            except Cancelled:
                pass
            except Exception as error:  # whatever it is, the user must see it, not the thread die
                self._post(job, job.fail, error)
            del job  # it keeps alive whoever submitted it

    def _post(self, job: _Job, callback: Callable[[Any], None], argument: Any) -> None:
        if not job.stop() and not self._closed:
            self._posted.emit(job, callback, argument)

    def _receive(self, job: _Job, callback: Callable[[Any], None], argument: Any) -> None:
        if job is self._latest and not self._closed:
            callback(argument)


def start_job(
    steps: Callable[..., Generator[Any, None, Any]],
    *,
    stop: Stop,
    yielded: Deliver,
    returned: Deliver,
    errored: Fail,
    finished: Callable[[], None],
) -> Any:
    """Start a napari worker over ``steps(stop)``; the callbacks are called on the main thread.

    A job that is cancelled only finishes. Other errors go to the viewer's notifications too.
    """
    from napari.qt.threading import create_worker
    from napari.utils.notifications import notification_manager

    def should_stop() -> bool:
        # napari asks a worker to quit when the viewer is closed; the dock widget asks `stop`.
        return stop() or worker.abort_requested

    def guarded() -> Generator[Any, None, Any]:
        # What goes wrong is returned rather than raised: napari's workers take any RuntimeError
        # for that of a deleted object and fall silent, and show errors under some bindings only.
        try:
            with _heap_at_rest:
                return (yield from steps(should_stop))
        except Cancelled:
            return None
        except Exception as error:
            return _Failure(error)

    def deliver(outcome: Any) -> None:
        if outcome is None or should_stop():
            return
        if isinstance(outcome, _Failure):
            _show_in_viewer(outcome.error)
            errored(outcome.error)
        else:
            returned(outcome)

    worker = create_worker(
        guarded,
        _start_thread=False,
        _connect={
            "yielded": yielded,
            "returned": deliver,
            "warned": lambda warning: notification_manager.receive_warning(*warning),
            "finished": finished,
        },
    )
    worker.start()
    return worker


@dataclass(frozen=True)
class _Failure:
    """What a job failed with."""

    error: Exception


def _show_in_viewer(error: Exception) -> None:
    """Show an error as napari does: in words if it is meant for users, else with its traceback."""
    from napari.utils.notifications import notification_manager, show_error

    if isinstance(error, HyperspaceError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
