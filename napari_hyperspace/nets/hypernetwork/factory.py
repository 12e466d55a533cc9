"""The hypernetwork: all weights of a network as a function of the voxel spacing in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.factory import LayeredFactory, layer_key


class Hypernetwork(LayeredFactory):
    """A small perceptron of the spacing, and one linear head per layer that makes its weights.

    layer weights = output(head(coefficients(encoding(spacing))))

    It is used in two configurations. *Residual* (the default): the bias of each head is that layer
    of a well-initialized network, and its matrix starts at 0. Training starts from the same good
    network for all spacings and learns how it must change with the spacing; norm scales are 1 plus
    a difference, and a few coefficients are enough. *Paper*: the coefficients are the last hidden
    layer, the heads are initialized as any linear layer, and 5·tanh bounds the weights.

    Making the weights reads each byte of the heads once.

    References
    ----------
    Joutard et al., HyperSpace, MICCAI 2024, section 3.1; Ortiz et al., Magnitude invariant
    parametrizations improve hypernetwork learning, ICLR 2024 (the encoding).
    """

    config: HypernetworkConfig

    def __init__(self, network: UNetConfig, config: HypernetworkConfig) -> None:
        super().__init__(network)
        if config.range_mm is not None and len(config.range_mm) != network.n_dim:
            raise ValueError(
                f"range_mm needs {network.n_dim} pairs, one per axis; found {config.range_mm}"
            )
        self.config = config
        encoded = network.n_dim * (2 if config.encoding == "log-cos-sin" else 1)
        steps: list[nn.Module] = []
        widths = (encoded, *config.hidden)
        for a, b in pairwise(widths):
            steps += [nn.Linear(a, b), nn.ReLU() if config.activation == "relu" else nn.SiLU()]
        if config.rank is not None:
            steps.append(nn.Linear(widths[-1], config.rank))
        self.perceptron = nn.Sequential(*steps)
        rank = config.rank or widths[-1]
        self.heads = nn.ModuleDict(
            {layer_key(layer): nn.Linear(rank, size) for layer, size in self.layer_sizes.items()}
        )
        if config.output == "residual":
            for layer, vector in self._initial.items():
                nn.init.zeros_(self.head(layer).weight)
                self.head(layer).bias = nn.Parameter(vector)
        self._initial.clear()

    def head(self, layer: str) -> nn.Linear:
        """Return the linear map from the coefficients to the weights of a layer."""
        return cast(nn.Linear, self.heads[layer_key(layer)])

    def common_parameters(self) -> dict[str, nn.Parameter]:
        """Return the biases of the heads: the part of each weight that is the same everywhere."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith("heads.") and name.endswith(".bias")
        }

    def encode(self, spacing_mm: Sequence[float]) -> Tensor:
        """Return the perceptron's input for a spacing in mm: (n_dim,) in mm, or (2·n_dim,)."""
        spacing = torch.tensor(spacing_mm, dtype=torch.float64)
        if self.config.range_mm is not None and self.config.encoding == "log-cos-sin":
            low, high = torch.tensor(self.config.range_mm, dtype=torch.float64).log().unbind(1)
            extent = torch.where(high > low, high - low, 1.0)
            angle = (spacing.log() - low) / extent * (math.pi / 2)
            spacing = torch.cat([angle.cos(), angle.sin()])
        return spacing.to(next(self.parameters()))

    def layer_weights(self, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Return the weights of each layer (its size,) for a spacing, differentiable."""
        # A batch of one and one product per head, as in the released code: the same rounding.
        coefficients = self.perceptron(self.encode(spacing_mm)[None])
        made = {layer: self.head(layer)(coefficients)[0] for layer in self.layer_sizes}
        if self.config.output == "tanh5":
            return {layer: 5 * torch.tanh(vector) for layer, vector in made.items()}
        return made
