"""Peak memory of a segmentation: that of its largest phase.

The phases are normalizing a scan on its native grid, resampling it, running the network on a tile,
and labeling. The scan itself is not included: the caller holds it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.memory import MAPPED
from napari_hyperspace.core.separable import DENSE_LENGTH
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.inference.argmax import POINTS_AT_ONCE
from napari_hyperspace.inference.execution import Precision
from napari_hyperspace.inference.plan import Plan
from napari_hyperspace.inference.protocols import SpacingModel

_FLOAT = 4
_SMALL = 2 << 20  # threads, Python objects, buffers of libraries
_OPENVINO = 90 << 20  # the library itself, when it is loaded (measured)


@dataclass(frozen=True)
class ResamplingStage:
    """Resampling along one axis.

    Parameters
    ----------
    incoming, outgoing
        Number of values before and after.
    products
        Multiply-accumulate operations, if it is done as a dense matrix product.
    gathered
        Values gathered, if it is done tap by tap.
    """

    incoming: int
    outgoing: int
    products: int
    gathered: int


def resampling_stages(plan: Plan) -> list[ResamplingStage]:
    """Return the stages of resampling one channel to the working grid, in order."""
    native, working = plan.native, plan.working
    axes = [
        (n_out / n_in, n_in, n_out, new / old)
        for n_in, n_out, old, new in zip(
            native.shape, working.shape, native.spacing_mm, working.spacing_mm, strict=True
        )
        if n_in != n_out or abs(new / old - 1) * n_in >= 1e-6
    ]
    stages, values = [], math.prod(native.shape)
    for _, n_in, n_out, step in sorted(axes, key=lambda axis: axis[0]):
        taps = math.ceil(2 * max(1.0, step))
        after = values // n_in * n_out
        dense = n_in <= DENSE_LENGTH or 8 * taps >= n_in
        stages.append(
            ResamplingStage(
                values, after, after * n_in if dense else 0, 0 if dense else after * taps
            )
        )
        values = after
    return stages


def peaks(
    volume: Volume | Grid | Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    trace: Trace,
    precision: Precision,
    device: torch.device,
) -> tuple[int, int]:
    """Return the peak memory in bytes, on the device that computes and in main memory.

    On the CPU both are the same.
    """
    native, working = math.prod(plan.native.shape), math.prod(plan.working.shape)
    image = _FLOAT * model.in_channels * working
    labels = native * np.min_scalar_type(max(model.label_values)).itemsize
    network = _network(plan, model, trace, precision, device)
    preparing = image - _FLOAT * working + _preparing(volume, plan, model)
    baked = _FLOAT * trace.parameters  # the model caches its network
    if device.type == "cpu":
        # The heap keeps the memory of the normalized scan; larger blocks are returned when freed.
        kept = _FLOAT * native if _FLOAT * native < MAPPED else 0
        most = max(preparing, kept + image + baked + labels + network)
        return most + _SMALL, most + _SMALL
    return baked + network + _SMALL, max(preparing, image + labels) + _SMALL


def library_bytes(precisions: Iterable[Precision]) -> int:
    """Return the bytes of libraries that running networks in these precisions will load."""
    needed = {precision.library for precision in precisions} - {"torch"}
    return _OPENVINO if needed - sys.modules.keys() else 0


def _preparing(volume: Volume | Grid | Sequence[Volume], plan: Plan, model: SpacingModel) -> int:
    """Return the bytes of normalizing and resampling one channel, with its result."""
    native, working = math.prod(plan.native.shape), math.prod(plan.working.shape)
    first = volume if isinstance(volume, Volume | Grid) else volume[0]
    single = isinstance(first, Volume) and first.dtype == np.float32
    plain = model.normalization.kind == "none"
    normalizing = (0 if single else _FLOAT) + (0 if plain else _FLOAT)
    turning = 2 * _FLOAT
    most = max(normalizing, turning) * native
    stages, kept = resampling_stages(plan), 0
    for index, stage in enumerate(stages):
        kept = stage.incoming if index else 0  # the first stage reads the normalized scan
        during = kept + stage.outgoing * (1 if stage.products else 2)
        most = max(most, _FLOAT * (native + during))
    last = stages[-1].outgoing if stages else 0
    return max(most, _FLOAT * (native + last + working))


def _network(
    plan: Plan, model: SpacingModel, trace: Trace, precision: Precision, device: torch.device
) -> int:
    """Return the bytes of the runner's copy of the network, of a tile, and of blended logits."""
    size = precision.dtype.itemsize
    tile = plan.tiles.tile_shape
    batch = 1 if model.n_dim == 3 else tile[0]
    running = trace.peak_bytes(
        tile[3 - model.n_dim :],
        size,
        batch,
        reordered=not precision.channels_last,
        heap=device.type == "cpu" and precision.library == "torch",
    )
    plane = plan.working.shape[1] * plan.working.shape[2]
    logits = size * model.out_channels * math.prod(tile)
    weights = size * trace.parameters
    if precision.library == "openvino":  # it returns float32, and its graph holds the weights twice
        running += (_FLOAT - size) * model.out_channels * math.prod(tile)
        logits = _FLOAT * model.out_channels * math.prod(tile)
        weights += _FLOAT * trace.parameters
        weights += library_bytes([precision])
    labeling = 2 * _FLOAT * model.out_channels * plane + _interpolating(plan, model)
    if len(plan.tiles) == 1:
        most = max(running, logits + labeling)
    else:
        slab = _FLOAT * model.out_channels * tile[0] * plane
        blending = logits + _FLOAT * (model.out_channels + 1) * math.prod(tile)
        most = slab + max(running, blending, labeling)
    return int(most) + weights


def _interpolating(plan: Plan, model: SpacingModel) -> int:
    """Return the bytes of labeling one native plane, a quarter of it on borders.

    In the worst case all of it is on borders.
    """
    if plan.native.shape == plan.working.shape:
        return 0
    points = min(POINTS_AT_ONCE, plan.native.shape[1] * plan.native.shape[2] // 4)
    return points * (6 * 8 + 4 * _FLOAT * model.out_channels)
