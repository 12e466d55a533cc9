"""The coronal and sagittal views beneath napari's own canvas."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QSplitter, QWidget

from napari_hyperspace.gui.adapters.planes import ThreePlanes
from napari_hyperspace.gui.adapters.viewer import fit_to_view

_CORNERS = {
    Qt.Corner.BottomLeftCorner: Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.Corner.BottomRightCorner: Qt.DockWidgetArea.RightDockWidgetArea,
}


class PlanesPanel(QSplitter):
    """Two canvases side by side.

    Parameters
    ----------
    planes
        Their viewer models.
    viewer
        napari's viewer, which shows the third plane.
    """

    closed = Signal()
    """The user has closed the dock of the panel."""

    def __init__(self, planes: ThreePlanes, viewer: Any, parent: QWidget | None = None) -> None:
        from napari.qt import QtViewer

        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setObjectName("hyperspace.planes.views")
        self._models = (viewer, planes.coronal, planes.sagittal)
        self._views = [QtViewer(model) for model in self._models[1:]]
        for view, name in zip(self._views, ("coronal", "sagittal"), strict=True):
            view.setObjectName(f"hyperspace.planes.{name}")
            view.setAccessibleName(f"{name} view")
            self.addWidget(view)
        self._fitted = False
        self._released = False

    def event(self, event: QEvent | None) -> bool:
        """Fit the views once they have their size; notice that the dock was closed."""
        kind = None if event is None else event.type()
        if kind == QEvent.Type.Show and not self._fitted:
            self._fitted = True
            QTimer.singleShot(0, self._fit)
        elif kind == QEvent.Type.ParentChange and self.parent() is None and not self._released:
            self.closed.emit()
        return bool(super().event(event))

    def _fit(self) -> None:
        if not self._released:
            for model in self._models:
                fit_to_view(model)

    def release(self) -> None:
        """Free what the canvases hold; the panel cannot be used any more."""
        self._released = True
        for view in self._views:
            view.close()
        self.deleteLater()

    def sizeHint(self) -> QSize:
        """Return the preferred size: about as high as napari's own canvas."""
        return QSize(600, 400)


class PlanesDock:
    """Puts the views of three planes into the window, and takes them out again.

    Parameters
    ----------
    viewer
        napari's viewer.
    owner
        A widget in its window.
    """

    def __init__(self, viewer: Any, owner: QWidget) -> None:
        self._viewer = viewer
        self._owner = owner
        self._panel: PlanesPanel | None = None
        self._dock: QDockWidget | None = None
        self._window: QMainWindow | None = None
        self._corners: dict[Qt.Corner, Qt.DockWidgetArea] = {}

    def show(self, planes: ThreePlanes, closed: Callable[[], None]) -> None:
        """Show the views; ``closed`` is called when the user closes their dock."""
        window = self._owner.window()
        assert isinstance(window, QMainWindow)
        # The views lie beneath the canvas only, not beneath the docks beside it.
        for corner, area in _CORNERS.items():
            self._corners[corner] = window.corner(corner)
            window.setCorner(corner, area)
        panel = PlanesPanel(planes, self._viewer)
        panel.closed.connect(closed)
        dock = self._viewer.window.add_dock_widget(
            panel, name="Coronal and sagittal", area="bottom"
        )
        window.resizeDocks([dock], [window.height() * 9 // 20], Qt.Orientation.Vertical)
        self._panel, self._dock, self._window = panel, dock, window

    def hide(self) -> None:
        """Take the views out of the window."""
        panel, dock, window = self._panel, self._dock, self._window
        self._panel = self._dock = self._window = None
        # A window that was closed is deleted with all its widgets before the dock is told.
        if panel is None or window is None or not isalive(window):  # type: ignore[no-untyped-call]
            return
        for corner, area in self._corners.items():
            window.setCorner(corner, area)
        panel.release()
        if panel.parent() is not None:
            # A window that is closing has no docks any more as far as napari is concerned.
            with suppress(AttributeError):
                self._viewer.window.remove_dock_widget(dock)
