"""Dice on synthetic scans: label names decide, unknown voxels are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.card import LabelClass
from training.evaluation import synthetic
from training.evaluation.synthetic import evaluate_synthetic
from training.sampling.synthesize import open_label_maps
from training.synthesis.render import covering_labels


def test_the_true_labels_have_a_dice_of_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, make_model: Any
) -> None:
    maps = open_label_maps(folder)
    truths: list[Any] = []
    plain = synthetic.sample_whole_head

    def remember(head: Any, *arguments: Any, **options: Any) -> Any:
        parameters = plain(head, *arguments, **options)
        truths.append(covering_labels(head.head, parameters, head.targets).numpy())
        return parameters

    def right(image: Volume, model: Any, device: Any = None) -> Volume:
        table = np.zeros(14, np.uint8)
        table[1], table[2] = 9, 4  # cortex and white matter, as the model calls them
        return image.with_array(table[truths[-1]])

    monkeypatch.setattr(synthetic, "sample_whole_head", remember)
    monkeypatch.setattr(synthetic, "segment", right)
    labels = (LabelClass(value=4, name="white matter"), LabelClass(value=9, name="cortex"))
    model = make_model(labels=labels)
    spacings = [(2.0, 2.0, 2.0), (1.5, 3.0, 2.0)]
    scores = evaluate_synthetic(model, maps, ["head_0"], spacings, ["t2", "t1"])
    assert list(scores.dice.columns) == ["white matter", "cortex"]
    assert scores.dice.shape == (4, 2) and (scores.dice == 1).all(axis=None)
    assert [score.spacing_mm for score in scores.by_structure()] == spacings
    assert scores.by_structure()[0].dice == {"white matter": 1, "cortex": 1}
    assert scores.by_structure()[0].cases == 2
    assert list(scores.by_contrast()[1].dice.items()) == [("t2", 1), ("t1", 1)]
    assert "| 1.5 × 3 × 2 | 1.000 | 1.000 | 1.000 |" in scores.to_markdown()
    assert "| t2 | t1 | mean |" in scores.to_markdown()
    monkeypatch.setattr(
        synthetic,
        "segment",
        lambda image, *_, **__: image.with_array(np.zeros(image.shape, np.uint8)),
    )
    empty = evaluate_synthetic(model, maps, ["head_0"], [(2, 2, 2)], ["t1"])
    assert (empty.dice == 0).all(axis=None)
    with pytest.raises(HyperspaceError, match="none of the maps' labels"):
        evaluate_synthetic(make_model(), maps, ["head_0"], [(2, 2, 2)], ["t1"])


def test_voxels_of_unknown_truth_are_ignored() -> None:
    truth = np.array([[-1, 0, 1], [2, 3, -1]])  # -1: values listed in data.ignore
    found = np.array([[3, 0, 1], [2, 3, 1]])
    channels = {"cortex": 1, "white matter": 2, "deep grey": 3}
    dice = synthetic._dice(found, truth, list(channels), channels, channels)
    np.testing.assert_array_equal(dice, 1)
