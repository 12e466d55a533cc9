"""Checks of the voxels of a scan before it is segmented."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def count_not_finite(array: NDArray[Any]) -> int:
    """Return how many values are NaN or infinite."""
    # A sum is finite only if all values are, and needs no temporary array.
    if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
        return 0
    return array.size - int(np.count_nonzero(np.isfinite(array)))


def filled(array: NDArray[Any], fill: float) -> NDArray[Any]:
    """Return an array with another value for those that are not finite, as `read` does."""
    if not count_not_finite(array):
        return array
    return np.where(np.isfinite(array), array, np.asarray(fill, array.dtype))


def is_constant(array: NDArray[Any]) -> bool:
    """Whether all values are equal."""
    return bool((array == array.flat[0]).all()) if array.size else True
