"""The cases of the validations during training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.conftest import config_values
from tests.training.fit.runs import label_map_values
from training.config.fit import parse_config
from training.data import open_dataset
from training.fit.validation import CONTRASTS, validation_cases


def test_synthetic_scans_are_the_same_in_every_validation(folder: Path) -> None:
    config = parse_config(label_map_values())
    data = open_dataset(config.data, folder.parent)
    heads = data.sources(["head_1", "head_2"], config.data.normalization.build())
    cases, n_scans = validation_cases(config, heads)
    assert len(cases) == 2 and n_scans == 4
    first, again = (cases[1].scans_at((2, 2, 2)) for _ in range(2))
    assert [scan.name for scan in first] == [f"head_2 {CONTRASTS[2]}", f"head_2 {CONTRASTS[3]}"]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
        assert a.labels.any() and a.spacing_mm == pytest.approx((2, 2, 2))
    assert not torch.equal(first[0].image, first[1].image)


def test_scans_are_their_own_cases(dataset: Path) -> None:
    config = parse_config(config_values())
    data = open_dataset(config.data, dataset.parent)
    scans = data.sources(["tiny_000", "tiny_001"], config.data.normalization.build())
    assert validation_cases(config, scans) == ([*scans], 2)
