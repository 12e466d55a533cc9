"""The window "Segment a folder": folders, the spacing of each scan, and a table of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.gui.controllers.results.batch import (
    BatchController,
    BatchRequest,
    BatchRow,
    PolicyKind,
)
from napari_hyperspace.gui.models.view import Tone
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel, plain_tip
from napari_hyperspace.gui.widgets.parts.theme import Colors
from napari_hyperspace.gui.widgets.windows.opening import resize_within_screen, set_tab_order

_COLUMNS = ("Scan", "Spacing", "Time", "Result")
_WIDTHS = (200, 130, 90)  # the last column takes the rest
_POLICIES: tuple[tuple[PolicyKind, str], ...] = (
    ("native", "each scan's own"),
    ("fixed", "the same for all"),
    ("budget", "the finest within a budget"),
)


class BatchWindow(QDialog):
    """Segments the scans of a folder.

    Parameters
    ----------
    controller
        Runs the batch.
    chosen
        Colors of the theme.
    """

    def __init__(
        self, controller: BatchController, chosen: Colors, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.batch")
        self.setWindowTitle("Segment a folder")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller = controller
        self._colors = chosen
        self._own_target = False
        self._make_widgets()
        self._lay_out()
        self._browse_source.clicked.connect(self._ask_source)
        self._browse_target.clicked.connect(self._ask_target)
        self._source.textChanged.connect(self._suggest_target)
        self._target.textEdited.connect(lambda text: self._keep_target())
        self._policy.currentIndexChanged.connect(self._details.setCurrentIndex)
        self._run.clicked.connect(lambda: controller.run(self.request()))
        self._cancel.clicked.connect(controller.cancel)
        self._save.clicked.connect(self._ask_table)
        self._close.clicked.connect(self.reject)
        self._table.cellDoubleClicked.connect(lambda row, column: controller.open_result(row))
        enter = QShortcut(QKeySequence(Qt.Key.Key_Return), self._table)
        enter.setContext(Qt.ShortcutContext.WidgetShortcut)
        enter.activated.connect(lambda: controller.open_result(self._table.currentRow()))
        self.finished.connect(lambda result: controller.close())
        controller.open(self)

    def _make_widgets(self) -> None:
        self._source = self._line("source", "Folder of the scans", "NIfTI, NRRD, MHA or DICOM")
        self._target = self._line("target", "Folder for the labels", "is made if there is none")
        self._browse_source = self._button("Browse…", "browse_source", "Choose the scans' folder")
        self._browse_target = self._button("Browse…", "browse_target", "Choose the labels' folder")
        self._policy = QComboBox(self)
        self._policy.setObjectName("hyperspace.batch.policy")
        self._describe(self._policy, "Working spacing", "Which working spacing each scan gets")
        for kind, text in _POLICIES:
            self._policy.addItem(text, kind)
        self._spacing = self._line("spacing", "Spacing in mm", "2, or z,y,x such as 1,1,3")
        self._seconds = self._number("seconds", "Time per scan", 0.1, 86_400, 30.0, " s")
        self._gigabytes = self._number("gigabytes", "Memory per scan", 0, 10_000, 0, " GB")
        self._gigabytes.setSpecialValueText("any memory")
        self._details = QStackedWidget(self)
        self._details.addWidget(QWidget(self))
        self._details.addWidget(self._spacing)
        budget = QWidget(self)
        row = QHBoxLayout(budget)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._seconds)
        row.addWidget(self._gigabytes)
        self._details.addWidget(budget)
        self._with = PlainLabel(self, faint=True, name="hyperspace.batch.with")
        self._with.setText(self._controller.describe())
        self._table = QTableWidget(0, len(_COLUMNS), self)
        self._table.setObjectName("hyperspace.batch.table")
        tip = "The scans and their results; a double click or Enter opens a scan with its labels"
        self._describe(self._table, "Results", tip)
        self._table.setHorizontalHeaderLabels(_COLUMNS)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setWordWrap(False)
        self._table.setTabKeyNavigation(False)
        vertical, header = self._table.verticalHeader(), self._table.horizontalHeader()
        assert vertical is not None and header is not None
        vertical.setVisible(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        for section, width in enumerate(_WIDTHS):
            header.resizeSection(section, width)
        self._bar = QProgressBar(self)
        self._bar.setObjectName("hyperspace.batch.progress")
        self._describe(self._bar, "Progress", "How much of the batch is done")
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(4)
        self._message = PlainLabel(self, name="hyperspace.batch.message")
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._message.setMinimumHeight(2 * self._message.fontMetrics().lineSpacing())
        self._save = self._button(
            "Save table…", "save", "Save spacing, time and volumes of all scans as CSV"
        )
        self._run = self._button("Segment", "run", "Segment all scans of the folder")
        self._run.setDefault(True)
        self._cancel = self._button("Cancel", "cancel", "Stop; labels that were written are kept")
        self._close = self._button("Close", "close", "Close the window; a batch continues")

    def _lay_out(self) -> None:
        form = QGridLayout()
        form.setColumnStretch(1, 1)
        for row, (title, field, button) in enumerate(
            (
                ("Scans", self._source, self._browse_source),
                ("Labels", self._target, self._browse_target),
            )
        ):
            form.addWidget(QLabel(title, self), row, 0)
            form.addWidget(field, row, 1)
            form.addWidget(button, row, 2)
        spacing = QHBoxLayout()
        spacing.addWidget(self._policy)
        spacing.addWidget(self._details, 1)
        form.addWidget(QLabel("Spacing", self), 2, 0)
        form.addLayout(spacing, 2, 1, 1, 2)
        form.addWidget(self._with, 3, 1, 1, 2)
        end = QHBoxLayout()
        end.addWidget(self._message, 1)
        for button in (self._save, self._run, self._cancel, self._close):
            end.addWidget(button, 0, Qt.AlignmentFlag.AlignBottom)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self._table, 1)
        column.addWidget(self._bar)
        column.addLayout(end)
        set_tab_order(
            *(self._source, self._browse_source, self._target, self._browse_target),
            *(self._policy, self._spacing, self._seconds, self._gigabytes, self._table),
            *(self._save, self._run, self._cancel, self._close),
        )
        resize_within_screen(self, 760, 520)

    def _button(self, text: str, name: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(f"hyperspace.batch.{name}")
        self._describe(button, tip if text == "Browse…" else text, tip)
        button.setAutoDefault(False)
        return button

    def _line(self, name: str, title: str, placeholder: str) -> QLineEdit:
        line = QLineEdit(self)
        line.setObjectName(f"hyperspace.batch.{name}")
        line.setPlaceholderText(placeholder)
        self._describe(line, title, placeholder)
        return line

    def _number(
        self, name: str, title: str, least: float, most: float, value: float, unit: str
    ) -> QDoubleSpinBox:
        box = QDoubleSpinBox(self)
        box.setObjectName(f"hyperspace.batch.{name}")
        box.setDecimals(1)
        box.setRange(least, most)
        box.setValue(value)
        box.setSuffix(unit)
        self._describe(box, title, f"{title}; the finest trained spacing within it is used")
        return box

    def _describe(self, widget: QWidget, name: str, tip: str) -> None:
        widget.setAccessibleName(name)
        widget.setAccessibleDescription(tip)
        widget.setToolTip(tip)

    # -- what the user does --------------------------------------------------------------------

    def request(self) -> BatchRequest:
        """Return what the user asks for."""
        return BatchRequest(
            source=self._source.text().strip(),
            target=self._target.text().strip(),
            kind=cast(PolicyKind, self._policy.currentData()),
            spacing=self._spacing.text().strip(),
            seconds=self._seconds.value(),
            gigabytes=self._gigabytes.value(),
        )

    def _ask_source(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the scans")
        if path:
            self._source.setText(path)

    def _ask_target(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder for the labels")
        if path:
            self._keep_target()
            self._target.setText(path)

    def _ask_table(self) -> None:
        folder = Path(self._target.text().strip())
        path = dialogs.ask_table_path(self, str(folder / "results.csv"))
        if path is not None:
            self._controller.export(path)

    def _keep_target(self) -> None:
        self._own_target = True

    def _suggest_target(self, text: str) -> None:
        """Suggest a folder beside that of the scans, unless the user named one."""
        source = Path(text.strip())
        if not self._own_target:
            suggestion = source.with_name(f"{source.name}-labels") if source.name else ""
            self._target.setText(str(suggestion))
        self._refresh(self._cancel.isEnabled())

    # -- the view of the controller --------------------------------------------------------------

    def show_rows(self, rows: Sequence[BatchRow]) -> None:
        """List the scans."""
        self._table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            self.show_row(index, row)

    def show_row(self, index: int, row: BatchRow) -> None:
        """Show another state of a scan."""
        for column, text in enumerate((row.name, row.spacing, row.time, row.state)):
            item = QTableWidgetItem(text)
            item.setToolTip(plain_tip(text))
            if column == len(_COLUMNS) - 1 and row.tone in ("error", "good"):
                color = self._colors.bad if row.tone == "error" else self._colors.good
                item.setForeground(color)
            self._table.setItem(index, column, item)

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        """Show a message, and how much of the batch is done; `None`: no batch is running."""
        self._message.setText(text)
        self._message.set_tone(tone)
        self._bar.setValue(round(1000 * (fraction or 0)))
        self._refresh(fraction is not None)

    def _refresh(self, running: bool) -> None:
        """Enable the buttons that can be used now."""
        self._run.setEnabled(not running and bool(self._source.text().strip()))
        self._cancel.setEnabled(running)
        self._save.setEnabled(not running and self._table.rowCount() > 0)
