"""What accuracy to expect at a spacing, from the Dice that a model's card holds.

Between isotropic spacings that were measured the mean over the structures is interpolated over the
logarithm of the spacing; nowhere else is anything made up: the nearest measurement is given as
such, or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.nets.card import DiceRecord

_SAME = math.log(1.01)  # factor up to which two spacings are one
_NEAR = math.log(1.25)  # factor an axis up to which a measurement says something of a spacing

Spacing = tuple[float, ...]


@dataclass(frozen=True)
class Expected:
    """The Dice to expect at a spacing.

    Parameters
    ----------
    dice
        Mean over the structures.
    measured_mm
        Where it was measured (z, y, x): at one spacing, or at the two that it lies between.
    is_exact
        Whether it was measured at this very spacing.
    """

    dice: float
    measured_mm: tuple[Spacing, ...]
    is_exact: bool = False


def expected_dice(records: Sequence[DiceRecord], spacing_mm: Sequence[float]) -> Expected | None:
    """Return the Dice to expect at a spacing; `None` where nothing near was measured.

    Parameters
    ----------
    records
        Of a model's card.
    spacing_mm
        Canonical (z, y, x), as many numbers as those of the records.
    """
    records = [record for record in records if len(record.spacing_mm) == len(spacing_mm)]
    found = min(records, key=lambda record: _distance(record.spacing_mm, spacing_mm), default=None)
    distance = _distance(found.spacing_mm, spacing_mm) if found else math.inf
    if found and distance <= _SAME:
        return Expected(found.mean, (found.spacing_mm,), is_exact=True)
    if is_isotropic(spacing_mm):
        steps, dice = _isotropic(records)
        above = int(np.searchsorted(steps, spacing_mm[0]))
        if 0 < above < len(steps):
            value = float(np.interp(math.log(spacing_mm[0]), np.log(steps), dice))
            ends = ((step,) * len(spacing_mm) for step in steps[above - 1 : above + 1])
            return Expected(value, tuple(ends))
    return Expected(found.mean, (found.spacing_mm,)) if found and distance <= _NEAR else None


def measured_along(
    records: Sequence[DiceRecord], spacing_mm: Sequence[float]
) -> list[tuple[float, float]]:
    """Return (geometric mean of the spacing, Dice) of the measurements in some proportions.

    Parameters
    ----------
    records
        Of a model's card.
    spacing_mm
        Canonical (z, y, x); only its proportions count.
    """
    found = []
    for record in records:
        if len(record.spacing_mm) == len(spacing_mm):
            mean = _mean(record.spacing_mm)
            scaled = [step * mean / _mean(spacing_mm) for step in spacing_mm]
            if _distance(record.spacing_mm, scaled) <= _NEAR / 2:
                found.append((mean, record.mean))
    return sorted(found)


def is_isotropic(spacing_mm: Sequence[float]) -> bool:
    """Whether a spacing is the same along all axes, but for rounding."""
    return math.log(max(spacing_mm) / min(spacing_mm)) <= _SAME


def _isotropic(records: Sequence[DiceRecord]) -> tuple[list[float], list[float]]:
    """Return spacings and Dice of the isotropic records, by spacing."""
    pairs = sorted(
        (record.spacing_mm[0], record.mean) for record in records if is_isotropic(record.spacing_mm)
    )
    return [step for step, _ in pairs], [dice for _, dice in pairs]


def _mean(spacing_mm: Sequence[float]) -> float:
    return math.prod(spacing_mm) ** (1 / len(spacing_mm))


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest ratio of two spacings over the axes, as a logarithm."""
    return max(abs(math.log(a / b)) for a, b in zip(one, other, strict=True))
