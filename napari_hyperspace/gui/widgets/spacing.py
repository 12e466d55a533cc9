"""The working spacing: one slider, or one per axis while the lock is open."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QToolButton, QWidget

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models.scales import Scales
from napari_hyperspace.gui.models.spacings import AXES, DIRECTIONS, mean_spacing
from napari_hyperspace.gui.widgets.parts.slider import SpacingSlider
from napari_hyperspace.gui.widgets.parts.spacing_box import SpacingBox
from napari_hyperspace.gui.widgets.parts.theme import Colors


class SpacingPanel(QWidget):
    """Sliders, spin boxes beside them, and the lock that joins the axes."""

    spacingChanged = Signal(tuple)
    """The spacing (z, y, x) in mm, changed by the user or by `setValue` of a slider."""
    lockedChanged = Signal(bool)
    limited = Signal(str)
    """Why another spacing than the typed one was set."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._updating = False
        self._colors: Colors | None = None
        self.together = SpacingSlider(self)
        self.together.setObjectName("hyperspace.spacing")
        self.together.setAccessibleName("Working spacing")
        self.each = tuple(SpacingSlider(self) for _ in AXES)
        self.lock = QToolButton(self)
        self.lock.setObjectName("hyperspace.lock")
        self.lock.setAccessibleName("One spacing for all axes")
        self.lock.setCheckable(True)
        self.lock.setChecked(True)
        self.lock.setAutoRaise(True)
        self._rows: list[tuple[QLabel, SpacingSlider, SpacingBox]] = []
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(6)
        layout.setVerticalSpacing(0)
        layout.setColumnStretch(1, 1)
        self._add_row(layout, 0, "", "", self.together)
        for i, (axis, direction) in enumerate(zip(AXES, DIRECTIONS, strict=True)):
            self.each[i].setObjectName(f"hyperspace.spacing_{axis}")
            self.each[i].setAccessibleName(f"Working spacing {direction}")
            self._add_row(layout, i + 1, axis, direction, self.each[i])
        layout.addWidget(self.lock, 0, 3, 4, 1, Qt.AlignmentFlag.AlignTop)
        self.together.valueChanged.connect(self._together_changed)
        for slider in self.each:
            slider.valueChanged.connect(self._axis_changed)
        self.lock.toggled.connect(self._lock_toggled)
        self._show_rows()

    def _add_row(
        self, layout: QGridLayout, row: int, axis: str, direction: str, slider: SpacingSlider
    ) -> None:
        label = QLabel(axis, self)
        label.setContentsMargins(0, 5, 0, 0)
        label.setToolTip(direction)
        number = SpacingBox(self)
        number.setObjectName(f"{slider.objectName()}.number")
        number.setAccessibleName(f"{slider.accessibleName()} in mm")
        number.setToolTip("Distance between the voxel centers that the network runs at")
        number.setValue(slider.value())
        layout.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(slider, row, 1)
        layout.addWidget(number, row, 2, Qt.AlignmentFlag.AlignTop)
        slider.valueChanged.connect(lambda value: self._show_number(number, value))
        number.valueChanged.connect(slider.setValue)
        number.limited.connect(self.limited)
        self._rows.append((label, slider, number))

    @staticmethod
    def _show_number(number: SpacingBox, value: float) -> None:
        # The spin box rounds to two decimals; the slider must keep the exact value.
        with QSignalBlocker(number):
            number.setValue(value)

    def spacing(self) -> Triple:
        """Return the spacing (z, y, x) in mm."""
        z, y, x = (slider.value() for slider in self.each)
        return z, y, x

    def setSpacing(self, spacing_mm: Triple) -> None:
        """Show a spacing (z, y, x) in mm without emitting `spacingChanged`."""
        self._updating = True
        for slider, value in zip(self.each, spacing_mm, strict=True):
            slider.setValue(value)
        equal = len(set(spacing_mm)) == 1
        self.together.setValue(spacing_mm[0] if equal else mean_spacing(spacing_mm))
        self._updating = False

    def setLocked(self, locked: bool) -> None:
        """Show the lock closed or open without emitting `lockedChanged`."""
        with QSignalBlocker(self.lock):
            self.lock.setChecked(locked)
        self._show_rows()

    def setScales(self, scales: Scales) -> None:
        """Set the scales of the sliders."""
        self.together.setScale(scales.together)
        for slider, scale in zip(self.each, scales.each, strict=True):
            slider.setScale(scale)

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        self._colors = chosen
        self.together.setColors(chosen)
        for slider in self.each:
            slider.setColors(chosen)
        self._show_rows()

    def _together_changed(self, value: float) -> None:
        if not self._updating:
            self.setSpacing((value, value, value))
            self.spacingChanged.emit(self.spacing())

    def _axis_changed(self, value: float) -> None:
        if self._updating:
            return
        if self.lock.isChecked():
            self.together.setValue(value)
        else:
            self.setSpacing(self.spacing())
            self.spacingChanged.emit(self.spacing())

    def _lock_toggled(self, locked: bool) -> None:
        self._show_rows()
        self.lockedChanged.emit(locked)
        if locked:
            value = float(f"{mean_spacing(self.spacing()):.3g}")
            self.setSpacing((value, value, value))
            self.spacingChanged.emit(self.spacing())

    def _show_rows(self) -> None:
        locked = self.lock.isChecked()
        for i, row in enumerate(self._rows):
            for widget in row:
                widget.setVisible((i == 0) == locked)
        self._rows[0][0].setVisible(False)
        if self._colors is not None:
            self.lock.setIcon(self._colors.icon("lock" if locked else "lock_open"))
        self.lock.setToolTip(
            "One spacing for all axes; open the lock to set each axis"
            if locked
            else "One spacing per axis; close the lock to set all axes together"
        )
