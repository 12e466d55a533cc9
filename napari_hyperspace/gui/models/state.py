"""What the user has chosen and what follows from it: no Qt, no napari, no layers.

`Choices` is the only thing here that changes; it says so through psygnal. Everything else is frozen
and made by small pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from psygnal import SignalGroupDescriptor

from napari_hyperspace.core.geometry import Grid, Shape, Triple

Outside = Literal["extrapolate", "clamp"]
Range = tuple[float, float]
AXES = ("z", "y", "x")

LIMITS_MM = (0.05, 50.0)  # what can be typed; the sliders draw less
_USUAL_MM = (0.5, 6.0)  # drawn where neither model nor scan says more
_CURVE_POINTS = 40
_ANISOTROPIC = 1.1  # ratio of spacings from which one slider can't stand for three
_SAME = 1e-3  # relative; a header's 0.79999 mm is 0.8 mm
_SMALLEST_BLOCK = 12  # voxels of the working grid along an axis of a preview


@dataclass
class Choices:
    """What the user has set in the dock widget.

    Parameters
    ----------
    model, device
        Keys of the choosers: a bundled name or a path; ``"cpu"``, ``"cuda:0"``, …, or empty for
        whatever is best.
    spacing_mm
        Working spacing in canonical order (z, y, x).
    locked
        Whether one slider moves all three axes.
    live, preview_ms
        Whether to preview, and how long a preview may take.
    rest_ms
        How long the slider must rest before the preview is refined.
    outside
        What to do outside of the trained range.
    largest_component, fill_holes_mm3
        What to do to the labels of a run; see `napari_hyperspace.postprocess`.
    """

    model: str = ""
    device: str = ""
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    locked: bool = True
    live: bool = False
    preview_ms: int = 300
    rest_ms: int = 150
    outside: Outside = "extrapolate"
    largest_component: bool = False
    fill_holes_mm3: float = 0.0
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()


@dataclass(frozen=True)
class Scale:
    """The logarithmic scale of a spacing slider.

    Parameters
    ----------
    low, high
        Its ends in mm.
    trained
        The trained range in mm, if known.
    native
        The scan's own spacing along the axis, or all three, to mark.
    """

    low: float = _USUAL_MM[0]
    high: float = _USUAL_MM[1]
    trained: Range | None = None
    native: tuple[float, ...] = ()

    def fraction(self, spacing_mm: float) -> float:
        """Place a spacing on the scale: 0 at its low end, 1 at its high end."""
        return math.log(spacing_mm / self.low) / math.log(self.high / self.low)

    def spacing(self, fraction: float) -> float:
        """Return the spacing in mm at a place on the scale."""
        return self.low * (self.high / self.low) ** fraction

    def reaching(self, spacing_mm: float) -> Scale:
        """Return a scale that shows this spacing too."""
        low, high = min(self.low, spacing_mm), max(self.high, spacing_mm)
        return Scale(low, high, self.trained, self.native)

    def is_trained(self, spacing_mm: float) -> bool:
        """Whether a spacing lies in the trained range; true where that is not known."""
        if self.trained is None:
            return True
        low, high = self.trained
        return low * (1 - _SAME) <= spacing_mm <= high * (1 + _SAME)


@dataclass(frozen=True)
class Scales:
    """The scales of the sliders: of all axes together, and of each (z, y, x)."""

    together: Scale
    each: tuple[Scale, Scale, Scale]


def make_scales(trained: Sequence[Range] | None, native: Triple | None) -> Scales:
    """Draw the scales so that they show trained, untrained and native spacings.

    Parameters
    ----------
    trained
        Of the model, canonical order; (y, x) for a 2-D model; `None` if unknown.
    native
        Of the scan, canonical order.
    """
    ranges: list[Range | None] = [None] * (3 - len(trained or ())) + list(trained or ())
    marks = [(value,) for value in native] if native else [()] * 3
    z, y, x = (_scale(one, mark) for one, mark in zip(ranges, marks, strict=True))
    known = [one for one in ranges if one is not None]
    # What all axes share: a 2-D model leaves z to the scan.
    shared = (max(low for low, _ in known), min(high for _, high in known)) if known else None
    if shared and shared[0] > shared[1]:
        shared = None
    return Scales(_scale(shared, _distinct(native or ())), (z, y, x))


def _scale(trained: Range | None, native: tuple[float, ...]) -> Scale:
    low, high = (trained[0] / 2, trained[1] * 2) if trained else _USUAL_MM
    for value in native:
        low, high = min(low, value / 1.1), max(high, value * 1.1)
    return Scale(low, high, trained, native)


def _distinct(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted({float(f"{value:.3g}") for value in values}))


def is_isotropic(spacing_mm: Triple) -> bool:
    """Whether one number can stand for a spacing."""
    return max(spacing_mm) <= min(spacing_mm) * _ANISOTROPIC


def first_spacing(trained: Sequence[Range] | None, native: Triple) -> Triple:
    """Return the spacing to begin with: the scan's own, brought into the trained range."""
    spacing = list(native)
    for axis, (low, high) in enumerate(trained or (), start=3 - len(trained or ())):
        spacing[axis] = min(max(spacing[axis], low), high)
    z, y, x = spacing
    if is_isotropic((z, y, x)):
        z = y = x = sorted(spacing)[1]
    return z, y, x


