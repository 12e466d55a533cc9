"""The dock of the coronal and sagittal views, without their canvases."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("pytestqt")
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_hyperspace.gui.adapters.planes import ThreePlanes
from napari_hyperspace.gui.widgets.planes import PlanesDock

AREAS = Qt.DockWidgetArea


class FakeView(QWidget):
    """Stands for a `QtViewer`, which needs OpenGL."""

    def __init__(self, viewer):
        super().__init__()
        self.viewer = viewer


@pytest.fixture
def window(qtbot, monkeypatch):
    monkeypatch.setattr("napari.qt.QtViewer", FakeView)
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget(window))
    window.resize(600, 400)
    window.show()
    return window


@pytest.fixture
def planes():
    viewer = ViewerModel()
    scan = viewer.add_layer(Image(np.zeros((5, 12, 9)), name="scan"))
    return ThreePlanes(viewer, scan, lambda action: action())


@pytest.fixture
def views(window, planes):
    """What puts the views into the window, with the two calls of napari's window that it needs."""

    def add(widget, name, area):
        dock = QDockWidget(name, window)
        dock.setWidget(widget)
        window.addDockWidget(AREAS.BottomDockWidgetArea, dock)
        return dock

    def remove(dock):
        dock.widget().setParent(None)
        window.removeDockWidget(dock)

    viewer = planes.coronal
    shown = SimpleNamespace(add_dock_widget=add, remove_dock_widget=remove)
    fake = SimpleNamespace(window=shown, fit_to_view=viewer.fit_to_view)
    return PlanesDock(fake, window.centralWidget())


def corners(window):
    return [
        window.corner(corner)
        for corner in (Qt.Corner.BottomLeftCorner, Qt.Corner.BottomRightCorner)
    ]


def test_the_views_lie_beneath_the_canvas_only(window, planes, views, qtbot):
    before = corners(window)
    views.show(planes, lambda: None)
    assert corners(window) == [AREAS.LeftDockWidgetArea, AREAS.RightDockWidgetArea]
    names = ("coronal", "sagittal")
    shown = [window.findChild(FakeView, f"hyperspace.planes.{name}") for name in names]
    assert [view.viewer for view in shown] == [planes.coronal, planes.sagittal]
    assert all(view.accessibleName() for view in shown)
    qtbot.waitUntil(lambda: all(view.isVisible() for view in shown))
    views.hide()
    assert corners(window) == before
    assert window.findChild(QWidget, "hyperspace.planes.views") is None
    views.hide()  # once more does nothing


def test_closing_the_dock_is_noticed(window, planes, views):
    closed = []
    views.show(planes, lambda: (closed.append(True), views.hide()))
    dock = window.findChild(QWidget, "hyperspace.planes.views").parent()
    dock.widget().setParent(None)  # as napari does when the button of the title is clicked
    assert closed == [True]
    assert corners(window) == [AREAS.BottomDockWidgetArea] * 2


def test_a_window_that_closes_is_left_alone(window, planes, views, monkeypatch):
    views.show(planes, lambda: None)

    def gone(dock):
        raise AttributeError("'Window' object has no attribute '_qt_window'")

    monkeypatch.setattr(views._viewer.window, "remove_dock_widget", gone)
    views.hide()


def test_a_window_that_is_deleted_is_left_alone(planes, qtbot, monkeypatch):
    """As when napari is closed while the planes are shown."""
    monkeypatch.setattr("napari.qt.QtViewer", FakeView)
    window = QMainWindow()
    owner = QWidget(window)
    window.setCentralWidget(owner)

    def add(widget, name, area):
        dock = QDockWidget(name, window)
        dock.setWidget(widget)
        window.addDockWidget(AREAS.BottomDockWidgetArea, dock)
        return dock

    fake = SimpleNamespace(
        window=SimpleNamespace(add_dock_widget=add), fit_to_view=planes.coronal.fit_to_view
    )
    views = PlanesDock(fake, owner)
    views.show(planes, lambda: None)
    with qtbot.waitSignal(window.destroyed):
        window.deleteLater()
    views.hide()
