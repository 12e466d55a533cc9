"""Options of the post-processing that follows a run; all off at first."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QWidget

from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.tool_button import text_button

_TITLE = "Post-processing"


class PostprocessingPanel(CollapsibleSection):
    """The options of `napari_hyperspace.postprocess`; the heading shows whether any is on."""

    changed = Signal(bool, float)
    """Whether to keep only the largest components; the largest hole to fill in mm³ (0: none)."""

    applyRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_TITLE, "hyperspace.postprocessing", parent)
        self._largest = QCheckBox("Largest component of each structure", self)
        self._largest.setObjectName("hyperspace.largest_component")
        self._largest.setToolTip(
            "Remove the smaller components of each structure; a structure with two sides under "
            "one name keeps both"
        )
        self._fill = QCheckBox("Fill holes up to", self)
        self._fill.setObjectName("hyperspace.fill_holes")
        self._fill.setToolTip("Assign enclosed background to the structure around it")
        self._volume = QDoubleSpinBox(self)
        self._volume.setObjectName("hyperspace.fill_holes_mm3")
        self._volume.setAccessibleName("Largest hole to fill")
        self._volume.setToolTip("Larger enclosed background stays as it is")
        self._volume.setRange(0.1, 100_000)
        self._volume.setDecimals(1)
        self._volume.setValue(50)
        self._volume.setSuffix(" mm³")
        self._volume.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._volume.setKeyboardTracking(False)
        self.apply = text_button(
            self,
            "Apply to result",
            "hyperspace.postprocessing.apply",
            "Clean the labels that are listed below; makes a new layer",
        )
        row = QHBoxLayout()
        row.addWidget(self._fill, 1)
        row.addWidget(self._volume)
        self.column.setSpacing(4)
        self.column.addWidget(self._largest)
        self.column.addLayout(row)
        self.column.addWidget(self.apply)
        for box in (self._largest, self._fill):
            box.toggled.connect(self._emit_changed)
        self._volume.valueChanged.connect(self._emit_changed)

        self.apply.clicked.connect(lambda: self.applyRequested.emit())

    def _emit_changed(self, _: object = None) -> None:
        largest, fill = self._largest.isChecked(), self._fill.isChecked()
        self.setText(f"{_TITLE}: on" if largest or fill else _TITLE)
        self.changed.emit(largest, self._volume.value() if fill else 0.0)
