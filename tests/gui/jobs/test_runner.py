"""One job at a time, with its progress."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.jobs.runner import JobRunner


def test_progress_moves_while_a_job_reports_nothing(qtbot, view):
    """A single tile is nearly all of a run; the bar stood at 26 % while it was computed."""
    now, gate = [0.0], threading.Event()

    def steps(should_stop):
        yield Progress(0.0, "preparing", seconds_left=10.0)
        yield Progress(0.26, "segmenting")
        gate.wait(10)

    runner = JobRunner(view, clock=lambda: now[0])
    runner.start(steps, lambda result: None, "Segmenting scan")
    qtbot.waitUntil(lambda: view.last("progress")[1].endswith("· segmenting"))
    for now[0], text in (
        (4.0, "About 6 s left · segmenting"),
        (8.0, "About 2 s left · segmenting"),
    ):
        qtbot.waitUntil(lambda text=text: view.last("progress")[1] == text)
        assert view.last("progress")[0] == pytest.approx(0.095 * now[0])
    gate.set()
    qtbot.waitUntil(lambda: not runner.running)
    assert view.last("progress")[0] is None
    runner.close()
