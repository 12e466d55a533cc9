"""The dock widget: layout, and signals between the widgets and the controllers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QEvent, QSignalBlocker, QSize, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QMenu,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.controllers.dock import DockController
from napari_hyperspace.gui.controllers.files import dropped_dicom
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.scales import Scales
from napari_hyperspace.gui.models.settings import load_choices, run_budget_s
from napari_hyperspace.gui.models.view import Accuracy, CostOverSpacing, Entries, Tone
from napari_hyperspace.gui.widgets.budget import BudgetRow
from napari_hyperspace.gui.widgets.curve import CostCurve
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.choosers import Chooser, channel_name
from napari_hyperspace.gui.widgets.parts.drop import DropTarget
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel, heading, plain_tip
from napari_hyperspace.gui.widgets.parts.theme import colors, style_sheet
from napari_hyperspace.gui.widgets.postprocessing import PostprocessingPanel
from napari_hyperspace.gui.widgets.run import RunRow
from napari_hyperspace.gui.widgets.spacing import SpacingPanel
from napari_hyperspace.gui.widgets.structures import StructurePanel


class HyperspaceWidget(QWidget):
    """Segments a scan at a working spacing that the user chooses.

    Parameters
    ----------
    napari_viewer
        The viewer whose images are segmented.
    services
        Do the work; the package's own functions by default.
    """

    def __init__(self, napari_viewer: Any, services: Services | None = None) -> None:
        super().__init__()
        self.setObjectName("hyperspace")
        # napari gives plug-ins a proxy, which makes a new wrapper of a layer at each access.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._extra_layers: list[Chooser] = []
        self._make_widgets()
        self._lay_out()
        self._apply_theme()
        self.controller = DockController(
            self._viewer, self, self._structures, services, load_choices()
        )
        self._drops = DropTarget(self, dropped_dicom, self.controller.files.open)
        self._connect()
        self.destroyed.connect(self.controller.close)

    # -- assembly ------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._open = QToolButton(self)
        self._open.setObjectName("hyperspace.open")
        self._open.setText("Open…")
        self._open.setToolTip("Open a file (NIfTI, NRRD, MetaImage, DICOM) or a DICOM folder")
        self._open.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self._open_menu = QMenu(self._open)
        self._open_file = QAction("Open file…", self)
        self._open_folder = QAction("Open DICOM folder…", self)
        self._open_menu.addActions([self._open_file, self._open_folder])
        self._open.setMenu(self._open_menu)
        self._layer = Chooser("hyperspace.layer", "The scan to segment", self)
        self._scan = PlainLabel(self, faint=True, name="hyperspace.scan")
        self._correct = QToolButton(self)
        self._correct.setObjectName("hyperspace.respace")
        self._correct.setText("Correct…")
        self._correct.setToolTip("Set the scan's spacing if the file states none or a wrong one")
        self._model = Chooser("hyperspace.model", "The model to segment with", self)
        self._device = Chooser("hyperspace.device", "Where to compute", self)
        self._device.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._device.setFixedWidth(90)
        self._model_facts = PlainLabel(self, faint=True, name="hyperspace.model_facts")
        self._spacing = SpacingPanel(self)
        self._native = QToolButton(self)
        self._native.setObjectName("hyperspace.native")
        self._native.setText("Native")
        self._native.setToolTip("Set the scan's own spacing, clamped to the trained range")
        self._bake = PlainLabel(self, faint=True, name="hyperspace.bake")
        self._bake.setWordWrap(False)
        self._bake.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._estimate = PlainLabel(self, name="hyperspace.estimate")
        self._accuracy = PlainLabel(self, faint=True, name="hyperspace.accuracy")
        self._accuracy.setToolTip(
            "Mean over the structures, measured at the spacing itself on scans that the model was "
            "not trained on"
        )
        self._notes = PlainLabel(self, name="hyperspace.notes")
        self._curve = CostCurve(self)
        self._curve.setObjectName("hyperspace.curve")
        self._live = QCheckBox("Live preview within", self)
        self._live.setObjectName("hyperspace.live")
        self._live.setToolTip("Segment a box around the view position when the spacing changes")
        self._budget = QSpinBox(self)
        self._budget.setObjectName("hyperspace.budget")
        self._budget.setRange(20, 10_000)
        self._budget.setSingleStep(50)
        self._budget.setSuffix(" ms")
        self._budget.setKeyboardTracking(False)
        self._budget.setToolTip("Longest time that a preview may take; limits the size of its box")
        self._budget_row = BudgetRow(run_budget_s(), self)
        self._postprocessing = PostprocessingPanel(self)
        self._run_row = RunRow(self)
        for button in (self._open, self._correct, self._native):
            button.setProperty("style", "text")
        self._message = PlainLabel(self, name="hyperspace.message")
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._structures = StructurePanel(self)

    def _lay_out(self) -> None:
        self._layers_box = QVBoxLayout()
        self._layers_box.setSpacing(4)
        self._layers_box.addLayout(_row(self._layer, self._open, stretch=0))
        column = QVBoxLayout()
        column.setContentsMargins(10, 8, 10, 8)
        column.setSpacing(4)
        for part in (
            heading("Scan", self),
            self._layers_box,
            _row(self._scan, self._correct, stretch=0),
            heading("Model", self),
            _row(self._model, self._device, stretch=0),
            self._model_facts,
            _row(heading("Working spacing", self), self._native, stretch=0),
            self._spacing,
            _row(self._estimate, self._bake, stretch=0),
            self._curve,
            self._accuracy,
            self._notes,
            _row(self._live, self._budget, stretch=0),
            self._budget_row,
            self._postprocessing,
            self._run_row,
            self._message,
        ):
            if isinstance(part, QWidget):
                column.addWidget(part)
            else:
                column.addLayout(part)
        column.addWidget(self._structures, 1)
        column.addStretch()
        page = QWidget(self)
        page.setObjectName("hyperspace.page")
        page.setLayout(column)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll)
        self._page = page
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        controller = self.controller
        self._open.clicked.connect(self._open_scan)
        self._open_file.triggered.connect(self._open_scan)
        self._open_folder.triggered.connect(self._open_series)
        self._layer.chosen.connect(controller.scan.choose)
        self._correct.clicked.connect(controller.scan.correct_spacing)
        self._model.chosen.connect(controller.models.choose)
        self._device.chosen.connect(controller.models.choose_device)
        self._spacing.spacingChanged.connect(controller.spacing.set_spacing)
        self._spacing.lockedChanged.connect(controller.spacing.set_locked)
        self._native.clicked.connect(controller.spacing.use_native)
        self._live.toggled.connect(controller.live.set_live)
        self._budget.valueChanged.connect(controller.live.set_preview_ms)
        self._budget_row.fitRequested.connect(controller.budget.fit)
        self._postprocessing.changed.connect(controller.segmentation.set_postprocessing)
        self._run_row.run.clicked.connect(controller.segmentation.run)
        self._run_row.cancel.clicked.connect(controller.segmentation.cancel)
        self._run_row.save.clicked.connect(controller.files.save)
        self._viewer.events.theme.connect(self._apply_theme)
        panel, structures = self._structures, controller.structures
        panel.chosen.connect(structures.select)
        panel.visibilityChanged.connect(structures.set_visible)
        panel.onlyToggled.connect(structures.show_only_selected)
        panel.sidesToggled.connect(structures.sum_sides)
        panel.view3dToggled.connect(structures.show_in_3d)
        panel.exportRequested.connect(self._export_table)

    def _open_scan(self) -> None:
        path = dialogs.ask_open_file(self)
        if path is not None:
            self.controller.files.open(path)

    def _open_series(self) -> None:
        path = dialogs.ask_open_folder(self)
        if path is not None:
            self.controller.files.open(path)

    def _open_model(self) -> None:
        path = dialogs.ask_model_file(self)
        if path is not None:
            self.controller.models.add_file(path)

    def _export_table(self) -> None:
        structures = self.controller.structures
        path = dialogs.ask_table_path(self, structures.suggest_path())
        if path is not None:
            structures.export(path)

    def _apply_theme(self, event: Any = None) -> None:
        self._colors = colors(self._viewer.theme)
        for part in (self._spacing, self._curve, self._postprocessing, self._structures):
            part.setColors(self._colors)
        self._page.setStyleSheet(style_sheet(self._colors))

    def event(self, event: QEvent | None) -> bool:
        """Pause while no dock holds the widget; disconnect from the viewer before Qt deletes it."""
        kind = None if event is None else event.type()
        if kind == QEvent.Type.ParentChange:
            self.controller.set_paused(self.parent() is None)
        elif kind == QEvent.Type.Show:
            self._drops.follow(self.window())
        elif kind == QEvent.Type.DeferredDelete:
            self._viewer.events.theme.disconnect(self._apply_theme)
            self.controller.close()
        return bool(super().event(event))

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(350, 640)

    # -- the view of the controllers ----------------------------------------------------------

    def show_models(self, entries: Entries, current: str) -> None:
        """Fill the chooser of models."""
        self._model.set_action("Open model file…", self._open_model)
        self._model.fill(entries, current, "no model")

    def show_devices(self, entries: Entries, current: str) -> None:
        """Fill the chooser of devices."""
        self._device.fill(entries, current)

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        """Fill the choosers of layers: one per input channel of the model."""
        while len(self._extra_layers) > max(len(channels) - 1, 0):
            self._extra_layers.pop().deleteLater()
        while len(self._extra_layers) < len(channels) - 1:
            channel = len(self._extra_layers) + 1
            extra = Chooser(channel_name("hyperspace.layer", channel), "", self)
            extra.chosen.connect(
                lambda key, channel=channel: self.controller.scan.choose(key, channel)
            )
            self._layers_box.addWidget(extra)
            self._extra_layers.append(extra)
        choosers = [self._layer, *self._extra_layers]
        for i, (chooser, channel_text) in enumerate(zip(choosers, channels, strict=False)):
            chooser.fill(entries, current[i] if i < len(current) else "", "no image open")
            if len(channels) > 1:
                chooser.setToolTip(plain_tip(f"Input channel {i + 1}: {channel_text}"))

    def show_scan(self, text: str) -> None:
        """Describe the chosen layer."""
        self._scan.setText(text or "Open a scan, or choose File ▸ Open Sample ▸ HyperSpace.")
        self._correct.setVisible(bool(text))

    def show_model(self, text: str, details: str) -> None:
        """Describe the chosen model: on one line, and at length."""
        self._model_facts.setText(text)
        self._model_facts.setToolTip(plain_tip(details))

    def show_choices(self, choices: Choices) -> None:
        """Show the current settings, without emitting that the user changed them."""
        self._spacing.setLocked(choices.locked)
        self._spacing.setSpacing(choices.spacing_mm)
        with QSignalBlocker(self._live), QSignalBlocker(self._budget):
            self._live.setChecked(choices.live)
            self._budget.setValue(choices.preview_ms)

    def show_scales(self, scales: Scales) -> None:
        """Draw the scales of the spacing sliders."""
        self._spacing.setScales(scales)

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        """Show the estimated cost of a run at the current spacing, and notes about the spacing."""
        self._estimate.setText(text)
        self._estimate.set_tone("plain" if fits else "error")
        self._notes.setText("\n".join(notes))
        self._notes.set_tone("warning")
        self._notes.setVisible(bool(notes))

    def show_bake(self, text: str) -> None:
        """Show how long making the network's weights took."""
        self._bake.setText(text)

    def show_curve(self, curve: CostOverSpacing | None, trained: Range | None) -> None:
        """Show the cost over the range of spacings."""
        self._curve.setVisible(curve is not None)
        if curve is not None:
            seconds = [one.seconds - one.probe_seconds for one in curve.estimates]
            fits = [bool(one.fits) for one in curve.estimates]
            self._curve.setCurve(curve.spacings_mm, seconds, fits, trained)

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing on the curve."""
        self._curve.setPoint(spacing_mm, seconds)

    def show_accuracy(self, accuracy: Accuracy) -> None:
        """Show the Dice to expect at the current spacing, and the measurements."""
        self._accuracy.setText(accuracy.text)
        self._accuracy.set_tone("good" if accuracy.current else "plain")
        self._accuracy.setVisible(bool(accuracy.text))
        self._curve.setAccuracy(accuracy.measured, accuracy.joined, accuracy.current)

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        """Show a message in plain text."""
        self._message.setText(text)
        self._message.set_tone(tone)

    def show_progress(self, fraction: float | None) -> None:
        """Show the progress of the running job; `None`: no job is running."""
        self._run_row.show_progress(fraction)

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""
        self._run_row.show_ready(run=run, cancel=cancel, save=save)
        self._budget_row.button.setEnabled(run)
        self._open.setEnabled(not cancel)

    def ask_choice(self, title: str, question: str, options: Sequence[str]) -> int | None:
        """Let the user choose one option and return its index; `None` if they decline."""
        return dialogs.ask_choice(self, title, question, options)

    def ask_spacing(self, title: str, question: str, spacing_mm: Triple) -> Triple | None:
        """Ask for a spacing; `None` if the user declines."""
        return dialogs.ask_spacing(self, title, question, spacing_mm)

    def ask_save_path(self, suggestion: str) -> str | None:
        """Ask for a path to save to; `None` if the user declines."""
        return dialogs.ask_save_path(self, suggestion)


def _row(*widgets: QWidget, stretch: int) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for i, widget in enumerate(widgets):
        row.addWidget(widget, 1 if i == stretch else 0)
    return row
