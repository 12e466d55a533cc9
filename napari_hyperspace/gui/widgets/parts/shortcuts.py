"""Keyboard shortcuts of the dock, which work in the whole window that it is in."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtCore import QObject
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDockWidget, QShortcut, QWidget


@dataclass(frozen=True)
class _Binding:
    """Keys, what they do, and the function that does it."""

    name: str
    keys: str
    what: str
    action: Callable[[], object]


class Shortcuts(QObject):
    """The shortcuts, bound in the window of a widget: also the canvas has them.

    napari has many single keys and some of those with Ctrl and Shift; none of ours is among them.

    Parameters
    ----------
    parent
        The widget.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self._bindings: list[_Binding] = []
        self._bound: list[QShortcut] = []
        # Weak: a window that is kept by what is in it would outlive its closing.
        self._window: weakref.ref[QWidget] | None = None
        parent.destroyed.connect(self._unbind)

    def add(self, name: str, keys: str, what: str, action: Callable[[], object]) -> None:
        """Add a shortcut; keys such as "Ctrl+Shift+R", where Ctrl is the Command key of a Mac."""
        binding = _Binding(name, keys, what, action)
        self._bindings.append(binding)
        window = None if self._window is None else self._window()
        if window is not None:
            self._bind(window, binding)

    def follow(self, window: QWidget | None) -> None:
        """Bind the shortcuts in the window that the widget is in now."""
        if window is (None if self._window is None else self._window()):
            return
        self._unbind()
        if window is not None:
            self._window = weakref.ref(window)
            for binding in self._bindings:
                self._bind(window, binding)

    def describe(self) -> list[tuple[str, str]]:
        """Return (keys as this system writes them, what they do)."""
        native = QKeySequence.SequenceFormat.NativeText
        return [(QKeySequence(one.keys).toString(native), one.what) for one in self._bindings]

    def enter(self, first: QWidget) -> None:
        """Show the dock, also behind other tabs, and give a control the focus."""
        holder: QWidget | None = self._parent
        while holder is not None and not isinstance(holder, QDockWidget):
            holder = holder.parentWidget()
        if holder is not None:
            holder.show()
            holder.raise_()
        first.setFocus()

    def _bind(self, window: QWidget, binding: _Binding) -> None:
        shortcut = QShortcut(QKeySequence(binding.keys), window)
        shortcut.setObjectName(f"hyperspace.shortcut.{binding.name}")
        shortcut.activated.connect(lambda: binding.action())
        self._bound.append(shortcut)

    def _unbind(self) -> None:
        bound, self._bound = self._bound, []
        self._window = None
        for shortcut in bound:
            try:
                shortcut.setEnabled(False)
                shortcut.deleteLater()
            except RuntimeError:  # the window was deleted, and its shortcuts with it
                return
