"""Resampling between grids, done by torch.

Where two grids share their axes (any permutation, any direction), the map is separable: each output
sample along an axis is a weighted sum of a few input samples. Going coarser, the interpolation
kernel is stretched by the step, so that it averages over the voxel it stands for (the classical
anti-aliasing of image scaling; the sum of the weights stays 1). Otherwise the image is first
smoothed by those stretched kernels and then interpolated point by point.

Kernels: linear (a triangle), cubic (Keys 1981, a = -1/2), and the overlap of the new voxel with the
old ones. Labels are taken from the nearest voxel or by majority, never blended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume

Order = Literal["nearest", "linear", "cubic", "overlap"]

_RADIUS: dict[Order, float] = {"nearest": 0.5, "linear": 1.0, "cubic": 2.0}
# Coordinates this near to a voxel center or to the border between two voxels are meant to be there.
_SNAP = 1e-6
# Under this length one dense product is faster than gathering tap by tap.
DENSE_LENGTH = 128
# Output voxels worked on at once by the point-by-point form; it can be stopped between them.
SLAB_VOXELS = 1 << 16


@dataclass(frozen=True)
class AxisMatrix:
    """The sparse (n_out, n_in) matrix that resamples one axis, kept as taps.

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
    """Make the matrix of one axis: output sample ``o`` lies at input index ``start + o·step``.

    Parameters
    ----------
    n_in, n_out
        Lengths of the axis before and after.
    step
        Input samples from one output sample to the next; negative where the axes run against each
        other.
    start
        Input index of the first output sample.
    order
        Interpolation kernel; ``"overlap"``: the share of the output voxel that each input voxel
        covers.
    antialias
        Whether the linear or cubic kernel is stretched by ``|step|`` where that exceeds 1.
    width
        How far to stretch it instead (in input samples).
    extend
        Beyond the border, whether the outermost voxel goes on (else zeros).
    """
    stretch = max(1.0, abs(step) if width is None else width)
    if order == "nearest" or not antialias:
        stretch = 1.0
    centers = _snap(start + step * np.arange(n_out, dtype=np.float64))
    if order == "nearest":
        taps = np.floor(centers + 0.5 + _SNAP)[:, None]
        weights = np.ones_like(taps)
    elif order == "overlap":
        low, high = centers[:, None] - abs(step) / 2, centers[:, None] + abs(step) / 2
        taps = np.round(low) + np.arange(int(np.ceil(abs(step))) + 1)
        shared = np.minimum(taps + 0.5, high) - np.maximum(taps - 0.5, low)
        weights = shared.clip(0, None) / abs(step)
    else:
        radius = _RADIUS[order] * stretch
        first = np.floor(centers - radius) + 1
        taps = first[:, None] + np.arange(int(np.ceil(2 * radius)))
        weights = _kernel(order, (taps - centers[:, None]) / stretch)
        weights /= weights.sum(axis=1, keepdims=True)
    if not extend:
        weights = np.where((taps >= 0) & (taps < n_in), weights, 0.0)
    indices = np.clip(taps, 0, n_in - 1).astype(np.int64)
    return AxisMatrix(torch.from_numpy(indices), torch.from_numpy(weights.astype(np.float32)), n_in)


