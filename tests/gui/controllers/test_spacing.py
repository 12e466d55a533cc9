"""Choosing the working spacing."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")


def test_an_anisotropic_scan_opens_the_lock(controller, viewer, view, qtbot, make_scan):
    viewer.layers.clear()
    viewer.add_layer(make_scan(scale=(6.0, 0.7, 0.7)))
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)
    assert controller.choices.locked is False
    controller.spacing.set_spacing((1.0, 1.0, 1.0))
    controller.spacing.use_native()
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


def test_the_requested_spacing_is_kept_for_another_model_but_not_for_another_scan(
    controller, viewer, view, qtbot, make_scan
):
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert controller.choices.spacing_mm == (2.0, 2.0, 2.0)
    other = viewer.add_layer(make_scan(scale=(3.0, 3.0, 3.0), name="other"))
    controller.scan.choose(str(id(other)))
    assert controller.choices.spacing_mm == (3.0, 3.0, 3.0)


def test_a_2d_model_keeps_the_spacing_between_slices(
    controller, viewer, view, services, qtbot, settle
):
    services.models["other"].n_dim = 2
    viewer.layers["scan"].scale = (5.0, 1.0, 1.0)
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    assert controller.choices.spacing_mm == (5.0, 2.0, 2.0)
    settle(qtbot, controller)
    assert services.models["other"].baked[-1] == (2.0, 2.0)


def test_the_requested_spacing_returns_after_a_2d_model(
    controller, viewer, view, services, qtbot, settle
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
    assert controller.choices.locked is False  # one slider cannot show it
    assert view.last("choices") == (controller.choices,)
    assert view.last("point")[0] == pytest.approx(20 ** (1 / 3))
    viewer.layers["scan"].scale = (6.0, 1.0, 1.0)
    assert controller.choices.spacing_mm == (6.0, 2.0, 2.0)
    choose("fake")
    assert controller.choices.spacing_mm == (2.0, 2.0, 2.0)
