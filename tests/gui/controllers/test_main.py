from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image

from napari_hyperspace.gui.controllers.dock import DockController
from napari_hyperspace.nets.card import DiceRecord


def scan(shape=(12, 14, 16), **options):
    options = {"scale": (1.0, 1.0, 1.0), "units": "mm", "name": "scan"} | options
    return Image(np.random.default_rng(0).normal(size=shape), **options)


def previews(viewer):
    return [one for one in viewer.layers if "preview" in one.name]


def settle(qtbot, controller):
    qtbot.waitUntil(lambda: controller.live.is_idle)
    qtbot.wait(20)


def test_it_begins_with_the_first_model_and_the_native_spacing(controller, view):
    assert view.last("models") == ([("fake", "fake"), ("other", "other")], "fake")
    assert view.last("scan") == ("12 × 14 × 16 · 1 mm",)
    assert controller.choices.spacing_mm == (1.0, 1.0, 1.0)
    assert view.last("model")[0] == "front, back · trained at 0.8–4 mm"
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_every_move_bakes_and_estimates(controller, view, services, qtbot):
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    assert services.models["fake"].baked[-1] == (2.0, 2.0, 2.0)
    assert view.last("bake")[0].startswith("weights in ")
    assert view.last("cost") == ("0.34 ms · 134 kB · fits", True, ())
    assert view.last("point") == (pytest.approx(2.0), pytest.approx(336e-6))
    (curve, trained) = view.last("curve")
    assert trained == (0.8, 4.0)
    assert len(curve.estimates) == 40
    cost = dict(zip(curve.spacings_mm, curve.estimates, strict=True))
    assert all(np.diff([cost[spacing].seconds for spacing in sorted(cost)]) < 0)


def test_an_anisotropic_scan_opens_the_lock(controller, viewer, view, qtbot):
    viewer.layers.clear()
    viewer.add_layer(scan(scale=(6.0, 0.7, 0.7)))
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)
    assert controller.choices.locked is False
    controller.spacing.set_spacing((1.0, 1.0, 1.0))
    controller.spacing.use_native()
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


def test_the_users_spacing_outlives_another_model_but_not_another_scan(
    controller, viewer, view, qtbot
):
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert controller.choices.spacing_mm == (2.0, 2.0, 2.0)
    other = viewer.add_layer(scan(scale=(3.0, 3.0, 3.0), name="other"))
    controller.scan.choose(str(id(other)))
    assert controller.choices.spacing_mm == (3.0, 3.0, 3.0)


def test_live_preview_is_of_the_whole_scans_intensities(controller, viewer, view, services, qtbot):
    viewer.layers["scan"].data = viewer.layers["scan"].data * 40 + 1000
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    (volumes, spacing, _, normalization) = services.runs[-1]
    assert normalization == "none"
    assert volumes[0].array.mean() == pytest.approx(0, abs=1e-5)
    assert volumes[0].array.std() == pytest.approx(1, abs=1e-5)
    assert spacing == (1.0, 1.0, 1.0)
    assert previews(viewer)[0].metadata["sharp"]
    assert viewer.layers.selection.active is viewer.layers["scan"]


def test_the_preview_is_coarse_at_first_and_within_its_time(
    controller, viewer, view, services, qtbot
):
    viewer.layers.clear()
    big = scan((60, 70, 80), translate=(-20, 5, 0), name="big")
    viewer.add_layer(big)
    controller.choices.preview_ms = 100  # 10⁵ voxels at 1 mm, as the fake predicts
    viewer.dims.set_point(0, -10.0)
    settle(qtbot, controller)
    services.runs.clear()
    controller.choices.live = True
    qtbot.waitUntil(lambda: len(services.runs) == 2)
    settle(qtbot, controller)
    (coarse, sharp) = services.runs
    assert coarse[1] == (2.0, 2.0, 2.0)
    assert sharp[1] == (1.0, 1.0, 1.0)
    assert coarse[0][0].grid == sharp[0][0].grid
    voxels = np.prod(sharp[0][0].shape)
    assert 0.7e5 < voxels <= 1e5
    (layer,) = previews(viewer)
    world = layer.extent.world
    assert (world[0] <= (-10, 39.5, 39.5)).all() and (world[1] >= (-10, 39.5, 39.5)).all()
    values = big.data[
        tuple(np.round(big.world_to_data(layer.data_to_world((1, 2, 3)))).astype(int))
    ]
    shown = sharp[0][0].array[1, 2, 3] * big.data.std() + big.data.mean()
    assert shown == pytest.approx(values, rel=1e-4)


