"""The parts of fine-tuning, against independent computations."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from napari_hyperspace.api.corrections import tuning
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig


def test_logits_are_interpolated_at_points() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 4, 7))
    points = rng.uniform(-0.5, [4.5, 3.5, 6.5], (50, 3))
    found = tuning.logits_at(torch.from_numpy(logits), torch.from_numpy(points)).numpy()
    expected = [
        ndimage.map_coordinates(channel, points.T, order=1, mode="nearest") for channel in logits
    ]
    assert np.allclose(found, np.transpose(expected), rtol=0, atol=1e-12)


def test_a_point_counts_as_often_as_its_weight() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(20, 3)))
    classes = torch.from_numpy(rng.integers(0, 3, 20))
    weights = torch.from_numpy(rng.integers(0, 4, 20).astype(float))
    counts = weights.long()
    repeated = tuning.point_loss(
        logits.repeat_interleave(counts, 0),
        classes.repeat_interleave(counts),
        torch.ones(int(counts.sum()), dtype=torch.float64),
    )
    assert torch.isclose(tuning.point_loss(logits, classes, weights), repeated, rtol=1e-12)


def test_a_perfect_answer_costs_nothing() -> None:
    classes = torch.tensor([0, 1, 2, 2])
    logits = 100.0 * torch.nn.functional.one_hot(classes, 3)
    assert tuning.point_loss(logits, classes, torch.ones(4)) < 1e-6


def test_few_points_stand_for_all() -> None:
    classes = np.zeros(10_000, np.int64)
    classes[:30] = 2
    places = np.arange(10, 10_000)
    kept, weights = tuning.thinned(places, classes, 100, np.random.default_rng(0))
    assert len(kept) == 20 + 50
    assert set(kept[classes[kept] > 0]) == set(range(10, 30))
    assert np.isclose(weights[classes[kept] == 0].sum(), 9970)
    assert np.all(weights[classes[kept] > 0] == 1)


def test_a_patch_contains_corrected_voxels() -> None:
    points = np.array([[9.0, 9.0, 18.0], [2.0, 1.0, 0.0]], np.float32)
    view = tuning.TuningView(
        torch.zeros(1, 10, 10, 20),
        (1.0, 1.0, 1.0),
        points,
        np.array([1, 0]),
        np.array([1.0, 3.0], np.float32),
        (4, 10, 6),
    )
    for seed in range(10):
        image, local, classes, weights = tuning.draw(view, np.random.default_rng(seed))
        assert image.shape == (1, 4, 10, 6)
        assert classes.tolist() == [1] and weights.tolist() == [1.0]
        assert 0 <= local[0, 0] <= 3 and 0 <= local[0, 2] <= 5


def test_patches_are_halved_until_they_fit_into_memory() -> None:
    network = UNetConfig(n_dim=3, channels=4, strides=((2, 2, 2),), convs_per_level=1)
    factory = build_factory(network, ConstantConfig())
    whole = (1.0, 1.0, 1.0), (40, 64, 48)
    assert tuning.patch_within(factory, *whole, 1 << 40) == (40, 64, 48)
    assert tuning.patch_within(factory, *whole, 40 * 64 * 48 * 4) != (40, 64, 48)
    assert tuning.patch_within(factory, *whole, 0) == (10, 16, 12)
