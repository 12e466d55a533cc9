"""The operations of torch, as nodes of OpenVINO.

Each function has the arguments of the ATen operation that it is named after, preceded by the
recorder, which returns the node of a tensor, and the shape of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from openvino import Node

__all__ = ["OPERATIONS", "Nodes"]

_Shape = tuple[int, ...]
_Operation = Callable[..., "Node"]


class Nodes(Protocol):
    """Returns the nodes of tensors."""

    def node(self, tensor: Tensor) -> Node:
        """Return the node that computes a tensor; a constant for one with known values."""


OPERATIONS: dict[str, _Operation] = {}
"""Functions by name of the ATen operation, without ``aten::``."""


def _register(*names: str) -> Callable[[_Operation], _Operation]:
    def add(function: _Operation) -> _Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return add


def _opset() -> Any:
    from openvino import opset13  # in its own function: importing it takes a third of a second

    return opset13


def _constant(values: Any) -> Node:
    return _opset().constant(np.asarray(values))


def _per_channel(tensor: Tensor, n_axes: int) -> Node:
    """Return one value per channel, for an image (B, C, *S)."""
    return _constant(tensor.numpy().reshape(1, -1, *[1] * (n_axes - 2)))


def _tuple(value: int | Sequence[int], length: int) -> list[int]:
    given = [value] if isinstance(value, int) else list(value)
    return given * length if len(given) == 1 else given


@_register("convolution")
def _convolution(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Node:
    op, n_dim = _opset(), image.ndim - 2
    steps, pads, dilations = (_tuple(n, n_dim) for n in (stride, padding, dilation))
    source, values = nodes.node(image), weight.numpy()
    if groups > 1:  # (groups · K, C, *S) → (groups, K, C, *S); a transposed one has its own order
        values = values.reshape(groups, -1, *values.shape[1:])
    kernel = _constant(values)
    if transposed:
        kind = op.group_convolution_backprop_data if groups > 1 else op.convolution_backprop_data
        rest = _tuple(output_padding, n_dim)
        result = kind(source, kernel, steps, None, pads, pads, dilations, "explicit", rest)
    else:
        kind = op.group_convolution if groups > 1 else op.convolution
        result = kind(source, kernel, steps, pads, pads, dilations)
    if bias is not None:
        result = op.add(result, _per_channel(bias, image.ndim))
    return result


@_register("native_group_norm")
def _instance_norm(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    batch: int,
    channels: int,
    voxels: int,
    groups: int,
    eps: float,
) -> Node:
    if groups != channels:
        raise NotImplementedError("groups of several channels")
    op = _opset()
    axes = _constant(np.arange(2, image.ndim))
    normal = op.mvn(nodes.node(image), axes, True, eps, "INSIDE_SQRT")
    scaled = op.multiply(normal, _per_channel(weight, image.ndim))
    return op.add(scaled, _per_channel(bias, image.ndim))


@_register("native_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *others: Any,
) -> Node:
    eps = float(others[-1])
    scale = weight / (variance + eps).sqrt()
    op = _opset()
    scaled = op.multiply(nodes.node(image), _per_channel(scale, image.ndim))
    return op.add(scaled, _per_channel(bias - mean * scale, image.ndim))


@_register("relu", "relu_")
def _relu(nodes: Nodes, shape: _Shape, image: Tensor) -> Node:
    return _opset().relu(nodes.node(image))


@_register("leaky_relu", "leaky_relu_")
def _leaky_relu(nodes: Nodes, shape: _Shape, image: Tensor, slope: float = 0.01) -> Node:
    return _opset().prelu(nodes.node(image), _constant(np.array([slope], np.float32)))


@_register("add", "add_")
def _add(nodes: Nodes, shape: _Shape, one: Tensor, other: Tensor | float) -> Node:
    return _opset().add(nodes.node(one), _operand(nodes, other))


@_register("sub")
def _subtract(nodes: Nodes, shape: _Shape, one: Tensor, other: Tensor | float) -> Node:
    return _opset().subtract(nodes.node(one), _operand(nodes, other))


@_register("mul", "mul_")
def _multiply(nodes: Nodes, shape: _Shape, one: Tensor, other: Tensor | float) -> Node:
    return _opset().multiply(nodes.node(one), _operand(nodes, other))


def _operand(nodes: Nodes, value: Tensor | float) -> Node:
    return nodes.node(value) if isinstance(value, Tensor) else _constant(np.float32(value))


@_register("cat")
def _concatenation(nodes: Nodes, shape: _Shape, tensors: Sequence[Tensor], axis: int = 0) -> Node:
    return _opset().concat([nodes.node(tensor) for tensor in tensors], axis)


@_register("bmm", "mm")
def _product(nodes: Nodes, shape: _Shape, one: Tensor, other: Tensor) -> Node:
    return _opset().matmul(nodes.node(one), nodes.node(other), False, False)


@_register("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze")
def _reshape(nodes: Nodes, shape: _Shape, image: Tensor, *_: Any) -> Node:
    return _opset().reshape(nodes.node(image), _constant(np.array(shape)), False)


@_register("expand")
def _expand(nodes: Nodes, shape: _Shape, image: Tensor, *_: Any) -> Node:
    return _opset().broadcast(nodes.node(image), _constant(np.array(shape)))


@_register("permute")
def _permute(nodes: Nodes, shape: _Shape, image: Tensor, axes: Sequence[int]) -> Node:
    return _opset().transpose(nodes.node(image), _constant(np.array(axes)))


@_register("t")
def _transpose_matrix(nodes: Nodes, shape: _Shape, image: Tensor) -> Node:
    return _permute(nodes, shape, image, (1, 0))


@_register("transpose")
def _transpose(nodes: Nodes, shape: _Shape, image: Tensor, one: int, other: int) -> Node:
    axes = list(range(image.ndim))
    axes[one], axes[other] = axes[other], axes[one]
    return _permute(nodes, shape, image, axes)


@_register("slice")
def _slice(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    axis: int = 0,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Node:
    size = image.shape[axis]
    first, last, _ = slice(start, stop, step).indices(size)
    bounds = (_constant(np.array([n])) for n in (first, last, step, axis))
    return _opset().slice(nodes.node(image), *bounds)


@_register("constant_pad_nd")
def _pad(
    nodes: Nodes, shape: _Shape, image: Tensor, widths: Sequence[int], value: float = 0
) -> Node:
    before, after = [0] * image.ndim, [0] * image.ndim
    for place in range(len(widths) // 2):  # pairs, from the last axis to the first
        before[-1 - place], after[-1 - place] = widths[2 * place : 2 * place + 2]
    return _opset().pad(
        *(nodes.node(image), _constant(np.array(before)), _constant(np.array(after))),
        *("constant", _constant(np.float32(value))),
    )


@_register("avg_pool2d", "avg_pool3d")
def _average_pool(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    *others: Any,
) -> Node:
    sizes = list(kernel)
    steps, none = list(stride) or sizes, [0] * len(sizes)
    if any(_tuple(padding, len(sizes))):
        raise NotImplementedError("average pooling with padding")
    return _opset().avg_pool(nodes.node(image), steps, none, none, sizes, True)


@_register("max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool(
    nodes: Nodes,
    shape: _Shape,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Node:
    sizes = list(kernel)
    n_dim = len(sizes)
    pads, dilations = _tuple(padding, n_dim), _tuple(dilation, n_dim)
    steps = list(stride) or sizes
    rounding = "ceil" if ceil_mode else "floor"
    pooled = _opset().max_pool(nodes.node(image), steps, dilations, pads, pads, sizes, rounding)
    return pooled.output(0)


@_register("upsample_bilinear2d", "upsample_trilinear3d")
def _upsample(
    nodes: Nodes, shape: _Shape, image: Tensor, sizes: Any, align_corners: bool, *others: Any
) -> Node:
    if align_corners:
        raise NotImplementedError("interpolation with aligned corners")
    axes = list(range(2, image.ndim))
    return _opset().interpolate(
        nodes.node(image),
        _constant(np.array(shape[2:])),
        "linear_onnx",
        "sizes",
        coordinate_transformation_mode="half_pixel",
        axes=_constant(np.array(axes)),
    )


@_register("alias", "clone", "detach", "contiguous", "lift_fresh")
def _same(nodes: Nodes, shape: _Shape, image: Tensor, *_: Any) -> Node:
    return nodes.node(image)
