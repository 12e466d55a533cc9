"""The models are listed with what they are for; models are added, downloaded and removed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("pytestqt")

import napari_hyperspace as hs
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.controllers.manager import ManagerView, ModelRow
from napari_hyperspace.gui.models.view import Tone
from napari_hyperspace.nets.library import add_model


class Window:
    """Remembers what is shown."""

    def __init__(self) -> None:
        self.rows: dict[str, ModelRow] = {}
        self.current = self.card = ""
        self.states: list[tuple[str, Tone, float | None]] = []

    def show_rows(self, rows: Sequence[ModelRow], current: str) -> None:
        self.rows, self.current = {row.name: row for row in rows}, current

    def show_card(self, text: str) -> None:
        self.card = text

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        self.states.append((text, tone, fraction))


_: type[ManagerView] = Window


@pytest.fixture
def model_file(tiny_model, tmp_path) -> Path:
    path = hs.save_model(tiny_model, tmp_path / "mine.safetensors")
    hs.load_model(path)  # imports, once, what would take seconds while the test waits
    return path


@pytest.fixture
def manager(controller):
    yield controller.manager
    controller.manager.close()


@pytest.fixture
def window(manager):
    window = Window()
    manager.open(window)
    return window


def wait(qtbot, manager):
    qtbot.waitUntil(lambda: not manager.running)


def test_models_are_listed_with_what_they_are_for(window, manager):
    assert [(row.name, row.origin) for row in window.rows.values()] == [
        ("fake", "bundled"),
        ("other", "bundled"),
    ]
    assert window.current == "fake"
    assert window.rows["fake"].purpose == "A fake" and not window.rows["fake"].removable
    manager.select("fake")
    assert "Structures: 1 front, 2 back" in window.card


def test_the_chooser_gets_the_lines_too(controller, manager, view, qtbot):
    controller.models.unload()
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert set(view.last("model_purposes")[0]) == {"fake", "other"}


def test_a_file_is_added_used_and_removed(window, manager, controller, view, model_file, qtbot):
    manager.add_file(str(model_file))
    wait(qtbot, manager)
    assert window.states[-1] == ("Added: mine.", "good", None)
    assert window.rows["mine"].origin == "added" and window.rows["mine"].removable
    assert window.current == "mine"
    assert ("mine", "mine") in view.last("models")[0]
    controller.manager._services.models["mine"] = controller.manager._services.models["fake"]
    manager.use("mine")
    assert controller.choices.model == "mine"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    manager.remove("mine")
    assert "mine" not in window.rows
    assert controller.choices.model == "fake"  # the default, since the chosen one is gone


def test_a_folder_is_added_and_removed(window, manager, model_file, qtbot):
    manager.add_folder(str(model_file.parent))
    wait(qtbot, manager)
    assert window.rows["mine"].origin == "in a folder that was added"
    manager.remove("mine")
    assert "mine" not in window.rows and model_file.exists()
    assert window.states[-1][0] == "The folder was removed from the list."


def test_a_download_shows_its_progress_and_can_be_cancelled(
    window, manager, services, model_file, qtbot
):
    going = threading.Event()

    def download(url, sha256, name, should_stop):
        assert (url, sha256, name) == ("https://a/b.safetensors", None, "mine")
        yield Progress(0.25, "downloaded 1 of 4 MB")
        while not going.is_set():
            if should_stop():
                raise Cancelled
        return add_model(model_file, name)

    services.add_model_from_web_steps = download
    for cancelled in (True, False):
        going.clear() if cancelled else going.set()
        manager.add_from_web("https://a/b.safetensors", "", "mine")
        assert manager.running
        manager.add_file("another")  # one at a time
        qtbot.waitUntil(
            lambda: ("downloaded 1 of 4 MB…", "plain", 0.25) in window.states or not manager.running
        )
        if cancelled:
            manager.cancel()
        wait(qtbot, manager)
        text = "Stopped." if cancelled else "Added: mine."
        assert (window.states[-1][0], window.states[-1][2]) == (text, None)


def test_what_goes_wrong_is_said_and_the_list_stays(window, manager, qtbot, tmp_path):
    manager.add_file(str(tmp_path / "missing.safetensors"))
    qtbot.waitUntil(lambda: "there is no such model" in window.states[-1][0])
    assert window.states[-1][1:] == ("error", None)
    manager.add_from_web("http://a/b.safetensors", "", "")
    qtbot.waitUntil(lambda: "checksum" in window.states[-1][0])
    assert list(window.rows) == ["fake", "other"]


def test_a_broken_model_of_a_folder_is_listed_with_its_problem(
    window, manager, services, model_file, qtbot
):
    (model_file.parent / "broken.safetensors").write_bytes(b"x" * 64)
    manager.add_folder(str(model_file.parent))
    wait(qtbot, manager)
    assert window.rows["broken"].purpose.startswith("not readable: ")
    manager.select("broken")
    assert "not a valid safetensors file" in window.card


def test_closing_the_window_stops_a_download(window, manager, services, qtbot):
    stopped = threading.Event()

    def download(url, sha256, name, should_stop):
        yield Progress(0.0, "waiting")
        while not should_stop():
            pass
        stopped.set()
        raise HyperspaceError("late")

    services.add_model_from_web_steps = download
    manager.add_from_web("https://a/b.safetensors", "", "")
    manager.close()
    before = list(window.states)
    wait(qtbot, manager)
    assert stopped.wait(5) and window.states == before
