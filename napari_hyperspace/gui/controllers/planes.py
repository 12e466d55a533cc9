"""The user switches between the single view and three planes. Main thread only."""

from __future__ import annotations

from typing import Any

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.orientation import AxisNames
from napari_hyperspace.gui.adapters.planes import ThreePlanes
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.models.view import View


class PlanesController:
    """Shows the scan in three planes, and names the sliders after the directions of the body.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    layers
        The scan is the layer of the first channel.
    """

    opening = Signal()
    """Three planes will be shown now; what the viewer shows meanwhile is shown again afterwards."""
    changed = Signal(object)
    """The three planes, a `ThreePlanes`; `None`: the single view is shown."""

    def __init__(self, viewer: Any, view: View, layers: InputLayers) -> None:
        self._viewer = viewer
        self._view = view
        self._layers = layers
        self._names = AxisNames(viewer)
        self._planes: ThreePlanes | None = None
        self._scan: Any = None
        layers.changed.connect(self._scan_changed)

    def close(self) -> None:
        """Show the single view, and disconnect from the viewer."""
        self._layers.changed.disconnect(self._scan_changed)
        self.show(False)
        self._names.close()

    @property
    def shown(self) -> bool:
        """Whether three planes are shown."""
        return self._planes is not None

    def show(self, wanted: bool) -> None:
        """Show three planes, or the single view as it was before."""
        if not wanted:
            planes, self._planes = self._planes, None
            if planes is not None:
                self.changed.emit(None)  # before the views are emptied
                planes.close()
        elif self._planes is None:
            self._open()

    def _open(self) -> None:
        if not hasattr(self._viewer, "canvas"):
            self._refuse("Three planes need napari 0.9 or newer.")
        elif not self._layers.layers:
            self._refuse("There is no scan to show. Open one first.")
        else:
            self._scan = self._layers.layers[0]
            self.opening.emit()
            try:
                self._planes = ThreePlanes(self._viewer, self._scan, later)
            except HyperspaceError as error:
                self._refuse(str(error))
            else:
                self.changed.emit(self._planes)

    def _refuse(self, why: str) -> None:
        self._view.show_message(why, "warning")
        self.changed.emit(None)

    def _scan_changed(self, another: bool) -> None:
        """Follow the scan: other directions, or another scan."""
        scan = self._layers.layers[0] if self._layers.layers else None
        self._names.show(scan)
        if self._planes is not None:
            later(self._reopen)

    def _reopen(self) -> None:
        if self._planes is not None:
            self.show(False)
            if self._layers.layers:
                self.show(True)
