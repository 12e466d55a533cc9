"""The window of the models by mouse, with its controls found by objectName."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QListWidget, QPlainTextEdit

import napari_hyperspace as hs
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.windows.models import ModelsWindow
from napari_hyperspace.gui.widgets.windows.web_address import WebAddressDialog


@pytest.fixture
def model_file(tiny_model, tmp_path) -> Path:
    card = tiny_model.card.model_copy(update={"description": "<b>Two</b> things. More."})
    tiny_model.card = card
    path = hs.save_model(tiny_model, tmp_path / "mine.safetensors")
    hs.load_model(path)  # imports, once, what would take seconds while the test waits
    return path


@pytest.fixture
def window(dock, child):
    chooser = child(dock, "model", QComboBox)
    chooser.setCurrentIndex(chooser.findText("Manage models…"))
    found = dock.findChild(ModelsWindow)
    assert chooser.currentText() == "fake" and found.isVisible()
    return found


def test_each_control_is_described_for_screen_readers(window, child):
    names = ("list", "card", "add_file", "add_web", "add_folder", "remove", "use", "cancel")
    for name in (*names, "close", "progress"):
        control = child(window, f"models.{name}")
        assert control.accessibleName() and control.accessibleDescription(), name


def test_a_model_is_added_chosen_and_removed_by_mouse(
    window, dock, child, click, qtbot, monkeypatch, model_file, services
):
    listed = child(window, "models.list", QListWidget)
    assert [listed.item(i).text() for i in range(2)] == [
        "fake  (bundled)\nA fake",
        "other  (bundled)\nA fake",
    ]
    assert "Structures: 1 front" in child(window, "models.card", QPlainTextEdit).toPlainText()
    remove, cancel = child(window, "models.remove"), child(window, "models.cancel")
    assert not remove.isEnabled() and not cancel.isEnabled()
    monkeypatch.setattr(dialogs, "ask_model_file", lambda parent: str(model_file))
    click(child(window, "models.add_file"))
    assert cancel.isEnabled() and not child(window, "models.add_web").isEnabled()
    qtbot.waitUntil(lambda: listed.count() == 3)
    assert listed.currentItem().text() == "mine  (added)\n<b>Two</b> things"
    assert child(window, "models.message").text() == "Added: mine."
    services.models["mine"] = services.models["fake"]
    click(child(window, "models.use"))
    chooser = child(dock, "model", QComboBox)
    assert chooser.currentText() == "mine"
    qtbot.waitUntil(lambda: dock.findChild(ModelsWindow) is None)
    chooser.setCurrentIndex(chooser.findText("Manage models…"))
    window = dock.findChild(ModelsWindow)
    assert child(window, "models.list").currentRow() == 2
    click(child(window, "models.remove"))
    assert child(window, "models.list").count() == 2
    assert chooser.currentText() == "fake" and chooser.findText("mine") < 0
    click(child(window, "models.close"))
    qtbot.waitUntil(lambda: dock.findChild(ModelsWindow) is None)


def test_an_address_is_asked_for_with_its_checksum(window, dock, child, click, qtbot):
    asked = []
    window._controller.add_from_web = lambda *answer: asked.append(answer)
    click(child(window, "models.add_web"))
    dialog = window.findChild(WebAddressDialog)
    accept = child(dialog, "web.accept", QAbstractButton)
    assert not accept.isEnabled()
    for name, text in (("url", " https://a/b.safetensors "), ("sha256", "ab"), ("name", "")):
        line = child(dialog, f"web.{name}", QLineEdit)
        assert line.accessibleName() and line.accessibleDescription()
        qtbot.keyClicks(line, text)
    click(accept)
    assert asked == [("https://a/b.safetensors", "ab", "")]
    qtbot.waitUntil(lambda: window.findChild(WebAddressDialog) is None)


def test_a_folder_is_chosen(window, child, click, monkeypatch, qtbot, model_file):
    from qtpy.QtWidgets import QFileDialog

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(model_file.parent))
    click(child(window, "models.add_folder"))
    listed = child(window, "models.list")
    qtbot.waitUntil(lambda: listed.count() == 3)
    assert "in a folder that was added" in listed.item(2).text()
