"""The user's own model files."""

from __future__ import annotations

import threading
from dataclasses import fields, replace

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.jobs.model_library import ModelLibrary


def test_a_model_file_is_added_and_loaded(controller, view, services, qtbot, tmp_path):
    path = str((tmp_path / "mine.safetensors").resolve())
    services.models[path] = services.models["other"]
    controller.models.add_file(path)
    assert view.last("models") == (
        [("fake", "fake"), ("other", "other"), (path, "mine")],
        path,
    )
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert view.last("model")[0] == "front, back · trained range unknown"


def test_a_broken_model_file_is_reported(controller, view, qtbot):
    controller.models.add_file("/nowhere/broken.safetensors")
    qtbot.waitUntil(lambda: bool((view.last("message") or ("",))[0]))
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
    controller.models.add_file(path)
    qtbot.waitUntil(
        lambda: (
            controller.models.model is not None or view.last("model")[0] == "could not be loaded"
        )
    )
    if another_between:
        controller.choices.model = "fake"
        qtbot.waitUntil(lambda: controller.models.model is services.models["fake"])
    services.models[path] = replace(services.models["fake"], name="new", label_names={1: "new"})
    controller.models.add_file(path)
    assert controller.models.model is None
    qtbot.waitUntil(lambda: controller.models.model is services.models[path])
    assert view.last("model")[0] == "new · trained at 0.8–4 mm"
    controller.segmentation.run()  # with the model that is shown
    qtbot.waitUntil(lambda: not controller.running)
    assert view.last("message")[1] != "error"
    assert "new 1 mm · scan" in controller.viewer.layers


def test_a_file_opened_again_while_it_is_being_loaded_is_read_again(services):
    gate, started, first = threading.Event(), threading.Event(), []
    old, new = services.models["fake"], services.models["other"]

    def load_model(key):
        if not first:
            first.append(key)
            started.set()
            gate.wait()
            return old
        return new

    services.load_model = load_model
    library = ModelLibrary(services)
    key = library.add("/mine.safetensors")
    loading = threading.Thread(target=library.load, args=(key,))
    loading.start()
    started.wait()
    assert library.add("/mine.safetensors") == key  # without waiting: the main thread calls it
    gate.set()
    loading.join()
    assert library.load(key) is new


def test_a_model_that_refines_given_labels_is_refused(controller, view, services, qtbot, tmp_path):
    fake = services.models["fake"]

    class Refines(type(fake)):
        head = "class-conditional"

    path = str((tmp_path / "mine.safetensors").resolve())
    services.models[path] = Refines(
        **{each.name: getattr(fake, each.name) for each in fields(fake)}
    )
    controller.models.add_file(path)
    qtbot.waitUntil(lambda: bool((view.last("message") or ("",))[0]))
    assert "refines labels that are given" in view.last("message")[0]
    assert view.last("model")[0] == "could not be loaded"


def test_the_model_of_the_section_correct_is_not_listed(services, monkeypatch):
    """It does not segment by itself."""
    monkeypatch.setattr(services, "bundled_models", lambda: {"fake": None, "refine": None})
    library = ModelLibrary(services)
    assert library.entries() == [("fake", "fake")]
    assert library.find("refine") == "fake"
