"""DICOM dropped on napari's window: opened at once, where napari would ask for a reader first.

napari's own reader takes any folder for a stack of pictures, so that napari asks which one to use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt
from qtpy.QtGui import QDragLeaveEvent
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.adapters.readers import holds_dicom

# Where napari accepts files. Under other names in another version, it goes on asking.
_TARGETS = ("QtViewer", "QtWelcomeWidget")


class DropTarget(QObject):
    """Opens what is dropped on a window if all of it is DICOM; the rest is napari's.

    Parameters
    ----------
    parent
        As long as it is in the window, drops are taken.
    open_path
        What opens a file or a folder.
    """

    def __init__(self, parent: QWidget, open_path: Callable[[str], None]) -> None:
        super().__init__(parent)
        self._open = open_path

    def follow(self, window: QWidget) -> None:
        """Take what is dropped on this window too."""
        for target in (window, *window.findChildren(QWidget)):
            if type(target).__name__ in _TARGETS:
                target.removeEventFilter(self)  # never twice
                target.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take a drop of DICOM, unless the user asks for napari's choice of readers by Alt."""
        if event is None or event.type() != QEvent.Type.Drop or self.parent().parent() is None:
            return False
        if event.modifiers() & Qt.KeyboardModifier.AltModifier:
            return False
        path = dicom_path([url.toLocalFile() for url in event.mimeData().urls()])
        if path is None:
            return False
        event.acceptProposedAction()
        QCoreApplication.sendEvent(watched, QDragLeaveEvent())  # or it stays highlighted
        self._open(path)
        return True


def dicom_path(dropped: Sequence[str]) -> str | None:
    """Return what to open of what was dropped; several files of a folder are the folder.

    `None` unless all of it is DICOM: notes dropped from beside a series are no series.
    """
    paths = [Path(one) for one in dropped if one]
    if len(paths) < len(dropped) or not paths:  # some are of the web
        return None
    if not all(holds_dicom(str(path)) for path in paths):
        return None
    if len(paths) == 1:
        return str(paths[0])
    parents = {path.parent for path in paths}
    together = len(parents) == 1 and all(path.is_file() for path in paths)
    return str(parents.pop()) if together else None
