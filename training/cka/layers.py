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
class NetworkLayer:
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
        self, center: Sequence[float], extent: Sequence[float], shape: Sequence[int]
    ) -> list[tuple[slice, list[float]]]:
        """Return the part of the feature map that a box covers, an axis (z, y, x).

        Of each axis: the voxels that the box touches, and how much of each lies in it (0 to 1). The
        sum of these weights, in mm, is the box's edge whatever the size of the voxels.

        Parameters
        ----------
        center
            Index in the input of the box's center (z, y, x).
        extent
            Edges of the box in voxels of the input.
        shape
            Size of the feature map.
        """
        window = []
        for c, edge, stride, offset, size in zip(
            center, extent, self.stride, self.offset, shape, strict=True
        ):
            low, high = (c - offset - edge / 2) / stride, (c - offset + edge / 2) / stride
            start = max(math.floor(low + 0.5 + _SLACK), 0)
            stop = min(math.ceil(high + 0.5 - _SLACK), size)
            weights = [min(v + 0.5, high) - max(v - 0.5, low) for v in range(start, stop)]
            window.append((slice(start, stop), weights))
        return window


def common_period(layers: Sequence[NetworkLayer]) -> tuple[int, int, int]:
    """Return how far to move an input, an axis, so that all feature maps move by whole voxels."""
    a, b, c = (
        math.lcm(*(max(1, round(layer.stride[axis])) for layer in layers)) for axis in range(3)
    )
    return a, b, c


def skip_pairs(layers: Sequence[NetworkLayer]) -> list[tuple[int, int]]:
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
