"""The Dice to expect at a spacing, from the measurements in a model's card.

Between measured isotropic spacings, the mean over the structures is interpolated linearly in the
logarithm of the spacing. Elsewhere nothing is interpolated: the result is the nearest measurement,
or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.nets.card import DiceRecord

_SAME = math.log(1.01)  # spacings up to this factor apart count as equal
_NEAR = math.log(1.25)  # largest factor, per axis, from a measurement to where it is used

Spacing = tuple[float, ...]


@dataclass(frozen=True)
class Expected:
    """The Dice to expect at a spacing.

    Parameters
    ----------
    dice
        Mean over the structures.
    measured_mm
        Spacing in mm (z, y, x) where it was measured; two, if it is interpolated between them.
    is_exact
        Whether it was measured at this spacing.
    """

    dice: float
    measured_mm: tuple[Spacing, ...]
    is_exact: bool = False


def expected_dice(records: Sequence[DiceRecord], spacing_mm: Sequence[float]) -> Expected | None:
    """Return the Dice to expect at a spacing; `None` if no measurement is near.

    Parameters
    ----------
    records
        Measurements of a model's card.
    spacing_mm
        Spacing in mm, canonical (z, y, x); records with another number of axes are ignored.
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
    """Return (geometric mean of the spacing, Dice) of the measurements with given proportions.

    Parameters
    ----------
    records
        Measurements of a model's card.
    spacing_mm
        Spacing in mm, canonical (z, y, x), of which only the proportions matter.
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
    """Return whether a spacing is the same along all axes, up to 1 %."""
    return math.log(max(spacing_mm) / min(spacing_mm)) <= _SAME


def _isotropic(records: Sequence[DiceRecord]) -> tuple[list[float], list[float]]:
    """Return spacings and Dice of the isotropic records, sorted by spacing."""
    pairs = sorted(
        (record.spacing_mm[0], record.mean) for record in records if is_isotropic(record.spacing_mm)
    )
    return [step for step, _ in pairs], [dice for _, dice in pairs]


def _mean(spacing_mm: Sequence[float]) -> float:
    return math.prod(spacing_mm) ** (1 / len(spacing_mm))


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest ratio of two spacings over the axes, as a logarithm."""
    return max(abs(math.log(a / b)) for a, b in zip(one, other, strict=True))
