"""Small models for tests of the engine, made without the network package."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels
from napari_hyperspace.nets.base.localization import Localization

_numbers = itertools.count()


@dataclass
class FakeModel:
    """A `SpacingModel` whose network is a function of the spacing; it records what was asked."""

    make: Callable[[tuple[float, ...]], nn.Module]
    name: str = "fake"
    identity: str = field(default_factory=lambda: f"fake {next(_numbers)}")
    digest: str = "0" * 32
    channel_names: tuple[str, ...] = ("image",)
    head: str = "labels"
    n_dim: int = 3
    in_channels: int = 1
    out_channels: int = 3
    label_values: tuple[int, ...] = (0, 1, 2)
    label_names: Mapping[int, str] = field(default_factory=lambda: {1: "one", 2: "two"})
    label_colors: Mapping[int, str] = field(default_factory=lambda: {1: "#ff0000", 2: "#00ff00"})
    label_sides: Mapping[int, Laterality] = field(default_factory=dict)
    trained_range_mm: tuple[tuple[float, float], ...] | None = None
    normalization: Normalization = field(default_factory=Normalization)
    tile_shape: tuple[int, ...] | None = None
    tile_mm: tuple[float, ...] | None = None
    localization: Localization | None = None
    guidance: GuidanceChannels | None = None
    given_guidance: GivenGuidance | None = None
    asked: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def image_channels(self) -> int:
        return self.in_channels - (self.out_channels if self.guidance else 0)

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        return Architecture((), ())

    def skeleton(self, spacing_mm: Sequence[float]) -> nn.Module:
        return copy.deepcopy(self.make(tuple(spacing_mm))).to("meta")

    def network(
        self, spacing_mm: Sequence[float], device: str | torch.device | None = None
    ) -> nn.Module:
        self.asked.append(tuple(spacing_mm))
        return self.make(tuple(spacing_mm)).eval().requires_grad_(False).to(device or "cpu")


def local_network(
    channels: int = 1, classes: int = 3, n_dim: int = 3, kernel_size: int = 3, seed: int = 0
) -> nn.Sequential:
    """Two convolutions: a receptive field of 5 (or 1) voxels, and no normalization layers."""
    generator = torch.Generator().manual_seed(seed)
    conv: type[nn.Conv2d | nn.Conv3d] = nn.Conv3d if n_dim == 3 else nn.Conv2d
    network = nn.Sequential(
        conv(channels, 4, kernel_size, padding="same"),
        nn.ReLU(),
        conv(4, classes, kernel_size, padding="same"),
    )
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    return network


def linear_model(
    image: float = 0.0,
    mask: float = 0.0,
    include: float = 0.0,
    exclude: float = 0.0,
    offset: float = 0.0,
) -> FakeModel:
    """A class-conditional model whose margin is a weighted sum of its channels."""

    def make(spacing_mm: tuple[float, ...]) -> nn.Module:
        network = nn.Conv3d(4, 2, 1)
        network.weight.data.zero_()
        network.weight.data[1, :, 0, 0, 0] = torch.tensor([image, mask, include, exclude])
        network.bias.data = torch.tensor([0.0, offset])
        return network

    return FakeModel(
        make,
        head="class-conditional",
        in_channels=4,
        channel_names=("image", "rough mask", "voxels inside", "voxels outside"),
        out_channels=2,
        label_values=(0, 1),
        label_names={1: "structure"},
        label_colors={1: "#ff0000"},
    )
