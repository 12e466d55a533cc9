"""A factory of networks: the one interface that trainer, engine and plug-in know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.config import Config


class NetworkShape(Protocol):
    """What a factory needs of the configuration of its networks, whatever their family."""

    @property
    def n_dim(self) -> int:
        """Spatial dimensions."""
        ...

    @property
    def in_channels(self) -> int:
        """Images at the input."""
        ...

    @property
    def out_channels(self) -> int:
        """Classes, background included."""
        ...

    def factors(self, spacing_mm: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """Return how many voxels of a level one voxel of the next covers, per axis."""
        ...


class Factory(nn.Module, ABC):
    """Makes a network for a voxel spacing.

    In training, ``factory(image, spacing_mm)`` runs the network of one spacing, differentiable with
    respect to the factory's parameters. Afterwards, `bake` gives the plain network.

    Spacings are in mm in array-axis order of the image, one number a spatial dimension (networks
    see canonical order (z, y, x) only).
    """

    config: Config
    network_config: NetworkShape

    def __init__(self, network: NetworkShape) -> None:
        super().__init__()
        self.network_config = network

    @abstractmethod
    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S) by the network of this spacing."""

    @abstractmethod
    def bake(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Make the plain network of a spacing: eval mode, without autograd, on the same device.

        Raises
        ------
        HyperspaceError
            If the spacing is not positive and finite, or a weight made for it is not finite.
        """

    @abstractmethod
    def skeleton(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Return the network of a spacing on torch's meta device: without weights, made quickly."""

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Tell what of the network of a spacing the others of this factory do not share."""
        return Architecture.of_factors(self.network_config.factors(spacing_mm))
