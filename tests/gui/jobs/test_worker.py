from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import warnings
import weakref
from types import SimpleNamespace

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.progress import check_stop
from napari_hyperspace.gui.jobs.worker import Lane, Stop, start_job


@pytest.fixture
def lane(qtbot):
    lane = Lane()
    yield lane
    lane.close()


def fail_test(error):
    pytest.fail(str(error))


def test_results_come_in_order_on_the_main_thread(lane, qtbot):
    heard = []

    def steps(stop):
        assert threading.current_thread() is not threading.main_thread()
        yield from (1, 2, 3)

    lane.submit(steps, lambda item: heard.append((item, threading.current_thread())), fail_test)
    qtbot.waitUntil(lambda: len(heard) == 3)
    assert heard == [(n, threading.main_thread()) for n in (1, 2, 3)]


def test_of_many_jobs_at_once_only_the_first_and_the_last_run(lane, qtbot):
    """Fault 60 of the list of bad inputs: pending jobs are replaced, late items are dropped."""
    started, heard = [], []
    release = threading.Event()

    def steps(n):
        def job(stop):
            started.append(n)
            if n == 0:
                assert release.wait(5)
                yield "late"
            yield n

        return job

    lane.submit(steps(0), heard.append, fail_test)
    qtbot.waitUntil(lambda: started == [0])
    for n in range(1, 200):
        lane.submit(steps(n), heard.append, fail_test)
    release.set()
    qtbot.waitUntil(lambda: heard == [199])
    assert started == [0, 199]


def test_a_newer_job_stops_the_running_one(lane, qtbot):
    heard = []
    resting = threading.Event()

    def patient(stop):
        yield "first"
        resting.set()
        stop.rest(30)
        yield "never"

    lane.submit(patient, heard.append, fail_test)
    assert resting.wait(5)
    lane.submit(lambda stop: iter(["second"]), heard.append, fail_test)
    qtbot.waitUntil(lambda: "second" in heard)
    assert "never" not in heard


def test_cancel_drops_items_not_yet_delivered(lane, qtbot):
    heard = []
    posted = threading.Event()

    def steps(stop):
        yield "not yet delivered"
        posted.set()

    lane.submit(steps, heard.append, fail_test)
    assert posted.wait(5)
    lane.cancel()
    qtbot.wait(20)
    assert heard == []


def test_the_lane_continues_after_an_error(lane, qtbot):
    errors, heard = [], []

    def steps(stop):
        raise HyperspaceError("broken")
        yield

    lane.submit(steps, heard.append, errors.append)
    qtbot.waitUntil(lambda: len(errors) == 1)
    lane.submit(lambda stop: iter(["fine"]), heard.append, fail_test)
    qtbot.waitUntil(lambda: heard == ["fine"])
    assert str(errors[0]) == "broken"


def test_a_closed_lane_has_no_thread_and_runs_no_job(qtbot):
    lane = Lane()
    heard = []
    lane.submit(lambda stop: iter([1]), heard.append, fail_test)
    qtbot.waitUntil(lambda: heard == [1])
    lane.close()
    lane.submit(lambda stop: iter([2]), heard.append, fail_test)
    assert lane.wait_idle(1)
    qtbot.wait(20)
    assert heard == [1]
    assert "hyperspace" not in [thread.name for thread in threading.enumerate()]


class Heard:
    def __init__(self):
        self.yielded, self.returned, self.errors, self.finished = [], [], [], 0

    def start(self, steps, **options):
        self.stop = Stop()
        self.worker = start_job(
            steps,
            stop=self.stop,
            **options,
            yielded=self.yielded.append,
            returned=self.returned.append,
            errored=self.errors.append,
            finished=self._finish,
        )

    def _finish(self):
        self.finished += 1


def test_a_job_yields_and_returns(qtbot):
    heard = Heard()

    def steps(should_stop):
        yield 0.5
        return "result"

    heard.start(steps)
    qtbot.waitUntil(lambda: heard.finished == 1)
    assert (heard.yielded, heard.returned, heard.errors) == ([0.5], ["result"], [])


