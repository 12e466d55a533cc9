"""Buttons with a text, and with a menu."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QToolButton, QWidget


def text_button(parent: QWidget, text: str, name: str, tip: str) -> QToolButton:
    """Make a button that shows a text; napari shows tool buttons without a frame otherwise."""
    button = QToolButton(parent)
    _name(button, text, name, tip)
    return button


class MenuButton(QToolButton):
    """A button that opens a menu. Its actions are found by name: ``NAME.ACTION``.

    Parameters
    ----------
    text, name, tip
        Text, objectName and description; the menu's objectName is ``NAME.menu``.
    """

    def __init__(self, text: str, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _name(self, text, name, tip)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.setObjectName(f"{name}.menu")
        menu.setToolTipsVisible(True)
        self._menu = menu
        self.setMenu(menu)

    def add(self, text: str, name: str, tip: str, triggered: Callable[[], None]) -> QAction:
        """Add an action at the end of the menu and return it.

        Parameters
        ----------
        text, tip
            What the user reads; the tip also describes the action to screen readers.
        name
            Last part of the objectName.
        triggered
            Called when the user chooses the action.
        """
        action = QAction(text, self)
        action.setObjectName(f"{self.objectName()}.{name}")
        action.setToolTip(tip)
        action.triggered.connect(lambda: triggered())  # without the argument `checked`
        self._menu.addAction(action)
        return action

    def add_separator(self) -> None:
        """Separate the actions added so far from later ones."""
        self._menu.addSeparator()


def _name(button: QToolButton, text: str, name: str, tip: str) -> None:
    button.setText(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    button.setAccessibleName(text.rstrip("…"))
    button.setAccessibleDescription(tip)
    button.setProperty("style", "text")
    # napari's style sheet takes the Tab key from tool buttons on some platforms.
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
