"""Measure in a new process, where no earlier work has filled caches or grown the heap."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume


def in_fresh_process(work: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function of a module in a new process; arguments and result are passed as JSON."""
    name = work.__globals__["__spec__"].name  # __module__ may be "__main__"
    command = [sys.executable, "-m", "benchmarks.fresh", name, work.__name__]
    done = subprocess.run(
        [*command, json.dumps(arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def phantom(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    """Make a smooth int16 scan in canonical order with structures about 10 voxels wide."""
    noise = np.random.default_rng(0).standard_normal([-(-n // 4) for n in shape])
    smooth = zoom(gaussian_filter(noise, 2), 4, order=1)[tuple(slice(n) for n in shape)]
    return Volume((5000 * smooth).astype(np.int16), Grid.from_spacing(shape, spacing_mm))


if __name__ == "__main__":
    module, name, given = sys.argv[1:]
    print(json.dumps(getattr(import_module(module), name)(**json.loads(given))))
