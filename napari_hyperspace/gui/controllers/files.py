"""The user opens scans and saves labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from napari_hyperspace.core.errors import HyperspaceError, OptionNeededError, ShouldStop
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.layers import LayerData, to_volume
from napari_hyperspace.gui.adapters.readers import ReadOptions, holds_dicom, open_layers
from napari_hyperspace.gui.adapters.viewer import add_layer, hide_results, label_layers, labels_of
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.formatting import NOT_FINITE, suggest_path
from napari_hyperspace.gui.models.recent import remember_scan
from napari_hyperspace.gui.models.view import View
from napari_hyperspace.support.log import log_error

if TYPE_CHECKING:
    from napari_hyperspace.io import Receipt


@dataclass(frozen=True)
class _Unreadable:
    """Why a file could not be read. Workers raise errors that are returned as they are."""

    error: HyperspaceError


class FileController:
    """Reads files into layers, and writes labels; remembers the last scans.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages, and asks for what a file does not say.
    services
        Read and write.
    layers
        The chosen scan, whose labels are saved.
    runner
        Runs the jobs.
    """

    def __init__(
        self, viewer: Any, view: View, services: Services, layers: InputLayers, runner: JobRunner
    ) -> None:
        self._viewer = viewer
        self._layers = layers
        self._view = view
        self._services = services
        self._runner = runner

    # -- opening -------------------------------------------------------------------------------

    def open(self, path: str, **options: Unpack[ReadOptions]) -> None:
        """Read a file, or the series of a DICOM folder, into layers; the visible one is chosen.

        If the file can only be read with an option (the spacing, one of several volumes, …), the
        user is asked for it and the file is read again.
        """
        if self._runner.running:
            self._view.show_message("Open it again once this is done.", "warning")
            return

        def steps(should_stop: ShouldStop) -> Steps[list[LayerData] | _Unreadable]:
            yield from ()
            try:
                return open_layers(path, self._services, **options)
            except HyperspaceError as error:
                return _Unreadable(error)  # not a failed job: the user may know the option

        def opened(outcome: list[LayerData] | _Unreadable) -> None:
            if isinstance(outcome, _Unreadable):
                # A dialog has an event loop of its own: show it once the job has finished.
                self._runner.afterwards(lambda: self._open_again(path, options, outcome.error))
                return
            remember_scan(path)
            if self._layers.layers and all(kind == "labels" for _, _, kind in outcome):
                hide_results(self._viewer, self._layers.layers[0])
            layers = [add_layer(self._viewer, one) for one in outcome]
            text = f"Opened {', '.join(layer.name for layer in layers)}."
            later(lambda: self._view.show_message(text))  # once the scan is chosen and shown

        self._runner.start(steps, opened, f"Reading {Path(path).name}")

    def _open_again(self, path: str, options: ReadOptions, error: HyperspaceError) -> None:
        """Ask for the option that a file lacks and read it again, or show why it was not read."""
        if not isinstance(error, OptionNeededError):
            log_error(error, "open")
            self._view.show_message(str(error), "error")
            return
        name = Path(path).name
        self._view.show_message(f"{name}: {error.problem}.")
        answer = self._ask_option(name, error)
        if answer is None:
            self._view.show_message(f"Not opened: {name}: {error.problem}.", "warning")
        else:
            more: ReadOptions = {**options, **answer}
            self.open(path, **more)

    def _ask_option(self, name: str, error: OptionNeededError) -> ReadOptions | None:
        """Ask for the option that lets a file be read; `None` if the user declines.

        The error's own advice is for programs.
        """
        view, problem = self._view, f"{name}: {error.problem}"
        if error.option == "spacing_mm":
            question = (
                f"{problem}.\n\nDistance between voxel centers along the file's own axes, in mm:"
            )
            spacing = view.ask_spacing("Spacing of the file", question, (1.0, 1.0, 1.0))
            return None if spacing is None else {"spacing_mm": spacing}
        if error.option == "series":
            names = [one.description for one in error.series]
            chosen = view.ask_choice("Series", f"{problem}. Which one?", names)
            return None if chosen is None else {"series": error.series[chosen].uid}
        if error.option == "volume":
            names = [f"volume {n}" for n in range(error.n_volumes)]
            question = f"{problem} ({error.found}). Which one?"
            chosen = view.ask_choice("Volume", question, names)
            return None if chosen is None else {"volume": chosen}
        question = f"{problem} ({error.found})."
        chosen = view.ask_choice(NOT_FINITE, question, ["Replace them with 0"])
        return None if chosen is None else {"fill": 0.0}

    # -- saving --------------------------------------------------------------------------------

    def labels_to_save(self) -> Any:
        """Return the selected labels, else the topmost visible ones of the scan, else any of it.

        `None` if there are none.
        """
        active = self._viewer.layers.selection.active
        if active in label_layers(self._viewer):
            return active
        layers = labels_of(self._viewer, next(iter(self._layers.layers), None))
        return next((layer for layer in layers if layer.visible), next(iter(layers), None))

    def save(self) -> None:
        """Ask for a path and write `labels_to_save` on the grid of the scan."""
        layer = self.labels_to_save()
        if self._runner.running or layer is None:
            return
        try:
            volume = to_volume(*layer.as_layer_data_tuple()[:2])
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        scan = volume.metadata.get("path")
        path = self._view.ask_save_path(suggest_path(scan, layer.name, "labels.nii.gz"))
        if path is None:
            return

        def steps(should_stop: ShouldStop) -> Steps[Receipt]:
            yield from ()
            return self._services.write(volume, path)

        def saved(receipt: Receipt) -> None:
            self._view.show_message(f"Saved {receipt}.", "good")

        self._runner.start(steps, saved, f"Saving {Path(path).name}")


def dropped_dicom(paths: Sequence[str]) -> str | None:
    """Return the file or folder to open for dropped files; several files of a folder: the folder.

    Parameters
    ----------
    paths
        Of local files; empty for anything else, such as a web address.

    Returns
    -------
    str or None
        `None` unless all of them are DICOM: then napari opens them.
    """
    files = [Path(path) for path in paths if path]
    if len(files) < len(paths) or not files:
        return None
    if not all(holds_dicom(str(path)) for path in files):
        return None
    if len(files) == 1:
        return str(files[0])
    parents = {path.parent for path in files}
    together = len(parents) == 1 and all(path.is_file() for path in files)
    return str(parents.pop()) if together else None
