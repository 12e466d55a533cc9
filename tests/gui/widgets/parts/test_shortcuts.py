"""Keyboard shortcuts."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QMainWindow, QShortcut, QVBoxLayout, QWidget

from napari_hyperspace.gui.widgets.parts.shortcuts import Shortcuts


def test_a_shortcut_works_wherever_the_focus_is_in_the_window(qtbot):
    window, panel, other = QMainWindow(), QWidget(), QLineEdit()
    qtbot.addWidget(window)
    both = QWidget()
    column = QVBoxLayout(both)
    column.addWidget(panel)
    column.addWidget(other)
    window.setCentralWidget(both)
    done = []
    shortcuts = Shortcuts(panel)
    shortcuts.add("run", "Ctrl+Shift+R", "Run", lambda: done.append("run"))
    shortcuts.follow(window)
    shortcuts.add("later", "Ctrl+Shift+B", "Blink", lambda: done.append("blink"))
    with qtbot.waitExposed(window):
        window.show()
    window.activateWindow()
    other.setFocus()
    qtbot.waitUntil(other.hasFocus)
    control_shift = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    for key in (Qt.Key.Key_R, Qt.Key.Key_B):
        qtbot.keyClick(other, key, control_shift)
    assert done == ["run", "blink"]
    assert [what for _, what in shortcuts.describe()] == ["Run", "Blink"]


def test_shortcuts_move_with_the_widget_to_another_window(qtbot):
    windows, panel = (QMainWindow(), QMainWindow()), QWidget()
    for window in windows:
        qtbot.addWidget(window)
    shortcuts = Shortcuts(panel)
    shortcuts.add("run", "Ctrl+Shift+R", "Run", lambda: None)
    for window in (*windows, None):
        shortcuts.follow(window)
        qtbot.waitUntil(
            lambda window=window: (
                [bool(one.findChildren(QShortcut)) for one in windows]
                == [one is window for one in windows]
            )
        )
    panel.deleteLater()
