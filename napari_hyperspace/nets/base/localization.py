"""How a model wants what it segments to be localized first."""

from __future__ import annotations

from dataclasses import dataclass

from napari_hyperspace.core.geometry import Triple


@dataclass(frozen=True)
class Localization:
    """How a model wants what it segments to be found. Axis order: canonical (z, y, x).

    Parameters
    ----------
    spacing_mm
        Spacing of the first pass, along each axis that is not segmented coarser anyway.
    margin_mm
        What is kept around the box of what was found.
    extent_mm
        Usual size of that box, margin included, to estimate with before anything was found.
    """

    spacing_mm: float
    margin_mm: float
    extent_mm: Triple
