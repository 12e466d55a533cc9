"""A network as a graph of OpenVINO, for one shape of its input.

The network is run once on torch's meta device, which computes shapes but no values, and each
operation that depends on the image becomes a node. What does not depend on it, such as the matrices
of physical averages, is computed and becomes a constant. This takes some tens of milliseconds;
OpenVINO's own conversion of a traced network takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from napari_hyperspace.inference.openvino.operations import OPERATIONS
from napari_hyperspace.nets.base.modules import copy_module, use_fast_mode

if TYPE_CHECKING:
    import openvino
    from openvino import Node

__all__ = ["openvino_graph"]

_META = torch.device("meta")
_NO_NODE = ("aten::select",)  # only asked for their size


def openvino_graph(network: nn.Module, shape: Sequence[int]) -> openvino.Model:
    """Return the graph of a network.

    Parameters
    ----------
    network
        (B, C, *S) → (B, K, *S), on the CPU, in eval mode; copied, not changed.
    shape
        (B, C, *S) of its input.

    Raises
    ------
    NotImplementedError
        If it has an operation that is not among `OPERATIONS`.
    """
    import openvino
    from openvino import opset13

    copied = use_fast_mode(copy_module(network, lambda tensor: tensor.detach().float()))
    image = torch.empty(tuple(shape), device=_META)
    parameter = opset13.parameter(list(shape), np.float32)
    recorder = _Recorder(image, parameter)
    with torch.no_grad(), recorder:
        logits = copied(image)
    return openvino.Model([opset13.result(recorder.node(logits))], [parameter])


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns the operations that torch dispatches within its context into nodes.

    Tensors on the meta device depend on the image; all others have values.
    """

    def __init__(self, image: Tensor, parameter: Node) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._nodes: dict[int, Node] = {id(image): parameter}
        self._kept: list[Tensor] = [image]  # an identity is unique only while the tensor exists

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Avoid the import of torch's compiler, which takes more than a second."""
        return False

    def node(self, tensor: Tensor) -> Node:
        """Return the node that computes a tensor; a constant for one with known values."""
        if id(tensor) not in self._nodes:
            if tensor.device == _META:
                raise NotImplementedError("a view that was changed")
            from openvino import opset13

            self._keep(tensor, opset13.constant(tensor.detach().contiguous().numpy()))
        return self._nodes[id(tensor)]

    def _keep(self, tensor: Tensor, node: Node) -> None:
        self._nodes[id(tensor)] = node
        self._kept.append(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not _depends(args):
            if given.get("device") is not None:  # the code asked for the device of the image
                given["device"] = torch.device("cpu")
            return func(*args, **given)
        name = func._schema.name
        operation = OPERATIONS.get(name.removeprefix("aten::"))
        if operation is None and name not in _NO_NODE:
            raise NotImplementedError(name)
        known = _SHAPES.get(name)
        meta = _on_meta(args)
        result = known(*meta) if known is not None else func(*meta, **given)
        first: Tensor = result[0] if isinstance(result, tuple) else result
        if operation is not None:
            self._keep(first, operation(self, tuple(first.shape), *args, **given))
        return result


def _depends(value: Any) -> bool:
    """Whether one of the tensors depends on the image."""
    if isinstance(value, Tensor):
        return value.device == _META
    return isinstance(value, list | tuple) and any(map(_depends, value))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.device == _META else torch.empty_like(value, device=_META)
    if isinstance(value, list | tuple):
        return type(value)(map(_on_meta, value))
    return value


def _like(image: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(image)


def _in_place(image: Tensor, *_: Any) -> Tensor:
    return image


def _normalized(image: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(image), image, image


# Shapes of operations for which torch computes them in Python, slowly.
_SHAPES: dict[str, Callable[..., Any]] = {
    "aten::native_group_norm": _normalized,
    "aten::relu": _like,
    "aten::leaky_relu": _like,
    "aten::relu_": _in_place,
    "aten::leaky_relu_": _in_place,
}
