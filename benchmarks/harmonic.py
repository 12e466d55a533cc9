"""Networks of physical kernels: the gain of baking, of early pooling, of depthwise kernels.

The published network samples its kernels in every forward pass; ours are sampled once per spacing.
Also measured: how the time for one field of view grows as voxels become finer, for the published
network, for ours and for a U-Net; and whether the estimates agree.

    python -m benchmarks.harmonic
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import numpy as np
import torch

import napari_hyperspace as hs
from benchmarks.timing import timed
from napari_hyperspace.inference.execution import PRECISIONS, NetworkRunner
from napari_hyperspace.nets.build import FactoryConfig, NetworkConfig, build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig

FIELD_MM = 32.0
SPACINGS = (0.5, 1.0, 2.0, 4.0)
_LEVELS: dict[str, Any] = {"level_spacing_mm": (2, 4), "radial_functions": 3}
_SAMPLED, _INTEGRATED = PhysicalKernelsConfig(), PhysicalKernelsConfig(voxels="integrated")
CASES: dict[str, tuple[NetworkConfig, FactoryConfig]] = {
    "published, 5 mm": (
        HarmonicUNetConfig(**_LEVELS, kernel_mm=(5, 10, 20), multiplicities=(4, 2, 1)),
        _SAMPLED,
    ),
    "free, 3 mm": (
        HarmonicUNetConfig(
            **_LEVELS,
            kernel_mm=(3, 6, 12),
            multiplicities=(8,),
            kernels="free",
            pooling="average",
        ),
        _INTEGRATED,
    ),
    "depthwise, 5 mm": (
        HarmonicUNetConfig(
            **_LEVELS,
            kernel_mm=(5, 10, 20),
            multiplicities=(16,),
            kernels="depthwise",
            pooling="average",
        ),
        _INTEGRATED,
    ),
    "depthwise, early pooling": (
        HarmonicUNetConfig(
            level_spacing_mm=(1, 2, 4),
            kernel_mm=(1.4, 3, 6, 12),
            radial_functions=3,
            multiplicities=(8,),
            kernels="depthwise",
            pooling="average",
        ),
        _INTEGRATED,
    ),
    "U-Net, 3³": (
        UNetConfig(channels=8, strides=((2, 2, 2),) * 2, convs_per_level=2, stem=False),
        ConstantConfig(),
    ),
}


def measure(name: str) -> list[dict[str, Any]]:
    """Time a network for one field of view, at each spacing."""
    torch.manual_seed(0)
    factory = build_factory(*CASES[name])
    label = LabelClass(value=1, name="label")
    model = Model(factory, ModelCard(name=name, labels=(label,), tile_shape=(256, 256, 256)))
    rows = []
    for step in SPACINGS:
        edge = round(FIELD_MM / step)
        grid = hs.Grid.from_spacing((edge,) * 3, (step,) * 3)
        image = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
        spacing = (step,) * 3
        bake = min(timed(partial(factory.bake, spacing)).times)
        runner = NetworkRunner(factory.bake(spacing), PRECISIONS["fp32"], torch.device("cpu"), 3)
        tensor = torch.from_numpy(image)[None]
        run = min(timed(partial(runner, tensor)).times)
        volume = hs.Volume(image, grid)
        hs.segment(volume, model, spacing, precision="fp32")
        unbaked = Model(factory, model.card)  # estimates include making the network
        start = time.perf_counter()
        hs.segment(volume, unbaked, spacing, precision="fp32")
        measured = time.perf_counter() - start
        estimated = hs.estimate(volume, model, spacing, precision="fp32").seconds
        rows.append(
            {
                "network": name,
                "spacing_mm": step,
                "bake_s": bake,
                "run_s": run,
                "gain": (bake + run) / run,
                "estimated_to_measured": estimated / measured,
            }
        )
    return rows


def run() -> list[dict[str, Any]]:
    """Measure all networks."""
    return [row for name in CASES for row in measure(name)]


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as text.

    "gain" is the time of a pass that samples its kernels first, divided by that of one that does
    not.
    """
    header = f"{'network':<26}{'mm':>5}{'bake ms':>9}{'run ms':>10}{'gain':>7}{'estimated':>11}"
    lines = [header]
    lines += [
        f"{row['network']:<26}{row['spacing_mm']:5.1f}{1e3 * row['bake_s']:9.1f}"
        f"{1e3 * row['run_s']:10.1f}{row['gain']:7.2f}{row['estimated_to_measured']:11.2f}"
        for row in rows
    ]
    errors = [abs(np.log(row["estimated_to_measured"])) for row in rows]
    factor = np.exp(statistics.median(errors))
    lines.append(f"median factor between estimate and measurement: {factor:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
