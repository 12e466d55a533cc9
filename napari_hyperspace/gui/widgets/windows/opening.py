"""Opening windows: one of a kind, never larger than the screen, with the keys in reading order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from qtpy.QtWidgets import QDialog, QWidget

_SHARE = 0.9  # of the screen that a window may take

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


def set_tab_order(*controls: QWidget) -> None:
    """Let the key Tab go through the controls in this order.

    Otherwise it is the order in which Qt got them, which splitters and forms change.
    """
    for one, following in pairwise(controls):
        QWidget.setTabOrder(one, following)


def resize_within_screen(window: QWidget, width: int, height: int) -> None:
    """Give a window a size, or less if the screen is small."""
    screen = window.screen()
    if screen is not None:
        free = screen.availableGeometry()
        width = min(width, round(_SHARE * free.width()))
        height = min(height, round(_SHARE * free.height()))
    window.resize(width, height)
