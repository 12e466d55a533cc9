"""Cut a volume that is too large to run at once into tiles, with weights to blend them.

Tiles lie on a regular grid, so every problem is a product of one-dimensional ones. Tiles are
weighted by a Gaussian along each axis, and the weights along each axis are divided by their sum:
the blended weights add up to 1 everywhere, and no volume of weights is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError

_SIGMA = 1 / 8  # of the Gaussian, in tile lengths
_FLOOR = 1e-3  # smallest weight before the division, to keep it well-conditioned
MAX_OVERLAP = 0.9
MAX_TILES = 1 << 24  # along an axis; a list of more is not worth making


@dataclass(frozen=True, eq=False)
class AxisTiles:
    """The tiles along one axis.

    Parameters
    ----------
    length
        Number of samples along the axis.
    tile
        Number of samples of each tile.
    starts
        First sample of each tile, ascending; the first is 0, the last ``length - tile``.
    """

    length: int
    tile: int
    starts: tuple[int, ...]

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each sample in each tile (n, tile), float32; the sum over the tiles is 1."""
        window = gaussian_window(self.tile)
        total = torch.zeros(self.length, dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.tile] += window
        parts = [window / total[start : start + self.tile] for start in self.starts]
        return torch.stack(parts).float()


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile: its position, and its normalized weights along each axis (1-D)."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    weights: tuple[Tensor, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of the tile in the array."""
        return tuple(slice(at, at + n) for at, n in zip(self.start, self.shape, strict=True))

    def weight(self) -> Tensor:
        """Outer product of the weights along the axes, of the tile's shape."""
        weight = torch.ones(())
        for weights in self.weights:
            weight = weight[..., None] * weights
        return weight


@dataclass(frozen=True, eq=False)
class TileLayout:
    """The tiles of an array: the Cartesian product of the tiles along its axes."""

    axes: tuple[AxisTiles, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(axis.length for axis in self.axes)

    @property
    def tile_shape(self) -> tuple[int, ...]:
        """Shape of each tile."""
        return tuple(axis.tile for axis in self.axes)

    def __len__(self) -> int:
        return math.prod(len(axis.starts) for axis in self.axes)

    def rows(self) -> Iterator[tuple[int, list[Tile]]]:
        """Yield the tiles row by row along the first axis.

        Yields
        ------
        tuple
            Number of leading planes that no later row covers, and the tiles of the row.
        """
        first, rest = self.axes[0], self.axes[1:]
        ends = (*first.starts[1:], first.length)
        for row, end in enumerate(ends):
            tiles = []
            for columns in product(*(range(len(axis.starts)) for axis in rest)):
                indices = list(zip(self.axes, (row, *columns), strict=True))
                tiles.append(
                    Tile(
                        tuple(axis.starts[i] for axis, i in indices),
                        self.tile_shape,
                        tuple(axis.weights[i] for axis, i in indices),
                    )
                )
            yield end, tiles


def gaussian_window(length: int) -> Tensor:
    """Return the Gaussian weights of one axis of a tile (length,), float64, 1 at the center."""
    offset = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
    return torch.exp(-0.5 * (offset / (_SIGMA * length)) ** 2).clamp_min(_FLOOR)


def tile_axis(length: int, largest: int, overlap: float = 0.25, multiple: int = 1) -> AxisTiles:
    """Cut one axis into evenly spaced tiles of equal length.

    The number of tiles is the smallest for which tiles of at most ``largest`` samples overlap
    enough; the tiles are then as short as that number allows, to compute fewer samples twice.

    Parameters
    ----------
    length
        Number of samples along the axis.
    largest
        Largest tile; an axis that is not longer is one tile.
    overlap
        Smallest fraction of a tile shared with the next one, in [0, 0.9].
    multiple
        Tile lengths are multiples of this number, unless that exceeds ``largest``.

    Raises
    ------
    HyperspaceError
        If a size is not positive, the overlap is out of range, or there are too many tiles.
    """
    if length < 1 or largest < 1:
        raise HyperspaceError(
            "axes and tiles need at least one sample", field="tile_shape", found=(length, largest)
        )
    if not 0 <= overlap <= MAX_OVERLAP:
        raise HyperspaceError(
            "the overlap of the tiles is out of range",
            field="overlap",
            found=overlap,
            expected=f"0 to {MAX_OVERLAP}",
        )
    if length <= largest:
        return AxisTiles(length, length, (0,))
    count = math.ceil((length - largest) / max(1, math.floor(largest * (1 - overlap)))) + 1
    if count > MAX_TILES:
        raise HyperspaceError(
            "too many tiles along one axis",
            field="tile_shape",
            found=count,
            expected=f"at most {MAX_TILES}",
            fix="Choose a coarser spacing or larger tiles",
        )
    tile = math.ceil(length / (1 + (count - 1) * (1 - overlap)))
    tile = min(multiple * math.ceil(tile / multiple), largest)
    starts = {i * (length - tile) // (count - 1) for i in range(count)}
    return AxisTiles(length, tile, tuple(sorted(starts)))


def tile_array(
    shape: Sequence[int],
    largest: Sequence[int],
    overlap: Sequence[float] | float = 0.25,
    multiple: int = 1,
) -> TileLayout:
    """Cut an array into tiles, each axis as `tile_axis` does.

    Parameters
    ----------
    shape, largest
        Shape of the array and of the largest tile.
    overlap
        One number, or one per axis.
    multiple
        As in `tile_axis`.
    """
    overlaps = [overlap] * len(shape) if isinstance(overlap, int | float) else overlap
    return TileLayout(
        tuple(
            tile_axis(length, limit, part, multiple)
            for length, limit, part in zip(shape, largest, overlaps, strict=True)
        )
    )
