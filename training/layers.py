"""The layers of a network: what they are called, where their maps lie, which ones are joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_hyperspace.core.geometry import Triple

Kind = Literal["convolution", "non-linearity"]
Way = Literal["down", "bottom", "up"]

_SLACK = 1e-6  # what rounding may do to an index


@dataclass(frozen=True)
class Layer:
    """A layer and the place of its feature map.

    Parameters
    ----------
    name
        Way, level and number there, such as ``"up 1.2 conv"``; level 0 is the finest.
    module
        Path of the module in the network.
    kind
        Convolution or non-linearity.
    level
        Number of the level.
    way
        On the way down, at the coarsest level, or on the way up.
    stride
        Voxels of the input from one of the map to the next (z, y, x).
    offset
        Index in the input of the map's first voxel (z, y, x).
    joins
        Whether it takes in more than the map of the layer before: a skip connection ends here.
    """

    name: str
    module: str
    kind: Kind
    level: int
    way: Way
    stride: Triple
    offset: Triple
    joins: bool

    def window(
        self, centre: Sequence[float], extent: Sequence[float], shape: Sequence[int]
    ) -> list[slice]:
        """Return the part of the feature map that stands for a box.

        Its size depends on the box alone, so that all examples have equally many features: as near
        to the box's as a window round the box's centre comes (see `Lattice`). Only where no such
        window exists is its centre up to half a voxel of the map from the box's.

        Parameters
        ----------
        centre
            Index in the input of the box's centre (z, y, x).
        extent
            Edges of the box in voxels of the input.
        shape
            Size of the feature map.
        """
        slices = []
        for c, edge, stride, offset, size in zip(
            centre, extent, self.stride, self.offset, shape, strict=True
        ):
            middle, length = (c - offset) / stride, edge / stride
            count = max(1, _nearest(length))
            if length >= 1 and _uneven(2 * middle) < _SLACK:  # a window can lie round the centre
                parity = (_nearest(2 * middle) + 1) % 2  # odd round a voxel, even round a border
                count = parity + 2 * max(1 - parity, _nearest((length - parity) / 2 - _SLACK))
            count = min(count, size)
            start = min(max(_nearest(middle - (count - 1) / 2), 0), size - count)
            slices.append(slice(start, start + count))
        return slices


@dataclass(frozen=True)
class Lattice:
    """Where the centre of a box must lie in the input to lie alike in all feature maps.

    Parameters
    ----------
    period
        Distance between two such indices of the input (z, y, x).
    phase
        One of them (z, y, x): such that windows of whole voxels lie round it in the maps, or in as
        many as possible.
    """

    period: Triple
    phase: Triple

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Lattice:
        """Return the lattice of a network: strided maps lie round voxels, pooled ones between."""
        period, phase = [], []
        for axis in range(3):
            places = {(layer.stride[axis], layer.offset[axis]) for layer in layers}
            period.append(math.lcm(*(max(1, round(stride)) for stride, _ in places)))
            phase.append(
                min((0.0, -0.5), key=lambda c: sum(_uneven(2 * (c - o) / s) for s, o in places))
            )
        return cls((period[0], period[1], period[2]), (phase[0], phase[1], phase[2]))


def skip_pairs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Return, for each level but the coarsest, the two layers that its skip connection joins.

    The last layer of the level on the way down, and the first on the way up that takes its map in.
    """
    pairs = []
    for level in range(max(layer.level for layer in layers)):
        here = [(i, layer) for i, layer in enumerate(layers) if layer.level == level]
        down = [i for i, layer in here if layer.way == "down"]
        up = [i for i, layer in here if layer.way == "up" and layer.joins]
        if down and up:
            pairs.append((down[-1], up[0]))
    return pairs


def _nearest(number: float) -> int:
    """Round half up, whatever the rounding: 8.5 and 9.5 voxels must not become 8 and 10."""
    return math.floor(number + 0.5 + _SLACK)


def _uneven(number: float) -> float:
    """Return the distance to the nearest whole number."""
    return abs(number - round(number))
