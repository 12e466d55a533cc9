"""Put a new answer into a part of a label map, without a visible cut at the border of the part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.inference.localize import Box

BAND_MM = 6.0
"""Width of the band inside a box in which the answer gradually replaces what was there."""

_MOST_OF_A_SIDE = 0.25  # that the band may take at each end


def border_weights(
    box: Box, shape: Sequence[int], spacing_mm: Sequence[float], band_mm: float = BAND_MM
) -> NDArray[np.float32]:
    """Return the weight of the answer in each voxel of a box: 1 inside, towards 0 at its faces.

    A face that is the end of the scan needs no band: there is nothing beyond it.

    Parameters
    ----------
    box
        In a scan of this shape.
    shape, spacing_mm
        Of the scan, in array order.
    band_mm
        Where the weight rises from 0 to 1; at most a quarter of the box at each end.
    """
    weights = np.ones([each.stop - each.start for each in box], np.float32)
    for axis, (each, n, step) in enumerate(zip(box, shape, spacing_mm, strict=True)):
        size = each.stop - each.start
        band = min(band_mm, _MOST_OF_A_SIDE * size * step)
        depth = (np.arange(size) + 0.5) * step
        ramp = np.ones(size)
        if band > 0 and each.start > 0:
            ramp *= _smooth_step(depth / band)
        if band > 0 and each.stop < n:
            ramp *= _smooth_step(depth[::-1] / band)
        weights *= ramp.reshape([-1 if i == axis else 1 for i in range(3)]).astype(np.float32)
    return weights


def merge_labels(
    present: NDArray[np.integer],
    answer: NDArray[np.integer],
    weights: NDArray[np.float32],
    spacing_mm: Sequence[float],
) -> NDArray[np.integer]:
    """Blend two label maps of a box.

    Where both agree nothing changes. Elsewhere the one of the two labels with the larger weighted
    mean of its signed distances in both maps wins, so that a surface moves continuously from where
    it was, at weight 0, to where the answer has it, at weight 1.

    Parameters
    ----------
    present, answer
        Label values, of one shape.
    weights
        Of the answer, 0 to 1.
    spacing_mm
        In array order.
    """
    merged = np.where(weights >= 1, answer, present)
    between = (weights > 0) & (weights < 1) & (present != answer)
    if not between.any():
        return merged
    share = weights[between].astype(np.float64)
    before, after = present[between], answer[between]
    former, latter = (np.zeros(share.shape) for _ in range(2))
    for value in np.union1d(before, after):
        new = _signed_distance(answer == value, spacing_mm)[between]
        old = _signed_distance(present == value, spacing_mm)[between]
        score = share * new + (1 - share) * old
        former[before == value] = score[before == value]
        latter[after == value] = score[after == value]
    merged[between] = np.where(latter > former, after, before)
    return merged


def _smooth_step(fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip(fraction, 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _signed_distance(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance in mm to the surface of a mask, positive inside.

    In a box without a surface it is the diagonal of the box.
    """
    if mask.all() or not mask.any():
        far = float(np.linalg.norm(np.array(mask.shape) * spacing_mm))
        return np.full(mask.shape, far if mask.all() else -far)
    half = min(spacing_mm) / 2  # from the center of a voxel to the surface, at least
    inside: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return np.where(mask, inside - half, half - outside)
