"""What all controls have in common: names for screen readers, and when the wheel acts on them."""

from __future__ import annotations

import re
from html import unescape

from qtpy.QtCore import QChildEvent, QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QProgressBar,
    QScrollBar,
    QTableView,
    QWidget,
)

from napari_hyperspace.gui.widgets.parts.slider import SpacingSlider

_NUMBERS = (QAbstractSpinBox, QAbstractSlider, QComboBox)  # the wheel changes them
_NAMED = (*_NUMBERS, QAbstractButton, QProgressBar, QTableView, SpacingSlider)


class Controls(QObject):
    """Watches the controls of a panel, its dialogs and those that are added later.

    - The wheel changes a number or a choice only while the control has the keyboard focus;
      otherwise it scrolls the panel.
    - A control without an accessible name or description gets its text and its tool tip.

    Parameters
    ----------
    root
        The panel.
    """

    def __init__(self, root: QWidget) -> None:
        super().__init__(root)
        self._adopt(root)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the wheel from controls without focus, and follow new controls and tool tips."""
        if event is None or not isinstance(watched, QWidget):
            return False
        kind = event.type()
        if kind == QEvent.Type.Wheel and isinstance(watched, _NUMBERS) and not watched.hasFocus():
            event.ignore()  # so that the parent scrolls
            return True
        if kind == QEvent.Type.ChildPolished and isinstance(event, QChildEvent):
            child = event.child()
            if isinstance(child, QWidget):
                self._adopt(child)
        elif kind == QEvent.Type.ToolTipChange and is_control(watched):
            watched.setAccessibleDescription(_plain(watched.toolTip()))
        return False

    def _adopt(self, root: QWidget) -> None:
        for widget in (root, *root.findChildren(QWidget)):
            widget.removeEventFilter(self)  # so that it is installed once
            widget.installEventFilter(self)
            if is_control(widget):
                _describe(widget)
            if isinstance(widget, _NUMBERS) and widget.focusPolicy() == Qt.FocusPolicy.WheelFocus:
                widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)


def is_control(widget: QWidget) -> bool:
    """Whether a user acts on a widget, or reads its value; parts of Qt's own widgets are not."""
    inner = widget.objectName().startswith("qt_") or isinstance(widget, QScrollBar)
    return isinstance(widget, _NAMED) and not inner and not _in_combo_box(widget)


def _in_combo_box(widget: QWidget) -> bool:
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QComboBox | QTableView):
            return True
        parent = parent.parentWidget()
    return False


def _describe(control: QWidget) -> None:
    if not control.accessibleName():
        text = control.text() if isinstance(control, QAbstractButton) else ""
        control.setAccessibleName(text.replace("&", "").rstrip("…: "))
    if not control.accessibleDescription():
        control.setAccessibleDescription(_plain(control.toolTip()))


def _plain(tip: str) -> str:
    """Return the text of a tool tip without markup."""
    is_rich = tip.startswith("<qt>")
    return unescape(re.sub(r"<[^>]*>", " ", tip)).strip() if is_rich else tip
