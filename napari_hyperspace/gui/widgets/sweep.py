"""The section of the dock that sweeps over working spacings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QSizePolicy, QSpinBox, QWidget

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.controllers.results.sweep import SweepController
from napari_hyperspace.gui.models.sweep import SweepChoices, SweepState, Where
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.choosers import Chooser
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.layouts import row
from napari_hyperspace.gui.widgets.parts.spacing_box import SpacingBox
from napari_hyperspace.gui.widgets.parts.theme import Colors
from napari_hyperspace.gui.widgets.parts.tool_button import MenuButton, text_button
from napari_hyperspace.gui.widgets.sweep_plot import SweepPlot

_AXES = (("", "all axes"), ("z", "z only"), ("y", "y only"), ("x", "x only"))
_PLACES = (("scan", "whole scan"), ("view", "visible part"), ("rectangle", "rectangle (Shapes)"))
_AXIS_WIDTH = 96
_LINES = 2  # of the texts about the spacing that is shown, and about the knee


class SweepPanel(CollapsibleSection):
    """Range and number of the spacings, curves of the finished ones, and what to do with them."""

    choicesChanged = Signal(object)
    limited = Signal(str)
    """Why another number than the typed one was set."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Sweep", "hyperspace.sweep", parent)
        self._state = SweepState(SweepChoices())
        self._low = self._box("low", "Finest working spacing")
        self._high = self._box("high", "Coarsest working spacing")
        self._count = QSpinBox(self)
        self._count.setRange(2, 50)
        self._count.setKeyboardTracking(False)
        _name(self._count, "count", "Number of spacings between them, both included; log-spaced")
        self._axis = self._chooser("axis", "Which spacings change; the others stay as set above")
        self._where = self._chooser(
            "where",
            "What to segment: all of it; what the canvas shows; or a rectangle drawn in a Shapes "
            "layer. A part is segmented with 16 mm around it",
        )
        self._reference = self._chooser(
            "reference", "What Dice is measured with: the finest finished spacing, or other labels"
        )
        self._estimate = PlainLabel(self, faint=True, name="hyperspace.sweep.estimate")
        self.start = text_button(
            self, "Start sweep", "hyperspace.sweep.start", "Segment at each spacing, coarse to fine"
        )
        self.plot = SweepPlot(self)
        _name(
            self.plot,
            "plot",
            "Click on a spacing, or press the left or right arrow, to show its labels and to set "
            "the working spacing to it. Dashed: the knee; shaded: the trained range",
        )
        self._shown = PlainLabel(self, name="hyperspace.sweep.shown")
        self._knee = PlainLabel(self, name="hyperspace.sweep.knee")
        for label in (self._shown, self._knee):
            # Reserved, so that a longer text moves nothing beneath.
            label.setMinimumHeight(_LINES * label.fontMetrics().lineSpacing())
        self._loss = QDoubleSpinBox(self)
        self._loss.setRange(0, 0.5)
        self._loss.setDecimals(3)
        self._loss.setSingleStep(0.005)
        self._loss.setKeyboardTracking(False)
        self._loss.setPrefix("loss ≤ ")
        _name(
            self._loss,
            "loss",
            "Loss of mean Dice that is accepted: the knee is the coarsest spacing up to which no "
            "spacing loses more",
        )
        self.take_knee = text_button(
            self,
            "Use knee",
            "hyperspace.sweep.use_knee",
            "Show the labels at the knee, and set the working spacing to it",
        )
        self.stability = text_button(
            self,
            "Stability map",
            "hyperspace.sweep.stability",
            "Add an image: for each voxel, the share of the spacings that agree on its label",
        )
        self.export = MenuButton(
            "Export", "hyperspace.sweep.export", "Save the table or the curves", self
        )
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        column = self.column
        column.setSpacing(4)
        to, times = (PlainLabel(self, faint=True) for _ in range(2))
        for label, text in ((to, "to"), (times, "in")):
            label.setText(text)
            label.setWordWrap(False)
            label.setMinimumWidth(0)
        column.addLayout(row(self._low, to, self._high, times, self._count, stretch=4))
        self._axis.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._axis.setFixedWidth(_AXIS_WIDTH)
        column.addLayout(row(self._axis, self._where, stretch=1))
        dice = PlainLabel(self, faint=True)
        dice.setText("Dice with")
        dice.setWordWrap(False)
        for label in (to, times, dice):
            policy = label.sizePolicy()
            policy.setHorizontalPolicy(policy.Policy.Fixed)
            label.setSizePolicy(policy)
        column.addLayout(row(dice, self._reference, stretch=1))
        column.addLayout(row(self._estimate, self.start, stretch=0))
        column.addWidget(self.plot)
        column.addWidget(self._shown)
        column.addWidget(self._knee)
        column.addLayout(row(self._loss, self.take_knee, QWidget(self), stretch=2))
        column.addLayout(row(self.stability, QWidget(self), self.export, stretch=1))
        self._of_results = (
            *(self.plot, self._shown, self._knee, self._loss, self.take_knee),
            *(self.stability, self.export),
        )
        for widget in self._of_results:
            widget.setVisible(False)

    def _connect(self) -> None:
        for box in (self._low, self._high):
            box.valueChanged.connect(self._emit_choices)
            box.limited.connect(self.limited)
        self._count.valueChanged.connect(self._emit_choices)
        self._loss.valueChanged.connect(self._emit_choices)
        for chooser in (self._axis, self._where, self._reference):
            chooser.chosen.connect(self._emit_choices)

    def attach(self, controller: SweepController) -> None:
        """Connect the section with its controller."""
        controller.changed.connect(self.show_state)
        self.toggled.connect(controller.set_active)
        self.choicesChanged.connect(controller.set_choices)
        self.start.clicked.connect(lambda: controller.start())
        self.plot.chosen.connect(controller.choose)
        self.take_knee.clicked.connect(lambda: controller.choose_knee())
        self.stability.clicked.connect(lambda: controller.show_stability())
        self.export.add(
            "Table (CSV)…", "csv", "One row per spacing", lambda: self._export_table(controller)
        )
        for suffix, tip in (("png", "An image"), ("svg", "An image of lines, for editing")):
            self.export.add(
                f"Curves ({suffix.upper()})…",
                suffix,
                tip,
                partial(self._export_curves, controller, suffix),
            )
        controller.refresh()

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        super().setColors(chosen)
        self.plot.setColors(chosen)

    def show_state(self, state: SweepState) -> None:
        """Show what is chosen, and the finished spacings."""
        former, self._state = self._state, state
        choices = state.choices
        for box, value in ((self._low, choices.low_mm), (self._high, choices.high_mm)):
            with QSignalBlocker(box):
                box.setValue(value)
        with QSignalBlocker(self._count), QSignalBlocker(self._loss):
            self._count.setValue(choices.count)
            self._loss.setValue(choices.loss)
        for chooser, entries, current, known in (
            (self._axis, _AXES, choices.axis, _AXES),
            (self._where, _PLACES, choices.where, _PLACES),
            (self._reference, state.references, choices.reference, former.references),
        ):
            if not chooser.count() or entries != known or chooser.current_key() != current:
                chooser.fill(entries, current)
        self._estimate.setText(state.estimate)
        self._estimate.set_tone(state.tone)
        self.start.setEnabled(state.can_start)
        for widget in self._of_results:
            widget.setVisible(state.curves is not None)
        self.plot.setCurves(state.curves)
        self._shown.setText(state.shown)
        self._knee.setText(state.knee)
        self.take_knee.setEnabled(bool(state.knee))

    def _emit_choices(self, _: object = None) -> None:
        choices = replace(
            self._state.choices,
            low_mm=self._low.value(),
            high_mm=self._high.value(),
            count=self._count.value(),
            axis=self._axis.current_key(),
            where=cast(Where, self._where.current_key()),
            reference=self._reference.current_key(),
            loss=self._loss.value(),
        )
        self.choicesChanged.emit(choices)

    def _export_table(self, controller: SweepController) -> None:
        path = dialogs.ask_table_path(self, controller.suggest_path("sweep.csv"))
        if path is not None:
            controller.export_table(path)

    def _export_curves(self, controller: SweepController, suffix: str) -> None:
        path = dialogs.ask_figure_path(self, controller.suggest_path(f"sweep.{suffix}"), suffix)
        if path is None:
            return
        try:
            self.plot.save(path)
        except HyperspaceError as error:
            controller.failed(error)
        else:
            controller.exported(path)

    def _box(self, name: str, tip: str) -> SpacingBox:
        box = SpacingBox(self)
        _name(box, name, tip)
        return box

    def _chooser(self, name: str, tip: str) -> Chooser:
        chooser = Chooser(f"hyperspace.sweep.{name}", tip, self)
        _name(chooser, name, tip)
        return chooser


def _name(widget: QWidget, name: str, tip: str) -> None:
    """Give a control its objectName, tool tip, and name and description for screen readers."""
    widget.setObjectName(f"hyperspace.sweep.{name}")
    widget.setToolTip(tip)
    widget.setAccessibleName(f"Sweep: {tip.partition(';')[0].partition('.')[0]}")
    widget.setAccessibleDescription(tip)
