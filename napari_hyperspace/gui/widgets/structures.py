"""The table of structures: name, volume, mean intensity and visibility."""

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
    QWidget,
)

from napari_hyperspace.gui.models.formatting import describe_totals, format_ml, format_number
from napari_hyperspace.gui.models.view import StructureRow
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel, plain_tip

_NAME, _VOLUME, _MEAN, _CHANGE, _DICE = range(5)
_FEWEST_ROWS = 8  # shown even in a low window
_ROW_HEIGHT = 21
_VALUES = Qt.ItemDataRole.UserRole  # of a name: its label values
_NUMBER = Qt.ItemDataRole(Qt.ItemDataRole.UserRole + 1)  # what a cell is sorted by


class _Cell(QTableWidgetItem):
    """A cell that is sorted by a number, or by its text."""

    def __lt__(self, other: QTableWidgetItem) -> bool:
        one, another = self.data(_NUMBER), other.data(_NUMBER)
        if one is None or another is None:
            return super().__lt__(other)
        return bool(one < another)


class _Table(QTableWidget):
    """A table as high as its rows if there is room; moving by keys acts like a click."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(0, 5, parent)
        header, vertical = self.horizontalHeader(), self.verticalHeader()
        assert header is not None and vertical is not None
        self._header = header
        right = Qt.AlignmentFlag.AlignRight
        for column, text, alignment, tip in (
            (_NAME, "Structure", Qt.AlignmentFlag.AlignLeft, ""),
            (_VOLUME, "ml", right, "Volume on the scan's own grid"),
            (_MEAN, "mean", right, "Mean of the image within the structure"),
            (_CHANGE, "B − A", right, "Volume in B minus volume in A, in ml"),
            (_DICE, "Dice", right, "Overlap of A and B: 1 if they agree, 0 without a common voxel"),
        ):
            title = QTableWidgetItem(text)
            title.setTextAlignment(alignment)
            title.setToolTip(tip)
            self.setHorizontalHeaderItem(column, title)
            stretch = column == _NAME
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(column, mode.Stretch if stretch else mode.ResizeToContents)
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(_ROW_HEIGHT)
        vertical.setMinimumSectionSize(_ROW_HEIGHT)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setIconSize(QSize(12, 12))
        self.setSortingEnabled(True)
        for column in (_CHANGE, _DICE):
            self.setColumnHidden(column, True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)

    def fill(self, rows: Sequence[StructureRow]) -> None:
        """Show these rows in the chosen order."""
        self.setSortingEnabled(False)
        self.setRowCount(len(rows))
        for i, row in enumerate(rows):
            for column, cell in enumerate(_cells(row)):
                self.setItem(i, column, cell)
        compared = any(row.dice is not None for row in rows)
        for column, shown in ((_MEAN, not compared), (_CHANGE, compared), (_DICE, compared)):
            self.setColumnHidden(column, not shown)
        self.setSortingEnabled(True)

    def values_of(self, row: int) -> tuple[int, ...]:
        """Return the label values of a row."""
        name = self.item(row, _NAME)
        return () if name is None else tuple(name.data(_VALUES))

    def fit_rows(self) -> None:
        """Limit the height to that of all rows; the smallest height is that of a few rows."""
        around = self._header.sizeHint().height() + 2 * self.frameWidth()
        self.setMinimumHeight(around + min(self.rowCount(), _FEWEST_ROWS) * _ROW_HEIGHT)
        self.setMaximumHeight(around + self.rowCount() * _ROW_HEIGHT)

    def sizeHint(self) -> QSize:
        """Return the smallest size; the layout gives more if there is room."""
        return QSize(super().sizeHint().width(), self.minimumHeight())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move to another row, and act as if it had been clicked."""
        before = self.currentRow()
        super().keyPressEvent(event)
        if self.currentRow() != before:
            self.cellClicked.emit(self.currentRow(), _NAME)


