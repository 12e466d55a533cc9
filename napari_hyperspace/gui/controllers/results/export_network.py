"""The user exports the network of a spacing for other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.layers import RESULT_KEY
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.export_network import ExportedNetwork


@dataclass(frozen=True)
class NetworkChoice:
    """Which network to export: the model's key, its spacing, and a name for the file."""

    model: str
    spacing_mm: Triple
    suggestion: str


class ExportNetworkController:
    """Exports the network of the model in the dock. Main thread only.

    Parameters
    ----------
    view
        Asks for the spacing, and shows messages.
    services
        Export.
    choices, library
        The model, and the spacing that is proposed.
    runner
        Runs the job.
    layer
        Returns the labels in the table: the spacing that they were made at is proposed.
    """

    def __init__(
        self,
        view: View,
        services: Services,
        choices: Choices,
        library: ModelLibrary,
        runner: JobRunner,
        layer: Callable[[], Any],
    ) -> None:
        self._view = view
        self._services = services
        self._choices = choices
        self._library = library
        self._runner = runner
        self._layer = layer

    def choose(self) -> NetworkChoice | None:
        """Ask for the spacing of the network; `None` if the user declines, or nothing can run."""
        if self._runner.running:
            self._view.show_message("Export it again once this is done.", "warning")
            return None
        if not self._choices.model:
            self._view.show_message("There is no model to export. Choose a model first.")
            return None
        name = Path(self._choices.model).stem
        spacing = self._view.ask_spacing(
            "Export network",
            f"Voxel spacing of the images that the network of “{name}” will see:",
            self._proposed(name),
        )
        if spacing is None:
            return None
        plain = format_spacing(spacing, collapse=True, unit=False).replace(" × ", "x")
        return NetworkChoice(self._choices.model, spacing, f"{name}-{plain}mm.onnx")

    def export(self, choice: NetworkChoice, path: str) -> None:
        """Export a network to a file and its description beside it."""

        def steps(should_stop: ShouldStop) -> Steps[ExportedNetwork]:
            model = self._library.load(choice.model)
            return (
                yield from self._services.export_network_steps(
                    choice.model, choice.spacing_mm[-model.n_dim :], path, should_stop
                )
            )

        def exported(done: ExportedNetwork) -> None:
            self._view.show_message(f"Exported {done}.", "good")

        self._runner.start(steps, exported, f"Exporting {Path(path).name}")

    def _proposed(self, name: str) -> Triple:
        """Return the spacing of the labels in the table, if this model made them."""
        layer = self._layer()
        result = {} if layer is None else layer.metadata.get(RESULT_KEY, {})
        record = result.get("record")
        if record is not None and record.model == name:
            z, y, x = record.spacing_mm
            return z, y, x
        return self._choices.spacing_mm
