"""The dock on a viewer without a window, and its controls by objectName."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@pytest.fixture
def add_scan() -> Callable[..., Any]:
    """Add an image to a viewer."""

    def add(viewer: ViewerModel, name: str = "scan", **placed: Any) -> Any:
        values = np.random.default_rng(1).normal(size=(12, 14, 16))
        return viewer.add_layer(Image(values, **{"units": "mm", "name": name} | placed))

    return add


@pytest.fixture
def viewer(add_scan: Callable[..., Any]) -> ViewerModel:
    viewer = ViewerModel()
    add_scan(viewer)
    return viewer


@pytest.fixture
def make_dock(qtbot: QtBot, services: Services) -> Callable[..., HyperspaceWidget]:
    """Show the dock in a window of its own."""

    def make(viewer: ViewerModel, width: int, height: int) -> HyperspaceWidget:
        widget = HyperspaceWidget(viewer, services)
        qtbot.addWidget(widget, before_close_func=lambda one: one.controller.close())
        widget.resize(width, height)
        widget.show()
        return widget

    return make


@pytest.fixture
def dock(
    qtbot: QtBot,
    viewer: ViewerModel,
    make_dock: Callable[..., HyperspaceWidget],
    child: Callable[..., Any],
) -> HyperspaceWidget:
    """The dock once it has estimated the cost."""
    widget = make_dock(viewer, 350, 700)
    qtbot.waitUntil(lambda: "GB" in child(widget, "estimate").text())
    return widget


@pytest.fixture
def child() -> Callable[..., Any]:
    """Return the control with an objectName."""

    def find(dock: QWidget, name: str, kind: type[QWidget] = QWidget) -> Any:
        found = dock.findChildren(kind, f"hyperspace.{name}")
        assert len(found) == 1, name
        return found[0]

    return find


@pytest.fixture
def click(qtbot: QtBot) -> Callable[[QWidget], None]:
    """Click a widget with the left button."""
    return lambda widget: qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)
