"""Painting with the mouse in a whole viewer; needs an X server (real or Xvfb)."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
pytest.importorskip("napari")
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.adapters.viewer import camera_of
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget
from tests.gui.correction_services import CorrectionFakes

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def shown(make_napari_viewer, qapp, qtbot):
    """A visible window with a scan, and the section Correct."""
    if QGuiApplication.platformName() == "offscreen":
        pytest.skip("a whole viewer needs OpenGL: run under X or Xvfb")
    viewer = make_napari_viewer(show=True)
    values = np.random.default_rng(0).normal(size=(20, 40, 40)).astype(np.float32)
    viewer.add_layer(Image(values, units="mm", name="scan"))
    dock = HyperspaceWidget(viewer, CorrectionFakes())
    viewer.window.add_dock_widget(dock, name="HyperSpace")
    qtbot.mouseClick(child(dock, "correct.toggle"), LEFT)
    painting = dock.controller.corrections.painting
    qtbot.waitUntil(lambda: painting.state.possible is not None, timeout=60_000)
    yield viewer, dock
    dock.controller.close()


def child(dock, name):
    return dock.findChild(QWidget, f"hyperspace.{name}")


def drag(qtbot, viewer, places):
    """Drag over positions (y, x) of the shown plane."""
    native = viewer.window._qt_viewer.canvas.native
    camera = camera_of(viewer)
    middle_y, middle_x = camera.center[-2:]

    def point(place):
        across = native.width() / 2 + (place[1] - middle_x) * camera.zoom
        down = native.height() / 2 + (place[0] - middle_y) * camera.zoom
        return QPoint(round(across), round(down))

    qtbot.mousePress(native, LEFT, pos=point(places[0]))
    for place in places[1:]:
        qtbot.mouseMove(native, point(place))
        qtbot.wait(20)
    qtbot.mouseRelease(native, LEFT, pos=point(places[-1]))


def test_a_drag_of_the_brush_is_answered_and_an_erased_one_too(shown, qtbot):
    viewer, dock = shown
    painting = dock.controller.corrections.painting
    qtbot.mouseClick(child(dock, "correct.paint"), LEFT)
    layer = painting.layer
    layer.brush_size = 3
    plane = int(viewer.dims.point[0])
    drag(qtbot, viewer, [(20, x) for x in range(14, 25)])
    painted = layer.data.copy()
    assert painted[plane, 20, 15:24].all() and not np.delete(painted, plane, axis=0).any()
    hint = child(dock, "correct.hint")
    qtbot.waitUntil(lambda: "Answered" in hint.text(), timeout=60_000)
    assert layer.data[plane - 1 : plane + 2, 20, 15:24].all()
    answer = layer.data.copy()
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_1)
    assert layer.mode == "erase"
    drag(qtbot, viewer, [(20, x) for x in range(20, 25)])
    assert not layer.data[plane, 20, 20:24].any()
    qtbot.waitUntil(lambda: len(layer._undo_history) == 4, timeout=60_000)
    assert not layer.data[plane, 20, 20:24].any()
    for _ in range(2):
        layer.undo()
    np.testing.assert_array_equal(layer.data, answer)
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