def test_the_next_move_cancels_the_preview(controller, viewer, services, qtbot):
    services.gate = threading.Event()
    services.runs.clear()
    controller.choices.live = True
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    for step in np.linspace(1.1, 3, 30):
        controller.spacing.set_spacing((step, step, step))
    # Nothing runs to its end behind the gate: the last one begins because the others were stopped.
    qtbot.waitUntil(lambda: services.runs[-1][1] == (3.0, 3.0, 3.0))
    assert previews(viewer) == []
    services.gate.set()
    qtbot.waitUntil(lambda: bool(previews(viewer)))


def test_moving_the_view_moves_the_preview(controller, viewer, services, qtbot):
    viewer.layers.clear()
    viewer.add_layer(scan((60, 70, 80)))
    controller.choices.preview_ms = 20
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    settle(qtbot, controller)
    before = previews(viewer)[0].translate.copy()
    viewer.dims.set_point(0, 50.0)
    qtbot.waitUntil(lambda: previews(viewer)[0].translate[0] > before[0])


def test_a_run_takes_the_previews_place(controller, viewer, services, qtbot):
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    services.gate = threading.Event()
    controller.segmentation.run()
    assert previews(viewer) == []
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    controller.choices.live = False
    settle(qtbot, controller)
    assert previews(viewer) == []
    assert [type(one).__name__ for one in viewer.layers] == ["Image", "Labels"]


def test_a_model_of_two_channels_wants_two_layers(controller, viewer, view, services, qtbot):
    services.models["other"].in_channels = 2
    second = viewer.add_layer(scan(name="second"))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert view.last("layers")[2] == ("T1", "T2")
    assert [one.name for one in controller.layers.layers] == ["scan", "second"]
    third = viewer.add_layer(scan(name="third"))
    controller.scan.choose(str(id(third)), channel=1)
    controller.segmentation.run()
    qtbot.waitUntil(lambda: not controller.running)
    assert [volume.name for volume in services.runs[-1][0]] == ["scan", "third"]
    assert second in viewer.layers


def test_a_2d_model_keeps_the_slices_of_the_scan(controller, viewer, view, services, qtbot):
    services.models["other"].n_dim = 2
    viewer.layers["scan"].scale = (5.0, 1.0, 1.0)
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    assert controller.choices.spacing_mm == (5.0, 2.0, 2.0)
    settle(qtbot, controller)
    assert services.models["other"].baked[-1] == (2.0, 2.0)


def test_the_users_spacing_is_brought_through_a_2d_model_and_back(
    controller, viewer, view, services, qtbot
):
    def choose(model):
        controller.choices.model = model
        qtbot.waitUntil(lambda: controller.models.model is services.models[model])
        settle(qtbot, controller)

    services.models["other"].n_dim = 2
    viewer.layers["scan"].scale = (5.0, 1.0, 1.0)
    controller.choices.locked = True
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    view.said.clear()
    choose("other")
    assert controller.choices.spacing_mm == (5.0, 2.0, 2.0)
    assert controller.choices.locked is False  # one slider can't show it
    assert view.last("choices") == (controller.choices,)
    assert view.last("point")[0] == pytest.approx(20 ** (1 / 3))
    viewer.layers["scan"].scale = (6.0, 1.0, 1.0)
    assert controller.choices.spacing_mm == (6.0, 2.0, 2.0)
    choose("fake")
    assert controller.choices.spacing_mm == (2.0, 2.0, 2.0)


def test_spacing_override(controller, viewer, view, qtbot):
    view.answers["ask_spacing"] = [(5.0, 0.7, 0.7)]
    controller.scan.correct_spacing()
    layer = viewer.layers["scan"]
    np.testing.assert_array_equal(layer.scale, (5.0, 0.7, 0.7))
    assert view.last("scan") == ("12 × 14 × 16 · 5 × 0.7 × 0.7 mm",)
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


