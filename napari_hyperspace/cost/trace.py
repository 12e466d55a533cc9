"""Trace a network: find its operations and tensors, without computing anything.

The network is run once on torch's meta device, which computes shapes but no values. Every number of
operations or bytes is linear in the number of voxels at each stride, so one size gives all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from napari_hyperspace.cost.cost_model import Operation, Strides, Trace
from napari_hyperspace.nets.base.modules import copy_module, use_fast_mode

# Edge of the reference input: so large that rounding up the size of a map hardly matters. Divisible
# by 2 ** 8, 3 and 5: where networks pool by whole factors, maps are divided without a remainder.
_EDGE = 3840
_FEW = 1 << 16  # values; statistics and weights have fewer, a map of the reference input has more
_USUAL_EDGE = 96  # of a tile: the length of the sums of a product along an axis


def trace(network: nn.Module, in_channels: int, n_dim: int) -> Trace:
    """Return the operations and tensors of a network, without computing anything.

    Parameters
    ----------
    network
        (B, in_channels, *S) → (B, K, *S); copied, not changed.
    in_channels, n_dim
        Channels and spatial dimensions of its input.
    """
    skeleton = use_fast_mode(copy_module(network, lambda tensor: tensor.detach().to("meta"))).eval()
    image = torch.empty(1, in_channels, *[_EDGE] * n_dim, device="meta")
    parameters = sum(weight.numel() for weight in skeleton.parameters())
    recorder = _Recorder(image, n_dim)
    with torch.no_grad(), torch.device("meta"), recorder:
        skeleton(image)
    strides = tuple(sorted({held.strides for row in recorder.alive for held in row}))

    def table(rows: Sequence[Sequence[_TracedMap]]) -> NDArray[np.float64]:
        entries = [
            (index, strides.index(held.strides), held.values_per_voxel)
            for index, row in enumerate(rows)
            for held in row
        ]
        return np.array(entries, dtype=np.float64).reshape(-1, 3)

    operations = (
        Operation(
            kind=traced.kind,
            map=strides.index(traced.at.strides),
            channels=traced.channels,
            macs=traced.macs / traced.at.voxels,
            moved=traced.moved / traced.at.voxels,
            fresh=traced.fresh / traced.output.voxels,
            fresh_map=strides.index(traced.output.strides),
        )
        for traced in recorder.operations
    )
    return Trace(
        tuple(operations), strides, table(recorder.alive), table(recorder.scratch), parameters
    )


@dataclass(eq=False)
class _TracedMap:
    """A map in memory. A product returns it flattened: its strides are known once it is viewed."""

    reference: StorageWeakRef
    values: int
    strides: Strides
    voxels: int

    @property
    def values_per_voxel(self) -> float:
        return self.values / self.voxels

    def set_sizes(self, sizes: Sequence[int]) -> None:
        self.strides = tuple(_stride(n) for n in sizes)
        self.voxels = math.prod(sizes)


@dataclass(eq=False)
class _TracedOperation:
    """An operation; `macs`, `moved` and `fresh` are totals over the reference input.

    The voxels of a map are known once it is viewed, which may be after the operation.
    """

    kind: str
    at: _TracedMap
    output: _TracedMap
    channels: tuple[int, int]
    macs: int
    moved: int
    fresh: int


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that torch dispatches within its context."""

    def __init__(self, image: Tensor, n_dim: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_TracedOperation] = []
        self.alive: list[list[_TracedMap]] = []
        self.scratch: list[list[_TracedMap]] = []
        self._n_dim = n_dim
        self._held: dict[int, _TracedMap] = {}
        self._add(image)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Avoid the import of torch's compiler, which takes more than a second."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name, variant = func._schema.name, func._schema.overload_name
        inputs = [tensor for tensor in _tensors(args) if self._map_of(tensor) is not None]
        if not inputs:
            return func(*args, **(kwargs or {}))  # it makes a weight or a matrix
        known = _SHAPES.get(f"{name}.{variant}" if variant else name)
        result = known(*args) if known is not None else func(*args, **(kwargs or {}))
        outputs = [tensor for tensor in _tensors(result) if tensor.numel() > _FEW]
        alias = func._schema.returns[0].alias_info
        if name == "aten::_unsafe_view" or (alias is not None and not alias.is_write):
            for output in outputs:
                self._update_sizes(output)
            return result
        fresh = sum(self._add(output) for output in outputs) if alias is None else 0
        self._record(name, args, inputs, outputs, fresh)
        return result

    def _record(
        self,
        name: str,
        args: tuple[Any, ...],
        inputs: list[Tensor],
        outputs: list[Tensor],
        fresh: int,
    ) -> None:
        last = outputs[0] if outputs else inputs[0]  # statistics are too small to be recorded
        source, output = self._map_of(inputs[0]), self._map_of(last)
        assert source is not None and output is not None
        kind, macs, at = "pointwise", 0, output
        scratch = []
        if name == "aten::convolution":
            weight, transposed = args[1], args[6]
            at = source if transposed else output
            kind = "transposed" if transposed else "conv" if args[8] == 1 else "depthwise"
            macs = weight.numel() * at.voxels  # groups included: the weight has in/groups
            scratch = [source, output]
        elif name in ("aten::mm", "aten::bmm"):
            kind = "product"
            macs = last.numel() * _USUAL_EDGE
        elif "norm" in name:
            kind = "norm"
        elif "upsample" in name:
            kind = "upsample"
        elif "pool" in name:
            kind = "pool"
        moved = sum(tensor.numel() for tensor in (*inputs, *outputs[:1]))
        channels = (inputs[0].shape[1], last.shape[1])
        self.operations.append(_TracedOperation(kind, at, output, channels, macs, moved, fresh))
        self._held = {
            key: held
            for key, held in self._held.items()
            if not held.reference.expired()  # type: ignore[no-untyped-call]
        }
        self.alive.append([*self._held.values()])
        self.scratch.append(scratch)

    def _add(self, tensor: Tensor) -> int:
        """Record a new map; return its number of values."""
        reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        held = _TracedMap(reference, tensor.numel(), (1.0,) * self._n_dim, _EDGE**self._n_dim)
        self._held[reference.cdata] = held
        self._update_sizes(tensor)
        return tensor.numel()

    def _update_sizes(self, tensor: Tensor) -> None:
        held = self._map_of(tensor)
        if held is not None and tensor.ndim == self._n_dim + 2 and tensor.numel() == held.values:
            held.set_sizes(tensor.shape[2:])

    def _map_of(self, tensor: Tensor) -> _TracedMap | None:
        return self._held.get(tensor.untyped_storage()._cdata)


