"""Estimated and measured time and memory, for sizes and spacings that calibration does not use.

The time is the wall time of `segment`, the shortest of several runs; the memory is the peak growth
of the process's resident memory, without the scan. The device is calibrated just before, so that
the machine is in the same state. Each run is a process of its own, which has segmented one small
scan before (libraries are loaded, threads are started).

    python -m benchmarks.estimate [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import numpy as np
import torch

import napari_hyperspace as hs
from benchmarks.fresh import in_fresh_process, phantom
from benchmarks.timing import timed
from napari_hyperspace.api.estimate import estimate_curve
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.cost.calibrate import calibrate

MODEL = "hippocampus"
# Shape and spacing of the scan (mm), working spacing (mm): all in canonical order (z, y, x).
CASES = (
    ((35, 51, 36), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ((64, 80, 72), (1.0, 1.0, 1.0), (0.8, 0.8, 0.8)),
    ((90, 110, 100), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ((90, 110, 100), (1.0, 1.0, 1.0), (1.5, 1.5, 1.5)),
    ((60, 180, 190), (3.0, 0.9, 0.9), (3.0, 1.0, 1.0)),
    ((150, 180, 160), (1.0, 1.0, 1.0), (1.2, 1.4, 1.6)),
    ((150, 180, 160), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),
    ((180, 216, 182), (1.0, 1.0, 1.0), (1.7, 1.7, 1.7)),
    ((180, 216, 182), (1.0, 1.0, 1.0), (3.0, 3.0, 3.0)),
    ((120, 256, 256), (2.5, 1.2, 1.2), (2.5, 2.0, 2.0)),
    ((200, 300, 300), (1.0, 1.0, 1.0), (4.0, 4.0, 4.0)),
    ((160, 384, 384), (2.0, 0.9, 0.9), (4.0, 2.5, 2.5)),
)
PRECISIONS = ("fp32-channels-last", "bf16-channels-last")


def measure(shape: Any, own_mm: Any, working_mm: Any, precision: str) -> dict[str, float]:
    """Segment once in this process."""
    model = hs.load_model(MODEL)
    warm = phantom((24, 26, 28), (1.0, 1.0, 1.0))
    run_to_end(segment_steps(warm, model, (2.0, 2.0, 2.0), precision=precision))
    scan = phantom(tuple(shape), tuple(own_mm))
    result = run_to_end(segment_steps(scan, model, working_mm, precision=precision))
    return {"seconds": result.seconds, "bytes": float(result.peak_bytes)}


def run(repeats: int = 3) -> list[dict[str, Any]]:
    """Estimate and measure all cases."""
    model = hs.load_model(MODEL)
    calibrate(torch.device("cpu"), again=True)
    rows = []
    for number, (shape, own_mm, working_mm) in enumerate(CASES):
        precision = PRECISIONS[number % len(PRECISIONS)]
        scan = phantom(shape, own_mm)
        estimated = hs.estimate(scan, model, working_mm, precision=precision, device="cpu")
        case = {"shape": shape, "own_mm": own_mm, "working_mm": working_mm, "precision": precision}
        runs = [in_fresh_process(measure, **case) for _ in range(repeats)]
        seconds = min(each["seconds"] for each in runs)
        peak = statistics.median(each["bytes"] for each in runs)
        rows.append(
            {
                **case,
                "tiles": estimated.n_tiles,
                "estimated_s": estimated.seconds,
                "measured_s": seconds,
                "error_s": estimated.seconds / seconds - 1,
                "estimated_MB": estimated.peak_bytes / 1e6,
                "measured_MB": peak / 1e6,
                "error_MB": estimated.peak_bytes / peak - 1 if peak else float("nan"),
            }
        )
        print(_line(rows[-1]), flush=True)
    return rows


def milliseconds_each() -> float:
    """Return the time of one estimate after the first one: the plug-in plots a curve of 40."""
    model, scan = hs.load_model(MODEL), phantom((90, 110, 100), (1.0, 1.0, 1.0))
    spacings = [(s, s, s) for s in np.geomspace(0.8, 4, 40).tolist()]
    measured = timed(lambda: estimate_curve(scan, model, spacings, device="cpu"), 0.5)
    return 1e3 * min(measured.times) / len(spacings)


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median absolute errors."""
    return {
        "median_time_error": statistics.median(abs(row["error_s"]) for row in rows),
        "median_memory_error": statistics.median(abs(row["error_MB"]) for row in rows),
        "cases": len(rows),
    }


def summary_text(rows: list[dict[str, Any]]) -> str:
    """Return the median errors as text."""
    found = summary(rows)
    return (
        f"median error: time {found['median_time_error']:.0%}, "
        f"memory {found['median_memory_error']:.0%}, over {found['cases']} cases"
    )


def _line(row: dict[str, Any]) -> str:
    shape = "×".join(map(str, row["shape"]))
    working = "×".join(f"{step:g}" for step in row["working_mm"])
    return (
        f"{shape:>12} → {working:<12} mm {row['precision']:<19} {row['tiles']} tiles  "
        f"{row['estimated_s']:6.2f} / {row['measured_s']:6.2f} s ({row['error_s']:+.0%})  "
        f"{row['estimated_MB']:5.0f} / {row['measured_MB']:5.0f} MB ({row['error_MB']:+.0%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs per case")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    given = parser.parse_args()
    print("estimated / measured", flush=True)
    rows = run(given.repeats)
    print(summary_text(rows))
    print(f"one estimate takes {milliseconds_each():.2f} ms")
    if given.json:
        print(json.dumps({"rows": rows, **summary(rows)}))


if __name__ == "__main__":
    main()
