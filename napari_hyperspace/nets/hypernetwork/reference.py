"""Conversion of released HyperSpace checkpoints to a configuration and a factory.

In the released code a conditioner (linear layers with ReLU) computes a code from the spacing in mm,
and one linear head per layer computes the flattened weight of that layer, then its bias, from the
code. The architecture follows from the names and shapes of the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.hypernetwork.factory import Hypernetwork
from napari_hyperspace.nets.plain.config import UNetConfig

_PREFIXES = ("module.", "_orig_mod.")  # added by parallel and by compiled training
_HEAD = "unet.{}.conditioner.0.{}"


def factory_from_reference(state: Mapping[str, Tensor]) -> Hypernetwork:
    """Return the factory with the weights of a released state dict.

    Parameters
    ----------
    state
        Tensors by the names of the released code (``conditioner.0.0.weight``,
        ``unet.conv_init.conditioner.0.weight``, …).

    Raises
    ------
    HyperspaceError
        If a tensor is missing or unexpected, or its shape does not fit the others.
    """
    state = {_bare(name): tensor.float() for name, tensor in state.items()}
    try:
        network, hidden = _infer(state)
    except (IndexError, ZeroDivisionError, ValueError) as error:
        raise HyperspaceError(
            "the shapes in the checkpoint are not those of a U-Net",
            found=str(error).partition("\n")[0],
        ) from error
    factory = Hypernetwork(network, HypernetworkConfig.paper(hidden))
    layers = {layer: _reference_name(layer) for layer in factory.layer_sizes}
    used = {f"conditioner.{i}.0.{part}" for i in range(len(hidden)) for part in ("weight", "bias")}
    used |= {_HEAD.format(name, part) for name in layers.values() for part in ("weight", "bias")}
    _refuse_others(state, used)
    linears = {f"conditioner.{i}.0": factory.perceptron[2 * i] for i in range(len(hidden))}
    linears |= {f"unet.{name}.conditioner.0": factory.head(layer) for layer, name in layers.items()}
    with torch.no_grad():
        for name, linear in linears.items():
            for part, parameter in linear.named_parameters():
                parameter.copy_(_shaped(state, f"{name}.{part}", parameter.shape))
    return factory


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _infer(state: Mapping[str, Tensor]) -> tuple[UNetConfig, tuple[int, ...]]:
    """Infer the architecture from names and shapes."""
    n_hidden = _count(state, r"conditioner\.(\d+)\.0\.weight")
    n_fix = _count(state, r"unet\.conv_0_(\d+)\.conditioner\.0\.weight")
    n_down = _count(state, r"unet\.down_(\d+)\.conditioner\.0\.weight")
    if not n_hidden or not n_fix:
        raise HyperspaceError(
            "this is not a checkpoint of the released HyperSpace hypernetwork",
            found=", ".join(sorted(state)[:4]) or "no tensors",
            expected="names such as conditioner.0.0.weight and unet.conv_init.conditioner.0.weight",
        )
    hidden = tuple(state[f"conditioner.{i}.0.weight"].shape[0] for i in range(n_hidden))
    n_dim = state["conditioner.0.0.weight"].shape[1]

    def length(layer: str) -> int:
        name = _HEAD.format(layer, "bias")
        if name not in state:
            raise HyperspaceError("the checkpoint lacks a tensor", field=name)
        return state[name].numel()

    # Lengths: norm 2C; first convolution C·in·3^d + C; last one K·C·3^d + K.
    channels, odd = divmod(length("norm_init"), 2)
    taps = 3**n_dim
    incoming, rest = divmod(length("conv_init") - channels, channels * taps)
    outgoing, rest_out = divmod(length("conv_final"), channels * taps + 1)
    if odd or rest or rest_out or n_dim not in (2, 3):
        raise HyperspaceError(
            "the shapes in the checkpoint are not those of a U-Net with kernels of 3 voxels",
            field="unet.conv_init, unet.norm_init, unet.conv_final",
        )
    network = UNetConfig(
        n_dim=n_dim,
        in_channels=incoming,
        out_channels=outgoing,
        channels=channels,
        strides=((2,) * n_dim,) * n_down,
        convs_per_level=n_fix,
    )
    return network, hidden


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = {int(found[1]) for name in state if (found := re.fullmatch(pattern, name))}
    return len(numbers) if numbers == set(range(len(numbers))) else 0


def _reference_name(layer: str) -> str:
    """Return the released code's name of a layer of `UNet`."""
    steps = layer.split(".")
    if steps[0] == "head":
        return "conv_final"
    kind = steps[-1]  # "conv" or "norm"
    if steps[0] == "stem":
        return f"{kind}_init"
    level = int(steps[1])
    if steps[0] in ("downs", "ups"):
        way = steps[0].removesuffix("s")
        return f"{way}_{level}" if kind == "conv" else f"{way}_norm_{level}"
    prefix = "dec_" if steps[0] == "decoder" else ""
    return f"{prefix}{kind}_{level}_{steps[2]}"


def _shaped(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in state:
        raise HyperspaceError("the checkpoint lacks a tensor", field=name, expected=tuple(shape))
    if tuple(state[name].shape) != tuple(shape):
        raise HyperspaceError(
            "the shape of a tensor of the checkpoint does not fit the others",
            field=name,
            found=tuple(state[name].shape),
            expected=tuple(shape),
        )
    if not torch.isfinite(state[name]).all():
        raise HyperspaceError("the tensor has values that are not finite", field=name)
    return state[name]


def _refuse_others(state: Mapping[str, Tensor], used: set[str]) -> None:
    others = sorted(state.keys() - used)
    if others:
        raise HyperspaceError(
            "the checkpoint has tensors that this architecture does not have",
            found=", ".join(others[:4]) + (" …" if len(others) > 4 else ""),
        )
