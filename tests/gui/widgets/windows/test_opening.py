"""Windows are not larger than the screen."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.widgets.windows.opening import resize_within_screen


def test_a_window_gets_its_size_unless_the_screen_is_smaller(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    resize_within_screen(window, 300, 200)
    assert (window.width(), window.height()) == (300, 200)
    resize_within_screen(window, 100_000, 200)
    free = window.screen().availableGeometry()
    assert window.width() <= free.width() and window.height() == 200
