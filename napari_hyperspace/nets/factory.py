"""A factory of networks: the one interface that trainer, engine and plug-in know."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.nets.config import FactoryConfig, NetworkConfig
from napari_hyperspace.nets.unet import UNet


class Factory(nn.Module, ABC):
    """Makes a network for a voxel spacing.

    In training, ``factory(image, spacing_mm)`` runs the network of one spacing, differentiable with
    respect to the factory's parameters. Afterwards, `bake` gives the plain network.

    Spacings are in mm in array-axis order of the image, one number a spatial dimension (networks
    see canonical order (z, y, x) only).
    """

    config: FactoryConfig

    def __init__(self, network: NetworkConfig) -> None:
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


class FlatFactory(Factory):
    """A factory that makes one vector of all weights for a network of fixed architecture.

    Parameters
    ----------
    network
        The network to make.

    Attributes
    ----------
    names, shapes, sizes
        The network's parameters in the order in which the vector holds them.
    """

    def __init__(self, network: NetworkConfig) -> None:
        super().__init__(network)
        skeleton = UNet(network)
        parameters = dict(skeleton.named_parameters())
        self.names = tuple(parameters)
        self.shapes = tuple(parameter.shape for parameter in parameters.values())
        self.sizes = tuple(parameter.numel() for parameter in parameters.values())
        self.n_weights = sum(self.sizes)
        initial = [parameter.detach().reshape(-1) for parameter in parameters.values()]
        self.base = nn.Parameter(torch.cat(initial))
        self._buffer_names = {name: name.replace(".", "/") for name, _ in skeleton.named_buffers()}
        for name, buffer in skeleton.named_buffers():
            self.register_buffer(self._buffer_names[name], buffer.clone())
        # Structure only, and hidden from this module's own parameters: the vector is the truth.
        self._skeleton = (skeleton.to("meta"),)

    @abstractmethod
    def weights(self, spacing_mm: Sequence[float]) -> Tensor:
        """Make the vector (n_weights,) of all weights for a spacing, differentiable."""

    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S) by the network of this spacing."""
        skeleton = self._skeleton[0].train(self.training)
        vector = self.weights(check_spacing(spacing_mm, self.network_config.n_dim))
        tensors: dict[str, Tensor] = {
            name: part.view(shape)
            for name, part, shape in zip(
                self.names, torch.split(vector, list(self.sizes)), self.shapes, strict=True
            )
        }
        tensors |= {name: getattr(self, own) for name, own in self._buffer_names.items()}
        logits: Tensor = functional_call(skeleton, tensors, (image,))
        return logits

    @torch.no_grad()
    def bake(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Make the plain network of a spacing; see `Factory.bake`."""
        spacing = check_spacing(spacing_mm, self.network_config.n_dim)
        vector = self.weights(spacing)
        if vector is self.base:  # never share storage with what training goes on changing
            vector = vector.clone()
        if not torch.isfinite(vector.sum()):
            raise HyperspaceError(
                "the weights made for this spacing are not finite",
                field="spacing_mm",
                found=spacing,
                fix="Choose a spacing inside the trained range, or another model file",
            )
        network = copy.deepcopy(self._skeleton[0])
        modules = dict(network.named_modules())
        for name, part, shape in zip(
            self.names, torch.split(vector, list(self.sizes)), self.shapes, strict=True
        ):
            owner, _, leaf = name.rpartition(".")
            modules[owner]._parameters[leaf] = nn.Parameter(part.view(shape), requires_grad=False)
        for name, own in self._buffer_names.items():
            owner, _, leaf = name.rpartition(".")
            modules[owner]._buffers[leaf] = getattr(self, own).clone()
        return network.eval()
