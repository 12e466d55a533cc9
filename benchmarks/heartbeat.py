"""Measure how responsive the window stays, by a 5 ms timer: ``python -m benchmarks.heartbeat``.

Needs napari and a display, real or ``xvfb-run -a -s "-screen 0 1600x1000x24"``.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

Control = TypeVar("Control")

EDGE = 160  # voxels of 1 mm along each edge of the scan


def main() -> None:
    """Print the gaps between timer events: idle, while the slider moves, in a run and a sweep.

    "Computing" is the processor time of the main thread between two events. On a busy machine the
    gaps are longer, since the thread has to wait for a processor.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="duration of each measurement")
    seconds = parser.parse_args().seconds

    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QAbstractButton, QLabel, QWidget

    from napari_hyperspace.gui.widgets.parts.slider import SpacingSlider

    viewer = napari.Viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-hyperspace", "HyperSpace")
    values = np.random.default_rng(0).normal(size=(EDGE,) * 3).astype(np.float32)
    viewer.add_image(values, units=("mm",) * 3)

    def control(kind: type[Control], name: str) -> Control:
        found = dock.findChild(QWidget, f"hyperspace.{name}")
        assert isinstance(found, kind)
        return found

    estimate = control(QLabel, "estimate")
    slider = control(SpacingSlider, "spacing")
    run, cancel, live = (control(QAbstractButton, name) for name in ("run", "cancel", "live"))

    beats: list[tuple[float, float]] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: beats.append((time.perf_counter(), time.thread_time())))
    timer.start()
    wait(lambda: "·" in estimate.text(), 120)

    def measure(name: str, until: Callable[[], bool]) -> None:
        beats.clear()
        wait(until, seconds)
        gaps, computing = np.diff(np.array(beats), axis=0).T * 1000
        print(
            f"{name:14s} longest {gaps.max():4.0f} ms, 99 % below {np.quantile(gaps, 0.99):4.0f} "
            f"ms, median {np.median(gaps):3.0f} ms; computing at most {computing.max():4.0f} ms, "
            f"99 % below {np.quantile(computing, 0.99):3.0f} ms",
            flush=True,
        )

    measure("idle", lambda: False)
    steps = iter(np.geomspace(1, 4, 10_000).tolist())
    mover = QTimer()
    mover.timeout.connect(lambda: slider.setValue(next(steps)))
    mover.start(20)
    measure("slider moving", lambda: False)
    live.setChecked(True)
    measure("live preview", lambda: False)
    mover.stop()
    live.setChecked(False)
    slider.setValue(1.0)
    run.click()
    measure("run", run.isEnabled)
    scroller, planes = QTimer(), itertools.cycle(range(EDGE))
    scroller.timeout.connect(lambda: viewer.dims.set_current_step(0, next(planes)))
    scroller.start(30)
    measure("run, scrolling", run.isEnabled)
    clicked = time.perf_counter()
    cancel.click()
    wait(run.isEnabled, 10)
    print(f"cancelled after {1000 * (time.perf_counter() - clicked):.0f} ms")
    scroller.stop()
    control(QAbstractButton, "sweep.toggle").click()
    start, shown = control(QAbstractButton, "sweep.start"), control(QLabel, "sweep.shown")
    wait(start.isEnabled, 10)
    clicked = time.perf_counter()
    start.click()
    # napari's own work for a layer that is added is part of the time until the first spacing.
    measure("first spacing", lambda: bool(shown.text()))
    print(f"first spacing after {time.perf_counter() - clicked:.1f} s")
    measure("sweep", start.isEnabled)
    cancel.click()
    wait(start.isEnabled, 10)
    viewer.close()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Run Qt's event loop until a condition is true or the time is over."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, poll, end = QEventLoop(), QTimer(), time.perf_counter() + seconds

    def check() -> None:
        if condition() or time.perf_counter() > end:
            loop.quit()

    poll.timeout.connect(check)
    poll.start(20)
    loop.exec()


if __name__ == "__main__":
    main()
