"""The U-Net of physical kernels, for one spacing: a plain module of ordinary convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.nets.base.convolution import convolve
from napari_hyperspace.nets.base.levels import Average, Interpolation
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig
from napari_hyperspace.nets.harmonic.kernels import Fields, Taps, dimension, reach
from napari_hyperspace.nets.harmonic.layers import (
    Convolution,
    Gate,
    LinearUp,
    MaxNormPool,
    Separable,
    SteerableNorm,
    gate_input,
    level_fields,
)


@dataclass(frozen=True)
class LayerPlan:
    """A convolution of the network.

    Parameters
    ----------
    name
        Path of its block in the network.
    form
        How its kernel is made; ``"point"``: a kernel of one voxel, without norm and gate.
    level
        Level whose grid it works on; 0 is the finest.
    incoming, outgoing
        Features of its input and output; the output includes the scalars for the gate.
    """

    name: str
    form: Literal["steerable", "free", "depthwise", "point"]
    level: int
    incoming: Fields
    outgoing: Fields


@cache
def plan_layers(config: HarmonicUNetConfig) -> tuple[LayerPlan, ...]:
    """Return the convolutions of a network, in the order of execution."""
    fields = [
        level_fields(config.multiplicities, config.channel_growth**level)
        for level in range(config.n_levels)
    ]
    image: Fields = ((config.in_channels, 0),)
    layers = []

    def add(way: str, place: int, level: int, incoming: Fields) -> None:
        for number in range(config.convs_per_level):
            form = config.kernels
            if form == "depthwise" and incoming == image:
                form = "free"  # a kernel per input channel would be too few
            name = f"{way}.{place}.{number}"
            layers.append(LayerPlan(name, form, level, incoming, gate_input(fields[level])))
            incoming = fields[level]

    add("encoder", 0, 0, image)
    for level in range(1, config.n_levels):
        add("encoder", level, level, fields[level - 1])
    for place, level in enumerate(reversed(range(config.n_levels - 1))):
        below = fields[level + 1]
        if config.pooling == "average":
            name = f"ups.{place}.narrow"
            layers.append(LayerPlan(name, "point", level + 1, below, fields[level]))
            below = fields[level]
        add("decoder", place, level, below + fields[level])
    layers.append(LayerPlan("head", "point", 0, fields[0], ((config.out_channels, 0),)))
    return tuple(layers)


def level_taps(
    config: HarmonicUNetConfig, spacing_mm: Sequence[float], *, integrated: bool
) -> tuple[Taps, ...]:
    """Return the kernel shape in voxels of each level, the finest first."""
    found = []
    for diameter, steps in zip(config.kernel_mm, config.level_spacings_mm(spacing_mm), strict=True):
        a, b, c = (2 * reach(diameter, step, integrated=integrated) + 1 for step in steps)
        found.append((a, b, c))
    return tuple(found)


class HarmonicBlock(nn.Module):
    """A convolution, its normalization, and its gate or a plain ReLU."""

    def __init__(self, conv: nn.Module, outgoing: Fields, *, steerable: bool) -> None:
        super().__init__()
        (scalars, _), *others = outgoing
        self.conv = conv
        self.norm = SteerableNorm(outgoing)
        fields = ((scalars - sum(m for m, _ in others), 0), *others)
        self.activation = Gate(fields) if steerable else nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C', *S)."""
        features: Tensor = self.activation(self.norm(convolve(self.conv, image)))
        return features


class HarmonicUNet(nn.Module):
    """Image (B, in_channels, *S) → logits (B, out_channels, *S), for any size S.

    Sizes that whole-voxel pooling does not divide are padded with zeros at the front, as published.

    Parameters
    ----------
    config
        Configuration of the network.
    spacing_mm
        Spacing of the image in mm, in array-axis order.
    integrated
        Whether kernels are integrated over voxels; see `reach`.
    composed
        Whether a depthwise convolution and the one that mixes channels are a single convolution:
        the same function, and much faster to differentiate.

    References
    ----------
    Diaz et al., Learning from spatially inhomogeneous data: resolution-adaptive convolutions, 2025.
    """

    def __init__(
        self,
        config: HarmonicUNetConfig,
        spacing_mm: Sequence[float],
        *,
        integrated: bool,
        composed: bool,
    ) -> None:
        super().__init__()
        taps = level_taps(config, spacing_mm, integrated=integrated)
        factors = config.factors(spacing_mm)
        layers = {layer.name: layer for layer in plan_layers(config)}
        steerable = config.kernels == "steerable"

        def convolution(name: str) -> nn.Module:
            layer = layers[name]
            incoming, outgoing = dimension(layer.incoming), dimension(layer.outgoing)
            if layer.form == "point":
                return nn.Conv3d(incoming, outgoing, 1, bias=name == "head")
            shape = taps[layer.level]
            if layer.form == "depthwise" and not composed:
                return Separable(incoming, outgoing, shape)
            return Convolution(incoming, outgoing, shape)

        def levels(way: str, count: int) -> nn.ModuleList:
            names = [
                [f"{way}.{place}.{number}" for number in range(config.convs_per_level)]
                for place in range(count)
            ]
            return nn.ModuleList(
                nn.Sequential(
                    *(
                        HarmonicBlock(convolution(n), layers[n].outgoing, steerable=steerable)
                        for n in level
                    )
                )
                for level in names
            )

        self.encoder = levels("encoder", config.n_levels)
        self.decoder = levels("decoder", config.n_levels - 1)
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self._multiple = [1] * config.n_dim
        for level, of_level in enumerate(factors):
            if config.pooling == "average":
                down, up = (
                    Average(),
                    Interpolation(convolution(f"ups.{len(factors) - 1 - level}.narrow")),
                )
                down.factors = up.factors = of_level
                self.downs.append(down)
                self.ups.insert(0, up)
            else:
                fields = level_fields(config.multiplicities, config.channel_growth**level)
                self.downs.append(MaxNormPool(fields, of_level))
                self.ups.append(LinearUp())
        if config.pooling == "max-norm":
            self._multiple = [math.prod(map(int, axis)) for axis in zip(*factors, strict=True)]
        self.head = convolution("head")

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
        for up, decode in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            features = decode(torch.cat([up(features, skip.shape[2:]), skip], dim=1))
        if any(missing):
            for axis, (n, size) in enumerate(zip(missing, sizes, strict=True), start=2):
                features = features.narrow(axis, n, size)
        logits: Tensor = self.head(features)
        return logits
