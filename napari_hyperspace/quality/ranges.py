"""The figures of many label maps as ranges that a further one should be in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.quality import StructureRanges
from napari_hyperspace.quality.figures import StructureFigures

__all__ = ["ranges_of", "short", "widened"]

_DIGITS = 4  # of the numbers in a card
_SPREADS = 4.0  # standard deviations on either side of the mean, for many cases
_FEW = 8.0  # further ones, divided by the number of cases: a few do not show how much varies
_BEYOND = 1.0  # least standard deviations by which results may exceed known good ones
_LEAST_LOG = 0.1  # least standard deviation of the logarithm of a volume or length
_LEAST_MM = 2.0  # and of a position
_LEAST_SHARE = 0.05  # and of a share


_Figures = Mapping[str, StructureFigures]


def ranges_of(
    cases: Sequence[_Figures], predicted: Sequence[_Figures] = (), *, any_contrast: bool = False
) -> dict[str, StructureRanges]:
    """Return the ranges of the structures of label maps.

    The range of a figure is that of the cases, and at least the mean ± 4 standard deviations (more
    for a few cases), of the logarithm for volumes and lengths. Structures that are cut off by the
    edge of a scan count only if all are.

    Parameters
    ----------
    cases
        Figures of each label map.
    predicted
        Figures of good results; the ranges contain them, and little beyond.
    any_contrast
        Whether brightness means nothing.
    """
    ranges = _ranges(cases, any_contrast)
    further = _ranges(predicted, any_contrast, _BEYOND)
    return {
        name: _united(one, further[name]) if name in further else one
        for name, one in ranges.items()
    }


def _ranges(
    cases: Sequence[_Figures], any_contrast: bool, beyond: float | None = None
) -> dict[str, StructureRanges]:
    ranges = {}
    for name in dict.fromkeys(name for case in cases for name in case):
        found = [case[name] for case in cases if name in case]
        whole = [one for one in found if not one.is_cut] or found
        light = [one.brightness for one in found if not math.isnan(one.brightness)]
        volume = widened([one.volume_ml for one in whole], logarithmic=True, beyond=beyond)
        lengths = [_on_axis(whole, axis, "extent", beyond) for axis in range(3)]
        places = [_on_axis(whole, axis, "center", beyond) for axis in range(3)]
        shares = [one.main_share for one in whole]
        share = widened(shares, least=_LEAST_SHARE, beyond=beyond)[0]
        ranges[name] = StructureRanges(
            volume_ml=volume,
            extent_mm=(lengths[0], lengths[1], lengths[2]),
            center_mm=(places[0], places[1], places[2]),
            # Predictions have small false parts, which say little about the rest.
            main_share=short(min(max(share, 0.0), 0.8)),
            brightness=None if any_contrast or not light else _shares(light, beyond),
            always=len(found) == len(cases),
        )
    return ranges


def _united(first: StructureRanges, second: StructureRanges) -> StructureRanges:
    """Return ranges that contain two others; the second one's presence does not count."""
    axes = {}
    for name in ("extent_mm", "center_mm"):
        one, other = getattr(first, name), getattr(second, name)
        axes[name] = tuple(_hull(a, b) for a, b in zip(one, other, strict=True))
    bright = first.brightness and second.brightness and _hull(first.brightness, second.brightness)
    return first.model_copy(
        update={
            **axes,
            "volume_ml": _hull(first.volume_ml, second.volume_ml),
            "main_share": min(first.main_share, second.main_share),
            "brightness": bright,
        }
    )


def _hull(first: Range, second: Range) -> Range:
    return min(first[0], second[0]), max(first[1], second[1])


def _on_axis(
    found: Iterable[StructureFigures], axis: int, what: str, beyond: float | None
) -> Range:
    if what == "extent":
        return widened([one.extent_mm[axis] for one in found], logarithmic=True, beyond=beyond)
    return widened([one.center_mm[axis] for one in found], least=_LEAST_MM, beyond=beyond)


def _shares(values: Sequence[float], beyond: float | None) -> Range:
    low, high = widened(values, least=_LEAST_SHARE, beyond=beyond)
    return max(0.0, low), min(1.0, high)


def widened(
    values: Sequence[float],
    *,
    least: float = _LEAST_LOG,
    logarithmic: bool = False,
    beyond: float | None = None,
) -> Range:
    """Return the range in which further values should be.

    Parameters
    ----------
    values
        Known values, at least one.
    least
        Least standard deviation.
    logarithmic
        Whether values are positive, and their logarithms vary.
    beyond
        Only go beyond the known values by this number of least standard deviations.
    """
    known = np.array(values, np.float64)
    if logarithmic:
        known = np.log(known)
    reach = (_SPREADS + _FEW / len(known)) * max(float(known.std()), least)
    low = min(float(known.min()), float(known.mean()) - reach)
    high = max(float(known.max()), float(known.mean()) + reach)
    if beyond is not None:
        low, high = float(known.min()) - beyond * least, float(known.max()) + beyond * least
    if logarithmic:
        low, high = math.exp(low), math.exp(high)
    return short(low, down=True), short(high, down=False)


def short(value: float, *, down: bool = True) -> float:
    """Return a number of few digits, not above the given one; or not below it."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    rounded = math.floor(value / unit) if down else math.ceil(value / unit)
    return float(f"{rounded * unit:.{_DIGITS}g}")
