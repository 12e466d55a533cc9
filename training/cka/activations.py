"""Activations of each layer of a plain network, cropped to the same box in mm.

A layer is one call of a convolution or of a non-linearity. Its level, and whether it is on the
downsampling or the upsampling path, follow from the sizes of the feature maps: the only requirement
on a network is that it consists of modules.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules import activation, conv, pooling

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from training.cka.layers import Kind, NetworkLayer, Way

_PROBE_EDGE = 32  # a multiple of every usual stride: strides then follow exactly from sizes
_CONVOLUTIONS = (conv._ConvNd,)
_NON_LINEARITIES = tuple(
    kind
    for kind in vars(activation).values()
    if isinstance(kind, type)
    and kind.__module__ == activation.__name__
    and issubclass(kind, nn.Module)
    and kind is not nn.MultiheadAttention
)
_WINDOWED = (conv.Conv3d, pooling._MaxPoolNd, pooling.AvgPool3d)
_SHORT = {"convolution": "conv", "non-linearity": "act"}


def find_layers(network: nn.Module, in_channels: int) -> list[NetworkLayer]:
    """List the convolutions and non-linearities of a network in the order of their execution.

    Parameters
    ----------
    network
        Image (B, C, D, H, W) → logits; run once on a blank image.
    in_channels
        Channels of the image.

    Raises
    ------
    HyperspaceError
        If the network has no such modules.
    """
    found: list[tuple[str, Kind, Triple, bool]] = []
    channels = in_channels
    offsets: dict[Triple, Triple] = {(1.0, 1.0, 1.0): (0.0, 0.0, 0.0)}
    names = {module: name for name, module in network.named_modules()}

    def visit(module: nn.Module, image: Tensor, features: Tensor) -> None:
        nonlocal channels
        before, after = _stride(image), _stride(features)
        if after not in offsets:  # upsampled maps are joined to, and lie like, those before
            offsets[after] = _offset(module, offsets.get(before, (0.0,) * 3), before, after)
        kind = _kind(module)
        if kind is not None:
            found.append((names[module], kind, after, image.shape[1] > channels))
            channels = features.shape[1]

    probe = torch.zeros(1, in_channels, *[_PROBE_EDGE] * 3, device=_device(network))
    _run(network, probe, visit, list(names.values()))
    if not found:
        raise HyperspaceError(
            "the network has no convolution or non-linearity as a module",
            found=type(network).__name__,
        )
    return _named(found, offsets)


def _named(
    found: Sequence[tuple[str, Kind, Triple, bool]], offsets: dict[Triple, Triple]
) -> list[NetworkLayer]:
    strides = sorted({s for _, _, s, _ in found}, key=lambda s: (s[0] * s[1] * s[2], s))
    levels = [strides.index(s) for _, _, s, _ in found]
    first, last = levels.index(max(levels)), len(levels) - 1 - levels[::-1].index(max(levels))
    numbers: Counter[tuple[Way, int]] = Counter()
    layers = []
    for i, ((module, kind, stride, joins), level) in enumerate(zip(found, levels, strict=True)):
        way: Way = "down" if i < first else "bottom" if i <= last else "up"
        numbers[way, level] += kind == "convolution"
        name = f"{way} {level}.{numbers[way, level]} {_SHORT[kind]}"
        layers.append(NetworkLayer(name, module, kind, level, way, stride, offsets[stride], joins))
    return layers


@torch.no_grad()
def activations(
    network: nn.Module,
    layers: Sequence[NetworkLayer],
    image: Tensor,
    center: Sequence[float],
    extent: Sequence[float],
) -> list[Tensor]:
    """Run a network without gradient and return each layer's activations in a box.

    Parameters
    ----------
    network, layers
        A network, and its layers by `find_layers`.
    image
        (C, D, H, W) float32.
    center, extent
        Center and edges of the box in voxels of the image; see `NetworkLayer.window`.

    Returns
    -------
    list of Tensor
        (channels · voxels,) float32 of each layer, in main memory. A voxel is scaled by the square
        root of the fraction of it inside the box, so that dot products of examples are weighted by
        that fraction.

    Raises
    ------
    HyperspaceError
        If the layers that are executed differ from ``layers``.
    """
    kept: list[Tensor] = []

    def visit(module: nn.Module, image: Tensor, features: Tensor) -> None:
        if len(kept) < len(layers):
            window = layers[len(kept)].window(center, extent, features.shape[2:])
            crop = features[0][(slice(None), *(part for part, _ in window))]
            roots = [torch.tensor(weights).sqrt() for _, weights in window]
            # A copy: an in-place non-linearity may overwrite the map.
            crop = crop.to("cpu", torch.float32) * _outer(*roots)
            kept.append(crop.flatten())

    paths = [layer.module for layer in layers]
    calls = _run(network, image[None].to(_device(network)), visit, paths)
    if calls != len(layers):
        raise HyperspaceError(
            "the network does not execute the layers it was listed with",
            found=f"{calls} layers",
            expected=f"{len(layers)} layers",
        )
    return kept


@torch.no_grad()
def _run(
    network: nn.Module,
    image: Tensor,
    visit: Callable[[nn.Module, Tensor, Tensor], None],
    paths: Sequence[str],
) -> int:
    """Call ``visit`` after each module that maps features to features; count the calls."""
    calls = 0

    def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal calls
        features = inputs[0] if inputs else None
        if not isinstance(features, Tensor) or not isinstance(output, Tensor):
            return
        if features.ndim == output.ndim == 5:
            calls += 1
            visit(module, features, output)

    leaves = {network.get_submodule(path) for path in paths}
    handles = [m.register_forward_hook(hook) for m in leaves if not list(m.children())]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _outer(z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return z[:, None, None] * y[:, None] * x


def _kind(module: nn.Module) -> Kind | None:
    if isinstance(module, _CONVOLUTIONS):
        return "convolution"
    return "non-linearity" if isinstance(module, _NON_LINEARITIES) else None


def _stride(features: Tensor) -> Triple:
    a, b, c = (_PROBE_EDGE / size for size in features.shape[2:])
    return a, b, c


def _offset(module: nn.Module, offset: Triple, before: Triple, after: Triple) -> Triple:
    """Return the index in the input of the first output voxel: the center of its window."""
    if isinstance(module, _WINDOWED) and not isinstance(module.padding, str):
        kernel, padding, dilation = (
            value if isinstance(value, tuple) else (value,) * 3
            for value in (module.kernel_size, module.padding, getattr(module, "dilation", 1))
        )
        shifts = [(k - 1) / 2 * d - p for k, p, d in zip(kernel, padding, dilation, strict=True)]
    else:
        shifts = [(b / a - 1) / 2 for a, b in zip(before, after, strict=True)]
    a, b, c = (o + step * shift for o, step, shift in zip(offset, before, shifts, strict=True))
    return a, b, c


def _device(network: nn.Module) -> torch.device:
    tensor = next(itertools.chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
