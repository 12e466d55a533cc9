"""Run, cancel, save, and the progress bar."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget


class RunRow(QWidget):
    """The main buttons above a thin progress bar."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run = QPushButton("Run", self)
        self.run.setObjectName("hyperspace.run")
        self.run.setToolTip("Segment the whole scan; the labels are on its own grid")
        self.cancel = QPushButton("Cancel", self)
        self.cancel.setObjectName("hyperspace.cancel")
        self.save = QPushButton("Save…", self)
        self.save.setObjectName("hyperspace.save")
        self.save.setToolTip("Save the selected labels, or else the topmost, on the scan's grid")
        self._progress = QProgressBar(self)
        self._progress.setObjectName("hyperspace.progress")
        self._progress.setRange(0, 1000)
        self._progress.setTextVisible(False)
        self._progress.setFixedHeight(4)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.run, 1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(buttons)
        column.addWidget(self._progress)

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""
        self.run.setEnabled(run)
        self.cancel.setEnabled(cancel)
        self.save.setEnabled(save)

    def show_progress(self, fraction: float | None) -> None:
        """Show the progress of the running job; `None`: no job is running."""
        self._progress.setValue(0 if fraction is None else max(round(1000 * fraction), 10))
