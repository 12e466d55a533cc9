"""The table of structures: what was found, how large, and whether it is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models.view import StructureRow
from napari_hyperspace.gui.widgets.labels import PlainLabel, plain_tip
from napari_hyperspace.gui.widgets.section import Section

_NAME, _VOLUME, _MEAN = range(3)
_FEWEST_ROWS = 8  # shown however low the window is
_ROW_HEIGHT = 21
_VALUES = Qt.ItemDataRole.UserRole
_NUMBER = Qt.ItemDataRole.UserRole + 1


class _Item(QTableWidgetItem):
    """A cell that sorts by a number, or by the text of the cell."""

    def __lt__(self, other: QTableWidgetItem) -> bool:
        one, another = self.data(_NUMBER), other.data(_NUMBER)
        return super().__lt__(other) if one is None or another is None else one < another


class _Table(QTableWidget):
    """A table as high as its rows if there is room; moving with the keys is as good as a click."""

    def fit_rows(self) -> None:
        """Take the height of all rows where there is room, and that of a few where there is not."""
        around = self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth()
        self.setMinimumHeight(around + min(self.rowCount(), _FEWEST_ROWS) * _ROW_HEIGHT)
        self.setMaximumHeight(around + self.rowCount() * _ROW_HEIGHT)

    def sizeHint(self) -> QSize:
        """Return the smallest size: the layout gives more if there is more."""
        return QSize(super().sizeHint().width(), self.minimumHeight())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move, and click on the row that is now current."""
        before = self.currentRow()
        super().keyPressEvent(event)
        if self.currentRow() != before:
            self.cellClicked.emit(self.currentRow(), _NAME)


class StructurePanel(Section):
    """The structures of the labels in hand, a row each.

    A click on a row selects the structure; the box before its name shows and hides it.
    """

    chosen = Signal(tuple)
    """Label values of the structure that was clicked on."""
    visibilityChanged = Signal(tuple, bool)
    onlyToggled = Signal(bool)
    sidesToggled = Signal(bool)
    spaceToggled = Signal(bool)
    exportAsked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Structures", "hyperspace.structures", parent)
        self._chosen: tuple[int, ...] = ()
        self._ticked = False  # whether the click under way was one on a box
        self._source = PlainLabel(self, faint=True, name="hyperspace.structures.layer")
        self.table = _Table(0, 3, self)
        self.table.setObjectName("hyperspace.structures.table")
        self.table.setHorizontalHeaderLabels(["Structure", "ml", "mean"])
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for column in (_VOLUME, _MEAN):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
            self.table.horizontalHeaderItem(column).setTextAlignment(Qt.AlignmentFlag.AlignRight)
        self.table.horizontalHeaderItem(_NAME).setTextAlignment(Qt.AlignmentFlag.AlignLeft)
        self.table.horizontalHeaderItem(_VOLUME).setToolTip("Volume on the scan's own grid")
        self.table.horizontalHeaderItem(_MEAN).setToolTip("Mean of the image within the structure")
        vertical = self.table.verticalHeader()
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(_ROW_HEIGHT)
        vertical.setMinimumSectionSize(_ROW_HEIGHT)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setIconSize(QSize(12, 12))
        self.table.setSortingEnabled(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._only = QCheckBox("Only selected", self)
        self._only.setObjectName("hyperspace.structures.only")
        self._only.setToolTip("Hide all structures but the selected one")
        self._sides = QCheckBox("L + R", self)
        self._sides.setObjectName("hyperspace.structures.sides")
        self._sides.setToolTip("Add up left and right")
        self._space = QToolButton(self)
        self._space.setObjectName("hyperspace.structures.space")
        self._space.setText("3D")
        self._space.setCheckable(True)
        self._space.setToolTip("Turn the structures in space; again for slices")
        self._export = QToolButton(self)
        self._export.setObjectName("hyperspace.structures.export")
        self._export.setText("CSV…")
        self._export.setToolTip("Save this table")
        for button in (self._space, self._export):
            button.setProperty("style", "text")
        buttons = QHBoxLayout()
        for widget in (self._only, self._sides):
            buttons.addWidget(widget)
        buttons.addStretch(1)
        for widget in (self._space, self._export):
            buttons.addWidget(widget)
        column = QVBoxLayout(self.content)
        column.setContentsMargins(0, 0, 0, 0)
        for layout in (buttons, column):
            layout.setSpacing(6)
        column.addWidget(self._source)
        column.addWidget(self.table, 1)
        column.addLayout(buttons)
        column.addStretch()
        self.table.pressed.connect(self._pressed)
        self.table.cellClicked.connect(self._clicked)
        self.table.itemChanged.connect(self._changed)
        self._only.toggled.connect(self.onlyToggled)
        self._sides.toggled.connect(self.sidesToggled)
        self._space.toggled.connect(self.spaceToggled)
        self._export.clicked.connect(lambda: self.exportAsked.emit())
        self.setVisible(False)

    def show_structures(self, rows: Sequence[StructureRow], layer: str, sides: bool) -> None:
        """List the structures of a layer; say whether there are sides to add up."""
        if rows and self.isHidden():
            self.setVisible(True)
            self.set_open(True)
        self.setVisible(bool(rows))
        self._source.setText(layer)
        self._sides.setVisible(sides)
        with QSignalBlocker(self.table):
            self.table.setSortingEnabled(False)
            self.table.setRowCount(len(rows))
            for i, row in enumerate(rows):
                for column, item in enumerate(_items(row)):
                    self.table.setItem(i, column, item)
            self.table.setSortingEnabled(True)
            self._mark()
        self.table.fit_rows()

    def show_in_3d(self, shown: bool) -> None:
        """Say whether the viewer shows three dimensions."""
        with QSignalBlocker(self._space):
            self._space.setChecked(shown)

    def _mark(self) -> None:
        """Select the row of what was chosen last."""
        rows = range(self.table.rowCount())
        found = next((i for i in rows if self._values_of(i) == self._chosen), -1)
        self.table.setCurrentCell(found, _NAME)

    def _values_of(self, row: int) -> tuple[int, ...]:
        return self.table.item(row, _NAME).data(_VALUES)

    def _pressed(self) -> None:
        self._ticked = False

    def _clicked(self, row: int, column: int) -> None:
        if self._ticked:
            self._ticked = False
            self._mark()
        else:
            self._chosen = self._values_of(row)
            self.chosen.emit(self._chosen)

    def _changed(self, item: QTableWidgetItem) -> None:
        if item.column() == _NAME:
            self._ticked = True
            shown = item.checkState() == Qt.CheckState.Checked
            self.visibilityChanged.emit(item.data(_VALUES), shown)


def _items(row: StructureRow) -> list[QTableWidgetItem]:
    name = _Item(row.name)
    name.setData(_VALUES, row.values)
    name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
    name.setCheckState(Qt.CheckState.Checked if row.visible else Qt.CheckState.Unchecked)
    swatch = QPixmap(12, 12)
    swatch.fill(QColor(row.color))
    name.setIcon(QIcon(swatch))
    values = ", ".join(str(value) for value in row.values)
    name.setToolTip(plain_tip(f"{row.name}\nLabel {values}"))
    volume = _Item(texts.number(row.volume_ml) if row.voxels else "–")
    volume.setData(_NUMBER, row.volume_ml)
    volume.setToolTip(f"{row.voxels} voxels")
    mean = _Item("–" if math.isnan(row.mean) else texts.number(row.mean))
    mean.setData(_NUMBER, -math.inf if math.isnan(row.mean) else row.mean)
    for item in (volume, mean):
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return [name, volume, mean]
