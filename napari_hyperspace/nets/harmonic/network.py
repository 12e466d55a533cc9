"""The U-Net of physical kernels, for one spacing: a plain module of ordinary convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig
from napari_hyperspace.nets.harmonic.kernels import Fields, dimension, reach
from napari_hyperspace.nets.harmonic.layers import (
    Gate,
    LinearUp,
    MaxNormPool,
    SteerableNorm,
    gated,
    growing,
)

Taps = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """A convolution of the network.

    Parameters
    ----------
    name
        Path of its block in the network.
    level
        Whose grid it works on; 0 is the finest.
    incoming, outgoing
        Its features; the output's are those that the gate takes.
    """

    name: str
    level: int
    incoming: Fields
    outgoing: Fields


@cache
def plan(config: HarmonicUNetConfig) -> tuple[Layer, ...]:
    """Return the convolutions of a network but for the last one, in their order."""
    fields = [
        growing(config.multiplicities, config.channel_growth**level)
        for level in range(config.n_levels)
    ]
    layers = []

    def add(way: str, place: int, level: int, incoming: Fields) -> None:
        for number in range(config.convs_per_level):
            name = f"{way}.{place}.{number}"
            layers.append(Layer(name, level, incoming, gated(fields[level])))
            incoming = fields[level]

    incoming: Fields = ((config.in_channels, 0),)
    for level in range(config.n_levels):
        add("encoder", level, level, incoming)
        incoming = fields[level]
    for place, level in enumerate(reversed(range(config.n_levels - 1))):
        add("decoder", place, level, fields[level + 1] + fields[level])
    return tuple(layers)


def level_taps(
    config: HarmonicUNetConfig, spacing_mm: Sequence[float], *, averaged: bool
) -> tuple[Taps, ...]:
    """Return the shape in voxels of the kernels of each level, the finest first."""
    found = []
    for diameter, steps in zip(config.kernel_mm, config.level_spacings_mm(spacing_mm), strict=True):
        a, b, c = (2 * reach(diameter, step, averaged=averaged) + 1 for step in steps)
        found.append((a, b, c))
    return tuple(found)


class Convolution(nn.Conv3d):
    """A convolution whose middle tap holds a connection of each voxel to itself.

    Attributes
    ----------
    exact
        Whether a trained network adds the middle tap's share last, as published: it is much larger
        than the others, and sums that run through it round worse. Else, and in training, it is one
        convolution.
    """

    exact = True

    def __init__(self, incoming: int, outgoing: int, taps: Taps) -> None:
        a, b, c = taps
        super().__init__(incoming, outgoing, taps, padding=(a // 2, b // 2, c // 2), bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C', *S)."""
        if self.training or not self.exact or max(self.kernel_size) == 1:
            return super().forward(image)
        a, b, c = (slice(n // 2, n // 2 + 1) for n in self.kernel_size)
        middle, others = self.weight[:, :, a, b, c], self.weight.clone()
        others[:, :, a, b, c] = 0
        return F.conv3d(image, others, padding=self.padding) + F.conv3d(image, middle)


class Block(nn.Module):
    """A convolution, its normalisation and its gate."""

    def __init__(self, layer: Layer, taps: Taps) -> None:
        super().__init__()
        (scalars, _), *others = layer.outgoing
        fields = ((scalars - sum(m for m, _ in others), 0), *others)
        self.conv = Convolution(dimension(layer.incoming), dimension(layer.outgoing), taps)
        self.norm = SteerableNorm(layer.outgoing)
        self.activation = Gate(fields)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C', *S)."""
        features: Tensor = self.activation(self.norm(self.conv(image)))
        return features


class HarmonicUNet(nn.Module):
    """Image (B, in_channels, *S) → logits (B, out_channels, *S), for any size S.

    Sizes that whole-voxel poolings do not divide are padded with zeros at the front, as published.

    Parameters
    ----------
    config
        The network.
    spacing_mm
        Of the image, in array-axis order.
    averaged
        Whether kernels are averaged over voxels; see `reach`.

    References
    ----------
    Diaz et al., Learning from spatially inhomogeneous data: resolution-adaptive convolutions, 2025.
    """

    def __init__(
        self, config: HarmonicUNetConfig, spacing_mm: Sequence[float], *, averaged: bool
    ) -> None:
        super().__init__()
        taps = level_taps(config, spacing_mm, averaged=averaged)
        factors = config.factors(spacing_mm)
        blocks = {layer.name: Block(layer, taps[layer.level]) for layer in plan(config)}

        def levels(way: str, count: int) -> nn.ModuleList:
            numbers = range(config.convs_per_level)
            return nn.ModuleList(
                nn.Sequential(*(blocks[f"{way}.{place}.{n}"] for n in numbers))
                for place in range(count)
            )

        self.encoder = levels("encoder", config.n_levels)
        self.decoder = levels("decoder", config.n_levels - 1)
        self.downs = nn.ModuleList(
            MaxNormPool(
                growing(config.multiplicities, config.channel_growth**level), factors[level]
            )
            for level in range(config.n_levels - 1)
        )
        self.up = LinearUp()
        first = dimension(growing(config.multiplicities, 1))
        self.head = nn.Conv3d(first, config.out_channels, 1)
        self._multiple = [math.prod(int(f) for f in axis) for axis in zip(*factors, strict=True)]

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, *S) → (B, out_channels, *S)."""
        sizes = image.shape[2:]
        missing = [-n % m for n, m in zip(sizes, self._multiple, strict=False)]
        if any(missing):
            image = F.pad(image, [n for before in reversed(missing) for n in (before, 0)])
        features, skips = image, []
        for encode, down in zip(self.encoder, self.downs, strict=False):
            features = encode(features)
            skips.append(features)
            features = down(features)
        features = self.encoder[-1](features)
        for decode in self.decoder:
            skip = skips.pop()
            features = decode(torch.cat([self.up(features, skip.shape[2:]), skip], dim=1))
        for axis, (n, size) in enumerate(zip(missing, sizes, strict=False), start=2):
            features = features.narrow(axis, n, size)
        return cast(Tensor, self.head(features))