@pytest.mark.parametrize("how", ["stop", "quit"])
def test_a_job_is_stopped_by_us_or_by_napari(qtbot, how):
    heard = Heard()
    running = threading.Event()

    def steps(should_stop):
        yield 0
        running.set()
        while not should_stop():
            time.sleep(0.001)
        return "late"

    heard.start(steps)
    assert running.wait(5)
    heard.stop.set() if how == "stop" else heard.worker.quit()
    qtbot.waitUntil(lambda: heard.finished == 1)
    assert (heard.returned, heard.errors) == ([], [])


@pytest.mark.parametrize("kind", [HyperspaceError, RuntimeError, ValueError])
def test_any_error_is_reported_and_the_job_finishes(qtbot, kind, own_log):
    """Fault 66 of the list of bad inputs.

    napari's workers ignore a RuntimeError, which torch raises, and then never finish.
    """
    heard = Heard()

    def steps(should_stop):
        yield 0
        raise kind("broken")

    heard.start(steps)
    qtbot.waitUntil(lambda: heard.finished == 1)
    assert [str(error) for error in heard.errors] == ["broken"]
    assert heard.returned == []
    assert f" job: {kind.__name__}" in own_log.read_text("utf-8")


def test_a_warning_is_logged(qtbot, own_log):
    heard = Heard()

    def steps(should_stop):
        yield 0
        warnings.warn("Mustermann is odd", HyperspaceWarning, stacklevel=1)

    heard.start(steps)
    qtbot.waitUntil(lambda: heard.finished == 1)
    text = own_log.read_text("utf-8")
    assert " job: HyperspaceWarning" in text and "Mustermann" not in text


def test_an_idle_lane_holds_no_reference_to_submitters(lane, qtbot):
    class Submitter:
        def steps(self, stop):
            yield 1

    submitter, heard = Submitter(), []
    lane.submit(submitter.steps, heard.append, fail_test)
    qtbot.waitUntil(lambda: heard == [1] and lane.is_idle)
    lane.cancel()
    gone = weakref.ref(submitter)
    del submitter
    qtbot.waitUntil(lambda: gone() is None)


def test_the_heap_is_frozen_while_a_job_runs(lane, qtbot):
    heard = []

    def steps(stop):
        yield gc.get_freeze_count()

    lane.submit(steps, heard.append, fail_test)
    lane.submit(steps, heard.append, fail_test)
    qtbot.waitUntil(lambda: heard != [] and lane.is_idle)
    assert heard[-1] > 1000
    assert gc.get_freeze_count() == 0


def test_napari_calls_a_job_by_its_title(qtbot, monkeypatch):
    """It asks "Executing …" before its window is closed."""
    from napari._qt import qthreading

    tasks = []

    class Window:
        def _register_task_status(self, provider, status, description, cancel_callback):
            tasks.append(description)

        def _update_task_status(self, task, status, description):
            tasks.append(description)

    viewer = SimpleNamespace(window=Window())
    monkeypatch.setattr(qthreading, "current_viewer", lambda: viewer)
    heard = Heard()

    def steps(should_stop):
        yield 1

    heard.start(steps, title="Segmenting T1")
    qtbot.waitUntil(lambda: heard.finished == 1)
    assert tasks[:2] == ["“Segmenting T1” execution pending", "Executing “Segmenting T1”"]


def test_a_stopped_job_stops_its_measurements(lane, qtbot):
    """Measurements of the machine ask `check_stop`, which knows the job of its thread."""
    going = threading.Event()
    ended = []

    def steps(stop):
        try:
            while True:
                check_stop()
                going.set()
                time.sleep(0.001)
        except Cancelled:
            ended.append(True)
            raise
        yield

    lane.submit(steps, fail_test, fail_test)
    assert going.wait(5)
    lane.cancel()
    assert lane.wait_idle(5) and ended == [True]
    check_stop()  # of this thread: no job


def test_the_interpreter_waits_for_the_end_of_a_job():
    """A thread that Python ends while it computes in torch is an abort of the process."""
    script = """
import sys, time
from qtpy.QtCore import QCoreApplication
from napari_hyperspace.gui.jobs.worker import Lane
app = QCoreApplication([])
lane = Lane()
def steps(stop):
    print("started", flush=True)
    while not stop():
        time.sleep(0.01)
    time.sleep(0.5)  # what cannot be stopped
    print("ended", flush=True)
    yield
lane.submit(steps, print, print)
while lane._running is None:
    time.sleep(0.01)
time.sleep(0.1)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.split() == ["started", "ended"]
