"""Signed distances to the surface of each class, the targets of distance regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from napari_hyperspace.inference.guidance import signed_distance
from training.data.labels import OUTSIDE

__all__ = ["distance_targets", "margin_voxels", "signed_distance"]


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
