"""The section of the dock that corrects labels: painting, a box, adapting the model."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QDoubleSpinBox, QToolButton, QWidget

from napari_hyperspace.gui.controllers.corrections.section import CorrectionController
from napari_hyperspace.gui.models.correction import (
    BOX_NAMES,
    AdaptState,
    BoxState,
    Meaning,
    PaintingState,
)
from napari_hyperspace.gui.widgets.parts.choosers import Chooser
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.parts.layouts import row
from napari_hyperspace.gui.widgets.parts.spacing_box import SpacingBox
from napari_hyperspace.gui.widgets.parts.tool_button import text_button

# Reserved, so that a longer text neither moves nor covers what is beneath.
_HINT_LINES = 4
_ESTIMATE_LINES = 2
_ADAPT_LINES = 3
_GAP = 6  # between the tools
_MEANINGS: tuple[Meaning, ...] = ("rough", "exact")


class CorrectionPanel(CollapsibleSection):
    """Brush and eraser that a model answers to, a box that is refined, and the adapted model."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Correct", "hyperspace.correct", parent)
        self._meaning: Meaning = ""
        self._make_painting()
        self._make_box()
        self._make_adapt()
        self._lay_out()

    # -- assembly ------------------------------------------------------------------------------

    def _make_painting(self) -> None:
        self._paint = self._toggle_button(
            "Paint structure",
            "paint",
            "Paint any structure roughly on one or a few slices: its 3-D shape follows as soon as "
            "you stop. Paints on a new layer, or on the selected one if no model has made it",
        )
        self._fix = self._toggle_button(
            "Fix labels",
            "fix",
            "Correct the selected labels with brush and eraser: the structure is segmented again "
            "around the strokes, which stay exactly as painted",
        )
        self._finest = self._spacing(
            "spacing",
            "Working spacing of answers; no finer than the scan, and coarser for a large structure",
        )
        self._models = Chooser(
            "hyperspace.correct.model", "The model that answers to strokes", self
        )
        self._models.setAccessibleName("Model that answers to strokes")
        self._models.setVisible(False)
        self._hint = PlainLabel(self, name="hyperspace.correct.hint")
        self._hint.reserve_lines(_HINT_LINES)

    def _make_box(self) -> None:
        self._where = Chooser(
            "hyperspace.correct.where",
            "Refine in a rectangle of a Shapes layer, or in what the canvas shows",
            self,
        )
        self._where.setAccessibleName("Where to refine")
        self._where.fill(tuple(BOX_NAMES.items()), "rectangle")
        self._draw = text_button(
            self,
            "Draw",
            "hyperspace.correct.draw",
            "Drag a rectangle around a part of the scan, in any plane",
        )
        self._box_spacing = self._spacing(
            "box_spacing", "Working spacing in the box; at first half of that of the labels"
        )
        self._depth = QDoubleSpinBox(self)
        self._depth.setRange(0, 500)
        self._depth.setDecimals(0)
        self._depth.setSuffix(" mm deep")
        self._depth.setSpecialValueText("as deep as wide")
        self._depth.setKeyboardTracking(False)
        _name(
            self._depth,
            "depth",
            "Extent of the box through the slices; 0: as much as the shorter side of the rectangle",
        )
        self._refine = text_button(
            self,
            "Refine",
            "hyperspace.correct.refine",
            "Run the model in the box and merge its labels with the present ones; nothing changes "
            "outside, and Ctrl+Z takes it back",
        )
        self._estimate = PlainLabel(self, faint=True, name="hyperspace.correct.estimate")
        self._estimate.reserve_lines(_ESTIMATE_LINES)

    def _make_adapt(self) -> None:
        self._adapt = text_button(
            self,
            "Adapt to this scan",
            "hyperspace.correct.adapt",
            "Fine-tune the chosen model on the corrected labels, at the working spacing set above; "
            "its other spacings change with it",
        )
        self._before = self._toggle_button(
            "Before", "before", "Show the labels of the model as it was"
        )
        self._after = self._toggle_button("After", "after", "Show the labels of the adapted model")
        self._keep = text_button(
            self,
            "Keep",
            "hyperspace.correct.keep",
            "Keep the adapted model as a file of your own, and choose it",
        )
        self._discard = text_button(
            self, "Discard", "hyperspace.correct.discard", "Forget the adapted model"
        )
        self._adapt_text = PlainLabel(self, faint=True, name="hyperspace.correct.adapt_text")
        self._adapt_text.reserve_lines(_ADAPT_LINES)

    def _lay_out(self) -> None:
        column = self.column
        column.setSpacing(4)
        column.addLayout(row(self._paint, self._fix, self._heading("at"), self._finest, stretch=2))
        column.addWidget(self._models)
        column.addWidget(self._hint)
        column.addSpacing(_GAP)
        column.addLayout(row(self._heading("Refine"), self._where, self._draw, stretch=1))
        column.addLayout(row(self._heading("at"), self._box_spacing, self._depth, stretch=2))
        column.addLayout(row(self._estimate, self._refine, stretch=0))
        column.addSpacing(_GAP)
        column.addWidget(self._adapt_text)
        column.addLayout(
            row(
                self._adapt,
                self._before,
                self._after,
                QWidget(self),
                self._discard,
                self._keep,
                stretch=3,
            )
        )
        for button in (self._before, self._after, self._keep, self._discard):
            button.setVisible(False)

    def attach(self, controller: CorrectionController) -> None:
        """Connect the section with its controllers."""
        painting, box, adapt = controller.painting, controller.box, controller.adapt
        self.toggled.connect(controller.set_active)
        for button, meaning in zip((self._paint, self._fix), _MEANINGS, strict=True):
            button.clicked.connect(lambda _, chosen=meaning: painting.start(chosen))
        self._finest.valueChanged.connect(painting.set_spacing)
        self._models.chosen.connect(painting.choose_model)
        painting.changed.connect(self.show_painting)
        self._where.chosen.connect(box.choose_where)
        self._draw.clicked.connect(lambda: box.draw())
        self._box_spacing.valueChanged.connect(box.set_spacing)
        self._depth.valueChanged.connect(box.set_depth)
        self._refine.clicked.connect(lambda: box.start())
        box.changed.connect(self.show_box)
        self._adapt.clicked.connect(lambda: adapt.start())
        self._before.clicked.connect(lambda: adapt.show_after(False))
        self._after.clicked.connect(lambda: adapt.show_after(True))
        self._keep.clicked.connect(lambda: adapt.keep())
        self._discard.clicked.connect(lambda: adapt.discard())
        adapt.changed.connect(self.show_adapt)
        self.show_painting(painting.state)
        self.show_box(box.state)
        self.show_adapt(adapt.state)

    # -- what is shown -------------------------------------------------------------------------

    def show_painting(self, state: PaintingState) -> None:
        """Show how strokes are answered."""
        for button, meaning in zip((self._paint, self._fix), _MEANINGS, strict=True):
            button.setChecked(state.meaning == meaning)
            button.setEnabled(state.possible is not False)
        self._hint.setText(state.hint)
        self._hint.set_tone(state.tone)
        with QSignalBlocker(self._finest):
            self._finest.setValue(state.finest_mm)
        self._finest.setEnabled(state.possible is not False)
        self._models.setVisible(len(state.models) > 1)
        self._models.fill(state.models, state.model)

    def show_box(self, state: BoxState) -> None:
        """Show what is refined in a box."""
        self._where.fill(tuple(BOX_NAMES.items()), state.where)
        with QSignalBlocker(self._box_spacing), QSignalBlocker(self._depth):
            self._box_spacing.setValue(state.spacing_mm)
            self._depth.setValue(state.depth_mm)
        self._estimate.setText(state.estimate)
        self._estimate.set_tone(state.tone)
        self._refine.setEnabled(state.can_start)

    def show_adapt(self, state: AdaptState) -> None:
        """Show whether the model can be adapted, or an adapted model that waits."""
        self._adapt_text.setText(state.text)
        self._adapt_text.set_tone(state.tone)
        self._adapt.setVisible(not state.waiting)
        self._adapt.setEnabled(state.can_start)
        for button in (self._before, self._after, self._keep, self._discard):
            button.setVisible(state.waiting)
        self._before.setChecked(not state.shows_after)
        self._after.setChecked(state.shows_after)

    def _toggle_button(self, text: str, name: str, tip: str) -> QToolButton:
        button = text_button(self, text, f"hyperspace.correct.{name}", tip)
        button.setCheckable(True)
        return button

    def _spacing(self, name: str, tip: str) -> SpacingBox:
        box = SpacingBox(self)
        _name(box, name, tip)
        return box

    def _heading(self, text: str) -> PlainLabel:
        label = PlainLabel(self, faint=True)
        label.setText(text)
        label.setWordWrap(False)
        label.setMinimumWidth(0)
        policy = label.sizePolicy()
        policy.setHorizontalPolicy(policy.Policy.Fixed)
        label.setSizePolicy(policy)
        return label


def _name(widget: QWidget, name: str, tip: str) -> None:
    """Give a control its objectName, tool tip, and name and description for screen readers."""
    widget.setObjectName(f"hyperspace.correct.{name}")
    widget.setToolTip(tip)
    widget.setAccessibleName(tip.partition(";")[0].partition(".")[0])
    widget.setAccessibleDescription(tip)
