"""The user copies how a result was made, as Python or as a command, and saves its label names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_hyperspace.api.reproduce import (
    ResultOrigin,
    ScanFile,
    command_for,
    explain_placeholders,
    python_code,
    scan_file,
)
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Record, Volume, digest_of_labels
from napari_hyperspace.gui.adapters.layers import METADATA_KEY, ORIGIN_KEY, take, to_volume
from napari_hyperspace.gui.adapters.viewer import image_layers
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.formatting import suggest_path
from napari_hyperspace.gui.models.view import Tone, View
from napari_hyperspace.io.labels import label_table_path

_PAINTED = "The labels were edited after the run: this makes those of the run."


@dataclass(frozen=True)
class _Present:
    """The labels in the table, and how they were made."""

    record: Record
    origin: ResultOrigin
    is_unchanged: bool


class ReproduceController:
    """Says how the labels in the table were made. Main thread only.

    Parameters
    ----------
    viewer
        napari's viewer; the scan of labels from a file is looked for among its images.
    view
        Shows messages.
    services
        Write tables, and know the installed models.
    layer
        Returns the labels that are meant; `None` if there are none.
    """

    def __init__(
        self, viewer: Any, view: View, services: Services, layer: Callable[[], Any]
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._layer = layer

    def python(self) -> str | None:
        """Return Python code that makes the labels again; `None`, with a message, if none does."""
        return self._text(python_code, "Copied as Python.")

    def command(self) -> str | None:
        """Return a command that makes the labels again; `None`, with a message, if none does."""
        return self._text(command_for, "Copied as a command.")

    def suggest_table_path(self) -> str | None:
        """Return a path for a table of the label names; `None` if there are no labels."""
        volume = self._volume()
        if volume is None:
            return None
        path = volume.metadata.get("path")
        if path is None or ORIGIN_KEY in self._layer().metadata:  # the path is that of the scan
            path = suggest_path(path, volume.name, "labels.nii.gz")
        return str(label_table_path(path))

    def save_table(self, path: str) -> None:
        """Write names and colors of the labels as a table; see `write_label_table`."""
        volume = self._volume()
        if volume is None:
            return
        try:
            self._services.write_label_table(volume, path)
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        self._view.show_message(f"Saved {Path(path)}.", "good")

    def _text(self, make: Callable[[Record, ResultOrigin], str], done: str) -> str | None:
        present = self._present()
        if present is None:
            return None
        try:
            text = make(present.record, present.origin)
        except HyperspaceError as error:
            self._view.show_message(str(error), "warning")
            return None
        notes = [explain_placeholders(present.origin), "" if present.is_unchanged else _PAINTED]
        tone: Tone = "warning" if any(notes) else "plain"
        self._view.show_message(" ".join([done, *filter(None, notes)]), tone)
        return text

    def _volume(self) -> Volume | None:
        """Return the labels that are meant; `None`, with a message, if there are none."""
        layer = self._layer()
        if layer is None:
            self._view.show_message("There are no labels. Run a segmentation first.")
            return None
        try:
            return to_volume(*layer.as_layer_data_tuple()[:2])
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return None

    def _present(self) -> _Present | None:
        volume = self._volume()
        if volume is None:
            return None
        record = volume.metadata.get("record")
        if record is None:
            self._view.show_message(
                f"“{volume.name}” does not say how it was made: only results of this program, and "
                "their NIfTI and NRRD files, do.",
                "warning",
            )
            return None
        origin = self._layer().metadata.get(ORIGIN_KEY) or self._guess(record, volume)
        return _Present(record, origin, record.labels_digest == digest_of_labels(volume.array))

    def _guess(self, record: Record, volume: Volume) -> ResultOrigin:
        """Return where the scan and the model of labels from a file are, as far as it is known."""
        known = {*self._services.bundled_models(), *self._services.added_models()}
        model = record.model if record.model in known else None
        unknown = ScanFile(None, None, record.reading)
        if len(record.channels) > 1:
            return ResultOrigin(model, (unknown,) * len(record.channels))
        files = [
            scan
            for scan in self._scans_on(volume)
            if scan.path is not None and scan.reading == record.reading
        ]
        return ResultOrigin(model, (files[0] if len(files) == 1 else unknown,))

    def _scans_on(self, volume: Volume) -> Iterator[ScanFile]:
        """Yield the files of the images on the grid of labels."""
        for layer in image_layers(self._viewer):
            if METADATA_KEY in layer.metadata:  # read from a file
                placement = take(layer).placement
                if placement.grid.is_close(volume.grid):
                    yield scan_file(Volume(volume.array, volume.grid, "", placement.metadata))
