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


def least_side_mm(
    spacing_mm: Triple,
    *,
    region_mm: Sequence[float] | None,
    tile_shape: Sequence[int] | None,
    tile_mm: Sequence[float] | None,
) -> float:
    """Return the sides of the smallest box whose labels can be trusted.

    Normalization layers see their whole input and structures are told apart by their surroundings:
    with less context than it was trained on, a network takes thalamus for cortex.

    Parameters
    ----------
    spacing_mm
        Working spacing.
    region_mm
        Size of the region that a model with localization is made for; its shortest side counts.
    tile_shape, tile_mm
        The model's tiles in voxels and in mm, which have the size of its training patches; its
        shortest side counts for a model without localization.
    """
    smallest = _SMALLEST_BLOCK * max(spacing_mm)
    if region_mm is not None:
        return max(min(region_mm), smallest)
    sides = [*(tile_mm or ())]
    if tile_shape is not None:
        n = len(tile_shape)
        sides += [size * step for size, step in zip(tile_shape, spacing_mm[-n:], strict=True)]
    return max(min(sides, default=0.0), smallest)


def largest_side_mm(
    grid: Grid,
    center: Sequence[float],
    least_mm: float,
    budget_s: float,
    seconds: Callable[[Grid], float],
) -> float | None:
    """Return the sides of the largest block around a voxel that keeps within a time budget.

    Parameters
    ----------
    grid
        Grid of the whole scan.
    center
        Fractional array index.
    least_mm
        Sides of the smallest block.
    budget_s
        Time budget in seconds.
    seconds
        Predicts the time for a grid.

    Returns
    -------
    float or None
        `None` if the smallest block takes longer.
    """

    def fits(side_mm: float) -> bool:
        block = block_around(grid, center, side_mm)
        return seconds(grid.crop(block.start, block.shape)) <= budget_s

    whole = max(grid.field_of_view_mm)
    if fits(whole):
        return whole
    if least_mm >= whole or not fits(least_mm):
        return None
    low, high = math.log(least_mm), math.log(whole)
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(math.exp(middle)) else (low, middle)
    return math.exp(low)
