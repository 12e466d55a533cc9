"""Means over cases and spacings, and tests of whether methods differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import Method
from training.evaluation.plan import Group
from training.evaluation.rows import KEY, SPACING
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
_COSTS = ("seconds", "peak")  # of all labels together


class Spread(TypedDict):
    """Mean, standard deviation (n - 1) and number of the finite values; NaN where undefined."""

    mean: float
    std: float
    n: int


class MissedStructures(TypedDict):
    """Structures that HD95 on the native grid leaves out.

    ``missed``: those with voxels in only one of truth and prediction, whose distance is infinite.
    ``structures``: those with voxels in at least one of the two.
    """

    missed: int
    structures: int


class PairedTest(TypedDict):
    """Wilcoxon's signed rank over the cases of two methods; NaN and `None` where undefined."""

    cases: int
    mean_difference: float
    p: float | None


def summarize(evaluation: Evaluation) -> dict[str, Any]:
    """Return means, standard deviations and tests as plain data.

    A sample is a case at a spacing: the mean over those of its labels that are present in truth or
    prediction; infinite distances are left out and counted as ``missed``. Standard deviations
    (n - 1) are over samples. Tests are Wilcoxon's signed rank between each two methods over cases,
    each case's samples averaged first; p is corrected after Bonferroni for the pairs of methods in
    a group.

    Returns
    -------
    dict
        Data for JSON; `None` stands for NaN.
    """
    summary: dict[str, Any] = plain(
        {
            "data": evaluation.data,
            "cases": list(evaluation.cases),
            "labels": evaluation.label_names,
            "models": {
                method.label: {"file": method.model, **evaluation.models[method.label]}
                for method in evaluation.methods
            },
            "tolerance_mm": evaluation.settings.tolerance_mm,
            "groups": [_group(evaluation, group) for group in evaluation.groups],
        }
    )
    return summary


def _group(evaluation: Evaluation, group: Group) -> dict[str, Any]:
    rows = rows_of(evaluation, group)
    found = samples(rows)
    labels = [method.label for method in evaluation.methods]
    quality = [name for name in METRICS if not name.startswith(_COSTS)]
    methods = {}
    for label in labels:
        own = rows[rows["model"] == label]
        by_label = own.groupby("label_name", sort=False)
        methods[label] = {
            **spreads(samples_of(found, label)),
            **missed(own),
            "labels": {str(name): spreads(each[quality]) for name, each in by_label},
        }
    return {
        "name": f"{evaluation.data} {group.name}",
        "kind": group.kind,
        "bounds_mm": group.bounds_mm,
        "spacings_mm": group.spacings_mm or None,
        "methods": methods,
        "tests": _tests(found, list(combinations(labels, 2))),
        "by_spacing": _by_spacing(found, group, labels),
    }


def rows_of(evaluation: Evaluation, group: Group) -> pd.DataFrame:
    """Return the rows of a group's spacings, in the order of cases and spacings."""
    units = [
        (case, *spacing)
        for case, native in evaluation.cases.items()
        for spacing in group.of_case(native)
    ]
    return pd.DataFrame(units, columns=["case", *SPACING]).merge(evaluation.rows)


def samples(rows: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Return the samples among rows: means of the finite values of each of `METRICS`.

    Parameters
    ----------
    rows
        From `rows_of`.
    by
        Columns to tell samples apart by, besides model, case and spacing.

    Returns
    -------
    DataFrame
        A column per metric; the index is (model, *by, case, z_mm, y_mm, x_mm).
    """
    model, *rest = KEY
    values = rows[list(METRICS)].astype("float64").replace([-np.inf, np.inf], np.nan)
    keys = [rows[name] for name in (model, *by, *rest)]
    return values.groupby(keys, sort=False).mean()


def samples_of(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return those samples that belong to a method."""
    return found[found.index.get_level_values("model") == method]


def spreads(values: pd.DataFrame) -> dict[str, Spread]:
    """Return the spread of each column."""
    finite = values.astype("float64").replace([-np.inf, np.inf], np.nan)
    return {
        str(name): {"mean": column.mean(), "std": column.std(), "n": int(column.count())}
        for name, column in finite.items()
    }


def missed(rows: pd.DataFrame) -> MissedStructures:
    """Count the structures that HD95 on the native grid leaves out."""
    distances = rows["hd95_native_mm"]
    return {"missed": int(np.isinf(distances).sum()), "structures": int(distances.count())}


def _by_spacing(
    found: pd.DataFrame, group: Group, labels: Sequence[str]
) -> list[dict[str, Any]] | None:
    """Return the means over cases at each spacing; `None` where each case has its own."""
    if group.kind == "native":
        return None
    means = found.groupby(["model", *SPACING]).mean().to_dict("index")
    return [
        {
            "spacing_mm": spacing,
            "methods": {label: means[(label, *spacing)] for label in labels},
        }
        for spacing in group.spacings_mm
    ]


def _tests(found: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    tests = []
    for metric in TESTED:
        for first, second in pairs:
            test = paired_test(found, first, second, metric)
            p = None if test["p"] is None else min(1.0, test["p"] * len(pairs))
            names = {"metric": metric, "first": first, "second": second}
            tests.append({**names, **test, "p_corrected": p})
    return tests


def paired_test(found: pd.DataFrame, first: str, second: str, metric: str) -> PairedTest:
    """Test a metric of two methods against each other, over cases.

    Parameters
    ----------
    found
        From `samples`.
    first, second
        The methods.
    metric
        The column.
    """
    cases = found[metric].groupby(["model", "case"], sort=False).mean()
    difference = (cases.loc[first] - cases.loc[second]).dropna()
    return {
        "cases": len(difference),
        "mean_difference": float(difference.mean()),
        "p": signed_rank(difference.to_numpy()),
    }


def signed_rank(differences: NDArray[np.float64]) -> float | None:
    """Return Wilcoxon's two-sided p of paired differences; `None` for fewer than two."""
    if len(differences) < 2:
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def spacing_scores(
    evaluation: Evaluation, method: Method, metric: str = "dice_working"
) -> list[SpacingScore]:
    """Return the Dice of each label on the working grid, at each fixed spacing, over cases.

    With the metric "dice_native", it is that on the grids of the scans themselves.
    """
    spacings = dict.fromkeys(
        spacing
        for group in evaluation.groups
        if group.kind in ("spacing", "segment")
        for spacing in group.spacings_mm
    )
    rows = evaluation.rows[evaluation.rows["model"] == method.label]
    dice = rows.groupby([*SPACING, "label_name"])[metric].mean()
    names = rows["label_name"].unique()
    return [
        SpacingScore(s, {name: float(dice[(*s, name)]) for name in names}, len(evaluation.cases))
        for s in spacings
    ]


def plain(value: Any) -> Any:
    """Return data that JSON can hold: `None` for NaN, lists for tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
