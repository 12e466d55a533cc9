"""Corrections of the spacing of a scan whose file states none or a wrong one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.layers import UNITS, take

if TYPE_CHECKING:
    from napari.layers import Layer

CORRECTION_KEY = "hyperspace_correction"
"""Key of a layer's metadata: what it had before the first correction; see `Uncorrected`."""


class Uncorrected(NamedTuple):
    """The placement of a layer before its spacing was corrected."""

    spacing_mm: Triple
    scale: tuple[float, ...]
    units: tuple[str, ...]


def correct_spacing(layer: Layer, spacing_mm: Triple, shown_mm: Triple | None = None) -> None:
    """Give a 3-D image layer another spacing (z, y, x); its axis directions and affine stay.

    Parameters
    ----------
    layer
        The layer. If its units are no lengths, they become mm.
    spacing_mm
        The new spacing.
    shown_mm
        The spacing that the user was shown: axes on which it is the new one are not changed, so
        that they stay bit-identical. By default, that of the layer.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    before = _placed(layer)
    stated = uncorrected(layer)
    if stated is not None and spacing_mm == stated.spacing_mm:
        layer.metadata = {k: v for k, v in layer.metadata.items() if k != CORRECTION_KEY}
        layer.units, layer.scale = stated.units, stated.scale
        return
    if take(layer).placement.note:  # its units are no lengths
        layer.units = UNITS
    shown = before.spacing_mm if shown_mm is None else shown_mm
    present = take(layer).placement.layer_grid.spacing_mm
    scale = [
        before_step if new == old else _rescaled(before_step, own, new)
        for before_step, own, old, new in zip(
            layer.scale.tolist(), present, shown, spacing_mm, strict=True
        )
    ]
    if scale != layer.scale.tolist():
        layer.metadata = {CORRECTION_KEY: before, **layer.metadata}
        layer.scale = scale


def uncorrected(layer: Layer) -> Uncorrected | None:
    """Return the placement of a layer before its correction; `None` if it was not corrected."""
    return cast("Uncorrected | None", layer.metadata.get(CORRECTION_KEY))


def _rescaled(scale: float, present_mm: float, spacing_mm: float) -> float:
    """Return the scale of an axis at another spacing. It may be negative."""
    if abs(scale) == present_mm:  # the new spacing is then set bit for bit
        return math.copysign(spacing_mm, scale)
    return scale * (spacing_mm / present_mm)  # the affine of the layer scales too


def _placed(layer: Layer) -> Uncorrected:
    spacing = take(layer).placement.layer_grid.spacing_mm
    scale = tuple(float(step) for step in layer.scale)
    return Uncorrected(spacing, scale, tuple(str(unit) for unit in layer.units))
