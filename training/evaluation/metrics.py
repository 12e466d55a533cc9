"""Agreement of a label map with the truth: overlap, surfaces and volume."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Grid, Triple

_ROUNDING = 1e-5  # relative; surface distances are single precision


@dataclass(frozen=True)
class LabelMetrics:
    """Agreement of one label on one grid.

    Parameters
    ----------
    dice
        2·|A ∩ B| / (|A| + |B|); NaN if both are empty.
    hd95_mm
        Larger of the two directed 95th percentiles of the surface distances, mm. Infinite if one
        of the two is empty, NaN if both are.
    surface_dice
        Fraction of both surfaces that lies within the tolerance of the other; 0 if one of the two
        is empty, NaN if both are.
    volume_error_ml
        Predicted minus true volume.
    volume_ml
        True volume.
    """

    dice: float
    hd95_mm: float
    surface_dice: float
    volume_error_ml: float
    volume_ml: float


def default_tolerance(spacing_mm: Sequence[float]) -> float:
    """Return the tolerance of surface Dice for a scan: 1 mm, or its largest native step if larger.

    It depends on the case, not on the working spacing: the tolerance is the same for coarse and
    fine networks, and not smaller than the precision of the true surface.
    """
    return max(1.0, *spacing_mm)


def agreement(
    predicted: NDArray[Any], truth: NDArray[Any], value: int, grid: Grid, tolerance_mm: float
) -> LabelMetrics:
    """Compare one label of two label maps.

    Parameters
    ----------
    predicted, truth
        Label maps (D, H, W) on the grid. Voxels where the truth is negative (unknown) are ignored.
        If only one slice is known, its outlines are compared in its plane.
    value
        The label.
    grid
        Grid of both label maps.
    tolerance_mm
        Tolerance of the surface Dice.
    """
    known = truth >= 0
    a, b = (predicted == value) & known, truth == value
    sizes = int(a.sum()), int(b.sum())
    ml = grid.voxel_volume_ml
    volume, error = sizes[1] * ml, (sizes[0] - sizes[1]) * ml
    if sizes == (0, 0):
        return LabelMetrics(math.nan, math.nan, math.nan, error, volume)
    dice = 2 * int((a & b).sum()) / sum(sizes)
    if 0 in sizes:
        return LabelMetrics(dice, math.inf, 0.0, error, volume)
    planes, steps = _known_planes(known, grid.spacing_mm)
    first, second = (torch.from_numpy(mask[planes]) for mask in (a, b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # raised and triggered by MONAI itself
        _, distances, _ = get_edge_surface_distance(first, second, spacing=steps, symmetric=True)
    # As in MONAI's two metrics, each of which would compute the distances again.
    hd95 = max(float(torch.quantile(each, 0.95)) for each in distances)
    every = torch.cat(list(distances))
    surface = float((every <= tolerance_mm * (1 + _ROUNDING)).float().mean())
    return LabelMetrics(dice, hd95, surface, error, volume)


def _known_planes(
    known: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[tuple[slice | int, ...], list[float]]:
    """Return an index that drops the axis across a single known slice, and the other spacings."""
    planes: list[slice | int] = []
    steps: list[float] = []
    for axis, step in enumerate(spacing_mm):
        shown = np.flatnonzero(known.any(axis=tuple({0, 1, 2} - {axis})))
        if len(shown) == 1 and len(steps) == axis:  # one axis at most: outlines need two
            planes.append(int(shown[0]))
        else:
            planes.append(slice(None))
            steps.append(step)
    return tuple(planes), steps
