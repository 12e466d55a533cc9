"""Measure how fast the CPU prepares images and computes labels from logits."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Kind, Normalization
from napari_hyperspace.core.separable import axis_matrix
from napari_hyperspace.cost.rates import HostRates
from napari_hyperspace.cost.timing import shortest_seconds
from napari_hyperspace.inference.argmax import NativeArgmax

_CPU = torch.device("cpu")
_CLASSES = 12


@torch.inference_mode()
def measure_host(setting_up: float, page_fault: float) -> HostRates:
    """Return the rates of the CPU.

    Parameters
    ----------
    setting_up, page_fault
        Measured already, with a network and by `page_fault_seconds`.
    """
    z, y, x = np.indices((64, 128, 128), dtype=np.float32)
    scan = (100 * np.sin(z / 9) * np.sin(y / 17) + x).astype(np.int16)
    large = np.tile(scan, (8, 1, 1))  # too large for the heap: temporary arrays are fresh memory

    def normalization_seconds(kind: Kind, array: NDArray[np.int16]) -> float:
        normalization = Normalization(kind, 1, 99)
        return shortest_seconds(lambda: normalization.apply(array), _CPU) / array.size

    normalize = {
        str(kind): (normalization_seconds(kind, scan), normalization_seconds(kind, large))
        for kind in get_args(Kind)
    }
    transposed = x.transpose(2, 1, 0)
    copy = shortest_seconds(lambda: transposed.copy(), _CPU) / x.nbytes

    image = torch.from_numpy(x)
    halved = axis_matrix(128, 64, 2.0, 0.5)
    product = shortest_seconds(lambda: halved.apply(image, 1), _CPU) / (64 * 64 * 128 * 128)
    long = torch.zeros(160, 192, 192)
    gathered = axis_matrix(160, 64, 2.5, 0.75)
    taps = gathered.indices.shape[1]
    gather = shortest_seconds(lambda: gathered.apply(long, 0), _CPU) / (64 * 192 * 192 * taps)

    working = Grid.from_spacing((8, 64, 64), (2, 2, 2))
    fine = Grid.from_spacing((16, 128, 128), (1, 1, 1))
    # One class everywhere, and another one in each voxel: no borders, and nothing but borders.
    uniform = torch.arange(_CLASSES, dtype=torch.float32)[:, None, None].expand(8, -1, 64, 64)
    mixed = uniform.contiguous()
    mixed[:, 0] += _CLASSES * (torch.arange(64)[:, None] + torch.arange(64)).remainder(2)
    same_grid = _argmax_seconds(uniform.contiguous(), working, working)
    without_borders = _argmax_seconds(uniform.contiguous(), working, fine)
    with_borders = _argmax_seconds(mixed, working, fine)
    voxels = math.prod(fine.shape)
    return HostRates(
        normalize=normalize,
        copy=copy,
        product=product,
        gather=gather,
        winner=same_grid / mixed.numel(),
        look_up=max(0.0, without_borders - same_grid) / voxels,
        interpolate=max(0.0, with_borders - without_borders) / (voxels * _CLASSES),
        page_fault=page_fault,
        setting_up=setting_up,
    )


def _argmax_seconds(planes: torch.Tensor, working: Grid, native: Grid) -> float:
    """Return the time of labels on the native grid, from planes of logits (D, K, H, W)."""
    out = np.zeros(native.shape, np.uint8)

    def work() -> None:
        argmax = NativeArgmax(working, native, range(_CLASSES), out, _CPU)
        for plane in planes:
            argmax.push(plane)

    return shortest_seconds(work, _CPU)
