"""Resampling axis by axis: each output sample is a weighted sum of a few input samples.

Downsampling stretches the interpolation kernel by the step, so that it averages over the new voxel
(the usual anti-aliasing of image scaling; the weights still sum to 1).

Kernels: linear (a triangle), cubic (Keys 1981, a = -1/2), and the overlap of the new voxel with the
old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid

__all__ = [
    "DENSE_LENGTH",
    "RADIUS",
    "SNAP",
    "AxisMatrix",
    "Order",
    "axis_matrix",
    "grid_matrices",
    "kernel",
    "resample_axes",
    "snap",
]

Order = Literal["nearest", "linear", "cubic", "overlap"]

RADIUS: dict[Order, float] = {"nearest": 0.5, "linear": 1.0, "cubic": 2.0}
"""Half the support of an interpolation kernel, in samples."""

SNAP = 1e-6
"""Coordinates this near to a voxel center, or to the border between two voxels, lie on it."""

DENSE_LENGTH = 128
"""Up to this length one dense product is faster than gathering tap by tap."""


@dataclass(frozen=True)
class AxisMatrix:
    """The sparse (n_out, n_in) matrix that resamples one axis, stored as taps.

    Parameters
    ----------
    indices
        (n_out, taps) int64: input samples of each output sample, within the array.
    weights
        (n_out, taps) float32.
    n_in
        Length of the input axis.
    """

    indices: Tensor
    weights: Tensor
    n_in: int

    @property
    def n_out(self) -> int:
        """Length of the output axis."""
        return self.indices.shape[0]

    def rows(self, start: int, stop: int) -> AxisMatrix:
        """Return the matrix of the output samples from ``start`` to before ``stop``."""
        return AxisMatrix(self.indices[start:stop], self.weights[start:stop], self.n_in)

    def dense(self) -> Tensor:
        """Return the matrix as a float32 tensor (n_out, n_in)."""
        matrix = self.weights.new_zeros(self.n_out, self.n_in)
        return matrix.scatter_add_(1, self.indices, self.weights)

    def apply(self, tensor: Tensor, axis: int) -> Tensor:
        """Resample one axis of a floating-point tensor, on its device and in its type."""
        if self.n_in <= DENSE_LENGTH or 8 * self.indices.shape[1] >= self.n_in:
            matrix = self.dense().to(tensor)
            if axis % tensor.ndim == tensor.ndim - 1:
                return tensor @ matrix.T
            if axis % tensor.ndim == tensor.ndim - 2:
                return matrix @ tensor
            moved = matrix @ tensor.movedim(axis, 0).reshape(self.n_in, -1)
            rest = tensor.movedim(axis, 0).shape[1:]
            return moved.reshape(self.n_out, *rest).movedim(0, axis)
        shape = [1] * tensor.ndim
        shape[axis] = self.n_out
        indices = self.indices.to(tensor.device)
        weights = self.weights.to(tensor)
        total = tensor.index_select(axis, indices[:, 0]).mul_(weights[:, 0].view(shape))
        for tap in range(1, indices.shape[1]):
            taken = tensor.index_select(axis, indices[:, tap])
            total.addcmul_(taken, weights[:, tap].view(shape))
        return total


def axis_matrix(
    n_in: int,
    n_out: int,
    step: float,
    start: float,
    *,
    order: Order = "linear",
    antialias: bool = True,
    width: float | None = None,
    extend: bool = True,
) -> AxisMatrix:
    """Return the matrix of one axis: output sample ``o`` is at input index ``start + o·step``.

    Parameters
    ----------
    n_in, n_out
        Lengths of the axis before and after.
    step
        Input samples from one output sample to the next; negative if the axes point in opposite
        directions.
    start
        Input index of the first output sample.
    order
        Interpolation kernel; ``"overlap"``: the fraction of the output voxel that each input voxel
        covers.
    antialias
        Whether the linear or cubic kernel is stretched by ``|step|`` if that exceeds 1.
    width
        Factor to stretch it by instead.
    extend
        Whether border voxels are repeated beyond the border; otherwise it is 0 there.
    """
    stretch = max(1.0, abs(step) if width is None else width)
    if order == "nearest" or not antialias:
        stretch = 1.0
    centers = snap(start + step * np.arange(n_out, dtype=np.float64))
    if order == "nearest":
        taps = np.floor(centers + 0.5 + SNAP)[:, None]
        weights = np.ones_like(taps)
    elif order == "overlap":
        low, high = centers[:, None] - abs(step) / 2, centers[:, None] + abs(step) / 2
        taps = np.round(low) + np.arange(int(np.ceil(abs(step))) + 1)
        shared = np.minimum(taps + 0.5, high) - np.maximum(taps - 0.5, low)
        weights = shared.clip(0, None) / abs(step)
    else:
        radius = RADIUS[order] * stretch
        first = np.floor(centers - radius) + 1
        taps = first[:, None] + np.arange(int(np.ceil(2 * radius)))
        weights = kernel(order, (taps - centers[:, None]) / stretch)
        weights /= weights.sum(axis=1, keepdims=True)
    if not extend:
        weights = np.where((taps >= 0) & (taps < n_in), weights, 0.0)
    indices = np.clip(taps, 0, n_in - 1).astype(np.int64)
    return AxisMatrix(torch.from_numpy(indices), torch.from_numpy(weights.astype(np.float32)), n_in)


def snap(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round coordinates that lie within `SNAP` of a voxel center."""
    nearest = np.round(coordinates)
    return np.where(np.abs(coordinates - nearest) < SNAP, nearest, coordinates)


def kernel(order: Order, distance: Any) -> Any:
    """Return the interpolation kernel at a distance in samples; numpy or torch."""
    x = abs(distance)
    if order == "linear":
        return (1 - x).clip(0, None)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x < 2))


def resample_axes(tensor: Tensor, matrices: Sequence[AxisMatrix | None]) -> Tensor:
    """Resample the last axes of a tensor, one matrix each; `None` leaves an axis as it is.

    Parameters
    ----------
    tensor
        (..., D, H, W), floating point.
    matrices
        One per axis.
    """
    first = tensor.ndim - len(matrices)
    # The axis that shrinks most comes first: the others then have fewer samples.
    todo = sorted(
        ((first + i, matrix) for i, matrix in enumerate(matrices) if matrix is not None),
        key=lambda item: item[1].n_out / item[1].n_in,
    )
    for axis, matrix in todo:
        tensor = matrix.apply(tensor, axis)
    return tensor


def grid_matrices(
    source: Grid, target: Grid, *, order: Order = "linear", antialias: bool = True
) -> list[AxisMatrix | None]:
    """Return the three matrices that resample one grid onto another with the same axes.

    Both grids must have their array axes in the same order, such as canonical order. The matrix of
    an axis that does not change is `None`.
    """
    mapping = source.index_map(target)
    matrices: list[AxisMatrix | None] = []
    for axis in range(3):
        step, start = float(mapping[axis, axis]), float(mapping[axis, 3])
        n_in, n_out = source.shape[axis], target.shape[axis]
        same = n_in == n_out and abs(step - 1) * n_in < SNAP and abs(start) < SNAP
        matrices.append(
            None
            if same
            else axis_matrix(n_in, n_out, step, start, order=order, antialias=antialias)
        )
    return matrices
