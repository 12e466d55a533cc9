"""Batches, loss, learning rate and Dice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.core.intensity import Normalization
from tests.training.conftest import config_values
from training.config.fit import LossSection, OptimizerSection, parse_config
from training.data.base import Case
from training.data.decathlon import Decathlon
from training.data.labels import OUTSIDE
from training.evaluation.scores import (
    FixedSpacings,
    SpacingScore,
    channels_last,
    dice_per_label,
    dice_table,
    mean_dice,
)
from training.fit.losses import SegmentationLoss
from training.fit.schedule import learning_rate
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


def test_the_number_of_workers_changes_nothing(cases: list[Case]) -> None:
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


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_loss_against_its_definition(
    rng: np.random.Generator, whole_batch: bool, background: bool
) -> None:
    logits = torch.from_numpy(rng.normal(size=(2, 3, 4, 5, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(-1, 3, (2, 4, 5, 3)).astype(np.int16))
    config = LossSection(
        include_background=background, whole_batch=whole_batch, cross_entropy_weight=0.5
    )
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    known = labels.numpy() != OUTSIDE
    truth = np.stack([labels.numpy() == k for k in range(3)], axis=1)
    picked = (p * truth).sum(axis=1)[known]
    axes = (0, 2, 3, 4) if whole_batch else (2, 3, 4)
    both = (p * truth).sum(axis=axes)
    total = (p * known[:, None]).sum(axis=axes) + truth.sum(axis=axes)
    dice = 1 - (2 * both + 1) / (total + 1)
    expected = (dice if background else dice[..., 1:]).mean() - 0.5 * np.log(picked).mean()
    assert float(SegmentationLoss(config)(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_unknown_voxels_get_no_gradient(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(1, 3, 4, 5, 3)).astype(np.float32)).requires_grad_()
    labels = torch.ones(1, 4, 5, 3, dtype=torch.int16)
    labels[0, 2] = OUTSIDE
    SegmentationLoss(LossSection())(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 2] == 0).all()
    assert (logits.grad[:, :, 0] != 0).all()


def test_learning_rates() -> None:
    config = OptimizerSection(learning_rate=1.0, final_learning_rate=0.1, warm_up_steps=4)
    assert [learning_rate(config, step, 14) for step in (0, 3, 4)] == [0.25, 1.0, 1.0]
    assert learning_rate(config, 9, 14) == pytest.approx(0.55)  # half way down the cosine
    assert learning_rate(config, 14, 14) == pytest.approx(0.1)
    poly = config.model_copy(update={"schedule": "poly"})
    assert learning_rate(poly, 9, 14) == pytest.approx(0.1 + 0.9 * 0.5**0.9)
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 13, 14) == 1.0


def test_dice_by_hand() -> None:
    predicted = torch.tensor([[0, 1, 1, 2], [0, 1, 0, 0]])
    truth = torch.tensor([[0, 1, 0, 2], [0, 1, 1, 2]])
    dice = dice_per_label(predicted, truth, 4)
    assert dice[:2] == pytest.approx([2 * 2 / 6, 2 * 1 / 3])
    assert np.isnan(dice[2])


def test_scores_of_a_perfect_and_a_useless_network(cases: list[Case]) -> None:
    spacings = FixedSpacings(cases, [(1.5, 1.5, 1.0), (3.0, 2.0, 2.0)], ["front", "back"])

    class Answer(nn.Module):
        def __init__(self, wrong: bool, answers: list[Case]) -> None:
            super().__init__()
            self.wrong, self.answers = wrong, iter(answers)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            labels = next(self.answers).labels.long()
            labels = torch.zeros_like(labels) if self.wrong else labels
            return nn.functional.one_hot(labels, 3).movedim(-1, 0)[None].float()

    for wrong, expected in ((False, 1.0), (True, 0.0)):

        def bake(spacing: tuple[float, ...], wrong: bool = wrong) -> nn.Module:
            return Answer(wrong, [case.at_spacing(spacing) for case in cases])

        scores = spacings.scores(spacings.totals(bake, torch.device("cpu")), len(cases))
        assert [score.mean for score in scores] == [expected, expected]
        assert scores[1].spacing_mm == (3.0, 2.0, 2.0)
        assert mean_dice(scores) == expected


def test_scores_as_plain_data() -> None:
    score = SpacingScore((1.0, 1.0, 3.0), {"front": 0.5, "back": float("nan")}, 4)
    assert score.mean == 0.5
    assert score.to_dict()["dice"] == {"front": 0.5, "back": None}
    assert SpacingScore.from_dict(score.to_dict()).to_dict() == score.to_dict()
    assert "| 1 × 1 × 3 | 0.500 | nan | 0.500 |" in dice_table([score])


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last(channels: int) -> None:
    image = torch.randn(2, channels, 3, 4, 5)
    turned = channels_last(image)
    assert torch.equal(turned, image)
    assert turned.stride(1) == 1
