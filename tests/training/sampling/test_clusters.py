"""Training on scans of a few spacings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_hyperspace as hs
from tests.training.conftest import config_values
from training.config.fit import FitConfig, parse_config
from training.data import open_dataset
from training.data.labels import OUTSIDE
from training.sampling.augment import bring_to
from training.sampling.batches import TrainingBatches
from training.sampling.parameters import sample_spacing
from training.seeding import generator

CLUSTERS = [[1, 1, 1], [3, 1, 1], [2, 2, 2]]


def clusters(**changes: Any) -> FitConfig:
    spacing = {"range_mm": [[1, 3], [1, 2], [1, 2]], "clusters_mm": CLUSTERS, **changes}
    return parse_config({**config_values(), "spacing": spacing})


def batches(config: FitConfig, base: Path) -> TrainingBatches:
    dataset = open_dataset(config.data, base)
    names = [case.name for case in dataset.cases()][:4]
    return TrainingBatches(config, dataset.load(names, config.data.normalization.build()))


def test_the_spacing_of_each_step_is_one_of_the_clusters() -> None:
    config = clusters().spacing
    sampled = [sample_spacing(generator(0, "step", step), config) for step in range(60)]
    assert {tuple(spacing) for spacing in sampled} == {tuple(map(float, c)) for c in CLUSTERS}


def test_images_of_clusters_are_resampled_to_one_spacing(dataset: Path) -> None:
    config = clusters(range_mm=[[1, 1]] * 3, resampled_mm=[1, 1, 1])
    for step in range(6):
        made, acquired = batches(config, dataset.parent), batches(clusters(), dataset.parent)
        batch, before = made[step], acquired[step]
        assert batch.spacing_mm == (1, 1, 1)
        shape = np.array(before.image.shape[2:]) * before.spacing_mm
        np.testing.assert_array_equal(batch.image.shape[2:], shape)
        assert batch.labels.shape[1:] == batch.image.shape[2:]
        if before.spacing_mm == (1, 1, 1):
            torch.testing.assert_close(batch.image, before.image)


def test_resampling_keeps_the_field_of_view() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, (4, 6, 5)).astype(np.int16))
    labels[0, 0, 0] = OUTSIDE
    z, y, x = np.indices((4, 6, 5))
    image = torch.from_numpy((2.0 * z + y - 0.5 * x).astype(np.float32))[None]
    brought, nearest = bring_to(image, labels, (3, 1, 2), (1, 1, 1))
    assert nearest.shape == (12, 6, 10)
    np.testing.assert_array_equal(nearest, np.kron(labels, np.ones((3, 1, 2))))
    # A cubic kernel reproduces a linear image where its four samples per axis lie in the image.
    old = [
        (np.indices((12, 6, 10))[axis] + 0.5) / factor - 0.5
        for axis, factor in enumerate((3, 1, 2))
    ]
    exact = 2.0 * old[0] + old[1] - 0.5 * old[2]
    inside = (slice(4, 8), slice(1, 5), slice(3, 7))
    bound = 16 * float(np.finfo(np.float32).eps) * float(image.abs().max())
    np.testing.assert_allclose(brought[0][inside], exact[inside], rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"range_mm": [[1, 1]] * 3}, "must include"),
        ({"clusters_mm": [], "resampled_mm": [1, 1, 1]}, "clusters_mm"),
        ({"resampled_mm": [0.5, 1, 1]}, "must include"),
    ],
)
def test_the_range_contains_the_spacings_of_training(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(hs.HyperspaceError, match=words):
        clusters(**changes)
