"""Dice on the working grid at fixed spacings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.core.intensity import Normalization
from training.data.base import Case
from training.data.decathlon import Decathlon
from training.evaluation.scores import (
    FixedSpacings,
    SpacingScore,
    channels_last,
    dice_per_label,
    dice_table,
    mean_dice,
)


@pytest.fixture
def cases(dataset: Path) -> list[Case]:
    data = Decathlon(dataset)
    return data.load([case.name for case in data.cases()], Normalization())


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
