"""A dialog that asks for a spacing; numbers that the user leaves alone keep all their digits."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QLocale, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models.spacings import AXES, DIRECTIONS
from napari_hyperspace.gui.widgets.parts.question_dialog import QuestionDialog

_SHOWN_DIGITS = 6
_DECIMALS = 9  # that can be typed
_RANGE_MM = (1e-9, 1e6)  # so that no spacing of a layer has to be changed to be shown


class ExactBox(QDoubleSpinBox):
    """A spin box that returns the number it was given, bit for bit, until the user edits it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLocale(QLocale(QLocale.Language.C))  # the text has a decimal point
        self.setDecimals(_DECIMALS)
        self.setRange(*_RANGE_MM)
        self.setSingleStep(0.1)
        self.setSuffix(" mm")
        self._exact = self.value()

    def set_exact(self, value: float) -> None:
        """Show a number with a few digits, and remember all of them."""
        self._exact = value
        self.setValue(value)

    def exact(self) -> float:
        """Return the number that was set, or the one that the user has typed instead."""
        return self._exact if self.text() == self._text(self._exact) else self.value()

    def textFromValue(self, value: float) -> str:
        """Return the text of a number, without zeros at its end."""
        return np.format_float_positional(value, _SHOWN_DIGITS, fractional=False, trim="-")

    def _text(self, value: float) -> str:
        return self.textFromValue(value) + self.suffix()


class SpacingDialog(QuestionDialog):
    """Asks for one number per axis, marks those that were changed, and can reset them.

    Parameters
    ----------
    title, question
        As in `QuestionDialog`.
    spacing_mm
        The initial numbers.
    reset_mm
        What "Reset" sets, such as the spacing that the file states; by default the initial numbers.
    """

    def __init__(
        self,
        title: str,
        question: str,
        spacing_mm: Triple,
        reset_mm: Triple | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(title, question, parent)
        self._reset_mm = spacing_mm if reset_mm is None else reset_mm
        form = QFormLayout()
        self._boxes: list[ExactBox] = []
        self._marks: list[QLabel] = []
        for axis, direction, value in zip(AXES, DIRECTIONS, spacing_mm, strict=True):
            box, mark = ExactBox(self), QLabel(self)
            box.setObjectName(f"hyperspace.dialog.spacing_{axis}")
            box.setAccessibleName(f"Spacing along {axis}, {direction}, in mm")
            box.setToolTip(f"Distance between voxel centers, {direction}")
            box.set_exact(value)
            box.textChanged.connect(self._show_marks)
            mark.setObjectName(f"hyperspace.dialog.mark_{axis}")
            mark.setMinimumWidth(150)
            row = QHBoxLayout()
            row.addWidget(box, 1)
            row.addWidget(mark)
            label = QLabel(f"&{axis} ({direction})", self)
            label.setBuddy(box)
            form.addRow(label, row)
            self._boxes.append(box)
            self._marks.append(mark)
        self._reset = QPushButton("Reset", self)
        self._reset.setObjectName("hyperspace.dialog.reset")
        self._reset.setAccessibleName("Reset")
        self._reset.setAutoDefault(False)
        self._reset.setToolTip(
            "Set the numbers that the file states" if reset_mm else "Set the initial numbers"
        )
        self.buttons.addButton(self._reset, QDialogButtonBox.ButtonRole.ResetRole)
        self.body.addLayout(form)
        self._reset.clicked.connect(self.reset)
        self._show_marks()

    def spacing(self) -> Triple:
        """Return the numbers; untouched ones are those given, bit for bit."""
        z, y, x = (box.exact() for box in self._boxes)
        return z, y, x

    def reset(self) -> None:
        """Set the numbers that the file states, or else the initial ones."""
        for box, value in zip(self._boxes, self._reset_mm, strict=True):
            box.set_exact(value)
        self._show_marks()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Put the keyboard focus on the first number."""
        super().showEvent(event)
        self._boxes[0].setFocus(Qt.FocusReason.TabFocusReason)
        self._boxes[0].selectAll()

    def _show_marks(self, _: str = "") -> None:
        changed = [one != other for one, other in zip(self.spacing(), self._reset_mm, strict=True)]
        for box, mark, reset, is_changed in zip(
            self._boxes, self._marks, self._reset_mm, changed, strict=True
        ):
            mark.setText(f"● was {box.textFromValue(reset)} mm" if is_changed else "")
        self._reset.setEnabled(any(changed))
