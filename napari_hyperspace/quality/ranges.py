"""The figures of many label maps as ranges that a further one should be in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.quality import StructureRanges
from napari_hyperspace.quality.figures import StructureFigures

__all__ = ["MOST_DIGITS", "ranges_of", "widened"]

MOST_DIGITS = 4  # of the numbers in a card
_SPREADS = 4.0  # standard deviations on either side of the mean, for many cases
_FEW = 8.0  # further ones, divided by the number of cases: a few do not show how much varies
_LEAST_LOG = 0.1  # least standard deviation of the logarithm of a volume or length
_LEAST_MM = 2.0  # and of a position
_LEAST_SHARE = 0.05  # and of a share


def ranges_of(
    cases: Sequence[Mapping[str, StructureFigures]], *, any_contrast: bool = False
) -> dict[str, StructureRanges]:
    """Return the ranges of the structures of label maps.

    The range of a figure is that of the cases, and at least the mean ± 4 standard deviations (more
    for a few cases), of the logarithm for volumes and lengths. Structures that are cut off by the
    edge of a scan count only if all are.

    Parameters
    ----------
    cases
        Figures of each label map.
    any_contrast
        Whether brightness means nothing.
    """
    ranges = {}
    for name in dict.fromkeys(name for case in cases for name in case):
        found = [case[name] for case in cases if name in case]
        whole = [one for one in found if not one.is_cut] or found
        light = [one.brightness for one in found if not math.isnan(one.brightness)]
        volume = widened([one.volume_ml for one in whole], logarithmic=True)
        lengths = [_on_axis(whole, axis, "extent") for axis in range(3)]
        places = [_on_axis(whole, axis, "center") for axis in range(3)]
        share = widened([one.main_share for one in whole], least=_LEAST_SHARE)[0]
        ranges[name] = StructureRanges(
            volume_ml=volume,
            extent_mm=(lengths[0], lengths[1], lengths[2]),
            center_mm=(places[0], places[1], places[2]),
            # Predictions have small false parts, which say little about the rest.
            main_share=_short(min(max(share, 0.0), 0.8)),
            brightness=None if any_contrast or not light else _shares(light),
            always=len(found) == len(cases),
        )
    return ranges


def _on_axis(found: Iterable[StructureFigures], axis: int, what: str) -> Range:
    if what == "extent":
        return widened([one.extent_mm[axis] for one in found], logarithmic=True)
    return widened([one.center_mm[axis] for one in found], least=_LEAST_MM)


def _shares(values: Sequence[float]) -> Range:
    low, high = widened(values, least=_LEAST_SHARE)
    return max(0.0, low), min(1.0, high)


def widened(
    values: Sequence[float], *, least: float = _LEAST_LOG, logarithmic: bool = False
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
    """
    known = np.array(values, np.float64)
    if logarithmic:
        known = np.log(known)
    reach = (_SPREADS + _FEW / len(known)) * max(float(known.std()), least)
    low = min(float(known.min()), float(known.mean()) - reach)
    high = max(float(known.max()), float(known.mean()) + reach)
    if logarithmic:
        low, high = math.exp(low), math.exp(high)
    return _short(low, down=True), _short(high, down=False)


def _short(value: float, *, down: bool = True) -> float:
    """Round to a few digits, away from the middle of the range."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - MOST_DIGITS + 1)
    rounded = math.floor(value / unit) if down else math.ceil(value / unit)
    return float(f"{rounded * unit:.{MOST_DIGITS}g}")
