"""What is segmented, with which model, and where: the upper part of the dock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_hyperspace.gui.models.recent import forget_scans, recent_scans
from napari_hyperspace.gui.models.view import Entries
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.choosers import Chooser, channel_name
from napari_hyperspace.gui.widgets.parts.labels import PlainLabel, heading, plain_tip
from napari_hyperspace.gui.widgets.parts.layouts import row
from napari_hyperspace.gui.widgets.parts.spacing_box import SpacingBox
from napari_hyperspace.gui.widgets.parts.tool_button import text_button

_DEVICE_WIDTH = 90


class GuidanceRow(QWidget):
    """Shown for guided models only."""

    chosen = Signal(str)
    """The key of a Labels layer, or of a coarse pass."""
    spacingChanged = Signal(float)
    """The spacing of the coarse pass, in mm."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.guidance")
        label = PlainLabel(self, name="hyperspace.guidance.label")
        label.setText("Guidance")
        tip = "Where the structures are, roughly: labels of a layer, or a coarse pass of a model"
        self._source = Chooser("hyperspace.guidance.source", tip, self)
        self._source.setAccessibleName("Guidance")
        self._source.setAccessibleDescription(tip)
        self._at = PlainLabel(self, faint=True, name="hyperspace.guidance.at")
        self._at.setText("Spacing of the coarse pass")
        self._spacing = SpacingBox(self)
        self._spacing.setObjectName("hyperspace.guidance.spacing")
        self._spacing.setToolTip("Working spacing of the coarse pass")
        self._spacing.setAccessibleName("Spacing of the coarse pass")
        self._spacing.setAccessibleDescription("Working spacing of the coarse pass, in mm")
        label.setWordWrap(False)
        label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        label.setBuddy(self._source)
        self._at.setBuddy(self._spacing)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(label, self._source, stretch=1))
        column.addLayout(row(self._at, self._spacing, stretch=0))
        self._source.chosen.connect(self.chosen)
        self._spacing.valueChanged.connect(self.spacingChanged)
        self.hide()

    def show_guidance(
        self, entries: Entries | None, current: str, spacing_mm: float | None
    ) -> None:
        """Show what can guide the model; `None`: hide the row.

        Parameters
        ----------
        entries, current
            Layers and coarse passes, and the chosen one.
        spacing_mm
            Spacing of the coarse pass; `None` for labels.
        """
        self.setVisible(entries is not None)
        self._source.fill(entries or (), current, "open or paint labels")
        for widget in (self._at, self._spacing):
            widget.setVisible(spacing_mm is not None)
        if spacing_mm is not None:
            with QSignalBlocker(self._spacing):
                self._spacing.setValue(spacing_mm)


