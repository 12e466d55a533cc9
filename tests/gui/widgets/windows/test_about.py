"""The menu Help: diagnostics on the clipboard, and the window about the program."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction, QGuiApplication
from qtpy.QtWidgets import QPlainTextEdit, QPushButton

from napari_hyperspace.gui.widgets.windows.text import TextDialog


def action(dock, name):
    found = dock.findChild(QAction, f"hyperspace.help.{name}")
    assert found.toolTip()
    return found


def test_diagnostics_are_copied_without_names(dock, viewer, child):
    viewer.layers[0].name = "Mustermann"
    action(dock, "diagnostics").trigger()
    text = QGuiApplication.clipboard().text()
    assert "versions:\n  napari-hyperspace: " in text
    assert "window:\n  Qt: " in text and "scan: 12 × 14 × 16 voxels" in text
    assert "Mustermann" not in text
    assert "copied" in child(dock, "message").text()


def test_about_shows_licenses_as_plain_text(dock, qtbot):
    action(dock, "about").trigger()
    window = dock.findChild(TextDialog, "hyperspace.about")
    text = window.findChild(QPlainTextEdit, "hyperspace.about.text")
    assert text.isReadOnly() and text.accessibleName() and text.accessibleDescription()
    assert "License: CC-BY-SA 4.0" in text.toPlainText()
    copy = window.findChild(QPushButton, "hyperspace.about.copy")
    assert copy.accessibleDescription()
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == text.toPlainText()
    close = window.findChild(QPushButton, "hyperspace.about.close")
    qtbot.mouseClick(close, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.findChild(TextDialog, "hyperspace.about") is None)


def test_markup_is_not_interpreted(qtbot):
    window = TextDialog("Title", "<b>bold</b>", "test")
    qtbot.addWidget(window)
    text = window.findChild(QPlainTextEdit, "test.text")
    assert text.toPlainText() == "<b>bold</b>"
