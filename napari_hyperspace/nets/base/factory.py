"""The interface of all factories of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.config import BaseNetworkConfig, Config


class Factory(nn.Module, ABC):
    """Makes a network for a voxel spacing.

    In training, ``factory(image, spacing_mm)`` runs the network of one spacing, differentiable with
    respect to the factory's parameters. Afterwards, `bake` returns the plain network.

    Spacings are in mm in array-axis order of the image, one number per spatial dimension; networks
    only see images in canonical order (z, y, x).

    Attributes
    ----------
    config
        How the weights are made.
    network_config
        The networks it makes.
    """

    config: Config
    network_config: BaseNetworkConfig

    @abstractmethod
    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S), by the network of this spacing."""

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
        """Return the network of a spacing on torch's meta device: no weights, made quickly."""

    def common_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that act on the networks of all spacings alike, by name.

        Fine-tuned at one spacing, they change the networks of the other spacings in the same way.
        """
        return dict(self.named_parameters())

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Return the part of the architecture of a spacing's network that depends on it."""
        return Architecture.of_factors(self.network_config.factors(spacing_mm))
