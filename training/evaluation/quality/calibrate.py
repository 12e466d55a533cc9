"""How agreement of two passes is related to Dice: a curve that increases, and its residuals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.quality import DiceCalibration
from napari_hyperspace.quality.figures import StructureFigures

_KNOTS = 8  # points of the curve, beside its ends
_PER_KNOT = 8  # pairs that each is the mean of, at least
_SHRINKING = 8.0  # pairs that pull the offset of a structure to 0
_DIGITS = 4
MIDDLE = (5.0, 95.0)
"""Percentiles of the residuals that an interval is from."""
_USUAL = 2.0  # percentile of the estimated Dice of scans without artificial defects


@dataclass(frozen=True)
class AssessedScan:
    """One result, its second opinion and its true labels, compared.

    Parameters
    ----------
    case
        Name of the case.
    variant
        What was done to the scan; empty: nothing.
    spacing_mm
        Working spacing.
    agreement, dice
        Of each structure, by name; NaN where undefined.
    figures
        Of the structures that were found.
    """

    case: str
    variant: str
    spacing_mm: tuple[float, ...]
    agreement: Mapping[str, float]
    dice: Mapping[str, float]
    figures: Mapping[str, StructureFigures]

    def pairs(self) -> list[tuple[str, float, float]]:
        """Return name, agreement and Dice of the structures where both are known."""
        return [
            (name, agreed, self.dice[name])
            for name, agreed in self.agreement.items()
            if not math.isnan(agreed) and not math.isnan(self.dice.get(name, math.nan))
        ]


def fit_calibration(scans: Sequence[AssessedScan], measured_on: str) -> DiceCalibration:
    """Fit a calibration to results with known labels.

    Agreements are divided into groups of equal size, whose mean Dice are made to increase (pooling
    of adjacent violators); no agreement is no Dice. Structures have offsets, which are shrunk
    towards 0.

    Parameters
    ----------
    scans
        Results of good and bad scans alike: a curve that has seen good ones only says nothing about
        bad ones.
    measured_on
        What they are, in words.

    Raises
    ------
    HyperspaceError
        If there are too few, or none without artificial defects.
    """
    pairs = [pair for scan in scans for pair in scan.pairs()]
    plain = [scan for scan in scans if not scan.variant and scan.pairs()]
    if len(pairs) < 2 * _PER_KNOT or not plain:
        raise HyperspaceError(
            "too few results for a calibration",
            found=f"{len(pairs)} structures with known Dice, {len(plain)} scans as they are",
            expected=f"at least {2 * _PER_KNOT} structures",
            fix="Give more cases or spacings",
        )
    agreed, dice = np.array([a for _, a, _ in pairs]), np.array([d for _, _, d in pairs])
    first = DiceCalibration(
        points=_curve(agreed, dice),
        residuals=(0, 0),
        mean_residuals=(0, 0),
        usual_dice=0,
        cases=len(scans),
        measured_on=measured_on,
    )
    offsets = {}
    for name in dict.fromkeys(name for name, _, _ in pairs):
        rest = [d - first.dice(name, a) for other, a, d in pairs if other == name]
        offsets[name] = round(sum(rest) / (len(rest) + _SHRINKING), _DIGITS)
    fitted = first.model_copy(update={"offsets": offsets})
    means = [_means(scan, fitted) for scan in scans if scan.pairs()]
    usual = np.percentile([_means(scan, fitted)[0] for scan in plain], _USUAL)
    return fitted.model_copy(
        update={
            "residuals": _range([d - fitted.dice(name, a) for name, a, d in pairs]),
            "mean_residuals": _range([true - estimated for estimated, true in means]),
            "usual_dice": round(float(usual), _DIGITS),
        }
    )


def estimated_and_true(
    scans: Sequence[AssessedScan], calibration: DiceCalibration
) -> list[tuple[float, float]]:
    """Return estimated and true Dice of each scan, mean over the structures."""
    return [_means(scan, calibration) for scan in scans if scan.pairs()]


def _means(scan: AssessedScan, calibration: DiceCalibration) -> tuple[float, float]:
    pairs = scan.pairs()
    estimated = sum(calibration.dice(name, agreed) for name, agreed, _ in pairs) / len(pairs)
    return estimated, sum(dice for _, _, dice in pairs) / len(pairs)


def _range(residuals: Sequence[float]) -> Range:
    low, high = np.percentile(residuals, MIDDLE)
    return round(float(low), _DIGITS), round(float(high), _DIGITS)


def _curve(
    agreed: NDArray[np.float64], dice: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Return the points of an increasing curve through the means of groups of pairs."""
    order = np.argsort(agreed, kind="stable")
    number = min(_KNOTS, len(order) // _PER_KNOT)
    groups = [
        (float(agreed[part].mean()), float(dice[part].mean()), len(part))
        for part in np.array_split(order, number)
    ]
    pooled: list[tuple[float, float, int]] = []
    for group in groups:
        pooled.append(group)
        while len(pooled) > 1 and pooled[-2][1] >= pooled[-1][1]:
            (a, d, n), (b, e, m) = pooled.pop(-2), pooled.pop()
            pooled.append(((a * n + b * m) / (n + m), (d * n + e * m) / (n + m), n + m))
    points = [(round(a, _DIGITS), round(d, _DIGITS)) for a, d, _ in pooled]
    ends = ((0.0, 0.0), (1.0, points[-1][1]))
    middle = [point for point in points if 0 < point[0] < 1]
    return (ends[0], *middle, ends[1])
