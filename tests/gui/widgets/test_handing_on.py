"""The actions of the menu Result that hand a result on."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtGui import QAction, QGuiApplication
from qtpy.QtWidgets import QFileDialog

from napari_hyperspace.gui.widgets.parts import dialogs

NAMES = ("python", "command", "names", "network")


@pytest.fixture
def action(dock):
    return lambda name: dock.findChild(QAction, f"hyperspace.result.{name}")


def test_actions_have_names_and_descriptions(dock, action):
    for name in NAMES:
        assert action(name).text()
        assert action(name).toolTip()


def test_code_and_command_are_copied(dock, action, qtbot, child, click):
    clipboard = QGuiApplication.clipboard()
    clipboard.setText("before")
    action("python").trigger()  # there are no labels yet
    assert clipboard.text() == "before"
    click(child(dock, "run"))
    qtbot.waitUntil(lambda: dock.controller.structures.layer is not None)
    action("python").trigger()
    assert "hs.load_model('fake'" in clipboard.text()
    action("command").trigger()
    assert clipboard.text().startswith("hyperspace predict")
    assert "Copied as a command." in child(dock, "message").text()


def test_files_are_asked_for(dock, action, qtbot, child, click, monkeypatch, tmp_path):
    click(child(dock, "run"))
    qtbot.waitUntil(lambda: dock.controller.structures.layer is not None)
    qtbot.waitUntil(lambda: not dock.controller.running)
    asked = []

    def answer(parent, title, suggestion, filters):
        asked.append((title, suggestion))
        return (str(tmp_path / "a.b"), filters.split(";;")[1]) if "names" in title else ("", "")

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    action("names").trigger()
    assert (tmp_path / "a.b.txt").read_text().startswith("# ITK-SnAP")  # the chosen format
    monkeypatch.setattr(dialogs, "ask_spacing", lambda *args: (2.0, 2.0, 2.0))
    action("network").trigger()  # the user declines
    assert asked[-1] == ("Export network", "fake-2mm.onnx")
    assert not dock.controller.running
