"""Rotations of a random sample about its center."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rotation_matrix(angles_rad: Sequence[float]) -> NDArray[np.float64]:
    """Return the product of rotations in the planes of axes (1, 2), (0, 2) and (0, 1).

    Equal to scipy's ``Rotation.from_euler("XYZ", (a, -b, c)).as_matrix()`` up to rounding. It is
    computed from sines and cosines because scipy's way through quaternions rounds differently, and
    a resumed run must get the same samples as before, bit for bit.

    Parameters
    ----------
    angles_rad
        The three angles (a, b, c).
    """
    matrix = np.eye(3)
    for (first, second), angle in zip(((1, 2), (0, 2), (0, 1)), angles_rad, strict=True):
        rotation = np.eye(3)
        rotation[first, first] = rotation[second, second] = np.cos(angle)
        rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    return matrix
