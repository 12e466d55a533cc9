"""Labels that show any text as it is: names and paths in files may contain markup."""

from __future__ import annotations

import html

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from napari_hyperspace.gui.models.view import Tone


class PlainLabel(QLabel):
    """Wrapped plain text, colored by its tone."""

    def __init__(
        self, parent: QWidget | None = None, *, faint: bool = False, name: str = ""
    ) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)  # else lines overlap what is below, in a narrow dock
        self.setSizePolicy(policy)
        self.setMinimumWidth(40)
        self.setProperty("faint", faint)
        self.setProperty("tone", "plain")

    def set_tone(self, tone: Tone) -> None:
        """Set the tone, which the style sheet turns into a color."""
        style = self.style()
        if tone != self.property("tone") and style is not None:
            self.setProperty("tone", tone)
            style.unpolish(self)
            style.polish(self)


def heading(text: str, parent: QWidget) -> PlainLabel:
    """Make the heading of a group."""
    label = PlainLabel(parent)
    label.setText(text)
    label.setWordWrap(False)
    label.setProperty("heading", True)
    return label


def plain_tip(text: str) -> str:
    """Return a tool tip that shows a text as it is: Qt would interpret markup in it."""
    return f"<qt>{html.escape(text).replace(chr(10), '<br>')}</qt>" if text else ""
