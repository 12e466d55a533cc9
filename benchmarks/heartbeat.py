"""Does the window stay alive? Gaps of a 5 ms timer: ``python -m benchmarks.heartbeat``.

Needs napari and a display, real or ``xvfb-run -a -s "-screen 0 1600x1000x24"``.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np

EDGE = 160  # voxels of 1 mm along each side of the scan


def main() -> None:
    """Print the gaps while nothing is done, while the slider moves, and during a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    seconds = parser.parse_args().seconds

    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QWidget

    viewer = napari.Viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-hyperspace", "HyperSpace")
    values = np.random.default_rng(0).normal(size=(EDGE,) * 3).astype(np.float32)
    viewer.add_image(values, units=("mm",) * 3)

    def control(name: str) -> QWidget:
        return dock.findChild(QWidget, f"hyperspace.{name}")

    beats: list[float] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start()
    wait(lambda: "·" in control("estimate").text(), 120)

    def measure(name: str, until: Callable[[], bool]) -> None:
        beats.clear()
        wait(until, seconds)
        gaps = np.diff(beats) * 1000
        print(
            f"{name:14s} longest {gaps.max():4.0f} ms, 99 % below {np.quantile(gaps, 0.99):4.0f} "
            f"ms, median {np.median(gaps):3.0f} ms",
            flush=True,
        )

    measure("idle", lambda: False)
    slider, steps = control("spacing"), iter(np.geomspace(1, 4, 10_000))
    mover = QTimer()
    mover.timeout.connect(lambda: slider.setValue(next(steps)))
    mover.start(20)
    measure("slider moving", lambda: False)
    control("live").setChecked(True)
    measure("live preview", lambda: False)
    mover.stop()
    control("live").setChecked(False)
    slider.setValue(1.0)
    control("run").click()
    measure("run", control("run").isEnabled)
    scroller, planes = QTimer(), itertools.cycle(range(EDGE))
    scroller.timeout.connect(lambda: viewer.dims.set_current_step(0, next(planes)))
    scroller.start(30)
    measure("run, scrolling", control("run").isEnabled)
    clicked = time.perf_counter()
    control("cancel").click()
    wait(control("run").isEnabled, 10)
    print(f"cancelled after {1000 * (time.perf_counter() - clicked):.0f} ms")
    viewer.close()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Let Qt work until a condition holds or the time is over."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, poll, end = QEventLoop(), QTimer(), time.perf_counter() + seconds
    poll.timeout.connect(lambda: (condition() or time.perf_counter() > end) and loop.quit())
    poll.start(20)
    loop.exec()


if __name__ == "__main__":
    main()
