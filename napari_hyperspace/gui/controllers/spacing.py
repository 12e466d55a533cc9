"""The user chooses the working spacing."""

from __future__ import annotations

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.scales import make_scales
from napari_hyperspace.gui.models.spacings import first_spacing, is_nearly_isotropic
from napari_hyperspace.gui.models.view import View


class SpacingController:
    """Keeps the working spacing valid for the scan and the model.

    All spacings are in canonical order (z, y, x).

    Parameters
    ----------
    view
        Shows the sliders.
    choices
        Hold the spacing.
    layers
        Give the native spacing.
    models
        Give the trained range.
    """

    def __init__(
        self, view: View, choices: Choices, layers: InputLayers, models: ModelController
    ) -> None:
        self._view = view
        self._choices = choices
        self._layers = layers
        self._models = models
        self._requested: Triple | None = None  # by the user, for this scan
        self.scales = make_scales(None, None)

    @property
    def native(self) -> Triple | None:
        """The spacing of the scan, if there is one."""
        source = self._layers.first()
        return None if source is None else source.placement.grid.canonical().spacing_mm

    def set_spacing(self, spacing_mm: Triple) -> None:
        """Take a spacing that the user has set on the sliders."""
        self._requested = spacing_mm
        self._choices.spacing_mm = self._in_plane(spacing_mm)

    def set_locked(self, locked: bool) -> None:
        """Join the axes, or let the user set each of them; also for later scans."""
        self._choices.locked = self._choices.lock_preferred = locked

    def prefer_lock(self) -> None:
        """Join the axes, or not, as the user prefers it, if the present spacing permits it."""
        choices = self._choices
        choices.locked = choices.lock_preferred and is_nearly_isotropic(choices.spacing_mm)

    def use_native(self) -> None:
        """Set the scan's own spacing, clamped to the trained range."""
        self._requested = None
        self.update()

    def request(self, spacing_mm: Triple) -> None:
        """Set a spacing that was found for the user, and show it."""
        self._requested = spacing_mm
        self.update()

    def refresh(self, *, another_scan: bool = False) -> None:
        """Adapt scales and spacing to the scan and the model.

        What the user has requested is kept for another model, but not for another scan.
        """
        if another_scan:
            self._requested = None
        self.scales = make_scales(self._models.trained_range_mm, self.native)
        self._view.show_scales(self.scales)
        self.update()

    def update(self) -> None:
        """Set and show the requested spacing, or else the native one."""
        native, requested = self.native, self._requested
        if native is None:
            return
        initial = first_spacing(self._models.trained_range_mm, native)
        spacing = self._in_plane(requested or initial)
        kept = self._choices.locked and len(set(spacing)) == 1
        free = self._choices.lock_preferred and is_nearly_isotropic(spacing)
        self._choices.locked = kept if requested else free
        self._choices.spacing_mm = spacing
        self._view.show_choices(self._choices)

    def _in_plane(self, spacing_mm: Triple) -> Triple:
        """Return a spacing with the scan's own along z for a 2-D model, which segments slices."""
        native, model = self.native, self._models.model
        if model is None or model.n_dim == 3 or native is None:
            return spacing_mm
        return (native[0], spacing_mm[1], spacing_mm[2])
