"""A spin box for a working spacing, which says why it does not take a number."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox, QSizePolicy, QWidget

from napari_hyperspace.gui.models.spacings import LIMITS_MM

_WIDTH = 76


class SpacingBox(QDoubleSpinBox):
    """A spacing in mm with two decimals; a number beyond the limits becomes the limit."""

    limited = Signal(str)
    """Why another number than the typed one was set."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setRange(*LIMITS_MM)
        self.setDecimals(2)
        self.setSingleStep(0.1)
        self.setSuffix(" mm")
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setKeyboardTracking(False)
        self.setFixedWidth(_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        """Let any number be typed: Qt would ignore keys, or restore the former number."""
        typed = self._number(text or "")
        if typed is not None and not self.minimum() <= typed <= self.maximum():
            return QValidator.State.Intermediate, text or "", position
        state, checked, place = super().validate(text, position)
        return state, checked, place

    def fixup(self, text: str | None) -> str:
        """Replace a number beyond the limits by the limit, and say so."""
        typed = self._number(text or "")
        if typed is None:
            return str(super().fixup(text) or "")
        low, high = self.minimum(), self.maximum()
        limit, end = (low, "smallest") if typed < low else (high, "largest")
        self.limited.emit(f"{typed:g} mm: the {end} working spacing is {limit:g} mm.")
        return self.textFromValue(limit) + self.suffix()

    def _number(self, text: str) -> float | None:
        number, is_number = self.locale().toDouble(text.removesuffix(self.suffix()).strip())
        return number if is_number else None
