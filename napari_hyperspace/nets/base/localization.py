"""The parameters of localization: a coarse first pass that finds what is to be segmented."""

from __future__ import annotations

from dataclasses import dataclass

from napari_hyperspace.core.geometry import Triple


@dataclass(frozen=True)
class Localization:
    """Parameters of a coarse first pass. Axis order: canonical (z, y, x).

    Parameters
    ----------
    spacing_mm
        Spacing of the first pass; along an axis that is segmented at a coarser spacing, that one.
    margin_mm
        Margin kept around the bounding box of what was found.
    extent_mm
        Typical size of that box, margin included; estimates use it before the first pass has run.
    plausible_ml
        Smallest and largest plausible volume of what is found; `None`: nothing is checked.
    from_top_mm
        If what was found is implausible, it is looked for again in this height below the top of the
        body part; `None`: it is not.
    """

    spacing_mm: float
    margin_mm: float
    extent_mm: Triple
    plausible_ml: tuple[float, float] | None = None
    from_top_mm: float | None = None
