"""Means over cases and spacings, and whether methods differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import Method
from training.evaluation.plan import Group
from training.evaluation.rows import Row
from training.evaluation.scores import SpacingScore

METRICS = {
    "dice_working": "Dice, working grid",
    "dice_native": "Dice, native grid",
    "hd95_working_mm": "HD95 (mm), working grid",
    "hd95_native_mm": "HD95 (mm), native grid",
    "surface_dice_working": "surface Dice, working grid",
    "surface_dice_native": "surface Dice, native grid",
    "volume_error_working_ml": "volume error (ml), working grid",
    "volume_error_native_ml": "volume error (ml), native grid",
    "seconds_working": "seconds, scan of the working spacing",
    "seconds_native": "seconds, scan as it is",
    "peak_bytes_working": "peak memory (bytes), scan of the working spacing",
    "peak_bytes_native": "peak memory (bytes), scan as it is",
}
TESTED = ("dice_working", "dice_native")


def summarize(evaluation: Evaluation) -> dict[str, Any]:
    """Return means, standard deviations and tests as plain data; `None` stands for NaN.

    A sample is a case at a spacing: the mean over its labels, of those present in truth or
    prediction; infinite distances are left out and counted as ``missed``. Standard deviations
    (n - 1) are over samples. Tests are Wilcoxon's signed rank between each two methods over cases,
    each case's samples averaged first; p is corrected after Bonferroni for the pairs of methods in
    a group.
    """
    return {
        "data": evaluation.data,
        "cases": list(evaluation.cases),
        "labels": {str(value): name for value, name in evaluation.label_names.items()},
        "models": {
            method.label: {"file": method.model, **evaluation.models[method.label]}
            for method in evaluation.methods
        },
        "tolerance_mm": evaluation.settings.tolerance_mm,
        "groups": [_group(evaluation, group) for group in evaluation.groups],
    }


def _group(evaluation: Evaluation, group: Group) -> dict[str, Any]:
    samples = {m.label: table(evaluation, group, m) for m in evaluation.methods}
    return {
        "name": f"{evaluation.data} {group.name}",
        "kind": group.kind,
        "bounds_mm": group.bounds_mm,
        "spacings_mm": list(group.spacings_mm) or None,
        "methods": {
            method.label: {
                **{name: spread(samples[method.label][name]) for name in METRICS},
                **missed(evaluation, group, method),
                "labels": _by_label(evaluation, group, method),
            }
            for method in evaluation.methods
        },
        "tests": _tests(evaluation, samples),
        "by_spacing": _by_spacing(group, samples),
    }


def missed(evaluation: Evaluation, group: Group, method: Method) -> dict[str, int]:
    """Count what no HD95 on the native grid can tell of.

    Returns
    -------
    dict of int
        ``missed``: structures that truth or prediction alone shows, whose distance is infinite;
        ``structures``: all that either shows.
    """
    distances = [row.hd95_native_mm for row in _rows(evaluation, group, method)]
    return {
        "missed": sum(map(math.isinf, distances)),
        "structures": len(distances) - sum(map(math.isnan, distances)),
    }


def _rows(evaluation: Evaluation, group: Group, method: Method) -> Iterable[Row]:
    for case, native in evaluation.cases.items():
        for spacing in group.of_case(native):
            yield from evaluation.at(method, case, spacing)


def table(evaluation: Evaluation, group: Group, method: Method) -> dict[str, NDArray[np.float64]]:
    """Return the samples of a group by a method (cases, spacings) for each of `METRICS`."""
    cells = [
        [evaluation.at(method, case, spacing) for spacing in group.of_case(native)]
        for case, native in evaluation.cases.items()
    ]
    return {
        name: np.array([[_sample(rows, name) for rows in line] for line in cells])
        for name in METRICS
    }


def _sample(rows: Sequence[Row], name: str) -> float:
    return mean(_value(row, name) for row in rows)


def _value(row: Row, name: str) -> float:
    value = getattr(row, name)
    return math.nan if value is None else float(value)


def mean(values: Iterable[float]) -> float:
    """Return the mean of the finite values; NaN where there is none."""
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def spread(values: Iterable[float] | NDArray[np.float64]) -> dict[str, Any]:
    """Return mean, standard deviation (n - 1) and number of the finite values."""
    known = np.asarray(list(np.ravel(np.asarray(values, float))))
    known = known[np.isfinite(known)]
    return {
        "mean": float(known.mean()) if known.size else None,
        "std": float(known.std(ddof=1)) if known.size > 1 else None,
        "n": int(known.size),
    }


def _by_label(evaluation: Evaluation, group: Group, method: Method) -> dict[str, Any]:
    rows = list(_rows(evaluation, group, method))
    labels: dict[str, Any] = {}
    for name in dict.fromkeys(row.label_name for row in rows):
        own = [row for row in rows if row.label_name == name]
        labels[name] = {
            metric: spread([_value(row, metric) for row in own])
            for metric in METRICS
            if not metric.startswith(("seconds", "peak"))
        }
    return labels


def _by_spacing(
    group: Group, samples: dict[str, dict[str, NDArray[np.float64]]]
) -> list[dict[str, Any]] | None:
    """Return the means over cases at each spacing; `None` where each case has its own."""
    if group.kind == "native":
        return None
    return [
        {
            "spacing_mm": list(spacing),
            "methods": {
                label: {name: spread(values[:, i])["mean"] for name, values in metrics.items()}
                for label, metrics in samples.items()
            },
        }
        for i, spacing in enumerate(group.spacings_mm)
    ]


def _tests(
    evaluation: Evaluation, samples: dict[str, dict[str, NDArray[np.float64]]]
) -> list[dict[str, Any]]:
    pairs = list(combinations([method.label for method in evaluation.methods], 2))
    tests = []
    for metric in TESTED:
        by_case = {
            label: np.array([mean(line) for line in metrics[metric]])
            for label, metrics in samples.items()
        }
        for first, second in pairs:
            difference = by_case[first] - by_case[second]
            difference = difference[np.isfinite(difference)]
            p = signed_rank(difference)
            tests.append(
                {
                    "metric": metric,
                    "first": first,
                    "second": second,
                    "cases": len(difference),
                    "mean_difference": float(difference.mean()) if difference.size else None,
                    "p": p,
                    "p_corrected": None if p is None else min(1.0, p * len(pairs)),
                }
            )
    return tests


def signed_rank(differences: NDArray[np.float64]) -> float | None:
    """Return Wilcoxon's two-sided p of paired differences; `None` for fewer than two."""
    if len(differences) < 2:
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def spacing_scores(evaluation: Evaluation, method: Method) -> list[SpacingScore]:
    """Return the Dice of each label on the working grid, at each fixed spacing, over cases."""
    spacings = dict.fromkeys(
        spacing
        for group in evaluation.groups
        if group.kind in ("spacing", "segment")
        for spacing in group.spacings_mm
    )
    scores = []
    for spacing in spacings:
        rows = [row for case in evaluation.cases for row in evaluation.at(method, case, spacing)]
        dice = {
            name: mean(row.dice_working for row in rows if row.label_name == name)
            for name in dict.fromkeys(row.label_name for row in rows)
        }
        scores.append(SpacingScore(spacing, dice, len(evaluation.cases)))
    return scores


def plain(value: Any) -> Any:
    """Return data that JSON can hold: `None` for NaN, lists for tuples."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
