"""Windows of which there is one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.QtWidgets import QDialog, QWidget

Window = TypeVar("Window", bound=QDialog)


def open_one(parent: QWidget, kind: type[Window], make: Callable[[], Window]) -> Window:
    """Bring the open window of this kind to the front, or make one, and return it.

    Parameters
    ----------
    parent
        The dock that the window belongs to.
    kind
        The class of the window.
    make
        Makes a window.
    """
    # A window that was closed exists until Qt deletes it.
    shown = [window for window in parent.findChildren(kind) if window.isVisible()]
    window: Window = shown[0] if shown else make()
    window.show()
    window.raise_()
    window.activateWindow()
    return window
