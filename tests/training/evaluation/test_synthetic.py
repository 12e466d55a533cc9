"""Dice on synthetic scans: label names decide, unknown voxels are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import GuidanceConfig, LabelClass, ModelCard
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
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

    def right(image: Volume, model: Any, device: Any = None, guidance: Any = None) -> Volume:
        assert guidance is None  # it is for guided models only
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


def test_guided_models_get_the_truth_on_a_coarse_grid(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Volume] = []

    def guided(image: Volume, model: Any, device: Any = None, guidance: Any = None) -> Volume:
        seen.append(guidance)
        return resample_to_grid(guidance, image.grid, order="nearest")

    monkeypatch.setattr(synthetic, "segment", guided)
    labels = (LabelClass(value=4, name="white matter"), LabelClass(value=9, name="cortex"))
    network = UNetConfig(in_channels=4, out_channels=3, channels=2, strides=((2, 2, 2),))
    card = ModelCard(
        name="guided",
        labels=labels,
        channel_names=("image", "none", "white matter", "cortex"),
        guidance=GuidanceConfig(spacing_mm=(3.0, 3.0)),
    )
    model = Model(build_factory(network, ConstantConfig()), card)
    scores = evaluate_synthetic(
        model, open_label_maps(folder), ["head_0"], [(2.0, 2.0, 2.0)], ["t1"]
    )
    assert seen[0].spacing_mm == pytest.approx((3, 3, 3))
    assert set(np.unique(seen[0].array)) == {0, 4, 9}
    assert (scores.dice > 0.5).all(axis=None) and (scores.dice < 1).all(axis=None)


def test_voxels_of_unknown_truth_are_ignored() -> None:
    truth = np.array([[-1, 0, 1], [2, 3, -1]])  # -1: values listed in data.ignore
    found = np.array([[3, 0, 1], [2, 3, 1]])
    channels = {"cortex": 1, "white matter": 2, "deep grey": 3}
    dice = synthetic._dice(found, truth, list(channels), channels, channels)
    np.testing.assert_array_equal(dice, 1)
