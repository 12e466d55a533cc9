"""Estimates learn: what earlier runs took, compared with what was predicted for them.

The last runs are stored for each device, precision and family of networks. Their time and memory
are not predicted exactly by any model of a machine, but alike each time: the median of the errors
corrects the next prediction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate

from napari_hyperspace.core import store
from napari_hyperspace.cost.load import BUSY

__all__ = ["Correction", "FinishedRun", "correction", "record_run"]

_STORE = "runs"
_KEPT = 16  # runs per key
_KEPT_WEIGHT = 0.85  # of a run, relative to the next one: earlier runs are forgotten slowly
_PRIOR = 0.5  # weight of a run without an error, relative to the last run
_LEAST_S = 0.2  # shorter runs are dominated by what surrounds them
_SECONDS = 0.25, 4.0  # limits of corrections
_BYTES = 0.8, 3.0


@dataclass(frozen=True)
class FinishedRun:
    """What was predicted for a run, and what it took.

    Parameters
    ----------
    rates
        Digest of the rates of the prediction, see `Calibration.digest`.
    predicted_seconds, seconds
        Time.
    predicted_bytes, n_bytes
        Peak memory.
    slowdown
        How many times as long work took meanwhile, because of other programs.
    """

    rates: str
    predicted_seconds: float
    seconds: float
    predicted_bytes: float
    n_bytes: float
    slowdown: float

    @property
    def is_possible(self) -> bool:
        """Whether these are measurements: files may be damaged."""
        return all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf
            for one in astuple(self)[1:]
        )


@dataclass(frozen=True)
class Correction:
    """Factors that a prediction is multiplied by.

    Parameters
    ----------
    seconds, n_bytes
        Of time and of memory.
    runs
        Number of runs that they were learned from.
    """

    seconds: float = 1.0
    n_bytes: float = 1.0
    runs: int = 0


def correction(key: str, rates: str) -> Correction:
    """Return the correction of predictions.

    Parameters
    ----------
    key
        Of device, precision and family.
    rates
        Digest of the rates of the prediction.
    """
    runs = [run for run in _decode(store.recall(_STORE, key)) if run.rates == rates]
    if not runs:
        return Correction()
    # What disturbed a run is known only roughly: undisturbed ones count, if there are any.
    quiet = [run for run in runs if run.slowdown < BUSY]
    seconds = [
        math.log(run.seconds / run.slowdown / run.predicted_seconds) for run in quiet or runs
    ]
    # Memory that a process holds already does not grow again: larger errors count more.
    sizes = [math.log(run.n_bytes / run.predicted_bytes) for run in runs]
    return Correction(
        _limited(math.exp(_weighted_quantile(seconds, 0.5)), _SECONDS),
        _limited(math.exp(_weighted_quantile(sizes, 0.75)), _BYTES),
        len(runs),
    )


def record_run(key: str, run: FinishedRun) -> None:
    """Store a run, unless it was too short to learn from."""
    if not run.is_possible or run.seconds < _LEAST_S:
        return

    def with_run(stored: object) -> object:
        # Predictions with other rates cannot be compared.
        runs = [one for one in _decode(stored) if one.rates == run.rates]
        return [list(astuple(one)) for one in [*runs, run][-_KEPT:]]

    store.update(_STORE, key, with_run)


def _decode(stored: object) -> list[FinishedRun]:
    runs = []
    for one in stored if isinstance(stored, list) else ():
        try:
            run = FinishedRun(*one)
        except TypeError:  # damaged
            continue
        if run.is_possible:
            runs.append(run)
    return runs


def _weighted_quantile(errors: Sequence[float], quantile: float) -> float:
    """Return a quantile of errors, the last of which has the largest weight, and of no error."""
    ages = range(len(errors) - 1, -1, -1)
    weighted = [(error, _KEPT_WEIGHT**age) for error, age in zip(errors, ages, strict=True)]
    ordered = sorted([*weighted, (0.0, _PRIOR)])
    totals = list(accumulate(weight for _, weight in ordered))
    return next(
        error
        for (error, _), total in zip(ordered, totals, strict=True)
        if total >= quantile * totals[-1]
    )


def _limited(value: float, limits: Iterable[float]) -> float:
    low, high = limits
    return min(max(value, low), high)
