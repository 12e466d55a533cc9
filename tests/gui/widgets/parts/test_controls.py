"""All controls of the panel and of its dialogs: names for screen readers, and the wheel."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.gui.widgets.parts.controls import Controls, is_control
from napari_hyperspace.gui.widgets.parts.question_dialog import ChoiceDialog
from napari_hyperspace.gui.widgets.parts.slider import SpacingSlider
from napari_hyperspace.gui.widgets.parts.spacing_dialog import SpacingDialog


def controls_of(root):
    return [one for one in (root, *root.findChildren(QWidget)) if is_control(one)]


def unnamed(root):
    return [
        (type(one).__name__, one.objectName(), one.accessibleName(), one.accessibleDescription())
        for one in controls_of(root)
        if not (one.accessibleName() and one.accessibleDescription() and one.objectName())
    ]


def test_every_control_of_the_panel_is_named_and_described(dock, qtbot, child, click):
    click(child(dock, "run"))  # adds the table of structures
    qtbot.waitUntil(lambda: child(dock, "run").isEnabled())
    qtbot.waitUntil(lambda: dock.controller.structures.is_idle)
    assert len(controls_of(dock)) > 30
    assert unnamed(dock) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda parent: SpacingDialog("Spacing", "Which one?", (1.0, 2.0, 3.0), None, parent),
        lambda parent: ChoiceDialog("Volume", "Which one?", ["first", "second"], parent),
    ],
)
def test_every_control_of_a_dialog_is_named_and_described(qtbot, make):
    parent = QWidget()
    qtbot.addWidget(parent)
    Controls(parent)
    parent.show()
    dialog = make(parent)
    dialog.show()
    assert unnamed(dialog) == []
    dialog.close()


def roll(qtbot, widget):
    """Turn the wheel over a widget; return whether it takes the event and nothing else scrolls."""
    center = QPointF(widget.rect().center())
    event = QWheelEvent(
        center,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event.isAccepted()


def value(widget):
    return widget.currentIndex() if isinstance(widget, QComboBox) else widget.value()


def test_the_wheel_changes_no_control_of_the_panel_without_focus(dock, qtbot):
    dock.activateWindow()
    numbers = [
        one
        for one in controls_of(dock)
        if isinstance(one, QSpinBox | QDoubleSpinBox | QComboBox | QSlider | SpacingSlider)
    ]
    assert len(numbers) > 8
    for one in numbers:
        before = value(one)
        roll(qtbot, one)
        assert value(one) == before, one.objectName()
        assert not one.hasFocus()


def test_the_wheel_scrolls_and_changes_a_control_with_focus_and_one_added_later(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    Controls(page)
    page.show()
    box = QSpinBox()
    box.setRange(0, 10)
    box.setValue(5)
    layout.addWidget(box)
    box.show()
    page.activateWindow()
    qtbot.waitUntil(lambda: box.focusPolicy() == Qt.FocusPolicy.StrongFocus)
    box.clearFocus()
    assert not roll(qtbot, box)  # Qt passes it on to the parent
    assert box.value() == 5
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    assert roll(qtbot, box)
    assert box.value() == 4


def test_descriptions_follow_tool_tips_without_their_markup(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    box = QCheckBox("Fill holes…", page)
    box.setToolTip("<qt>a &lt; b<br>second</qt>")
    Controls(page)
    assert (box.accessibleName(), box.accessibleDescription()) == ("Fill holes", "a < b second")
    box.setToolTip("another")
    assert box.accessibleDescription() == "another"
