"""Options of the post-processing that follows a run; all off at first."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QWidget

from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.tool_button import text_button

_TITLE = "Post-processing"


class PostprocessingPanel(CollapsibleSection):
    """The options of `napari_hyperspace.postprocess`; the heading shows whether any is on."""

    changed = Signal(object)
    """The options, as `PostprocessingOptions`."""

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
        self._sides = QCheckBox("Left and right apart", self)
        self._sides.setObjectName("hyperspace.split_sides")
        self._sides.setToolTip(
            "Divide structures that have one label for both sides at the mid-sagittal plane, for "
            "models that state which structures these are"
        )
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
        self.column.addWidget(self._sides)
        self.column.addWidget(self.apply)
        for box in (self._largest, self._fill, self._sides):
            box.toggled.connect(self._emit_changed)
        self._volume.valueChanged.connect(self._emit_changed)

        self.apply.clicked.connect(lambda: self.applyRequested.emit())

    def _emit_changed(self, _: object = None) -> None:
        options = PostprocessingOptions(
            largest_component=self._largest.isChecked(),
            fill_holes_mm3=self._volume.value() if self._fill.isChecked() else 0.0,
            split_sides=self._sides.isChecked(),
        )
        self.setText(f"{_TITLE}: on" if options != PostprocessingOptions() else _TITLE)
        self.changed.emit(options)
