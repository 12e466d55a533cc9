"""The user chooses the scan, and corrects its spacing."""

from __future__ import annotations

from typing import Any

from napari_hyperspace.gui.adapters.correction import correct_spacing, uncorrected
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.viewer import show_opened_layer, show_scan, unsuitable_images
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.models.formatting import describe_scan, describe_unsuitable
from napari_hyperspace.gui.models.view import View


class ScanController:
    """Chooses the layers to segment, and describes the first of them.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows the scan and asks for its spacing.
    layers
        The layers to segment.
    models
        Names the input channels.
    """

    def __init__(
        self, viewer: Any, view: View, layers: InputLayers, models: ModelController
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._layers = layers
        self._models = models

    def choose(self, key: str, channel: int = 0) -> None:
        """Choose the layer of an input channel, and show it."""
        self._layers.choose(key, channel)
        if len(self._layers.layers) == 1:
            show_scan(self._viewer, self._layers.layers[0])

    def show_opened(self, layer: Any) -> None:
        """Show a scan that was just opened."""
        if layer in self._viewer.layers:
            show_opened_layer(self._viewer, layer)

    def correct_spacing(self) -> None:
        """Ask for the scan's true spacing, and set it on its layers."""
        source = self._layers.first()
        if source is None:
            return
        shown = source.placement.layer_grid.spacing_mm
        stated = uncorrected(self._layers.layers[0])
        spacing = self._view.ask_spacing(
            "Spacing of the scan",
            f"Distance between voxel centers of “{source.name}”, in mm. Set it if the file states "
            "none or a wrong one: the layer is rescaled, and results are saved with this spacing.",
            shown,
            None if stated is None else stated.spacing_mm,
        )
        if spacing is not None:
            for layer in self._layers.layers:
                correct_spacing(layer, spacing, shown)

    def show(self) -> None:
        """Describe the first layer."""
        source = self._layers.first()
        if source is None:
            unsuitable = unsuitable_images(self._viewer)
            self._view.show_scan("", describe_unsuitable(*unsuitable[0]) if unsuitable else "")
            return
        corrected = uncorrected(self._layers.layers[0]) is not None
        self._view.show_scan(describe_scan(source.placement, corrected=corrected))
        if source.placement.note:
            self._view.show_message(source.placement.note, "warning")

    def show_layers(self) -> None:
        """List the layers to choose from, per input channel."""
        if not self._layers.layers:
            self.show()  # another image that cannot be segmented may have been added
        channels = self._models.channel_names
        self._view.show_layers(self._layers.candidates(), self._layers.keys, channels)
