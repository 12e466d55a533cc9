"""Actions that have to wait until napari has done what it is doing. Main thread only."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer


def later(action: Callable[[], None]) -> None:
    """Call a function from the event loop, after all handlers of the current event."""
    QTimer.singleShot(0, action)
