"""Ranges of spacings: whether a spacing is inside, and the nearest one that is."""

from __future__ import annotations

from collections.abc import Sequence

from napari_hyperspace.core.geometry import Triple

__all__ = ["SPACING_TOLERANCE", "Range", "clamp_spacing", "in_range", "in_ranges"]

Range = tuple[float, float]

SPACING_TOLERANCE = 1e-3
"""Relative tolerance of every comparison with a range: a header's 0.79999 mm is 0.8 mm."""


def in_range(step_mm: float, range_mm: Range) -> bool:
    """Whether a spacing along one axis is in a range, within `SPACING_TOLERANCE`."""
    low, high = range_mm
    return low * (1 - SPACING_TOLERANCE) <= step_mm <= high * (1 + SPACING_TOLERANCE)


def in_ranges(spacing_mm: Sequence[float], ranges_mm: Sequence[Range] | None) -> bool:
    """Whether a spacing is in the ranges of its last axes; true if no range is known.

    Parameters
    ----------
    spacing_mm
        In canonical order (z, y, x).
    ranges_mm
        Of all axes, or of (y, x) only for a 2-D model.
    """
    if ranges_mm is None:
        return True
    steps = spacing_mm[len(spacing_mm) - len(ranges_mm) :]
    return all(in_range(step, each) for step, each in zip(steps, ranges_mm, strict=True))


def clamp_spacing(spacing_mm: Sequence[float], ranges_mm: Sequence[Range] | None) -> Triple:
    """Return the nearest spacing inside the ranges of the last axes.

    Steps that are in their range within `SPACING_TOLERANCE` are returned unchanged.

    Parameters
    ----------
    spacing_mm, ranges_mm
        As in `in_ranges`.
    """
    first = len(spacing_mm) - len(ranges_mm or ())
    nearest = list(spacing_mm[:first])
    for step, (low, high) in zip(spacing_mm[first:], ranges_mm or (), strict=True):
        inside = in_range(step, (low, high))
        nearest.append(step if inside else min(max(step, low), high))
    z, y, x = nearest
    return z, y, x
