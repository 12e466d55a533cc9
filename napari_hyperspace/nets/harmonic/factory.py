"""The factory of networks of physical kernels: one set of weights, realised for any spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.core.protocols import Architecture
from napari_hyperspace.nets.factory import Factory
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.kernels import (
    Basis,
    Fields,
    dimension,
    realise_basis,
    realise_kernel,
    weights_of,
)
from napari_hyperspace.nets.harmonic.layers import growing
from napari_hyperspace.nets.harmonic.network import HarmonicUNet, Layer, level_taps, plan


class HarmonicFactory(Factory):
    """Realises kernels defined in mm on the grids of a spacing.

    Its weights do not depend on the spacing; the network's architecture does: the shapes of its
    kernels, and what its levels pool. One realisation serves a whole batch.

    Parameters
    ----------
    network
        The network to make.
    config
        How kernels are realised.
    """

    config: PhysicalKernelsConfig
    network_config: HarmonicUNetConfig

    def __init__(self, network: HarmonicUNetConfig, config: PhysicalKernelsConfig) -> None:
        super().__init__(network)
        self.config = config
        self.weights = nn.ParameterDict()
        for layer in plan(network):
            for part, value in _initial(layer, network).items():
                self.weights[f"{_key(layer.name)}/{part}"] = nn.Parameter(value)
        first = growing(network.multiplicities, 1)[0][0]
        self.weights["head/self"] = nn.Parameter(torch.randn(first * network.out_channels))
        self.weights["head/bias"] = nn.Parameter(torch.zeros(network.out_channels))

    @property
    def _averaged(self) -> bool:
        return self.config.points > 1

    def skeleton(self, spacing_mm: Sequence[float]) -> HarmonicUNet:
        """Return the network of a spacing without weights; see `Factory.skeleton`."""
        with torch.device("meta"):
            network = HarmonicUNet(self.network_config, spacing_mm, averaged=self._averaged)
        return network.eval().requires_grad_(False)

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Tell kernels' shapes and what levels pool; see `Factory.architecture`."""
        config = self.network_config
        levels = level_taps(config, spacing_mm, averaged=self._averaged)
        taps = [math.prod(levels[layer.level]) for layer in plan(config)]
        return Architecture.of_factors(config.factors(spacing_mm), (*taps, 1))

    def realise(self, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Make the network's weights by name for a spacing, differentiable."""
        config = self.network_config
        spacing = check_spacing(spacing_mm, config.n_dim)
        bases = self._bases(spacing)
        made = {}
        for layer in plan(config):
            weights = {part: self.weights[f"{_key(layer.name)}/{part}"] for part in _PARTS}
            made[f"{layer.name}.conv.weight"] = realise_kernel(
                weights["radial"],
                weights["self"],
                layer.incoming,
                layer.outgoing,
                bases[layer.level],
            )
            n_scalars = layer.outgoing[0][0]
            made[f"{layer.name}.norm.scalars.weight"] = weights["scale"][:n_scalars]
            made[f"{layer.name}.norm.weight"] = weights["scale"][n_scalars:]
            made[f"{layer.name}.norm.scalars.bias"] = weights["shift"]
        made["head.weight"] = self._head()
        made["head.bias"] = self.weights["head/bias"]
        return made

    def _bases(self, spacing_mm: Sequence[float]) -> list[Basis]:
        config = self.network_config
        like = self.weights["head/bias"].detach()
        return [
            realise_basis(
                diameter,
                steps,
                config.radial_functions,
                config.max_degree,
                self.config.points,
                like,
            )
            for diameter, steps in zip(
                config.kernel_mm, config.level_spacings_mm(spacing_mm), strict=True
            )
        ]

    def _head(self) -> Tensor:
        """Return the last convolution (classes, channels, 1, 1, 1): of scalars alone."""
        config = self.network_config
        fields = growing(config.multiplicities, 1)
        n_scalars, n_channels = fields[0][0], dimension(fields)
        weight = self.weights["head/self"].view(n_scalars, config.out_channels).T / n_scalars**0.5
        padded = nn.functional.pad(weight, (0, n_channels - n_scalars))
        return padded[..., None, None, None]

    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S) by the network of this spacing."""
        skeleton = self.skeleton(spacing_mm).train(self.training)
        with torch.autocast(image.device.type, enabled=False):
            weights = self.realise(spacing_mm)
        logits: Tensor = functional_call(skeleton, weights, (image,))
        return logits

    @torch.no_grad()
    def bake(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Make the plain network of a spacing; see `Factory.bake`."""
        weights = self.realise(spacing_mm)
        if not torch.isfinite(torch.stack([tensor.sum() for tensor in weights.values()])).all():
            raise HyperspaceError(
                "the kernels made for this spacing are not finite",
                field="spacing_mm",
                found=tuple(spacing_mm),
                fix="Choose another spacing, or another model file",
            )
        network = self.skeleton(spacing_mm)
        network.load_state_dict({n: t.clone() for n, t in weights.items()}, assign=True)
        return network.requires_grad_(False)


_PARTS = ("radial", "self", "scale", "shift")


def _initial(layer: Layer, config: HarmonicUNetConfig) -> dict[str, Tensor]:
    """Return the weights of a layer to start from."""
    incoming, outgoing = layer.incoming, layer.outgoing
    return {
        "radial": torch.randn(
            config.radial_functions, weights_of(incoming, config.max_degree, outgoing)
        ),
        "self": torch.randn(weights_of(incoming, 0, outgoing)),
        "scale": torch.ones(_features(outgoing)),
        "shift": torch.zeros(outgoing[0][0]),
    }


def _features(fields: Fields) -> int:
    return sum(multiplicity for multiplicity, _ in fields)


def _key(layer: str) -> str:
    """Name a layer as a parameter: those names hold no dots."""
    return layer.replace(".", "/")
