"""What a run at the working spacing costs, and how accurate the model was at it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.models.view import Accuracy, CostOverSpacing
from napari_hyperspace.gui.widgets.budget import BudgetRow
from napari_hyperspace.gui.widgets.curve import CostCurve
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.theme import Colors

_NOTE_LINES = 2
_STALE_MS = 150  # most estimates take less: marking them all would flicker during a drag


class CostPanel(QWidget):
    """One line of cost, two lines for warnings, and a section with everything else.

    Attributes
    ----------
    section, budget
        The collapsed section, and the row of limits in it.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._estimate = PlainLabel(self, name="hyperspace.estimate")
        self._stale_text = ""
        self._stale = QTimer(self)
        self._stale.setObjectName("hyperspace.estimate.stale")
        self._stale.setSingleShot(True)
        self._stale.setInterval(_STALE_MS)
        self._stale.timeout.connect(self._mark_stale)
        self._notes = PlainLabel(self, name="hyperspace.notes")
        self._notes.set_tone("warning")
        self._notes.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        # Reserved, so that a warning does not move what is under the mouse.
        self._notes.reserve_lines(_NOTE_LINES)
        self.section = CollapsibleSection("Cost and accuracy", "hyperspace.cost", self)
        self._curve = CostCurve(self.section)
        self._curve.setObjectName("hyperspace.curve")
        self._accuracy = PlainLabel(self.section, faint=True, name="hyperspace.accuracy")
        self._accuracy.setToolTip(
            "Mean over the structures, on scans that the model was not trained on. Your scan may "
            "differ from them."
        )
        self._bake = PlainLabel(self.section, faint=True, name="hyperspace.bake")
        self.best = QCheckBox("Best: average 8 networks", self.section)
        self.best.setObjectName("hyperspace.best")
        self.best.setToolTip(
            "Run four neighboring spacings, each also with left and right mirrored, and average "
            "them: more accurate, about eight times as slow. Previews, sweeps and batches are not "
            "averaged."
        )
        self.best.setAccessibleDescription(self.best.toolTip())
        self.uncertainty = QCheckBox("Uncertainty layer", self.section)
        self.uncertainty.setObjectName("hyperspace.uncertainty")
        self.uncertainty.setToolTip(
            "Add a layer that is bright where the averaged networks are unsure or disagree"
        )
        self.uncertainty.setAccessibleDescription(self.uncertainty.toolTip())
        self.uncertainty.setEnabled(False)
        self.best.toggled.connect(self.uncertainty.setEnabled)
        averaging = QWidget(self.section)
        boxes = QHBoxLayout(averaging)
        boxes.setContentsMargins(0, 0, 0, 0)
        boxes.addWidget(self.best)
        boxes.addWidget(self.uncertainty)
        boxes.addStretch()
        self.budget = BudgetRow(self.section)
        self.section.column.setSpacing(4)
        details: tuple[QWidget, ...] = (self._curve, self._accuracy, self._bake, averaging)
        for part in (*details, self.budget):
            self.section.column.addWidget(part)
        for part in (self, self.section):  # free height belongs to the structures
            part.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self._estimate)
        column.addWidget(self._notes)
        column.addWidget(self.section)

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme, except those of the section's heading."""
        self._curve.setColors(chosen)

    def show_estimating(self, text: str) -> None:
        """Show, unless the estimate comes soon, that the one shown is of other choices."""
        self._stale_text = text
        if not self._stale.isActive():
            self._stale.start()

    def _mark_stale(self) -> None:
        self._estimate.setText(self._stale_text)
        self._estimate.set_tone("plain")
        self._notes.setText("")

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        """Show the estimated cost of a run, and notes about the spacing."""
        self._stale.stop()
        self._estimate.setText(text)
        self._estimate.set_tone("plain" if fits else "error")
        self._notes.setText("\n".join(notes))

    def show_bake(self, text: str) -> None:
        """Show how long making the network's weights took."""
        self._bake.setText(text)

    def show_curve(self, curve: CostOverSpacing | None, trained: Range | None) -> None:
        """Show the cost over the range of spacings."""
        self._curve.setVisible(curve is not None)
        if curve is not None:
            seconds = [one.seconds - one.probe_seconds for one in curve.estimates]
            fits = [bool(one.fits) for one in curve.estimates]
            self._curve.setCurve(curve.spacings_mm, seconds, fits, trained)

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing on the curve."""
        self._curve.setPoint(spacing_mm, seconds)

    def show_accuracy(self, accuracy: Accuracy) -> None:
        """Show the Dice at the current spacing, and the measurements."""
        self._accuracy.setText(accuracy.text)
        self._accuracy.setVisible(bool(accuracy.text))
        self._curve.setAccuracy(accuracy.measured, accuracy.joined, accuracy.current)
