"""From logits on the working grid to labels on the native grid, plane by plane.

Every native voxel gets the class whose linearly interpolated logit is largest. Interpolating all K
channels at native size takes much time and memory, and most of it is unnecessary: a weighted mean
preserves order, so a class with the largest logit at all corners of a working-grid cell also has
the largest logit everywhere inside it. Only native voxels in cells whose corners disagree are
interpolated. Memory: two planes of logits, and a bounded number of voxels at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import AxisMatrix, grid_matrices

POINTS_AT_ONCE = 1 << 18  # native voxels interpolated at once


@dataclass(frozen=True, eq=False)
class _Axis:
    """For each native sample along an axis: its two working samples, and the upper one's weight.

    ``between`` is false if every native sample coincides with a working sample.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor
    between: bool

    @classmethod
    def of(cls, matrix: AxisMatrix | None, length: int, device: torch.device) -> _Axis:
        if matrix is None:
            index = torch.arange(length, device=device)
            return cls(index, index, torch.zeros(length, device=device), False)
        lower, upper = matrix.indices.to(device).unbind(1)
        return cls(lower, upper, matrix.weights[:, 1].to(device), True)


class NonFiniteLogitsError(HyperspaceError):
    """The output of a network is not finite."""


class NativeArgmax:
    """Fills the label map of the native grid from the planes of logits of the working grid.

    Parameters
    ----------
    working, native
        Grids in canonical order, with the same axes.
    values
        Label value of each class.
    out
        Array of the native grid's shape to fill, with any strides.
    device
        Device of the planes.

    Attributes
    ----------
    border
        Number of working voxels so far whose next neighbor along y or x has another label.
    """

    def __init__(
        self,
        working: Grid,
        native: Grid,
        values: Sequence[int],
        out: NDArray[Any],
        device: torch.device,
    ) -> None:
        matrices = grid_matrices(working, native, order="linear", antialias=False)
        z, self._y, self._x = (
            _Axis.of(matrix, n, device) for matrix, n in zip(matrices, native.shape, strict=True)
        )
        self._z = list(zip(z.lower.tolist(), z.upper.tolist(), z.weight.tolist(), strict=True))
        self._aligned = not (self._y.between or self._x.between)
        self._values = np.array(values, dtype=out.dtype)
        self._out = out
        self._mixed = len(values)  # marks cells whose corners disagree
        self._index_type = torch.uint8 if self._mixed < 256 else torch.int32
        self._plane = -1  # index of the last plane pushed
        self._next = 0  # index of the next native plane to fill
        self._previous: Tensor | None = None
        self._previous_cells: Tensor | None = None
        self.border = 0

    @torch.inference_mode()
    def push(self, plane: Tensor) -> None:
        """Take the next plane (K, H, W) and fill the native planes that it completes.

        Planes come in ascending order. The tensor may be overwritten afterwards.

        Raises
        ------
        NonFiniteLogitsError
            If a logit is not finite.
        """
        plane = plane.float()
        self._plane += 1
        best, winner = plane.max(dim=0)
        # The sum is finite only if both terms are: NaN and infinities propagate through it.
        if not bool(torch.isfinite(best.sum() + plane.amin())):
            raise NonFiniteLogitsError(
                "the output of the network is not finite", found=f"plane {self._plane}"
            )
        winner = winner.to(self._index_type)
        self.border += border_voxels(winner[None])
        cells = self._cells(winner)
        while self._next < len(self._z) and self._z[self._next][1] <= self._plane:
            self._out[self._next] = self._values[self._fill(self._next, plane, cells)]
            self._next += 1
        keep = self._next < len(self._z) and self._z[self._next][0] <= self._plane
        self._previous = plane.clone() if keep else None
        self._previous_cells = cells

    def _cells(self, winner: Tensor) -> Tensor:
        """Return the class that wins at all corners of each in-plane cell, at its first corner."""
        for axis, between in enumerate((self._y.between, self._x.between)):
            if between:
                last = winner.narrow(axis, winner.shape[axis] - 1, 1)
                shifted = torch.cat([winner.narrow(axis, 1, winner.shape[axis] - 1), last], axis)
                winner = winner.masked_fill(winner != shifted, self._mixed)
        return winner

    def _fill(self, index: int, plane: Tensor, cells: Tensor) -> NDArray[Any]:
        """Return the classes of a native plane; ``plane`` is the working plane at or above it."""
        lower, upper, weight = self._z[index]
        if lower < self._plane and weight < 1:
            if self._previous is None or self._previous_cells is None:
                raise AssertionError("a plane that is still needed was dropped")
            if weight == 0:
                plane, cells = self._previous, self._previous_cells
            else:
                plane = torch.lerp(self._previous, plane, weight)
                cells = cells.masked_fill(cells != self._previous_cells, self._mixed)
        if self._aligned:
            winner = plane.max(dim=0).indices if lower < upper and 0 < weight < 1 else cells
            return winner.cpu().numpy()
        winner = cells.index_select(0, self._y.lower).index_select(1, self._x.lower)
        flat, winners = plane.reshape(plane.shape[0], -1), winner.view(-1)
        for points in torch.split((winners == self._mixed).nonzero()[:, 0], POINTS_AT_ONCE):
            winners[points] = self._interpolate(flat, points, plane.shape[2])
        return winner.cpu().numpy()

    def _interpolate(self, flat: Tensor, points: Tensor, width: int) -> Tensor:
        """Return the winning class at native in-plane positions, given as flat indices."""
        row = torch.div(points, len(self._x.lower), rounding_mode="floor")
        column = points - row * len(self._x.lower)
        left, right = self._x.lower[column], self._x.upper[column]
        across, down = self._x.weight[column], self._y.weight[row]
        lines = []
        for start in (self._y.lower[row] * width, self._y.upper[row] * width):
            first = flat.index_select(1, start + left)
            lines.append(torch.lerp(first, flat.index_select(1, start + right), across))
        return torch.lerp(lines[0], lines[1], down).max(dim=0).indices.to(self._index_type)


def border_voxels(labels: Tensor) -> int:
    """Count the voxels of a label map (D, H, W) whose next neighbor along y or x differs."""
    border = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        border.narrow(axis, 0, length).logical_or_(
            labels.narrow(axis, 0, length) != labels.narrow(axis, 1, length)
        )
    return int(border.sum())
