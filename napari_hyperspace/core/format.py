"""Formatting and parsing of spacings, bytes and seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple

__all__ = [
    "format_bytes",
    "format_range",
    "format_seconds",
    "format_spacing",
    "parse_spacing",
]

_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def format_seconds(seconds: float) -> str:
    """Format a duration with about two figures: "3.1 ms", "2.4 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 1e-3:
        return f"{seconds * 1e3:.2f} ms"
    if seconds < 0.995:
        return f"{_two_figures(seconds * 1e3)} ms"
    if seconds < 99.5:
        return f"{_two_figures(seconds)} s"
    if not math.isfinite(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_bytes(n_bytes: float) -> str:
    """Format an amount of memory, in decimal units: "310 MB", "1.2 GB"."""
    for unit, step in _UNITS:
        if n_bytes >= step * 0.9995:
            return f"{_two_figures(n_bytes / step)} {unit}"
    return f"{n_bytes:.0f} B"


def format_spacing(
    spacing_mm: Sequence[float], *, collapse: bool = False, unit: bool = True, digits: int = 4
) -> str:
    """Format a spacing: "3 × 1 × 1 mm".

    Parameters
    ----------
    spacing_mm
        One number per axis.
    collapse
        Write "1 mm" if all axes have the same spacing.
    unit
        Whether to include the unit.
    digits
        Number of significant digits.
    """
    steps = [_significant(step, digits) for step in spacing_mm]
    text = steps[0] if collapse and len(set(steps)) == 1 else " × ".join(steps)
    return f"{text} mm" if unit else text


def format_range(ranges_mm: Sequence[tuple[float, float]], *, collapse: bool = False) -> str:
    """Format a range of spacings per axis: "0.8–4 × 0.8–4 × 0.8–2 mm".

    Parameters
    ----------
    ranges_mm
        Smallest and largest spacing of each axis.
    collapse
        Write "0.8–4 mm" if all axes have the same range.
    """
    parts = [f"{_significant(low)}–{_significant(high)}" for low, high in ranges_mm]
    return f"{parts[0] if collapse and len(set(parts)) == 1 else ' × '.join(parts)} mm"


def parse_spacing(text: str) -> Triple:
    """Parse a spacing in mm: one number for all axes, or three with commas, such as "1,1,3".

    Raises
    ------
    HyperspaceError
        If it is anything else, or a number is not positive and finite.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(0 < number < math.inf for number in numbers):
        raise HyperspaceError(
            "not a spacing in mm", found=repr(text), expected="one number, or three such as 1,1,3"
        )
    z, y, x = numbers * (3 // len(numbers))
    return z, y, x


def _significant(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def _two_figures(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
