"""The curve of time and accuracy over the spacing."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt

from napari_hyperspace.gui.widgets.curve import CostCurve
from napari_hyperspace.gui.widgets.parts.theme import colors


def test_the_part_that_does_not_fit_and_the_current_point(qtbot):
    curve = CostCurve()
    qtbot.addWidget(curve)
    curve.setCurve((1, 2, 3, 4), (8.0, 1.0, 0.3, 0.1), (False, False, True, True), (0.8, 4.0))
    curve.setPoint(2.5, 0.5)
    curve.show()
    fits, too_large = (item.getData() for item in (curve._fits, curve._too_large))
    np.testing.assert_array_equal(np.isfinite(fits[1]), (False, False, True, True))
    np.testing.assert_array_equal(np.isfinite(too_large[1]), (True, True, True, False))
    np.testing.assert_allclose(fits[0], np.log10((1, 2, 3, 4)))
    np.testing.assert_allclose(curve._point.getData(), np.log10([[2.5], [0.5]]))
    np.testing.assert_allclose(curve._trained.getRegion(), np.log10((0.8, 4.0)))


def test_measured_dice_is_joined_only_if_it_is_interpolated(qtbot):
    curve = CostCurve()
    qtbot.addWidget(curve)
    curve.resize(300, 130)
    curve.show()
    curve.setCurve((1, 2, 4), (8.0, 1.0, 0.3), (True,) * 3, (0.8, 4.0))
    curve.setAccuracy(((1.0, 0.9), (3.0, 0.7)), True, (2.0, 0.8))
    x, y = curve._dice.getData()
    np.testing.assert_allclose(x, np.log10((1, 3)))
    np.testing.assert_allclose(y, (0.9, 0.7))
    assert curve._dice.opts["pen"].style() == Qt.PenStyle.SolidLine
    height = curve.height()
    np.testing.assert_allclose(curve._dice_point.getData(), [[np.log10(2)], [0.8]])
    assert curve._strip.isVisible()
    low, high = curve._strip.getAxis("left").range
    assert low < 0.7 and high > 0.9
    boxes = [plot.getViewBox() for plot in (curve._strip, curve._plot)]
    edges = [(box.sceneBoundingRect().left(), box.sceneBoundingRect().right()) for box in boxes]
    assert edges[0] == pytest.approx(edges[1])  # the same spacing is at the same place in both
    assert boxes[0].viewRange()[0] == pytest.approx(boxes[1].viewRange()[0])
    curve.setAccuracy(((1.5, 0.9),), False, None)
    assert curve._dice.opts["pen"].style() == Qt.PenStyle.NoPen
    assert curve._dice_point.getData()[0].size == 0
    curve.setAccuracy((), False, None)
    assert not curve._strip.isVisible()
    assert curve.height() < height


def test_the_axes_are_labeled(qtbot):
    curve = CostCurve()
    qtbot.addWidget(curve)
    axes = curve._plot.getAxis("bottom"), curve._plot.getAxis("left"), curve._strip.getAxis("left")
    assert [axis.labelText for axis in axes] == ["working spacing (mm)", "time", "Dice"]


def test_the_curve_follows_the_theme(qtbot):
    """Its background is the theme's also after a change while the curve is shown."""
    curve = CostCurve()
    qtbot.addWidget(curve)
    curve.resize(300, 160)
    curve.show()
    for theme in ("dark", "light", "dark"):
        curve.setColors(colors(theme))
        corner = curve.grab().toImage().pixelColor(1, 1)
        assert corner.name() == colors(theme).background.name()