class ScanPanel(QWidget):
    """The choosers of the scan, of the model and of the device, and what they are."""

    layerChosen = Signal(str, int)
    """The key of a layer, and the input channel of the model."""
    openRequested = Signal(str)
    """The path of a scan."""
    modelFileChosen = Signal(str)
    """The path of a model file."""
    batchRequested = Signal()
    """The window that segments a folder is wanted."""
    manageRequested = Signal()
    """The window of the models is wanted."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._extra_layers: list[Chooser] = []
        self.open = text_button(
            self, "Open…", "hyperspace.open", "Open a file (NIfTI, NRRD, MetaImage, DICOM)"
        )
        self.open.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self.open_menu = QMenu(self.open)
        open_file = QAction("Open file…", self)
        open_file.setObjectName("hyperspace.open.file")
        open_folder = QAction("Open folder (DICOM, OME-Zarr)…", self)
        open_folder.setObjectName("hyperspace.open.folder")
        batch = QAction("Segment a folder…", self)
        batch.setObjectName("hyperspace.open.batch")
        batch.setToolTip("Segment all scans of a folder, one after the other")
        batch.triggered.connect(lambda: self.batchRequested.emit())
        self.open_menu.addActions([open_file, open_folder, batch])
        self.open_menu.setToolTipsVisible(True)
        self.open_menu.aboutToShow.connect(self._show_recent)
        self._recent: list[QAction] = []
        self.open.setMenu(self.open_menu)
        self.layer = Chooser("hyperspace.layer", "The scan to segment", self)
        self._facts = PlainLabel(self, faint=True, name="hyperspace.scan")
        self.correct = text_button(
            self,
            "Spacing…",
            "hyperspace.respace",
            "Set the scan's spacing if the file states none or a wrong one",
        )
        self.model = Chooser("hyperspace.model", "The model to segment with", self)
        self.device = Chooser("hyperspace.device", "Where to compute", self)
        self.device.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.device.setFixedWidth(_DEVICE_WIDTH)
        for chooser, name in ((self.layer, "Scan"), (self.model, "Model"), (self.device, "Device")):
            chooser.setAccessibleName(name)
        self._model_facts = PlainLabel(self, faint=True, name="hyperspace.model_facts")
        self.guidance = GuidanceRow(self)
        self._lay_out()
        self.open.clicked.connect(self._open_scan)
        open_file.triggered.connect(self._open_scan)
        open_folder.triggered.connect(self._open_series)
        self.layer.chosen.connect(lambda key: self.layerChosen.emit(key, 0))

    def _lay_out(self) -> None:
        self._layers_box = QVBoxLayout()
        self._layers_box.setSpacing(4)
        self._layers_box.addLayout(row(self.layer, self.open, stretch=0))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._layers_box)
        column.addLayout(row(self._facts, self.correct, stretch=0))
        column.addWidget(heading("Model", self))
        column.addLayout(row(self.model, self.device, stretch=0))
        column.addWidget(self._model_facts)
        column.addWidget(self.guidance)

    def show_models(self, entries: Entries, current: str) -> None:
        """Fill the chooser of models."""
        self.model.set_action("Open model file…", self._open_model)
        self.model.set_action("Manage models…", self.manageRequested.emit)
        self.model.fill(entries, current, "no model")

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        """Fill the choosers of layers: one per input channel of the model."""
        while len(self._extra_layers) > max(len(channels) - 1, 0):
            self._extra_layers.pop().deleteLater()
        while len(self._extra_layers) < len(channels) - 1:
            channel = len(self._extra_layers) + 1
            extra = Chooser(channel_name("hyperspace.layer", channel), "", self)
            extra.chosen.connect(lambda key, channel=channel: self.layerChosen.emit(key, channel))
            extra.setAccessibleName(f"Scan of input channel {channel + 1}")
            self._layers_box.addWidget(extra)
            self._extra_layers.append(extra)
        choosers = [self.layer, *self._extra_layers]
        for i, (chooser, channel_text) in enumerate(zip(choosers, channels, strict=False)):
            chooser.fill(entries, current[i] if i < len(current) else "", "no 3-D image open")
            if len(channels) > 1:
                chooser.setToolTip(plain_tip(f"Input channel {i + 1}: {channel_text}"))

    def show_scan(self, text: str, hint: str = "") -> None:
        """Describe the chosen layer; if there is none, ``hint`` says why, or what to do."""
        self._facts.setText(
            text or hint or "Open a scan, or choose File ▸ Open Sample ▸ HyperSpace."
        )
        self._facts.set_tone("warning" if hint else "plain")
        self.correct.setVisible(bool(text))

    def show_model(self, text: str, details: str) -> None:
        """Describe the chosen model: on one line, and at length."""
        self._model_facts.setText(text)
        self._model_facts.setToolTip(plain_tip(details))

    def _show_recent(self) -> None:
        """List the scans opened before; their paths stay on this machine."""
        for action in self._recent:
            self.open_menu.removeAction(action)
            action.deleteLater()
        self._recent = []
        for i, path in enumerate(recent_scans()):
            action = QAction(Path(path).name.replace("&", "&&"), self)
            action.setObjectName(f"hyperspace.open.recent_{i + 1}")
            action.setToolTip(plain_tip(path))
            action.triggered.connect(lambda _=False, path=path: self.openRequested.emit(path))
            self._recent.append(action)
        if self._recent:
            separator = QAction(self)
            separator.setSeparator(True)
            clear = QAction("Clear this list", self)
            clear.setObjectName("hyperspace.open.clear")
            clear.triggered.connect(lambda: forget_scans())
            self._recent = [separator, *self._recent, clear]
            self.open_menu.addActions(self._recent)

    def _open_scan(self) -> None:
        path = dialogs.ask_open_file(self)
        if path is not None:
            self.openRequested.emit(path)

    def _open_series(self) -> None:
        path = dialogs.ask_open_folder(self)
        if path is not None:
            self.openRequested.emit(path)

    def _open_model(self) -> None:
        path = dialogs.ask_model_file(self)
        if path is not None:
            self.modelFileChosen.emit(path)
