"""Measures of agreement, against surface distances by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_hyperspace.core.geometry import Grid
from training.evaluation.metrics import agreement, default_tolerance

SPACING = (3.0, 0.7, 1.3)


def _blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Label maps of 1 and 2 that touch the border of the grid and each other."""
    noise = gaussian_filter(rng.standard_normal(shape), 1.5)
    return np.digitize(noise, np.quantile(noise, (0.6, 0.8))).astype(np.int16)


def _surface_mm(mask: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Places of the voxels of which a face neighbor is none, beyond the grid as well."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            near = np.roll(padded, shift, axis)
            inner &= near[(slice(1, -1),) * mask.ndim]
    return np.argwhere(mask & ~inner) * np.array(steps)


def _brute_force(
    a: np.ndarray, b: np.ndarray, steps: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    first, second = _surface_mm(a, steps), _surface_mm(b, steps)
    apart = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))
    there, back = apart.min(axis=1), apart.min(axis=0)
    near = (there <= tolerance + 1e-9).sum() + (back <= tolerance + 1e-9).sum()
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(near / (len(there) + len(back)))


@pytest.mark.parametrize("tolerance", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("value", [1, 2])
def test_surfaces_against_brute_force(
    rng: np.random.Generator, value: int, tolerance: float
) -> None:
    shape = (7, 15, 12)
    predicted, truth = _blobs(rng, shape), _blobs(rng, shape)
    found = agreement(predicted, truth, value, Grid.from_spacing(shape, SPACING), tolerance)
    a, b = predicted == value, truth == value
    hd95, surface = _brute_force(a, b, SPACING, tolerance)
    assert found.hd95_mm == pytest.approx(hd95, rel=1e-5)
    assert found.surface_dice == pytest.approx(surface, rel=1e-5)
    assert 0 < surface < 1  # else the case would show little
    assert found.dice == 2 * (a & b).sum() / (a.sum() + b.sum())
    ml = math.prod(SPACING) / 1000
    assert found.volume_ml == pytest.approx(b.sum() * ml)
    assert found.volume_error_ml == pytest.approx((int(a.sum()) - int(b.sum())) * ml)


def test_a_shift_is_its_length_in_mm() -> None:
    shape = (6, 9, 8)
    grid = Grid.from_spacing(shape, SPACING)
    truth = np.zeros(shape, np.int16)
    truth[2, 3:6, 3:5] = 1
    for axis, step in enumerate(SPACING):
        moved = np.roll(truth, 1, axis)
        found = agreement(moved, truth, 1, grid, step)
        assert found.hd95_mm == pytest.approx(step, rel=1e-6)
        assert found.surface_dice == 1
        assert agreement(moved, truth, 1, grid, 0.99 * step).surface_dice < 1


def test_empty_labels() -> None:
    grid = Grid.from_spacing((3, 4, 5), SPACING)
    none, some = np.zeros((3, 4, 5), np.int16), np.zeros((3, 4, 5), np.int16)
    some[1, 1, 1] = 1
    both = agreement(none, none, 1, grid, 1.0)
    assert math.isnan(both.dice) and math.isnan(both.hd95_mm) and math.isnan(both.surface_dice)
    assert both.volume_error_ml == 0
    for predicted, truth, sign in ((some, none, 1), (none, some, -1)):
        found = agreement(predicted, truth, 1, grid, 1.0)
        assert (found.dice, found.hd95_mm, found.surface_dice) == (0, math.inf, 0)
        assert found.volume_error_ml == pytest.approx(sign * math.prod(SPACING) / 1000)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_lone_known_slice_is_compared_in_its_plane(rng: np.random.Generator, axis: int) -> None:
    shape = (9, 11, 10)
    predicted, truth = _blobs(rng, shape), _blobs(rng, shape)
    known = np.zeros(shape, bool)
    known[tuple(4 if a == axis else slice(None) for a in range(3))] = True
    truth[~known] = -1
    found = agreement(predicted, truth, 1, Grid.from_spacing(shape, SPACING), 1.5)
    a, b = (np.take(labels, 4, axis) == 1 for labels in (predicted, truth))
    steps = SPACING[:axis] + SPACING[axis + 1 :]
    hd95, surface = _brute_force(a, b, steps, 1.5)
    assert found.dice == 2 * (a & b).sum() / (a.sum() + b.sum())
    assert found.hd95_mm == pytest.approx(hd95, rel=1e-5)
    assert found.surface_dice == pytest.approx(surface, rel=1e-5)


def test_unknown_voxels_count_in_nothing(rng: np.random.Generator) -> None:
    shape = (7, 12, 11)
    grid = Grid.from_spacing(shape, SPACING)
    truth, predicted = _blobs(rng, shape), _blobs(rng, shape)
    truth[:, 8:] = -1
    changed = predicted.copy()
    changed[:, 8:] = 1
    assert agreement(predicted, truth, 1, grid, 1.0) == agreement(changed, truth, 1, grid, 1.0)


def test_the_tolerance_is_never_finer_than_the_truth() -> None:
    assert default_tolerance((0.5, 0.5, 0.5)) == 1
    assert default_tolerance((3.3, 0.6, 0.6)) == 3.3
