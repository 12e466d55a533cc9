"""Cost, accuracy and preview while the user changes the spacing."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.models.accuracy import validation_data
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.nets.card import DiceRecord, LabelClass, ModelCard


def test_a_new_spacing_is_baked_and_estimated(controller, view, services, qtbot):
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    assert services.models["fake"].baked[-1] == (2.0, 2.0, 2.0)
    assert view.last("bake")[0].startswith("Network made in ")
    assert view.last("cost") == ("under 1 s · under 0.1 GB", True, ())
    assert view.last("point") == (pytest.approx(2.0), pytest.approx(336e-6))
    (curve, trained) = view.last("curve")
    assert trained == (0.8, 4.0)
    assert len(curve.estimates) == 40
    cost = dict(zip(curve.spacings_mm, curve.estimates, strict=True))
    assert all(np.diff([cost[spacing].seconds for spacing in sorted(cost)]) < 0)


def test_the_measurement_of_the_first_run_is_stated_separately(controller, view, services, qtbot):
    """Estimate, curve and marked point are of later runs."""
    plain = services.estimate

    def with_probe(*args, **options):
        found = plain(*args, **options)
        return replace(found, seconds=found.seconds + 24, probe_seconds=24)

    services.estimate = with_probe
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    assert view.last("cost") == ("under 1 s · under 0.1 GB · first run here: +24 s", True, ())
    assert view.last("point")[1] == pytest.approx(336e-6)


def test_a_busy_machine_is_mentioned(controller, view, services, qtbot):
    """The curve and the marked point are those of a quiet one."""
    plain = services.estimate
    services.estimate = lambda *args: replace(plain(*args), seconds=8.0)
    services.slowdown = lambda: 2.0
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    assert view.last("cost")[0] == "about 8 s · under 0.1 GB · machine busy: about 2 × longer"
    assert view.last("point")[1] == 8.0


def test_the_cost_of_other_choices_is_marked(controller, view, services, qtbot):
    """The estimate of the former spacing must not stand as if it were of this one."""
    view.said.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    assert view.said[0] == ("estimating", ("estimating…",))
    qtbot.waitUntil(lambda: view.last("cost") is not None)
    view.said.clear()
    controller.live.query()  # such as after the view moved: nothing that costs has changed
    qtbot.waitUntil(lambda: view.last("cost") is not None)
    assert view.last("estimating") is None


def record(*spacing_mm, mean, native=None):
    return DiceRecord(spacing_mm=spacing_mm, dice={}, mean=mean, native_mean=native, cases=30)


@pytest.fixture
def shown_at(controller, view, qtbot):
    def shown(*spacing_mm):
        view.said.clear()
        controller.spacing.set_spacing(spacing_mm)
        qtbot.waitUntil(lambda: view.last("accuracy") is not None)
        return view.last("accuracy")[0]

    return shown


def test_the_dice_on_validation_data_is_shown(controller, services, shown_at):
    services.models["fake"].dice = (
        record(1, 1, 1, mean=0.7, native=0.9),
        record(4, 4, 4, mean=0.9, native=0.7),
        record(3, 1, 1, mean=0.5, native=0.8),
    )
    start, end = "Dice on validation data:", "on 30 scans, scored on their own grids."
    between = shown_at(2.0, 2.0, 2.0)
    assert between.text == f"{start} 0.80, between measurements at 1 and 4 mm {end}"
    assert between.current == (pytest.approx(2.0), pytest.approx(0.8))
    assert [dice for _, dice in between.measured] == [0.9, 0.7]
    assert between.joined
    exact = shown_at(4.0, 4.0, 4.0)
    assert exact.text == f"{start} 0.70, measured at 4 mm {end}"
    thick = shown_at(3.1, 1.0, 1.0)
    assert thick.text == f"{start} 0.80, measured at 3 × 1 × 1 mm {end}"
    assert len(thick.measured) == 1 and not thick.joined
    nowhere = shown_at(1.0, 1.0, 3.0)
    assert nowhere.text == "Dice on validation data: not measured near this spacing."
    assert nowhere.current is None and nowhere.measured == ()
    controller.choices.outside = "clamp"  # 6 mm is segmented at 4 mm
    assert shown_at(6.0, 6.0, 6.0).text == exact.text


def test_dice_of_different_grids_is_not_joined_to_a_curve(services, shown_at):
    """It may be higher at 4 mm than at 1 mm, which says nothing about the labels of a scan."""
    services.models["fake"].dice = (record(1, 1, 1, mean=0.6), record(4, 4, 4, mean=0.7, native=1))
    accuracy = shown_at(4.0, 4.0, 4.0)
    assert accuracy.text == (
        "Dice on validation data: 0.70, measured at 4 mm on 30 scans. Scored on the grid of each "
        "spacing: not comparable between spacings."
    )
    assert not accuracy.joined and len(accuracy.measured) == 2


@pytest.mark.parametrize(
    ("training", "text"),
    [
        ({"data": "Hippocampus"}, "30 scans of Hippocampus"),
        ({"data": "m", "configuration": {"data": {"kind": "label-maps"}}}, "30 synthetic scans"),
        ({"data": 3, "configuration": []}, "30 scans"),
    ],
)
def test_the_validation_data_is_named(training, text):
    labels = (LabelClass(value=1, name="front"),)
    dice = (record(1, 1, 1, mean=0.5),)
    assert validation_data(ModelCard(name="m", labels=labels, dice=dice, training=training)) == text


def test_the_dice_of_models_without_measurements_and_of_2d_models(
    controller, view, services, qtbot
):
    assert view.last("accuracy")[0].text == "Dice on validation data: not measured."
    flat = services.models["other"]
    flat.n_dim, flat.dice = 2, (record(2, 2, mean=0.6), record(1, 1, mean=0.8))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: "0.80" in view.last("accuracy")[0].text)
    accuracy = view.last("accuracy")[0]
    assert accuracy.measured == ()
    assert accuracy.current is None


def test_previews_are_normalized_over_the_whole_scan(
    controller, viewer, view, services, qtbot, previews
):
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


def test_the_preview_is_coarse_first_and_keeps_within_its_time(
    controller, viewer, view, services, qtbot, make_scan, previews, settle
):
    viewer.layers.clear()
    big = make_scan((60, 70, 80), translate=(-20, 5, 0), name="big")
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


def test_a_newer_spacing_cancels_the_preview(controller, viewer, services, qtbot, previews):
    services.gate = threading.Event()
    services.runs.clear()
    controller.choices.live = True
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    for step in np.linspace(1.1, 3, 30):
        controller.spacing.set_spacing((step, step, step))
    # No preview finishes while the gate is closed: the last one started as the others were stopped.
    qtbot.waitUntil(lambda: services.runs[-1][1] == (3.0, 3.0, 3.0))
    assert previews(viewer) == []
    services.gate.set()
    qtbot.waitUntil(lambda: bool(previews(viewer)))


def test_moving_the_view_moves_the_preview(
    controller, viewer, services, qtbot, make_scan, previews, settle
):
    viewer.layers.clear()
    viewer.add_layer(make_scan((60, 70, 80)))
    controller.choices.preview_ms = 20
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    settle(qtbot, controller)
    before = previews(viewer)[0].translate.copy()
    viewer.dims.set_point(0, 50.0)
    qtbot.waitUntil(lambda: previews(viewer)[0].translate[0] > before[0])


def test_the_preview_has_the_names_and_colors_of_the_model(
    controller, viewer, view, services, qtbot, previews
):
    other = services.models["other"]
    other.label_names, other.label_colors = {1: "in", 2: "out"}, {1: "#ff0000", 2: "#00ff00"}
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    controller.choices.model = "other"
    assert previews(viewer) == []
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    (preview,) = previews(viewer)
    assert list(preview.features["name"]) == ["background", "in", "out"]
    np.testing.assert_allclose(preview.get_color(2), (0, 1, 0, 1))


def test_a_preview_is_named_after_its_box_and_outlined(
    controller, viewer, view, services, qtbot, make_scan, previews
):
    viewer.layers.clear()
    viewer.add_layer(make_scan((60, 70, 80)))
    controller.choices.preview_ms = 20
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    (preview,) = previews(viewer)
    text = view.last("preview")[0]
    assert text.startswith("Preview: ") and text.endswith(" mm box.")
    assert preview.name == f"preview, {text[9:-1]} · fake"
    assert preview.bounding_box.visible
    controller.choices.preview_ms = 10_000
    qtbot.waitUntil(lambda: view.last("preview") == ("Preview: whole scan.", "plain"))
    assert preview.name == "preview, whole scan · fake"
    controller.choices.live = False
    assert view.last("preview")[0] == ""


def test_the_panel_says_why_there_is_no_preview(
    controller, viewer, view, services, qtbot, make_scan, previews
):
    viewer.layers.clear()
    viewer.add_layer(make_scan((60, 70, 80)))
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    services.models["fake"].localization = Localization(4.0, 4.0, (58.0, 60.0, 58.0))
    controller.choices.preview_ms = 20  # a box of 58 mm takes 195 ms, or a quarter at this pace
    qtbot.waitUntil(lambda: previews(viewer) == [])
    text, tone = view.last("preview")
    assert text.startswith(
        "No preview within 20 ms: the model needs a 58 mm box to be reliable, about "
    )
    assert tone == "warning"
