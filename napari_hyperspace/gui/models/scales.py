"""The logarithmic scales of the spacing sliders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range, in_range

_DEFAULT_RANGE_MM = (0.5, 6.0)  # shown if neither a model nor a scan is known
_NATIVE_MARGIN = 1.1  # factor between a native spacing and the end of the scale


@dataclass(frozen=True)
class Scale:
    """The logarithmic scale of one spacing slider.

    Parameters
    ----------
    low, high
        Its ends in mm.
    trained
        The trained range in mm, if known.
    native
        The native spacings to mark, in mm: of one axis, or the distinct ones of all axes.
    """

    low: float = _DEFAULT_RANGE_MM[0]
    high: float = _DEFAULT_RANGE_MM[1]
    trained: Range | None = None
    native: tuple[float, ...] = ()

    def fraction(self, spacing_mm: float) -> float:
        """Return the position of a spacing on the scale: 0 at the low end, 1 at the high end."""
        return math.log(spacing_mm / self.low) / math.log(self.high / self.low)

    def spacing(self, fraction: float) -> float:
        """Return the spacing in mm at a position on the scale."""
        return self.low * math.pow(self.high / self.low, fraction)

    def reaching(self, spacing_mm: float) -> Scale:
        """Return this scale, extended to include a spacing if necessary."""
        low, high = min(self.low, spacing_mm), max(self.high, spacing_mm)
        return Scale(low, high, self.trained, self.native)

    def is_trained(self, spacing_mm: float) -> bool:
        """Whether a spacing lies in the trained range; true if that is unknown."""
        return self.trained is None or in_range(spacing_mm, self.trained)


@dataclass(frozen=True)
class Scales:
    """The scales of the sliders: one for all axes together, and one per axis (z, y, x)."""

    together: Scale
    each: tuple[Scale, Scale, Scale]


def make_scales(trained: Sequence[Range] | None, native: Triple | None) -> Scales:
    """Make scales that include trained, untrained and native spacings.

    Parameters
    ----------
    trained
        The model's trained range in canonical order; (y, x) for a 2-D model; `None` if unknown.
    native
        The scan's spacing in canonical order.
    """
    ranges: list[Range | None] = [None] * (3 - len(trained or ())) + list(trained or ())
    marks = [(value,) for value in native] if native else [()] * 3
    z, y, x = (_scale(one, mark) for one, mark in zip(ranges, marks, strict=True))
    known = [one for one in ranges if one is not None]
    # The intersection of the ranges; a 2-D model has none along z.
    shared = (max(low for low, _ in known), min(high for _, high in known)) if known else None
    if shared and shared[0] > shared[1]:
        shared = None
    return Scales(_scale(shared, _distinct(native or ())), (z, y, x))


def _scale(trained: Range | None, native: tuple[float, ...]) -> Scale:
    low, high = (trained[0] / 2, trained[1] * 2) if trained else _DEFAULT_RANGE_MM
    for value in native:
        low, high = min(low, value / _NATIVE_MARGIN), max(high, value * _NATIVE_MARGIN)
    return Scale(low, high, trained, native)


def _distinct(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted({float(f"{value:.3g}") for value in values}))
