"""What a network will do at a size: operations, bytes moved, bytes alive; and how long it takes.

Every count is linear in the number of voxels at each stride. Networks whose maps alone differ in
size, as those of one model for many spacings, share the counts and differ in the strides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.memory import MAPPED
from napari_hyperspace.nets.base.architecture import Architecture

_FRESH = 12 << 20  # from here on freed memory goes back to the system: measured with glibc

_HOLES = 1.5  # growth of the heap over what it holds; measured with glibc, apart from benchmarks

_ROUNDING = 1e-4  # that of the levels' sizes
_CONVOLUTIONS = ("conv", "depthwise")
_PRODUCTS = (*_CONVOLUTIONS, "transposed", "product")
_SAME = 0.03  # relative difference of strides that are the same but for rounded sizes of maps

Strides = tuple[float, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of a network, a sample of the batch.

    Parameters
    ----------
    kind
        ``"conv"``, ``"depthwise"`` (a convolution in groups), ``"transposed"``, ``"product"`` (with
        a matrix along an axis), ``"norm"``, ``"upsample"`` or ``"pointwise"``.
    map
        Place in `Trace.strides` of the map that sets its work: the output, for a transposed
        convolution the input.
    channels
        Channels in and out.
    macs
        Multiply-accumulate operations a voxel of that map.
    moved
        Values read and written, a voxel of that map.
    fresh
        Values allocated, a voxel of ``fresh_map``.
    fresh_map
        Place in `Trace.strides` of the output.
    """

    kind: str
    map: int
    channels: tuple[int, int]
    macs: float
    moved: float
    fresh: float
    fresh_map: int


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network does to an input of any size.

    Parameters
    ----------
    operations
        In the order of execution.
    strides
        The strides that occur, an axis: real numbers of 1 and more.
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
        return sum(each.kind in (*_CONVOLUTIONS, "transposed") for each in self.operations)

    def voxels(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Voxels of a map at each stride for an input of this shape, rounded up as in a U-Net."""
        strides = np.array(self.strides).reshape(-1, len(shape))
        sizes = np.ceil(np.array(shape) / strides - _ROUNDING)
        product: NDArray[np.float64] = np.maximum(sizes, 1).prod(axis=1)
        return product

    def at(self, here: Architecture, there: Architecture) -> Trace:
        """Return the counts of another network of the same kind.

        Parameters
        ----------
        here, there
            Architecture of the network that was counted, and of the other.
        """
        if here == there:
            return self

        def moved(stride: float, axis: int) -> float:
            levels = zip(here.voxels, there.voxels, strict=True)
            pairs = [(1.0, 1.0), *((a[axis], b[axis]) for a, b in levels)]
            old, new = min(pairs, key=lambda pair: abs(pair[0] - stride))
            return new if abs(old - stride) <= _SAME * stride else stride

        strides = tuple(
            tuple(moved(stride, axis) for axis, stride in enumerate(each)) for each in self.strides
        )
        if here.taps == there.taps:
            return replace(self, strides=strides)
        growth = (b / a for a, b in zip(here.taps, there.taps, strict=True))
        operations = tuple(
            replace(each, macs=each.macs * next(growth)) if each.kind in _CONVOLUTIONS else each
            for each in self.operations
        )
        more = sum(b.macs - a.macs for a, b in zip(self.operations, operations, strict=True))
        return replace(
            self, operations=operations, strides=strides, parameters=self.parameters + round(more)
        )

    def macs(self, shape: Sequence[int]) -> float:
        """Multiply-accumulate operations for one input of this shape."""
        voxels = self.voxels(shape).tolist()
        return float(sum(each.macs * voxels[each.map] for each in self.operations))

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
        columns = self._columns
        voxels = batch * self.voxels(shape)
        slowness = np.array([rates.slowness(*kind) for kind in columns.kinds])
        work = np.where(columns.is_product, columns.macs, columns.moved * rates.itemsize)
        total = (work * slowness[columns.kind] * voxels[columns.map]).sum()
        moved = (columns.moved * voxels[columns.map])[columns.is_convolution]
        total += moved.sum() * rates.itemsize * rates.convolution_byte
        fresh = columns.fresh * voxels[columns.fresh_map]
        if rates.reordered:
            scratch = self.scratch[:, 2] * voxels[self.scratch[:, 1].astype(int)]
            fresh = np.concatenate([fresh, scratch])
        fresh *= rates.itemsize
        total += fresh[fresh >= _FRESH].sum() * rates.page_fault
        total += len(moved) * rates.convolution_overhead
        return float(total) + len(self.operations) * rates.overhead

    @cached_property
    def _columns(self) -> _Columns:
        all_kinds = [
            (each.kind, *(each.channels if each.kind in _CONVOLUTIONS else (0, 0)))
            for each in self.operations
        ]
        kinds = {kind: place for place, kind in enumerate(dict.fromkeys(all_kinds))}

        def column(name: str, type_: type = float) -> NDArray[Any]:
            return np.array([getattr(each, name) for each in self.operations], dtype=type_)

        return _Columns(
            tuple(kinds),
            np.array([kinds[kind] for kind in all_kinds], dtype=int),
            np.array([each.kind in _PRODUCTS for each in self.operations], dtype=bool),
            np.array([each.kind in _CONVOLUTIONS for each in self.operations], dtype=bool),
            column("macs"),
            column("moved"),
            column("fresh"),
            column("map", int),
            column("fresh_map", int),
        )


@dataclass(frozen=True, eq=False)
class _Columns:
    """The operations of a trace as a table; `kind` is a place in `kinds`, with channels."""

    kinds: tuple[tuple[str, int, int], ...]
    kind: NDArray[np.int_]
    is_product: NDArray[np.bool_]
    is_convolution: NDArray[np.bool_]
    macs: NDArray[np.float64]
    moved: NDArray[np.float64]
    fresh: NDArray[np.float64]
    map: NDArray[np.int_]
    fresh_map: NDArray[np.int_]


@dataclass(frozen=True)
class Rates:
    """How fast a device runs the operations of one precision.

    A convolution takes its multiply-accumulates, its bytes and its call: those of 1³ voxels, and
    those in groups, are mostly the latter two.

    Parameters
    ----------
    itemsize
        Bytes of a value.
    reordered
        Whether convolutions copy their input and output to a layout of their own.
    convolutions
        Seconds a multiply-accumulate of a convolution, for pairs of channels (in, out).
    depthwise
        The same of a convolution in groups, for numbers of channels.
    convolution_byte, convolution_overhead
        Seconds a byte read and written by a convolution, and a call of one.
    transposed
        Seconds a multiply-accumulate of a transposed convolution, bytes included.
    norm, pointwise, upsample
        Seconds a byte moved.
    page_fault
        Seconds a byte allocated fresh from the system.
    overhead
        Seconds a call.
    """

    itemsize: int
    reordered: bool
    convolutions: dict[tuple[int, int], float]
    depthwise: dict[int, float]
    convolution_byte: float
    convolution_overhead: float
    transposed: float
    norm: float
    pointwise: float
    upsample: float
    page_fault: float
    overhead: float

    def slowness(self, kind: str, incoming: int, outgoing: int) -> float:
        """Seconds a multiply-accumulate, or a byte moved where nothing is multiplied."""
        if kind == "conv":
            return self.convolution_rate(incoming, outgoing)
        if kind == "depthwise":
            nearest = min(self.depthwise, key=lambda known: abs(math.log2(known / outgoing)))
            return self.depthwise[nearest]
        if kind == "transposed":
            return self.transposed
        if kind == "product":
            return self.convolution_rate(64, 64)  # as dense as torch's products get
        return {"norm": self.norm, "upsample": self.upsample}.get(kind, self.pointwise)

    def convolution_rate(self, incoming: int, outgoing: int) -> float:
        """Seconds a multiply-accumulate, from the calibrated pair nearest in log-channels.

        Pairs differ in time a *voxel* by less than in channels: vector units round up, so the rate
        of a thin layer is dear. Between calibrated pairs the logarithm is interpolated by inverse
        squared distance.
        """
        pair = incoming, outgoing
        if pair in self.convolutions:
            return self.convolutions[pair]
        if pair not in self._between:
            total = weights = 0.0
            for (a, b), rate in self.convolutions.items():
                distance = math.log2(incoming / a) ** 2 + math.log2(outgoing / b) ** 2
                weight = 1 / distance**2
                total += weight * math.log(rate)
                weights += weight
            self._between[pair] = math.exp(total / weights)
        return self._between[pair]

    @cached_property
    def _between(self) -> dict[tuple[int, int], float]:
        return {}
