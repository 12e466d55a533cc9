"""Predicted and taken time and memory of the first runs on a machine that is not known yet.

Each series begins with an empty cache: it measures the machine, predicts a run and runs it; then it
does both three more times, because estimates learn. Each of these runs is a process of its own.
Printed are medians over the series, and beside them how much the last runs themselves differ: no
prediction can be better.

    python -m benchmarks.first_run [--series 10] [--model brain] [--spacing 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any

import napari_hyperspace as hs
from benchmarks.fresh import in_fresh_process, phantom
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.store import CACHE_VARIABLE
from napari_hyperspace.cost.calibrate import calibrate
from napari_hyperspace.cost.load import Load
from napari_hyperspace.inference.execution import choose_device

SHAPE = (197, 233, 189)  # of a whole head at 1 mm, canonical order
RUNS = 4


def measure(model: str, spacing: float, scan: str | None, cache: str) -> dict[str, float]:
    """Predict and run once in this process, with this folder as the cache."""
    os.environ[CACHE_VARIABLE] = cache
    volume = phantom(SHAPE, (1.0, 1.0, 1.0)) if scan is None else hs.read(scan)
    loaded, working = hs.load_model(model), (spacing,) * 3
    started, load = time.perf_counter(), Load.now()
    calibrate(choose_device())
    set_up = time.perf_counter() - started
    predicted = hs.estimate(volume, loaded, working)
    result = run_to_end(segment_steps(volume, loaded, working))
    return {
        "set_up_s": set_up,
        "predicted_s": predicted.seconds - predicted.probe_seconds,
        "taken_s": result.seconds - result.probe_seconds,
        "predicted_probe_s": predicted.probe_seconds,
        "probe_s": result.probe_seconds,
        "predicted_MB": predicted.peak_bytes / 1e6,
        "taken_MB": result.peak_bytes / 1e6,
        "slowdown": load.slowdown_until(Load.now()),
    }


def run(
    series: int = 10, model: str = "brain", spacing: float = 2.0, scan: str | None = None
) -> dict[str, Any]:
    """Measure several series, one after another; print a table and return all numbers."""
    given = {"model": model, "spacing": spacing, "scan": scan}
    found = []
    for number in range(series):
        with tempfile.TemporaryDirectory() as cache:
            found.append([in_fresh_process(measure, **given, cache=cache) for _ in range(RUNS)])
        print(f"series {number + 1} of {series}", flush=True)
    print(table(found))
    return {"model": model, "spacing_mm": spacing, "series": found}


def table(found: list[list[dict[str, float]]]) -> str:
    """Return the medians over the series as text."""
    lines = [
        f"{'run':>4}{'predicted s':>13}{'taken s':>9}{'error':>8}{'MB':>7}{'taken':>7}{'error':>8}"
    ]
    medians = []
    for number, runs in enumerate(zip(*found, strict=True), start=1):
        median = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        medians.append(median)
        time_error, memory_error = (
            statistics.median(
                abs(one[f"predicted_{unit}"] / one[f"taken_{unit}"] - 1) for one in runs
            )
            for unit in ("s", "MB")
        )
        lines.append(
            f"{number:>4}{median['predicted_s']:13.2f}{median['taken_s']:9.2f}{time_error:8.0%}"
            f"{median['predicted_MB']:7.0f}{median['taken_MB']:7.0f}{memory_error:8.0%}"
        )
    first, last = medians[0], [runs[-1]["taken_s"] for runs in found]
    spread = statistics.median(abs(one / statistics.median(last) - 1) for one in last)
    slowdown = statistics.median(one["slowdown"] for runs in found for one in runs)
    return "\n".join(
        [
            *lines,
            f"measuring the machine took {first['set_up_s']:.1f} s; the search for the fastest "
            f"precision {first['probe_s']:.1f} s, predicted {first['predicted_probe_s']:.1f} s",
            f"the last runs differ from their median by {spread:.0%}; other programs made work "
            f"take {slowdown:.1f} times as long",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--model", default="brain", help="name or path")
    parser.add_argument("--spacing", type=float, default=2.0, help="working spacing in mm")
    parser.add_argument("--scan", help="file to segment in place of a phantom")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
    given = parser.parse_args()
    found = run(given.series, given.model, given.spacing, given.scan)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
