"""How far voxels are from strokes, along paths that avoid edges and other intensities.

Geodesic distances as in Criminisi et al., *GeoS: Geodesic Image Segmentation* (ECCV 2008), and as
the input of a network as in Wang et al., *DeepIGeoS* (TPAMI 2019), by the fast marching of ITK.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["geodesic_membership", "membership_of_strokes"]

_STEP_MM = 1.0  # finer images are averaged to about this
_MOST_VOXELS = 80**3  # larger images are averaged to about this: a front takes 1 µs per voxel
_EDGE_MM = 0.7  # standard deviation of the blur that gradients are computed with
_LEAST_VOXELS = 0.6  # the same in voxels, at least: less is no blur
_PER_MM = 0.05  # cost of a mm without an edge
_PER_EDGE = 3.0  # cost of a difference of one standard deviation of the image
_PER_DEVIATION = 0.75  # exponent per standard deviation of the strokes' intensity
_LEAST_DEVIATION = 0.15  # of the strokes' intensity, in standard deviations of the image
_MOST_DEVIATIONS = 6.0
_MOST_SLICES = 4  # of a mask that a user painted, along one axis
_FARTHEST = 200.0  # cost at which a front stops

_Mask = NDArray[np.bool_]
_Array = NDArray[np.float64]


def geodesic_membership(
    image: NDArray[np.floating],
    inside: _Mask,
    outside: _Mask,
    spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Return how much nearer each voxel is to strokes inside a structure than to what is outside.

    Two fronts start, one at the voxels inside, the other at the voxels outside and at the border of
    the image. Both are slow at edges, and the first one also where intensities differ from those
    under its strokes.

    Parameters
    ----------
    image
        (D, H, W), finite; offset and scale make no difference.
    inside, outside
        (D, H, W) strokes; voxels in both are inside.
    spacing_mm
        Spacing (z, y, x) in mm.

    Returns
    -------
    ndarray
        (D, H, W) from 0 to 1: the time at which the front from outside arrives, divided by the sum
        of both times; 1 inside, 0 outside, above 0.5 where the front from inside arrives first. 0
        everywhere without a voxel inside.
    """
    if not inside.any():
        return np.zeros(image.shape, np.float32)
    extent = np.prod(np.multiply(image.shape, spacing_mm))
    coarse_mm = max(_STEP_MM, float(np.cbrt(extent / _MOST_VOXELS)))
    z, y, x = (max(1, round(coarse_mm / step)) for step in spacing_mm)
    blocks = (z, y, x)
    if max(blocks) == 1:
        found = _membership(image.astype(np.float64), inside, outside, np.array(spacing_mm, float))
    else:
        small = _reduced(image.astype(np.float64), blocks, np.mean)
        seeds = [_reduced(mask, blocks, np.max).astype(bool) for mask in (inside, outside)]
        coarse = _membership(small, seeds[0], seeds[1], np.array(spacing_mm, float) * blocks)
        for axis, block in enumerate(blocks):
            coarse = coarse.repeat(block, axis)
        d, h, w = image.shape
        found = coarse[:d, :h, :w].copy()
    found[outside] = 0
    found[inside] = 1
    return found


def membership_of_strokes(
    image: NDArray[np.floating],
    rough: NDArray[np.floating],
    inside: _Mask,
    outside: _Mask,
    spacing_mm: Sequence[float],
) -> NDArray[np.float32] | None:
    """Return the membership of what a user painted; `None` if there is a rough mask instead.

    Parameters
    ----------
    image, inside, outside, spacing_mm
        As in `geodesic_membership`.
    rough
        (D, H, W) from 0 to 1. A mask that contains nothing but strokes, or of a few slices, counts
        as strokes inside: a user painted it.

    Returns
    -------
    ndarray or None
        As in `geodesic_membership`.
    """
    painted = rough > 0.5
    if (painted & ~inside).any() and not _of_few_slices(painted):
        return None
    found = geodesic_membership(image, inside | painted, outside & ~painted, spacing_mm)
    found[outside] = 0
    return found


def _of_few_slices(mask: _Mask) -> bool:
    across = ((1, 2), (0, 2), (0, 1))
    return min(int(mask.any(axis=axes).sum()) for axes in across) <= _MOST_SLICES


def _reduced(array: NDArray[np.generic], blocks: tuple[int, int, int], by: object) -> _Array:
    """Return one value for each block of voxels; the last blocks repeat the border."""
    pad = [(0, -n % block) for n, block in zip(array.shape, blocks, strict=True)]
    padded = np.pad(array, pad, mode="edge")
    d, h, w = (n // block for n, block in zip(padded.shape, blocks, strict=True))
    z, y, x = blocks
    split = padded.reshape(d, z, h, y, w, x)
    reduced: _Array = by(split, axis=(1, 3, 5))  # type: ignore[operator]
    return reduced


def _membership(image: _Array, inside: _Mask, outside: _Mask, steps: _Array) -> NDArray[np.float32]:
    scale = max(float(image.std()), 1e-12)
    image = (image - image.mean()) / scale
    speed = 1 / (_PER_MM + _PER_EDGE * _gradient(image, steps))
    deviation = max(float(image[inside].std()), _LEAST_DEVIATION)
    away = np.minimum(np.abs(image - image[inside].mean()) / deviation, _MOST_DEVIATIONS)
    outside = outside.copy()
    for axis in range(3):
        np.moveaxis(outside, axis, 0)[[0, -1]] = True
    own = _arrival(speed * np.exp(-_PER_DEVIATION * away), inside, steps)
    other = _arrival(speed, outside & ~inside, steps)
    found: NDArray[np.float32] = (other / np.maximum(own + other, 1e-12)).astype(np.float32)
    return found


def _gradient(image: _Array, steps: _Array) -> _Array:
    """Return the norm of the gradient per mm."""
    sigma = np.maximum(_EDGE_MM / steps, _LEAST_VOXELS)
    squares = np.zeros_like(image)
    for axis in range(3):
        order = [int(axis == i) for i in range(3)]
        squares += (ndimage.gaussian_filter(image, sigma, order=order) / steps[axis]) ** 2
    return np.sqrt(squares)


def _arrival(speed: _Array, seeds: _Mask, steps: _Array) -> _Array:
    """Return the time at which a front from the seeds arrives, at most `_FARTHEST`."""
    # Most users of this package do not need it, and it takes long to import.
    from SimpleITK import FastMarchingImageFilter, GetArrayFromImage, GetImageFromArray

    field = GetImageFromArray(speed.astype(np.float32))
    z, y, x = (float(step) for step in steps)
    field.SetSpacing((x, y, z))
    march = FastMarchingImageFilter()
    march.SetTrialPoints([(int(c), int(b), int(a)) for a, b, c in np.argwhere(seeds)])
    march.SetStoppingValue(_FARTHEST)
    return np.minimum(GetArrayFromImage(march.Execute(field)).astype(np.float64), _FARTHEST)
