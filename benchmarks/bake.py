"""Time to make the weights of a network, compared with copying the factory and the released code.

The lower limit is one pass over the bytes of the factory. ``torch.clone`` of the same number of
bytes is timed in the same run; the target is at most twice its time. The released code makes all
weights with one head of 50 inputs per layer (170 M parameters for a network of 3.3 M); ours has 8
coefficients.

    python -m benchmarks.bake
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.timing import timed
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.plain.config import UNetConfig

SPACING = (1.0, 1.3, 2.1)


def measure(name: str, factory: Factory) -> dict[str, Any]:
    """Return the median time of baking, and of copying the same number of bytes."""
    values = sum(parameter.numel() for parameter in factory.parameters())
    block, into = torch.randn(values), torch.empty(values)
    bake = timed(lambda: factory.bake(SPACING)).median
    clone = timed(block.clone).median
    copy = timed(lambda: into.copy_(block)).median
    return {
        "factory": name,
        "parameters": values,
        "weights": factory.n_weights,
        "bytes": 4 * values,
        "bake_s": bake,
        "clone_s": clone,
        "bake_to_clone": bake / clone,
        "bake_to_copy_into_place": bake / copy,
    }


def run() -> list[dict[str, Any]]:
    """Measure our hypernetwork and the released one, for the paper's network and a small one."""
    paper, small = UNetConfig(), UNetConfig(strides=((2, 2, 2),) * 2, convs_per_level=2, stem=False)
    ours = HypernetworkConfig(range_mm=((0.5, 5.0),) * 3)
    rows = [
        measure("ours, rank 8, the paper's U-Net", build_factory(paper, ours)),
        measure("ours, rank 8, a U-Net of 3 levels", build_factory(small, ours)),
        measure("released, the paper's U-Net", build_factory(paper, HypernetworkConfig.paper())),
    ]
    for row in rows:
        row["speed_up_over_released"] = rows[-1]["bake_s"] / row["bake_s"]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as text; "gain" is the speed-up over the released code."""
    lines = [f"{'factory':<34}{'MB':>6}{'bake ms':>9}{'clone ms':>10}{'ratio':>7}{'gain':>7}"]
    lines += [
        f"{row['factory']:<34}{row['bytes'] / 1e6:6.0f}{1e3 * row['bake_s']:9.1f}"
        f"{1e3 * row['clone_s']:10.1f}{row['bake_to_clone']:7.2f}"
        f"{row['speed_up_over_released']:7.1f}"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
