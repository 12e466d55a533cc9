"""How long a run goes on once it has been cancelled: ``python -m benchmarks cancel``."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import napari_hyperspace as hs

CASES = {  # edge of the scan in voxels of 1 mm, working spacing in mm
    "head at 1 mm": (192, 1.0),
    "head at 3 mm": (192, 3.0),
    "crop at 0.75 mm": (64, 0.75),
}
MOMENTS = 12  # times a repeat


def run(repeats: int) -> list[dict[str, object]]:
    """Cancel at random moments of a run, in each case; print and return the delays in ms."""
    model = hs.load_model("hippocampus")
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for name, (edge, spacing) in CASES.items():
        values = rng.normal(size=(edge,) * 3).astype(np.float32)
        volume = hs.Volume(values, hs.Grid.from_spacing(values.shape, (1.0, 1.0, 1.0)))

        def steps(
            should_stop: Callable[[], bool], volume: hs.Volume = volume, spacing: float = spacing
        ) -> None:
            for _ in hs.segment_steps(volume, model, (spacing,) * 3, should_stop=should_stop):
                pass

        steps(lambda: False)  # finds the fastest precision, once
        started = time.perf_counter()
        steps(lambda: False)
        whole = time.perf_counter() - started
        moments = rng.uniform(0, 0.95 * whole, repeats * MOMENTS)
        delays = [delay for moment in moments if (delay := _delay(steps, moment)) is not None]
        row = {
            "case": name,
            "run_seconds": whole,
            "cancelled": len(delays),
            "median_ms": 1000 * float(np.median(delays)),
            "longest_ms": 1000 * max(delays),
        }
        rows.append(row)
        print(
            "{case:16s} run {run_seconds:6.2f} s, over after {median_ms:4.0f} ms (median of "
            "{cancelled}), {longest_ms:4.0f} ms at most".format(**row),
            flush=True,
        )
    return rows


def _delay(steps: Callable[[Callable[[], bool]], None], moment: float) -> float | None:
    """Return the seconds from a moment of a run to its end; `None` if it was over by then."""
    deadline = time.perf_counter() + moment
    try:
        steps(lambda: time.perf_counter() >= deadline)
    except hs.Cancelled:
        return time.perf_counter() - deadline
    return None
