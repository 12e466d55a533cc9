"""Dialogs that ask the user."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QDialog, QFileDialog, QWidget

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.widgets.parts.question_dialog import ChoiceDialog
from napari_hyperspace.gui.widgets.parts.spacing_dialog import SpacingDialog

OPENED = (
    "Medical volumes (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.dicom *.ima);;All files (*)"
)
SAVED = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha)"
TABLES = "Comma-separated values (*.csv)"
MODELS = "HyperSpace models (*.safetensors)"


def ask_choice(parent: QWidget, title: str, question: str, options: Sequence[str]) -> int | None:
    """Let the user choose one option and return its index; `None` if they decline."""
    dialog = ChoiceDialog(title, question, options, parent)
    return dialog.chosen() if _accepted(dialog) else None


def ask_spacing(
    parent: QWidget,
    title: str,
    question: str,
    spacing_mm: Triple,
    reset_mm: Triple | None = None,
) -> Triple | None:
    """Ask for a spacing, one number per axis; `None` if the user declines.

    See `SpacingDialog` for the arguments. Numbers that the user leaves alone are returned as they
    were given, bit for bit.
    """
    dialog = SpacingDialog(title, question, spacing_mm, reset_mm, parent)
    return dialog.spacing() if _accepted(dialog) else None


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


def ask_figure_path(parent: QWidget, suggestion: str, suffix: str) -> str | None:
    """Ask where to save a figure; a name without the extension gets it."""
    kinds = f"{suffix.upper()} (*.{suffix})"
    path = QFileDialog.getSaveFileName(parent, "Save curves", suggestion, kinds)[0]
    if path and not path.lower().endswith(f".{suffix}"):
        path += f".{suffix}"
    return path or None


def _accepted(dialog: QDialog) -> bool:
    try:
        return bool(dialog.exec())
    finally:
        dialog.deleteLater()
