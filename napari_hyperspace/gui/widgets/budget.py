"""Time and memory that a run may take, and the button that fits the spacing to them."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QPushButton, QWidget

_GIGABYTE = 1e9


class BudgetRow(QWidget):
    """Limits of time and memory, and a button.

    Parameters
    ----------
    seconds
        Initial limit of time.
    """

    fitRequested = Signal(float, object)
    """Seconds, and bytes; `None` bytes: the free memory."""

    def __init__(self, seconds: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._seconds = QDoubleSpinBox(self)
        self._seconds.setObjectName("hyperspace.run_seconds")
        self._seconds.setRange(0.1, 86_400)
        self._seconds.setSuffix(" s")
        self._seconds.setValue(seconds)
        self._seconds.setToolTip("Longest time that a run may take")
        self._gigabytes = QDoubleSpinBox(self)
        self._gigabytes.setObjectName("hyperspace.run_gigabytes")
        self._gigabytes.setRange(0, 10_000)
        self._gigabytes.setSuffix(" GB")
        self._gigabytes.setSpecialValueText("free memory")
        self._gigabytes.setToolTip("Most memory that a run may take; 0: the free memory")
        for box in (self._seconds, self._gigabytes):
            box.setDecimals(1)
            box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.button = QPushButton("Fit to budget", self)
        self.button.setObjectName("hyperspace.fit_budget")
        self.button.setToolTip("Set the finest trained spacing within this time and memory")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._seconds)
        row.addWidget(self._gigabytes)
        row.addWidget(self.button, 1)
        self.button.clicked.connect(self._request_fit)

    def _request_fit(self) -> None:
        gigabytes = self._gigabytes.value()
        n_bytes = gigabytes * _GIGABYTE if gigabytes else None
        self.fitRequested.emit(self._seconds.value(), n_bytes)
