"""The layers of a network: their names, the positions of their feature maps, skip connections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_hyperspace.core.geometry import Triple

Kind = Literal["convolution", "non-linearity"]
Way = Literal["down", "bottom", "up"]

_INDEX_TOLERANCE = 1e-6  # rounding of an index


@dataclass(frozen=True)
class NetworkLayer:
    """A layer and the position of its feature map.

    Parameters
    ----------
    name
        Path, level and number, such as ``"up 1.2 conv"``; level 0 is the finest.
    module
        Name of the module in the network.
    kind
        Convolution or non-linearity.
    level
        Number of the level.
    way
        Whether it is on the downsampling path, at the coarsest level or on the upsampling path.
    stride
        Distance between voxels of the feature map, in voxels of the input (z, y, x).
    offset
        Index in the input of the feature map's first voxel (z, y, x).
    joins
        Whether its input has more channels than the layer before returns: a skip connection ends
        here.
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
        """Return the part of the feature map that a box covers, per axis (z, y, x).

        For each axis: the voxels that overlap the box, and the fraction of each inside it. The sum
        of these weights, in mm, is the edge of the box whatever the size of the voxels.

        Parameters
        ----------
        center
            Index in the input of the center of the box (z, y, x).
        extent
            Edges of the box in voxels of the input.
        shape
            Shape of the feature map.
        """
        window = []
        for c, edge, stride, offset, size in zip(
            center, extent, self.stride, self.offset, shape, strict=True
        ):
            low, high = (c - offset - edge / 2) / stride, (c - offset + edge / 2) / stride
            start = max(math.floor(low + 0.5 + _INDEX_TOLERANCE), 0)
            stop = min(math.ceil(high + 0.5 - _INDEX_TOLERANCE), size)
            weights = [min(v + 0.5, high) - max(v - 0.5, low) for v in range(start, stop)]
            window.append((slice(start, stop), weights))
        return window


def common_period(layers: Sequence[NetworkLayer]) -> tuple[int, int, int]:
    """Return the shift of the input, per axis, that shifts all feature maps by whole voxels."""
    a, b, c = (
        math.lcm(*(max(1, round(layer.stride[axis])) for layer in layers)) for axis in range(3)
    )
    return a, b, c


def skip_pairs(layers: Sequence[NetworkLayer]) -> list[tuple[int, int]]:
    """Return, for each level except the coarsest, the two layers that its skip connection joins.

    These are the last layer of the level on the downsampling path and the first layer on the
    upsampling path that receives its feature map.
    """
    pairs = []
    for level in range(max(layer.level for layer in layers)):
        here = [(i, layer) for i, layer in enumerate(layers) if layer.level == level]
        down = [i for i, layer in here if layer.way == "down"]
        up = [i for i, layer in here if layer.way == "up" and layer.joins]
        if down and up:
            pairs.append((down[-1], up[0]))
    return pairs
