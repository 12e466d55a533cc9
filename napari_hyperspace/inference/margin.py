"""From logits on the working grid to interpolated values on the native grid, plane by plane."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import AxisMatrix, grid_matrices, resample_axes
from napari_hyperspace.inference.argmax import NonFiniteLogitsError, border_voxels


class NativeValues(ABC):
    """Fills the native grid with linearly interpolated values that are made from the logits.

    Parameters
    ----------
    working, native
        Grids in canonical order, with the same axes.
    values
        Label value of each class; only their number is used.
    out
        Array to fill, with any strides: of the native grid's shape, after one axis of values if
        there are several per voxel.
    device
        Device of the planes.

    Attributes
    ----------
    border
        As in `NativeArgmax`.
    """

    def __init__(
        self,
        working: Grid,
        native: Grid,
        values: Sequence[int],
        out: NDArray[Any],
        device: torch.device,
    ) -> None:
        z, *self._in_plane = grid_matrices(working, native, order="linear", antialias=False)
        if z is None:
            index = torch.arange(native.shape[0])[:, None]
            z = AxisMatrix(index, torch.ones(index.shape), native.shape[0])
        self._z = list(zip(z.indices.tolist(), z.weights.tolist(), strict=True))
        self._out = out
        self._planes: dict[int, Tensor] = {}  # of the working grid, resampled in the plane
        self._plane = -1
        self._next = 0
        self.border = 0

    @abstractmethod
    def values_of(self, plane: Tensor) -> Tensor:
        """Return the values (…, H, W) of a plane of logits (K, H, W), float32."""

    @abstractmethod
    def classes_of(self, values: Tensor) -> Tensor:
        """Return what is counted at borders (H, W): the class that the values decide for."""

    def stored(self, values: Tensor) -> NDArray[Any]:
        """Return interpolated values as they are stored."""
        return values.numpy()

    @torch.inference_mode()
    def push(self, plane: Tensor) -> None:
        """Take the next plane (K, H, W) and fill the native planes that it completes.

        Raises
        ------
        NonFiniteLogitsError
            If a logit is not finite.
        """
        self._plane += 1
        values = self.values_of(plane.float())
        if not bool(torch.isfinite(values.sum())):
            raise NonFiniteLogitsError(
                "the output of the network is not finite", found=f"plane {self._plane}"
            )
        self.border += border_voxels(self.classes_of(values)[None])
        self._planes[self._plane] = resample_axes(values.cpu(), self._in_plane)
        while self._next < len(self._z) and max(self._z[self._next][0]) <= self._plane:
            taps, weights = self._z[self._next]
            filled = sum(
                (self._planes[tap] * weight for tap, weight in zip(taps, weights, strict=True)),
                torch.zeros(()),
            )
            self._out[..., self._next, :, :] = self.stored(filled)
            self._next += 1
        needed = min(self._z[self._next][0]) if self._next < len(self._z) else self._plane + 1
        self._planes = {at: kept for at, kept in self._planes.items() if at >= needed}


class NativeMargin(NativeValues):
    """Fills the native grid with the interpolated margin: logit of class 1 minus that of class 0.

    Where it is positive, `NativeArgmax` assigns class 1. Margins of several structures, segmented
    one by one, decide between them where they overlap.
    """

    def __init__(
        self,
        working: Grid,
        native: Grid,
        values: Sequence[int],
        out: NDArray[Any],
        device: torch.device,
    ) -> None:
        if len(values) != 2:
            raise ValueError(f"a margin is defined between two classes; found {len(values)}")
        super().__init__(working, native, values, out, device)

    def values_of(self, plane: Tensor) -> Tensor:
        """Return the margin (H, W)."""
        return plane[1] - plane[0]

    def classes_of(self, values: Tensor) -> Tensor:
        """Return whether the margin is positive."""
        return values > 0
