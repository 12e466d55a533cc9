"""A section of the dock that collapses under its heading."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_hyperspace.gui.widgets.parts.theme import Colors

_NO_LIMIT = 16_777_215  # QWIDGETSIZE_MAX


class CollapsibleSection(QCollapsible):
    """A heading to click on and a column of widgets, collapsed at first.

    `QCollapsible` fixes the height of its content when it expands. Here the content takes part in
    the layout instead, so that a table can grow, and it is hidden while the section is collapsed,
    so that the Tab key skips it.

    Parameters
    ----------
    title
        The heading.
    name
        The objectName; that of the button is ``NAME.toggle``.
    """

    def __init__(self, title: str, name: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self.setObjectName(name)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setDuration(0)
        button = self.toggleButton()
        button.setObjectName(f"{name}.toggle")
        button.setStyleSheet("text-align: left;")  # in place of one that hides the focus
        button.setAccessibleName(title)
        button.setAccessibleDescription("Show or hide this section")
        button.setProperty("style", "section")
        button.setIconSize(QSize(9, 9))
        outer, column = self.layout(), self.content().layout()
        assert isinstance(outer, QVBoxLayout) and isinstance(column, QVBoxLayout)
        outer.setAlignment(Qt.AlignmentFlag(0))
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(2)
        outer.setStretchFactor(self.content(), 1)
        outer.addStretch()
        column.setContentsMargins(0, 0, 0, 0)
        self.column = column
        self.toggled.connect(self._show_content)
        self._show_content(False)

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        self.setExpandedIcon(chosen.icon("down_arrow"))
        self.setCollapsedIcon(chosen.icon("right_arrow"))

    def _show_content(self, expanded: bool) -> None:
        content = self.content()
        content.setMaximumHeight(_NO_LIMIT)
        content.setVisible(expanded)
