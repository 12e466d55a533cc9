"""Probabilities of all classes on the native grid, and their sum over members."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.inference.margin import NativeValues

_SCALE = 4095  # of a probability of 1, as an integer
MOST_MEMBERS = np.iinfo(np.uint16).max // _SCALE
_BYTES = 2


class NativeProbabilities(NativeValues):
    """Fills the native grid with the interpolated probabilities of all classes, as integers."""

    def values_of(self, plane: Tensor) -> Tensor:
        """Return the probabilities (K, H, W)."""
        return plane.softmax(dim=0)

    def classes_of(self, values: Tensor) -> Tensor:
        """Return the most probable class."""
        return values.max(dim=0).indices

    def stored(self, values: Tensor) -> NDArray[Any]:
        """Return probabilities as integers: their sum does not depend on the order of members."""
        return (values * _SCALE + 0.5).numpy().astype(np.uint16)


class Mean:
    """The mean probabilities of members, which are added one by one.

    Members are kept apart until they are complete: one that fails starts again.

    Parameters
    ----------
    n_classes
        Number of classes.
    shape
        Shape of the native grid, canonical order.
    """

    def __init__(self, n_classes: int, shape: Sequence[int]) -> None:
        self.member: NDArray[np.uint16] = np.zeros((n_classes, *shape), np.uint16)
        """What a member fills."""
        self._sum = np.zeros_like(self.member)
        self._count = 0

    def add(self, classes: Sequence[int] | None = None) -> None:
        """Add the member that was filled.

        Parameters
        ----------
        classes
            For a mirrored member: the class that takes the place of each class; see
            `mirrored_classes`. `None`: not mirrored.
        """
        if self._count == MOST_MEMBERS:
            raise ValueError(f"at most {MOST_MEMBERS} members can be added")
        for index, total in enumerate(self._sum):
            if classes is None:
                total += self.member[index]
            else:
                total += self.member[classes[index], :, :, ::-1]
        self._count += 1

    def write(
        self, values: Sequence[int], labels: NDArray[Any], doubt: NDArray[Any] | None
    ) -> None:
        """Write the most probable label of each voxel, and optionally how uncertain it is.

        Parameters
        ----------
        values
            Label value of each class.
        labels, doubt
            Arrays of the native grid's shape to fill. The uncertainty is 1 minus the mean
            probability of the label: 0 where all members are sure of it.
        """
        table = np.array(values, labels.dtype)
        whole = _SCALE * self._count
        for plane in range(self._sum.shape[1]):
            sums = self._sum[:, plane]
            winner = sums.argmax(axis=0)
            labels[plane] = table[winner]
            if doubt is not None:
                most = np.take_along_axis(sums, winner[None], axis=0)[0]
                doubt[plane] = np.clip(1 - most.astype(np.float32) / whole, 0, 1)


def mean_bytes(n_classes: int, shape: Sequence[int]) -> int:
    """Return the bytes that `Mean` holds."""
    return 2 * _BYTES * n_classes * math.prod(shape)
