"""The hypernetwork: all weights of a network as a function of the voxel spacing in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_hyperspace.nets.config import (
    ConstantConfig,
    FactoryConfig,
    HypernetworkConfig,
    NetworkConfig,
)
from napari_hyperspace.nets.factory import Factory, FlatFactory


def build_factory(network: NetworkConfig, factory: FactoryConfig) -> Factory:
    """Make the factory that a configuration describes, freshly initialised."""
    if isinstance(factory, ConstantConfig):
        return ConstantFactory(network)
    return Hypernetwork(network, factory)


class ConstantFactory(FlatFactory):
    """Gives the same network for every spacing."""

    config = ConstantConfig()

    def weights(self, spacing_mm: Sequence[float]) -> Tensor:
        """Return the vector (n_weights,) of all weights, whatever the spacing."""
        return self.base


class Hypernetwork(FlatFactory):
    """weights = output(base + basis · coefficients(encoding(spacing))).

    Two configurations of this one form matter. *Residual* (ours): the base is a well-initialised
    network, the basis starts at 0, so that training starts from one good network for all spacings
    and learns how it must change; norm scales are then 1 + a difference by themselves. *Paper*: the
    coefficients are the last hidden layer, basis and base are the weights and biases of the heads
    of all layers, one under the other, and 5·tanh bounds the result.

    Making the weights is one matrix–vector product: a single pass over the factory's bytes.

    References
    ----------
    Joutard et al., HyperSpace, MICCAI 2024, section 3.1; Ortiz et al., Magnitude invariant
    parametrizations improve hypernetwork learning, ICLR 2024 (the encoding).
    """

    config: HypernetworkConfig

    def __init__(self, network: NetworkConfig, config: HypernetworkConfig) -> None:
        super().__init__(network)
        if config.range_mm is not None and len(config.range_mm) != network.n_dim:
            raise ValueError(
                f"range_mm needs {network.n_dim} pairs, one an axis; found {config.range_mm}"
            )
        self.config = config
        encoded = network.n_dim * (2 if config.encoding == "log-cos-sin" else 1)
        layers: list[nn.Module] = []
        widths = (encoded, *config.hidden)
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU() if config.activation == "relu" else nn.SiLU()]
        if config.rank is not None:
            layers.append(nn.Linear(widths[-1], config.rank))
        self.perceptron = nn.Sequential(*layers)
        rank = config.rank or widths[-1]
        self.basis = nn.Parameter(torch.zeros(self.n_weights, rank))
        if config.output == "tanh5":  # as freshly made `nn.Linear` heads
            bound = 1 / math.sqrt(rank)
            nn.init.uniform_(self.basis, -bound, bound)
            nn.init.uniform_(self.base, -bound, bound)

    def encode(self, spacing_mm: Sequence[float]) -> Tensor:
        """Return the perceptron's input for a spacing: (n_dim,) in mm, or (2·n_dim,)."""
        spacing = torch.tensor(spacing_mm, dtype=torch.float64)
        if self.config.range_mm is not None and self.config.encoding == "log-cos-sin":
            low, high = torch.tensor(self.config.range_mm, dtype=torch.float64).log().unbind(1)
            extent = torch.where(high > low, high - low, 1.0)
            angle = (spacing.log() - low) / extent * (math.pi / 2)
            spacing = torch.cat([angle.cos(), angle.sin()])
        return spacing.to(self.base.device, self.base.dtype)

    def coefficients(self, spacing_mm: Sequence[float]) -> Tensor:
        """Return the coefficients (rank,) of the basis for a spacing."""
        coefficients: Tensor = self.perceptron(self.encode(spacing_mm))
        return coefficients

    def weights(self, spacing_mm: Sequence[float]) -> Tensor:
        """Make the vector (n_weights,) of all weights for a spacing, differentiable."""
        with torch.autocast(self.base.device.type, enabled=False):  # weights stay in full precision
            vector = torch.addmv(self.base, self.basis, self.coefficients(spacing_mm))
        return vector if self.config.output == "residual" else 5 * torch.tanh(vector)
