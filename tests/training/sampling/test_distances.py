"""Signed distances against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.labels import OUTSIDE
from training.sampling.distances import distance_targets, margin_voxels, signed_distance

SPACING = (2.0, 0.7, 1.3)


def _brute_force(mask: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest distance over all nearest voxels of the other side."""
    index = np.argwhere(np.ones(mask.shape, bool))
    flat = mask.ravel()
    least, most = np.zeros(len(index)), np.zeros(len(index))
    for number, voxel in enumerate(index):
        steps = (index[flat != flat[number]] - voxel).astype(float)
        length = np.sqrt(((steps * spacing) ** 2).sum(axis=1))
        nearest = length <= length.min() * (1 + 1e-12)
        reduced = length[nearest] * (1 - 0.5 / np.sqrt((steps[nearest] ** 2).sum(axis=1)))
        sign = -1 if flat[number] else 1
        least[number], most[number] = sorted((sign * reduced.min(), sign * reduced.max()))
    return least.reshape(mask.shape), most.reshape(mask.shape)


@pytest.mark.parametrize("spacing", [SPACING, (1.0, 1.0, 1.0), (0.4, 3.0, 0.9)])
def test_distances_equal_brute_force(spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((7, 9, 8)) < 0.3
    mask[2:5, 3:7, 1:4] = True
    least, most = _brute_force(mask, spacing)
    found = signed_distance(mask, spacing)
    assert (found >= least - 1e-9).all() and (found <= most + 1e-9).all()
    assert ((found < 0) == mask).all()


def test_a_plane_has_its_zero_level_between_voxels_and_a_gradient_of_one() -> None:
    mask = np.zeros((9, 5, 4), bool)
    mask[:4] = True
    found = signed_distance(mask, SPACING)
    expected = (np.arange(9) - 3.5) * SPACING[0]
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], mask.shape))


def test_masks_without_a_surface_are_infinitely_far() -> None:
    nothing = np.zeros((3, 4, 5), bool)
    assert (signed_distance(nothing, SPACING) == np.inf).all()
    assert (signed_distance(~nothing, SPACING) == -np.inf).all()


def test_targets_of_a_crop_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, (4, 5, 6)).repeat(5, 0).repeat(6, 1).repeat(4, 2))
    clip, classes = 2.5, 3
    margin = margin_voxels(SPACING, clip)
    whole = distance_targets(labels, SPACING, classes, clip)
    start = (6, 9, 8)
    shape = (5, 7, 6)
    padded = tuple(slice(a - m, a + n + m) for a, n, m in zip(start, shape, margin, strict=True))
    crop = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    part = distance_targets(labels[padded], SPACING, classes, clip, margin)
    assert part.shape == (classes, *shape)
    # Where two voxels are equally near, either may be found; both are within half a voxel.
    ties = (part - whole[(slice(None), *crop)]).abs()
    assert (ties < 1e-6).float().mean() > 0.95 and float(ties.max()) < 1.0
    assert float(whole.abs().max()) == clip


def test_unknown_labels_have_no_distance() -> None:
    labels = torch.zeros(6, 6, 6, dtype=torch.int16)
    labels[:, 3:] = 1
    labels[5] = OUTSIDE
    targets = distance_targets(labels, SPACING, 2, 5.0)
    assert targets[:, 5].isnan().all() and targets[:, :5].isfinite().all()
    assert (targets[0, :5] == -targets[1, :5]).all()
