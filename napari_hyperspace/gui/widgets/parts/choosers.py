"""Combo boxes over (key, name) pairs, which emit nothing while they are filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_hyperspace.gui.models.view import Entries
from napari_hyperspace.gui.widgets.parts.labels import plain_tip


class Chooser(QComboBox):
    """Chooses a key by its name; the last entries may be actions, such as opening a file."""

    chosen = Signal(str)
    """The new key, chosen by the user or by `setCurrentIndex`."""

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(60)
        self._actions: dict[str, Callable[[], None]] = {}
        self._tips: dict[str, str] = {}
        self._current = ""
        self.currentIndexChanged.connect(self._index_changed)

    def set_action(self, text: str, action: Callable[[], None]) -> None:
        """Add an action after the entries, or replace the one with this text."""
        self._actions[text] = action

    def set_tips(self, tips: Mapping[str, str]) -> None:
        """Show a line about each entry in its tool tip, by key."""
        self._tips = dict(tips)
        for index in range(self.count()):
            self._show_tip(index)

    def fill(self, entries: Entries, current: str, placeholder: str = "") -> None:
        """Show these entries without emitting `chosen`."""
        self._current = current
        with QSignalBlocker(self):
            self.clear()
            for key, text in entries:
                self.addItem(text, key)
                self._show_tip(self.count() - 1)
            if self._actions and entries:
                self.insertSeparator(self.count())
            for text in self._actions:
                self.addItem(text, None)
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
        elif self.itemText(index) in self._actions:
            action = self._actions[self.itemText(index)]
            with QSignalBlocker(self):
                self.setCurrentIndex(self.findData(self._current) if self._current else -1)
            action()

    def _show_tip(self, index: int) -> None:
        key = self.itemData(index)
        if key is not None:
            lines = (self.itemText(index), self._tips.get(key, ""))
            tip = plain_tip("\n".join(line for line in lines if line))
            self.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)


def channel_name(base: str, channel: int) -> str:
    """Return the objectName of the layer chooser of an input channel."""
    return base if channel == 0 else f"{base}_{channel + 1}"
