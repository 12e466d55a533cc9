"""Every window that the dock opens: names for screen readers, the wheel, and use by keyboard."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QWidget,
)

from napari_hyperspace.gui.controllers.results.batch import BatchRow
from napari_hyperspace.gui.widgets.parts.controls import is_control
from napari_hyperspace.gui.widgets.parts.question_dialog import ChoiceDialog
from napari_hyperspace.gui.widgets.parts.spacing_dialog import ExactBox, SpacingDialog
from napari_hyperspace.gui.widgets.windows.batch import BatchWindow
from napari_hyperspace.gui.widgets.windows.models import ModelsWindow


def open_window(dock, name: str) -> QDialog:
    """Open a window as the user does."""
    if name == "batch":
        dock.findChild(QAction, "hyperspace.open.batch").trigger()
        window = dock.findChild(BatchWindow)
        window._source.setText("/scans")
        return window
    chooser = dock.findChild(QComboBox, "hyperspace.model")
    if name in ("models", "web"):
        chooser.setCurrentIndex(chooser.findText("Manage models…"))
        models = dock.findChild(ModelsWindow)
        if name == "models":
            return models
        models.findChild(QAbstractButton, "hyperspace.models.add_web").click()
        return models.findChild(QDialog, "hyperspace.web")
    dock.findChild(QAction, f"hyperspace.help.{name}").trigger()
    return dock.findChild(QDialog, f"hyperspace.{name}")


@pytest.fixture(params=["batch", "models", "web", "about", "guide", "shortcuts"])
def window(request, dock, qtbot):
    window = open_window(dock, request.param)
    window.activateWindow()
    qtbot.waitUntil(window.isVisible)
    return window


def stops(window: QWidget) -> list[QWidget]:
    """The controls that the key Tab should reach now."""
    return [
        one
        for one in window.findChildren(QWidget)
        if one.focusPolicy() & Qt.FocusPolicy.TabFocus
        and one.isVisible()
        and one.isEnabled()
        and one.focusProxy() is None
        and not one.objectName().startswith("qt_")
        and one.window() is window
    ]


def walk(qtbot, key: Qt.Key) -> list[QWidget]:
    """The controls that a key reaches, until the first one has the focus again."""
    seen: list[QWidget] = []
    while (now := QApplication.focusWidget()) is not None and now not in seen:
        seen.append(now)
        qtbot.keyClick(now, key)
        assert len(seen) < 50
    return seen


def test_every_control_has_a_name_and_a_description(window):
    controls = [*stops(window), *filter(is_control, window.findChildren(QWidget))]
    assert len(controls) >= 1
    for one in (window, *controls):
        assert one.objectName().startswith("hyperspace."), type(one).__name__
    for one in controls:
        assert one.accessibleName(), one.objectName()
        assert one.accessibleDescription(), one.objectName()
    assert window.windowTitle()


def place(control: QWidget) -> tuple[int, int]:
    """Row and column: controls whose centers differ by a few pixels are in one row."""
    center = control.mapTo(control.window(), control.rect().center())
    return round(center.y() / 12), center.x()


def test_the_keys_go_through_all_controls_in_reading_order(window, qtbot):
    expected = sorted(stops(window), key=place)
    expected[0].setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(expected[0].hasFocus)
    forth = walk(qtbot, Qt.Key.Key_Tab)
    assert [one.objectName() for one in forth] == [one.objectName() for one in expected]
    back = walk(qtbot, Qt.Key.Key_Backtab)
    assert back == [expected[0], *reversed(expected[1:])]


def test_the_first_control_has_the_focus(window, qtbot):
    qtbot.waitUntil(lambda: window.focusWidget() is not None)
    assert window.focusWidget() is min(stops(window), key=place)


def test_the_focus_is_visible(window, qtbot):
    for one in stops(window):
        window.setFocus()
        before = one.grab().toImage()
        one.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.waitUntil(one.hasFocus)
        assert one.grab().toImage() != before, one.objectName()


def test_escape_closes_it(window, qtbot):
    qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not window.isVisible())


def test_a_result_of_a_batch_is_opened_by_keyboard(dock, qtbot):
    window = open_window(dock, "batch")
    opened, started = [], []
    window._controller.open_result, window._controller.run = opened.append, started.append
    window.show_rows([BatchRow("a.nii"), BatchRow("b.nii", "done")])
    window.activateWindow()
    window._table.setFocus()
    qtbot.waitUntil(window._table.hasFocus)
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Return):
        qtbot.keyClick(window._table, key)
    assert opened == [1]
    assert not started  # the button Segment is the default of the window


@pytest.mark.parametrize(
    "make",
    [
        lambda parent: SpacingDialog("Spacing", "Which one?", (1.0, 2.0, 3.0), None, parent),
        lambda parent: ChoiceDialog("Volume", "Which one?", ["first", "second"], parent),
    ],
)
def test_dialogs_are_answered_by_keyboard(dock, qtbot, make):
    dialog = make(dock)
    dialog.show()
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    first = dialog.focusWidget()
    assert isinstance(first, QComboBox | ExactBox)
    reached = walk(qtbot, Qt.Key.Key_Tab)
    assert set(reached) == set(stops(dialog))
    first.setFocus()
    qtbot.keyClick(first, Qt.Key.Key_Return)
    assert dialog.result() == QDialog.DialogCode.Accepted
