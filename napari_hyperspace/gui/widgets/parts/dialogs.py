"""Dialogs that ask the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QDialog, QFileDialog, QWidget

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.widgets.parts.question_dialog import ChoiceDialog, QuestionDialog
from napari_hyperspace.gui.widgets.parts.spacing_dialog import SpacingDialog

OPENED = (
    "Medical volumes (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.dicom *.ima "
    "*.zarr.zip *.ozx);;All files (*)"
)
SAVED = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha)"
TABLES = "Comma-separated values (*.csv)"
_EXTENSION = re.compile(r"\*(\.[\w.]+)")
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
    return ask_path(parent, "Save labels", suggestion, SAVED)


def ask_table_path(parent: QWidget, suggestion: str) -> str | None:
    """Ask where to save a table."""
    return ask_path(parent, "Save table", suggestion, TABLES)


def ask_figure_path(parent: QWidget, suggestion: str, suffix: str) -> str | None:
    """Ask where to save a figure; a name without the extension gets it."""
    return ask_path(parent, "Save curves", suggestion, f"{suffix.upper()} (*.{suffix})")


def ask_path(parent: QWidget, title: str, suggestion: str, filters: str) -> str | None:
    """Ask where to save; a name without an extension gets the first one of the chosen format.

    Parameters
    ----------
    title
        Title of the dialog.
    suggestion
        Path to start with.
    filters
        Formats as in Qt: ``"NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd)"``.
    """
    answer, chosen = QFileDialog.getSaveFileName(parent, title, suggestion, filters)
    path = str(answer)
    if not path or path.lower().endswith(tuple(_EXTENSION.findall(filters))):
        return path or None
    path += str(_EXTENSION.findall(chosen or filters)[0])
    if Path(path).exists():  # the dialog has asked for another name
        question = f"{Path(path).name} exists already. Replace it?"
        return path if _accepted(QuestionDialog(title, question, parent)) else None
    return path


def _accepted(dialog: QDialog) -> bool:
    try:
        return bool(dialog.exec())
    finally:
        dialog.deleteLater()
