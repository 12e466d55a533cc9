"""Counting what a network will do: operations, bytes moved, bytes alive.

The network is run once on torch's meta device, which computes shapes and no values. Every count is
linear in the number of voxels at each stride, so one pass at one size gives the counts for all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

_EDGE = 64  # of the reference input; more than the total stride of any sensible network
MAPPED = 32 << 20  # allocations above this are mapped by themselves
_FRESH = 12 << 20  # from here on freed memory goes back to the system: measured with glibc

_HOLES = 1.5  # growth of the heap over what it holds; measured with glibc, apart from benchmarks

Strides = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of a network, a sample of the batch.

    Parameters
    ----------
    kind
        ``"conv"``, ``"transposed"``, ``"norm"``, ``"upsample"`` or ``"pointwise"``.
    strides
        Of the map that sets its work: the output, for a transposed convolution the input.
    channels
        Channels in and out.
    macs
        Multiply-accumulate operations a voxel of that map.
    moved
        Values read and written, a voxel of that map.
    fresh
        Values allocated, a voxel at each of ``fresh_strides``.
    fresh_strides
        Strides of the output.
    """

    kind: str
    strides: Strides
    channels: tuple[int, int]
    macs: float
    moved: float
    fresh: float
    fresh_strides: Strides


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network does to an input of any size.

    Parameters
    ----------
    operations
        In the order of execution.
    strides
        The strides that occur.
    alive
        Tensors alive while each operation runs, the input among them, one a row: index of the
        operation, index of the stride, values a voxel (n, 3).
    scratch
        The input and output of each convolution, alike: what a convolution in plain memory format
        holds once more.
    parameters
        Number of weights.
    """

    operations: tuple[Operation, ...]
    strides: tuple[Strides, ...]
    alive: NDArray[np.float64]
    scratch: NDArray[np.float64]
    parameters: int

    @property
    def convolutions(self) -> int:
        """Number of convolutions."""
        return sum(each.kind in ("conv", "transposed") for each in self.operations)

    def voxels(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Voxels of a map at each stride for an input of this shape, rounded up as in a U-Net."""
        return np.array(
            [
                math.prod(-(-n // s) for n, s in zip(shape, strides, strict=True))
                for strides in self.strides
            ],
            dtype=np.float64,
        )

    def macs(self, shape: Sequence[int]) -> float:
        """Multiply-accumulate operations for one input of this shape."""
        voxels = dict(zip(self.strides, self.voxels(shape).tolist(), strict=True))
        return float(sum(each.macs * voxels[each.strides] for each in self.operations))

    def peak_bytes(
        self, shape: Sequence[int], itemsize: int, batch: int = 1, *, reordered: bool, heap: bool
    ) -> float:
        """Most bytes held at once for a batch of inputs of this shape, the inputs included.

        Parameters
        ----------
        shape
            Of the input, without batch and channels.
        itemsize
            Bytes of a value.
        batch
            Inputs at once.
        reordered
            Whether convolutions copy their input and output to a layout of their own.
        heap
            Whether tensors under 32 MB come from the C library's heap, as on the CPU. It keeps what
            it once got, with holes: aligned blocks seldom fit where others were.
        """
        rows = np.concatenate([self.alive, self.scratch]) if reordered else self.alive
        operation = rows[:, 0].astype(int)
        sizes = rows[:, 2] * self.voxels(shape)[rows[:, 1].astype(int)] * (itemsize * batch)
        small = (sizes < MAPPED) & heap
        mapped = np.bincount(operation, np.where(small, 0, sizes))
        kept = np.maximum.accumulate(np.bincount(operation, np.where(small, sizes, 0)))
        return float((mapped + _HOLES * kept).max(initial=0.0))

    def seconds(self, shape: Sequence[int], rates: Rates, batch: int = 1) -> float:
        """Time for a batch of inputs of this shape, on a calibrated device."""
        voxels = dict(zip(self.strides, self.voxels(shape).tolist(), strict=True))
        total = 0.0
        for operation in self.operations:
            count = batch * voxels[operation.strides]
            fresh = batch * operation.fresh * voxels[operation.fresh_strides]
            total += rates.overhead + rates.work(operation, count)
            if fresh * rates.itemsize >= _FRESH:
                total += fresh * rates.itemsize * rates.fault
        return total


@dataclass(frozen=True)
class Rates:
    """How fast a device runs the operations of one form.

    Parameters
    ----------
    itemsize
        Bytes of a value.
    convolutions
        Seconds a multiply-accumulate of a 3-wide convolution, for pairs of channels (in, out).
    transposed
        The same of a transposed convolution.
    norm, pointwise, upsample
        Seconds a byte moved.
    fault
        Seconds a byte allocated fresh from the system.
    overhead
        Seconds a call.
    """

    itemsize: int
    convolutions: dict[tuple[int, int], float]
    transposed: float
    norm: float
    pointwise: float
    upsample: float
    fault: float
    overhead: float

    def work(self, operation: Operation, count: float) -> float:
        """Seconds of an operation over so many voxels, allocation and call apart."""
        if operation.kind == "conv":
            return operation.macs * count * self.convolution_rate(*operation.channels)
        if operation.kind == "transposed":
            return operation.macs * count * self.transposed
        rate = {"norm": self.norm, "upsample": self.upsample}.get(operation.kind, self.pointwise)
        return operation.moved * count * self.itemsize * rate

    def convolution_rate(self, incoming: int, outgoing: int) -> float:
        """Seconds a multiply-accumulate, from the calibrated pair nearest in log-channels.

        Pairs differ in time a *voxel* by less than in channels: vector units round up, so the rate
        of a thin layer is dear. Between calibrated pairs the logarithm is interpolated by inverse
        squared distance.
        """
        if (incoming, outgoing) in self.convolutions:
            return self.convolutions[incoming, outgoing]
        total = weights = 0.0
        for (a, b), rate in self.convolutions.items():
            distance = math.log2(incoming / a) ** 2 + math.log2(outgoing / b) ** 2
            weight = 1 / distance**2
            total += weight * math.log(rate)
            weights += weight
        return math.exp(total / weights)


def trace(network: nn.Module, in_channels: int, n_dim: int) -> Trace:
    """Count what a network does, without computing anything.

    Parameters
    ----------
    network
        (B, in_channels, *S) → (B, K, *S); copied, not changed.
    in_channels, n_dim
        Channels and spatial dimensions of its input.
    """
    skeleton = prepared(copy.deepcopy(network)).to("meta")
    image = torch.empty(1, in_channels, *[_EDGE] * n_dim, device="meta")
    parameters = sum(weight.numel() for weight in skeleton.parameters())
    counter = _Counter(image, n_dim)
    with torch.no_grad(), counter:
        skeleton(image)
    strides = tuple(sorted({key for row in counter.alive for key, _ in row}))

    def table(rows: list[list[tuple[Strides, float]]]) -> NDArray[np.float64]:
        entries = [
            (place, strides.index(key), amount)
            for place, row in enumerate(rows)
            for key, amount in row
        ]
        return np.array(entries, dtype=np.float64).reshape(-1, 3)

    return Trace(
        tuple(counter.operations),
        strides,
        table(counter.alive),
        table(counter.scratch),
        parameters,
    )


def prepared(network: nn.Module) -> nn.Module:
    """Turn a network of our own, in place, from bit for bit as published to fast; return it."""
    for module in network.modules():
        if hasattr(module, "exact"):
            module.exact = False  # type: ignore[assignment]
    return network


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that torch dispatches while it is entered."""

    def __init__(self, image: Tensor, n_dim: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.alive: list[list[tuple[Strides, float]]] = []
        self.scratch: list[list[tuple[Strides, float]]] = []
        self._n_dim = n_dim
        self._storages: list[tuple[StorageWeakRef, Strides, float]] = []
        self._own(image)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of torch's compiler, which takes more than a second."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = [item for item in _tensors(result) if self._is_map(item)]
        inputs = [item for item in _tensors(args) if self._is_map(item)]
        if not outputs or not inputs:
            return result
        alias = func._schema.returns[0].alias_info
        if alias is not None and not alias.is_write:
            return result  # a view
        fresh = sum(self._own(output) for output in outputs) if alias is None else 0.0
        self._count(func, args, inputs, outputs[0], fresh)
        return result

    def _count(
        self, func: Any, args: tuple[Any, ...], inputs: list[Tensor], output: Tensor, fresh: float
    ) -> None:
        name = func._schema.name
        kind, macs, at = "pointwise", 0.0, output
        scratch: list[tuple[Strides, float]] = []
        if name == "aten::convolution":
            weight, transposed = args[1], args[6]
            at = inputs[0] if transposed else output
            kind = "transposed" if transposed else "conv"
            macs = float(weight.numel())  # groups included: the weight holds in/groups
            scratch = [(self._strides(each), self._a_voxel(each)) for each in (inputs[0], output)]
        elif "norm" in name:
            kind = "norm"
        elif "upsample" in name:
            kind = "upsample"
        voxels = math.prod(at.shape[2:])
        moved = sum(image.numel() for image in (*inputs, output)) / voxels
        self.operations.append(
            Operation(
                kind,
                self._strides(at),
                (inputs[0].shape[1], output.shape[1]),
                macs,
                moved,
                fresh,
                self._strides(output),
            )
        )
        self._storages = [
            item
            for item in self._storages
            if not item[0].expired()  # type: ignore[no-untyped-call]
        ]
        self.alive.append([(strides, amount) for _, strides, amount in self._storages])
        self.scratch.append(scratch)

    def _own(self, tensor: Tensor) -> float:
        """Note a new tensor; return its values a voxel."""
        amount = self._a_voxel(tensor)
        reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self._storages.append((reference, self._strides(tensor), amount))
        return amount

    def _is_map(self, tensor: Tensor) -> bool:
        return tensor.ndim == self._n_dim + 2 and tensor.shape[0] == 1 and tensor.is_meta

    def _strides(self, tensor: Tensor) -> Strides:
        return tuple(max(1, round(_EDGE / n)) for n in tensor.shape[2:])

    @staticmethod
    def _a_voxel(tensor: Tensor) -> float:
        return tensor.numel() / math.prod(tensor.shape[2:])


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
