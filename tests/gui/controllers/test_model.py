"""Choosing a model."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.controllers.dock import DockController


def test_the_brain_model_is_the_default(qtbot, viewer, view, services):
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


def test_many_structures_are_counted_and_few_are_listed(controller, view, services, qtbot):
    names = {value: f"structure {value}" for value in range(1, 28)}
    services.models["other"].label_names = names
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    text, details = view.last("model")
    assert text == "27 structures · trained range unknown"
    assert "structure 13, structure 14" in details


def test_a_model_of_two_channels_segments_two_layers(
    controller, viewer, view, services, qtbot, make_scan
):
    services.models["other"].in_channels = 2
    second = viewer.add_layer(make_scan(name="second"))
    viewer.layers.selection.active = viewer.layers["scan"]
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert view.last("layers")[2] == ("T1", "T2")
    assert [one.name for one in controller.layers.layers] == ["scan", "second"]
    third = viewer.add_layer(make_scan(name="third"))
    controller.scan.choose(str(id(third)), channel=1)
    controller.segmentation.run()
    qtbot.waitUntil(lambda: not controller.running)
    assert [volume.name for volume in services.runs[-1][0]] == ["scan", "third"]
    assert second in viewer.layers
