"""Batches are a function of seed and step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.data.base import Case
from training.data.decathlon import Decathlon
from training.data.labels import OUTSIDE
from training.sampling.batches import Batch, TrainingBatches, prepared


@pytest.fixture
def cases(dataset: Path) -> list[Case]:
    data = Decathlon(dataset)
    return data.load([case.name for case in data.cases()], Normalization())


def _same(a: Batch, b: Batch) -> bool:
    return (
        (a.step, a.spacing_mm, a.names) == (b.step, b.spacing_mm, b.names)
        and torch.equal(a.image, b.image)
        and torch.equal(a.labels, b.labels)
    )


def test_batches_are_a_function_of_the_step(cases: list[Case]) -> None:
    batches = TrainingBatches(parse_config(config_values()), cases)
    assert len(batches) == 6
    for step in (0, 3):
        batch = batches[step]
        assert _same(batch, batches[step])
        assert batch.image.shape == (2, 1, *batch.labels.shape[1:])
        assert set(batch.names) <= {case.name for case in cases} and len(set(batch.names)) == 2
    assert batches[0].spacing_mm != batches[1].spacing_mm


def test_the_number_of_workers_does_not_change_the_batches(cases: list[Case]) -> None:
    batches = TrainingBatches(parse_config(config_values()), cases)
    alone = list(prepared(batches, 1, workers=0))
    shared = list(prepared(batches, 1, workers=2))
    assert [batch.step for batch in alone] == [1, 2, 3, 4, 5]
    assert all(_same(a, b) for a, b in zip(alone, shared, strict=True))


def test_processes_share_a_batch(cases: list[Case]) -> None:
    config = parse_config(config_values(training__batch_size=4))
    whole = TrainingBatches(config, cases)[2]
    parts = [TrainingBatches(config, cases, rank, 2)[2] for rank in range(2)]
    assert torch.equal(torch.cat([part.image for part in parts]), whole.image[[0, 2, 1, 3]])
    assert parts[1].names == whole.names[1::2]


def test_patches_are_bounded(cases: list[Case]) -> None:
    config = parse_config(config_values(training__patch_shape=[5, 40, 6]))
    image = TrainingBatches(config, cases)[0].image
    assert image.shape[2] == 5 and image.shape[3] < 40 and image.shape[4] == 6


def test_batches_of_soft_labels(cases: list[Case]) -> None:
    hard = TrainingBatches(parse_config(config_values()), cases)[0]
    config = parse_config(config_values(training__soft_labels=True))
    soft = TrainingBatches(config, cases)[0]
    assert torch.equal(soft.image, hard.image)
    classes = config.network.out_channels
    assert soft.labels.shape == (2, classes, *hard.labels.shape[1:])
    known = hard.labels != OUTSIDE
    assert torch.equal(soft.labels.sum(dim=1) > 0, known)


def test_soft_labels_of_resampled_spacings_are_refused() -> None:
    values = config_values(training__soft_labels=True, spacing__resampled_mm=[2, 2, 2])
    values["spacing"]["clusters_mm"] = [[2, 2, 2]]
    with pytest.raises(HyperspaceError, match=r"training\.soft_labels"):
        parse_config(values)


def test_batches_of_signed_distances(cases: list[Case]) -> None:
    hard = TrainingBatches(parse_config(config_values()), cases)[0]
    head = {"kind": "signed-distance", "clip_mm": 3.0}
    distances = TrainingBatches(parse_config(config_values(head=head)), cases)[0].labels
    assert distances.shape == (2, 3, *hard.labels.shape[1:])
    known = distances.isfinite().all(dim=1)
    assert torch.equal(known, distances.isfinite().any(dim=1)) and known.any()
    assert float(distances[distances.isfinite()].abs().max()) <= 3.0
    inside = distances.nan_to_num(9.0) < 0
    assert torch.equal(inside.sum(dim=1) == 1, known)  # each voxel lies in exactly one class
