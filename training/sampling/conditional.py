"""Samples of class-conditional training: one structure, and imperfect hints where it is.

After Hu et al., *Scalable Segmentation for Ultra-High-Resolution Brain MR Images* (HighSeg, 2025),
section 3.3: the network sees the image and the low-resolution mask of one class. Here the mask can
also be a few painted slices, or missing, and strokes say which voxels are inside and outside. All
hints are perturbed, so that the network goes by the image where they are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_hyperspace.api.corrections.refine import CONTEXT_MM
from napari_hyperspace.core.geodesic import membership_of_strokes
from napari_hyperspace.core.separable import axis_matrix, resample_axes
from training.config.head import ClassConditionalHead
from training.data.labels import OUTSIDE
from training.sampling.hints import Mask, sample_hints

_LEAST_VOXELS = 8  # of a structure in a sample


def conditional_sample(
    rng: np.random.Generator,
    image: Tensor,
    labels: Tensor,
    spacing_mm: Sequence[float],
    config: ClassConditionalHead,
    held_out: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Return a sample of one structure.

    Parameters
    ----------
    rng
        Random generator of the sample.
    image
        (C, D, H, W) float32.
    labels
        (D, H, W) int16; 0 is the background, `OUTSIDE` where the label is unknown.
    spacing_mm
        Working spacing (z, y, x).
    config
        Ranges of the random parameters.
    held_out
        Labels that are not chosen.

    Returns
    -------
    tuple of Tensor
        Image with the hints (C + `HINTS`, D', H', W') float32, the image with mean 0 and standard
        deviation 1, and labels (D', H', W') int16: 1 in the structure, 0 elsewhere, `OUTSIDE` where
        unknown. The size is at most `ClassConditionalHead.crop_voxels`.
    """
    steps = np.array(spacing_mm, float)
    array = labels.numpy()
    structure = None
    if rng.random() < config.blob_probability:
        structure = _blob(rng, array.shape, steps, config)
        image = _painted(rng, image, structure)
    if structure is None:
        structure = _structure(rng, array, config, held_out)
    hints = sample_hints(rng, structure, spacing_mm, config)
    _fill_mask(hints, image, steps)
    a, b, c = _crop(rng, hints, config.crop_voxels)
    target = torch.from_numpy(structure.astype(np.int16)).masked_fill(labels == OUTSIDE, OUTSIDE)
    shown = torch.cat([standardized(image[:, a, b, c]), torch.from_numpy(hints[:, a, b, c])])
    return shown, target[a, b, c].contiguous()


def _fill_mask(hints: NDArray[np.float32], image: Tensor, steps: NDArray[np.float64]) -> None:
    """Put the mask that `refine` makes of strokes where there is no other, in place."""
    where = np.argwhere((hints > 0.5).any(axis=0))
    if not len(where):
        return
    reach = CONTEXT_MM / steps
    low = np.floor(where.min(axis=0) - reach).astype(int).clip(0)
    high = np.minimum(np.ceil(where.max(axis=0) + 1 + reach).astype(int), hints.shape[1:])
    a, b, c = (slice(start, stop) for start, stop in zip(low, high, strict=True))
    rough, inside, outside = hints[:, a, b, c]
    part = image[0, a, b, c].numpy()
    member = membership_of_strokes(part, rough, inside > 0.5, outside > 0.5, steps.tolist())
    if member is not None:
        hints[0, a, b, c] = member > 0.5


def _crop(
    rng: np.random.Generator, hints: NDArray[np.float32], size: int
) -> tuple[slice, slice, slice]:
    """Return a part of a sample around its hints, or around one of their voxels."""
    where = np.argwhere((hints[:2] > 0.5).any(axis=0))
    if not len(where):
        where = np.array(hints.shape[1:])[None] // 2
    if rng.random() < 0.7:
        middle = (where.min(axis=0) + where.max(axis=0)) / 2
    else:
        middle = where[rng.integers(len(where))].astype(float)
    middle += rng.normal(0, size / 12, 3)
    edges = np.minimum(hints.shape[1:], size)
    starts = np.clip(np.round(middle - edges / 2).astype(int), 0, hints.shape[1:] - edges)
    a, b, c = (slice(int(n), int(n + m)) for n, m in zip(starts, edges, strict=True))
    return a, b, c


def standardized(image: Tensor) -> Tensor:
    """Return each channel with mean 0 and standard deviation 1, as the box of a scan is."""
    flat = image.flatten(1)
    mean, deviation = flat.mean(dim=1), flat.std(dim=1, correction=0).clamp(min=1e-6)
    shape = (-1, *[1] * (image.ndim - 1))
    return (image - mean.view(shape)) / deviation.view(shape)


def _structure(
    rng: np.random.Generator,
    labels: NDArray[np.int16],
    config: ClassConditionalHead,
    held_out: Sequence[int],
) -> Mask:
    """Return the voxels of a random label, or of two that touch; none if there is no label."""
    values, counts = np.unique(labels, return_counts=True)
    usable = (values > 0) & (counts >= _LEAST_VOXELS) & ~np.isin(values, list(held_out))
    if not usable.any():
        return np.zeros(labels.shape, bool)
    chosen: Mask = labels == rng.choice(values[usable])
    if rng.random() < config.group_probability:
        around = labels[ndimage.binary_dilation(chosen, iterations=2) & ~chosen]
        others = np.intersect1d(around, values[usable])
        if len(others):
            chosen |= labels == rng.choice(others)
    return chosen


def _blob(
    rng: np.random.Generator,
    shape: Sequence[int],
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> Mask:
    """Return a random structure: an ellipsoid with an uneven surface."""
    extent = steps * shape
    low, high = np.log(config.blob_mm)
    radii = np.minimum(np.exp(rng.uniform(low, high)) * rng.uniform(0.6, 1.5, 3), extent / 3)
    center = extent * rng.uniform(0.25, 0.75, 3)
    z, y, x = ((np.arange(n) + 0.5) * step for n, step in zip(shape, steps, strict=True))
    parts = [((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), center, radii, strict=True)]
    distance = np.sqrt(parts[0][:, None, None] + parts[1][:, None] + parts[2])
    unevenness = _smooth_noise(rng, shape, steps, float(radii.mean()))
    blob: Mask = distance + 0.3 * unevenness < 1
    if not blob.any():
        blob[tuple(np.minimum((center / steps).astype(int), np.array(shape) - 1))] = True
    return blob


def _smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], steps: NDArray[np.float64], scale_mm: float
) -> NDArray[np.float32]:
    """Return noise that varies over a scale in mm, with values of about -1 to 1."""
    points = [max(2, math.ceil(n * s / scale_mm) + 1) for n, s in zip(shape, steps, strict=True)]
    control = torch.from_numpy(rng.normal(size=points).astype(np.float32))
    matrices = [
        axis_matrix(n, size, (n - 1) / max(size - 1, 1), 0, order="cubic", antialias=False)
        for n, size in zip(points, shape, strict=True)
    ]
    return resample_axes(control, matrices).numpy()


def _painted(rng: np.random.Generator, image: Tensor, blob: Mask) -> Tensor:
    """Return an image with a structure of another intensity."""
    inside = torch.from_numpy(blob)
    image = image.clone()
    for channel in image:
        deviation = float(channel.std(correction=0))
        mean = float(channel[inside].mean())
        contrast = rng.uniform(0.4, 2.0) * rng.choice([-1.0, 1.0]) * deviation
        texture = rng.uniform(0.1, 1.0)  # of what was there
        channel[inside] = (channel[inside] - mean) * texture + mean + contrast
    return image
