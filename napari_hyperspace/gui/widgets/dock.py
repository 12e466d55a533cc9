"""The dock widget: layout, and signals between the widgets and the controllers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QSignalBlocker, QSize
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.adapters.planes import ThreePlanes
from napari_hyperspace.gui.controllers.dock import DockController
from napari_hyperspace.gui.controllers.files import dropped_dicom
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.comparison import BLINK_KEY
from napari_hyperspace.gui.models.recent import recent_scans
from napari_hyperspace.gui.models.scales import Scales
from napari_hyperspace.gui.models.settings import Remembered, load_choices
from napari_hyperspace.gui.models.view import Accuracy, CostOverSpacing, Entries, Tone
from napari_hyperspace.gui.widgets.budget import PreviewPanel
from napari_hyperspace.gui.widgets.comparison import ComparisonPanel
from napari_hyperspace.gui.widgets.corrections.panel import CorrectionPanel
from napari_hyperspace.gui.widgets.cost import CostPanel
from napari_hyperspace.gui.widgets.footer import Footer
from napari_hyperspace.gui.widgets.handing_on import add_handing_on_actions
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.controls import Controls
from napari_hyperspace.gui.widgets.parts.drop import DropTarget
from napari_hyperspace.gui.widgets.parts.labels import heading
from napari_hyperspace.gui.widgets.parts.layouts import VerticalScrollArea, row
from napari_hyperspace.gui.widgets.parts.shortcuts import Shortcuts
from napari_hyperspace.gui.widgets.parts.theme import colors, style_sheet
from napari_hyperspace.gui.widgets.parts.tool_button import MenuButton, text_button
from napari_hyperspace.gui.widgets.planes import PlanesDock
from napari_hyperspace.gui.widgets.postprocessing import PostprocessingPanel
from napari_hyperspace.gui.widgets.scan import ScanPanel
from napari_hyperspace.gui.widgets.spacing import SpacingPanel
from napari_hyperspace.gui.widgets.structures import StructurePanel
from napari_hyperspace.gui.widgets.sweep import SweepPanel
from napari_hyperspace.gui.widgets.windows.about import add_about_actions
from napari_hyperspace.gui.widgets.windows.batch import BatchWindow
from napari_hyperspace.gui.widgets.windows.guide import show_guide, show_shortcuts
from napari_hyperspace.gui.widgets.windows.models import ModelsWindow
from napari_hyperspace.gui.widgets.windows.opening import open_one
from napari_hyperspace.gui.widgets.windows.text import copy_text

_PAGE_WIDTH = 312  # a narrower slider cannot be set to a hundredth of a mm
_FIRST_HINT = (
    "New here? Open a scan or a sample, choose a model, press Run. The guide is in the menu Help."
)


class HyperspaceWidget(QWidget):
    """Segments a scan at a working spacing that the user chooses.

    The page scrolls; the footer with the main buttons does not. A feature adds its actions to the
    menus `help` and `result`, and its section with `add_section`.

    Parameters
    ----------
    napari_viewer
        The viewer whose images are segmented.
    services
        Do the work; the package's own functions by default.

    Attributes
    ----------
    help, result
        Buttons with a menu.
    shortcuts
        Keys that work anywhere in the window.
    """

    def __init__(self, napari_viewer: Any, services: Services | None = None) -> None:
        super().__init__()
        self.setObjectName("hyperspace")
        # napari gives plug-ins a proxy, which makes a new wrapper of a layer at each access.
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._make_widgets()
        self._lay_out()
        self._apply_theme()
        self.controller = DockController(
            self._viewer, self, self._structures, services, load_choices()
        )
        self._remembered = Remembered(self.controller.choices, self.controller.show_choices)
        self._drops = DropTarget(self, dropped_dicom, self.controller.files.open)
        self._controls = Controls(self)
        self._connect()
        self._add_shortcuts()
        if not self.controller.layers.layers and not recent_scans():
            self.show_message(_FIRST_HINT)
        self.destroyed.connect(self._remembered.close)
        self.destroyed.connect(self.controller.close)

    # -- assembly ------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.help = MenuButton("Help", "hyperspace.help", "Guide and shortcuts", self)
        self._three_planes: QToolButton = text_button(
            self,
            "Three planes",
            "hyperspace.planes",
            "Show axial, coronal and sagittal planes; a click moves all of them to its position",
        )
        self._three_planes.setCheckable(True)
        self._planes = PlanesDock(self._viewer, self)
        self._scan = ScanPanel(self)
        self._native: QToolButton = text_button(
            self,
            "Native",
            "hyperspace.native",
            "Set the scan's own spacing, clamped to the trained range",
        )
        self._spacing = SpacingPanel(self)
        self._cost = CostPanel(self)
        self._preview = PreviewPanel(self)
        self._postprocessing = PostprocessingPanel(self)
        self._sweep = SweepPanel(self)
        self._corrections = CorrectionPanel(self)
        self._comparison = ComparisonPanel(self)
        self._structures = StructurePanel(self)
        self._footer = Footer(self)
        self.result = self._footer.result
        self.shortcuts = Shortcuts(self)

    def _lay_out(self) -> None:
        self._sections = QVBoxLayout()
        self._sections.setSpacing(4)
        column = QVBoxLayout()
        column.setContentsMargins(10, 8, 10, 8)
        column.setSpacing(4)
        column.addLayout(row(heading("Scan", self), self._three_planes, self.help, stretch=0))
        column.addWidget(self._scan)
        column.addLayout(row(heading("Working spacing", self), self._native, stretch=0))
        column.addWidget(self._spacing)
        column.addWidget(self._cost)
        column.addWidget(self._preview)
        column.addLayout(self._sections)
        column.addWidget(self._comparison)
        column.addWidget(self._structures, 1)
        column.addStretch()
        self.add_section(self._postprocessing)
        self.add_section(self._sweep)
        self.add_section(self._corrections)
        page = QWidget(self)
        page.setObjectName("hyperspace.page")
        page.setMinimumWidth(_PAGE_WIDTH)
        page.setLayout(column)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(VerticalScrollArea(page, self), 1)
        whole.addWidget(self._footer)
        self._page = page

    def add_section(self, section: CollapsibleSection) -> None:
        """Add a collapsed section beneath the present ones; it follows the theme."""
        section.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._sections.addWidget(section)
        section.setColors(colors(self._viewer.theme))

    def _add_shortcuts(self) -> None:
        footer, keys = self._footer, self.shortcuts
        keys.add("enter", "Ctrl+Shift+H", "Go to the panel", lambda: keys.enter(self._scan.layer))
        keys.add("run", "Ctrl+Shift+R", "Run", footer.run.click)
        keys.add("cancel", "Ctrl+Shift+X", "Cancel what is running", footer.cancel.click)
        keys.add("preview", "Ctrl+Shift+L", "Live preview on or off", self._preview.live.toggle)
        keys.add("next", "Ctrl+Shift+N", "Next structure", self._structures.choose_next)
        blink = self.controller.comparison.blink
        keys.add("blink", "Ctrl+Shift+B", f"Other result of a comparison (or {BLINK_KEY})", blink)
        self.help.add("Guide", "guide", "The program in short", lambda: show_guide(self))
        self.help.add(
            "Shortcuts",
            "shortcuts",
            "Keys that work anywhere in the window",
            lambda: show_shortcuts(self, keys.describe()),
        )
        self.help.add_separator()
        add_about_actions(self.help, self.controller.about, self, self.show_message)

    def _connect(self) -> None:
        controller, scan, footer = self.controller, self._scan, self._footer
        scan.openRequested.connect(controller.files.open)
        scan.layerChosen.connect(controller.scan.choose)
        scan.correct.clicked.connect(controller.scan.correct_spacing)
        scan.modelFileChosen.connect(controller.models.add_file)
        scan.batchRequested.connect(
            lambda: open_one(
                self, BatchWindow, lambda: BatchWindow(controller.batch, self._colors, self)
            )
        )
        scan.manageRequested.connect(
            lambda: open_one(self, ModelsWindow, lambda: ModelsWindow(controller.manager, self))
        )
        scan.model.chosen.connect(controller.models.choose)
        scan.device.chosen.connect(controller.models.choose_device)
        scan.guidance.chosen.connect(controller.guidance.choose)
        scan.guidance.spacingChanged.connect(controller.guidance.set_spacing)
        self._spacing.spacingChanged.connect(controller.spacing.set_spacing)
        self._spacing.limited.connect(lambda why: self.show_message(why, "warning"))
        self._spacing.lockedChanged.connect(controller.spacing.set_locked)
        self._native.clicked.connect(controller.spacing.use_native)
        self._preview.live.toggled.connect(controller.live.set_live)
        self._preview.milliseconds.valueChanged.connect(controller.live.set_preview_ms)
        self._cost.best.toggled.connect(controller.segmentation.set_best)
        self._cost.uncertainty.toggled.connect(controller.segmentation.set_uncertainty)
        self._cost.budget.fitRequested.connect(controller.budget.fit)
        self._cost.budget.changed.connect(controller.budget.set_budget)
        self._postprocessing.applyRequested.connect(controller.postprocessing.apply)
        self._postprocessing.changed.connect(controller.segmentation.set_postprocessing)
        footer.run.clicked.connect(controller.segmentation.run)
        footer.cancel.clicked.connect(controller.segmentation.cancel)
        footer.save.clicked.connect(controller.files.save)
        self._viewer.events.theme.connect(self._apply_theme)
        panel, structures = self._structures, controller.structures
        panel.chosen.connect(structures.select)
        panel.visibilityChanged.connect(structures.set_visible)
        panel.onlyToggled.connect(structures.show_only_selected)
        panel.sidesToggled.connect(structures.sum_sides)
        panel.view3dToggled.connect(structures.show_in_3d)
        panel.exportRequested.connect(self._export_table)
        panel.copyRequested.connect(self._copy_table)
        panel.chosen.connect(controller.sweep.emphasize)
        self._sweep.limited.connect(lambda why: self.show_message(why, "warning"))
        self._sweep.attach(controller.sweep)
        self._corrections.attach(controller.corrections)
        self._three_planes.toggled.connect(controller.planes.show)
        controller.planes.changed.connect(self._show_planes)
        compared, comparison = self._comparison, controller.comparison
        comparison.changed.connect(compared.show_comparison)
        compared.besideChosen.connect(comparison.show_beside)
        compared.placeChosen.connect(comparison.show_in_place)
        compared.differentToggled.connect(comparison.show_different)
        compared.leaveRequested.connect(comparison.leave)
        self.result.add(
            "Compare with…",
            "compare",
            "Show another result, a new run or reference labels beside these labels",
            comparison.choose,
        )

        add_handing_on_actions(
            self.result, controller.reproduce, controller.networks, self, copy_text
        )

    def _show_planes(self, planes: ThreePlanes | None) -> None:
        with QSignalBlocker(self._three_planes):
            self._three_planes.setChecked(planes is not None)
        if planes is None:
            self._planes.hide()
        else:
            self._planes.show(planes, lambda: self.controller.planes.show(False))

    def _copy_table(self) -> None:
        copy_text(self.controller.structures.table_text())
        self.show_message("Copied the table.", "good")

    def _export_table(self) -> None:
        structures = self.controller.structures
        path = dialogs.ask_table_path(self, structures.suggest_path())
        if path is not None:
            structures.export(path)

    def _apply_theme(self, event: Any = None) -> None:
        self._colors = colors(self._viewer.theme)
        self._spacing.setColors(self._colors)
        self._cost.setColors(self._colors)
        for section in self.findChildren(CollapsibleSection):
            section.setColors(self._colors)
        self.setStyleSheet(style_sheet(self._colors))

    def event(self, event: QEvent | None) -> bool:
        """Pause while no dock holds the widget; disconnect from the viewer before Qt deletes it."""
        kind = None if event is None else event.type()
        if kind == QEvent.Type.ParentChange:
            self.controller.set_paused(self.parent() is None)
        elif kind == QEvent.Type.Show:
            self._drops.follow(self.window())
            self.shortcuts.follow(self.window())
        elif kind == QEvent.Type.DeferredDelete:
            self._viewer.events.theme.disconnect(self._apply_theme)
            self._remembered.close()
            self.controller.close()
        return bool(super().event(event))

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(350, 640)

    # -- the view of the controllers ----------------------------------------------------------

    def show_models(self, entries: Entries, current: str) -> None:
        """Fill the chooser of models."""
        self._scan.show_models(entries, current)

    def show_model_purposes(self, lines: Mapping[str, str]) -> None:
        """Show what the models in the chooser are for: one line by key."""
        self._scan.model.set_tips(lines)

    def show_devices(self, entries: Entries, current: str) -> None:
        """Fill the chooser of devices."""
        self._scan.device.fill(entries, current)

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        """Fill the choosers of layers: one per input channel of the model."""
        self._scan.show_layers(entries, current, channels)

    def show_guidance(
        self, entries: Entries | None, current: str, spacing_mm: float | None
    ) -> None:
        """Show what can guide the model, and the spacing of a coarse pass; `None`: nothing."""
        self._scan.guidance.show_guidance(entries, current, spacing_mm)

    def show_scan(self, text: str, hint: str = "") -> None:
        """Describe the chosen layer; if there is none, ``hint`` says why, or what to do."""
        self._scan.show_scan(text, hint)

    def show_model(self, text: str, details: str) -> None:
        """Describe the chosen model: on one line, and at length."""
        self._scan.show_model(text, details)

    def show_choices(self, choices: Choices) -> None:
        """Show the current settings, without emitting that the user changed them."""
        self._spacing.setLocked(choices.locked)
        self._spacing.setSpacing(choices.spacing_mm)
        self._preview.show_choices(choices.live, choices.preview_ms)
        self._cost.budget.show_budget(choices.budget_s, choices.budget_gb)

    def show_scales(self, scales: Scales) -> None:
        """Draw the scales of the spacing sliders."""
        self._spacing.setScales(scales)

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        """Show the estimated cost of a run at the current spacing, and notes about the spacing."""
        self._cost.show_cost(text, fits, notes)

    def show_estimating(self, text: str) -> None:
        """Show that the cost shown is of other choices, until `show_cost`."""
        self._cost.show_estimating(text)

    def show_bake(self, text: str) -> None:
        """Show how long making the network's weights took."""
        self._cost.show_bake(text)

    def show_curve(self, curve: CostOverSpacing | None, trained: Range | None) -> None:
        """Show the cost over the range of spacings."""
        self._cost.show_curve(curve, trained)

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing on the curve."""
        self._cost.show_point(spacing_mm, seconds)

    def show_preview(self, text: str, tone: Tone = "plain") -> None:
        """Show what the preview is of, or why there is none; empty: previews are off."""
        self._preview.show_preview(text, tone)

    def show_accuracy(self, accuracy: Accuracy) -> None:
        """Show the Dice to expect at the current spacing, and the measurements."""
        self._cost.show_accuracy(accuracy)

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        """Show a message in plain text."""
        self._footer.show_message(text, tone)

    def show_progress(self, fraction: float | None, text: str = "") -> None:
        """Show progress, stage and time left of the running job; `None`: no job is running."""
        self._footer.show_progress(fraction, text)

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""
        self._footer.show_ready(run=run, cancel=cancel, save=save)
        self._cost.budget.button.setEnabled(run)
        self._scan.open.setEnabled(not cancel)

    def ask_choice(self, title: str, question: str, options: Sequence[str]) -> int | None:
        """Let the user choose one option and return its index; `None` if they decline."""
        return dialogs.ask_choice(self, title, question, options)

    def ask_spacing(
        self, title: str, question: str, spacing_mm: Triple, reset_mm: Triple | None = None
    ) -> Triple | None:
        """Ask for a spacing; `None` if the user declines."""
        return dialogs.ask_spacing(self, title, question, spacing_mm, reset_mm)

    def ask_save_path(self, suggestion: str) -> str | None:
        """Ask for a path to save to; `None` if the user declines."""
        return dialogs.ask_save_path(self, suggestion)