def _snap(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    nearest = np.round(coordinates)
    return np.where(np.abs(coordinates - nearest) < _SNAP, nearest, coordinates)


def _kernel(order: Order, distance: Any) -> Any:
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
        One for each of the last axes.
    """
    first = tensor.ndim - len(matrices)
    # The axis that shrinks most goes first: the others then have less to do.
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
    """Make the three matrices that resample one grid onto another with the same axes.

    Both grids must have their array axes in the same order (turn them to canonical order first);
    an axis that stays as it is gets `None`.
    """
    mapping = source.index_map(target)
    matrices: list[AxisMatrix | None] = []
    for axis in range(3):
        step, start = float(mapping[axis, axis]), float(mapping[axis, 3])
        n_in, n_out = source.shape[axis], target.shape[axis]
        same = n_in == n_out and abs(step - 1) * n_in < _SNAP and abs(start) < _SNAP
        matrices.append(
            None
            if same
            else axis_matrix(n_in, n_out, step, start, order=order, antialias=antialias)
        )
    return matrices


def resample_to_grid(
    volume: Volume,
    grid: Grid,
    *,
    order: Order = "linear",
    antialias: bool = True,
    fill: float | None = None,
    should_stop: ShouldStop = lambda: False,
) -> Volume:
    """Resample a volume onto another grid.

    Parameters
    ----------
    volume
        An image, or a label map with ``order="nearest"``.
    grid
        The grid to fill; any orientation, oblique to the volume's too.
    order
        ``"linear"`` or ``"cubic"`` for images (float32 comes out); ``"nearest"`` for labels (their
        type is kept); ``"overlap"`` averages over each new voxel exactly.
    antialias
        Whether images are averaged over the new voxels where these are larger.
    fill
        Value outside of the volume; `None` extends its border voxels.
    should_stop
        Asked every few planes, where the grids are oblique to each other.

    Returns
    -------
    Volume
        On exactly ``grid``, with the volume's name.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the overlap is asked for of grids that are oblique to each other.
    """
    mapping = volume.grid.index_map(grid)
    axes = _shared_axes(mapping[:3, :3])
    if order == "nearest":
        array = _nearest(volume.array, grid, mapping, axes, fill, should_stop)
        return Volume(array, grid, volume.name)
    if order == "overlap" and axes is None:
        raise HyperspaceError(
            "the overlap of voxels is known only for grids that share their axes",
            where=volume.name or None,
            fix="Use the nearest voxel, or linear interpolation",
        )
    image = torch.from_numpy(np.array(volume.array, dtype=np.float32))
    if fill is not None:
        image -= fill
    if axes is None:
        extend = fill is None
        if antialias:
            image = _smoothed(image, mapping, order, extend)
        image = _point_by_point(image, grid, mapping, order, extend, should_stop)
    else:
        image = image.permute(axes)
        matrices = [
            axis_matrix(
                image.shape[i],
                grid.shape[i],
                float(mapping[axis, i]),
                float(mapping[axis, 3]),
                order=order,
                antialias=antialias,
                extend=fill is None,
            )
            for i, axis in enumerate(axes)
        ]
        image = resample_axes(image, matrices)
    if fill is not None:
        image = image + fill
    return Volume(image.contiguous().numpy(), grid, volume.name)


def resample_to_spacing(
    volume: Volume,
    spacing_mm: Sequence[float],
    *,
    order: Order = "linear",
    antialias: bool = True,
) -> Volume:
    """Resample a volume to another spacing over the same field of view.

    Parameters
    ----------
    volume, order, antialias
        As in `resample_to_grid`.
    spacing_mm
        In the order of the volume's own array axes.
    """
    grid = volume.grid.with_spacing(spacing_mm)
    return resample_to_grid(volume, grid, order=order, antialias=antialias)


def resample_labels(labels: Volume, grid: Grid) -> Volume:
    """Bring a label map to another grid: each voxel gets the label that covers most of it.

    Of labels that cover as much, the smallest value. Labels are never blended, and unlike taking
    the nearest voxel this shifts nothing where a new center lies half-way between old ones.

    Parameters
    ----------
    labels
        A label map; its border voxels go on beyond it.
    grid
        The grid to fill, with the same axes (in any order and direction).

    Returns
    -------
    Volume
        On exactly ``grid``, in the labels' own type.
    """
    best = np.full(grid.shape, -1, np.float32)
    winner = np.zeros(grid.shape, labels.dtype)
    for value in np.unique(labels.array):
        indicator = labels.with_array(labels.array == value)
        share = resample_to_grid(indicator, grid, order="overlap").array
        larger = share > best + _SNAP
        winner[larger] = value
        np.maximum(best, share, out=best)
    return Volume(winner, grid, labels.name)


def _shared_axes(linear: NDArray[np.float64]) -> tuple[int, ...] | None:
    """Return the source axis of each target axis, or `None` where the grids are oblique."""
    axes = tuple(int(axis) for axis in np.argmax(np.abs(linear), axis=0))
    if sorted(axes) != [0, 1, 2]:
        return None
    rest = linear.copy()
    rest[axes, range(3)] = 0
    return axes if np.abs(rest).max() <= _SNAP * np.abs(linear).max() else None


def _nearest(
    array: NDArray[Any],
    grid: Grid,
    mapping: NDArray[np.float64],
    axes: tuple[int, ...] | None,
    fill: float | None,
    should_stop: ShouldStop,
) -> NDArray[Any]:
    """Take the nearest voxel, in the array's own type."""
    outside = 0 if fill is None else fill
    if axes is not None:
        taken, inside = array.transpose(axes), []
        for i, axis in enumerate(axes):
            n_in = taken.shape[i]
            centers = _snap(mapping[axis, 3] + mapping[axis, i] * np.arange(grid.shape[i]))
            nearest = np.floor(centers + 0.5 + _SNAP).astype(np.int64)
            inside.append((nearest >= 0) & (nearest < n_in))
            taken = taken.take(np.clip(nearest, 0, n_in - 1), axis=i)
        if fill is not None:
            taken[~(inside[0][:, None, None] & inside[1][:, None] & inside[2])] = outside
        return np.ascontiguousarray(taken)
    out = np.empty(grid.shape, array.dtype)
    flat, strides = array.reshape(-1), _strides(array.shape)
    for start, stop in _slabs(grid.shape, should_stop):
        index: Any = 0
        within: Any = True
        for centers, n_in, stride in zip(
            _positions(grid, mapping, start, stop), array.shape, strides, strict=True
        ):
            nearest = np.floor(centers + (0.5 + _SNAP)).astype(np.int64)
            if fill is not None:
                within = within & (nearest >= 0) & (nearest < n_in)
            index = index + nearest.clip(0, n_in - 1) * stride
        out[start:stop] = flat.take(index)
        if fill is not None:
            out[start:stop][~within] = outside
    return out


def _smoothed(image: Tensor, mapping: NDArray[np.float64], order: Order, extend: bool) -> Tensor:
    """Average over as much as the voxels of an oblique target reach over along each axis."""
    widths = np.linalg.norm(mapping[:3, :3], axis=1)
    matrices = [
        axis_matrix(n, n, 1, 0, order=order, width=float(width), extend=extend)
        if width > 1 + _SNAP
        else None
        for n, width in zip(image.shape, widths, strict=True)
    ]
    return resample_axes(image, matrices)


def _point_by_point(
    image: Tensor,
    grid: Grid,
    mapping: NDArray[np.float64],
    order: Order,
    extend: bool,
    should_stop: ShouldStop,
) -> Tensor:
    """Interpolate at arbitrary positions: sum the taps around each point."""
    near = range(1 - int(_RADIUS[order]), 1 + int(_RADIUS[order]))
    flat, strides = image.reshape(-1), _strides(image.shape)
    out = torch.empty(grid.shape)
    for start, stop in _slabs(grid.shape, should_stop):
        taps = []
        for centers, n_in, stride in zip(
            map(torch.from_numpy, _positions(grid, mapping, start, stop)),
            image.shape,
            strides,
            strict=True,
        ):
            first = torch.floor(centers)
            around = []
            for offset in near:
                tap = first + offset
                weight = _kernel(order, (tap - centers).float())
                if not extend:
                    weight *= (tap >= 0) & (tap < n_in)
                around.append((tap.clamp_(0, n_in - 1).long() * stride, weight))
            taps.append(around)
        origin = torch.zeros(stop - start, *grid.shape[1:], dtype=torch.int64)
        out[start:stop] = _sum_of_taps(flat, origin, taps)
    return out


def _sum_of_taps(
    flat: Tensor, index: Tensor, taps: Sequence[Sequence[tuple[Tensor, Tensor]]]
) -> Tensor:
    """Sum an image's values around an index: along the first axis left, the sums along the others.

    Each axis has a few taps: how far from the index, and the weight.
    """
    if not taps:
        return flat.take(index)
    total = torch.zeros(index.shape)
    for offset, weight in taps[0]:
        total.addcmul_(_sum_of_taps(flat, index + offset, taps[1:]), weight)
    return total


def _slabs(shape: Sequence[int], should_stop: ShouldStop) -> Iterator[tuple[int, int]]:
    """Yield the first and last target plane to work on at once, unless asked to stop."""
    planes = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for at in range(0, shape[0], planes):
        if should_stop():
            raise Cancelled
        yield at, min(at + planes, shape[0])


def _strides(shape: Sequence[int]) -> tuple[int, int, int]:
    return shape[1] * shape[2], shape[2], 1


def _positions(
    grid: Grid, mapping: NDArray[np.float64], start: int, stop: int
) -> list[NDArray[np.float64]]:
    """Return where each voxel of the target planes from start to stop lies along each source axis.

    Each is an array (stop - start, H, W) of fractional indices.
    """
    a = np.arange(start, stop)[:, None, None]
    b, c = np.arange(grid.shape[1])[:, None], np.arange(grid.shape[2])
    return [row[0] * a + row[1] * b + row[3] + row[2] * c for row in mapping[:3]]
