"""Limits: of time and memory of a run, and of the time of a preview."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.gui.models.view import Tone
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.layouts import row

_GIGABYTE = 1e9


class BudgetRow(QWidget):
    """Limits of time and memory, and a button."""

    changed = Signal(float, float)
    """Seconds, and gigabytes; 0: the free memory."""

    fitRequested = Signal(float, object)
    """Seconds, and bytes; `None` bytes: the free memory."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._seconds = QDoubleSpinBox(self)
        self._seconds.setObjectName("hyperspace.run_seconds")
        self._seconds.setRange(0.1, 86_400)
        self._seconds.setDecimals(1)
        self._seconds.setSuffix(" s")
        _describe(self._seconds, "Longest time of a run", "Longest time that a run may take")
        self._gigabytes = QDoubleSpinBox(self)
        self._gigabytes.setObjectName("hyperspace.run_gigabytes")
        self._gigabytes.setRange(0, 10_000)
        self._gigabytes.setDecimals(1)
        self._gigabytes.setSpecialValueText("all free")
        _describe(
            self._gigabytes,
            "Most memory of a run in GB",
            "Most memory that a run may take, in GB; 0: all that is free",
        )
        self.button = QPushButton("Fit to budget", self)
        self.button.setObjectName("hyperspace.fit_budget")
        tip = "Set the finest trained spacing within this time and memory"
        self.button.setToolTip(tip)
        self.button.setAccessibleDescription(tip)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._seconds, 1)
        layout.addWidget(self._gigabytes, 1)
        # A label and no suffix: the box shows no suffix beside the text for zero.
        unit = PlainLabel(self, name="hyperspace.run_gigabytes.unit")
        unit.setText("GB")
        unit.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        unit.setMinimumWidth(0)
        unit.setWordWrap(False)
        layout.addWidget(unit)
        layout.addWidget(self.button, 1)
        self.button.clicked.connect(self._request_fit)
        for box in (self._seconds, self._gigabytes):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._emit_changed)

    def show_budget(self, seconds: float, gigabytes: float) -> None:
        """Show the limits without emitting `changed`."""
        for box, value in ((self._seconds, seconds), (self._gigabytes, gigabytes)):
            with QSignalBlocker(box):
                box.setValue(value)

    def _emit_changed(self) -> None:
        self.changed.emit(self._seconds.value(), self._gigabytes.value())

    def _request_fit(self) -> None:
        gigabytes = self._gigabytes.value()
        n_bytes = gigabytes * _GIGABYTE if gigabytes else None
        self.fitRequested.emit(self._seconds.value(), n_bytes)


def _describe(box: QDoubleSpinBox, name: str, tip: str) -> None:
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setAccessibleName(name)
    box.setAccessibleDescription(tip)
    box.setToolTip(tip)


class PreviewPanel(QWidget):
    """Turns previews on and off, limits their time, and says what they show.

    Attributes
    ----------
    live, milliseconds
        The check box, and the limit.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.live = QCheckBox("Live preview within", self)
        self.live.setObjectName("hyperspace.live")
        tip = "Segment a box around the view position when the spacing changes"
        self.live.setToolTip(tip)
        self.live.setAccessibleDescription(tip)
        self.milliseconds = QSpinBox(self)
        self.milliseconds.setObjectName("hyperspace.budget")
        self.milliseconds.setAccessibleName("Longest time of a preview")
        self.milliseconds.setRange(20, 10_000)
        self.milliseconds.setSingleStep(50)
        self.milliseconds.setSuffix(" ms")
        self.milliseconds.setKeyboardTracking(False)
        self.milliseconds.setMinimumWidth(112)  # napari's style hides the unit in a narrower one
        tip = "Longest time that a preview may take; limits the size of its box"
        self.milliseconds.setToolTip(tip)
        self.milliseconds.setAccessibleDescription(tip)
        self._state = PlainLabel(self, faint=True, name="hyperspace.live.state")
        self._state.reserve_lines(2)
        self._state.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(self.live, self.milliseconds, stretch=0))
        column.addWidget(self._state)
        self.live.toggled.connect(self._state.setVisible)

    def show_choices(self, live: bool, milliseconds: int) -> None:
        """Show the settings, without emitting that the user changed them."""
        with QSignalBlocker(self.live), QSignalBlocker(self.milliseconds):
            self.live.setChecked(live)
            self.milliseconds.setValue(milliseconds)
        self._state.setVisible(live)

    def show_preview(self, text: str, tone: Tone) -> None:
        """Show what the preview is of, or why there is none."""
        self._state.setText(text)
        self._state.set_tone(tone)
