"""The Dice to expect at a spacing, from the measurements in a model's card.

Measurements on real scans of the contrast that fits come first; a mean over contrasts that nobody
has would describe no scan.

Between measured isotropic spacings, the mean over the structures is interpolated linearly in the
logarithm of the spacing. Elsewhere nothing is interpolated: the result is the nearest measurement,
or none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.nets.card import Contrast, DiceRecord, ModelCard, RealDice

_SAME = math.log(1.01)  # spacings up to this factor apart count as equal
_NEAR = math.log(1.25)  # largest factor, per axis, from a measurement to where it is used

Spacing = tuple[float, ...]

_USUAL: Contrast = "t1"
# In this order: a FLAIR is often called "T2 FLAIR".
_NAMED: tuple[tuple[Contrast, str], ...] = (
    ("flair", r"flair|tirm"),
    ("pd", r"pdw?"),
    ("t2", r"t2w?"),
    ("t1", r"t1w?|t1c|mprage|mp2rage|spgr"),
)


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


def contrast_in_name(name: str) -> Contrast | None:
    """Return the contrast that the name of a scan says it has, such as ``sub-01_T2w``."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    for contrast, pattern in _NAMED:
        if any(re.fullmatch(pattern, word) for word in words):
            return contrast
    return None


def real_records(card: ModelCard, contrast: Contrast | None) -> tuple[RealDice, ...]:
    """Return the measurements on real scans of a contrast, else on real T1-weighted ones.

    Those against labels are preferred to agreement with another program; the two are never mixed.

    Parameters
    ----------
    card
        Card of the model; the result is empty if it has no such measurement.
    contrast
        Contrast of the scan; `None`: unknown.
    """
    for wanted in (contrast, _USUAL):
        for agreement in (False, True):
            found = tuple(
                one for one in card.real if (one.contrast, one.agreement) == (wanted, agreement)
            )
            if found:
                return found
    return ()


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
