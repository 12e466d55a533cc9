"""The slider for spacings."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import QPoint, Qt

from napari_hyperspace.gui.models.scales import Scale
from napari_hyperspace.gui.models.spacings import LIMITS_MM
from napari_hyperspace.gui.widgets.parts.slider import SpacingSlider
from napari_hyperspace.gui.widgets.parts.theme import colors


@pytest.fixture
def slider(qtbot):
    slider = SpacingSlider()
    qtbot.addWidget(slider)
    slider.resize(220, 40)
    slider.setScale(Scale(0.4, 8.0, (0.8, 4.0), (1.0,)))
    slider.show()
    return slider


def test_the_value_is_in_mm(slider, qtbot):
    with qtbot.waitSignal(slider.valueChanged) as emitted:
        slider.setValue(2.5)
    assert emitted.args == [2.5]
    assert slider.value() == 2.5
    slider.setValue(1 / 3)
    assert slider.value() == 1 / 3


def test_the_scale_is_extended_to_the_value(slider):
    slider.setValue(20.0)
    assert slider.value() == slider.scale().high == 20.0
    slider.setValue(1000.0)
    assert slider.value() == LIMITS_MM[1]


@pytest.mark.parametrize("spacing", [0.5, 1.0, 3.7])
def test_a_click_sets_the_spacing_at_that_position(slider, qtbot, spacing):
    moved = []
    slider.moved.connect(moved.append)
    qtbot.mouseClick(
        slider, Qt.MouseButton.LeftButton, pos=QPoint(round(slider.position_of(spacing)), 14)
    )
    assert slider.value() == pytest.approx(spacing, rel=0.02)
    assert moved == [slider.value()]


def test_dragging_past_the_end_sets_the_end(slider, qtbot):
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(100, 14))
    slider.setValue(slider.value())
    qtbot.mouseMove(slider, QPoint(500, 14))
    qtbot.waitUntil(lambda: slider.value() == 8.0)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(500, 14))


def test_keys_change_the_value_by_steps(slider, qtbot):
    slider.setValue(2.0)
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == pytest.approx(2.04)
    qtbot.keyClick(slider, Qt.Key.Key_PageDown)
    assert slider.value() == pytest.approx(2.04 / 1.02**8, rel=0.01)


def test_the_trained_range_and_the_native_mark_are_painted(slider):
    slider.setColors(colors("dark"))
    slider.setValue(8.0)
    image = slider.grab().toImage()
    ratio = image.devicePixelRatio()

    def pixel(spacing, y):
        return image.pixelColor(round(slider.position_of(spacing) * ratio), round(y * ratio))

    accent, mark = colors("dark").accent, colors("dark").mark
    for spacing in (0.9, 2.0, 3.8):
        assert pixel(spacing, 14).name() == accent.name()
    for spacing in (0.5, 6.0):
        assert pixel(spacing, 14).name() != accent.name()
    assert pixel(1.0, 4).name() == mark.name()
    assert pixel(2.0, 4).name() != mark.name()
