"""The grids that a synthetic scan passes through: painted, taken by the scanner, worked on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Shape, Triple

_FINEST_MM = 0.5  # no use in painting finer than the maps are known
_COARSEST_MM = 1.0  # what thick slices average over is thinner than they are
_ENOUGH_PARTS = 3


@dataclass(frozen=True)
class SamplingGrid:
    """Points on a box around the sample's center, evenly spaced along each axis.

    Parameters
    ----------
    shape
        Number of points an axis.
    spacing_mm
        Distance between them.
    """

    shape: Shape
    spacing_mm: Triple

    def axis(self, i: int) -> NDArray[np.float64]:
        """Return the positions along an axis, mm from the center."""
        index = np.arange(self.shape[i], dtype=np.float64)
        return (index - (self.shape[i] - 1) / 2) * np.float64(self.spacing_mm[i])


def scan_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], taken_mm: Sequence[float]
) -> SamplingGrid:
    """Return the scan's grid: the working grid, or a coarser one that covers it.

    Parameters
    ----------
    shape, spacing_mm
        The working grid.
    taken_mm
        Spacing of the scan.
    """
    z, y, x = (
        n if taken == step else math.ceil(n * step / taken) + 2
        for n, step, taken in zip(shape, spacing_mm, taken_mm, strict=True)
    )
    a, b, c = taken_mm
    return SamplingGrid((z, y, x), (a, b, c))


def fine_grid(scan: SamplingGrid, parts: Sequence[int], width_mm: Sequence[float]) -> SamplingGrid:
    """Return the grid to paint on.

    Parameters
    ----------
    scan
        The scan's grid.
    parts
        How many points make a voxel of the scan, an axis.
    width_mm
        Widths of the slice profiles; what reaches beyond the outermost voxels is painted too.
    """
    beyond = [
        math.ceil(max(0.75 * width / step - 0.5, 0) * part)
        for width, step, part in zip(width_mm, scan.spacing_mm, parts, strict=True)
    ]
    z, y, x = (n * part + 2 * more for n, part, more in zip(scan.shape, parts, beyond, strict=True))
    a, b, c = (step / part for step, part in zip(scan.spacing_mm, parts, strict=True))
    return SamplingGrid((z, y, x), (a, b, c))


def choose_parts(scan: SamplingGrid, width_mm: Sequence[float], most: int) -> Shape:
    """Return how many points an axis each voxel of the scan is painted in.

    A few, so that borders within a voxel count by their share; fewer where the points would be
    more than can be afforded, the finest axis first.

    Parameters
    ----------
    scan, width_mm
        As for `fine_grid`.
    most
        Most points in all.
    """
    spacing = np.array(scan.spacing_mm)
    painted = np.clip(spacing / _ENOUGH_PARTS, _FINEST_MM, _COARSEST_MM)
    parts = np.maximum(np.ceil(spacing / painted - 1e-6), 1).astype(int)
    while math.prod(fine_grid(scan, parts.tolist(), width_mm).shape) > most and parts.max() > 1:
        parts[np.argmin(np.where(parts > 1, spacing / parts, np.inf))] -= 1
    z, y, x = parts.tolist()
    return z, y, x
