"""A window that shows a long text."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication, QIcon
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from napari_hyperspace.gui.widgets.windows.opening import resize_within_screen


class TextDialog(QDialog):
    """Shows plain text that can be selected and copied; deleted when it is closed.

    Parameters
    ----------
    title, text
        Title of the window, and its text.
    name
        The objectName; its parts are ``NAME.text``, ``NAME.copy`` and ``NAME.close``.
    """

    def __init__(self, title: str, text: str, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._text = QPlainTextEdit(self)
        self._text.setObjectName(f"{name}.text")
        self._text.setAccessibleName(title)
        self._text.setAccessibleDescription("Text to read; it cannot be edited")
        self._text.setReadOnly(True)
        self._text.setTabChangesFocus(True)
        self._text.setPlainText(text)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        for button, key, tip in (
            (close, "close", "Close the window"),
            (copy, "copy", "Copy the whole text to the clipboard"),
        ):
            assert button is not None
            button.setIcon(QIcon())  # some styles have icons for some of the buttons
            button.setObjectName(f"{name}.{key}")
            button.setToolTip(tip)
            button.setAccessibleName(button.text())
            button.setAccessibleDescription(tip)
        assert copy is not None
        copy.clicked.connect(lambda: copy_text(self._text.toPlainText()))
        buttons.rejected.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(self._text)
        column.addWidget(buttons)
        resize_within_screen(self, 620, 520)


def copy_text(text: str) -> None:
    """Put a text on the clipboard."""
    clipboard = QGuiApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
