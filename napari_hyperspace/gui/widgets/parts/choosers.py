"""Combo boxes over (key, name) pairs, which emit nothing while they are filled."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_hyperspace.gui.models.view import Entries
from napari_hyperspace.gui.widgets.parts.labels import plain_tip


class Chooser(QComboBox):
    """Chooses a key by its name; the last entry may be an action, such as opening a file."""

    chosen = Signal(str)
    """The new key, chosen by the user or by `setCurrentIndex`."""

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(60)
        self._action: tuple[str, Callable[[], None]] | None = None
        self._current = ""
        self.currentIndexChanged.connect(self._index_changed)

    def set_action(self, text: str, action: Callable[[], None]) -> None:
        """Add an action after the entries."""
        self._action = text, action

    def fill(self, entries: Entries, current: str, placeholder: str = "") -> None:
        """Show these entries without emitting `chosen`."""
        self._current = current
        with QSignalBlocker(self):
            self.clear()
            for key, text in entries:
                self.addItem(text, key)
                self.setItemData(self.count() - 1, plain_tip(text), Qt.ItemDataRole.ToolTipRole)
            if self._action is not None:
                if entries:
                    self.insertSeparator(self.count())
                self.addItem(self._action[0], None)
            keys = [key for key, _ in entries]
            self.setCurrentIndex(keys.index(current) if current in keys else -1)
            self.setPlaceholderText(placeholder)

    def current_key(self) -> str:
        """Return the key of the current entry."""
        return self._current

    def _index_changed(self, index: int) -> None:
        key = self.itemData(index) if index >= 0 else None
        if key is not None:
            self._current = key
            self.chosen.emit(key)
        elif self._action is not None and self.itemText(index) == self._action[0]:
            with QSignalBlocker(self):
                self.setCurrentIndex(self.findData(self._current) if self._current else -1)
            self._action[1]()


def channel_name(base: str, channel: int) -> str:
    """Return the objectName of the layer chooser of an input channel."""
    return base if channel == 0 else f"{base}_{channel + 1}"
