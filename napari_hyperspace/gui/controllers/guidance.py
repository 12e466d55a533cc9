"""The user chooses what guides a guided model."""

from __future__ import annotations

import math
from typing import Any

from psygnal import Signal

from napari_hyperspace.gui.adapters.layers import RESULT_KEY
from napari_hyperspace.gui.adapters.viewer import label_layers, unwatch_layer, watch_layer
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.jobs.guidance import GuidanceChoice
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.models.view import Entries, View

_PASS, _LAYER = "pass:", "layer:"


class GuidanceController:
    """Chooses a Labels layer, or a coarse pass and its spacing. There is none for other models.

    Parameters
    ----------
    viewer
        napari's viewer; its Labels layers can guide.
    view
        Shows the choices.
    models, library
        The model, and those that can make a coarse pass for it.
    """

    changed = Signal()
    """Another guidance was chosen, or its labels were changed."""

    def __init__(
        self, viewer: Any, view: View, models: ModelController, library: ModelLibrary
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._models = models
        self._library = library
        self._key = ""
        self._spacing_mm: float | None = None
        self._watched: Any = None

    @property
    def is_guided(self) -> bool:
        """Whether the loaded model is a guided one."""
        return self._models.model is not None and self._models.model.guidance is not None

    @property
    def spacing_mm(self) -> float:
        """Spacing of the coarse pass: the user's, or the middle of the trained range."""
        model = self._models.model
        if self._spacing_mm is not None or model is None or model.guidance is None:
            return self._spacing_mm or 1.0
        return math.sqrt(math.prod(model.guidance.spacing_mm))

    def choose(self, key: str) -> None:
        """Choose a Labels layer or a coarse pass by its key."""
        self._key = key
        self._take()
        self.refresh()
        self.changed.emit()

    def set_spacing(self, spacing_mm: float) -> None:
        """Set the spacing of the coarse pass."""
        self._spacing_mm = spacing_mm
        self._take()
        self.changed.emit()

    def model_changed(self) -> None:
        """Show the choices of another model; the spacing is again that of its training."""
        self._spacing_mm = None
        self._take()
        self.refresh()

    def refresh(self) -> None:
        """List the layers and coarse passes; choose one if the chosen one is gone."""
        if not self.is_guided:
            self._view.show_guidance(None, "", None)
            return
        entries = self._entries()
        keys = [key for key, _ in entries]
        gone = self._key not in keys
        if gone:
            self._key = next(iter(keys), "")
        if gone or self._library.guidance is None:
            self._take()
        spacing = self.spacing_mm if self._key.startswith(_PASS) else None
        self._view.show_guidance(entries, self._key, spacing)

    def close(self) -> None:
        """Disconnect from the layer."""
        self._unwatch()

    def _take(self) -> None:
        """Have later runs use what is chosen now."""
        self._unwatch()
        self._library.guidance = self._make_choice() if self.is_guided else None

    def _make_choice(self) -> GuidanceChoice | None:
        if self._key.startswith(_PASS):
            return GuidanceChoice(None, self._key.removeprefix(_PASS), self.spacing_mm)
        for layer in label_layers(self._viewer):
            if f"{_LAYER}{id(layer)}" == self._key:
                self._watched = layer
                watch_layer(layer, self._edited)
                data, attributes, *_ = layer.as_layer_data_tuple()
                return GuidanceChoice((data, attributes))
        return None

    def _entries(self) -> Entries:
        passes = [
            (f"{_PASS}{key}", f"{name}, coarse pass") for key, name in self._models.coarse_models
        ]
        layers = label_layers(self._viewer)
        # Labels that were opened or painted come before results.
        layers.sort(key=lambda layer: RESULT_KEY in layer.metadata)
        return [*passes, *((f"{_LAYER}{id(layer)}", f"Labels: {layer.name}") for layer in layers)]

    def _edited(self, event: Any = None) -> None:
        self._take()
        self.changed.emit()

    def _unwatch(self) -> None:
        if self._watched is not None:
            unwatch_layer(self._watched, self._edited)
            self._watched = None
