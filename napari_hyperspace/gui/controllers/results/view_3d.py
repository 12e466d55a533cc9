"""Shows labels in 3-D, and goes back to the slices that were shown before."""

from __future__ import annotations

from typing import Any

from napari_hyperspace.gui.adapters.viewer import show_labels_in_3d
from napari_hyperspace.gui.models.view import StructuresView


class View3DController:
    """Switches the viewer between slices and 3-D.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows which of them is on, also if the user has switched in napari.
    """

    def __init__(self, viewer: Any, view: StructuresView) -> None:
        self._viewer = viewer
        self._view = view
        self._hidden_images: list[Any] = []
        self._order: tuple[int, ...] = ()  # of the axes while slices were shown
        viewer.dims.events.ndisplay.connect(self._dimensions_changed)

    def close(self) -> None:
        """Disconnect from the viewer."""
        self._viewer.dims.events.ndisplay.disconnect(self._dimensions_changed)

    def show(self, layer: Any) -> None:
        """Show a Labels layer in 3-D. Images would cover it and are hidden."""
        self._order = self._viewer.dims.order
        self._hidden_images = show_labels_in_3d(self._viewer, layer)

    def show_slices(self) -> None:
        """Show slices again."""
        self._viewer.dims.ndisplay = 2

    def _dimensions_changed(self, event: Any = None) -> None:
        in_3d = self._viewer.dims.ndisplay == 3
        self._view.show_in_3d(in_3d)
        if in_3d:
            return
        for image in self._hidden_images:
            image.visible = True
        self._hidden_images = []
        if len(self._order) == self._viewer.dims.ndim:
            self._viewer.dims.order = self._order
        self._order = ()
