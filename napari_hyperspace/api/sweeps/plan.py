"""Which spacings a sweep segments at, and in which box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import Box
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import grid_of, working_spacing
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["AXES", "MAX_SPACINGS", "SweepPlan", "align_labels", "check_box", "plan_sweep"]

AXES = ("z", "y", "x")
MAX_SPACINGS = 100
_SAME = 1e-6  # relative difference below which two spacings are one


@dataclass(frozen=True)
class SweepPlan:
    """The spacings of a sweep.

    Parameters
    ----------
    spacings_mm
        Canonical order (z, y, x), without duplicates, the coarsest first: in the order of voxel
        volume.
    axis
        The canonical axis that is swept; `None`: several.
    n_dim
        Of the model: a 2-D one sees the last two axes only.
    """

    spacings_mm: tuple[Triple, ...]
    axis: int | None
    n_dim: int

    def position_mm(self, spacing_mm: Triple) -> float:
        """Return where a spacing lies on the axis of a plot; see `SweepPoint`."""
        if self.axis is not None:
            return spacing_mm[self.axis]
        seen = spacing_mm[-self.n_dim :]
        return math.prod(seen) ** (1 / len(seen))


def plan_sweep(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacings: Sequence[float | Sequence[float]] | None = None,
    *,
    range_mm: tuple[float, float] | None = None,
    count: int = 9,
    axis: str | None = None,
    fixed_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
) -> SweepPlan:
    """Determine the spacings of a sweep; see `napari_hyperspace.sweep`.

    Raises
    ------
    HyperspaceError
        If a spacing is refused by the options, or the range, the count or the axis is invalid.
    """
    if (spacings is None) == (range_mm is None):
        raise TypeError("give either spacings or range_mm")
    options = options or InferenceOptions()
    place = _axis(axis, model)
    requested: list[Sequence[float]]
    if spacings is not None:
        requested = [
            [float(one)] * 3 if isinstance(one, (int, float)) else list(one) for one in spacings
        ]
        if not 1 <= len(requested) <= MAX_SPACINGS:
            raise _bad_count(len(requested))
    else:
        assert range_mm is not None
        steps = _log_spaced(range_mm, count)
        own = working_spacing(volume, model, None, "clamp", allow_implausible=True)
        others = own if fixed_mm is None else fixed_mm
        if place is None:
            requested = [[step] * 3 for step in steps]
        else:
            requested = [[*others[:place], step, *others[place + 1 :]] for step in steps]
    if model.n_dim == 2:  # it segments slices: z is the scan's own
        z = grid_of(volume).canonical().spacing_mm[0]
        requested = [[z, *spacing[-2:]] for spacing in requested]
    found: list[Triple] = []
    for wanted in requested:
        spacing = working_spacing(
            volume,
            model,
            wanted,
            options.outside,
            allow_implausible=options.allow_implausible,
        )
        if not any(np.allclose(spacing, other, rtol=_SAME, atol=0) for other in found):
            found.append(spacing)
    found.sort(key=lambda spacing: (math.prod(spacing), spacing), reverse=True)
    return SweepPlan(tuple(found), _swept_axis(found), model.n_dim)


def _axis(axis: str | None, model: SpacingModel) -> int | None:
    if axis is None:
        return None
    allowed = AXES[3 - model.n_dim :]
    if axis not in allowed:
        raise HyperspaceError(
            "this axis cannot be swept",
            where=model.name,
            field="axis",
            found=axis,
            expected=", ".join(allowed),
        )
    return AXES.index(axis)


def _log_spaced(range_mm: tuple[float, float], count: int) -> list[float]:
    low, high = min(range_mm), max(range_mm)
    if not (low > 0 and math.isfinite(high)):
        raise HyperspaceError(
            "the range of a sweep is two positive spacings in mm",
            field="range_mm",
            found=tuple(range_mm),
        )
    if not 1 <= count <= MAX_SPACINGS:
        raise _bad_count(count)
    return [float(step) for step in np.geomspace(low, high, count)]


def _bad_count(count: int) -> HyperspaceError:
    return HyperspaceError(
        "a sweep has one spacing or more",
        field="count",
        found=count,
        expected=f"1 to {MAX_SPACINGS}",
    )


def _swept_axis(spacings_mm: Sequence[Triple]) -> int | None:
    """Return the only axis along which spacings differ; `None` if there is not exactly one."""
    changing = [axis for axis in range(3) if len({spacing[axis] for spacing in spacings_mm}) > 1]
    return changing[0] if len(changing) == 1 else None


def check_box(box: Sequence[slice], shape: Shape) -> Box:
    """Return a box with its bounds filled in.

    Parameters
    ----------
    box
        One slice per array axis, without a step.
    shape
        Of the scan.

    Raises
    ------
    HyperspaceError
        If it is empty, or reaches beyond the scan.
    """
    if len(box) == 3 and all(each.step in (None, 1) for each in box):
        ends = [
            (each.start or 0, n if each.stop is None else each.stop)
            for each, n in zip(box, shape, strict=True)
        ]
        if all(0 <= start < stop <= n for (start, stop), n in zip(ends, shape, strict=True)):
            a, b, c = (slice(start, stop) for start, stop in ends)
            return a, b, c
    raise HyperspaceError(
        "a box is a range of voxels along each array axis of the scan",
        field="box",
        found=", ".join(f"{each.start}:{each.stop}" for each in box),
        expected=", ".join(f"0:{n}" for n in shape) + ", or less",
    )


def align_labels(reference: Volume, grid: Grid) -> Volume:
    """Return reference labels in the array order of a grid.

    Raises
    ------
    HyperspaceError
        If they are on another grid, or are no whole numbers.
    """
    if reference.dtype.kind not in "biu":
        raise HyperspaceError(
            "a label map contains whole numbers",
            where=reference.name or None,
            found=reference.dtype,
            expected="an integer type",
        )
    if not reference.grid.canonical().is_close(grid.canonical()):
        raise HyperspaceError(
            "the reference labels are not on the grid of the scan",
            where=reference.name or None,
            found=f"shape {reference.shape}",
            expected=f"shape {grid.shape}, at the same place",
            fix="Resample them to the scan first",
        )
    canonical = reference.grid.orientation.to_canonical(reference.array)
    array = grid.orientation.from_canonical(canonical)
    return Volume(array, grid, reference.name, reference.metadata)
