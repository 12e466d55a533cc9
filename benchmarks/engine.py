"""The engine compared with MONAI's sliding window, for the same network, from scan to labels.

Both normalize the scan, resample it to the working grid, and run the same network in the same tiles
with the same overlap and Gaussian weights. MONAI's logits are then interpolated to the size of the
scan, all channels, followed by an arg-max, as is usual; ours become labels plane by plane. They
take turns, each in a process of its own. The time is the shortest of the runs, the memory the
median growth of resident memory.

    python -m benchmarks.engine [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import napari_hyperspace as hs
from benchmarks.estimate import MODEL
from benchmarks.fresh import in_fresh_process, phantom
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.inference.inputs import working_image
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import make_plan

TILE = (96, 96, 96)
OVERLAP = 0.25
# Shape and spacing of the scan, working spacing: the field of view is a whole number of voxels.
CASES = (
    ((96, 96, 96), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ((160, 192, 160), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),
    ((128, 160, 144), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
)
ENGINES = ("monai", "hyperspace fp32", "hyperspace")


def measure(engine: str, shape: Any, own_mm: Any, working_mm: Any, out: str = "") -> dict[str, Any]:
    """Segment once in this process, after a small scan; save the labels if a file is given."""
    model = hs.load_model(MODEL)
    segmenter = _monai if engine == "monai" else _hyperspace
    segmenter(engine, model, phantom((48, 48, 48), (1.0, 1.0, 1.0)), working_mm)
    scan = phantom(tuple(shape), tuple(own_mm))
    started = time.perf_counter()
    with PeakMemory(torch.device("cpu")) as memory:
        labels, precision = segmenter(engine, model, scan, working_mm)
    seconds = time.perf_counter() - started
    if out:
        np.save(out, labels)
    return {"seconds": seconds, "bytes": float(memory.peak_bytes), "precision": precision}


def _hyperspace(engine: str, model: Any, scan: hs.Volume, working_mm: Any) -> tuple[Any, str]:
    precision = "fp32" if engine.endswith("fp32") else "auto"
    result = run_to_end(
        segment_steps(
            scan,
            model,
            working_mm,
            device="cpu",
            tile_shape=TILE,
            overlap=OVERLAP,
            precision=precision,
        )
    )
    return result.labels.array, result.precision


def _monai(engine: str, model: Any, scan: hs.Volume, working_mm: Any) -> tuple[Any, str]:
    from monai.inferers.utils import sliding_window_inference

    plan = make_plan(scan, model, working_mm, InferenceOptions(tile_shape=TILE, overlap=OVERLAP))
    image = working_image([scan], model, plan)
    network = model.network(plan.network_spacing_mm)
    with torch.inference_mode():
        logits = sliding_window_inference(
            image[None], TILE, 1, network, overlap=OVERLAP, mode="gaussian"
        )
        assert isinstance(logits, torch.Tensor)
        full = F.interpolate(logits, size=scan.shape, mode="trilinear")
        return full[0].argmax(0).to(torch.uint8).numpy(), "fp32"


def run(repeats: int = 3) -> list[dict[str, Any]]:
    """Measure each engine on each case, in turns."""
    rows = []
    for shape, own_mm, working_mm in CASES:
        case = {"shape": shape, "own_mm": own_mm, "working_mm": working_mm}
        runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
        labels = {}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(repeats):
                for number, engine in enumerate(ENGINES):
                    out = f"{folder}/{number}.npy" if turn == 0 else ""
                    runs[engine].append(in_fresh_process(measure, engine=engine, **case, out=out))
            for number, engine in enumerate(ENGINES):
                labels[engine] = np.load(f"{folder}/{number}.npy")
        for engine, measured in runs.items():
            row = {
                **case,
                "engine": engine,
                "precision": measured[-1]["precision"],
                "seconds": min(each["seconds"] for each in measured),
                "MB": statistics.median(each["bytes"] for each in measured) / 1e6,
                "differs_from_monai": float((labels[engine] != labels["monai"]).mean()),
            }
            rows.append(row)
            print(
                f"{'×'.join(map(str, shape)):>12} at {working_mm[0]:g} mm  {engine:<16} "
                f"{row['precision']:<19} {row['seconds']:6.2f} s {row['MB']:6.0f} MB  "
                f"labels that differ from MONAI's: {row['differs_from_monai']:.4%}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs per case")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    given = parser.parse_args()
    rows = run(given.repeats)
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
