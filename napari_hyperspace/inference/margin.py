"""From logits of two classes on the working grid to their margin on the native grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import AxisMatrix, grid_matrices, resample_axes
from napari_hyperspace.inference.argmax import NonFiniteLogitsError, border_voxels


class NativeMargin:
    """Fills the native grid with the interpolated margin: logit of class 1 minus that of class 0.

    Where it is positive, `NativeArgmax` assigns class 1. Margins of several structures, segmented
    one by one, decide between them where they overlap.

    Parameters
    ----------
    working, native
        Grids in canonical order, with the same axes.
    values
        Label values of the two classes; not used.
    out
        Float32 array of the native grid's shape to fill, with any strides.
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
        if len(values) != 2:
            raise ValueError(f"a margin is defined between two classes; found {len(values)}")
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

    @torch.inference_mode()
    def push(self, plane: Tensor) -> None:
        """Take the next plane (2, H, W) and fill the native planes that it completes.

        Raises
        ------
        NonFiniteLogitsError
            If a logit is not finite.
        """
        self._plane += 1
        margin = plane[1].float() - plane[0].float()
        if not bool(torch.isfinite(margin.sum())):
            raise NonFiniteLogitsError(
                "the output of the network is not finite", found=f"plane {self._plane}"
            )
        self.border += border_voxels((margin > 0)[None])
        self._planes[self._plane] = resample_axes(margin.cpu(), self._in_plane)
        while self._next < len(self._z) and max(self._z[self._next][0]) <= self._plane:
            taps, weights = self._z[self._next]
            filled = sum(
                (self._planes[tap] * weight for tap, weight in zip(taps, weights, strict=True)),
                torch.zeros(()),
            )
            self._out[self._next] = filled.numpy()
            self._next += 1
        needed = min(self._z[self._next][0]) if self._next < len(self._z) else self._plane + 1
        self._planes = {at: kept for at, kept in self._planes.items() if at >= needed}
