"""Signed distances to the surface of each class, the targets of distance regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from training.data.labels import OUTSIDE


def signed_distance(
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the signed distance in mm to the surface of a mask, negative inside.

    The distance of a voxel is that to the nearest voxel center on the other side of the surface,
    minus half a voxel: half the length, in this direction, of the ellipsoid whose axes are the
    spacing. So the zero level lies half-way between neighbors on both sides, and the gradient
    across the surface is 1 at any spacing.

    Parameters
    ----------
    mask
        (D, H, W).
    spacing_mm
        Spacing of the grid, in array order.
    known
        (D, H, W) voxels whose side is known; the others are on neither side. `None`: all.

    Returns
    -------
    ndarray
        (D, H, W); infinite, with its sign, if there is nothing on the other side.
    """
    distance = np.full(mask.shape, np.inf)
    rest = ~mask if known is None else known & ~mask
    for part, other in ((mask, rest), (~mask, mask)):
        if part.any() and other.any():
            nearest = ndimage.distance_transform_edt(
                ~other, sampling=spacing_mm, return_distances=False, return_indices=True
            )
            voxels = (nearest - np.indices(mask.shape))[:, part].astype(float)
            mm = voxels * np.array(spacing_mm)[:, None]
            length, steps = (np.sqrt((each**2).sum(axis=0)) for each in (mm, voxels))
            distance[part] = length * (1 - 0.5 / steps)
    return np.where(mask, -distance, distance)


def distance_targets(
    labels: Tensor,
    spacing_mm: Sequence[float],
    classes: int,
    clip_mm: float,
    margin: Sequence[int] = (0, 0, 0),
) -> Tensor:
    """Return the clipped distance to each class, exact also at the border of a crop.

    Parameters
    ----------
    labels
        (D, H, W) integer, `OUTSIDE` where the label is unknown, with a margin around the crop that
        the targets are for. Distances are exact if it is at least the clipping distance wide.
    spacing_mm
        Spacing of the grid (z, y, x).
    classes
        Number K of classes, background included.
    clip_mm
        Largest distance.
    margin
        Width of the margin in voxels, on each side.

    Returns
    -------
    Tensor
        (K, *crop) float32 in mm, NaN where the label is unknown.
    """
    array = labels.numpy()
    crop = tuple(slice(m, n - m) for m, n in zip(margin, array.shape, strict=True))
    known = array != OUTSIDE
    targets = np.stack(
        [
            signed_distance(array == k, spacing_mm, known)[crop].clip(-clip_mm, clip_mm)
            for k in range(classes)
        ]
    )
    targets[:, ~known[crop]] = np.nan
    return torch.from_numpy(targets.astype(np.float32))


def margin_voxels(spacing_mm: Sequence[float], clip_mm: float) -> tuple[int, int, int]:
    """Return the width in voxels of a margin of at least the clipping distance."""
    # The nearest voxel center may be half a voxel further away than the surface.
    z, y, x = (int(np.ceil(clip_mm / step + 0.5)) for step in spacing_mm)
    return z, y, x
