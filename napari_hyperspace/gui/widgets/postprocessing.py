"""What to do to labels after a run; nothing unless it is asked for."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_hyperspace.gui.widgets.section import Section

_TITLE = "Post-processing"


class PostprocessingPanel(Section):
    """The options of `napari_hyperspace.postprocess`; the heading says whether any is on."""

    changed = Signal(bool, float)
    """Whether to keep the largest components alone, and up to which mm³ to fill holes (0: none)."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_TITLE, "hyperspace.postprocessing", parent)
        self._largest = QCheckBox("Largest component of each structure", self)
        self._largest.setObjectName("hyperspace.largest_component")
        self._largest.setToolTip(
            "Drop the smaller parts of each structure; one whose name has no side keeps both"
        )
        self._fill = QCheckBox("Fill holes up to", self)
        self._fill.setObjectName("hyperspace.fill_holes")
        self._fill.setToolTip("Give enclosed background to the structure around it")
        self._volume = QDoubleSpinBox(self)
        self._volume.setObjectName("hyperspace.fill_holes_mm3")
        self._volume.setRange(0.1, 100_000)
        self._volume.setDecimals(1)
        self._volume.setValue(50)
        self._volume.setSuffix(" mm³")
        self._volume.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._volume.setKeyboardTracking(False)
        row = QHBoxLayout()
        row.addWidget(self._fill, 1)
        row.addWidget(self._volume)
        column = QVBoxLayout(self.content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self._largest)
        column.addLayout(row)
        for box in (self._largest, self._fill):
            box.toggled.connect(self._say)
        self._volume.valueChanged.connect(self._say)

    def _say(self, _: object = None) -> None:
        largest, fill = self._largest.isChecked(), self._fill.isChecked()
        self.toggle.setText(f"{_TITLE}: on" if largest or fill else _TITLE)
        self.changed.emit(largest, self._volume.value() if fill else 0.0)
