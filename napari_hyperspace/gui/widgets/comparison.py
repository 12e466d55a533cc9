"""The section of the dock that compares two results."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QButtonGroup, QLabel, QToolButton, QWidget

from napari_hyperspace.gui.models.comparison import (
    BLINK_KEY,
    DIFFERENT_COLORS,
    ComparedResult,
    ComparisonState,
)
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.layouts import row
from napari_hyperspace.gui.widgets.parts.tool_button import text_button

_BESIDE, _FIRST, _SECOND = range(3)


class ComparisonPanel(CollapsibleSection):
    """Two results, how well they agree, and how they are shown. Hidden while none are compared."""

    besideChosen = Signal()
    placeChosen = Signal(bool)
    """Show one result in place: whether it is the second."""
    differentToggled = Signal(bool)
    leaveRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Comparison", "hyperspace.comparison", parent)
        self._results = [
            (
                PlainLabel(self, name=f"hyperspace.comparison.{which}"),
                PlainLabel(self, faint=True, name=f"hyperspace.comparison.{which}_facts"),
            )
            for which in ("first", "second")
        ]
        self._summary = PlainLabel(self, name="hyperspace.comparison.summary")
        self._summary.setMinimumHeight(2 * self._summary.fontMetrics().lineSpacing())
        self._buttons = [
            _toggle(self, "A | B", "beside", "Show A and B beside each other"),
            _toggle(self, "A", "show_first", f"Show A alone ({BLINK_KEY}: the other one)"),
            _toggle(self, "B", "show_second", f"Show B alone ({BLINK_KEY}: the other one)"),
        ]
        self._views = QButtonGroup(self)
        for i, button in enumerate(self._buttons):
            self._views.addButton(button, i)
        self._different = _toggle(
            self, "A ≠ B", "different", "Show in another pane where A and B differ"
        )
        leave = text_button(
            self, "Done", "hyperspace.comparison.leave", "Show what was shown before comparing"
        )
        self._legend = QLabel(_legend(), self)
        self._legend.setObjectName("hyperspace.comparison.legend")
        self.column.setSpacing(4)
        for labels in self._results:
            for label in labels:
                self.column.addWidget(label)
        self.column.addWidget(self._summary)
        self.column.addLayout(row(*self._buttons, self._different, QWidget(self), leave, stretch=4))
        self.column.addWidget(self._legend)
        self._views.idClicked.connect(self._view_chosen)
        self._different.toggled.connect(self.differentToggled)
        leave.clicked.connect(lambda: self.leaveRequested.emit())
        self.setVisible(False)

    def show_comparison(self, state: ComparisonState | None) -> None:
        """Show a comparison; `None`: nothing is compared."""
        if state is not None and self.isHidden():
            self.expand(animate=False)
        self.setVisible(state is not None)
        if state is None:
            return
        for letter, (name, facts), result in zip(
            "AB", self._results, (state.first, state.second), strict=True
        ):
            _show_result(letter, name, facts, result)
        self._summary.setText(state.summary)
        chosen = _BESIDE if not state.in_place else _SECOND if state.second_shown else _FIRST
        with QSignalBlocker(self._views), QSignalBlocker(self._different):
            self._buttons[chosen].setChecked(True)
            self._different.setChecked(state.different)
        self._different.setEnabled(not state.in_place)
        self._legend.setVisible(state.different and not state.in_place)

    def _view_chosen(self, which: int) -> None:
        if which == _BESIDE:
            self.besideChosen.emit()
        else:
            self.placeChosen.emit(which == _SECOND)


def _show_result(letter: str, name: PlainLabel, facts: PlainLabel, result: ComparedResult) -> None:
    name.setText(f"{letter}: {result.name}")
    facts.setText(result.facts)
    facts.setVisible(bool(result.facts))


def _toggle(parent: QWidget, text: str, name: str, tip: str) -> QToolButton:
    button = text_button(parent, text, f"hyperspace.comparison.{name}", tip)
    button.setCheckable(True)
    button.setAccessibleName(tip)
    return button


def _legend() -> str:
    texts = {"first": "only in A", "second": "only in B", "both": "other structure"}
    return " &nbsp; ".join(
        f'<span style="color: {color}">■</span> {texts[kind]}'
        for kind, color in DIFFERENT_COLORS.items()
    )
