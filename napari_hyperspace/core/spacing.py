"""Ranges of spacings, and the limits of plausible spacings and grids."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Triple

__all__ = [
    "MAX_FIELD_OF_VIEW_MM",
    "MAX_VOXELS",
    "PLAUSIBLE_SPACING_MM",
    "SPACING_TOLERANCE",
    "Range",
    "check_plausible_grid",
    "check_plausible_spacing",
    "check_plausible_working_grid",
    "clamp_spacing",
    "in_range",
    "in_ranges",
]

Range = tuple[float, float]

PLAUSIBLE_SPACING_MM: Range = (1e-6, 1e3)
"""Voxel spacings that a scanner or microscope makes: from 1 nm, as in electron microscopy."""

MAX_FIELD_OF_VIEW_MM = 1e5
"""Longest plausible side of a scan."""

MAX_VOXELS = 1 << 40
"""Most voxels of a plausible grid."""

_INSIST = "or insist with the option allow_implausible (--allow-implausible)"

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


def check_plausible_spacing(spacing_mm: Sequence[float], *, where: str | None = None) -> None:
    """Check that a working spacing is in `PLAUSIBLE_SPACING_MM` on each axis.

    Raises
    ------
    HyperspaceError
        If it is not; ``where`` is that of the error.
    """
    if not all(in_range(step, PLAUSIBLE_SPACING_MM) for step in spacing_mm):
        raise HyperspaceError(
            "the working spacing is implausible",
            where=where,
            field="spacing_mm",
            found=_in_mm(spacing_mm),
            expected=_between(PLAUSIBLE_SPACING_MM),
            fix=f"Choose another spacing, {_INSIST}",
        )


def check_plausible_grid(grid: Grid) -> None:
    """Check that a scanner could have made a scan with this grid.

    Raises
    ------
    HyperspaceError
        If its spacing, its field of view or its number of voxels is outside the limits.
    """
    fix = f"Correct the geometry of the scan, {_INSIST}"
    if not all(in_range(step, PLAUSIBLE_SPACING_MM) for step in grid.spacing_mm):
        raise HyperspaceError(
            "the voxel spacing of the scan is implausible",
            field="spacing_mm",
            found=_in_mm(grid.spacing_mm),
            expected=_between(PLAUSIBLE_SPACING_MM),
            fix=fix,
        )
    if max(grid.field_of_view_mm) > MAX_FIELD_OF_VIEW_MM * (1 + SPACING_TOLERANCE):
        raise HyperspaceError(
            "the field of view of the scan is implausible",
            field="field of view",
            found=_in_mm(grid.field_of_view_mm),
            expected=f"at most {MAX_FIELD_OF_VIEW_MM:g} mm",
            fix=fix,
        )
    _check_voxels("the scan has an implausible number of voxels", grid, fix)


def check_plausible_working_grid(native: Grid, working: Grid) -> None:
    """Check the size of a working grid against the scan's grid, both in canonical order.

    Raises
    ------
    HyperspaceError
        If it has too many voxels, or is one voxel that lies mostly outside the scan.
    """
    _check_voxels(
        "the working grid has an implausible number of voxels",
        working,
        f"Choose a coarser spacing, {_INSIST}",
    )
    sides = zip(native.field_of_view_mm, working.spacing_mm, strict=True)
    if all(2 * extent < step for extent, step in sides):
        raise HyperspaceError(
            "the scan is smaller than half a voxel of the working grid",
            field="spacing_mm",
            found=f"a field of view of {_in_mm(native.field_of_view_mm)} "
            f"at {_in_mm(working.spacing_mm)}",
            fix=f"Choose a finer spacing, correct the geometry of the scan, {_INSIST}",
        )


def _check_voxels(problem: str, grid: Grid, fix: str) -> None:
    if math.prod(grid.shape) > MAX_VOXELS:
        raise HyperspaceError(
            problem,
            field="shape",
            found=" × ".join(map(str, grid.shape)),
            expected=f"at most {MAX_VOXELS:.2g} voxels",
            fix=fix,
        )


def _in_mm(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.4g}" for value in values) + " mm"


def _between(limits: Range) -> str:
    return f"{limits[0]:g} to {limits[1]:g} mm per axis"
