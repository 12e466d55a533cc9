"""The window "Models": what each model is for, its card, adding and removing models."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.gui.controllers.manager import ManagerController, ModelRow
from napari_hyperspace.gui.models.view import Tone
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel, plain_tip
from napari_hyperspace.gui.widgets.windows.opening import resize_within_screen, set_tab_order
from napari_hyperspace.gui.widgets.windows.web_address import WebAddressDialog

_KEY = Qt.ItemDataRole.UserRole
_REMOVABLE = _KEY + 1


class ModelsWindow(QDialog):
    """Shows the installed models.

    Parameters
    ----------
    controller
        Lists, adds and removes models.
    """

    def __init__(self, controller: ManagerController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.models")
        self.setWindowTitle("Models")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller = controller
        self._busy = False
        self._make_widgets()
        self._lay_out()
        self._list.currentItemChanged.connect(self._selected)
        self._list.itemDoubleClicked.connect(lambda item: self._use())
        self._web.clicked.connect(self._add_from_web)
        self._file.clicked.connect(self._add_file)
        self._folder.clicked.connect(self._add_folder)
        self._remove.clicked.connect(lambda: controller.remove(self._key()))
        self._cancel.clicked.connect(controller.cancel)
        self._choose.clicked.connect(self._use)
        self._close.clicked.connect(self.reject)
        self.finished.connect(lambda result: controller.close())
        controller.open(self)

    def _make_widgets(self) -> None:
        self._list = QListWidget(self)
        self._list.setObjectName("hyperspace.models.list")
        self._list.setAccessibleName("Models")
        self._list.setAccessibleDescription("The installed models, and what each is for")
        self._list.setWordWrap(True)
        self._list.setSpacing(2)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._card = QPlainTextEdit(self)
        self._card.setObjectName("hyperspace.models.card")
        self._card.setAccessibleName("Card of the model")
        self._card.setAccessibleDescription("Structures, trained range, license, measured Dice")
        self._card.setReadOnly(True)
        self._card.setTabChangesFocus(True)
        self._file = self._button("Add file…", "add_file", "Copy a model file to your models")
        self._web = self._button("Add from web…", "add_web", "Download a model from an address")
        self._folder = self._button("Add folder…", "add_folder", "Use the models of a folder")
        self._remove = self._button(
            "Remove", "remove", "Delete a model that was added, or no longer use its folder"
        )
        self._choose = self._button("Use", "use", "Choose this model in the panel")
        self._choose.setDefault(True)
        self._cancel = self._button("Cancel", "cancel", "Stop the download; it can be continued")
        self._close = self._button("Close", "close", "Close the window")
        self._bar = QProgressBar(self)
        self._bar.setObjectName("hyperspace.models.progress")
        self._bar.setAccessibleName("Progress")
        self._bar.setAccessibleDescription("How much of the download is done")
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(4)
        self._message = PlainLabel(self, name="hyperspace.models.message")
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._message.setMinimumHeight(2 * self._message.fontMetrics().lineSpacing())

    def _button(self, text: str, name: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(f"hyperspace.models.{name}")
        button.setToolTip(tip)
        button.setAccessibleName(text.rstrip("…"))
        button.setAccessibleDescription(tip)
        button.setAutoDefault(False)
        return button

    def _lay_out(self) -> None:
        parts = QSplitter(Qt.Orientation.Horizontal, self)
        parts.addWidget(self._list)
        parts.addWidget(self._card)
        parts.setSizes([320, 440])
        parts.setChildrenCollapsible(False)
        add = QHBoxLayout()
        for button in (self._file, self._web, self._folder, self._remove):
            add.addWidget(button)
        add.addStretch()
        end = QHBoxLayout()
        end.addWidget(self._message, 1)
        for button in (self._cancel, self._choose, self._close):
            end.addWidget(button, 0, Qt.AlignmentFlag.AlignBottom)
        column = QVBoxLayout(self)
        column.addWidget(parts, 1)
        column.addLayout(add)
        column.addWidget(self._bar)
        column.addLayout(end)
        set_tab_order(
            *(self._list, self._card, self._file, self._web, self._folder, self._remove),
            *(self._cancel, self._choose, self._close),
        )
        self._list.setFocus()
        resize_within_screen(self, 820, 540)

    # -- what the user does --------------------------------------------------------------------

    def _key(self) -> str:
        item = self._list.currentItem()
        return "" if item is None else str(item.data(_KEY))

    def _selected(self) -> None:
        self._refresh()
        if self._key():
            self._controller.select(self._key())

    def _use(self) -> None:
        if self._key():
            self._controller.use(self._key())
            self.accept()

    def _add_file(self) -> None:
        path = dialogs.ask_model_file(self)
        if path is not None:
            self._controller.add_file(path)

    def _add_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Use the models of a folder")
        if path:
            self._controller.add_folder(path)

    def _add_from_web(self) -> None:
        dialog = WebAddressDialog(self)
        dialog.accepted.connect(lambda: self._controller.add_from_web(*dialog.answer()))
        dialog.open()

    # -- the view of the controller --------------------------------------------------------------

    def show_rows(self, rows: Sequence[ModelRow], current: str) -> None:
        """List the models and select one of them."""
        with QSignalBlocker(self._list):
            self._list.clear()
            for row in rows:
                item = QListWidgetItem(f"{row.name}  ({row.origin})\n{row.purpose}")
                item.setData(_KEY, row.key)
                item.setData(_REMOVABLE, row.removable)
                item.setToolTip(plain_tip(row.purpose))
                self._list.addItem(item)
            keys = [row.key for row in rows]
            self._list.setCurrentRow(keys.index(current) if current in keys else 0)
        self._selected()

    def show_card(self, text: str) -> None:
        """Show the card of the selected model."""
        self._card.setPlainText(text)

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        """Show a message, and how much of a running job is done; `None`: no job is running."""
        self._message.setText(text)
        self._message.set_tone(tone)
        self._busy = fraction is not None
        self._bar.setValue(round(1000 * (fraction or 0)))
        self._refresh()

    def _refresh(self) -> None:
        """Enable the buttons that can be used now."""
        item = self._list.currentItem()
        for button in (self._file, self._web, self._folder):
            button.setEnabled(not self._busy)
        removable = item is not None and bool(item.data(_REMOVABLE))
        self._remove.setEnabled(removable and not self._busy)
        self._cancel.setEnabled(self._busy)
        self._choose.setEnabled(item is not None)
