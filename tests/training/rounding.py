"""Bounds of rounding errors in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

EPS = float(np.finfo(np.float32).eps)


def rounding_bound(values: ArrayLike, roundings: int) -> float:
    """Return the largest error of a result after a number of roundings.

    Each rounding of an intermediate result that is at most as large as `values` has an error of up
    to half of `EPS`, relative to it; the bound allows for twice that.
    """
    return roundings * EPS * float(np.abs(np.asarray(values)).max())
