"""A plain U-Net, 2-D or 3-D; networks of the literature are configurations of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.nets.base.convolution import convolve
from napari_hyperspace.nets.base.levels import Average, Interpolation
from napari_hyperspace.nets.base.modules import ExactMode
from napari_hyperspace.nets.base.normalization import InstanceNorm
from napari_hyperspace.nets.plain.config import UNetConfig

_Convolution = nn.Conv3d | nn.Conv2d | nn.ConvTranspose3d | nn.ConvTranspose2d


class ConvolutionBlock(ExactMode, nn.Module):
    """A convolution, its activation and its normalization, in the configured order.

    A list of inputs stands for their concatenation along the channels; it is emptied, so that the
    largest maps of a U-Net are freed before the next ones are allocated.

    In exact mode and in training the inputs are concatenated. In fast mode each is convolved by
    itself and the results are added: the concatenation, the largest tensor of a U-Net, is never
    allocated.
    """

    def __init__(self, conv: _Convolution, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.conv = conv
        self.norm = _norm(channels, config)
        self.activation = (
            nn.ReLU(inplace=True)
            if config.activation == "relu"
            else nn.LeakyReLU(0.01, inplace=True)
        )
        self.norm_first = config.order == "conv-norm-act"

    def forward(self, image: Tensor | list[Tensor]) -> Tensor:
        """(B, C, *S) → (B, channels, *S'); C is the sum over a list, which is emptied."""
        features = self._convolve(image)
        steps = (self.norm, self.activation) if self.norm_first else (self.activation, self.norm)
        for step in steps:
            features = step(features)
        return features

    def _convolve(self, image: Tensor | list[Tensor]) -> Tensor:
        if not isinstance(image, list):
            return convolve(self.conv, image)
        if not self.training and not self.exact:
            return self._convolve_separately(image)
        whole = torch.cat(image, dim=1)
        image.clear()
        return convolve(self.conv, whole)

    def _convolve_separately(self, images: list[Tensor]) -> Tensor:
        """Add up the convolutions of the inputs; each input is freed once it is convolved."""
        conv = self.conv
        convolve = F.conv3d if images[0].ndim == 5 else F.conv2d
        weights = torch.split(conv.weight, [image.shape[1] for image in images], dim=1)
        total = convolve(images.pop(0), weights[0], conv.bias, padding=conv.padding)
        for weight in weights[1:]:
            total += convolve(images.pop(0), weight, padding=conv.padding)
        return total


class Level(nn.Sequential):
    """The convolutions of one level, in the encoder or in the decoder."""

    def forward(self, image: Tensor | list[Tensor]) -> Tensor:
        """(B, C, *S) → (B, channels, *S); a list is treated as in `ConvolutionBlock`."""
        first, *rest = self
        features: Tensor = first(image)
        for block in rest:
            features = block(features)
        return features


class UNet(nn.Module):
    """Image (B, in_channels, *S) → logits (B, out_channels, *S), for any size S.

    Where a stride does not divide a size, the size of the coarser map is rounded up (zero padding),
    and the upsampled map is cropped. With physical levels, `adapt` must be called first.

    References
    ----------
    Ronneberger et al., MICCAI 2015; Joutard et al., MICCAI 2024 (the default configuration).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.level_channels
        last = len(widths) - 1
        physical = config.level_spacing_mm is not None
        widens = config.down == "strided" and not physical
        narrows = config.up == "transposed" or physical
        self.stem = (
            ConvolutionBlock(_conv(config.in_channels, widths[0], config), widths[0], config)
            if config.stem
            else None
        )
        self.encoder = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        incoming = widths[0] if config.stem else config.in_channels
        for level, (width, n_convs) in enumerate(
            zip(widths, config.level_convolutions, strict=True)
        ):
            self.encoder.append(_level(incoming, width, n_convs, config))
            incoming = width
            if level < last:
                self.downs.append(_down(level, config))
                self.ups.append(_up(level, config))
                from_below = width if narrows else widths[level + 1]
                self.decoder.append(_level(from_below + width, width, n_convs, config))
                incoming = widths[level + 1] if widens else width
        self.head = _conv(widths[0], config.out_channels, config, config.final_kernel_size)

    def adapt(self, spacing_mm: Sequence[float]) -> None:
        """Set the factors of physical levels for a spacing in mm, in array-axis order."""
        if self.config.level_spacing_mm is not None:
            for factors, *ways in zip(
                self.config.factors(spacing_mm), self.downs, self.ups, strict=True
            ):
                for way in ways:
                    if isinstance(way, Average | Interpolation):
                        way.factors = factors

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, *S) → (B, out_channels, *S)."""
        features: Tensor = image if self.stem is None else self.stem(image)
        skips = []
        for encode, down in zip(self.encoder, self.downs, strict=False):
            features = encode(features)
            skips.append(features)
            features = down(features)
        features = self.encoder[-1](features)
        for up, decode in zip(reversed(self.ups), reversed(self.decoder), strict=True):
            skip = skips.pop()
            largest = [_up_to(features, up, skip), skip]
            del skip  # freed by the first block of the level, which empties the list
            features = decode(largest)
        return convolve(self.head, features)


def _up_to(features: Tensor, up: nn.Module, like: Tensor) -> Tensor:
    """Upsample to the size of another map."""
    image: Tensor = up(features, like.shape[2:]) if isinstance(up, Interpolation) else up(features)
    if image.shape[2:] == like.shape[2:]:
        return image
    for axis, size in enumerate(like.shape[2:], start=2):
        image = image.narrow(axis, 0, size)
    return image


def _conv(
    incoming: int,
    outgoing: int,
    config: UNetConfig,
    kernel_size: int | None = None,
    stride: tuple[int, ...] | int = 1,
) -> nn.Conv3d | nn.Conv2d:
    kernel = kernel_size or config.kernel_size
    kind: Any = nn.Conv3d if config.n_dim == 3 else nn.Conv2d
    conv: nn.Conv3d | nn.Conv2d = kind(
        incoming, outgoing, kernel, stride=stride, padding=kernel // 2
    )
    return conv


def _level(incoming: int, width: int, n_convs: int, config: UNetConfig) -> Level:
    widths = [incoming, *[width] * n_convs]
    return Level(*(ConvolutionBlock(_conv(a, b, config), b, config) for a, b in pairwise(widths)))


def _down(level: int, config: UNetConfig) -> nn.Module:
    if config.level_spacing_mm is not None:
        return Average()
    stride = config.strides[level]
    if config.down == "max-pool":
        kind = nn.MaxPool3d if config.n_dim == 3 else nn.MaxPool2d
        return kind(stride, ceil_mode=True)
    width, wider = config.level_channels[level : level + 2]
    return ConvolutionBlock(_conv(width, wider, config, stride=stride), wider, config)


def _up(level: int, config: UNetConfig) -> nn.Module:
    width, wider = config.level_channels[level : level + 2]
    if config.level_spacing_mm is not None:
        return Interpolation(_conv(wider, width, config, kernel_size=1))
    stride = config.strides[level]
    if config.up == "linear":
        mode = "trilinear" if config.n_dim == 3 else "bilinear"
        return nn.Upsample(scale_factor=tuple(map(float, stride)), mode=mode)
    overlap = config.up_kernel == "double"
    kernel = tuple(2 * s if overlap and s > 1 else s for s in stride)
    padding = tuple((k - s) // 2 for k, s in zip(kernel, stride, strict=True))
    kind: Any = nn.ConvTranspose3d if config.n_dim == 3 else nn.ConvTranspose2d
    return ConvolutionBlock(
        kind(wider, width, kernel, stride=stride, padding=padding), width, config
    )


def _norm(channels: int, config: UNetConfig) -> nn.Module:
    if config.norm == "instance":
        return InstanceNorm(channels)
    if config.norm == "batch":
        return nn.BatchNorm3d(channels) if config.n_dim == 3 else nn.BatchNorm2d(channels)
    return nn.Identity()
