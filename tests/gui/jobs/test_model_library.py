"""Model files of the user's own."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.jobs.model_library import ModelLibrary


def test_an_own_model_file(controller, view, services, qtbot, tmp_path):
    path = str((tmp_path / "mine.safetensors").resolve())
    services.models[path] = services.models["other"]
    controller.add_model_file(path)
    assert view.last("models") == (
        [("fake", "fake"), ("other", "other"), (path, "mine")],
        path,
    )
    qtbot.waitUntil(lambda: controller.model is not None)
    assert view.last("model")[0] == "front, back · trained range unknown"


def test_a_broken_model_file_is_told(controller, view, qtbot):
    controller.add_model_file("/nowhere/broken.safetensors")
    qtbot.waitUntil(lambda: view.last("message") is not None)
    assert "this is no model" in view.last("message")[0]
    assert view.last("model")[0] == "could not be loaded"


@pytest.mark.parametrize("was_broken", [True, False])
@pytest.mark.parametrize("another_between", [True, False])
def test_a_model_file_opened_again_is_read_again(
    controller, view, services, qtbot, tmp_path, was_broken, another_between
):
    path = str((tmp_path / "mine.safetensors").resolve())
    if not was_broken:
        services.models[path] = services.models["other"]
    controller.add_model_file(path)
    qtbot.waitUntil(
        lambda: controller.model is not None or view.last("model")[0] == "could not be loaded"
    )
    if another_between:
        controller.choices.model = "fake"
        qtbot.waitUntil(lambda: controller.model is services.models["fake"])
    services.models[path] = replace(services.models["fake"], name="new", label_names={1: "new"})
    controller.add_model_file(path)
    assert controller.model is None
    qtbot.waitUntil(lambda: controller.model is services.models[path])
    assert view.last("model")[0] == "new · trained at 0.8–4 mm"
    controller.jobs.run()  # with the model that is shown
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert view.last("message")[1] == "good"
    assert "scan · new 1 mm" in controller.viewer.layers


def test_a_file_opened_again_while_it_is_being_loaded_is_read_again(services):
    gate, begun, first = threading.Event(), threading.Event(), []

    def load_model(key):
        if not first:
            first.append(key)
            begun.set()
            gate.wait()
            return "old"
        return "new"

    services.load_model = load_model
    shelf = ModelLibrary(services)
    key = shelf.add("/mine.safetensors")
    loading = threading.Thread(target=shelf.load, args=(key,))
    loading.start()
    begun.wait()
    assert shelf.add("/mine.safetensors") == key  # waits for nobody: it is called by the window
    gate.set()
    loading.join()
    assert shelf.load(key) == "new"
