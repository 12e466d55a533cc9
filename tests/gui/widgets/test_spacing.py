"""The sliders, the spin boxes and the lock together."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QFocusEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_hyperspace.gui.models.scales import make_scales
from napari_hyperspace.gui.widgets.spacing import SpacingPanel


@pytest.fixture
def panel(qtbot):
    panel = SpacingPanel()
    qtbot.addWidget(panel)
    panel.setScales(make_scales(((0.8, 4.0),) * 3, (1.0, 1.0, 1.0)))
    panel.show()
    return panel


def test_the_open_lock_shows_one_slider_per_axis(panel, qtbot, click):
    assert panel.together.isVisible()
    assert not any(slider.isVisible() for slider in panel.each)
    click(panel.lock)
    assert not panel.together.isVisible()
    assert all(slider.isVisible() for slider in panel.each)


def test_the_joined_slider_and_those_of_the_axes(panel, qtbot, click):
    emitted = []
    panel.spacingChanged.connect(emitted.append)
    panel.together.setValue(2.0)
    assert emitted == [(2.0, 2.0, 2.0)]
    click(panel.lock)
    panel.each[0].setValue(4.0)
    assert emitted[-1] == panel.spacing() == (4.0, 2.0, 2.0)
    panel.together.setValue(3.0)  # set from outside while it is hidden
    assert emitted[-1] == panel.spacing() == (3.0, 3.0, 3.0)
    panel.each[2].setValue(1.0)
    click(panel.lock)
    assert len(set(panel.spacing())) == 1
    assert emitted[-1] == panel.spacing()
    panel.each[1].setValue(1.5)  # locked: it moves all
    assert panel.spacing() == (1.5, 1.5, 1.5)


def test_set_spacing_emits_nothing(panel):
    emitted = []
    panel.spacingChanged.connect(emitted.append)
    panel.setSpacing((3.0, 1.0, 1.0))
    assert panel.spacing() == (3.0, 1.0, 1.0)
    assert emitted == []


def test_spacings_can_be_typed_in_mm(panel, qtbot):
    number = panel.findChild(QWidget, "hyperspace.spacing.number")
    number.lineEdit().selectAll()
    qtbot.keyClicks(number.lineEdit(), "2.75")
    qtbot.keyClick(number.lineEdit(), Qt.Key.Key_Return)
    assert panel.spacing() == (2.75, 2.75, 2.75)
    panel.together.setValue(1.23456)
    assert panel.together.value() == 1.23456  # only the spin box rounds
    assert number.value() == 1.23


@pytest.mark.parametrize(
    ("typed", "limit", "text"),
    [
        ("0.01", 0.05, "0.01 mm: the smallest working spacing is 0.05 mm."),
        ("80", 50.0, "80 mm: the largest working spacing is 50 mm."),
        ("1200", 50.0, "1200 mm: the largest working spacing is 50 mm."),
    ],
)
@pytest.mark.parametrize("by_key", [True, False], ids=["return", "focus"])
def test_a_typed_spacing_beyond_the_limits_is_limited_and_explained(
    panel, qtbot, typed, limit, text, by_key
):
    reasons = []
    panel.limited.connect(reasons.append)
    number = panel.findChild(QWidget, "hyperspace.spacing.number")
    number.setFocus()
    number.selectAll()
    qtbot.keyClicks(number, typed)
    if by_key:
        qtbot.keyClick(number, Qt.Key.Key_Return)
    else:  # by Tab or a click elsewhere; the event, because only an active window has a focus
        QApplication.sendEvent(number, QFocusEvent(QEvent.Type.FocusOut))
    assert reasons == [text]
    assert panel.spacing() == (limit,) * 3
    assert number.value() == limit


def test_a_typed_text_that_is_no_number_changes_nothing(panel, qtbot):
    number = panel.findChild(QWidget, "hyperspace.spacing.number")
    panel.together.setValue(1.25)
    number.selectAll()
    qtbot.keyClicks(number, "-abc")
    qtbot.keyClick(number, Qt.Key.Key_Return)
    assert number.value() == 1.25
