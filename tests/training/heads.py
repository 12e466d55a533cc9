"""A small head: nested ellipsoids with left and right sides, not stored in canonical order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume

SPACING = (1.0, 1.25, 1.0)  # canonical


def head_array(shape: tuple[int, int, int] = (37, 30, 33), seed: int = 0) -> NDArray[np.int16]:
    """Ids in canonical order (z, y, x): x points to the left, so the right side comes first."""
    rng = np.random.default_rng(seed)
    middle = (np.array(shape) - 1) / 2 + rng.uniform(-0.7, 0.7, 3)
    z, y, x = np.indices(shape).astype(float)
    u, v, w = ((axis - c) / n for axis, c, n in zip((z, y, x), middle, shape, strict=True))
    radius = np.sqrt(u**2 + v**2 + w**2) * 2
    left = w > 0
    labels = np.zeros(shape, np.int16)
    for limit, (one, other) in (
        (0.92, (511, 511)),
        (0.82, (515, 515)),
        (0.74, (24, 24)),
        (0.66, (3, 42)),
        (0.5, (2, 41)),
    ):
        labels[radius < limit] = np.where(left, one, other)[radius < limit]
    for center, size, (one, other) in (
        (0.12, 0.09, (10, 49)),
        (0.28, 0.06, (13, 52)),
    ):
        for sign, value in ((1, one), (-1, other)):
            ball = u**2 + v**2 + (w / 2 - sign * center / 2) ** 2 < size**2
            labels[ball] = value
    labels[(np.abs(w) < 0.05) & (radius < 0.3)] = 14
    return labels


def volume(labels: NDArray[np.int16], spacing: tuple[float, ...] = SPACING) -> Volume:
    """The map as stored in a file, in LIA order."""
    canonical = Volume(labels, Grid.from_spacing(labels.shape, spacing))
    # Canonical axes point to I, P, L; those of LIA to L, I, A.
    array = np.ascontiguousarray(labels.transpose(2, 0, 1)[:, :, ::-1])
    affine = np.eye(4)
    old = canonical.grid.affine
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = old[:3, 2], old[:3, 0], -old[:3, 1]
    affine[:3, 3] = canonical.grid.index_to_mm((0, labels.shape[1] - 1, 0))
    stored = Volume(array, Grid(array.shape, affine))
    assert stored.grid.axcodes == "LIA"
    return stored
