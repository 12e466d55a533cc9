"""The user wants to report a defect, or to know what the program is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import format_shape


class AboutController:
    """Makes texts about the program and about what is open, without names and paths.

    Parameters
    ----------
    viewer
        napari's viewer.
    services
        Know the program and the machine.
    choices
        The settings.
    layers
        The layers to segment.
    """

    def __init__(
        self, viewer: Any, services: Services, choices: Choices, layers: InputLayers
    ) -> None:
        self._viewer = viewer
        self._services = services
        self._choices = choices
        self._layers = layers

    def diagnostics(self, window: Mapping[str, str]) -> str:
        """Return the text that a report of a defect needs.

        Parameters
        ----------
        window
            What the window runs in; it must contain no names or paths.
        """
        return self._services.diagnostics({"window": window, "dock": self._dock()})

    def about(self) -> str:
        """Return the text about the program and the licenses of the bundled models."""
        return self._services.about()

    def _dock(self) -> dict[str, str]:
        choices = self._choices
        bundled = choices.model in self._services.bundled_models()
        return {
            "layers": self._kinds() or "none",
            "scan": self._scan(),
            "model": choices.model if bundled else "not a bundled one",
            "device": choices.device or "the default",
            "working spacing": format_spacing(choices.spacing_mm),
        }

    def _kinds(self) -> str:
        """Count the viewer's layers by kind."""
        kinds = [type(layer).__name__ for layer in self._viewer.layers]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))

    def _scan(self) -> str:
        """Describe the scan by its grid and its type."""
        try:
            source = self._layers.first()
        except HyperspaceError:
            return "not usable"
        if source is None:
            return "none"
        layer = self._layers.layers[0]
        grid = source.placement.layer_grid
        return (
            f"{format_shape(grid.shape)} voxels, {format_spacing(grid.spacing_mm)}, "
            f"{layer.dtype}, oblique {grid.obliqueness_deg:.1f}°"
        )
