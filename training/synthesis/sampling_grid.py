"""The grids of a synthetic pair: the fine grid, the scan's grid and the working grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Shape, Triple

_FINEST_MM = 0.5  # the maps contain no finer detail
_COARSEST_MM = 1.0  # thick slices average over thinner structures
_ENOUGH_PARTS = 3  # points per voxel and axis


@dataclass(frozen=True)
class SamplingGrid:
    """A grid of points around the sample's center, evenly spaced along each axis.

    Parameters
    ----------
    shape
        Number of points per axis.
    spacing_mm
        Distance between them (z, y, x).
    """

    shape: Shape
    spacing_mm: Triple

    def axis(self, i: int) -> NDArray[np.float64]:
        """Return the positions along an axis, in mm relative to the center."""
        index = np.arange(self.shape[i], dtype=np.float64)
        return (index - (self.shape[i] - 1) / 2) * np.float64(self.spacing_mm[i])


def scan_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], scan_mm: Sequence[float]
) -> SamplingGrid:
    """Return the grid of the scan: the working grid, or a coarser one that covers it.

    Parameters
    ----------
    shape, spacing_mm
        The working grid.
    scan_mm
        Spacing of the scan.
    """
    z, y, x = (
        n if scan_step == step else math.ceil(n * step / scan_step) + 2
        for n, step, scan_step in zip(shape, spacing_mm, scan_mm, strict=True)
    )
    a, b, c = scan_mm
    return SamplingGrid((z, y, x), (a, b, c))


def fine_grid(scan: SamplingGrid, parts: Sequence[int], width_mm: Sequence[float]) -> SamplingGrid:
    """Return the grid that tissues are painted on.

    Parameters
    ----------
    scan
        Grid of the scan.
    parts
        Number of points per voxel of the scan along each axis.
    width_mm
        Widths of the slice profiles; the grid includes the part of the profiles that extends
        beyond the outermost voxels.
    """
    beyond = [
        math.ceil(max(0.75 * width / step - 0.5, 0) * part)
        for width, step, part in zip(width_mm, scan.spacing_mm, parts, strict=True)
    ]
    z, y, x = (n * part + 2 * more for n, part, more in zip(scan.shape, parts, beyond, strict=True))
    a, b, c = (step / part for step, part in zip(scan.spacing_mm, parts, strict=True))
    return SamplingGrid((z, y, x), (a, b, c))


def choose_parts(scan: SamplingGrid, width_mm: Sequence[float], most: int) -> Shape:
    """Return the number of points per voxel of the scan along each axis.

    There are several, so that borders within a voxel result in partial volumes. If the total
    exceeds a limit, the number is reduced, starting with the axis of the finest points.

    Parameters
    ----------
    scan, width_mm
        As for `fine_grid`.
    most
        Largest total number of points.
    """
    spacing = np.array(scan.spacing_mm)
    painted = np.clip(spacing / _ENOUGH_PARTS, _FINEST_MM, _COARSEST_MM)
    parts = np.maximum(np.ceil(spacing / painted - 1e-6), 1).astype(int)
    while math.prod(fine_grid(scan, parts.tolist(), width_mm).shape) > most and parts.max() > 1:
        parts[np.argmin(np.where(parts > 1, spacing / parts, np.inf))] -= 1
    z, y, x = parts.tolist()
    return z, y, x