class StructurePanel(CollapsibleSection):
    """The structures of a Labels layer, one per row.

    A click on a row selects the structure; the check box shows and hides it.
    """

    chosen = Signal(tuple)
    """Label values of the structure that was clicked."""
    visibilityChanged = Signal(tuple, bool)
    onlyToggled = Signal(bool)
    sidesToggled = Signal(bool)
    view3dToggled = Signal(bool)
    exportRequested = Signal()
    copyRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Structures", "hyperspace.structures", parent)
        self._chosen: tuple[int, ...] = ()
        self._box_clicked = False  # whether the current click was on a check box
        self._source = PlainLabel(self, faint=True, name="hyperspace.structures.layer")
        self.table = _Table(self)
        self.table.setObjectName("hyperspace.structures.table")
        self.table.setAccessibleName("Structures")
        self.table.setAccessibleDescription(
            "Volume and mean of each structure; a row that is chosen is shown in the viewer"
        )
        self._only = QCheckBox("Only selected", self)
        self._only.setObjectName("hyperspace.structures.only")
        self._only.setToolTip("Hide all structures except the selected one")
        self._sides = QCheckBox("L + R", self)
        self._sides.setObjectName("hyperspace.structures.sides")
        self._sides.setToolTip("Sum left and right structures")
        self._view_3d = QToolButton(self)
        self._view_3d.setObjectName("hyperspace.structures.space")
        self._view_3d.setText("3D")
        self._view_3d.setCheckable(True)
        self._view_3d.setToolTip("Show the structures in 3-D; click again for slices")
        self._total = PlainLabel(self, faint=True, name="hyperspace.structures.total")
        self._copy = QToolButton(self)
        self._copy.setObjectName("hyperspace.structures.copy")
        self._copy.setText("Copy")
        self._copy.setToolTip("Copy this table, to be pasted into a spreadsheet")
        self._export = QToolButton(self)
        self._export.setObjectName("hyperspace.structures.export")
        self._export.setText("CSV…")
        self._export.setToolTip("Save this table")
        for button in (self._view_3d, self._copy, self._export):
            button.setProperty("style", "text")
        buttons = QHBoxLayout()
        for box in (self._only, self._sides):
            buttons.addWidget(box)
        buttons.addStretch(1)
        for button in (self._view_3d, self._copy, self._export):
            buttons.addWidget(button)
        for layout in (buttons, self.column):
            layout.setSpacing(6)
        self.column.addWidget(self._source)
        self.column.addWidget(self.table, 1)
        self.column.addWidget(self._total)
        self.column.addLayout(buttons)
        self.column.addStretch()
        self.table.pressed.connect(self._pressed)
        self.table.cellClicked.connect(self._clicked)
        self.table.itemChanged.connect(self._item_changed)
        self._only.toggled.connect(self.onlyToggled)
        self._sides.toggled.connect(self.sidesToggled)
        self._view_3d.toggled.connect(self.view3dToggled)
        self._copy.clicked.connect(lambda: self.copyRequested.emit())
        self._export.clicked.connect(lambda: self.exportRequested.emit())
        self.setVisible(False)

    def show_structures(self, rows: Sequence[StructureRow], layer: str, sides: bool) -> None:
        """List the structures of a layer; ``sides``: whether left and right can be summed."""
        if rows and self.isHidden():
            self.expand(animate=False)
        self.setVisible(bool(rows))
        self._source.setText(layer)
        self._sides.setVisible(sides)
        totals = describe_totals([(row.name, row.volume_ml) for row in rows])
        self._total.setText(totals)
        self._total.setVisible(bool(totals))
        with QSignalBlocker(self.table):
            self.table.fill(rows)
            self._select_chosen()
        self.table.fit_rows()

    def choose_next(self) -> None:
        """Choose the row after the chosen one, and the first after the last."""
        if self.table.rowCount() and not self.isHidden():
            row = (self.table.currentRow() + 1) % self.table.rowCount()
            self.table.setCurrentCell(row, _NAME)
            self.table.cellClicked.emit(row, _NAME)

    def show_in_3d(self, shown: bool) -> None:
        """Show whether the viewer is in 3-D mode."""
        with QSignalBlocker(self._view_3d):
            self._view_3d.setChecked(shown)

    def _select_chosen(self) -> None:
        """Select the row of the structure that was chosen last."""
        rows = range(self.table.rowCount())
        found = next((i for i in rows if self.table.values_of(i) == self._chosen), -1)
        self.table.setCurrentCell(found, _NAME)

    # Qt emits pressed, then itemChanged if the press was on a check box, then cellClicked.

    def _pressed(self) -> None:
        self._box_clicked = False

    def _item_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == _NAME:
            self._box_clicked = True
            shown = item.checkState() == Qt.CheckState.Checked
            self.visibilityChanged.emit(item.data(_VALUES), shown)

    def _clicked(self, row: int, column: int) -> None:
        if self._box_clicked:
            self._box_clicked = False
            self._select_chosen()
        else:
            self._chosen = self.table.values_of(row)
            self.chosen.emit(self._chosen)


def _cells(row: StructureRow) -> list[QTableWidgetItem]:
    name = _Cell(row.name)
    name.setData(_VALUES, row.values)
    name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
    name.setCheckState(Qt.CheckState.Checked if row.visible else Qt.CheckState.Unchecked)
    swatch = QPixmap(12, 12)
    swatch.fill(QColor(row.color))
    name.setIcon(QIcon(swatch))
    values = ", ".join(str(value) for value in row.values)
    name.setToolTip(plain_tip(f"{row.name}\nLabel {values}"))
    volume = _Cell(format_ml(row.volume_ml) if row.voxels else "–")
    volume.setData(_NUMBER, row.volume_ml)
    volume.setToolTip(f"{row.voxels} voxels")
    mean = _Cell("–" if math.isnan(row.mean) else format_number(row.mean))
    mean.setData(_NUMBER, -math.inf if math.isnan(row.mean) else row.mean)
    numbers = [volume, mean, *_compared_cells(row)]
    for cell in numbers:
        cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return [name, *numbers]


def _compared_cells(row: StructureRow) -> list[QTableWidgetItem]:
    change = math.nan if row.compared_ml is None else row.compared_ml - row.volume_ml
    dice = math.nan if row.dice is None else row.dice
    sign = "−" if change < 0 else "+" if change > 0 else ""
    cells: list[QTableWidgetItem] = []
    for number, text in (
        (change, f"{sign}{format_ml(abs(change))}"),
        (dice, f"{dice:.3f}"),
    ):
        cell = _Cell("–" if math.isnan(number) else text)
        cell.setData(_NUMBER, -math.inf if math.isnan(number) else number)
        cell.setToolTip(f"A {row.volume_ml:.4g} ml, B {row.compared_ml:.4g} ml" if sign else "")
        cells.append(cell)
    return cells
