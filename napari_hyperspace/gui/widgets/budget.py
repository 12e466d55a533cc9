"""Time and memory that a run may take, and the button that fits the spacing to them."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_hyperspace.gui.widgets.parts.labels import PlainLabel

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
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._seconds, 1)
        row.addWidget(self._gigabytes, 1)
        # A label and no suffix: the box shows no suffix beside the text for zero.
        unit = PlainLabel(self, name="hyperspace.run_gigabytes.unit")
        unit.setText("GB")
        unit.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        unit.setMinimumWidth(0)
        unit.setWordWrap(False)
        row.addWidget(unit)
        row.addWidget(self.button, 1)
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
