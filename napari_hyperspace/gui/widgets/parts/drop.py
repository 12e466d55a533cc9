"""DICOM files dropped on napari's window are opened at once; napari would ask for a reader.

napari's own reader accepts any folder as a stack of pictures, so napari lets the user choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt
from qtpy.QtGui import QDragLeaveEvent, QDropEvent
from qtpy.QtWidgets import QWidget

# The widgets on which napari accepts files. If a version names them differently, napari asks.
_TARGETS = ("QtViewer", "QtWelcomeWidget")


class DropTarget(QObject):
    """Opens what is dropped on a window if all of it is DICOM; the rest is left to napari.

    Parameters
    ----------
    parent
        Drops are taken only while this widget is in a window.
    find_dicom
        Returns the file or folder to open for the dropped paths; `None` unless all are DICOM.
    open_path
        Opens a file or a folder.
    """

    def __init__(
        self,
        parent: QWidget,
        find_dicom: Callable[[Sequence[str]], str | None],
        open_path: Callable[[str], None],
    ) -> None:
        super().__init__(parent)
        self._widget = parent
        self._find_dicom = find_dicom
        self._open = open_path

    def follow(self, window: QWidget | None) -> None:
        """Take what is dropped on this window, too."""
        if window is None:
            return
        for target in (window, *window.findChildren(QWidget)):
            if type(target).__name__ in _TARGETS:
                target.removeEventFilter(self)  # so that it is installed once
                target.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take a drop of DICOM, except with Alt: then napari asks for a reader."""
        if not isinstance(event, QDropEvent) or event.type() != QEvent.Type.Drop:
            return False
        data = event.mimeData()
        alt = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        if data is None or alt or self._widget.parent() is None:
            return False
        path = self._find_dicom([url.toLocalFile() for url in data.urls()])
        if path is None:
            return False
        event.acceptProposedAction()
        QCoreApplication.sendEvent(watched, QDragLeaveEvent())  # ends napari's highlighting
        self._open(path)
        return True
