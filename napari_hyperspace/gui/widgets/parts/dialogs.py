"""Dialogs that ask the user, made with magicgui and Qt's file dialogs."""

from __future__ import annotations

from collections.abc import Sequence

from magicgui.widgets import ComboBox, Dialog, FloatSpinBox, Label, Widget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QWidget

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models.spacings import AXES

OPENED = (
    "Medical volumes (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.dicom *.ima);;All files (*)"
)
SAVED = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha)"
TABLES = "Comma-separated values (*.csv)"
MODELS = "HyperSpace models (*.safetensors)"


def ask_choice(parent: QWidget, title: str, question: str, options: Sequence[str]) -> int | None:
    """Let the user choose one option and return its index; `None` if they decline."""
    box = ComboBox(name="choice", label=" ", choices=[(text, i) for i, text in enumerate(options)])
    return box.value if _ask(parent, title, question, [box]) else None


def ask_spacing(parent: QWidget, title: str, question: str, spacing_mm: Triple) -> Triple | None:
    """Ask for a spacing, one number per axis; `None` if the user declines."""
    boxes = [
        FloatSpinBox(
            name=axis, label=f"{axis} (mm)", value=round(value, 4), min=0.001, max=100.0, step=0.1
        )
        for axis, value in zip(AXES, spacing_mm, strict=True)
    ]
    if not _ask(parent, title, question, boxes):
        return None
    z, y, x = (float(box.value) for box in boxes)
    return z, y, x


def ask_open_file(parent: QWidget) -> str | None:
    """Ask for a file to open."""
    return QFileDialog.getOpenFileName(parent, "Open a scan", "", OPENED)[0] or None


def ask_open_folder(parent: QWidget) -> str | None:
    """Ask for a DICOM folder to open."""
    return QFileDialog.getExistingDirectory(parent, "Open a DICOM folder") or None


def ask_model_file(parent: QWidget) -> str | None:
    """Ask for a model file."""
    return QFileDialog.getOpenFileName(parent, "Open a model file", "", MODELS)[0] or None


def ask_save_path(parent: QWidget, suggestion: str) -> str | None:
    """Ask where to save labels."""
    return QFileDialog.getSaveFileName(parent, "Save labels", suggestion, SAVED)[0] or None


def ask_table_path(parent: QWidget, suggestion: str) -> str | None:
    """Ask where to save a table."""
    return QFileDialog.getSaveFileName(parent, "Save table", suggestion, TABLES)[0] or None


def _ask(parent: QWidget, title: str, question: str, widgets: Sequence[Widget]) -> bool:
    label = Label(name="question", label=" ", value=question)
    native = label.native
    assert isinstance(native, QLabel)
    native.setTextFormat(Qt.TextFormat.PlainText)  # paths and headers may contain markup
    native.setWordWrap(True)
    native.setMinimumWidth(360)
    dialog = Dialog(widgets=[label, *widgets], labels=True)
    dialog.native.setWindowTitle(title)
    dialog.native.setParent(parent, dialog.native.windowFlags())
    return bool(dialog.exec())
