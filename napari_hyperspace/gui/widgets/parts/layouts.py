"""Widgets side by side, and a page that scrolls up and down."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QHBoxLayout, QScrollArea, QWidget


def row(*widgets: QWidget, stretch: int) -> QHBoxLayout:
    """Lay widgets out side by side; the one with the index ``stretch`` takes the free width."""
    layout = QHBoxLayout()
    layout.setSpacing(6)
    for i, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if i == stretch else 0)
    return layout


class VerticalScrollArea(QScrollArea):
    """Its smallest width is that of its content, so that nothing is cut off.

    Parameters
    ----------
    content
        The widget that is scrolled.
    """

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest width of the content, and of the scroll bar beside it."""
        content, bar = self.widget(), self.verticalScrollBar()
        assert content is not None and bar is not None
        width = max(content.minimumSizeHint().width(), content.minimumWidth())
        return QSize(width + bar.sizeHint().width(), super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for another width when that of the content changes."""
        requested = event is not None and event.type() == QEvent.Type.LayoutRequest
        if requested and watched is self.widget():
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))