def test_a_scan_without_units_is_told(qtbot, view, services):
    viewer = ViewerModel()
    viewer.add_layer(Image(np.zeros((3, 4, 5))))
    controller = DockController(viewer, view, view, services)
    assert any("pixel" in args[0] for args in view.messages)
    controller.close()


def test_closing_lets_go_of_the_viewer(qtbot, viewer, view, services):
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.close()
    view.said.clear()
    viewer.add_layer(scan(name="later"))
    viewer.dims.set_point(0, 3)
    viewer.layers[0].scale = (2, 2, 2)
    assert view.said == []


def test_what_only_the_first_run_takes_is_told_apart(controller, view, services, qtbot):
    """The curve is that of every run; a note says what the first one does besides."""
    plain = services.estimate

    def with_probe(*args, **options):
        found = plain(*args, **options)
        return replace(found, seconds=found.seconds + 0.5, probe_seconds=0.5)

    services.estimate = with_probe
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    text, fits, notes = view.last("cost")
    assert (text, fits) == ("500 ms · 134 kB · fits", True)
    assert any("500 ms of it finds the fastest precision" in note for note in notes)
    assert view.last("point")[1] == pytest.approx(336e-6)


def record(*spacing_mm, mean):
    return DiceRecord(spacing_mm=spacing_mm, dice={}, mean=mean)


def test_the_dice_to_expect_is_shown_beside_the_cost(controller, view, services, qtbot):
    services.models["fake"].dice = (
        *(record(1, 1, 1, mean=0.9), record(4, 4, 4, mean=0.7)),
        record(3, 1, 1, mean=0.8),
    )

    def shown_at(*spacing_mm):
        view.said.clear()
        controller.spacing.set_spacing(spacing_mm)
        qtbot.waitUntil(lambda: view.last("accuracy") is not None)
        return view.last("accuracy")[0]

    between = shown_at(2.0, 2.0, 2.0)
    assert between.text == "Expected Dice 0.80 (between measurements at 1 and 4 mm)"
    assert between.current == (pytest.approx(2.0), pytest.approx(0.8))
    assert [dice for _, dice in between.measured] == [0.9, 0.7]
    assert between.joined
    exact = shown_at(4.0, 4.0, 4.0)
    assert exact.text == "Expected Dice 0.70 (measured at 4 mm)"
    thick = shown_at(3.1, 1.0, 1.0)
    assert thick.text == "Expected Dice 0.80 (measured at 3 × 1 × 1 mm)"
    assert len(thick.measured) == 1 and not thick.joined
    nowhere = shown_at(1.0, 1.0, 3.0)
    assert nowhere.text == "Expected Dice: not measured near this spacing"
    assert nowhere.current is None and nowhere.measured == ()
    controller.choices.outside = "clamp"  # 6 mm is segmented at 4 mm
    assert shown_at(6.0, 6.0, 6.0).text == "Expected Dice 0.70 (measured at 4 mm)"


def test_models_without_figures_and_of_two_dimensions(controller, view, services, qtbot):
    assert view.last("accuracy")[0].text == "Expected Dice: not measured"
    flat = services.models["other"]
    flat.n_dim, flat.dice = 2, (record(2, 2, mean=0.6), record(1, 1, mean=0.8))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: "0.80" in view.last("accuracy")[0].text)
    accuracy = view.last("accuracy")[0]
    assert accuracy.measured == ()
    assert accuracy.current is None


def test_brain_is_the_first_choice(qtbot, viewer, view, services):
    services.bundled_models = lambda: dict.fromkeys(("other", "brain", "fake"))
    services.models["brain"] = services.models["fake"]
    controller = DockController(viewer, view, view, services)
    assert controller.choices.model == "brain"
    assert view.last("models")[1] == "brain"
    controller.close()
    services.bundled_models = dict
    controller = DockController(viewer, view, view, services)
    assert controller.choices.model == ""
    controller.close()


def test_many_structures_are_counted_not_listed(controller, view, services, qtbot):
    names = {value: f"structure {value}" for value in range(1, 28)}
    services.models["other"].label_names = names
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    text, details = view.last("model")
    assert text == "27 structures · trained range unknown"
    assert "structure 13, structure 14" in details
