"""Resampling of volumes and label maps between grids, done by torch.

Where two grids share their axes (any permutation, any direction), each axis is resampled by itself;
see `separable`. Otherwise the image is first smoothed along each axis and then interpolated point
by point. Labels are taken from the nearest voxel or by majority, never blended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import (
    RADIUS,
    SNAP,
    Order,
    axis_matrix,
    kernel,
    resample_axes,
    snap,
)
from napari_hyperspace.core.volume import Volume

__all__ = ["SLAB_VOXELS", "resample_labels", "resample_to_grid", "resample_to_spacing"]

SLAB_VOXELS = 1 << 16
"""Output voxels interpolated at once between oblique grids; the work can be stopped in between."""


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
        The target grid, in any orientation.
    order
        ``"linear"`` or ``"cubic"`` for images (the result is float32); ``"nearest"`` for labels
        (their type is kept); ``"overlap"`` averages exactly over each new voxel.
    antialias
        Whether images are averaged over the new voxels if these are larger.
    fill
        Value outside the volume; `None` repeats its border voxels.
    should_stop
        Called every few planes if the grids are oblique to each other.

    Returns
    -------
    Volume
        On exactly ``grid``, with the volume's name.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the order is ``"overlap"`` and the grids are oblique to each other.
    """
    mapping = volume.grid.index_map(grid)
    axes = _shared_axes(mapping[:3, :3])
    if order == "nearest":
        array = _nearest(volume.array, grid, mapping, axes, fill, should_stop)
        return Volume(array, grid, volume.name)
    if order == "overlap" and axes is None:
        raise HyperspaceError(
            "the overlap of voxels is defined only for grids that share their axes",
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
    """Resample a label map: each new voxel gets the label that covers most of it.

    Of a tie, the smallest value. Labels are never blended and, unlike with the nearest voxel, not
    shifted if new centers are half-way between old ones.

    Parameters
    ----------
    labels
        A label map; its border voxels are repeated outside.
    grid
        The target grid, with the same axes in any order and direction.

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
        larger = share > best + SNAP
        winner[larger] = value
        np.maximum(best, share, out=best)
    return Volume(winner, grid, labels.name)


def _shared_axes(linear: NDArray[np.float64]) -> tuple[int, ...] | None:
    """Return the source axis of each target axis, or `None` if the grids are oblique."""
    axes = tuple(int(axis) for axis in np.argmax(np.abs(linear), axis=0))
    if sorted(axes) != [0, 1, 2]:
        return None
    rest = linear.copy()
    rest[axes, range(3)] = 0
    return axes if np.abs(rest).max() <= SNAP * np.abs(linear).max() else None


def _nearest(
    array: NDArray[Any],
    grid: Grid,
    mapping: NDArray[np.float64],
    axes: tuple[int, ...] | None,
    fill: float | None,
    should_stop: ShouldStop,
) -> NDArray[Any]:
    """Return the nearest voxels, in the array's own type."""
    outside = 0 if fill is None else fill
    if axes is not None:
        taken, inside = array.transpose(axes), []
        for i, axis in enumerate(axes):
            n_in = taken.shape[i]
            centers = snap(mapping[axis, 3] + mapping[axis, i] * np.arange(grid.shape[i]))
            nearest = np.floor(centers + 0.5 + SNAP).astype(np.int64)
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
            nearest = np.floor(centers + (0.5 + SNAP)).astype(np.int64)
            if fill is not None:
                within = within & (nearest >= 0) & (nearest < n_in)
            index = index + nearest.clip(0, n_in - 1) * stride
        out[start:stop] = flat.take(index)
        if fill is not None:
            out[start:stop][~within] = outside
    return out


def _smoothed(image: Tensor, mapping: NDArray[np.float64], order: Order, extend: bool) -> Tensor:
    """Smooth each axis by the extent of an oblique target's voxels along it."""
    widths = np.linalg.norm(mapping[:3, :3], axis=1)
    matrices = [
        axis_matrix(n, n, 1, 0, order=order, width=float(width), extend=extend)
        if width > 1 + SNAP
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
    near = range(1 - int(RADIUS[order]), 1 + int(RADIUS[order]))
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
                weight = kernel(order, (tap - centers).float())
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
    """Sum the weighted values of an image around indices, axis by axis.

    Each axis has a few taps: offset from the index, and weight.
    """
    if not taps:
        return flat.take(index)
    total = torch.zeros(index.shape)
    for offset, weight in taps[0]:
        total.addcmul_(_sum_of_taps(flat, index + offset, taps[1:]), weight)
    return total


def _slabs(shape: Sequence[int], should_stop: ShouldStop) -> Iterator[tuple[int, int]]:
    """Yield ranges of target planes to process at once."""
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
    """Return the positions of the voxels of target planes along each source axis.

    Each is an array (stop - start, H, W) of fractional indices.
    """
    a = np.arange(start, stop)[:, None, None]
    b, c = np.arange(grid.shape[1])[:, None], np.arange(grid.shape[2])
    return [row[0] * a + row[1] * b + row[3] + row[2] * c for row in mapping[:3]]
