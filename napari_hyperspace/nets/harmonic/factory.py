"""The factory of networks of physical kernels: one set of weights for any spacing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.kernels import dimension, discretize_basis, free_kernel
from napari_hyperspace.nets.harmonic.network import HarmonicUNet, LayerPlan, level_taps, plan_layers
from napari_hyperspace.nets.harmonic.steerable import (
    CoupledBasis,
    n_path_weights,
    point_kernel,
    steerable_kernel,
)


class HarmonicFactory(Factory):
    """Discretizes kernels defined in mm on the grids of a spacing.

    The factory's weights do not depend on the spacing; the network's architecture does: the shapes
    of its kernels and the pooling factors of its levels. Kernels are made once per batch.

    Parameters
    ----------
    network
        The networks to make.
    config
        How kernels are discretized.
    """

    config: PhysicalKernelsConfig
    network_config: HarmonicUNetConfig

    def __init__(self, network: HarmonicUNetConfig, config: PhysicalKernelsConfig) -> None:
        super().__init__()
        self.network_config = network
        self.config = config
        self.weights = nn.ParameterDict()
        for layer in plan_layers(network):
            for part, value in _initial(layer, network).items():
                self.weights[_key(layer, part)] = nn.Parameter(value)

    @property
    def _integrated(self) -> bool:
        return self.config.voxels == "integrated"

    def skeleton(self, spacing_mm: Sequence[float]) -> HarmonicUNet:
        """Return the network of a spacing without weights; see `Factory.skeleton`."""
        return self._skeleton(spacing_mm, composed=False).eval().requires_grad_(False)

    def _skeleton(self, spacing_mm: Sequence[float], *, composed: bool) -> HarmonicUNet:
        with torch.device("meta"):
            return HarmonicUNet(
                self.network_config, spacing_mm, integrated=self._integrated, composed=composed
            )

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Return the pooling factors and the sizes of kernels; see `Factory.architecture`."""
        config = self.network_config
        levels = [math.prod(t) for t in level_taps(config, spacing_mm, integrated=self._integrated)]
        taps: list[int] = []
        for layer in plan_layers(config):
            taps.append(1 if layer.form == "point" else levels[layer.level])
            taps += [1] * (layer.form == "depthwise")  # the convolution that mixes channels
        return Architecture.of_factors(config.factors(spacing_mm), tuple(taps))

    def network_weights(
        self, spacing_mm: Sequence[float], *, composed: bool = False
    ) -> dict[str, Tensor]:
        """Return the network's weights by name for a spacing, differentiable.

        Parameters
        ----------
        spacing_mm
            Spacing in mm, in array-axis order.
        composed
            As in `HarmonicUNet`.
        """
        config = self.network_config
        like = self.weights["head/bias"].detach()
        grids = config.level_spacings_mm(check_spacing(spacing_mm, config.n_dim))
        bases = [
            CoupledBasis(
                discretize_basis(
                    diameter,
                    steps,
                    config.radial_functions,
                    config.max_degree,
                    like,
                    integrated=self._integrated,
                )
            )
            for diameter, steps in zip(config.kernel_mm, grids, strict=True)
        ]
        made: dict[str, Tensor] = {}
        for layer in plan_layers(config):
            own = {part: self.weights[_key(layer, part)] for part in _PARTS[layer.form]}
            tensors = _MAKERS[layer.form](layer, own, bases[layer.level])
            if layer.form == "depthwise" and composed:
                tensors = {"conv.weight": _composed(tensors)}
            if layer.form != "point":
                n_scalars = layer.outgoing[0][0]
                scale, shift = (self.weights[_key(layer, part)] for part in ("scale", "shift"))
                tensors["norm.scalars.weight"] = scale[:n_scalars]
                tensors["norm.weight"] = scale[n_scalars:]
                tensors["norm.scalars.bias"] = shift
            made |= {f"{layer.name}.{part}": tensor for part, tensor in tensors.items()}
        made["head.bias"] = self.weights["head/bias"]
        return made

    def forward(self, image: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """(B, C, *S) → logits (B, K, *S), by the network of this spacing."""
        skeleton = self._skeleton(spacing_mm, composed=True).train(self.training)
        # In float32: kernels are small, and the functions they combine differ in magnitude.
        with torch.autocast(image.device.type, enabled=False):
            weights = self.network_weights(spacing_mm, composed=True)
        logits: Tensor = functional_call(skeleton, weights, (image,))
        return logits

    @torch.no_grad()
    def bake(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Make the plain network of a spacing; see `Factory.bake`."""
        weights = self.network_weights(spacing_mm)
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


_PARTS = {
    "steerable": ("radial", "self"),
    "free": ("radial", "self"),
    "depthwise": ("radial", "self", "mix"),
    "point": ("self",),
}


def _initial(layer: LayerPlan, config: HarmonicUNetConfig) -> dict[str, Tensor]:
    """Return the initial weights of a layer."""
    incoming, outgoing = dimension(layer.incoming), dimension(layer.outgoing)
    functions = config.radial_functions * (config.max_degree + 1) ** 2
    made: dict[str, Tensor] = {}
    if layer.form == "point":
        made["self"] = torch.randn(n_path_weights(layer.incoming, 0, layer.outgoing))
        if layer.name == "head":
            made["bias"] = torch.zeros(outgoing)
        return made
    if layer.form == "steerable":
        radial = n_path_weights(layer.incoming, config.max_degree, layer.outgoing)
        made["radial"] = torch.randn(config.radial_functions, radial)
        made["self"] = torch.randn(n_path_weights(layer.incoming, 0, layer.outgoing))
    elif layer.form == "free":
        scale = (incoming * (functions + 1)) ** -0.5
        made["radial"] = scale * torch.randn(functions, outgoing, incoming)
        made["self"] = scale * torch.randn(outgoing, incoming)
    else:
        scale = (functions + 1) ** -0.5
        made["radial"] = scale * torch.randn(functions, incoming, 1)
        made["self"] = scale * torch.randn(incoming, 1)
        made["mix"] = incoming**-0.5 * torch.randn(outgoing, incoming)
    made["scale"] = torch.ones(sum(multiplicity for multiplicity, _ in layer.outgoing))
    made["shift"] = torch.zeros(layer.outgoing[0][0])
    return made


def _steerable(layer: LayerPlan, own: dict[str, Tensor], basis: CoupledBasis) -> dict[str, Tensor]:
    kernel = steerable_kernel(own["radial"], own["self"], layer.incoming, layer.outgoing, basis)
    return {"conv.weight": kernel}


def _free(layer: LayerPlan, own: dict[str, Tensor], basis: CoupledBasis) -> dict[str, Tensor]:
    return {"conv.weight": free_kernel(own["radial"], own["self"], basis.basis)}


def _depthwise(layer: LayerPlan, own: dict[str, Tensor], basis: CoupledBasis) -> dict[str, Tensor]:
    kernels = free_kernel(own["radial"], own["self"], basis.basis)
    return {
        "conv.filter.weight": kernels,
        "conv.mix.weight": own["mix"][..., None, None, None],
    }


def _point(layer: LayerPlan, own: dict[str, Tensor], basis: CoupledBasis) -> dict[str, Tensor]:
    weight = point_kernel(own["self"], layer.incoming, layer.outgoing)
    return {"weight": weight[..., None, None, None]}


_Maker = Callable[[LayerPlan, dict[str, Tensor], CoupledBasis], dict[str, Tensor]]
_MAKERS: dict[str, _Maker] = {
    "steerable": _steerable,
    "free": _free,
    "depthwise": _depthwise,
    "point": _point,
}


def _composed(parts: dict[str, Tensor]) -> Tensor:
    """Return a single kernel that filters and mixes (channels out, channels in, *taps)."""
    return parts["conv.mix.weight"] * parts["conv.filter.weight"].transpose(0, 1)


def _key(layer: LayerPlan, part: str) -> str:
    """Return the name of a layer's weight as a parameter, which must not contain dots."""
    return f"{layer.name}.{part}".replace(".", "/")
