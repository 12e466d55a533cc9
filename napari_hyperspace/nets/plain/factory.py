"""Factories of plain U-Nets: the base class, and the factory with constant weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.base.modules import copy_module
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.plain.unet import UNet


class LayeredFactory(Factory):
    """Base class of factories that make one vector of weights per layer of a fixed architecture.

    Parameters
    ----------
    network
        The networks to make.

    Attributes
    ----------
    layer_sizes
        Number of weights of each layer that has any, by name (weight, then bias, flattened).
    n_weights
        Number of weights of the network.
    """

    network_config: UNetConfig

    def __init__(self, network: UNetConfig) -> None:
        super().__init__()
        self.network_config = network
        skeleton = UNet(network)
        self._shapes: dict[str, dict[str, tuple[torch.Size, int]]] = {}
        self._initial: dict[str, Tensor] = {}
        for name, module in skeleton.named_modules():
            own = dict(module.named_parameters(recurse=False))
            if own:
                self._shapes[name] = {
                    part: (tensor.shape, tensor.numel()) for part, tensor in own.items()
                }
                self._initial[name] = torch.cat([t.detach().flatten() for t in own.values()])
        self.layer_sizes = {name: vector.numel() for name, vector in self._initial.items()}
        self.n_weights = sum(self.layer_sizes.values())
        self._buffer_names = {name: name.replace(".", "/") for name, _ in skeleton.named_buffers()}
        for name, buffer in skeleton.named_buffers():
            self.register_buffer(self._buffer_names[name], buffer.clone())
        # A tuple hides its parameters from this module's: the weights are made by the factory.
        self._skeleton = (skeleton.to("meta"),)

    @abstractmethod
    def layer_weights(self, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Return the weights of each layer (its size,) for a spacing, differentiable."""

    def _weights(self, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Return the network's parameters by name, in their shapes."""
        spacing = check_spacing(spacing_mm, self.network_config.n_dim)
        return {
            f"{layer}.{part}": values
            for layer, vector in self.layer_weights(spacing).items()
            for part, values in self._parts(layer, vector)
        }

    def _parts(self, layer: str, vector: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Return the parameters of a layer, by their names in it."""
        start = 0
        for part, (shape, size) in self._shapes[layer].items():
            yield part, vector.narrow(0, start, size).view(shape)
            start += size

    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S), by the network of this spacing."""
        skeleton = self._skeleton[0].train(self.training)
        skeleton.adapt(spacing_mm)
        # Weights are made in float32: casting the heads would take longer than it saves.
        with torch.autocast(image.device.type, enabled=False):
            tensors = self._weights(spacing_mm)
        tensors |= {name: getattr(self, own) for name, own in self._buffer_names.items()}
        logits: Tensor = functional_call(skeleton, tensors, (image,))
        return logits

    def skeleton(self, spacing_mm: Sequence[float]) -> UNet:
        """Return the network of a spacing without weights; see `Factory.skeleton`."""
        network = copy_module(self._skeleton[0])
        network.adapt(spacing_mm)
        return network.eval()

    @torch.no_grad()
    def bake(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Make the plain network of a spacing; see `Factory.bake`."""
        spacing = check_spacing(spacing_mm, self.network_config.n_dim)
        vectors = self.layer_weights(spacing)
        if not torch.isfinite(torch.stack([each.sum() for each in vectors.values()])).all():
            raise HyperspaceError(
                "the weights made for this spacing are not finite",
                field="spacing_mm",
                found=tuple(spacing_mm),
                fix="Choose a spacing inside the trained range, or another model file",
            )
        network = self.skeleton(spacing_mm)
        modules = dict(network.named_modules())
        for layer, vector in vectors.items():
            own = modules[layer]._parameters
            for part, values in self._parts(layer, vector):
                own[part] = nn.Parameter(values, requires_grad=False)
        for name, buffer in self._buffer_names.items():
            owner, _, part = name.rpartition(".")
            modules[owner]._buffers[part] = getattr(self, buffer).clone()
        return network


class ConstantFactory(LayeredFactory):
    """Makes the same network for every spacing."""

    config = ConstantConfig()

    def __init__(self, network: UNetConfig) -> None:
        super().__init__(network)
        self.layers = nn.ParameterDict(
            {layer_key(layer): nn.Parameter(vector) for layer, vector in self._initial.items()}
        )
        self._initial.clear()

    def layer_weights(self, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Return a copy of the weights of each layer (its size,), the same at any spacing."""
        return {layer: self.layers[layer_key(layer)].clone() for layer in self.layer_sizes}


def layer_key(layer: str) -> str:
    """Return a layer's name as one of a submodule, which must not contain dots."""
    return layer.replace(".", "/")
