"""All precisions of the bundled networks: time, time to compile, memory, and labels that differ.

A block of the sample head at 1 mm (a phantom without `HYPERSPACE_DATA`) goes through the network of
each model, without resampling. The precisions take turns, each in a process of its own. The time is
the shortest of the runs, the memory the median growth of resident memory.

    python -m benchmarks.precisions [--repeats 3] [--models hippocampus brain]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import napari_hyperspace as hs
from benchmarks.fresh import in_fresh_process, phantom
from napari_hyperspace.core.geometry import Shape
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.inference.execution import PRECISIONS, network_runner
from napari_hyperspace.inference.precision import candidates

SHAPES: dict[str, Shape] = {"hippocampus": (96, 96, 96), "brain": (160, 192, 160)}
SPACING = (1.0, 1.0, 1.0)
_CPU = torch.device("cpu")
_HEAD = "brain-real/icbm152/image.nii.gz"


def block(shape: Shape) -> NDArray[np.float32]:
    """Return the center of the head at 1 mm, in canonical order."""
    folder = os.environ.get("HYPERSPACE_DATA")
    if folder is None or not (Path(folder) / _HEAD).exists():
        return np.asarray(phantom(shape, SPACING).array, np.float32)
    scan = hs.read(Path(folder) / _HEAD)
    scan = resample_to_grid(scan, scan.grid.canonical().with_spacing(SPACING))
    starts = ((n - m) // 2 for n, m in zip(scan.shape, shape, strict=True))
    a, b, c = (slice(n, n + m) for n, m in zip(starts, shape, strict=True))
    return np.ascontiguousarray(scan.array[a, b, c], np.float32)


def measure(model: str, precision: str, out: str = "") -> dict[str, float]:
    """Run once for the set-up and once for the time; save the labels if a file is given."""
    made = hs.load_model(model)
    network = made.network(SPACING)
    image = torch.from_numpy(made.normalization.apply(block(SHAPES[model])))[None]
    with network_runner(network, PRECISIONS[precision], _CPU, 3) as runner:
        with PeakMemory(_CPU) as memory:
            started = time.perf_counter()
            runner(image)
            first = time.perf_counter() - started
        started = time.perf_counter()
        logits = runner(image)
        seconds = time.perf_counter() - started
    if out:
        np.save(out, logits.argmax(dim=0).to(torch.uint8).numpy())
    return {"seconds": seconds, "set_up": first - seconds, "bytes": float(memory.peak_bytes)}


def run(models: list[str], repeats: int = 3) -> list[dict[str, Any]]:
    """Measure each precision of each network, in turns."""
    rows = []
    for model in models:
        names = candidates(_CPU)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(repeats):
                for name in names:
                    out = f"{folder}/{name}.npy" if turn == 0 else ""
                    runs[name].append(
                        in_fresh_process(measure, model=model, precision=name, out=out)
                    )
            labels = {name: np.load(f"{folder}/{name}.npy") for name in names}
        for name, measured in runs.items():
            rows.append(
                {
                    "model": model,
                    "precision": name,
                    "seconds": min(each["seconds"] for each in measured),
                    "set_up": statistics.median(each["set_up"] for each in measured),
                    "MB": statistics.median(each["bytes"] for each in measured) / 1e6,
                    "differs": float((labels[name] != labels[names[0]]).mean()),
                }
            )
            row = rows[-1]
            rate = math.prod(SHAPES[model]) / min(each["seconds"] for each in measured) / 1e6
            print(
                f"{model:<12} {name:<19} {row['seconds']:6.2f} s ({rate:5.2f} million voxels/s), "
                f"set-up {row['set_up']:5.2f} s, {row['MB']:5.0f} MB, "
                f"labels that differ from fp32: {row['differs']:.4%}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs per precision")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    given = parser.parse_args()
    rows = run(given.models, given.repeats)
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
