"""Memory and time of a refinement with more and more structures in one label map."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import napari_hyperspace as hs
from benchmarks.fresh import in_fresh_process, phantom
from napari_hyperspace.core.memory import PeakMemory

CLASSES = (7, 30, 100)
SHAPE = (160, 160, 160)
RADIUS_MM = 6.0


def run(model: str, classes: tuple[int, ...] = CLASSES) -> list[dict[str, Any]]:
    """Measure each number of structures in a process of its own."""
    return [in_fresh_process(measure, model=model, count=count) for count in classes]


def measure(model: str, count: int) -> dict[str, Any]:
    """Refine balls of equal size on a regular grid, after one answer of another size."""
    torch.set_num_threads(1)
    scan = phantom(SHAPE, (1.0, 1.0, 1.0))
    loaded = hs.load_model(model)
    hs.refine(scan, balls(scan, 1), loaded)
    coarse = balls(scan, count)
    started = time.perf_counter()
    with PeakMemory(torch.device("cpu")) as memory:
        hs.refine(scan, coarse, loaded)
    seconds = time.perf_counter() - started
    return {
        "structures": count,
        "seconds": seconds,
        "peak_bytes": int(memory.peak_bytes),
        # What all classes at once have at least: float32 logits on the scan's own grid.
        "logits_bytes": 4 * (count + 1) * int(np.prod(SHAPE)),
    }


def balls(scan: hs.Volume, count: int) -> hs.Volume:
    """Return a label map of balls, at most 125, with the values 1, 2, ….

    Their order is a random one that does not depend on their number.
    """
    edge = 5
    centers = (np.arange(edge) + 0.5) * SHAPE[0] / edge
    labels = np.zeros(scan.shape, np.uint8)
    places = np.stack(np.meshgrid(centers, centers, centers), axis=-1).reshape(-1, 3)
    radius = int(RADIUS_MM)
    offsets = np.arange(-radius, radius + 1)
    ball = sum(each**2 for each in np.meshgrid(offsets, offsets, offsets)) <= RADIUS_MM**2
    for value, place in enumerate(np.random.default_rng(0).permutation(places)[:count], start=1):
        box = tuple(slice(int(c) - radius, int(c) + radius + 1) for c in place)
        labels[box][ball] = value
    return scan.with_array(labels)
