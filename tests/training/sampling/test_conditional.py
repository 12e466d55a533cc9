"""Samples of class-conditional training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hyperspace.core.errors import HyperspaceError
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.config.head import ClassConditionalHead
from training.data.base import Case
from training.data.decathlon import Decathlon
from training.data.labels import OUTSIDE
from training.fit.preflight import held_out
from training.fit.validation import validation_cases
from training.sampling.batches import TrainingBatches
from training.sampling.conditional import conditional_sample, standardized
from training.sampling.hints import HINTS, sample_hints

SPACING = (1.3, 0.8, 2.1)
HEAD = ClassConditionalHead(kind="class-conditional", blob_probability=0.0)


@pytest.fixture
def labels() -> torch.Tensor:
    """Make three boxes, the first two side by side, and a slab of unknown labels."""
    array = np.zeros((21, 26, 17), np.int16)
    array[4:10, 5:15, 3:9] = 1
    array[10:16, 5:15, 3:9] = 2
    array[5:12, 18:24, 10:15] = 3
    array[-2:] = OUTSIDE
    return torch.from_numpy(array)


def _sample(labels: torch.Tensor, seed: int, head: ClassConditionalHead = HEAD, **options):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(np.random.default_rng(1).normal(3, 2, (1, *labels.shape)))
    return conditional_sample(rng, image.float(), labels, SPACING, head, **options)


def test_the_target_is_one_label_or_two_that_touch(labels: torch.Tensor) -> None:
    head = HEAD.model_copy(update={"group_probability": 0.5})
    found = set()
    for seed in range(40):
        image, target = _sample(labels, seed, head)
        assert image.shape == (1 + HINTS, *labels.shape) and image.dtype == torch.float32
        assert torch.equal(target == OUTSIDE, labels == OUTSIDE)
        values = frozenset(labels[target == 1].tolist())
        assert torch.equal(target == 1, torch.isin(labels, torch.tensor(sorted(values))))
        found.add(values)
    assert found == {frozenset(v) for v in ({1}, {2}, {3}, {1, 2})}


def test_held_out_labels_are_never_chosen(labels: torch.Tensor) -> None:
    for seed in range(20):
        _, target = _sample(labels, seed, held_out=(1, 3))
        assert set(labels[target == 1].tolist()) == {2}


def test_strokes_are_true(labels: torch.Tensor) -> None:
    """Voxels painted as inside are inside, and voxels painted as outside are outside."""
    strokes = 0
    for seed in range(60):
        image, target = _sample(labels, seed)
        inside, outside = image[-2:] > 0
        assert (target[inside] != 0).all() and (target[outside] != 1).all()
        strokes += int(inside.any()) + int(outside.any())
        assert ((image[-HINTS:] >= 0) & (image[-HINTS:] <= 1)).all()
    assert strokes > 40


def test_there_is_always_a_hint(labels: torch.Tensor) -> None:
    for seed in range(80):
        image, _ = _sample(labels, seed)
        assert (image[-HINTS:-1] > 0.5).any()


def test_rough_masks_are_near_the_structure_and_not_equal_to_it(labels: torch.Tensor) -> None:
    structure = (labels == 1).numpy()
    overlaps = []
    for seed in range(80):
        rough = sample_hints(np.random.default_rng(seed), structure, SPACING, HEAD)[0] > 0.5
        if rough.any():
            overlaps.append(2 * (rough & structure).sum() / (rough.sum() + structure.sum()))
    assert 0.4 < np.median(overlaps) < 0.98
    assert np.mean(np.array(overlaps) == 1) < 0.05


def test_a_coarse_mask_without_displacement_has_its_center_of_mass() -> None:
    """Down and up again moves nothing by more than a part of a coarse voxel."""
    from training.sampling.hints import _coarse

    structure = np.zeros((40, 44, 36), bool)
    structure[8:30, 10:31, 9:28] = True
    steps = np.array([0.9, 0.8, 1.1])
    head = HEAD.model_copy(update={"shift_mm": 0.0, "coarse_mm": (2.0, 3.0)})
    center = np.argwhere(structure).mean(axis=0)
    offsets = []
    for seed in range(30):
        mask = _coarse(np.random.default_rng(seed), structure, steps, head)
        weights = mask / mask.sum()
        found = [
            (weights.sum(axis=tuple({0, 1, 2} - {i})) * np.arange(n)).sum()
            for i, n in enumerate(mask.shape)
        ]
        offsets.append((found - center) * steps)
    # A threshold other than one half moves opposite faces apart, not the center; the random phase
    # moves it by less than half a coarse voxel, in both directions.
    assert np.abs(offsets).max() < 1.5
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.4


def test_random_structures_are_visible(labels: torch.Tensor) -> None:
    head = HEAD.model_copy(update={"blob_probability": 1.0})
    for seed in range(10):
        image, target = _sample(labels, seed, head)
        inside, outside = image[0][target == 1], image[0][target == 0]
        assert len(inside) > 0
        assert abs(float(inside.mean() - outside.mean())) > 0.1


def test_an_image_is_standardized_per_channel() -> None:
    image = torch.stack([torch.arange(24.0).view(2, 3, 4), torch.full((2, 3, 4), 5.0)])
    result = standardized(image)
    assert result[0].mean().abs() < 1e-6 and abs(float(result[0].std(correction=0)) - 1) < 1e-6
    assert (result[1] == 0).all()


def test_a_sample_without_labels_is_background() -> None:
    image, target = _sample(torch.zeros(5, 6, 7, dtype=torch.int16), 0)
    assert (target == 0).all() and (image[1:] == 0).all()


def conditional_values(**changes: object) -> dict[str, object]:
    """Return a configuration of class-conditional training on the small data set."""
    values = config_values(**changes)
    values["head"] = {"kind": "class-conditional"}
    values["network"] |= {"in_channels": 1 + HINTS, "out_channels": 2}
    return values


def test_batches_and_validations_are_functions_of_seed_and_place(dataset) -> None:
    data = Decathlon(dataset)
    config = parse_config(conditional_values())
    cases = data.load([case.name for case in data.cases()], config.data.normalization.build())
    batch, again = (TrainingBatches(config, cases)[1] for _ in range(2))
    assert torch.equal(batch.image, again.image) and torch.equal(batch.labels, again.labels)
    assert batch.image.shape[1] == 1 + HINTS and set(batch.labels.unique().tolist()) <= {-1, 0, 1}
    validated, count = validation_cases(config, cases)
    assert count == len(cases)
    one, other = (validated[0].scans_at((1.0, 2.0, 1.5))[0] for _ in range(2))
    assert isinstance(one, Case)
    assert torch.equal(one.image, other.image) and torch.equal(one.labels, other.labels)


def test_unknown_names_of_held_out_labels_are_refused(dataset) -> None:
    values = conditional_values()
    values["head"] = {"kind": "class-conditional", "held_out": ["spleen"]}
    with pytest.raises(HyperspaceError, match=r"no such label.*spleen"):
        held_out(parse_config(values), Decathlon(dataset))


def test_a_network_of_more_classes_is_refused() -> None:
    values = conditional_values()
    values["network"] |= {"out_channels": 3}
    with pytest.raises(HyperspaceError, match=r"needs network\.out_channels: 2"):
        parse_config(values)
