"""Working spacings: the one to start with, those of the curve and of the coarse preview."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_hyperspace.core.format import format_range
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range, clamp_spacing, in_range
from napari_hyperspace.gui.models.choices import Outside
from napari_hyperspace.gui.models.scales import Scale

AXES = ("z", "y", "x")
DIRECTIONS = ("head to foot", "front to back", "right to left")
"""Where each axis of the canonical order points."""
LIMITS_MM = (0.05, 50.0)
"""Smallest and largest spacing that can be typed; the sliders show a smaller range."""

_CURVE_POINTS = 40
_ANISOTROPIC = 1.1  # ratio of spacings above which one slider cannot set all three axes


def is_nearly_isotropic(spacing_mm: Triple) -> bool:
    """Whether one slider can set a spacing: no axis differs from another by more than 10 %."""
    return max(spacing_mm) <= min(spacing_mm) * _ANISOTROPIC


def first_spacing(trained: Sequence[Range] | None, native: Triple) -> Triple:
    """Return the spacing to start with: the scan's own, clamped to the trained range.

    A nearly isotropic spacing is made isotropic: its median on all axes.
    """
    spacing = clamp_spacing(native, trained)
    if is_nearly_isotropic(spacing):
        median = sorted(spacing)[1]
        return median, median, median
    return spacing


def mean_spacing(spacing_mm: Sequence[float]) -> float:
    """Return the geometric mean: the isotropic spacing with the same number of voxels."""
    return math.prod(spacing_mm) ** (1 / len(spacing_mm))


def curve_spacings(scale: Scale, spacing_mm: Triple) -> list[Triple]:
    """Return spacings over the whole scale, all with the proportions of a given spacing.

    Their geometric means are evenly spaced on the logarithmic axis. The given spacing is not one
    of them, but lies on the same curve.
    """
    mean = mean_spacing(spacing_mm)
    steps = (scale.spacing(i / (_CURVE_POINTS - 1)) for i in range(_CURVE_POINTS))
    z, y, x = spacing_mm
    return [(z * step / mean, y * step / mean, x * step / mean) for step in steps]


def coarse_preview_spacing(spacing_mm: Triple, trained: Sequence[Range] | None) -> Triple:
    """Return twice a spacing, but per axis no coarser than the trained range.

    An axis that is coarser than its trained range already stays as it is.
    """
    coarse = [2 * step for step in spacing_mm]
    for axis, (_, high) in enumerate(trained or (), start=3 - len(trained or ())):
        coarse[axis] = max(min(coarse[axis], high), spacing_mm[axis])
    z, y, x = coarse
    return z, y, x


def spacing_notes(
    spacing_mm: Triple,
    native: Triple,
    trained: Sequence[Range] | None,
    outside: Outside = "extrapolate",
) -> tuple[str, ...]:
    """Return what the user should know about a working spacing before a run.

    Parameters
    ----------
    spacing_mm, native
        The working spacing and the scan's own, in canonical order (z, y, x).
    trained
        The model's trained range, as for `make_scales`.
    outside
        What a run does outside the trained range.
    """
    notes = []
    untrained = [
        AXES[axis]
        for axis, each in enumerate(trained or (), start=3 - len(trained or ()))
        if not in_range(spacing_mm[axis], each)
    ]
    if trained and untrained:
        axes = "" if len(untrained) == len(trained) else _along(untrained)
        action = "extrapolated" if outside == "extrapolate" else "the nearest trained one is used"
        notes.append(f"Outside the trained {format_range(trained, collapse=True)}{axes}: {action}.")
    coarser = [a for a, s, n in zip(AXES, spacing_mm, native, strict=True) if s > 2 * n]
    finer = [a for a, s, n in zip(AXES, spacing_mm, native, strict=True) if s < n / 1.5]
    if coarser:
        notes.append(f"Coarser than two voxels{_along(coarser)}: small structures may be missed.")
    if finer:
        notes.append(f"Finer than the scan{_along(finer)}: slower, no more detail.")
    return tuple(notes)


def _along(axes: Sequence[str]) -> str:
    return "" if len(axes) == len(AXES) else f" along {', '.join(axes)}"
