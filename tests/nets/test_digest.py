"""The digest of a model: equal for models that make equal labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, save_model
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.factory import ConstantFactory

LABELS = (LabelClass(value=1, name="left a"), LabelClass(value=3, name="b"))


def make(seed: int = 0, *, strides=((2, 2, 2),), **card) -> Model:
    torch.manual_seed(seed)
    network = UNetConfig(channels=2, out_channels=3, convs_per_level=1, strides=strides)
    return Model(ConstantFactory(network), ModelCard(**{"name": "a", "labels": LABELS, **card}))


def test_what_labels_do_not_depend_on_is_not_part_of_it():
    words = {"name": "b", "description": "c", "license": "d", "citation": "e"}
    renamed = (LabelClass(value=1, name="left x"), LABELS[1])
    turned = (LabelClass(value=1, name="right a"), LABELS[1])
    recolored = tuple(each.model_copy(update={"color": "#123456"}) for each in LABELS)
    digest = make().digest
    assert make(**words).digest == digest
    assert make(labels=recolored, training={"seed": 1}).digest == digest
    assert make(labels=renamed).digest == digest
    assert make(labels=turned).digest != digest  # post-processing looks at sides


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"strides": ((1, 2, 2),)},
        {"labels": (LABELS[0], LabelClass(value=4, name="b"))},
        {"normalization": {"kind": "window", "lower": 0, "upper": 1}},
        {"trained_range_mm": ((1, 2),) * 3},
        {"tile_shape": (8, 8, 8)},
        {"tile_mm": (8, 8, 8)},
        {"localization": {"extent_mm": (10, 10, 10)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_labels_depend_on_is_part_of_it(change):
    assert make(**change).digest != make().digest


def test_it_is_that_of_the_weights_and_not_of_the_file(tmp_path: Path):
    model = make()
    for tensor in model.factory.state_dict().values():
        tensor.copy_(tensor.half().float())
    digest = model.digest
    for dtype in ("float32", "float16"):
        path = save_model(model, tmp_path / f"{dtype}.safetensors", dtype=dtype)
        assert load_model(path, digest=digest).digest == digest
    with pytest.raises(HyperspaceError, match="another model") as caught:
        load_model(path, digest="0" * 32)
    assert caught.value.found == digest
