"""The block of a scan that a preview segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari_hyperspace.core.geometry import Grid, Shape, Triple

_SMALLEST_BLOCK = 12  # voxels of the working grid along each axis
_SEARCH_STEPS = 6


@dataclass(frozen=True)
class PreviewBlock:
    """A block of voxels: its first voxel and its shape, in array order."""

    start: Shape
    shape: Shape

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the block's voxels in the whole array."""
        a, b, c = (slice(i, i + n) for i, n in zip(self.start, self.shape, strict=True))
        return a, b, c


def block_around(grid: Grid, center: Sequence[float], side_mm: float) -> PreviewBlock:
    """Return the block of a grid around a voxel, shifted to lie inside the grid.

    Parameters
    ----------
    center
        Fractional array index.
    side_mm
        Length of each side; an axis of the grid that is shorter is taken whole.
    """
    starts, sizes = [], []
    for n, step, middle in zip(grid.shape, grid.spacing_mm, center, strict=True):
        size = min(n, max(1, round(side_mm / step)))
        starts.append(min(max(round(middle - (size - 1) / 2), 0), n - size))
        sizes.append(size)
    return PreviewBlock((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))


def block_within(
    grid: Grid,
    center: Sequence[float],
    spacing_mm: Triple,
    budget_s: float,
    seconds: Callable[[Grid], float],
) -> PreviewBlock:
    """Return the largest block around a voxel that can be segmented within a time budget.

    Parameters
    ----------
    grid
        Grid of the whole scan.
    center
        Fractional array index.
    spacing_mm
        Working spacing. It bounds the block from below: the block has at least 12 working voxels
        along each axis, even if they exceed the budget.
    budget_s
        Time budget in seconds.
    seconds
        Predicts the time for a grid.
    """
    low = math.log(_SMALLEST_BLOCK * max(spacing_mm))
    high = max(math.log(max(grid.field_of_view_mm)), low)
    if seconds(grid) <= budget_s:
        return PreviewBlock((0, 0, 0), grid.shape)
    best = block_around(grid, center, math.exp(low))
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        block = block_around(grid, center, math.exp(middle))
        if seconds(grid.crop(block.start, block.shape)) <= budget_s:
            low, best = middle, block
        else:
            high = middle
    return best
