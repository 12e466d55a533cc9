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

from napari_hyperspace.core.separable import axis_matrix, resample_axes
from training.config.head import ClassConditionalHead
from training.data.labels import OUTSIDE

HINTS = 3
"""Channels after the image: rough mask, voxels inside, voxels outside; see `ModelCard.head`."""

_Mask = NDArray[np.bool_]
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
        Image with the hints (C + `HINTS`, D, H, W) float32, the image with mean 0 and standard
        deviation 1, and labels (D, H, W) int16: 1 in the structure, 0 elsewhere, `OUTSIDE` where
        unknown.
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
    target = torch.from_numpy(structure.astype(np.int16)).masked_fill(labels == OUTSIDE, OUTSIDE)
    return torch.cat([standardized(image), torch.from_numpy(hints)]), target


def standardized(image: Tensor) -> Tensor:
    """Return each channel with mean 0 and standard deviation 1, as the box of a scan is."""
    flat = image.flatten(1)
    mean, deviation = flat.mean(dim=1), flat.std(dim=1, correction=0).clamp(min=1e-6)
    shape = (-1, *[1] * (image.ndim - 1))
    return (image - mean.view(shape)) / deviation.view(shape)


def sample_hints(
    rng: np.random.Generator,
    structure: _Mask,
    spacing_mm: Sequence[float],
    config: ClassConditionalHead,
) -> NDArray[np.float32]:
    """Return the hints for a structure (D, H, W): (`HINTS`, D, H, W) from 0 to 1."""
    steps = np.array(spacing_mm, float)
    hints = np.zeros((HINTS, *structure.shape), np.float32)
    if not structure.any():
        return hints
    kind = rng.choice(["coarse", "smooth", "slices", "none"], p=[0.3, 0.2, 0.2, 0.3])
    if kind == "coarse":
        hints[0] = _coarse(rng, structure, steps, config)
    elif kind == "smooth":
        hints[0] = _smooth(rng, structure, steps, config)
    elif kind == "slices":
        hints[0] = _slices(rng, _smooth(rng, structure, steps, config), structure)
    if kind != "none" and rng.random() < config.defect_probability:
        _damage(rng, hints[0], structure, steps, config)
    rough = hints[0] > 0.5
    if not rough.any() or rng.random() < config.stroke_probability:
        hints[1] = _strokes(rng, structure & ~rough, structure, structure, steps, config)
        if rough.any() or rng.random() < 0.5:
            wrong = rough & ~structure
            near = ndimage.binary_dilation(structure, iterations=3) & ~structure
            hints[2] = _strokes(rng, wrong, near, ~structure, steps, config)
    return hints


def _structure(
    rng: np.random.Generator,
    labels: NDArray[np.int16],
    config: ClassConditionalHead,
    held_out: Sequence[int],
) -> _Mask:
    """Return the voxels of a random label, or of two that touch; none if there is no label."""
    values, counts = np.unique(labels, return_counts=True)
    usable = (values > 0) & (counts >= _LEAST_VOXELS) & ~np.isin(values, list(held_out))
    if not usable.any():
        return np.zeros(labels.shape, bool)
    chosen: _Mask = labels == rng.choice(values[usable])
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
) -> _Mask:
    """Return a random structure: an ellipsoid with an uneven surface."""
    extent = steps * shape
    low, high = np.log(config.blob_mm)
    radii = np.minimum(np.exp(rng.uniform(low, high)) * rng.uniform(0.6, 1.5, 3), extent / 3)
    center = extent * rng.uniform(0.25, 0.75, 3)
    z, y, x = ((np.arange(n) + 0.5) * step for n, step in zip(shape, steps, strict=True))
    parts = [((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), center, radii, strict=True)]
    distance = np.sqrt(parts[0][:, None, None] + parts[1][:, None] + parts[2])
    unevenness = _smooth_noise(rng, shape, steps, float(radii.mean()))
    blob: _Mask = distance + 0.3 * unevenness < 1
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


def _painted(rng: np.random.Generator, image: Tensor, blob: _Mask) -> Tensor:
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


