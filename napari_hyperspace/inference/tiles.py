"""Tiles: how a volume too large to run at once is cut, and how its pieces are blended again.

Tiles form a regular lattice, so everything is a product of three one-dimensional problems. Each
tile is weighted by a Gaussian along each axis, and the weights of every axis are divided by their
sum there: the blended weights add up to 1 everywhere, and no volume of weights is ever kept.
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
_FLOOR = 1e-3  # least weight before the division, so that it stays well-conditioned
MAX_OVERLAP = 0.9


@dataclass(frozen=True, eq=False)
class AxisTiles:
    """The tiles along one axis.

    Parameters
    ----------
    length
        Samples along the axis.
    tile
        Samples of each tile.
    starts
        First sample of each tile, ascending; the first is 0, the last ``length - tile``.
    """

    length: int
    tile: int
    starts: tuple[int, ...]

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each sample in each tile (n, tile), float32; summed over tiles: 1."""
        window = gaussian_window(self.tile)
        total = torch.zeros(self.length, dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.tile] += window
        parts = [window / total[start : start + self.tile] for start in self.starts]
        return torch.stack(parts).float()


@dataclass(frozen=True, eq=False)
class Tile:
    """One block of a lattice: where it lies, and its normalized weights an axis (1-D)."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    weights: tuple[Tensor, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of the block in the whole array."""
        return tuple(slice(at, at + n) for at, n in zip(self.start, self.shape, strict=True))

    def weight(self) -> Tensor:
        """Outer product of the axes' weights, of the tile's shape."""
        total = torch.ones(())
        for weights in self.weights:
            total = total[..., None] * weights
        return total


@dataclass(frozen=True, eq=False)
class TileLayout:
    """The tiles of an array: the product of the tiles of its axes."""

    axes: tuple[AxisTiles, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
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
            Number of leading planes that no later row touches, and the tiles of the row.
        """
        first, rest = self.axes[0], self.axes[1:]
        ends = (*first.starts[1:], first.length)
        for row, end in enumerate(ends):
            tiles = []
            for places in product(*(range(len(axis.starts)) for axis in rest)):
                chosen = list(zip(self.axes, (row, *places), strict=True))
                tiles.append(
                    Tile(
                        tuple(axis.starts[i] for axis, i in chosen),
                        self.tile_shape,
                        tuple(axis.weights[i] for axis, i in chosen),
                    )
                )
            yield end, tiles


def gaussian_window(length: int) -> Tensor:
    """Return the Gaussian weights of one axis of a tile (length,), float64, 1 in the middle."""
    offset = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
    return torch.exp(-0.5 * (offset / (_SIGMA * length)) ** 2).clamp_min(_FLOOR)


def tile_axis(length: int, largest: int, overlap: float = 0.25, multiple: int = 1) -> AxisTiles:
    """Cut one axis into equal tiles, evenly placed.

    The fewest tiles of at most ``largest`` samples that overlap enough are taken; then they shrink
    as far as that number allows, since every sample more is computed for nothing.

    Parameters
    ----------
    length
        Samples along the axis.
    largest
        Largest tile; an axis no longer than that is one tile.
    overlap
        Least part of a tile shared with the next one, in [0, 0.9].
    multiple
        Tile lengths are multiples of this number where ``largest`` allows it.
    """
    if length < 1 or largest < 1:
        raise HyperspaceError(
            "axes and tiles need at least one sample", field="tile_shape", found=(length, largest)
        )
    if not 0 <= overlap <= MAX_OVERLAP:
        raise HyperspaceError(
            "the overlap of tiles is out of range",
            field="overlap",
            found=overlap,
            expected=f"0 to {MAX_OVERLAP}",
        )
    if length <= largest:
        return AxisTiles(length, length, (0,))
    count = math.ceil((length - largest) / max(1, math.floor(largest * (1 - overlap)))) + 1
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
        One number, or one an axis.
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