def mean_spacing(spacing_mm: Sequence[float]) -> float:
    """Geometric mean: the isotropic spacing of equally many voxels."""
    return math.prod(spacing_mm) ** (1 / len(spacing_mm))


def curve_spacings(scale: Scale, spacing_mm: Triple) -> list[Triple]:
    """Return spacings that run over the whole scale in the proportions of the current one.

    Their geometric means are spaced evenly on the logarithmic axis; the current one is none of
    them but lies on the same curve.
    """
    mean = mean_spacing(spacing_mm)
    steps = (scale.spacing(i / (_CURVE_POINTS - 1)) for i in range(_CURVE_POINTS))
    z, y, x = spacing_mm
    return [(z * step / mean, y * step / mean, x * step / mean) for step in steps]


def advice(
    spacing_mm: Triple,
    native: Triple,
    trained: Sequence[Range] | None,
    outside: Outside = "extrapolate",
) -> tuple[str, ...]:
    """Say what the user should know of a working spacing before running at it."""
    notes = []
    first = 3 - len(trained or ())
    beyond = [
        AXES[axis]
        for axis, (low, high) in enumerate(trained or (), start=first)
        if not Scale(trained=(low, high)).is_trained(spacing_mm[axis])
    ]
    if beyond:
        ranges = sorted({(f"{low:g}–{high:g}") for low, high in trained or ()})
        axes = "" if len(beyond) == len(trained or ()) else _along(beyond)
        done = "extrapolated" if outside == "extrapolate" else "the nearest trained one is used"
        notes.append(f"Outside the trained {' × '.join(ranges)} mm{axes}: {done}.")
    coarser = [a for a, s, n in zip(AXES, spacing_mm, native, strict=True) if s > 2 * n]
    finer = [a for a, s, n in zip(AXES, spacing_mm, native, strict=True) if s < n / 1.5]
    if coarser:
        notes.append(f"Coarser than two voxels{_along(coarser)}: small structures may be missed.")
    if finer:
        notes.append(f"Finer than the scan{_along(finer)}: slower, no more detail.")
    return tuple(notes)


def _along(axes: Sequence[str]) -> str:
    return "" if len(axes) == len(AXES) else f" along {', '.join(axes)}"


def coarse_spacing(spacing_mm: Triple, trained: Sequence[Range] | None) -> Triple:
    """Return twice the spacing for a first look, no further than the trained range reaches."""
    coarse = [2 * step for step in spacing_mm]
    for axis, (_, high) in enumerate(trained or (), start=3 - len(trained or ())):
        coarse[axis] = max(min(coarse[axis], high), spacing_mm[axis])
    z, y, x = coarse
    return z, y, x


@dataclass(frozen=True)
class PreviewBlock:
    """A block of voxels: its first voxel and its shape."""

    start: Shape
    shape: Shape

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the block's voxels in the whole array."""
        a, b, c = (slice(i, i + n) for i, n in zip(self.start, self.shape, strict=True))
        return a, b, c


def block_around(grid: Grid, center: Sequence[float], side_mm: float) -> PreviewBlock:
    """Return the block of a grid around a voxel, shifted inwards where it would stick out.

    Parameters
    ----------
    center
        Fractional array index.
    side_mm
        Length of each side; less where the grid is smaller.
    """
    starts, sizes = [], []
    for n, step, middle in zip(grid.shape, grid.spacing_mm, center, strict=True):
        size = min(n, max(1, round(side_mm / step)))
        starts.append(min(max(round(middle - (size - 1) / 2), 0), n - size))
        sizes.append(size)
    return PreviewBlock((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))


def block_within(
    grid: Grid,
    center: Sequence[float],
    spacing_mm: Triple,
    budget_s: float,
    seconds: Callable[[Grid], float],
) -> PreviewBlock:
    """Return the largest block around a voxel that is done within a time.

    Parameters
    ----------
    grid
        Of the whole scan.
    center
        Fractional array index.
    spacing_mm
        The working spacing, which bounds the block from below: a network needs some voxels to see.
    budget_s
        The time.
    seconds
        Predicts the time that a grid takes.
    """
    low = math.log(_SMALLEST_BLOCK * max(spacing_mm))
    high = max(math.log(max(grid.field_of_view_mm)), low)
    if seconds(grid) <= budget_s:
        return PreviewBlock((0, 0, 0), grid.shape)
    best = block_around(grid, center, math.exp(low))
    for _ in range(6):
        middle = (low + high) / 2
        block = block_around(grid, center, math.exp(middle))
        if seconds(grid.crop(block.start, block.shape)) <= budget_s:
            low, best = middle, block
        else:
            high = middle
    return best
