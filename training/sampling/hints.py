"""Imperfect hints where a structure is, as a user or a coarse segmentation gives them.

The hints of a structure are a rough mask, voxels that are known to be inside, and voxels that are
known to be outside. Rough masks are wrong on purpose, so that a network does not copy them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.separable import axis_matrix, resample_axes
from training.config.head import ClassConditionalHead

HINTS = 3
"""Channels after the image: rough mask, voxels inside, voxels outside; see `ModelCard.head`."""

Mask = NDArray[np.bool_]


def sample_hints(
    rng: np.random.Generator,
    structure: Mask,
    spacing_mm: Sequence[float],
    config: ClassConditionalHead,
) -> NDArray[np.float32]:
    """Return the hints for a structure (D, H, W): (`HINTS`, D, H, W) from 0 to 1."""
    steps = np.array(spacing_mm, float)
    hints = np.zeros((HINTS, *structure.shape), np.float32)
    if not structure.any():
        return hints
    kind = _kind(rng, structure, steps, config)
    if kind == "coarse":
        hints[0] = _coarse(rng, structure, steps, config)
    elif kind == "smooth":
        hints[0] = _smooth(rng, structure, steps, config.smoothing_mm)
    elif kind == "slices":
        hints[0] = _slices(rng, _smooth(rng, structure, steps, config.smoothing_mm), structure)
    elif kind == "answer":
        hints[0] = _answer(rng, structure, steps, config)
    if kind in ("coarse", "smooth", "slices") and rng.random() < config.defect_probability:
        _damage(rng, hints[0], structure, steps, config)
    rough = hints[0] > 0.5
    certain = kind == "answer" or not rough.any()
    if certain or rng.random() < config.stroke_probability:
        hints[1] = _strokes(rng, structure & ~rough, structure, structure, steps, config)
        if rough.any() or rng.random() < 0.5:
            wrong = rough & ~structure
            near = ndimage.binary_dilation(structure, iterations=3) & ~structure
            hints[2] = _strokes(rng, wrong, near, ~structure, steps, config)
    return hints


def _kind(
    rng: np.random.Generator,
    structure: Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> str:
    """Return the kind of the rough mask; without one, the extent of large structures is unknown."""
    shares = config.hints.model_dump()
    if structure.sum() * steps.prod() > 1000 * config.largest_from_strokes_ml:
        del shares["strokes"]
    weights = np.array(list(shares.values()))
    if not weights.sum():
        return "coarse"
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def _coarse(
    rng: np.random.Generator,
    structure: Mask,
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
    structure: Mask,
    steps: NDArray[np.float64],
    smoothing_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """Return the mask eroded or dilated, with its corners rounded."""
    sigma = rng.uniform(*smoothing_mm) / steps
    blurred = ndimage.gaussian_filter(structure.astype(np.float32), sigma, truncate=3)
    mask: Mask = blurred > rng.uniform(0.25, 0.75) * float(blurred.max())
    return mask.astype(np.float32)


def _answer(
    rng: np.random.Generator,
    structure: Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> NDArray[np.float32]:
    """Return a mask as a network answers: grown or shrunken by much, or without one side."""
    low, high = config.smoothing_mm
    mask = _smooth(rng, structure, steps, (low, 2 * high))
    if rng.random() < 0.5:
        direction = rng.normal(size=3)
        middle = _any_voxel(rng, structure)
        places = np.indices(structure.shape, dtype=np.float32)
        along = sum(
            d * step * (place - m)
            for d, step, place, m in zip(direction, steps, places, middle, strict=True)
        )
        mask[np.asarray(along) > 0] = 0
    return mask


def _slices(
    rng: np.random.Generator, mask: NDArray[np.float32], structure: Mask
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
    structure: Mask,
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
    errors: Mask,
    anywhere: Mask,
    allowed: Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> Mask:
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
    # Few strokes are as frequent as many: each changes the answer less than the one before.
    count = math.floor((config.max_strokes + 1) ** rng.random())
    left = errors.copy()
    for _ in range(count):
        begin = left if left.any() and rng.random() < 0.8 else anywhere
        if not begin.any():
            break
        candidates = [_stroke(rng, begin, steps, config) for _ in range(2)]
        stroke = max(candidates, key=np.count_nonzero)
        painted |= stroke
        reach = max(1, round(float(rng.uniform(*config.brush_mm) / steps.min())))
        left &= ~ndimage.binary_dilation(stroke, iterations=reach)
    painted &= allowed
    return painted


def _stroke(
    rng: np.random.Generator,
    begin: Mask,
    steps: NDArray[np.float64],
    config: ClassConditionalHead,
) -> Mask:
    """Return a stroke in one slice, between two of the given voxels, often along their middle."""
    start = _any_voxel(rng, begin)
    axis = int(rng.integers(3))
    plane = [slice(None)] * 3
    plane[axis] = slice(start[axis], start[axis] + 1)
    section = (plane[0], plane[1], plane[2])
    inside = begin[section]
    if rng.random() < 0.6:
        flat = ndimage.distance_transform_edt(inside.squeeze(axis), np.delete(steps, axis))
        middle = np.expand_dims(flat >= min(flat.max(), config.brush_mm[1] / 2), axis)
        inside = inside & middle
    where = np.argwhere(inside)
    where[:, axis] = start[axis]
    start = where[rng.integers(len(where))]
    near = where[np.linalg.norm((where - start) * steps, axis=1) <= config.stroke_mm]
    end = near[rng.integers(len(near))]
    radius = rng.uniform(*config.brush_mm) / 2
    stroke = np.zeros(begin.shape, bool)
    stroke[section] = _capsule(start, end, section, begin.shape, steps, radius)
    return stroke


def _capsule(
    start: NDArray[np.int_],
    end: NDArray[np.int_],
    section: tuple[slice, ...],
    shape: Sequence[int],
    steps: NDArray[np.float64],
    radius_mm: float,
) -> Mask:
    """Return the voxels of a section within a distance of the segment between two voxels."""
    axes = [np.arange(n)[each] * step for n, each, step in zip(shape, section, steps, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    a, b = start * steps, end * steps
    along = b - a
    length = float(along @ along)
    t = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(points.shape[:-1])
    distance = np.linalg.norm(points - a - t[..., None] * along, axis=-1)
    within: Mask = distance <= max(radius_mm, 0.5 * float(steps.min()))
    return within


def _ball(
    center: NDArray[np.int_], shape: Sequence[int], steps: NDArray[np.float64], radius_mm: float
) -> Mask:
    """Return the voxels within a distance of a voxel."""
    return _capsule(center, center, (slice(None),) * 3, shape, steps, radius_mm)


def _any_voxel(rng: np.random.Generator, mask: Mask) -> NDArray[np.int_]:
    """Return the index of a random voxel of a mask that is not empty."""
    flat = np.flatnonzero(mask)
    return np.array(np.unravel_index(flat[rng.integers(len(flat))], mask.shape))