def _stride(size: int) -> float:
    """Return the stride of a map of this size; a whole number if the size allows it."""
    stride = max(1.0, _EDGE / size)  # the map of a padded image is larger
    whole = round(stride)
    return float(whole) if abs(_EDGE / whole - size) < 1 else stride


def _same(image: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(image)


def _in_place(image: Tensor, *_: Any) -> Tensor:
    return image


def _broadcast(one: Tensor, other: Tensor | float, *_: Any) -> Tensor:
    shape = other.shape if isinstance(other, Tensor) else ()
    sizes: torch.Size = torch.broadcast_shapes(one.shape, shape)  # type: ignore[no-untyped-call]
    return one.new_empty(sizes)


def _joined(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    sizes = list(tensors[0].shape)
    sizes[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return tensors[0].new_empty(sizes)


def _interpolated(image: Tensor, sizes: Sequence[int], *_: Any) -> Tensor:
    return image.new_empty(*image.shape[:2], *sizes)


def _normalized(image: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    statistics = image.new_empty(image.shape[0], others[5])
    return torch.empty_like(image), statistics, statistics


# Shapes of operations for which torch computes them in Python, slowly.
_SHAPES: dict[str, Callable[..., Any]] = {
    "aten::native_group_norm": _normalized,
    "aten::relu": _same,
    "aten::leaky_relu": _same,
    "aten::sigmoid": _same,
    "aten::pow.Tensor_Scalar": _same,
    "aten::relu_": _in_place,
    "aten::leaky_relu_": _in_place,
    "aten::mul.Tensor": _broadcast,
    "aten::cat": _joined,
    "aten::upsample_trilinear3d": _interpolated,
}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
