"""Labels that show any text as it is: names and paths in files may contain markup."""

from __future__ import annotations

import html

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from napari_hyperspace.gui.models.view import Tone

_PADDING = 4  # of labels in napari's style


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
        self._reserved = 0

    def reserve_lines(self, lines: int) -> None:
        """Keep the height of some lines, so that a text that comes or goes moves nothing."""
        self._reserved = lines
        self.setIndent(0)  # Qt adds one above or below a text that is not in the middle
        self._reserve()

    def _reserve(self) -> None:
        if self._reserved:
            lines = self._reserved * self.fontMetrics().lineSpacing()
            self.setMinimumHeight(lines + _PADDING)

    def changeEvent(self, event: QEvent | None) -> None:
        """Reserve lines of another height when the style sets another font."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._reserve()

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
