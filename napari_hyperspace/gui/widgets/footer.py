"""The lower edge of the dock, which does not scroll: message, progress and the main buttons."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_hyperspace.gui.models.view import Tone
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.tool_button import MenuButton

_MESSAGE_LINES = 2
_PROGRESS_HEIGHT, _PROGRESS_MARGIN = 18, 4


_PROGRESS = "How much of the job is done"


class Footer(QWidget):
    """Message and progress above the main buttons, which therefore never move.

    Attributes
    ----------
    run, cancel, save
        The buttons.
    result
        What can be done with results; others add their actions to its menu.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.footer")
        self._message = PlainLabel(self, name="hyperspace.message")
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._message.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom)
        self._message.reserve_lines(_MESSAGE_LINES)
        self._progress = QProgressBar(self)
        self._progress.setObjectName("hyperspace.progress")
        self._progress.setAccessibleName("Progress of the run")
        self._progress.setAccessibleDescription(_PROGRESS)
        self._progress.setRange(0, 1000)
        self._progress.setTextVisible(False)
        self._progress.setFixedHeight(_PROGRESS_HEIGHT)
        self.run = _button(
            self, "Run", "run", "Segment the whole scan; the labels are on its own grid"
        )
        self.cancel = _button(self, "Cancel", "cancel", "Stop what is running")
        self.save = _button(
            self, "Save…", "save", "Save the selected labels, or else the topmost, on their grid"
        )
        self.result = MenuButton(
            "Result", "hyperspace.result", "Compare, copy and export results", self
        )
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.run, 1)
        for button in (self.cancel, self.save, self.result):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 6, 10, 8)
        column.setSpacing(4)
        column.addWidget(self._message)
        column.addWidget(self._progress)
        column.addLayout(buttons)

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        """Show a message in plain text."""
        self._message.setText(text)
        self._message.set_tone(tone)

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""
        self.run.setEnabled(run)
        self.cancel.setEnabled(cancel)
        self.save.setEnabled(save)

    def show_progress(self, fraction: float | None, text: str = "") -> None:
        """Show progress, stage and time left of the running job; `None`: no job is running."""
        self._progress.setValue(0 if fraction is None else max(round(1000 * fraction), 10))
        self._progress.setTextVisible(bool(text))
        width = self._progress.width() - 2 * _PROGRESS_MARGIN
        elided = self._progress.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, width)
        self._progress.setFormat(elided)
        self._progress.setAccessibleDescription(text or _PROGRESS)


def _button(parent: QWidget, text: str, name: str, tip: str) -> QPushButton:
    button = QPushButton(text, parent)
    button.setObjectName(f"hyperspace.{name}")
    button.setToolTip(tip)
    button.setAccessibleName(text.rstrip("…"))
    button.setAccessibleDescription(tip)
    return button
