"""Adaptation of small models to one corrected scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_hyperspace as hs
from napari_hyperspace.api.corrections.corrected import CorrectedLabels
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import crop
from napari_hyperspace.inference.plan import make_plan
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, LocalizationConfig, ModelCard
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


def small_model(kind: str = "hypernetwork", card: ModelCard = CARD) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(build_factory(*FACTORIES[kind]), card)


def adapted(model: Model, *given, steps: int = 2, **options) -> Model:
    return hs.adapt(model, *given, (2, 2, 2), steps=steps, seconds=None, **options)


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
    options = {"steps": 10, "seconds": None, "learning_rate": 0.03}
    steps = hs.adapt_steps(model, scan, corrected, (2, 2, 2), **options)
    result = run_to_end(steps)
    assert result.mean_dice_after > result.mean_dice_before + 0.1
    assert result.steps == 10
    opened = hs.load_model(hs.save_model(result.model, tmp_path / "own.safetensors"))
    assert opened.digest == result.model.digest != model.digest
    labels = hs.segment(scan, opened, (2, 2, 2), precision="fp32-channels-last")
    assert np.array_equal(labels.array, result.labels_after.array)
    assert model.digest == small_model(kind).digest  # it is not changed itself


def test_the_card_says_what_it_was_adapted_from_and_no_name_of_a_scan(
    scan: Volume, corrected: Volume
) -> None:
    model = small_model()
    own = adapted(model, scan, corrected, steps=1)
    card = own.card
    assert (card.license, card.citation, card.labels) == ("CC0", "someone", CARD.labels)
    assert card.training["seed"] == 3
    (entry,) = card.training["adapted"]
    assert entry["model"] == "small" and entry["digest"] == model.digest
    assert entry["voxels"]["two"] == 100 and entry["steps"] == 1
    assert entry["spacing_mm"] == [2.0, 2.0, 2.0]
    assert "Doe" not in card.model_dump_json()
    again = adapted(own, scan, corrected, steps=1).card
    digests = [each["digest"] for each in again.training["adapted"]]
    assert digests == [model.digest, own.digest]
    assert again.name == card.name == "small (adapted)"


def test_steps_and_seed_decide_the_result(scan: Volume, corrected: Volume) -> None:
    first, second = (adapted(small_model(), scan, corrected) for _ in range(2))
    assert first.digest == second.digest
    assert adapted(small_model(), scan, corrected, seed=1).digest != first.digest


def test_the_networks_of_all_spacings_change_alike(scan: Volume, corrected: Volume) -> None:
    model = small_model()
    own = adapted(model, scan, corrected)
    changes = []
    for spacing in ((1, 1, 1), (3.0, 2.0, 1.5)):
        before, after = (each.network(spacing).state_dict() for each in (model, own))
        changes.append({name: after[name].double() - before[name].double() for name in before})
    for name, change in changes[0].items():
        assert torch.allclose(change, changes[1][name], atol=1e-6), name
    assert any(change.abs().max() > 1e-4 for change in changes[0].values())


def test_all_weights_of_the_factory_can_be_adapted(scan: Volume, corrected: Volume) -> None:
    model = small_model()
    own = adapted(model, scan, corrected, weights="all")
    changed = own.factory.state_dict()
    for name, before in model.factory.named_parameters():
        assert not torch.equal(before, changed[name]), name


@pytest.mark.parametrize("way", ["known", "slices"])
def test_voxels_that_are_not_known_are_ignored(scan: Volume, corrected: Volume, way: str) -> None:
    mask = np.zeros(scan.shape, np.uint8)
    mask[:, 3:5] = 1
    options = {"known": scan.with_array(mask)} if way == "known" else {"slices": {1: [3, 4]}}
    wrong = corrected.array.copy()
    wrong[:, 5:] = 5
    digests = {
        adapted(small_model(), scan, labels, **options).digest
        for labels in (corrected, corrected.with_array(wrong))
    }
    assert len(digests) == 1
    result = run_to_end(hs.adapt_steps(small_model(), scan, corrected, steps=1, **options))
    assert sum(result.voxels.values()) == mask.sum()


def test_labels_are_placed_by_their_affine(scan: Volume, corrected: Volume) -> None:
    affine = corrected.affine[:, [1, 0, 2, 3]].copy()
    affine[:3, 3] += affine[:3, 2] * (scan.shape[2] - 1)
    affine[:3, 2] *= -1
    array = np.ascontiguousarray(corrected.array.transpose(1, 0, 2)[:, :, ::-1])
    turned = Volume(array, Grid((9, 13, 14), affine))
    model = small_model()
    plan = make_plan(scan, model, (2, 2, 2))
    points = []
    for labels in (corrected, turned):
        view = CorrectedLabels.of(model, labels, None, None).view(
            [scan], model, plan, 0, 1 << 30, lambda: False
        )
        rows = np.column_stack([view.points.round(3), view.classes, view.weights])
        points.append(rows[np.lexsort(rows.T)])
    assert np.allclose(points[0], points[1], atol=2e-3)


def test_a_part_of_the_scan_may_be_corrected(scan: Volume, corrected: Volume) -> None:
    part = crop(corrected, (slice(2, 9), slice(1, 8), slice(1, 9)))
    result = run_to_end(hs.adapt_steps(small_model(), scan, part, (2, 2, 2), steps=1))
    assert sum(result.voxels.values()) == part.array.size
    assert set(result.dice_after) == {2, 5}


def test_a_model_with_localization_is_adapted_in_its_box(scan: Volume, corrected: Volume) -> None:
    localization = LocalizationConfig(spacing_mm=4.0, margin_mm=2.0, extent_mm=(8.0, 8.0, 8.0))
    model = small_model(card=CARD.model_copy(update={"localization": localization}))
    result = run_to_end(hs.adapt_steps(model, scan, corrected, (2, 2, 2), steps=1))
    assert result.labels_after.shape == scan.shape
    assert result.model.localization is not None


def test_a_model_of_slices_is_adapted(scan: Volume, corrected: Volume) -> None:
    network = UNetConfig(n_dim=2, out_channels=3, channels=4, strides=((2, 2),), convs_per_level=1)
    factory = HypernetworkConfig(range_mm=((0.5, 4.0),) * 2, hidden=(8,), rank=2)
    card = CARD.model_copy(update={"trained_range_mm": ((0.5, 4.0),) * 2})
    model = Model(build_factory(network, factory), card)
    steps = hs.adapt_steps(model, scan, corrected, (2, 2), steps=15, learning_rate=0.02)
    result = run_to_end(steps)
    assert result.mean_dice_after > result.mean_dice_before


def test_it_stops_between_steps(scan: Volume, corrected: Volume) -> None:
    messages = [""]
    steps = hs.adapt_steps(
        small_model(),
        scan,
        corrected,
        (2, 2, 2),
        should_stop=lambda: "step 3" in messages[-1],
    )
    with pytest.raises(hs.Cancelled):
        for progress in steps:
            messages.append(progress.message)
    assert messages[-1].startswith("adapting: step 3")


def test_no_step_starts_after_the_budget(scan: Volume, corrected: Volume) -> None:
    steps = hs.adapt_steps(small_model(), scan, corrected, (2, 2, 2), seconds=1e-9)
    assert run_to_end(steps).steps == 1


def test_what_does_not_fit_is_refused(scan: Volume, corrected: Volume) -> None:
    model = small_model()
    far = corrected.affine.copy()
    far[:3, 3] += 500
    nothing = scan.with_array(np.zeros(scan.shape, np.uint8))
    for labels, options, message in (
        (corrected.with_array(corrected.array // 2), {}, "unknown"),
        (nothing, {}, "are empty"),
        (corrected, {"known": nothing}, "are empty"),
        (corrected, {"known": crop(nothing, (slice(0, 3),) * 3)}, "mask is not on the grid"),
        (corrected, {"slices": {0: [13]}}, "slice lies outside"),
        (corrected, {"slices": {3: [0]}}, "slice lies outside"),
        (Volume(corrected.array, Grid(corrected.shape, far)), {}, "outside of the scan"),
        (corrected, {"steps": 0}, "steps must be positive"),
        (corrected, {"learning_rate": float("nan")}, "learning_rate must be positive"),
        (corrected, {"weights": "some"}, "unknown part"),
        (corrected, {"spread": 0.5}, "spread must be at least 1"),
        (corrected, {"learning_rate": 1e30}, "not finite"),
    ):
        with pytest.raises(hs.HyperspaceError, match=message):
            hs.adapt(model, scan, labels, (2, 2, 2), **{"steps": 5, "seconds": None, **options})


def test_a_class_conditional_model_is_refused(scan: Volume, corrected: Volume) -> None:
    network = NETWORK.model_copy(update={"in_channels": 4, "out_channels": 2})
    card = ModelCard(
        name="marks",
        labels=(LabelClass(value=1, name="structure"),),
        channel_names=("image", "rough mask", "voxels inside", "voxels outside"),
        head="class-conditional",
    )
    model = Model(build_factory(network, ConstantConfig()), card)
    with pytest.raises(hs.HyperspaceError, match="cannot be adapted"):
        hs.adapt(model, scan, corrected)
