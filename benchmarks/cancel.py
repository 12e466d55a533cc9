"""How long a run continues after it was cancelled: ``python -m benchmarks cancel``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

import napari_hyperspace as hs
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.inference.protocols import SpacingModel

CASES = {  # edge of the scan in voxels of 1 mm, working spacing in mm
    "head at 1 mm": (192, 1.0),
    "head at 3 mm": (192, 3.0),
    "crop at 0.75 mm": (64, 0.75),
}
MOMENTS = 12  # per repeat


def run(repeats: int) -> list[dict[str, object]]:
    """Cancel runs at random moments, in each case; print and return the delays in ms."""
    model = hs.load_model("hippocampus")
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for name, (edge, spacing) in CASES.items():
        values = rng.normal(size=(edge,) * 3).astype(np.float32)
        volume = hs.Volume(values, hs.Grid.from_spacing(values.shape, (1.0, 1.0, 1.0)))

        run_once = partial(_run_once, volume, model, (spacing,) * 3)
        run_once(lambda: False)  # finds the fastest precision, once
        started = time.perf_counter()
        run_once(lambda: False)
        seconds = time.perf_counter() - started
        moments = rng.uniform(0, 0.95 * seconds, repeats * MOMENTS)
        delays = [delay for moment in moments if (delay := _delay(run_once, moment)) is not None]
        median, longest = 1000 * float(np.median(delays)), 1000 * max(delays)
        rows.append(
            {
                "case": name,
                "run_seconds": seconds,
                "cancelled": len(delays),
                "median_ms": median,
                "longest_ms": longest,
            }
        )
        print(
            f"{name:16s} run {seconds:6.2f} s, stopped after {median:4.0f} ms (median of "
            f"{len(delays)}), at most {longest:4.0f} ms",
            flush=True,
        )
    return rows


def _run_once(
    volume: hs.Volume, model: SpacingModel, spacing_mm: Triple, should_stop: ShouldStop
) -> None:
    run_to_end(segment_steps(volume, model, spacing_mm, should_stop=should_stop))


def _delay(run_once: Callable[[ShouldStop], None], moment: float) -> float | None:
    """Return the seconds from cancelling a run to its end; `None` if it had ended before."""
    deadline = time.perf_counter() + moment
    try:
        run_once(lambda: time.perf_counter() >= deadline)
    except hs.Cancelled:
        return time.perf_counter() - deadline
    return None
