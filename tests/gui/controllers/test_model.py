"""Choosing a model."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from napari_hyperspace.gui.controllers.dock import DockController
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.jobs.model_library import AvailableDevices, ModelLibrary
from napari_hyperspace.gui.models.choices import Choices


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


@pytest.mark.parametrize(
    ("key", "found"), [("other", "other"), ("gone", "fake"), ("/gone.safetensors", "fake")]
)
def test_the_model_used_last_is_chosen_if_it_is_still_there(view, services, key, found):
    choices = Choices(model=key)
    controller = ModelController(view, ModelLibrary(services), choices)
    assert choices.model == view.last("models")[1] == found
    choices.device = "cuda:7"
    controller.take(AvailableDevices((("cuda:0", "CUDA"), ("cpu", "CPU"))))
    assert choices.device == "cuda:0"
    choices.device = "cpu"
    controller.take(AvailableDevices((("cuda:0", "CUDA"), ("cpu", "CPU"))))
    assert choices.device == view.last("devices")[1] == "cpu"


def test_a_model_file_used_last_is_listed_again(view, services, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"")
    choices = Choices(model=str(path))
    ModelController(view, ModelLibrary(services), choices)
    assert view.last("models") == (
        [("fake", "fake"), ("other", "other"), (str(path), "mine")],
        str(path),
    )
