"""Conversion of checkpoints of the published resolution-adaptive U-Net to a factory."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.factory import HarmonicFactory

_PARTS = {
    "radial": "conv{}.weight",
    "self": "conv{}.sc.weight",
    "scale": "batchnorm{}.weight",
    "shift": "batchnorm{}.bias",
}
_NEEDED = (
    "down.down_blocks.0.conv1.weight",
    "down.down_blocks.0.conv1.sc.weight",
    "down.down_blocks.0.batchnorm1.bias",
    "out.weight",
    "bias",
)


def factory_from_reference(
    state: Mapping[str, Tensor], *, diameter_mm: float = 5.0, pool_mm: float = 2.0
) -> HarmonicFactory:
    """Return the factory with the weights of a published state dict (SCAN-NRAD/e3nn_Unet).

    Parameters
    ----------
    state
        Tensors by their published names (``down.down_blocks.0.conv1.weight``, …), of a network with
        features 4n·0e + 2n·1e + n·2e.
    diameter_mm, pool_mm
        Diameter of the first kernels and width of the first pooling, which do not follow from the
        tensors; both double from level to level.

    Raises
    ------
    HyperspaceError
        If a tensor is missing or unexpected, or its shape does not fit the others.
    """
    config = _infer(state, diameter_mm, pool_mm)
    factory = HarmonicFactory(config, PhysicalKernelsConfig())
    names = {own: _reference_name(own) for own in factory.weights}
    others = sorted(state.keys() - set(names.values()))
    if others:
        raise HyperspaceError(
            "the checkpoint has tensors that this architecture does not have",
            found=", ".join(others[:4]) + (" …" if len(others) > 4 else ""),
        )
    with torch.no_grad():
        for own, name in names.items():
            parameter = factory.weights[own]
            found = state.get(name)
            if found is None or found.shape != parameter.shape:
                raise HyperspaceError(
                    "the shape of a tensor of the checkpoint does not fit the others",
                    field=name,
                    found="no such tensor" if found is None else tuple(found.shape),
                    expected=tuple(parameter.shape),
                )
            if not torch.isfinite(found).all():
                raise HyperspaceError("the tensor has values that are not finite", field=name)
            parameter.copy_(found)
    return factory


def _infer(state: Mapping[str, Tensor], diameter_mm: float, pool_mm: float) -> HarmonicUNetConfig:
    """Infer the architecture from names and shapes."""
    levels = {
        int(found[1])
        for name in state
        if (found := re.fullmatch(r"down\.down_blocks\.(\d+)\.conv1\.weight", name))
    }
    missing = [name for name in _NEEDED if name not in state]
    if missing or levels != set(range(len(levels))):
        raise HyperspaceError(
            "this is not a checkpoint of the published resolution-adaptive U-Net",
            field=", ".join(missing) or None,
            found=", ".join(sorted(state)[:4]) or "no tensors",
            expected="names such as down.down_blocks.0.conv1.weight",
        )
    classes = state["bias"].numel()
    scalars = state["out.weight"].numel() // max(1, classes)
    n = scalars // 4
    gate_scalars = state["down.down_blocks.0.batchnorm1.bias"].numel()
    inputs = state["down.down_blocks.0.conv1.sc.weight"].numel() // max(1, gate_scalars)
    radial = state["down.down_blocks.0.conv1.weight"].shape[0]
    if n < 1 or gate_scalars != 7 * n or classes < 2 or inputs < 1:
        raise HyperspaceError(
            "the shapes in the checkpoint are not those of features 4n·0e + 2n·1e + n·2e",
            field="out.weight, down.down_blocks.0.batchnorm1.bias",
            found=(scalars, gate_scalars),
        )
    return HarmonicUNetConfig(
        in_channels=inputs,
        out_channels=classes,
        multiplicities=(4 * n, 2 * n, n),
        level_spacing_mm=tuple(pool_mm * 2**i for i in range(len(levels) - 1)),
        kernel_mm=tuple(diameter_mm * 2**i for i in range(len(levels))),
        radial_functions=radial,
    )


def _reference_name(own: str) -> str:
    """Return the published name of one of the factory's weights."""
    way, *place, part = own.split("/")
    if way == "head":
        return "out.weight" if part == "self" else "bias"
    level, number = place[0], place[1]
    there = {"encoder": "down.down_blocks", "decoder": "up.up_blocks"}[way]
    return f"{there}.{level}.{_PARTS[part].format(int(number) + 1)}"
