"""Values of the voxels of a scan: checks before it is segmented, and how it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHOWN_PERCENT = (0.2, 99.8)  # percentiles that are shown black and white
_SAMPLED_VOXELS = 250_000


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


def contrast_limits(array: NDArray[Any]) -> tuple[float, float] | None:
    """Return the values that are shown black and white: a few outliers do not darken a scan.

    Parameters
    ----------
    array
        (D, H, W). Of a large one some voxels are read; of a lazy one, such as dask's, some planes.

    Returns
    -------
    tuple of float or None
        `None` if most voxels have the same value, as in a mask: then there are no outliers.
    """
    values = _sample(array)
    if not values.size:
        return None
    low, high = np.percentile(values, _SHOWN_PERCENT).tolist()
    return (low, high) if low < high else None


def value_range(array: NDArray[Any]) -> tuple[float, float] | None:
    """Return the least and the largest value of the voxels that `contrast_limits` reads."""
    values = _sample(array)
    return (float(values.min()), float(values.max())) if values.size else None


def _sample(array: Any) -> NDArray[Any]:
    """Return some finite values of an image."""
    if not isinstance(array, np.ndarray):  # reading every second voxel would read all chunks
        planes = sorted({len(array) * part // 4 for part in (1, 2, 3)})
        array = np.stack([np.asarray(array[plane]) for plane in planes])
    step = max(round((array.size / _SAMPLED_VOXELS) ** (1 / 3)), 1)
    values: NDArray[Any] = array[::step, ::step, ::step]
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
