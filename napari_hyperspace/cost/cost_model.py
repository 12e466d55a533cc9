"""Operations, memory and time of a network for an input of any size.

Every number of operations or bytes is linear in the number of voxels at each stride. Networks that
differ only in the sizes of their maps, such as those of one model for several spacings, share these
numbers and differ in the strides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.memory import MAPPED
from napari_hyperspace.cost.rates import Rates
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.levels import coarser_size

_FRESH = 12 << 20  # bytes; larger tensors are returned to the system when freed (glibc, measured)
_HOLES = 1.5  # size of the heap relative to its contents (glibc, measured)
_CONVOLUTIONS = ("conv", "depthwise")
_PRODUCTS = (*_CONVOLUTIONS, "transposed", "product")
_SAME = 0.03  # relative difference of strides that differ only by the rounding of map sizes

Strides = tuple[float, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of a network, per sample of the batch.

    Parameters
    ----------
    kind
        ``"conv"``, ``"depthwise"`` (a convolution in groups), ``"transposed"``, ``"product"`` (with
        a matrix along an axis), ``"norm"``, ``"pool"``, ``"upsample"`` or ``"pointwise"``.
    map
        Index in `Trace.strides` of the map that determines its work: the output, or the input of a
        transposed convolution.
    channels
        Channels in and out.
    macs
        Multiply-accumulate operations per voxel of that map.
    moved
        Values read and written, per voxel of that map.
    fresh
        Values allocated, per voxel of ``fresh_map``.
    fresh_map
        Index in `Trace.strides` of the output.
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
    """The operations and tensors of a network, for an input of any size.

    Parameters
    ----------
    operations
        In the order of execution.
    strides
        The strides that occur, per axis: real numbers of at least 1.
    alive
        Tensors alive while each operation runs, its input included, one per row: index of the
        operation, index of the stride, values per voxel (n, 3).
    scratch
        Input and output of each convolution, in the same columns: a convolution in the contiguous
        memory format copies them.
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
        """Return the voxels of a map at each stride for an input of this shape, rounded up."""
        voxels = [math.prod(map(coarser_size, shape, strides)) for strides in self.strides]
        return np.array(voxels, dtype=np.float64)

    def at(self, here: Architecture, there: Architecture) -> Trace:
        """Return the trace of another network of the same kind.

        Parameters
        ----------
        here, there
            Architecture of the traced network, and of the other one.
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
        """Return the multiply-accumulate operations for one input of this shape."""
        voxels = self.voxels(shape).tolist()
        return float(sum(each.macs * voxels[each.map] for each in self.operations))

    def peak_bytes(
        self, shape: Sequence[int], itemsize: int, batch: int = 1, *, reordered: bool, heap: bool
    ) -> float:
        """Return the peak memory for a batch of inputs of this shape, the inputs included.

        Parameters
        ----------
        shape
            Shape of the input, without batch and channels.
        itemsize
            Bytes per value.
        batch
            Number of inputs.
        reordered
            Whether convolutions copy their input and output to another memory layout.
        heap
            Whether tensors under 32 MB come from the C library's heap, as on the CPU. The heap does
            not shrink, and is fragmented: aligned blocks rarely fit where others were.
        """
        rows = np.concatenate([self.alive, self.scratch]) if reordered else self.alive
        operation = rows[:, 0].astype(int)
        sizes = rows[:, 2] * self.voxels(shape)[rows[:, 1].astype(int)] * (itemsize * batch)
        small = (sizes < MAPPED) & heap
        mapped = np.bincount(operation, np.where(small, 0, sizes))
        kept = np.maximum.accumulate(np.bincount(operation, np.where(small, sizes, 0)))
        return float((mapped + _HOLES * kept).max(initial=0.0))

    def seconds(self, shape: Sequence[int], rates: Rates, batch: int = 1) -> float:
        """Return the time for a batch of inputs of this shape on a calibrated device."""
        columns = self._columns
        voxels = batch * self.voxels(shape)
        work_rates = np.array([rates.work_rate(*kind) for kind in columns.kinds])
        work = np.where(columns.is_product, columns.macs, columns.moved * rates.itemsize)
        total = (work * work_rates[columns.kind] * voxels[columns.map]).sum()
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
        kinds = {kind: index for index, kind in enumerate(dict.fromkeys(all_kinds))}
        operations = self.operations

        return _Columns(
            tuple(kinds),
            np.array([kinds[kind] for kind in all_kinds], dtype=int),
            np.array([each.kind in _PRODUCTS for each in operations], dtype=bool),
            np.array([each.kind in _CONVOLUTIONS for each in operations], dtype=bool),
            np.array([each.macs for each in operations], dtype=float),
            np.array([each.moved for each in operations], dtype=float),
            np.array([each.fresh for each in operations], dtype=float),
            np.array([each.map for each in operations], dtype=int),
            np.array([each.fresh_map for each in operations], dtype=int),
        )


@dataclass(frozen=True, eq=False)
class _Columns:
    """The operations of a trace as a table; `kind` is an index into `kinds`."""

    kinds: tuple[tuple[str, int, int], ...]
    kind: NDArray[np.int_]
    is_product: NDArray[np.bool_]
    is_convolution: NDArray[np.bool_]
    macs: NDArray[np.float64]
    moved: NDArray[np.float64]
    fresh: NDArray[np.float64]
    map: NDArray[np.int_]
    fresh_map: NDArray[np.int_]
