"""Adaptation of small models to one corrected scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.scans import rotated_affine

NETWORK = UNetConfig(n_dim=3, out_channels=3, channels=4, strides=((2, 2, 2),), convs_per_level=1)
FACTORIES = {
    "hypernetwork": (
        NETWORK,
        HypernetworkConfig(range_mm=((0.5, 4.0),) * 3, hidden=(8,), rank=2),
    ),
    "constant": (NETWORK, ConstantConfig()),
    "physical": (
        HarmonicUNetConfig(
            out_channels=3,
            multiplicities=(4,),
            level_spacing_mm=(4.0,),
            kernel_mm=(5.0, 10.0),
            radial_functions=2,
            kernels="free",
        ),
        PhysicalKernelsConfig(voxels="integrated"),
    ),
}
CARD = ModelCard(
    name="small",
    labels=(LabelClass(value=2, name="two"), LabelClass(value=5, name="five")),
    trained_range_mm=((0.5, 4.0),) * 3,
    license="CC0",
    citation="someone",
    training={"seed": 3},
)


def small_model(kind: str = "hypernetwork") -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(build_factory(*FACTORIES[kind]), CARD)


@pytest.fixture
def scan() -> Volume:
    shape = (13, 9, 14)
    values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    values[3:8, 2:7, 2:6] += 8
    values[3:8, 2:7, 8:12] -= 8
    return Volume(values, Grid(shape, rotated_affine((1.1, 2.3, 1.2))), "Doe, Jane")


@pytest.fixture
def corrected(scan: Volume) -> Volume:
    labels = np.zeros(scan.shape, np.uint8)
    labels[3:8, 2:7, 2:6] = 2
    labels[3:8, 2:7, 8:12] = 5
    return Volume(labels, scan.grid, "Doe, Jane")


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_corrected_scan_is_segmented_better(
    kind: str, scan: Volume, corrected: Volume, tmp_path
) -> None:
    model = small_model(kind)
    steps = hs.adapt_steps(
        model, scan, corrected, (2, 2, 2), steps=15, seconds=None, learning_rate=0.02
    )
    result = run_to_end(steps)
    assert result.mean_dice_after > result.mean_dice_before + 0.1
    assert result.steps == 15
    opened = hs.load_model(hs.save_model(result.model, tmp_path / "own.safetensors"))
    assert opened.digest == result.model.digest != model.digest
    labels = hs.segment(scan, opened, (2, 2, 2), precision="fp32-channels-last")
    assert np.array_equal(labels.array, result.labels_after.array)
    assert model.digest == small_model(kind).digest  # it is not changed itself


def test_the_card_says_what_it_was_adapted_from_and_no_name_of_a_scan(
    scan: Volume, corrected: Volume
) -> None:
    model = small_model()
    adapted = hs.adapt(model, scan, corrected, (2, 2, 2), steps=1)
    card = adapted.card
    assert (card.license, card.citation, card.labels) == ("CC0", "someone", CARD.labels)
    assert card.training["seed"] == 3
    (entry,) = card.training["adapted"]
    assert entry["model"] == "small" and entry["digest"] == model.digest
    assert entry["voxels"]["two"] == 100 and entry["steps"] == 1
    assert entry["spacing_mm"] == [2.0, 2.0, 2.0]
    assert "Doe" not in card.model_dump_json()
    again = hs.adapt(adapted, scan, corrected, (2, 2, 2), steps=1)
    assert [each["digest"] for each in again.card.training["adapted"]] == [
        model.digest,
        adapted.digest,
    ]