def _coarse(
    rng: np.random.Generator,
    structure: _Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> NDArray[np.float32]:
    """Return the mask of a coarse grid, displaced, interpolated to the sample's."""
    low, high = np.log(config.coarse_mm)
    coarse = np.exp(rng.uniform(low, high, 3 if rng.random() < 0.3 else 1)) * np.ones(3)
    if rng.random() < 0.3:  # thick slices
        thick = rng.integers(3)
        coarse = np.where(np.arange(3) == thick, coarse, steps)
    coarse = np.maximum(coarse, steps)
    shift = rng.normal(0, config.shift_mm, 3) if config.shift_mm else np.zeros(3)
    down, up = [], []
    for n, step, new, moved in zip(structure.shape, steps, coarse, shift, strict=True):
        factor, phase = new / step, rng.uniform(0, 1)
        m = math.ceil(n / factor) + 1
        start = (phase - 1) * (factor - 1) / 2
        down.append(axis_matrix(n, m, factor, start, order="overlap", extend=False))
        up.append(axis_matrix(m, n, 1 / factor, (moved / step - start) / factor, extend=False))
    share = resample_axes(torch.from_numpy(structure.astype(np.float32)), down)
    mask = (share > rng.uniform(0.25, 0.6)).float()
    return resample_axes(mask, up).numpy()


def _smooth(
    rng: np.random.Generator,
    structure: _Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> NDArray[np.float32]:
    """Return the mask eroded or dilated, with its corners rounded."""
    sigma = rng.uniform(*config.smoothing_mm) / steps
    blurred = ndimage.gaussian_filter(structure.astype(np.float32), sigma, truncate=3)
    mask = blurred > rng.uniform(0.25, 0.75)
    return (mask if mask.any() else structure).astype(np.float32)


def _slices(
    rng: np.random.Generator, mask: NDArray[np.float32], structure: _Mask
) -> NDArray[np.float32]:
    """Keep one to four slices of a mask along one axis."""
    axis = int(rng.integers(3))
    shown = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
    count = min(len(shown), int(rng.integers(1, 5)))
    kept = rng.choice(shown, count, replace=False) if count else shown
    selected = np.zeros(structure.shape[axis], bool)
    selected[kept] = True
    return mask * selected.reshape([-1 if i == axis else 1 for i in range(3)])


def _damage(
    rng: np.random.Generator,
    mask: NDArray[np.float32],
    structure: _Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> None:
    """Remove a part of a mask, or add one, in place."""
    radius = float(rng.uniform(0.5, 1.5)) * config.brush_mm[1]
    if rng.random() < 0.5:
        mask[_ball(_any_voxel(rng, structure), structure.shape, steps, radius)] = 0
        return
    near = ndimage.binary_dilation(structure, iterations=4) & ~structure
    if near.any():
        mask[_ball(_any_voxel(rng, near), structure.shape, steps, radius)] = 1


def _strokes(
    rng: np.random.Generator,
    errors: _Mask,
    anywhere: _Mask,
    allowed: _Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> _Mask:
    """Return random strokes of a brush, each in one slice.

    Parameters
    ----------
    rng, steps, config
        As in `sample_hints`.
    errors, anywhere
        Where most strokes begin, if there is anything; and where the others do.
    allowed
        Where strokes may be.
    """
    painted = np.zeros(allowed.shape, bool)
    for _ in range(int(rng.integers(1, config.max_strokes + 1))):
        begin = errors if errors.any() and rng.random() < 0.8 else anywhere
        if not begin.any():
            break
        start = _any_voxel(rng, begin)
        axis = int(rng.integers(3))
        plane = [slice(None)] * 3
        plane[axis] = slice(start[axis], start[axis] + 1)
        section = tuple(plane)
        where = np.argwhere(begin[section])
        where[:, axis] = start[axis]
        near = where[np.linalg.norm((where - start) * steps, axis=1) <= config.stroke_mm]
        end = near[rng.integers(len(near))]
        radius = rng.uniform(*config.brush_mm) / 2
        painted[section] |= _capsule(start, end, section, allowed.shape, steps, radius)
    painted &= allowed
    return painted


def _capsule(
    start: NDArray[np.int_],
    end: NDArray[np.int_],
    section: tuple[slice, ...],
    shape: Sequence[int],
    steps: NDArray[np.float64],
    radius_mm: float,
) -> _Mask:
    """Return the voxels of a section within a distance of the segment between two voxels."""
    axes = [np.arange(n)[each] * step for n, each, step in zip(shape, section, steps, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    a, b = start * steps, end * steps
    along = b - a
    length = float(along @ along)
    t = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(points.shape[:-1])
    distance = np.linalg.norm(points - a - t[..., None] * along, axis=-1)
    within: _Mask = distance <= max(radius_mm, 0.5 * float(steps.min()))
    return within


def _ball(
    center: NDArray[np.int_], shape: Sequence[int], steps: NDArray[np.float64], radius_mm: float
) -> _Mask:
    """Return the voxels within a distance of a voxel."""
    return _capsule(center, center, (slice(None),) * 3, shape, steps, radius_mm)


def _any_voxel(rng: np.random.Generator, mask: _Mask) -> NDArray[np.int_]:
    """Return the index of a random voxel of a mask that is not empty."""
    flat = np.flatnonzero(mask)
    return np.array(np.unravel_index(flat[rng.integers(len(flat))], mask.shape))
